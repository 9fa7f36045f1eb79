//! Real guests through `Runtime::run`: the clock, the gate, limits, stops and traps.
//!
//! The agents are built by the `podium` that was built beside these tests, once; `PODIUM_TEST_AGENTS` names a folder with
//! `probe.wasm` and `counter.wasm` instead. Must never pass without having run a guest.

#[path = "guests/durable.rs"]
mod durable;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use podium_capabilities::ports::{HistoryPort, JournalPort, LogSink, NewLine, Ports, TurnWatch, UpdateSink};
use podium_capabilities::workspace::{Workspace, Workspaces};
use podium_capabilities::{JournalStart, Limits, Turn, TurnOutput, TurnSpec};
use podium_chronicle::{Named, Place};
use podium_kit::descriptors::Part;
use podium_kit::{BlockingThreads, Clock, Randomness};
use podium_runtime::{
    Agent, Call, Compiler, Runtime, RuntimeConfig, StopReason, StopSignal, TurnEnd, WarmBudget, stop_pair,
};
use podium_store::JournalRow;
use podium_wire::message::{HistoryEntry, Message, Origin, Role};
use podium_wire::updates::{EventType, TurnKind, TurnSnapshot, Update};
use podium_wire::{Digest, ErrorCode, WireError};
use serde_json::json;

#[derive(Default)]
struct Kept {
    updates: Mutex<Vec<Update>>,
    lines: Mutex<Vec<NewLine>>,
    waits: Mutex<Vec<bool>>,
    rows: Mutex<Vec<JournalRow>>,
}

impl UpdateSink for Kept {
    fn update(&self, update: Update) {
        self.updates.lock().expect("not poisoned").push(update);
    }

    fn snapshot(&self, _: TurnSnapshot) {}
}

impl JournalPort for Kept {
    fn write(&self, turn: Turn) -> BoxFuture<'static, Result<(), WireError>> {
        let taken = turn.take_undurable();
        self.rows.lock().expect("not poisoned").extend(taken.into_iter().flat_map(|taken| taken.rows));
        async { Ok(()) }.boxed()
    }
}

impl LogSink for Kept {
    fn log(&self, line: NewLine) {
        self.lines.lock().expect("not poisoned").push(line);
    }
}

impl TurnWatch for Kept {
    fn waiting(&self, waiting: bool) {
        self.waits.lock().expect("not poisoned").push(waiting);
    }
}

impl HistoryPort for Kept {
    fn page(&self, _before: Option<u64>, limit: u32) -> BoxFuture<'static, Result<Vec<HistoryEntry>, WireError>> {
        let entry = |seq| HistoryEntry { seq, cut: 1, role: Role::User, text: format!("message {seq}"), at: seq };
        async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            Ok((1..=u64::from(limit)).map(entry).collect())
        }
        .boxed()
    }
}

/// A runtime with one agent in it.
struct House {
    folder: tempfile::TempDir,
    workspace: Workspace,
    runtime: Runtime,
    agent: Arc<Agent>,
}

/// A turn that was run.
struct Ran {
    end: TurnEnd,
    turn: Turn,
    kept: Arc<Kept>,
}

impl Ran {
    fn output(&self) -> TurnOutput {
        assert_eq!(self.end, TurnEnd::Completed);
        self.turn.complete()
    }

    fn text(&self) -> String {
        self.output().text
    }

    fn failed(&self) -> WireError {
        let TurnEnd::Failed(error) = &self.end else { panic!("ended otherwise: {:?}", self.end) };
        error.clone()
    }

    fn code(&self) -> Option<ErrorCode> {
        self.failed().known_code()
    }

    fn log(&self) -> String {
        let lines = self.kept.lines.lock().expect("not poisoned");
        lines.iter().map(|line| format!("{}: {}\n", line.module, line.message)).collect()
    }
}

/// The bytes of an agent's component.
fn component(agent: &str) -> Vec<u8> {
    let file = match std::env::var_os("PODIUM_TEST_AGENTS") {
        Some(folder) => PathBuf::from(folder).join(format!("{agent}.wasm")),
        None => built(agent),
    };
    std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// The component that `podium build` makes of `agents/{agent}`, once in this process.
fn built(agent: &str) -> PathBuf {
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    // One test that fails to build says so; the others try themselves.
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{agent}.wasm"));
    if built.iter().any(|name| name == agent) {
        return file;
    }
    let beside = std::env::current_exe().expect("this test is a file");
    // target/ci/deps/guests-… has its `podium` in target/ci.
    let podium = beside.parent().and_then(Path::parent).expect("within a target folder").join("podium");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agents").join(agent);
    let output = Command::new(&podium)
        .arg("build")
        .arg(source)
        .arg("-o")
        .arg(&file)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("{}: {error}; build the whole workspace first, as `make test` does", podium.display())
        });
    assert!(output.status.success(), "podium build {agent}: {}", String::from_utf8_lossy(&output.stderr));
    built.push(agent.to_owned());
    file
}

impl House {
    async fn with(agent: &str) -> Self {
        Self::with_guests(agent, podium_runtime::room::GUESTS_MAX).await
    }

    /// With room for so many guests.
    async fn with_guests(agent: &str, guests: usize) -> Self {
        Self::made(agent, guests, Duration::from_secs(60)).await
    }

    /// Whose guests are dropped when they have waited so long.
    async fn idle_after(agent: &str, waiting_idle: Duration) -> Self {
        Self::made(agent, podium_runtime::room::GUESTS_MAX, waiting_idle).await
    }

    async fn made(agent: &str, guests: usize, waiting_idle: Duration) -> Self {
        let folder = tempfile::tempdir().expect("makes");
        // One cache for all tests and runs: what one has compiled, the others map.
        let code_cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("guests-code");
        let threads = BlockingThreads::start("guests").expect("threads");
        let config = RuntimeConfig {
            code_cache,
            clock: Clock::system(),
            random: Randomness::system(),
            threads,
            files: Part::new(1000),
            warm: WarmBudget::default(),
            guests,
            compiler: Compiler::InProcess,
            waiting_idle,
        };
        let runtime = Runtime::new(config).expect("starts");
        let bytes = component(agent);
        let digest = Digest::from_bytes(*blake3::hash(&bytes).as_bytes());
        let agent = runtime.load(&digest, async { Ok(bytes.into()) }).await.expect("loads");
        let place = Place::new(folder.path());
        let workspace = Workspaces::new(Clock::system(), 100).closed(place, Named::default());
        Self { folder, workspace, runtime, agent }
    }

    fn turn(&self, change: impl FnOnce(&mut TurnSpec)) -> (Turn, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        let clock = Clock::system();
        let mut spec = TurnSpec {
            instance: "0198c0de-0000-7000-8000-000000000001".parse().expect("valid"),
            deployment: "probe:1.0.0@2b795103".parse().expect("valid"),
            turn: 1,
            turn_id: "t-1".to_owned(),
            attempt: 1,
            message_id: Some("m-1".to_owned()),
            kind: TurnKind::Message,
            seed: [7; 32],
            limits: Limits::default(),
            state: Arc::new(json!({})),
            state_version: 0,
            config: Arc::new(json!({})),
            config_rev: 1,
            workspace: self.workspace.clone(),
            now_ms: clock.now_ms(),
            journal: JournalStart::Off,
        };
        change(&mut spec);
        let ports = Ports {
            updates: kept.clone(),
            logs: kept.clone(),
            history: kept.clone(),
            watch: kept.clone(),
            journal: kept.clone(),
            clock,
        };
        (Turn::new(spec, ports), kept)
    }

    async fn run(&self, text: &str, change: impl FnOnce(&mut TurnSpec), stop: StopSignal) -> Ran {
        let (turn, kept) = self.turn(change);
        let end = self.runtime.run(&self.agent, turn.clone(), message(text), stop).await;
        Ran { end, turn, kept }
    }

    async fn say(&self, text: &str) -> Ran {
        self.say_with(text, |_| {}).await
    }

    async fn say_with(&self, text: &str, change: impl FnOnce(&mut TurnSpec)) -> Ran {
        let (_handle, stop) = stop_pair();
        self.run(text, change, stop).await
    }
}

fn message(text: &str) -> Call {
    Call::Message(Message {
        id: "m-1".to_owned(),
        text: text.to_owned(),
        role: Role::User,
        attachments: Vec::new(),
        origin: Origin { tenant_id: "local".to_owned(), role: "owner".to_owned(), channel: "ws".to_owned() },
    })
}

#[tokio::test]
async fn an_agent_describes_itself_and_lists_what_it_imports() {
    let house = House::with("probe").await;
    let said = house.runtime.describe(&house.agent).await.expect("describes");
    assert!(said.hooks.contains(&podium_wire::rest::Hook::OnMessage));
    assert_eq!(said.state_schema_version, 1);
    let capabilities = house.agent.capabilities();
    for expected in ["clock", "files", "log", "messages", "state", "updates"] {
        assert!(capabilities.iter().any(|name| name == expected), "{expected} of {capabilities:?}");
    }
}

#[tokio::test]
async fn a_turn_answers_changes_its_state_and_streams() {
    let house = House::with("probe").await;
    assert_eq!(house.say("echo hello").await.text(), "hello");
    let output = house.say("push one").await.output();
    assert_eq!(output.state["items"], json!(["one"]));
    assert!(output.state_version > 0 && !output.patches.is_empty());
    let ran = house.say("stream 3").await;
    assert_eq!(ran.text(), "piece 1\npiece 2\npiece 3\n");
    let is_piece = |update: &&Update| update.event_type == EventType::TextDelta;
    assert_eq!(ran.kept.updates.lock().expect("not poisoned").iter().filter(is_piece).count(), 3);
    house.say("elements").await.output();
}

#[tokio::test]
async fn init_and_config_changes_call_their_hooks() {
    let house = House::with("probe").await;
    for call in [Call::Init, Call::ConfigChange { changes: Vec::new(), source: "test".to_owned() }] {
        let (turn, _) = house.turn(|_| {});
        let (_handle, stop) = stop_pair();
        assert_eq!(house.runtime.run(&house.agent, turn, call, stop).await, TurnEnd::Completed);
    }
}

#[tokio::test]
async fn history_comes_through_the_gate_and_counts_as_waiting() {
    let house = House::with("probe").await;
    let ran = house.say("history 2").await;
    let text = ran.text();
    assert!(text.contains("message 1\n") && text.ends_with("message 2"), "{text}");
    assert_eq!(*ran.kept.waits.lock().expect("not poisoned"), [true, false]);
}

#[tokio::test]
async fn files_are_the_workspace_and_nothing_else() {
    let house = House::with("probe").await;
    assert_eq!(house.say("write notes.md some words").await.text(), "written");
    assert_eq!(std::fs::read_to_string(house.folder.path().join("work/notes.md")).expect("is there"), "some words");
    assert_eq!(house.say("read notes.md").await.text(), "some words");
    assert_eq!(house.say("ls").await.text(), "notes.md");
    for outside in ["read ../code/key", "read /etc/passwd", "write ../escaped x"] {
        assert_eq!(house.say(outside).await.code(), Some(ErrorCode::GuestError), "{outside}");
    }
}

#[tokio::test]
async fn timers_pass_and_the_clock_moves_with_them_only() {
    let house = House::with("probe").await;
    for command in ["sleep 80", "block 80"] {
        let begun = std::time::Duration::from_millis(Clock::system().now_ms());
        let ran = house.say(command).await;
        ran.output();
        let passed = Duration::from_millis(Clock::system().now_ms()) - begun;
        assert!(passed >= Duration::from_millis(80), "{command} took {passed:?}");
        assert!(ran.turn.clock().now_ns() / 1_000_000 >= ran.turn.spec().now_ms + 80);
        assert_eq!(*ran.kept.waits.lock().expect("not poisoned"), [true, false]);
    }
    let ran = house.say_with("now", |spec| spec.now_ms = 1_234).await;
    assert_eq!(ran.text(), "1234");
}

#[tokio::test]
async fn randomness_comes_from_the_seed() {
    let house = House::with("probe").await;
    let draw = |seed: u8| house.say_with("random", move |spec| spec.seed = [seed; 32]);
    let first = draw(1).await.text();
    assert_eq!(draw(1).await.text(), first);
    assert_ne!(draw(2).await.text(), first);
}

#[tokio::test]
async fn output_and_traces_go_to_the_log() {
    let house = House::with("probe").await;
    assert!(house.say("print to the log").await.log().contains("stdout: to the log\n"));
    let ran = house.say("boom because").await;
    assert_eq!(ran.code(), Some(ErrorCode::GuestTrap));
    assert!(ran.failed().message.contains("because"), "{}", ran.failed().message);
    assert!(ran.log().contains("podium: trap: wasm trap: wasm `unreachable` instruction executed\n"), "{}", ran.log());
}

#[tokio::test]
async fn an_error_of_the_agent_keeps_its_words() {
    let house = House::with("probe").await;
    let error = house.say("fail gently").await.failed();
    assert_eq!(error.known_code(), Some(ErrorCode::GuestError));
    assert!(error.message.contains("probe_failed") && error.message.contains("gently"), "{}", error.message);
}

#[tokio::test]
async fn limits_end_the_guest_and_the_next_turn_works() {
    let house = House::with("probe").await;
    let second = Duration::from_secs(1);
    let ran = house.say_with("spin", |spec| spec.limits.cpu = second / 5).await;
    assert_eq!(ran.code(), Some(ErrorCode::CpuLimit));
    assert_eq!(house.say("grow").await.code(), Some(ErrorCode::MemoryLimit));
    let ran = house.say_with("flood", |spec| spec.limits.updates = 1_000).await;
    assert_eq!(ran.code(), Some(ErrorCode::UpdatesLimit));
    assert_eq!(ran.kept.updates.lock().expect("not poisoned").len(), 1_000);
    let ran = house.say_with("flood", |spec| spec.limits.output_bytes = 10_000).await;
    assert_eq!(ran.code(), Some(ErrorCode::OutputLimit));
    let ran = house.say_with("sleep 60000", |spec| spec.limits.wait = second / 5).await;
    assert_eq!(ran.code(), Some(ErrorCode::WaitLimit));
    let ran = house.say_with("sleep 300", |spec| spec.limits.wall = second / 5).await;
    assert_eq!(ran.end, TurnEnd::Completed, "waiting is no wall time");
    assert_eq!(house.say("echo well").await.text(), "well");
}

#[tokio::test]
async fn a_stop_ends_a_guest_that_spins_and_one_that_waits() {
    let house = House::with("probe").await;
    for command in ["spin", "sleep 60000", "block 60000"] {
        for (reason, interrupted) in [(StopReason::Interrupt, true), (StopReason::HostStop, false)] {
            let (handle, stop) = stop_pair();
            let ran = async {
                tokio::join!(house.run(command, |_| {}, stop), async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    handle.stop(reason);
                })
                .0
            };
            let ran = tokio::time::timeout(Duration::from_secs(5), ran).await.expect("ends soon");
            if interrupted {
                assert_eq!(ran.code(), Some(ErrorCode::Interrupted), "{command}");
            } else {
                assert_eq!(ran.end, TurnEnd::HostStopped, "{command}");
            }
        }
    }
}

#[tokio::test]
async fn spinning_guests_leave_time_for_others() {
    let house = House::with("probe").await;
    let handles: Vec<_> = (0..32).map(|_| stop_pair()).collect();
    let (handles, stops): (Vec<_>, Vec<_>) = handles.into_iter().unzip();
    let spinning = futures_util::future::join_all(stops.into_iter().map(|stop| house.run("spin", |_| {}, stop)));
    let neighbour = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let text = tokio::time::timeout(Duration::from_secs(5), house.say("echo still here")).await;
        handles.iter().for_each(|handle| handle.stop(StopReason::Interrupt));
        text.expect("answers while others spin").text()
    };
    let (spun, text) = tokio::join!(spinning, neighbour);
    assert_eq!(text, "still here");
    assert!(spun.iter().all(|ran| ran.code() == Some(ErrorCode::Interrupted)));
}

#[tokio::test]
async fn a_dropped_run_drops_its_guest() {
    let house = House::with("probe").await;
    let (turn, kept) = house.turn(|_| {});
    let (_handle, stop) = stop_pair();
    let run = house.runtime.run(&house.agent, turn.clone(), message("sleep 60000"), stop);
    assert!(tokio::time::timeout(Duration::from_millis(100), run).await.is_err());
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Only this test still holds the turn and its ports.
    drop(turn);
    assert_eq!(Arc::strong_count(&kept), 1);
}

#[tokio::test]
async fn the_counter_counts_over_fresh_guests() {
    let house = House::with("counter").await;
    let (mut state, mut version) = (Arc::new(json!({})), 0);
    for expected in 1..=50_u64 {
        let ran = house
            .say_with("add", |spec| {
                spec.state = Arc::clone(&state);
                spec.state_version = version;
            })
            .await;
        let output = ran.output();
        assert_eq!(output.text, expected.to_string());
        (state, version) = (output.state, output.state_version);
    }
    assert_eq!(*state, json!({"count": 50}));
    assert_eq!(version, 50);
}

#[tokio::test]
async fn a_turn_waits_for_room_and_is_not_failed_for_want_of_it() {
    let house = House::with_guests("probe", 2).await;
    let (handles, stops): (Vec<_>, Vec<_>) = (0..2).map(|_| stop_pair()).unzip();
    let waiting = futures_util::future::join_all(stops.into_iter().map(|stop| house.run("sleep 60000", |_| {}, stop)));
    let third = async {
        let full = async {
            while house.runtime.guests() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), full).await.expect("two guests live");
        let mut third = std::pin::pin!(house.say("echo at last"));
        assert!(tokio::time::timeout(Duration::from_millis(300), &mut third).await.is_err(), "there is no room");
        handles[0].stop(StopReason::Interrupt);
        let ran = tokio::time::timeout(Duration::from_secs(60), third).await.expect("has room");
        handles[1].stop(StopReason::Interrupt);
        ran.text()
    };
    let (waited, text) = tokio::join!(waiting, third);
    assert_eq!(text, "at last");
    assert!(waited.iter().all(|ran| ran.code() == Some(ErrorCode::Interrupted)));
    assert_eq!(house.runtime.guests(), 0);
}
