//! Measures the runtime's part of a turn: store, instance, one `on-message`, drop.
//!
//! Callers are tasks on the threads that run guests, as a host's owners are.
//!
//! `fresh_turn COMPONENT [MESSAGE] [TURNS]` prints percentiles in microseconds, alone and with 8 at once.

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

struct Nowhere;

impl UpdateSink for Nowhere {
    fn update(&self, _: Update) {}
    fn snapshot(&self, _: TurnSnapshot) {}
}

impl LogSink for Nowhere {
    fn log(&self, _: NewLine) {}
}

impl JournalPort for Nowhere {
    fn write(&self, _: Turn) -> BoxFuture<'static, Result<(), WireError>> {
        async { Ok(()) }.boxed()
    }
}

impl TurnWatch for Nowhere {
    fn waiting(&self, _: bool) {}
}

impl HistoryPort for Nowhere {
    fn page(&self, _: Option<u64>, _: u32) -> BoxFuture<'static, Result<Vec<HistoryEntry>, WireError>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Bench {
    runtime: Runtime,
    agent: Arc<Agent>,
    clock: Clock,
    ports: Ports,
    workspace: Workspace,
    text: String,
}

impl Bench {
    fn turn(&self, n: u64) -> Result<Turn, Failure> {
        let spec = TurnSpec {
            instance: "0198c0de-0000-7000-8000-000000000001".parse()?,
            deployment: "bench:1.0.0@2b795103".parse()?,
            turn: n,
            turn_id: format!("t-{n}"),
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
            journal: JournalStart::New,
        };
        Ok(Turn::new(spec, self.ports.clone()))
    }

    async fn once(&self, n: u64) -> Result<Duration, Failure> {
        let turn = self.turn(n)?;
        let message = Message {
            id: "m".to_owned(),
            text: self.text.clone(),
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

    async fn many(self: Arc<Self>, turns: u64) -> Result<Vec<Duration>, Failure> {
        let mut times = Vec::new();
        for n in 0..turns {
            times.push(self.once(n).await?);
        }
        Ok(times)
    }
}

fn print(name: &str, mut times: Vec<Duration>, all: Duration) {
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 1000).copied().unwrap_or_default().as_nanos() / 100;
    let (p50, p99) = (at(500), at(990));
    println!(
        "{name}: p50 {}.{} us, p99 {}.{} us, {:.0} turns/s",
        p50 / 10,
        p50 % 10,
        p99 / 10,
        p99 % 10,
        times.len() as f64 / all.as_secs_f64()
    );
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let component = std::fs::read(args.next().ok_or("which component?")?)?;
    let text = args.next().unwrap_or_else(|| "hello".to_owned());
    let turns: u64 = args.next().map_or(Ok(20_000), |turns| turns.parse())?;
    let folder = std::env::temp_dir().join(format!("podium-fresh-turn-{}", std::process::id()));
    let clock = Clock::system();
    let workspaces = Workspaces::new(clock.clone(), 100);
    let workspace = workspaces.closed(Place::new(folder.join("chronicle")), Named::default());
    let threads = BlockingThreads::start("agents")?;
    let config = RuntimeConfig {
        code_cache: folder.join("code"),
        clock: clock.clone(),
        random: Randomness::system(),
        threads: threads.clone(),
        files: Part::new(1000),
        warm: WarmBudget::default(),
        guests: podium_runtime::room::GUESTS_MAX,
        compiler: Compiler::InProcess,
        waiting_idle: Duration::from_secs(60),
    };
    let runtime = Runtime::new(config)?;
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
    let bench = Arc::new(Bench { runtime, agent, clock, ports, workspace, text });

    for (name, callers) in [("one at a time", 1), ("eight at once", 8)] {
        let begun = bench.clock.monotonic();
        let tasks: Vec<_> =
            (0..callers).map(|_| threads.spawn("caller", Arc::clone(&bench).many(turns / callers))).collect();
        let mut times = Vec::new();
        for task in tasks {
            times.extend(task.await??);
        }
        print(name, times, bench.clock.monotonic() - begun);
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
