//! Words into a running turn: durable before they are acknowledged, heard in the same guest while it waits, consumed by the
//! cut of their turn, and no way for a guest or a client to harm anybody with them (TURN §6).

use std::time::Duration;

use podium_it::database::Databases;
use podium_it::{Answer, Cli, Client, Data, Host, Neighbour, Socket, agents, guide, message_id, root};
use podium_wire::frames::{ClientFrame, Subscribe};
use podium_wire::message::MessageContent;
use podium_wire::rest::{InstanceStatus, MessageReceipt};
use podium_wire::updates::{EventType, Update, UpdateBody};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

/// A host with a steerable agent of these limits.
async fn steered(limits: Value) -> (Host, Client, InstanceId) {
    let host = Host::start().await;
    let client = host.client();
    let answer = client.deploy(agents::with_limits("steered", &limits), None, None).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = client.instance("steered").await;
    (host, client, id)
}

async fn try_steer(client: &Client, id: InstanceId, steer: &str, text: &str) -> Answer {
    let body = json!({"id": steer, "content": {"text": text}});
    client.post_json(&format!("/api/v1/instances/{id}/steer"), &body).await
}

/// Steers; answers whether it was known already.
async fn steer(client: &Client, id: InstanceId, steer: &str, text: &str) -> bool {
    let receipt: MessageReceipt = try_steer(client, id, steer, text).await.with(202);
    assert_eq!(receipt.message_id, steer);
    receipt.duplicate
}

/// Begins a turn and waits until its guest waits.
async fn waiting(client: &Client, id: InstanceId, message: &str, text: &str) {
    client.post_message(id, message, text).await;
    client.until(id, "it waits", |info| info.status == InstanceStatus::Waiting).await;
}

/// What became of steers, by the ids that updates name.
fn steers(updates: &[Update], kind: EventType) -> Vec<String> {
    let of_kind = updates.iter().filter(|update| update.event_type == kind);
    let id = |update: &Update| match update.body().expect("a body") {
        UpdateBody::SteerDelivered(steer) => steer.id,
        UpdateBody::SteerUndelivered(steer) => steer.id,
        UpdateBody::SteerFailed(steer) => steer.id,
        other => panic!("{other:?}"),
    };
    of_kind.map(id).collect()
}

/// Everything durable, as a client that comes later gets it.
async fn durable(client: &Client, id: InstanceId) -> Vec<Update> {
    let mut socket = client.socket(id).await;
    let last = socket.hello.last_seq;
    socket.subscribe(Subscribe::default()).await;
    let mut updates = Vec::new();
    while updates.last().and_then(|update: &Update| update.seq) != Some(last) {
        updates.push(socket.update().await);
    }
    updates
}

/// The inbox rows of steers: id, status and cut; all invariants hold.
fn rows(host: Host, id: InstanceId) -> Vec<(String, String, Option<u64>)> {
    let data = host.kill();
    let databases = Databases::open(&data.path(), id);
    databases.check();
    let rows = databases.inbox().into_iter().filter(|row| row.kind == "steer");
    rows.map(|row| (row.id, row.status, row.cut)).collect()
}

async fn say(socket: &mut Socket, id: &str, text: &str) {
    let content = MessageContent { text: text.to_owned(), attachments: Vec::new() };
    socket.send(&ClientFrame::Steer { id: Some(id.to_owned()), content }).await.expect("sent");
}

#[tokio::test]
async fn a_word_is_heard_in_the_same_guest_while_it_waits_and_every_client_sees_it() {
    let (host, client, id) = steered(json!({})).await;
    let mut speaker = client.socket(id).await;
    let mut other = client.socket(id).await;
    let message = speaker.say("until 1").await;
    speaker.until(EventType::StreamStart).await;
    say(&mut speaker, "s-1", "shorter").await;
    let accepted = speaker.accepted().await;
    assert_eq!((accepted.id.as_str(), accepted.duplicate), ("s-1", false));
    let turn = speaker.rest_of_turn(message.clone()).await;
    // The reply shows that both hooks shared a guest: what was heard lies in its memory only.
    assert_eq!(turn.text.as_deref(), Some("noted: shorter\n\nheard: shorter"));
    assert_eq!(steers(&turn.updates, EventType::SteerDelivered), ["s-1"]);
    let seen = other.rest_of_turn(message).await;
    assert_eq!(steers(&seen.updates, EventType::SteerDelivered), ["s-1"]);
    assert_eq!(seen.text, turn.text);
    // The state holds what both hooks did, the conversation what was said when.
    let state = client.state(id).await.state;
    assert_eq!((&state["answered"], &state["words"]), (&json!(1), &json!(["shorter"])));
    let said: Vec<String> = client.history(id).await.messages.into_iter().map(|entry| entry.text).collect();
    assert_eq!(said, ["until 1", "shorter", "noted: shorter", "heard: shorter"]);
    let cut = turn.cut.cut;
    assert_eq!(rows(host, id), [("s-1".to_owned(), "done".to_owned(), Some(cut))]);
}

#[tokio::test]
async fn an_agent_answers_each_word_in_its_loop_and_may_wait_for_nothing_else() {
    let (_host, client, id) = steered(json!({})).await;
    waiting(&client, id, "m-1", "listen").await;
    for (name, word) in [("s-1", "hand a"), ("s-2", "hand b"), ("s-3", "hand done")] {
        assert!(!steer(&client, id, name, word).await);
    }
    let outcome = client.ask_as(id, "m-1", "listen").await;
    assert_eq!(outcome.text.as_deref(), Some("I listen\n\nI hear hand a\n\nI hear hand b\n\ndone"));
    waiting(&client, id, "m-2", "one").await;
    steer(&client, id, "s-4", "hand it over").await;
    assert_eq!(client.ask_as(id, "m-2", "one").await.text.as_deref(), Some("one: hand it over"));
}

#[tokio::test]
async fn state_of_both_hooks_is_kept_where_one_holds_it_unwritten() {
    let (_host, client, id) = steered(json!({})).await;
    waiting(&client, id, "m-1", "hold 1").await;
    steer(&client, id, "s-1", "quietly remember me").await;
    assert_eq!(client.ask_as(id, "m-1", "hold 1").await.text.as_deref(), Some("held: quietly remember me"));
    let state = client.state(id).await.state;
    assert_eq!((&state["answered"], &state["words"]), (&json!(1), &json!(["quietly remember me"])));
}

#[tokio::test]
async fn without_a_turn_or_a_hook_for_it_a_steer_is_refused() {
    let (_host, client, id) = steered(json!({})).await;
    try_steer(&client, id, "s-1", "x").await.refused(ErrorCode::NoActiveTurn);
    let mut socket = client.socket(id).await;
    say(&mut socket, "s-1", "x").await;
    assert_eq!(socket.error().await.known_code(), Some(ErrorCode::NoActiveTurn));
    // Nothing is kept of it: it may be said again.
    waiting(&client, id, "m-1", "until 1").await;
    assert!(!steer(&client, id, "s-1", "quietly x").await);
    assert_eq!(client.ask_as(id, "m-1", "until 1").await.text.as_deref(), Some("heard: quietly x"));

    let probe = client.deployed_instance("probe").await;
    waiting(&client, probe, "m-1", "sleep 3000").await;
    try_steer(&client, probe, "s-1", "x").await.refused(ErrorCode::NotSteerable);
    try_steer(&client, probe, "not an id\n", "x").await.refused(ErrorCode::InvalidMessageId);
    assert_eq!(client.ask_as(probe, "m-1", "sleep 3000").await.text.as_deref(), Some("slept 3000"));
}

#[tokio::test]
async fn the_same_word_is_said_once_and_another_under_its_id_never() {
    let (_host, client, id) = steered(json!({})).await;
    waiting(&client, id, "m-1", "until 2").await;
    assert!(!steer(&client, id, "s-1", "quietly a").await);
    assert!(steer(&client, id, "s-1", "quietly a").await);
    try_steer(&client, id, "s-1", "quietly b").await.refused(ErrorCode::MessageConflict);
    try_steer(&client, id, "m-1", "until 2").await.refused(ErrorCode::MessageConflict);
    let body = json!({"id": "s-1", "content": {"text": "quietly a"}});
    let path = format!("/api/v1/instances/{id}/messages");
    client.post_json(&path, &body).await.refused(ErrorCode::MessageConflict);
    steer(&client, id, "s-2", "quietly end").await;
    assert_eq!(client.ask_as(id, "m-1", "until 2").await.text.as_deref(), Some("heard: quietly a, quietly end"));
    // The turn is over, and it is still known.
    assert!(steer(&client, id, "s-1", "quietly a").await);
    try_steer(&client, id, "s-1", "quietly b").await.refused(ErrorCode::MessageConflict);
    assert_eq!(client.state(id).await.state["words"], json!(["quietly a", "quietly end"]));
}

#[tokio::test]
async fn acknowledged_words_are_heard_again_after_a_crash_in_their_order() {
    let (host, client, id) = steered(json!({})).await;
    waiting(&client, id, "m-1", "until 4").await;
    for (name, word) in [("s-1", "quietly a"), ("s-2", "quietly b"), ("s-3", "quietly c")] {
        steer(&client, id, name, word).await;
    }
    let host = host.crash().await;
    let client = host.client();
    client.until(id, "it waits again", |info| info.status == InstanceStatus::Waiting).await;
    steer(&client, id, "s-4", "quietly d").await;
    let outcome = client.ask_as(id, "m-1", "until 4").await;
    assert_eq!(outcome.text.as_deref(), Some("heard: quietly a, quietly b, quietly c, quietly d"));
    // Heard in two attempts, true once.
    assert_eq!(client.state(id).await.state["words"], json!(["quietly a", "quietly b", "quietly c", "quietly d"]));
    assert_eq!(steers(&durable(&client, id).await, EventType::SteerDelivered), ["s-1", "s-2", "s-3", "s-4"]);
    assert!(steer(&client, id, "s-2", "quietly b").await);
    let rows = rows(host, id);
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|(_, status, cut)| status == "done" && *cut == Some(outcome.cut)), "{rows:?}");
}

#[tokio::test]
async fn a_stopped_instance_keeps_the_words_for_its_start() {
    let (_host, client, id) = steered(json!({})).await;
    waiting(&client, id, "m-1", "until 2").await;
    steer(&client, id, "s-1", "quietly a").await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/stop")).await.status, 200);
    client.until(id, "it is stopped", |info| info.status == InstanceStatus::Stopped).await;
    try_steer(&client, id, "s-2", "quietly b").await.refused(ErrorCode::NoActiveTurn);
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/start")).await.status, 200);
    client.until(id, "it waits again", |info| info.status == InstanceStatus::Waiting).await;
    assert!(!steer(&client, id, "s-2", "quietly b").await);
    assert_eq!(client.ask_as(id, "m-1", "until 2").await.text.as_deref(), Some("heard: quietly a, quietly b"));
}

#[tokio::test]
async fn a_parked_turn_keeps_its_words_until_it_is_discarded() {
    let host = Host::start().await;
    let bytes = agents::with_retry("steered", 1);
    assert_eq!(host.client().deploy(bytes, None, None).await.status, 201);
    let client = host.client();
    let id = client.instance("steered").await;
    client.post_message(id, "m-1", "spin").await;
    client.until(id, "it spins", |info| info.status == InstanceStatus::Running).await;
    steer(&client, id, "s-1", "quietly a").await;
    let host = host.crash().await;
    let client = host.client();
    client.until(id, "it is parked", |info| info.status == InstanceStatus::Parked).await;
    try_steer(&client, id, "s-2", "quietly b").await.refused(ErrorCode::NoActiveTurn);
    let answer = client.post(&format!("/api/v1/instances/{id}/messages/m-1/discard")).await;
    let cut = answer.with::<Value>(200)["cut"].as_u64();
    assert_eq!(steers(&durable(&client, id).await, EventType::SteerUndelivered), ["s-1"]);
    assert_eq!(client.reply(id, "echo next").await, "next");
    assert_eq!(rows(host, id), [("s-1".to_owned(), "done".to_owned(), cut)]);
}

#[tokio::test]
async fn a_guest_that_never_waits_is_never_given_the_word_and_the_sender_is_told() {
    let (host, client, id) = steered(json!({"cpu_ms": 1500})).await;
    let neighbour = Neighbour::of(&client).await;
    let mut socket = client.socket(id).await;
    let message = socket.say("spin").await;
    socket.until(EventType::StreamStart).await;
    say(&mut socket, "s-1", "stop it").await;
    socket.accepted().await;
    let updates = neighbour.meanwhile(socket.until(EventType::Cut)).await;
    assert_eq!(steers(&updates, EventType::SteerDelivered), Vec::<String>::new());
    assert_eq!(steers(&updates, EventType::SteerUndelivered), ["s-1"]);
    let outcome = client.ask_as(id, &message, "spin").await;
    assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::CpuLimit));
    assert_eq!(client.reply(id, "echo next").await, "next");
    assert_eq!(rows(host, id), [("s-1".to_owned(), "done".to_owned(), Some(outcome.cut))]);
}

#[tokio::test]
async fn an_interrupt_consumes_the_words_of_its_turn() {
    let (host, client, id) = steered(json!({})).await;
    let mut socket = client.socket(id).await;
    let message = socket.say("spin").await;
    socket.until(EventType::StreamStart).await;
    say(&mut socket, "s-1", "one").await;
    say(&mut socket, "s-2", "two").await;
    socket.accepted().await;
    socket.accepted().await;
    socket.send(&ClientFrame::Interrupt {}).await.expect("sent");
    let updates = socket.until(EventType::Cut).await;
    assert_eq!(steers(&updates, EventType::SteerUndelivered), ["s-1", "s-2"]);
    let outcome = client.ask_as(id, &message, "spin").await;
    assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::Interrupted));
    let cut = Some(outcome.cut);
    let done = |id: &str| (id.to_owned(), "done".to_owned(), cut);
    assert_eq!(rows(host, id), [done("s-1"), done("s-2")]);
}

#[tokio::test]
async fn an_error_of_the_hook_is_told_and_the_turn_goes_on() {
    let (_host, client, id) = steered(json!({})).await;
    let mut socket = client.socket(id).await;
    let message = socket.say("until 1").await;
    socket.until(EventType::StreamStart).await;
    say(&mut socket, "s-1", "fail on purpose").await;
    say(&mut socket, "s-2", "quietly end").await;
    let turn = socket.rest_of_turn(message).await;
    assert_eq!(turn.text.as_deref(), Some("heard: quietly end"));
    let failed = turn.updates.iter().find(|update| update.event_type == EventType::SteerFailed).expect("is told");
    let UpdateBody::SteerFailed(failed) = failed.body().expect("a body") else { panic!("{failed:?}") };
    assert!(failed.id == "s-1" && failed.error.message.contains("on purpose"), "{failed:?}");
    let lines = client.logs(id).await.lines;
    assert!(lines.iter().any(|line| line.message.contains("s-1")), "{lines:?}");
}

#[tokio::test]
async fn a_trap_of_the_hook_ends_the_turn() {
    let (_host, client, id) = steered(json!({})).await;
    waiting(&client, id, "m-1", "wait 60000").await;
    let neighbour = Neighbour::of(&client).await;
    steer(&client, id, "s-1", "boom with reason").await;
    let outcome = neighbour.meanwhile(client.ask_as(id, "m-1", "wait 60000")).await;
    assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::GuestTrap));
    assert_eq!(client.state(id).await.state["answered"], Value::Null, "nothing of the turn is true");
    assert_eq!(client.reply(id, "echo next").await, "next");
}

#[tokio::test]
async fn a_hook_that_still_works_is_awaited_before_the_cut() {
    let (_host, client, id) = steered(json!({})).await;
    waiting(&client, id, "m-1", "until 1").await;
    steer(&client, id, "s-1", "sleep 1200").await;
    steer(&client, id, "s-2", "quietly go").await;
    assert_eq!(client.ask_as(id, "m-1", "until 1").await.text.as_deref(), Some("heard: quietly go"));
    assert_eq!(client.state(id).await.state["words"], json!(["quietly go", "sleep 1200"]));
}

#[tokio::test]
async fn a_hook_that_never_returns_is_ended() {
    let (_host, client, id) = steered(json!({"wait_ms": 3000, "cpu_ms": 1500})).await;
    let neighbour = Neighbour::of(&client).await;
    // By nothing it waits for: at once. By a long sleep or endless work: at their limits.
    for (word, code) in
        [("never", ErrorCode::GuestStuck), ("sleep 60000", ErrorCode::WaitLimit), ("compute", ErrorCode::CpuLimit)]
    {
        let message = message_id();
        waiting(&client, id, &message, "until 1").await;
        steer(&client, id, &message_id(), word).await;
        steer(&client, id, &message_id(), "quietly go").await;
        let outcome = neighbour.meanwhile(client.ask_as(id, &message, "until 1")).await;
        assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(code), "`{word}`");
        assert_eq!(client.reply(id, "echo next").await, "next", "after `{word}`");
    }
}

#[tokio::test]
async fn a_hook_that_calls_the_host_for_ever_while_it_is_interrupted() {
    let (host, client, id) = steered(json!({"updates": 1_000_000, "output_bytes": 64 << 20})).await;
    let neighbour = client.deployed_instance("hello").await;
    for round in 0..5 {
        let message = message_id();
        waiting(&client, id, &message, "wait 60000").await;
        for _ in 0..4 {
            steer(&client, id, &message_id(), "calls").await;
        }
        assert!(client.reply(neighbour, "are you well").await.contains("are you well"));
        assert_eq!(client.get("/health").await.status, 200);
        tokio::time::sleep(Duration::from_millis(20 * round)).await;
        assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
        let outcome = client.ask_as(id, &message, "wait 60000").await;
        assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::Interrupted));
        assert!(client.reply(neighbour, "are you well").await.contains("are you well"));
        assert_eq!(client.reply(id, "echo next").await, "next");
    }
    let rows = rows(host, id);
    assert!(rows.len() == 20 && rows.iter().all(|(_, status, cut)| status == "done" && cut.is_some()), "{rows:?}");
}

#[tokio::test]
async fn a_flood_of_words_is_bounded_and_loses_none_that_was_accepted() {
    let (host, client, id) = steered(json!({"inbox": 1024})).await;
    // One that spins takes none in: as many wait as may.
    client.post_message(id, "m-1", "spin").await;
    client.until(id, "it spins", |info| info.status == InstanceStatus::Running).await;
    let mut accepted = 0;
    for n in 0..40 {
        let answer = try_steer(&client, id, &format!("s-{n}"), "quietly").await;
        match answer.status {
            202 => accepted += 1,
            _ => drop(answer.refused(ErrorCode::TooManySteers)),
        }
    }
    assert_eq!(accepted, 32);
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
    client.ask_as(id, "m-1", "spin").await;
    // One that takes all in is steered as often as a turn may be.
    waiting(&client, id, "m-2", "until 10000").await;
    let mut heard = 0;
    for n in 0..600 {
        let answer = try_steer(&client, id, &format!("t-{n}"), "quietly").await;
        match answer.status {
            202 => heard += 1,
            _ => drop(answer.refused(ErrorCode::TooManySteers)),
        }
        if heard == 256 {
            break;
        }
    }
    assert_eq!(heard, 256);
    try_steer(&client, id, "t-more", "quietly").await.refused(ErrorCode::TooManySteers);
    assert!(steer(&client, id, "t-0", "quietly").await, "what was accepted is acknowledged again");
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
    client.ask_as(id, "m-2", "until 10000").await;
    // A big one is refused, not cut.
    waiting(&client, id, "m-3", "until 1").await;
    let big = "nothing ".to_owned() + &"x".repeat(900 << 10);
    for n in 0..4 {
        steer(&client, id, &format!("b-{n}"), &big).await;
    }
    try_steer(&client, id, "b-4", &big).await.refused(ErrorCode::TooManySteers);
    steer(&client, id, "b-end", "quietly end").await;
    client.ask_as(id, "m-3", "until 1").await;
    let rows = rows(host, id);
    assert_eq!(rows.len(), 32 + 256 + 5);
    assert!(rows.iter().all(|(_, status, cut)| status == "done" && cut.is_some()), "{rows:?}");
}

#[tokio::test]
async fn words_count_against_the_inbox() {
    let (_host, client, id) = steered(json!({"inbox": 3})).await;
    client.post_message(id, "m-1", "spin").await;
    client.until(id, "it spins", |info| info.status == InstanceStatus::Running).await;
    client.post_message(id, "m-2", "echo 2").await;
    steer(&client, id, "s-1", "a").await;
    steer(&client, id, "s-2", "b").await;
    try_steer(&client, id, "s-3", "c").await.refused(ErrorCode::InboxFull);
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
    assert_eq!(client.ask_as(id, "m-2", "echo 2").await.text.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_script_steers_from_the_command_line() {
    let (host, client, id) = steered(json!({})).await;
    let cli = Cli::new(host.data()).url(host.url());
    let name = id.to_string();
    cli.run(&["instance", "steer", &name, "x"]).await.failed(5, ErrorCode::NoActiveTurn);
    waiting(&client, id, "m-1", "until 2").await;
    let once = ["instance", "steer", &name, "quietly a", "--message-id", "s-1", "--json"];
    assert_eq!(cli.run(&once).await.json(), json!({"message_id": "s-1", "duplicate": false}));
    assert_eq!(cli.run(&once).await.json()["duplicate"], true);
    assert!(cli.run(&["instance", "steer", &name, "quietly b"]).await.ok().is_empty());
    let outcome = client.ask_as(id, "m-1", "until 2").await;
    assert_eq!(outcome.text.as_deref(), Some("heard: quietly a, quietly b"));
}

#[tokio::test]
async fn a_second_line_typed_in_a_chat_steers_its_turn() {
    use std::io::{Read, Write};
    let (host, _client, id) = steered(json!({})).await;
    let cli = Cli::new(host.data()).url(host.url());
    let mut child = cli.start_on_terminal(&format!("exec $PODIUM chat {id}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = child.stdout.take().expect("a pipe");
    let talk = tokio::task::spawn_blocking(move || {
        let mut shown = String::new();
        let mut buffer = [0; 4096];
        // What appears next, and what is typed then.
        let mut script = vec![
            ("> ", &b"listen\r"[..]),
            ("I listen", b"hand a\r"),
            ("I hear hand a", b"hand b\r"),
            ("I hear hand b", b"hand done\r"),
            ("\r\ndone", b""),
            ("> ", b"echo bye\r"),
            ("\r\nbye", b""),
            ("> ", b"\x04"),
        ]
        .into_iter();
        let mut next = script.next();
        let mut from = 0;
        loop {
            let read = stdout.read(&mut buffer).unwrap_or(0);
            if read == 0 {
                assert!(next.is_none(), "the chat ended before {next:?}: {shown:?}");
                return shown;
            }
            shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
            while let Some((sign, typed)) = next
                && let Some(place) = shown[from..].find(sign)
            {
                from += place + sign.len();
                stdin.write_all(typed).expect("typed");
                next = script.next();
            }
        }
    });
    let shown = tokio::time::timeout(podium_it::PATIENCE, talk).await.expect("in time").expect("the terminal ends");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}: {shown:?}");
    for line in ["steered: hand a", "steered: hand b", "I hear hand a", "I hear hand b", "bye"] {
        assert!(shown.contains(line), "`{line}` is not in {shown:?}");
    }
}

#[tokio::test]
async fn crashes_at_any_moment_lose_no_word_that_was_acknowledged() {
    let mut host = Host::start().await;
    let bytes = agents::with_retry("steered", 10);
    assert_eq!(host.client().deploy(bytes, None, None).await.status, 201);
    let id = host.client().instance("steered").await;
    let (mut acknowledged, mut told) = (Vec::new(), Vec::new());
    for round in 0..8_u64 {
        let client = host.client();
        let message = format!("m-{round}");
        client.post_message(id, &message, "wait 400").await;
        let load = tokio::spawn(async move {
            let mut accepted = Vec::new();
            for n in 0..200 {
                let name = format!("s-{round}-{n}");
                let body = json!({"id": name, "content": {"text": format!("quietly {name}")}});
                let request = client.request(reqwest::Method::POST, &format!("/agent/{id}/steer")).json(&body);
                match request.send().await {
                    Ok(answer) if answer.status() == 202 => accepted.push(name),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            accepted
        });
        tokio::time::sleep(Duration::from_millis(61 * round % 330)).await;
        host = host.crash().await;
        acknowledged.extend(load.await.expect("the load ends"));
        let outcome = host.client().ask_as(id, &message, "wait 400").await;
        assert_eq!(outcome.error, None);
    }
    let client = host.client();
    let updates = durable(&client, id).await;
    told.extend(steers(&updates, EventType::SteerDelivered));
    told.extend(steers(&updates, EventType::SteerUndelivered));
    let state = client.state(id).await.state;
    let remembered = state["words"].as_array().map_or(0, Vec::len);
    assert_eq!(remembered, steers(&updates, EventType::SteerDelivered).len(), "each was heard once in what is true");
    assert!(!acknowledged.is_empty());
    for name in &acknowledged {
        assert_eq!(told.iter().filter(|id| *id == name).count(), 1, "{name} was told once");
    }
    let rows = rows(host, id);
    assert!(rows.iter().all(|(_, status, cut)| status == "done" && cut.is_some()), "{rows:?}");
}

#[tokio::test]
async fn the_guide_can_be_followed_as_it_is_written() {
    let data = Data::new();
    let text = std::fs::read_to_string(root().join("docs/guide/steering.md")).expect("the guide");
    let commands = guide::console_lines(&text);
    assert!(commands.len() > 20, "{commands:?}");
    guide::follow(&data, data.scratch(), &commands).await;
}
