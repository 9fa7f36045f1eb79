//! A conversation over the WebSocket: hello, acknowledgement, live updates, the cut, history.

use podium_it::{Host, Socket, agents, message_id};
use podium_wire::ErrorCode;
use podium_wire::frames::{ClientFrame, PROTOCOL, ServerFrame, Subscribe};
use podium_wire::message::{MessageContent, Role};
use podium_wire::rest::HistoryPage;
use podium_wire::updates::{EventType, Update, UpdateBody};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

/// Live updates of a turn: numbered from 1 without a gap, none with a `seq`.
fn numbered(updates: &[Update]) {
    let places: Vec<u64> = updates.iter().filter_map(|update| update.n).collect();
    let dense: Vec<u64> = (1..=places.len() as u64).collect();
    assert_eq!(places, dense);
    assert!(updates.iter().all(|update| update.seq.is_none()), "a live update has a seq");
}

#[tokio::test]
async fn a_turn_is_acknowledged_streamed_and_cut() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("counter").await;
    let mut socket = host.client().socket(id).await;
    assert_eq!(socket.hello.protocol, PROTOCOL);
    assert_eq!((socket.hello.instance, socket.hello.cut, socket.hello.state_version), (id, 1, 0));
    let turn = socket.turn("add").await;
    assert_eq!(turn.text.as_deref(), Some("1"));
    numbered(&turn.updates);
    let kinds = turn.kinds();
    assert_eq!(kinds.first(), Some(&EventType::StreamStart));
    assert_eq!(kinds.last(), Some(&EventType::Cut));
    for kind in [EventType::StateDelta, EventType::TextComplete, EventType::StreamEnd] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    assert!(turn.updates.iter().all(|update| update.turn_id.is_some() || update.event_type == EventType::Cut));
    let durable = kinds.iter().filter(|kind| kind.is_durable()).count() as u64;
    assert_eq!(turn.cut.cut, 2);
    let (first, last) = (turn.cut.first_seq.expect("a first"), turn.cut.last_seq.expect("a last"));
    assert_eq!(last - first + 1, durable);
    assert_eq!(first, socket.hello.last_seq + 1);
    assert_eq!(Some(turn.cut.through_n), turn.updates.iter().filter_map(|update| update.n).max());
    let again = socket.turn("add").await;
    assert_eq!(again.text.as_deref(), Some("2"));
    assert_eq!(again.cut.first_seq, Some(last + 1));
}

#[tokio::test]
async fn the_author_writes_no_patch_and_clients_see_minimal_ones() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let mut socket = host.client().socket(id).await;
    socket.turn("push one").await;
    let turn = socket.turn("push two").await;
    let patches: Vec<_> = turn
        .updates
        .iter()
        .filter_map(|update| match update.body() {
            Ok(UpdateBody::StateDelta(delta)) => Some(delta.patch),
            _ => None,
        })
        .collect();
    let operations: Vec<_> = patches.iter().flat_map(|patch| patch.as_array().expect("operations")).collect();
    assert!(operations.contains(&&json!({"op": "add", "path": "/items/-", "value": "two"})), "{operations:?}");
    assert!(operations.contains(&&json!({"op": "replace", "path": "/hooks/on_message", "value": 2})), "{operations:?}");
    assert_eq!(operations.len(), 2, "{operations:?}");
}

#[tokio::test]
async fn streamed_pieces_join_to_the_whole_text() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let mut socket = host.client().socket(id).await;
    let turn = socket.turn("stream 500").await;
    let expected: String = (1..=500).map(|n| format!("piece {n}\n")).collect();
    assert_eq!(turn.streamed(), expected);
    assert_eq!(turn.text.as_deref(), Some(expected.as_str()));
    numbered(&turn.updates);
    assert_eq!(turn.kinds().iter().filter(|kind| **kind == EventType::TextComplete).count(), 1);
}

#[tokio::test]
async fn every_kind_of_element_arrives() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let turn = host.client().socket(id).await.turn("elements").await;
    assert_eq!(turn.error, None);
    let kinds = turn.kinds();
    for kind in [
        EventType::ThinkingStart,
        EventType::ThinkingProgress,
        EventType::ThinkingComplete,
        EventType::PlanCreated,
        EventType::PlanStepStarted,
        EventType::PlanStepCompleted,
        EventType::ToolCall,
        EventType::ToolResult,
        EventType::ToolError,
        EventType::CodeBlock,
        EventType::FileChange,
        EventType::Usage,
        EventType::TextDelta,
        EventType::TextComplete,
    ] {
        assert!(kinds.contains(&kind), "{} is missing in {kinds:?}", kind.name());
    }
    for update in &turn.updates {
        update.body().unwrap_or_else(|error| panic!("{}: {error}", update.event_type.name()));
    }
}

#[tokio::test]
async fn two_clients_see_the_same_turn() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let mut speaker = host.client().socket(id).await;
    let mut listener = host.client().socket(id).await;
    let spoken = speaker.turn("stream 20").await;
    let heard = listener.rest_of_turn(spoken.message_id.clone()).await;
    let texts = |updates: &[Update]| -> Vec<String> {
        updates.iter().map(|update| serde_json::to_string(update).expect("an update can be written")).collect()
    };
    assert_eq!(texts(&heard.updates), texts(&spoken.updates));
}

#[tokio::test]
async fn the_same_message_again_is_answered_once() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("counter").await;
    let mut socket = host.client().socket(id).await;
    socket.say_as("m-1", "add").await.expect("sent");
    let first = socket.accepted().await;
    assert!(!first.duplicate);
    socket.rest_of_turn("m-1".to_owned()).await;
    socket.say_as("m-1", "add").await.expect("sent");
    let second = socket.accepted().await;
    assert_eq!((second.duplicate, second.inbox_seq), (true, first.inbox_seq));
    // Over HTTP it is the same sender, so the same message: and it is answered with the same outcome.
    let outcome = host.client().ask_as(id, "m-1", "add").await;
    assert_eq!((outcome.duplicate, outcome.text.as_deref()), (true, Some("1")));
    // Through a crash, too.
    let host = host.crash().await;
    let outcome = host.client().ask_as(id, "m-1", "add").await;
    assert_eq!((outcome.duplicate, outcome.text.as_deref(), outcome.cut), (true, Some("1"), 2));
    assert_eq!(host.client().state(id).await.state, json!({"count": 1}));
}

#[tokio::test]
async fn the_same_id_with_another_body_is_refused() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let mut socket = client.socket(id).await;
    socket.say_as("m-1", "add").await.expect("sent");
    socket.accepted().await;
    socket.rest_of_turn("m-1".to_owned()).await;
    socket.say_as("m-1", "get").await.expect("sent");
    assert_eq!(socket.error().await.known_code(), Some(ErrorCode::MessageConflict));
    let body = json!({"id": "m-1", "content": {"text": "get"}});
    let path = format!("/api/v1/instances/{id}/messages");
    client.post_json(&path, &body).await.refused(ErrorCode::MessageConflict);
    assert_eq!(socket.turn("add").await.text.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_message_without_an_id_gets_one() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("counter").await;
    let mut socket = host.client().socket(id).await;
    let content = MessageContent { text: "add".into(), attachments: Vec::new() };
    socket.send(&ClientFrame::ProcessMessage { id: None, content }).await.expect("sent");
    let accepted = socket.accepted().await;
    assert!(!accepted.id.is_empty());
    let turn = socket.rest_of_turn(accepted.id).await;
    assert_eq!(turn.text.as_deref(), Some("1"));
    let bad = json!({"id": "with space", "content": {"text": "add"}});
    let path = format!("/api/v1/instances/{id}/messages");
    host.client().post_json(&path, &bad).await.refused(ErrorCode::InvalidMessageId);
}

#[tokio::test]
async fn messages_are_answered_one_at_a_time_in_their_order() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let mut socket = host.client().socket(id).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(socket.say(&format!("push {n}")).await);
    }
    let mut ended = Vec::new();
    let mut running: Option<String> = None;
    while ended.len() < ids.len() {
        let update = socket.update().await;
        match update.event_type {
            EventType::StreamStart => {
                assert_eq!(running, None, "two turns at once");
                running = update.turn_id.clone();
                ended.push(update.message_id.clone().expect("a message"));
            }
            EventType::Cut => running = None,
            _ => {}
        }
    }
    assert_eq!(ended, ids);
    let items = host.client().reply(id, "state").await;
    let items: serde_json::Value = serde_json::from_str(&items).expect("the state");
    let expected: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(items["items"], json!(expected));
}

#[tokio::test]
async fn a_full_inbox_refuses_and_loses_nothing() {
    let host = Host::start().await;
    let client = host.client();
    let answer = client.deploy(agents::with_limits("probe", &json!({"inbox": 2})), None, None).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = client.instance("probe").await;
    let path = format!("/api/v1/instances/{id}/messages");
    client.post_message(id, "slow", "sleep 1500").await;
    let mut accepted = vec!["slow".to_owned()];
    let mut refused = 0;
    for n in 0..6 {
        let message = format!("m-{n}");
        let body = json!({"id": message, "content": {"text": format!("push {n}")}});
        let answer = client.post_json(&path, &body).await;
        if answer.status == 202 {
            accepted.push(message);
        } else {
            answer.refused(ErrorCode::InboxFull);
            refused += 1;
        }
    }
    assert!(refused >= 3, "only {refused} were refused");
    for message in &accepted {
        client.until(id, "the inbox empties", |info| info.inbox == 0).await;
        let body = if message == "slow" { "sleep 1500".to_owned() } else { format!("push {}", &message[2..]) };
        let outcome = client.ask_as(id, message, &body).await;
        assert!(outcome.duplicate && outcome.error.is_none(), "{outcome:?}");
    }
    let items = client.state(id).await.state["items"].as_array().map_or(0, Vec::len);
    assert_eq!(items, accepted.len() - 1);
}

#[tokio::test]
async fn ping_is_answered() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("hello").await;
    let mut socket = host.client().socket(id).await;
    socket.send(&ClientFrame::Ping { id: Some("p-7".into()) }).await.expect("sent");
    match socket.next().await {
        ServerFrame::Pong(pong) => assert_eq!(pong.id.as_deref(), Some("p-7")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_history_tells_the_conversation() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "echo one").await;
    client.reply(id, "echo two").await;
    let page = client.history(id).await;
    let said: Vec<(Role, &str)> = page.messages.iter().map(|entry| (entry.role, entry.text.as_str())).collect();
    assert_eq!(
        said,
        [(Role::User, "echo one"), (Role::Assistant, "one"), (Role::User, "echo two"), (Role::Assistant, "two"),]
    );
    let places: Vec<u64> = page.messages.iter().map(|entry| entry.seq).collect();
    assert_eq!(places, [1, 2, 3, 4]);
    // The agent reads the same.
    let told = client.reply(id, "history 10").await;
    assert!(told.contains("echo one") && told.contains("two"), "{told}");
    let rest = client.get(&format!("/api/v1/instances/{id}/messages?after=2&limit=1")).await.json();
    assert_eq!(rest["messages"][0]["text"], "echo two");
    assert_eq!(rest["next"], 3);
}

#[tokio::test]
async fn a_message_over_http_can_wait_for_its_answer_or_not() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let receipt = client.post_message(id, "m-1", "sleep 300").await;
    assert_eq!((receipt.message_id.as_str(), receipt.duplicate), ("m-1", false));
    // Waiting too short is no failure: the message is safe.
    let body = json!({"id": "m-2", "content": {"text": "sleep 300"}});
    let answer = client.post_json(&format!("/api/v1/instances/{id}/messages?wait=1ms"), &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let outcome = client.ask_as(id, "m-2", "sleep 300").await;
    assert_eq!((outcome.text.as_deref(), outcome.duplicate), (Some("slept 300"), true));
    let wrong = client.post_json(&format!("/api/v1/instances/{id}/messages?wait=soon"), &body).await;
    wrong.refused(ErrorCode::BadRequest);
}

#[tokio::test]
async fn attachments_reach_the_inbox_within_their_limits() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("hello").await;
    let with = |count: usize| {
        let attachment = json!({"name": "a.txt", "media_type": "text/plain", "data": "aGk="});
        json!({"id": message_id(), "content": {"text": "see", "attachments": vec![attachment; count]}})
    };
    let path = format!("/api/v1/instances/{id}/messages?wait=30s");
    let outcome = client.post_json(&path, &with(1)).await.json();
    assert!(outcome["error"].is_null(), "{outcome}");
    client.post_json(&path, &with(33)).await.refused(ErrorCode::BadRequest);
}

#[tokio::test]
async fn what_no_attachment_may_be_is_refused_wherever_it_comes_in() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    let attachment = |name: &str, media_type: &str, source: &str, value: &str| {
        let mut attachment = json!({"name": name, "media_type": media_type});
        attachment[source] = value.into();
        attachment
    };
    let long = "a".repeat(10_000);
    let large = "AAAA".repeat(90_000);
    let mut both = attachment("a.txt", "text/plain", "path", "a.txt");
    both["data"] = "aGk=".into();
    let refused = [
        (attachment("a.txt", "text/plain", "data", "no base64!"), ErrorCode::BadRequest),
        (attachment("a.txt", "text/plain", "data", "aGk"), ErrorCode::BadRequest),
        (attachment("a.txt", "text/plain", "data", &large), ErrorCode::BadRequest),
        (attachment("../../x", "text/plain", "data", "aGk="), ErrorCode::BadRequest),
        (attachment(&long, "text/plain", "data", "aGk="), ErrorCode::BadRequest),
        (attachment("a.txt", "text", "data", "aGk="), ErrorCode::BadRequest),
        (attachment("a.txt", "text/plain", "path", "../outside"), ErrorCode::InvalidPath),
        (attachment("a.txt", "text/plain", "path", "/etc/passwd"), ErrorCode::InvalidPath),
        (both, ErrorCode::InvalidJson),
        (json!({"name": "a.txt", "media_type": "text/plain"}), ErrorCode::InvalidJson),
    ];
    for (attachment, code) in refused {
        let body = json!({"content": {"text": "see", "attachments": [attachment]}});
        for route in ["messages", "steer"] {
            client.post_json(&format!("/api/v1/instances/{id}/{route}"), &body).await.refused(code);
        }
        for kind in ["process_message", "steer"] {
            let mut frame = body.clone();
            frame["type"] = kind.into();
            socket.send_raw(Message::text(frame.to_string())).await;
            let error = socket.error().await;
            assert_eq!(error.code, code.to_string(), "{}", error.message);
        }
    }
    assert_eq!(client.info(id).await.cut, 1, "one was accepted");
    assert_eq!(socket.turn("echo here").await.text.as_deref(), Some("here"));
}

#[tokio::test]
async fn a_history_of_large_messages_comes_whole() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let text = "a".repeat(900_000);
    for _ in 0..4 {
        assert_eq!(client.reply(id, &format!("echo {text}")).await.len(), text.len());
    }
    let (mut seqs, mut pages, mut after) = (Vec::new(), 0, 0);
    loop {
        let path = format!("/api/v1/instances/{id}/messages?after={after}");
        let page: HistoryPage = client.get(&path).await.with(200);
        seqs.extend(page.messages.iter().map(|message| message.seq));
        pages += 1;
        let Some(next) = page.next else { break };
        after = next;
    }
    assert_eq!(seqs, (1..=8).collect::<Vec<u64>>());
    assert!(pages > 1, "a page is bounded by its bytes");
}

#[tokio::test]
async fn a_client_that_subscribes_at_once_misses_nothing_of_the_past() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    client.reply(id, "add").await;
    client.reply(id, "add").await;
    let mut socket: Socket = client.socket(id).await;
    let last = socket.hello.last_seq;
    assert!(last > 0);
    socket.subscribe(Subscribe { after_seq: 0, ..Subscribe::default() }).await;
    for seq in 1..=last {
        assert_eq!(socket.update().await.seq, Some(seq));
    }
}
