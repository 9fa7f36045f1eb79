//! Guests that mean harm: each abuse says what is refused, a neighbour's turn and `/health` answer meanwhile, and the
//! same instance's next turn works. docs/security.md names each of these stories.
//!
//! What guests do to files is in `hostile_files.rs`; plain traps, endless loops, floods and the limits of time are in `turn_outcomes.rs`; uploads that are no agent in
//! `bad_uploads.rs`. Timings are the benchmark's: here things answer, or the harness loses its patience.

use podium_it::{Client, Host, Neighbour, agents, component, eventually, root};
use podium_wire::rest::{Deployed, Deployment, InstanceStatus, MessageOutcome};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

/// A hostile agent on a host of its own, and an honest neighbour.
pub(crate) struct Abuse {
    pub(crate) host: Host,
    pub(crate) client: Client,
    pub(crate) id: InstanceId,
    pub(crate) neighbour: Neighbour,
}

/// The component of a hostile agent.
fn hostile(name: &str) -> Vec<u8> {
    let file = agents::built(&root().join("agents/hostile").join(name), &format!("hostile-{name}"));
    std::fs::read(file).expect("a component")
}

impl Abuse {
    /// An instance of `agents/hostile/{name}` with these limits.
    pub(crate) async fn new(name: &str, limits: &Value) -> Self {
        let host = Host::start().await;
        let client = host.client();
        let bytes = component::with_manifest(&hostile(name), |manifest| manifest["limits"] = limits.clone());
        let answer = client.deploy(bytes, None, None).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = client.instance(&format!("hostile-{name}")).await;
        let neighbour = Neighbour::of(&client).await;
        Self { host, client, id, neighbour }
    }

    /// Commits the abuse while the neighbour talks; afterwards the same instance answers again.
    async fn tried(&self, command: &str) -> MessageOutcome {
        let outcome = self.neighbour.meanwhile(self.client.ask(self.id, command)).await;
        assert_eq!(self.client.reply(self.id, "echo next").await, "next", "after `{command}`");
        outcome
    }

    /// The abuse ends the guest with this code; answers what was said.
    pub(crate) async fn ends(&self, command: &str, code: ErrorCode) -> String {
        let before = self.client.state(self.id).await;
        let logged = self.client.failures_in_log(self.id).await;
        let error = self.tried(command).await.error.unwrap_or_else(|| panic!("`{command}` ended well"));
        assert_eq!(error.code, code.to_string(), "`{command}`: {error:?}");
        self.client.failure_is_logged(self.id, &logged, &error).await;
        let after = self.client.state(self.id).await;
        assert_eq!((after.version, after.state), (before.version, before.state), "`{command}` changed the state");
        error.message
    }

    /// The abuse is borne, and this is its answer.
    pub(crate) async fn answers(&self, command: &str) -> String {
        let outcome = self.tried(command).await;
        assert_eq!(outcome.error, None, "`{command}` failed");
        outcome.text.expect("a turn that ended well has a text")
    }

    /// Memory of the host, bytes.
    async fn host_memory(&self) -> u64 {
        self.client.get("/admin/status").await.json()["memory_bytes"].as_u64().expect("a number")
    }
}

#[tokio::test]
async fn recursion_without_end() {
    let abuse = Abuse::new("greedy", &json!({})).await;
    let said = abuse.ends("recurse", ErrorCode::GuestTrap).await;
    assert!(said.contains("call stack"), "{said}");
    // A language that keeps its frames in memory runs out of that part of it.
    abuse.ends("recurse-frames", ErrorCode::GuestTrap).await;
}

#[tokio::test]
async fn memory_asked_of_the_engine_without_end() {
    let abuse = Abuse::new("greedy", &json!({"memory_bytes": 8 << 20})).await;
    let said = abuse.ends("memory", ErrorCode::MemoryLimit).await;
    assert!(said.contains("more than its 8388608 bytes of memory"), "{said}");
}

#[tokio::test]
async fn tables_without_end() {
    let host = Host::start().await;
    let client = host.client();
    let file = root().join("tests/it/tests/it/hostile/tables.wat");
    let text = std::fs::read_to_string(file).expect("a component");
    let answer = client.deploy(component::from_text(&text), Some("tables"), Some("1.0.0")).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = client.instance("tables").await;
    let neighbour = Neighbour::of(&client).await;
    for _ in 0..2 {
        let error = neighbour.meanwhile(client.failure(id, "grow", ErrorCode::TableLimit)).await;
        assert!(error.message.contains("a table beyond its 20000 elements"), "{error:?}");
        assert_eq!(client.ask(id, "and now an honest one").await.error, None);
    }
}

#[tokio::test]
async fn lists_and_strings_of_4_gib() {
    let abuse = Abuse::new("greedy", &json!({})).await;
    let before = abuse.host_memory().await;
    abuse.ends("list", ErrorCode::GuestTrap).await;
    abuse.ends("return", ErrorCode::GuestTrap).await;
    abuse.ends("random 4294967295", ErrorCode::HostCallLimit).await;
    abuse.ends("random 18446744073709551615", ErrorCode::HostCallLimit).await;
    let after = abuse.host_memory().await;
    assert!(after < before + (128 << 20), "the host grew from {before} to {after} bytes");
}

#[tokio::test]
async fn more_bytes_in_one_call_than_a_call_may_bring() {
    let abuse = Abuse::new("greedy", &json!({"output_bytes": 64 << 20})).await;
    let said = abuse.ends("say 5000000", ErrorCode::HostCallLimit).await;
    assert!(said.contains("more than 4194304 bytes into the host"), "{said}");
    // What it returns is such a call, too; and a long error that fits is cut.
    let said = abuse.ends("fail 3000000", ErrorCode::HostCallLimit).await;
    assert!(said.contains("more than 4194304 bytes into the host"), "{said}");
    let said = abuse.ends("fail 1000000", ErrorCode::GuestError).await;
    assert!(said.len() <= 8 << 10, "{} bytes", said.len());
    assert_eq!(abuse.answers("say 3000000").await.len(), 3_000_000);
}

#[tokio::test]
async fn a_flood_of_log_is_dropped_and_counted() {
    let abuse = Abuse::new("greedy", &json!({})).await;
    for command in ["log 20000", "print 20000"] {
        abuse.answers(command).await;
        let lines = abuse.client.logs(abuse.id).await.lines;
        let bytes: usize = lines.iter().map(|line| line.message.len()).sum();
        assert!(bytes < 3 << 20, "{bytes} bytes were kept");
        assert!(lines.iter().any(|line| line.message.contains("lines of this turn were dropped")), "`{command}`");
    }
}

#[tokio::test]
async fn patches_that_double_dive_and_never_end() {
    let abuse = Abuse::new("greedy", &json!({"cpu_ms": 5000})).await;
    let before = abuse.host_memory().await;
    let limit = ErrorCode::StateLimit.to_string();
    for kind in ["double", "deep", "many"] {
        let said = abuse.answers(&format!("patch {kind}")).await;
        assert!(said.starts_with(&limit), "{kind}: {said}");
    }
    let said = abuse.answers("patch bottomless").await;
    assert!(said.starts_with(&ErrorCode::InvalidJson.to_string()), "{said}");
    let said = abuse.answers("patch root").await;
    assert!(said.starts_with(&ErrorCode::PatchRejected.to_string()), "{said}");
    let said = abuse.ends("patches", ErrorCode::OutputLimit).await;
    assert!(said.contains("output is larger than its 4194304 bytes"), "{said}");
    let after = abuse.host_memory().await;
    assert!(after < before + (128 << 20), "the host grew from {before} to {after} bytes");
}

#[tokio::test]
async fn randomness_in_gigabytes() {
    let abuse = Abuse::new("greedy", &json!({"cpu_ms": 1500})).await;
    let said = abuse.ends("randoms", ErrorCode::CpuLimit).await;
    assert!(said.contains("more than its 1500 ms of processor time"), "{said}");
    let said = abuse.ends("random 4194305", ErrorCode::HostCallLimit).await;
    assert!(said.contains("more than 4194304 bytes into the host"), "{said}");
    assert_eq!(abuse.answers("random 1000000").await, "1000000");
}

#[tokio::test]
async fn streams_dropped_unread() {
    // Far more than it may hold at once: what is dropped counts no more.
    let abuse = Abuse::new("files", &json!({"open_handles": 40})).await;
    assert_eq!(abuse.answers("drop-streams 5000").await, "dropped");
    assert_eq!(abuse.answers("drop-streams 5000").await, "dropped");
    // Those of the component model, and what a guest gets that keeps them.
    let abuse = Abuse::new("idler", &json!({})).await;
    abuse.answers("drop-streams 1").await;
    let before = most_memory(&abuse.host);
    assert_eq!(abuse.answers("drop-streams 30000").await, "dropped");
    for hoard in ["hoard-streams", "hoard-inputs", "hoard-outputs"] {
        let said = abuse.ends(hoard, ErrorCode::TableLimit).await;
        assert!(said.contains("more than its 10000 host resources"), "{hoard}: {said}");
    }
    let after = most_memory(&abuse.host);
    assert!(after < before + (256 << 20), "the host grew from {before} to {after} bytes");
}

#[tokio::test]
async fn sleep_for_ever() {
    let abuse = Abuse::new("idler", &json!({"wait_ms": 1000})).await;
    for command in ["for-ever", "block-for-ever"] {
        let said = abuse.ends(command, ErrorCode::WaitLimit).await;
        assert!(said.contains("waited longer than its 1000 ms"), "{command}: {said}");
    }
}

#[tokio::test]
async fn waiting_for_nothing() {
    let abuse = Abuse::new("idler", &json!({})).await;
    abuse.ends("for-nothing", ErrorCode::GuestStuck).await;
}

#[tokio::test]
async fn a_million_pollables() {
    let abuse = Abuse::new("idler", &json!({})).await;
    let said = abuse.ends("pollables", ErrorCode::TableLimit).await;
    assert!(said.contains("more than its 10000 host resources"), "{said}");
    let said = abuse.ends("timers", ErrorCode::TableLimit).await;
    assert!(said.contains("one more timer than the 256 calls that may wait at once"), "{said}");
    // The same one again and again is only a long list, until each place of it counts as held.
    assert_eq!(abuse.answers("poll 5000").await, "5000");
    let said = abuse.ends("poll 100000", ErrorCode::TableLimit).await;
    assert!(said.contains("more than its 10000 host resources"), "{said}");
    let said = abuse.ends("poll 1000000", ErrorCode::HostCallLimit).await;
    assert!(said.contains("more than 4194304 bytes into the host"), "{said}");
    abuse.ends("poll-nothing", ErrorCode::GuestTrap).await;
}

#[tokio::test]
async fn a_guest_that_only_yields() {
    let abuse = Abuse::new("idler", &json!({"cpu_ms": 1500})).await;
    let said = abuse.ends("yield", ErrorCode::CpuLimit).await;
    assert!(said.contains("more than its 1500 ms of processor time"), "{said}");
}

#[tokio::test]
async fn tasks_that_outlive_their_answer() {
    let abuse = Abuse::new("idler", &json!({"cpu_ms": 1500})).await;
    assert_eq!(abuse.answers("outlive").await, "outlived");
    assert_eq!(abuse.answers("outlive-spinning").await, "outlived");
    let info = abuse.client.info(abuse.id).await;
    assert_eq!(info.status, InstanceStatus::Resting);
    // And no guest lives on with its task.
    eventually("no guest", async || {
        let figures = abuse.client.get("/metrics").await.text();
        figures.lines().any(|line| line == "podium_guests 0").then_some(())
    })
    .await;
}

#[tokio::test]
async fn futures_dropped_unread_and_hoarded() {
    let abuse = Abuse::new("idler", &json!({})).await;
    assert_eq!(abuse.answers("drop 100000").await, "dropped");
    assert_eq!(abuse.answers("hoard 200").await, "200");
    let said = abuse.ends("hoard 1000000", ErrorCode::TableLimit).await;
    assert!(said.contains("more than its 10000 host resources"), "{said}");
}

/// The most memory that the host has taken so far, bytes.
fn most_memory(host: &Host) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a high water mark");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

#[tokio::test]
async fn pages_of_history_hoarded_unread() {
    let abuse = Abuse::new("idler", &json!({})).await;
    // All of them together would be 765 MB.
    assert_eq!(abuse.answers("say 3000000").await.len(), 3_000_000);
    abuse.answers("hoard-history 1").await;
    let before = most_memory(&abuse.host);
    // The echo behind each abuse is a message of its own, so the long one is not the last any more.
    for _ in 0..2 {
        assert_eq!(abuse.client.reply(abuse.id, "say 3000000").await.len(), 3_000_000);
        let codes: Value = serde_json::from_str(&abuse.answers("hoard-history 256").await).expect("JSON");
        assert_eq!(codes["answered"], 1, "{codes}");
        assert_eq!(codes[ErrorCode::TooManyCalls.to_string()], 255, "{codes}");
    }
    let after = most_memory(&abuse.host);
    assert!(after < before + (256 << 20), "the host grew from {before} to {after} bytes");
}

#[tokio::test]
async fn pages_of_history_left_in_a_warm_guest() {
    let host = Host::start().await;
    let client = host.client();
    let bytes = component::with_manifest(&hostile("idler"), |manifest| manifest["keep_warm"] = json!(true));
    assert_eq!(client.deploy(bytes, None, None).await.status, 201);
    let id = client.instance("hostile-idler").await;
    client.reply(id, "say 100000").await;
    let kept = async || {
        let figures = client.get("/metrics").await.text();
        figures.lines().any(|line| line == "podium_warm_guests 1")
    };
    assert!(kept().await);
    assert_eq!(client.reply(id, "leave-history 2").await, "left");
    assert!(!kept().await, "what it left would add up");
    client.reply(id, "echo next").await;
    assert!(kept().await);
}

#[tokio::test]
async fn more_calls_in_flight_than_may_be() {
    let abuse = Abuse::new("idler", &json!({})).await;
    let codes: Value = serde_json::from_str(&abuse.answers("in-flight 300").await).expect("JSON");
    assert_eq!(codes[ErrorCode::TooManyCalls.to_string()], 44, "{codes}");
    assert_eq!(codes["answered"], 256, "{codes}");
}

#[tokio::test]
async fn no_clock_tells_how_long_work_takes() {
    let abuse = Abuse::new("idler", &json!({})).await;
    let told = |text: String| -> Value { serde_json::from_str(&text).expect("JSON") };
    let little = told(abuse.answers("clocks 1").await);
    let much = told(abuse.answers("clocks 30000000").await);
    assert_eq!(little["passed_ns"], much["passed_ns"], "{little} {much}");
    assert!(much["passed_ns"][0].as_u64().expect("a number") < 10, "{much}");
    // They are one clock.
    let read = |name: &str| much[name].as_u64().expect("a number");
    assert!(read("wall_ns") - read("monotonic_ns") < 10, "{much}");
    // What it has written after its work was written when the work began, and what it touches it touches then.
    for time in much["file_ns"].as_array().expect("times") {
        assert!(time.as_u64().is_some_and(|time| time <= read("monotonic_ns") + 100), "{much}");
    }
    let touched = abuse.host.data().path().join(format!("instances/{}/chronicle/work/touched", abuse.id));
    let touched = touched.metadata().and_then(|metadata| metadata.modified()).expect("a file with a time");
    let touched = touched.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    assert!(touched.abs_diff(u128::from(read("monotonic_ns"))) < 100, "{touched} {much}");
}

#[tokio::test]
async fn a_start_function_that_loops() {
    let host = Host::start().await;
    let client = host.client();
    let answer = Neighbour::of(&client).await.meanwhile(client.deploy(hostile("start"), None, None)).await;
    answer.refused(ErrorCode::DescribeFailed);
    client.create(&json!({"deployment_id": "hostile-start"})).await.refused(ErrorCode::DeploymentNotFound);
}

/// The agent that does this in `describe`.
fn described(order: &str) -> Vec<u8> {
    component::replaced(hostile("describer"), b"describe nothing", format!("{order:<16}").as_bytes())
}

#[tokio::test]
async fn describe_has_neither_turn_nor_files() {
    let host = Host::start().await;
    let client = host.client();
    let neighbour = Neighbour::of(&client).await;
    for (order, call) in [
        ("describe state", "state.get"),
        ("describe patch", "state.apply"),
        ("describe config", "config.get"),
        ("describe say", "updates.emit"),
    ] {
        let answer = neighbour.meanwhile(client.deploy(described(order), None, None)).await;
        let error = answer.refused(ErrorCode::DescribeFailed);
        let said = format!("`describe` may not call `{call}`: it has no turn");
        assert!(error.message.contains(&said), "{order}: {error:?}");
    }
    client.deploy(described("describe spin"), None, None).await.refused(ErrorCode::DescribeFailed);
    // There is no folder to open: it is told so, and may still describe itself.
    for (order, version) in [("describe read", "1.0.0"), ("describe write", "1.0.1")] {
        let deployed: Deployed = client.deploy(described(order), None, Some(version)).await.with(201);
        let described = deployed.deployment.description.config_default.expect("a configuration");
        assert!(described["said"].as_str().is_some_and(|said| said.starts_with("refused: ")), "{order}: {described:?}");
    }
    let id = client.instance("hostile-describer").await;
    assert_eq!(client.reply(id, "hello").await, "hello");
    assert!(client.files(id).await.files.is_empty());
}

#[tokio::test]
async fn describe_is_called_once() {
    let host = Host::start().await;
    let deployed: Deployed = host.client().deploy(described("describe nothing"), None, None).await.with(201);
    assert_eq!(deployed.deployment.description.config_default.expect("a configuration")["said"], "nothing");
    let folder = format!("deployments/hostile-describer/{}", deployed.deployment.version);
    let data = host.kill();
    // What it said is kept beside the component. Were it asked again, it would say again what it said.
    let mut kept = 0;
    for entry in std::fs::read_dir(data.path().join(folder)).expect("a deployment").flatten() {
        let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
        if text.contains("\"nothing\"") {
            std::fs::write(entry.path(), text.replace("\"nothing\"", "\"kept\"")).expect("written");
            kept += 1;
        }
    }
    assert_eq!(kept, 1, "one file keeps it");
    for keeps_code in [true, false] {
        if !keeps_code {
            std::fs::remove_dir_all(data.path().join("cache")).expect("the cache goes");
        }
        let host = Host::start_on(&data).await;
        let client = host.client();
        let shown: Deployment = client.get("/api/v1/deployments/hostile-describer").await.with(200);
        assert_eq!(shown.description.config_default.expect("a configuration")["said"], "kept");
        let id = client.instance("hostile-describer").await;
        assert_eq!(client.config(id).await.config["said"], "kept");
        assert_eq!(client.reply(id, "hello").await, "hello");
        host.kill();
    }
}

#[tokio::test]
async fn a_component_of_10_000_instances() {
    let host = Host::start().await;
    let flat = format!("(component (core module $m) {})", "(core instance (instantiate $m))".repeat(10_000));
    let hundred = "(core instance (instantiate $m))".repeat(100);
    let nested =
        format!("(component (component $c (core module $m) {hundred}) {})", "(instance (instantiate $c))".repeat(100));
    for text in [flat, nested] {
        let answer = host.client().deploy(component::from_text(&text), Some("bad"), Some("1.0.0")).await;
        answer.refused(ErrorCode::InvalidComponent);
    }
    assert_eq!(host.client().get("/health").await.status, 200);
}

/// A component with so many linear memories, whose every message waits for an hour.
fn waiting_with(memories: usize) -> Vec<u8> {
    let mut text = include_str!("hostile/tables.wat").to_owned();
    let waits = include_str!("hostile/waits.wat");
    // One memory is the code's own.
    let more =
        "(core module $more (memory 1))".to_owned() + &"(core instance (instantiate $more))".repeat(memories - 1);
    let grows = "(drop (table.grow $table (ref.null func) (i32.const 1000)))\n        (br $again))\n      unreachable)";
    for (part, other) in [
        ("  (core module $code\n", format!("{waits}{more}\n  (core module $code\n{IMPORTS}")),
        (
            "(loop $again\n        ",
            "(call $block (call $subscribe (i64.const 3600000000000)))\n      i32.const 64)".to_owned(),
        ),
        (grows, String::new()),
        ("(instantiate $code)", "(instantiate $code (with \"host\" (instance $host)))".to_owned()),
    ] {
        assert!(text.contains(part), "tables.wat has no {part:?}");
        text = text.replacen(part, &other, 1);
    }
    component::from_text(&text)
}

/// What its code calls to wait.
const IMPORTS: &str = r#"
    (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "host" "block" (func $block (param i32)))
"#;

#[tokio::test]
async fn guests_that_take_every_place() {
    let host = Host::start_with(&["--guests", "8"], &[]).await;
    let client = host.client();
    let error =
        client.deploy(waiting_with(5), Some("waiting"), Some("1.0.0")).await.refused(ErrorCode::InvalidComponent);
    assert!(error.message.contains("5 Wasm linear memories") && error.message.contains("maximum of 4"), "{error:?}");
    let answer = client.deploy(waiting_with(4), Some("waiting"), Some("1.0.0")).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let neighbour = Neighbour::of(&client).await;
    let mut taking = Vec::new();
    for n in 0..6 {
        let id = client.instance("waiting").await;
        client.post_message(id, "m-1", "go and wait").await;
        // Each takes four of the eight places; from the third on they wait for one.
        let status = if n < 2 { InstanceStatus::Waiting } else { InstanceStatus::Running };
        client.until(id, "it has its place or waits for it", |info| info.status == status).await;
        taking.push(id);
        if n == 0 {
            neighbour.is_served().await;
        }
    }
    // The neighbour waits behind them, and is served when its turn has come; no message is lost to the want of room.
    let free = async {
        for id in taking {
            client.until(id, "it has its place", |info| info.status == InstanceStatus::Waiting).await;
            assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
            let error = client.ask_as(id, "m-1", "go and wait").await.error.expect("an error");
            assert_eq!(error.known_code(), Some(ErrorCode::Interrupted), "{error:?}");
        }
    };
    neighbour.meanwhile(free).await;
}

#[tokio::test]
async fn exports_of_the_wrong_types() {
    let host = Host::start().await;
    let text = include_str!("hostile/wrong_types.wat");
    let answer = host.client().deploy(component::from_text(text), Some("bad"), Some("1.0.0")).await;
    let error = answer.refused(ErrorCode::WrongWorld);
    for fault in ["`describe` has another type", "`on-message` has another type", "`on-init` is missing"] {
        assert!(error.message.contains(fault), "{error:?}");
    }
    assert_eq!(host.client().get("/health").await.status, 200);
}

#[tokio::test]
async fn the_limits_in_force_are_shown() {
    let host = Host::start().await;
    let client = host.client();
    let limits = json!({"memory_bytes": 8 << 20, "cpu_ms": 1234});
    let answer = client.deploy(agents::with_limits("hello", &limits), None, None).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let cli = podium_it::Cli::new(host.data()).url(host.url());
    let shown = cli.run(&["deployment", "show", "hello", "--json"]).await.json();
    assert_eq!(shown["limits"]["memory_bytes"], 8 << 20);
    assert_eq!(shown["limits"]["cpu_ms"], 1234);
    assert_eq!(shown["limits"]["open_handles"], 256);
    let said = cli.run(&["deployment", "show", "hello"]).await;
    for (name, value) in shown["limits"].as_object().expect("limits") {
        let printed = said.ok().lines().any(|line| line.split_whitespace().eq([name.as_str(), &value.to_string()]));
        assert!(printed, "`{name}` is not in\n{}", said.stdout);
    }
}
