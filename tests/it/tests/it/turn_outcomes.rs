//! How turns end that do not end well: each gives a clear error, rolls back, and harms nobody else (TURN §6).

use std::time::{Duration, Instant};

use podium_it::{Cli, Client, Host, Neighbour, agents, root};
use podium_wire::ErrorCode;
use podium_wire::InstanceId;
use podium_wire::frames::ClientFrame;
use podium_wire::rest::{InstanceStatus, LogLevel, LogLine};
use podium_wire::updates::EventType;
use serde_json::{Value, json};

/// A probe with these limits.
async fn probe(host: &Host, limits: Value) -> (Client, InstanceId) {
    let client = host.client();
    let bytes = agents::with_limits("probe", &limits);
    let answer = client.deploy(bytes, None, None).await;
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
    let id = client.instance("probe").await;
    (client, id)
}

/// A failed turn: its error, an `error` cut, the state as it was, and the next turn works.
async fn fails(client: &Client, id: InstanceId, message: &str, code: ErrorCode) -> String {
    let before = client.state(id).await;
    let logged = client.failures_in_log(id).await;
    let error = client.failure(id, message, code).await;
    client.failure_is_logged(id, &logged, &error).await;
    assert!(!error.message.is_empty() && error.hint.is_some(), "{error:?}");
    let after = client.state(id).await;
    assert_eq!((after.version, &after.state), (before.version, &before.state), "`{message}` changed the state");
    assert_eq!(after.cut, before.cut + 1, "`{message}` made one cut");
    assert_eq!(client.reply(id, "echo next").await, "next");
    error.message
}

#[tokio::test]
async fn a_trap() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    let neighbour = Neighbour::of(&client).await;
    neighbour.meanwhile(fails(&client, id, "boom with reason", ErrorCode::GuestTrap)).await;
    // The panic's words and place are in the agent's log.
    let lines = client.logs(id).await.lines;
    assert!(lines.iter().any(|line| line.message.contains("boom: with reason")), "{lines:?}");
    assert!(lines.iter().any(|line| line.message.contains("lib.rs")), "{lines:?}");
}

#[tokio::test]
async fn what_a_failed_turn_did_is_undone() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    client.reply(id, "set colour red").await;
    let mut socket = client.socket(id).await;
    let turn = socket.turn("boom").await;
    let error = turn.error.expect("an error");
    assert_eq!(error.known_code(), Some(ErrorCode::GuestTrap));
    assert_eq!(turn.text, None);
    // Of all that the turn showed only its error is kept.
    assert_eq!(turn.cut.first_seq, turn.cut.last_seq);
    let history = client.history(id).await.messages;
    assert!(history.iter().any(|entry| entry.text == "boom"), "the message itself is in the history");
    assert_eq!(client.state(id).await.state["values"], json!({"colour": "red"}));
}

#[tokio::test]
async fn an_error_of_the_agent_s_own() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    let outcome = client.ask(id, "fail on purpose").await;
    // Where in the agent's source it was made is for its author: in the log, not in the answer.
    let source = std::fs::read_to_string(root().join("agents/probe/src/lib.rs")).expect("the probe's source");
    let line = 1 + source.lines().position(|line| line.contains("asked to fail")).expect("the line");
    let logged = client.logs(id).await.lines;
    let place = |line: &LogLine| line.level == LogLevel::Error && line.module == "on_message";
    let places: Vec<&str> = logged.iter().filter(|line| place(line)).map(|line| line.message.as_str()).collect();
    assert!(
        matches!(places[..], [said] if said.starts_with("probe_failed at ") && said.ends_with(&format!("src/lib.rs:{line}"))),
        "{logged:?}"
    );
    let error = outcome.error.expect("an error");
    assert!(error.message.contains("asked to fail: on purpose"), "{error:?}");
    client.failure_is_logged(id, &[], &error).await;
    assert_eq!(error.code, ErrorCode::GuestError.to_string(), "{error:?}");
    assert_eq!(client.reply(id, "echo next").await, "next");
}

#[tokio::test]
async fn an_agent_cannot_claim_what_only_the_host_can_say() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    for code in ErrorCode::ALL {
        let error = client.failure(id, &format!("claim {code}"), ErrorCode::GuestError).await;
        assert_eq!(error.message, format!("{code}: in the agent's own words"));
    }
    // Without a code the words stand alone.
    let error = client.failure(id, "claim", ErrorCode::GuestError).await;
    assert_eq!(error.message, "in the agent's own words");
}

#[tokio::test]
async fn a_patch_that_does_not_apply_changes_nothing_and_names_the_operation() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    client.reply(id, "set colour red").await;
    let before = client.state(id).await;
    let told = client.reply(id, "badpatch").await;
    assert!(told.contains("POD-4010") || told.contains("patch_rejected") || told.contains("patch-rejected"), "{told}");
    assert!(told.contains("/nowhere/at/all"), "{told}");
    let after = client.state(id).await;
    assert_eq!(after.state["values"], before.state["values"]);
    assert_eq!(client.reply(id, "echo next").await, "next");
}

#[tokio::test]
async fn an_endless_loop_ends_and_stalls_nobody() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({"cpu_ms": 2500})).await;
    let neighbour = client.instance("probe").await;
    client.reply(neighbour, "echo warm").await;
    client.post_message(id, "endless", "spin").await;
    client.until(id, "it spins", |info| info.status == InstanceStatus::Running).await;
    // While it spins, others are answered at once.
    let mut slowest = Duration::ZERO;
    let mut answered = 0;
    while client.info(id).await.status == InstanceStatus::Running {
        let start = Instant::now();
        assert_eq!(client.reply(neighbour, "echo here").await, "here");
        slowest = slowest.max(start.elapsed());
        let start = Instant::now();
        assert_eq!(client.get("/health").await.status, 200);
        slowest = slowest.max(start.elapsed());
        answered += 1;
    }
    assert!(answered > 5, "the neighbour was answered {answered} times");
    assert!(slowest < Duration::from_secs(2), "the neighbour waited {slowest:?}");
    let outcome = client.ask_as(id, "endless", "spin").await;
    let error = outcome.error.expect("an error");
    assert_eq!(error.known_code(), Some(ErrorCode::CpuLimit));
    assert!(error.message.contains("more than its 2500 ms of processor time"), "{error:?}");
    client.failure_is_logged(id, &[], &error).await;
    assert_eq!(client.reply(id, "echo next").await, "next");
}

#[tokio::test]
async fn as_many_endless_loops_as_cores_and_more_stall_nobody() {
    let host = Host::start().await;
    let (client, neighbour) = probe(&host, json!({"cpu_ms": 1500})).await;
    let mut spinning = Vec::new();
    for n in 0..8 {
        let id = client.instance("probe").await;
        client.post_message(id, &format!("spin-{n}"), "spin").await;
        spinning.push((id, format!("spin-{n}")));
    }
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(client.reply(neighbour, "echo here").await, "here");
        assert!(start.elapsed() < Duration::from_secs(5), "the neighbour waited {:?}", start.elapsed());
    }
    for (id, message) in spinning {
        let outcome = client.ask_as(id, &message, "spin").await;
        assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::CpuLimit));
    }
}

#[tokio::test]
async fn memory_without_end() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    let before = client.get("/admin/status").await.json()["memory_bytes"].as_u64().expect("a number");
    let neighbour = Neighbour::of(&client).await;
    for _ in 0..3 {
        let said = neighbour.meanwhile(fails(&client, id, "grow", ErrorCode::MemoryLimit)).await;
        assert!(said.contains("more than its 67108864 bytes of memory"), "{said}");
    }
    let after = client.get("/admin/status").await.json()["memory_bytes"].as_u64().expect("a number");
    assert!(after < before + 128 * 1024 * 1024, "the host grew from {before} to {after} bytes");
    // A larger limit is asked for in the manifest, up to the host's cap.
    let over = agents::with_limits("probe", &json!({"memory_bytes": 1_u64 << 40}));
    client.deploy(over, None, Some("9.0.0")).await.refused(ErrorCode::InvalidManifest);
}

#[tokio::test]
async fn output_without_end() {
    // The same flood, ended by the one limit or the other, whichever comes first.
    for (limits, code, expected) in [
        (json!({"updates": 1_000_000}), ErrorCode::OutputLimit, "output is larger than its 4194304 bytes"),
        (json!({"output_bytes": 64 << 20, "updates": 2_000}), ErrorCode::UpdatesLimit, "more than its 2000 updates"),
    ] {
        let host = Host::start().await;
        let (client, id) = probe(&host, limits).await;
        let said = Neighbour::of(&client).await.meanwhile(fails(&client, id, "flood", code)).await;
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn too_many_updates() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({"updates": 50})).await;
    let said = fails(&client, id, "stream 1000", ErrorCode::UpdatesLimit).await;
    assert!(said.contains("more than its 50 updates"), "{said}");
    assert_eq!(client.ask(id, "stream 10").await.error, None);
}

#[tokio::test]
async fn too_much_output() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({"output_bytes": 10_000})).await;
    let said = fails(&client, id, "stream 5000", ErrorCode::OutputLimit).await;
    assert!(said.contains("output is larger than its 10000 bytes"), "{said}");
}

#[tokio::test]
async fn a_state_that_is_too_large() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({"state_bytes": 1000})).await;
    let before = client.state(id).await.state;
    let outcome = client.ask(id, &format!("push {}", "x".repeat(2000))).await;
    let error = outcome.error.expect("an error");
    assert!(
        error.code == "POD-4011" || error.message.contains("POD-4011") || error.message.contains("1000"),
        "{error:?}"
    );
    assert_eq!(client.state(id).await.state, before);
    assert_eq!(client.reply(id, "echo next").await, "next");
}

#[tokio::test]
async fn too_long() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({"wall_ms": 500})).await;
    let said = fails(&client, id, "spin", ErrorCode::WallLimit).await;
    assert!(said.contains("took longer than its 500 ms"), "{said}");
    // Waiting is not counted.
    assert_eq!(client.reply(id, "sleep 1200").await, "slept 1200");
}

#[tokio::test]
async fn waiting_too_long() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({"wait_ms": 300})).await;
    let said = fails(&client, id, "sleep 60000", ErrorCode::WaitLimit).await;
    assert!(said.contains("waited longer than its 300 ms"), "{said}");
}

#[tokio::test]
async fn an_interrupt_ends_a_waiting_turn_and_a_spinning_one() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    let mut socket = client.socket(id).await;
    for command in ["sleep 60000", "spin", "block 60000"] {
        let before = client.state(id).await;
        let message = socket.say(command).await;
        socket.accepted().await;
        socket.until(EventType::StreamStart).await;
        let start = Instant::now();
        socket.send(&ClientFrame::Interrupt {}).await.expect("sent");
        let updates = socket.until(EventType::Cut).await;
        assert!(start.elapsed() < Duration::from_secs(5), "`{command}` took {:?}", start.elapsed());
        assert!(updates.iter().any(|update| update.event_type == EventType::Error), "`{command}`: {updates:?}");
        let outcome = client.ask_as(id, &message, command).await;
        assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::Interrupted), "`{command}`");
        assert_eq!(client.state(id).await.state, before.state);
        assert_eq!(client.reply(id, "echo next").await, "next");
        // The answer to that was shown here, too.
        socket.until(EventType::Cut).await;
    }
}

#[tokio::test]
async fn an_interrupt_over_http_and_one_without_a_turn() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    let path = format!("/api/v1/instances/{id}/interrupt");
    client.post(&path).await.refused(ErrorCode::NoActiveTurn);
    let mut socket = client.socket(id).await;
    socket.send(&ClientFrame::Interrupt {}).await.expect("sent");
    assert_eq!(socket.error().await.known_code(), Some(ErrorCode::NoActiveTurn));
    client.post_message(id, "m-1", "sleep 60000").await;
    client.until(id, "the turn runs", |info| info.status != InstanceStatus::Resting).await;
    assert_eq!(client.post(&path).await.status, 202);
    let outcome = client.ask_as(id, "m-1", "sleep 60000").await;
    assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::Interrupted));
    // And from the command line.
    client.post_message(id, "m-2", "sleep 60000").await;
    client.until(id, "the turn runs", |info| info.status != InstanceStatus::Resting).await;
    let cli = Cli::new(host.data()).url(host.url());
    let told = cli.run(&["instance", "interrupt", &id.to_string(), "--json"]).await.json();
    assert_eq!(told, json!({"instance_id": id, "done": "interrupted"}));
    let outcome = client.ask_as(id, "m-2", "sleep 60000").await;
    assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::Interrupted));
}

#[tokio::test]
async fn the_queue_goes_on_after_a_failure() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    for (message, text) in [("a", "push 1"), ("b", "boom"), ("c", "push 2"), ("d", "fail"), ("e", "push 3")] {
        client.post_message(id, message, text).await;
    }
    assert_eq!(client.ask_as(id, "e", "push 3").await.text.as_deref(), Some("3"));
    assert_eq!(client.state(id).await.state["items"], json!(["1", "2", "3"]));
}

#[tokio::test]
async fn a_wait_is_shown_as_waiting() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    client.post_message(id, "m-1", "sleep 1500").await;
    client.until(id, "it waits", |info| info.status == InstanceStatus::Waiting).await;
    assert_eq!(client.ask_as(id, "m-1", "sleep 1500").await.text.as_deref(), Some("slept 1500"));
    client.until(id, "it rests", |info| info.status == InstanceStatus::Resting).await;
}

#[tokio::test]
async fn a_fresh_guest_every_turn_draws_other_randomness_and_reads_the_time() {
    let host = Host::start().await;
    let (client, id) = probe(&host, json!({})).await;
    assert_ne!(client.reply(id, "random").await, client.reply(id, "random").await);
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let before = now();
    let told: u128 = client.reply(id, "now").await.parse().expect("a number");
    assert!((before.saturating_sub(1)..=now() + 1).contains(&told), "{before} {told}");
}
