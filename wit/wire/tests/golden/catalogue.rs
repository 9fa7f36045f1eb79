//! The generated guide `docs/guide/updates.md`: the catalogue of updates as client authors read it.

use std::fmt::Write as _;
use std::path::Path;

use podium_wire::updates::{Durability, EventType};

use crate::updating;

fn page() -> String {
    let mut page = String::from(
        "# Updates\n\n\
         <!-- Generated from wit/wire/src/updates.rs: UPDATE_GOLDEN=1 cargo test -p podium-wire --test golden -->\n\n\
         What a client sees of an agent, as `update` frames on the WebSocket `/agent/{id}`. Each has `event_type`, \
         `ts` (milliseconds since the Unix epoch) and `content`; one that belongs to a turn has `turn_id`, `attempt`, \
         `n` (its place within the attempt, from 1) and `message_id` besides.\n\n\
         - **durable**: shown live without a `seq`; the turn's cut gives it one, dense per instance, and it can be \
         read again for ever with `subscribe`.\n\
         - **ephemeral**: shown live only; a durable update closes it with the whole content.\n\
         - **control**: said to one connection or to all; never part of a turn's output.\n\n\
         Synonyms are read and never sent. A field with `?` may be absent. Examples of each are in \
         [wit/wire/fixtures/updates](../../wit/wire/fixtures/updates).\n\n\
         | event_type | life | content | what it says | synonyms |\n|---|---|---|---|---|\n",
    );
    for kind in EventType::ALL {
        let entry = kind.entry();
        let life = match entry.durability {
            Durability::Durable => "durable",
            Durability::Ephemeral => "ephemeral",
            Durability::Control => "control",
        };
        let synonyms: Vec<String> = entry.synonyms.iter().map(|name| format!("`{name}`")).collect();
        writeln!(
            page,
            "| `{}` | {life} | `{}` | {} | {} |",
            entry.name,
            entry.fields,
            entry.about,
            synonyms.join(", ")
        )
        .expect("a string takes everything");
    }
    page
}

#[test]
fn the_guide_is_generated_from_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guide/updates.md");
    if updating() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the guide's folder can be made");
        std::fs::write(&path, page()).expect("the guide can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page(), "docs/guide/updates.md is old; UPDATE_GOLDEN=1 writes it anew");
}
