//! The agent that tests talk to: each command does one thing that a host must bear.
//!
//! `boom` panics, `spin` loops for ever, `grow` takes memory without end, `flood` emits without
//! end, `sleep MS` waits so that it can be steered, `block MS` waits as `std::thread::sleep` does,
//! `fail` returns an error, `claim CODE` one with this code, `badpatch` answers the host's refusal of a patch, `stream N` streams N
//! pieces, `echo TEXT`, `config` and `state` answer the documents, `set KEY VALUE` remembers,
//! `push TEXT` appends, `history N` answers the last N messages, `write PATH TEXT` and
//! `read PATH` use the workspace, `ls` lists it, `log TEXT` logs it, `print TEXT` writes it to
//! stdout, `now` and `random` answer clock and randomness, `elements` shows one of each kind. `asks` has what asks people.
//! `spin-unless PATH` waits for ever where that file is, and loops where it is not.

mod asks;

use std::collections::BTreeMap;
use std::time::Duration;

use podium_sdk::updates::{FileChange, FileChangeKind};
use podium_sdk::{ShutdownReason, ToolKind, Usage, prelude::*};

const WORKSPACE: &str = "/workspace";

/// What it remembers.
#[derive(Default, DeltaState)]
struct Memory {
    /// Hooks that ran, by name.
    hooks: BTreeMap<String, u64>,
    /// `set KEY VALUE`.
    values: BTreeMap<String, String>,
    /// `push TEXT`.
    items: Vec<String>,
    /// What `on_config_change` was told: who set it, and what changed.
    told: Vec<String>,
}

/// What makes it refuse.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    /// `on_init` fails.
    init_fails: bool,
    /// `on_config_change` fails.
    refuse: bool,
    /// What `on_init` does first: `boom`, `spin`, `sleep MS`.
    at_init: String,
    /// What `on_config_change` does first.
    at_change: String,
}

struct Probe;

#[podium_sdk::agent]
impl Agent for Probe {
    type State = Memory;
    type Config = Json;

    fn config_schema() -> Option<Json> {
        Some(json!({
            "type": "object",
            "properties": { "init_fails": { "type": "boolean" }, "refuse": { "type": "boolean" } },
        }))
    }

    async fn on_init(cx: &mut Ctx<Self>) -> Result<()> {
        let settings = settings(cx)?;
        act(cx, &settings.at_init).await?;
        if settings.init_fails {
            return Err(Error::new("init_refused", "the configuration says `init_fails`"));
        }
        ran(cx, "on_init");
        Ok(())
    }

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        ran(cx, "on_message");
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match command {
            "boom" => panic!("boom: {rest}"),
            "spin" => spin(),
            "spin-unless" => {
                if !std::path::Path::new(WORKSPACE).join(rest).exists() {
                    spin();
                }
                cx.sleep(Duration::MAX).await
            }
            "grow" => grow(),
            "flood" => loop {
                cx.reply("flood")?;
            },
            "sleep" => {
                cx.sleep(Duration::from_millis(rest.parse()?)).await?;
                cx.reply(format!("slept {rest}"))
            }
            "block" => {
                std::thread::sleep(Duration::from_millis(rest.parse()?));
                cx.reply(format!("blocked {rest}"))
            }
            "fail" => Err(Error::new("probe_failed", format!("asked to fail: {rest}")).hint("do not ask")),
            "claim" => Err(Error::new(rest, "in the agent's own words")),
            "badpatch" => match cx.apply(&json!([{ "op": "replace", "path": "/nowhere/at/all", "value": 1 }])) {
                Ok(version) => bail!("the patch was taken, version {version}"),
                Err(error) => cx.reply(format!("{}: {}", error.code, error.message)),
            },
            "stream" => {
                let mut text = cx.stream();
                for n in 1..=rest.parse::<u64>()? {
                    text.write(format!("piece {n}\n"))?;
                }
                text.finish()
            }
            "echo" => cx.reply(rest),
            "config" => cx.reply(cx.config.to_string()),
            "state" => {
                cx.commit()?;
                cx.reply(cx.document().to_string())
            }
            "set" => {
                let (key, value) = rest.split_once(' ').context("`set KEY VALUE`")?;
                cx.state.values.insert(key.to_owned(), value.to_owned());
                cx.reply("set")
            }
            "push" => {
                cx.state.items.push(rest.to_owned());
                cx.reply(cx.state.items.len().to_string())
            }
            "history" => {
                let entries = cx.history(rest.parse()?).await?;
                let lines: Vec<String> = entries.iter().map(|e| format!("{} {:?} {}", e.seq, e.role, e.text)).collect();
                cx.reply(lines.join("\n"))
            }
            "write" => {
                let (path, text) = rest.split_once(' ').context("`write PATH TEXT`")?;
                std::fs::write(format!("{WORKSPACE}/{path}"), text)?;
                cx.reply("written")
            }
            "read" => cx.reply(std::fs::read_to_string(format!("{WORKSPACE}/{rest}"))?),
            "ls" => {
                let entries = std::fs::read_dir(WORKSPACE)?;
                let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
                let mut names: Vec<String> = names.collect::<Result<_>>()?;
                names.sort_unstable();
                cx.reply(names.join("\n"))
            }
            "log" => {
                podium_sdk::info!("{rest}");
                cx.reply("logged")
            }
            "print" => {
                println!("{rest}");
                cx.reply("printed")
            }
            "now" => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
                cx.reply(now.as_millis().to_string())
            }
            "random" => {
                use std::hash::{BuildHasher, RandomState};
                cx.reply(RandomState::new().hash_one(0_u8).to_string())
            }
            "elements" => elements(cx),
            "ask" | "choose" | "secret" | "permit" | "takeback" | "asks" | "longask" | "flood-then-ask" => {
                asks::run(cx, command, rest).await
            }
            other => bail!("the probe does not know `{other}`"),
        }
    }

    async fn on_config_change(cx: &mut Ctx<Self>, changes: Vec<Change>, source: String) -> Result<()> {
        let settings = settings(cx)?;
        act(cx, &settings.at_change).await?;
        if settings.refuse {
            return Err(Error::new("config_refused", "the configuration says `refuse`"));
        }
        ran(cx, "on_config_change");
        let said = |value: Option<Json>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
        let told = changes
            .into_iter()
            .map(|change| format!("{source}: {} was {}, is {}", change.pointer, said(change.old), said(change.new)));
        cx.state.told.extend(told);
        Ok(())
    }

    async fn on_shutdown(cx: &mut Ctx<Self>, reason: ShutdownReason) -> Result<()> {
        ran(cx, "on_shutdown");
        podium_sdk::info!("shut down: {reason:?}");
        Ok(())
    }
}

fn settings(cx: &Ctx<Probe>) -> Result<Settings> {
    Ok(Settings::deserialize(&cx.config)?)
}

/// What a hook is told to do by the configuration; nothing by default.
async fn act(cx: &mut Ctx<Probe>, what: &str) -> Result<()> {
    match what.split_once(' ').unwrap_or((what, "")) {
        ("boom", _) => panic!("the configuration says `boom`"),
        ("spin", _) => spin(),
        ("sleep", ms) => cx.sleep(Duration::from_millis(ms.parse()?)).await,
        _ => Ok(()),
    }
}

fn ran(cx: &mut Ctx<Probe>, hook: &str) {
    *cx.state.hooks.entry(hook.to_owned()).or_default() += 1;
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

fn grow() -> ! {
    const STEP: usize = 1024 * 1024;
    let mut blocks = Vec::new();
    loop {
        blocks.push(std::hint::black_box(vec![1_u8; STEP]));
    }
}

/// One of each kind of element.
fn elements(cx: &Ctx<Probe>) -> Result<()> {
    let mut thinking = cx.thinking();
    thinking.write("Let me see. ")?;
    thinking.write("It is simple.")?;
    thinking.finish()?;
    let mut plan = cx.plan("Show everything", ["show a tool", "show the rest"])?;
    plan.start(0)?;
    cx.tool("search", ToolKind::Search, &json!({ "query": "all" }))?.succeed(&json!({ "found": 1 }))?;
    cx.tool("fetch", ToolKind::Fetch, &json!({}))?.fail(Error::new("no_network", "there is no network"))?;
    plan.complete(0)?;
    cx.code(Some("rust"), "fn main() {}")?;
    cx.file_change(FileChange {
        path: "notes.md".into(),
        kind: FileChangeKind::Created,
        previous_path: None,
        diff: None,
    })?;
    cx.usage(Usage { model: Some("none".into()), input: 3, output: 2, cached: 1, reasoning: 1 })?;
    let mut text = cx.stream();
    text.write("That was ")?;
    text.write("everything.")?;
    text.finish()
}
