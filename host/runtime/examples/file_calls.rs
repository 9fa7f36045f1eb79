//! Measures the file calls of a guest: in a turn, beside the engine's own WASI with calls that may block.
//!
//! `file_calls COMPONENT FOLDER [ROUNDS]` runs `tests/bench/agents/filer` with both by turns, each in a folder of its own in FOLDER, and prints
//! of each operation how many a second there were in the best round.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use podium_capabilities::ports::{HistoryPort, JournalPort, LogSink, NewLine, Ports, TurnWatch, UpdateSink};
use podium_capabilities::workspace::{Workspace, Workspaces};
use podium_capabilities::{JournalStart, Limits, Turn, TurnSpec};
use podium_chronicle::{Named, Place};
use podium_kit::descriptors::Part;
use podium_kit::{BlockingThreads, Clock, Randomness};
use podium_runtime::{Agent, Call, Compiler, Runtime, RuntimeConfig, TurnEnd, WarmBudget, stop_pair};
use podium_wire::message::{HistoryEntry, Message, Origin, Role};
use podium_wire::updates::{TurnKind, TurnSnapshot, Update};
use podium_wire::{Digest, WireError};
use wasmtime::component::{Component, Linker, ResourceTable, Val};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

/// Each operation, and how often a message asks for it; those before make what those behind need.
const OPERATIONS: [(&str, u64); 7] = [
    ("create", 4_000),
    ("stat", 40_000),
    ("read", 20_000),
    ("rename", 10_000),
    ("random", 40_000),
    ("sequential", 2_000),
    ("unlink", 4_000),
];

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Nowhere;

impl UpdateSink for Nowhere {
    fn update(&self, _: Update) {}

    fn snapshot(&self, _: TurnSnapshot) {}
}

impl LogSink for Nowhere {
    fn log(&self, _: NewLine) {}
}

impl TurnWatch for Nowhere {
    fn waiting(&self, _: bool) {}
}

impl JournalPort for Nowhere {
    fn write(&self, _: Turn) -> BoxFuture<'static, Result<(), WireError>> {
        async { Ok(()) }.boxed()
    }
}

impl HistoryPort for Nowhere {
    fn page(&self, _: Option<u64>, _: u32) -> BoxFuture<'static, Result<Vec<HistoryEntry>, WireError>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

/// A guest in a turn.
struct InATurn {
    runtime: Runtime,
    agent: Arc<Agent>,
    clock: Clock,
    ports: Ports,
    workspace: Workspace,
}

impl InATurn {
    async fn new(component: Vec<u8>, folder: &Path, threads: &BlockingThreads) -> Result<Self, Failure> {
        let clock = Clock::system();
        let workspace =
            Workspaces::new(clock.clone(), 100).closed(Place::new(folder.join("chronicle")), Named::default());
        let runtime = Runtime::new(RuntimeConfig {
            code_cache: folder.join("code"),
            clock: clock.clone(),
            random: Randomness::system(),
            threads: threads.clone(),
            files: Part::new(1000),
            warm: WarmBudget::default(),
            guests: 16,
            compiler: Compiler::InProcess,
            waiting_idle: Duration::MAX,
        })?;
        let agent = runtime.load(&Digest::from_bytes([0; 32]), async { Ok(component.into()) }).await?;
        let nowhere = Arc::new(Nowhere);
        let ports = Ports {
            updates: nowhere.clone(),
            logs: nowhere.clone(),
            history: nowhere.clone(),
            watch: nowhere.clone(),
            journal: nowhere,
            clock: clock.clone(),
        };
        Ok(Self { runtime, agent, clock, ports, workspace })
    }

    async fn once(&self, text: &str) -> Result<Duration, Failure> {
        let spec = TurnSpec {
            instance: "0198c0de-0000-7000-8000-000000000001".parse()?,
            deployment: "bench:1.0.0@2b795103".parse()?,
            turn: 1,
            turn_id: "t-1".to_owned(),
            attempt: 1,
            message_id: Some("m".to_owned()),
            kind: TurnKind::Message,
            seed: [7; 32],
            limits: Limits::default(),
            state: Arc::new(serde_json::json!({})),
            state_version: 0,
            config: Arc::new(serde_json::json!({})),
            config_rev: 1,
            workspace: self.workspace.clone(),
            now_ms: self.clock.now_ms(),
            journal: JournalStart::Off,
        };
        let turn = Turn::new(spec, self.ports.clone());
        let message = Message {
            id: "m".to_owned(),
            text: text.to_owned(),
            role: Role::User,
            attachments: Vec::new(),
            origin: Origin { tenant_id: "local".to_owned(), role: "owner".to_owned(), channel: "ws".to_owned() },
        };
        let (_handle, stop) = stop_pair();
        let begun = self.clock.monotonic();
        let end = self.runtime.run(&self.agent, turn.clone(), Call::Message(message), stop).await;
        let took = self.clock.monotonic() - begun;
        turn.complete();
        if end == TurnEnd::Completed { Ok(took) } else { Err(format!("{end:?}").into()) }
    }
}

/// What a plain host keeps for a guest.
struct Plain {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Plain {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// A host of the engine and its WASI, and nothing else.
struct PlainHost {
    engine: Engine,
    component: Component,
    linker: Linker<Plain>,
    clock: Clock,
}

impl PlainHost {
    fn new(component: &[u8]) -> Result<Self, Failure> {
        let mut config = Config::new();
        config.wasm_component_model_async(true).epoch_interruption(true);
        let engine = Engine::new(&config)?;
        let component = Component::new(&engine, component)?;
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        Ok(Self { engine, component, linker, clock: Clock::system() })
    }

    async fn once(&self, folder: &Path, text: &str) -> Result<Duration, Failure> {
        let mut wasi = WasiCtx::builder();
        wasi.allow_blocking_current_thread(true).preopened_dir(folder, "/workspace", FsPerms::ReadWrite)?;
        let mut store = Store::new(&self.engine, Plain { wasi: wasi.build(), table: ResourceTable::new() });
        store.set_epoch_deadline(u64::MAX / 2);
        let begun = self.clock.monotonic();
        let instance = self.linker.instantiate_async(&mut store, &self.component).await?;
        let lifecycle = instance.get_export_index(&mut store, None, "podium:agent/lifecycle@0.1.0");
        let call = instance.get_export_index(&mut store, lifecycle.as_ref(), "on-message").ok_or("no on-message")?;
        let call = instance.get_func(&mut store, call).ok_or("no function")?;
        let word = |word: &str| Val::String(word.to_owned());
        let origin = [("tenant-id", word("local")), ("role", word("owner")), ("channel", word("ws"))];
        let origin = origin.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let message = [
            ("id", word("m")),
            ("text", word(text)),
            ("role", Val::Enum("user".to_owned())),
            ("attachments", Val::List(Vec::new())),
            ("origin", Val::Record(origin)),
        ];
        let message = Val::Record(message.map(|(name, value)| (name.to_owned(), value)).to_vec());
        let mut answer = [Val::Bool(false)];
        call.call_async(&mut store, &[message], &mut answer).await?;
        let took = self.clock.monotonic() - begun;
        if matches!(answer, [Val::Result(Ok(_))]) { Ok(took) } else { Err(format!("{answer:?}").into()) }
    }
}

async fn measured(
    component: Vec<u8>,
    folder: std::path::PathBuf,
    rounds: u64,
    threads: BlockingThreads,
) -> Result<(), Failure> {
    let plain = PlainHost::new(&component)?;
    let (ours, theirs) = (folder.join("turn"), folder.join("plain"));
    std::fs::create_dir_all(&ours)?;
    std::fs::create_dir_all(&theirs)?;
    let turn = InATurn::new(component, &ours, &threads).await?;
    turn.once("folder").await?;
    plain.once(&theirs, "folder").await?;
    let mut best = [[Duration::MAX; 2]; OPERATIONS.len()];
    for round in 0..rounds {
        for ((operation, count), best) in OPERATIONS.iter().zip(&mut best) {
            let text = format!("{operation} {count}");
            // Whoever comes second finds warmer caches.
            for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
                let took = if which == 0 { turn.once(&text).await? } else { plain.once(&theirs, &text).await? };
                best[which] = best[which].min(took);
            }
        }
    }
    for ((operation, count), [ours, theirs]) in OPERATIONS.iter().zip(best) {
        let a_second = |took: Duration| *count as f64 / took.as_secs_f64();
        println!("{operation}: {:.0} {:.0}", a_second(ours), a_second(theirs));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let component = std::fs::read(args.next().ok_or("which component?")?)?;
    let folder = std::path::PathBuf::from(args.next().ok_or("in which folder?")?);
    let rounds: u64 = args.next().map_or(Ok(8), |rounds| rounds.parse())?;
    let threads = BlockingThreads::start("agents")?;
    threads.spawn("measure", measured(component, folder, rounds, threads.clone())).await??;
    Ok(())
}
