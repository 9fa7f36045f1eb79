//! The probe's next major version: the same agent type with another shape of the state.
//!
//! `echo TEXT` answers `two: TEXT`, `get KEY` a fact, `from` the schema version that was migrated, `boom` panics, `flood` emits
//! without end. The probe's values become facts. A value `migrate` makes the migration fail: `fail` with an error, `boom` with a
//! panic, `spin` by looping for ever. A fact `first` that is `boom` makes every message panic; one that is another word
//! makes it an error with that code.

use std::collections::BTreeMap;

use podium_sdk::prelude::*;

/// What it remembers.
#[derive(Default, DeltaState)]
struct Memory {
    /// What the probe called values.
    facts: BTreeMap<String, String>,
    /// The schema version that was migrated.
    migrated_from: u64,
}

struct Successor;

#[podium_sdk::agent]
impl Agent for Successor {
    type State = Memory;

    const STATE_SCHEMA_VERSION: u32 = 2;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        if let Some(first) = cx.state.facts.get("first").cloned() {
            // Seen by clients before the turn dies.
            cx.reply("this version is about to fail")?;
            assert_ne!(first, "boom", "the fact `first`");
            return Err(Error::new(first, "the fact `first` says so"));
        }
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match command {
            "get" => cx.reply(cx.state.facts.get(rest).map_or("nothing", String::as_str)),
            "from" => cx.reply(cx.state.migrated_from.to_string()),
            "boom" => panic!("boom: {rest}"),
            "flood" => loop {
                cx.reply("flood")?;
            },
            "echo" => cx.reply(format!("two: {rest}")),
            other => cx.reply(format!("two: {other}")),
        }
    }

    async fn migrate(from: u32, state: Json) -> Result<Json> {
        let values = state.get("values").cloned().unwrap_or_else(|| json!({}));
        match values.get("migrate").and_then(Json::as_str) {
            Some("fail") => return Err(Error::new("migration_refused", "the value `migrate` says so")),
            Some("boom") => panic!("the value `migrate` is `boom`"),
            Some("spin") => spin(),
            _ => {}
        }
        Ok(json!({ "facts": values, "migrated_from": from }))
    }
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}
