//! The host's own log: lines for programs, what they name, and what they never say.

use podium_it::database::held;
use podium_it::{Client, Data, Host, eventually};
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{EventType, UpdateBody};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

/// Every line as JSON with the keys that all have.
#[track_caller]
fn lines(log: &str) -> Vec<Value> {
    let read = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "target"] {
            assert!(line[key].is_string(), "no {key} in {line}");
        }
        assert!(line["timestamp"].as_str().is_some_and(|at| at.ends_with('Z') && at.contains('T')), "{line}");
        line
    };
    log.lines().map(read).collect()
}

fn saying<'a>(lines: &'a [Value], message: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["message"] == message).collect()
}

/// A failed turn's id, seen by a client.
async fn failed_turn(client: &Client, id: InstanceId) -> String {
    let mut socket = client.socket(id).await;
    let turn = socket.turn("fail hush-hush").await;
    assert!(turn.error.is_some());
    turn.cut.turn_id.expect("a turn")
}

/// An agent that asks for a permission, which it gets.
async fn permission(client: &Client, id: InstanceId) {
    let mut socket = client.socket(id).await;
    let message = socket.say("permit hush-hush").await;
    let requested = socket.until(EventType::PermissionRequested).await.pop().expect("a request");
    let Ok(UpdateBody::PermissionRequested(requested)) = requested.body() else { panic!("{requested:?}") };
    let given = json!({"request_id": requested.request_id, "decision": "accept"});
    assert_eq!(client.post_json(&format!("/agent/{id}/approve"), &given).await.status, 204);
    assert_eq!(client.ask_as(id, &message, "permit hush-hush").await.error, None);
}

#[tokio::test]
async fn each_line_is_json_names_its_turn_and_keeps_secrets() {
    let host = Host::start_with(&["--log-format", "json"], &[("PODIUM_LOG", "trace")]).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "echo hush-hush").await;
    client.reply(id, "history 5").await;
    permission(&client, id).await;
    let turn_id = failed_turn(&client, id).await;
    assert_eq!(host.cli().run(&["status"]).await.code, 0);
    client.with_token(Some("a-wrong-token")).get("/instances").await.refused(ErrorCode::Unauthorized);
    let (token, url) = (host.token(), host.url().to_owned());
    let (status, _, log) = host.stop_with_log().await;
    assert!(status.success());
    let lines = lines(&log);
    assert_eq!(saying(&lines, "listening")[0]["url"], url);
    assert_eq!(saying(&lines, "stopping; running turns get 10 seconds (a second signal does not wait)").len(), 1);
    let failed = saying(&lines, "a turn failed");
    assert_eq!(failed.len(), 1, "{log}");
    assert_eq!(failed[0]["level"], "DEBUG");
    assert_eq!(failed[0]["instance"], id.to_string());
    assert_eq!(failed[0]["turn_id"], turn_id);
    assert_eq!(failed[0]["attempt"], 1);
    assert_eq!(failed[0]["code"], ErrorCode::GuestError.to_string());
    assert!(saying(&lines, "effect").iter().any(|line| line["kind"] == "ask.permission"), "{log}");
    for secret in [&token, "a-wrong-token", "hush-hush"] {
        assert!(!log.contains(secret), "`{secret}` is in the log");
    }
}

#[tokio::test]
async fn a_start_that_fails_is_a_line_too() {
    let host = Host::start().await;
    eventually("words for people", async || host.log().contains("token: podium token").then_some(())).await;
    let json = ("PODIUM_LOG_FORMAT", "json");
    let second = Host::try_start_with(host.data(), &[], &[json]).await.err().expect("the folder is in use");
    assert_eq!(second.status.code(), Some(75));
    let lines = lines(&second.stderr);
    assert_eq!(lines.len(), 1, "{}", second.stderr);
    assert_eq!(
        (&lines[0]["level"], &lines[0]["code"]),
        (&"ERROR".into(), &ErrorCode::DataFolderInUse.to_string().into())
    );
    assert!(lines[0]["hint"].is_string());
    let unknown = Host::try_start_with(&Data::new(), &["--log-format", "xml"], &[]).await.err().expect("no such form");
    assert_eq!(unknown.status.code(), Some(2));
}

#[tokio::test]
async fn a_cut_that_cannot_be_made_is_counted_and_logged_once_and_loses_nothing() {
    let host = Host::start_with(&["--log-format", "json"], &[]).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    let message = socket.say("sleep 1000").await;
    let turn_id = socket.until(EventType::StreamStart).await.pop().and_then(|update| update.turn_id).expect("a turn");
    // Somebody else holds the database that a cut is written to.
    let other = held(&host, id).await;
    let count = "podium_turns_ended_total{outcome=\"not_cut\"} 1\n";
    eventually("a turn without a cut", async || client.get("/metrics").await.text().contains(count).then_some(()))
        .await;
    drop(other);
    client.until(id, "a parked message", |info| info.status == InstanceStatus::Parked).await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/messages/{message}/retry")).await.status, 202);
    client.until(id, "an answer", |info| info.inbox == 0).await;
    let last = client.history(id).await.messages.pop().expect("an answer");
    assert_eq!(last.text, "slept 1000");
    let log = host.log();
    let lines = lines(&log);
    let said = saying(&lines, "a cut cannot be made");
    assert_eq!(said.len(), 1, "{log}");
    assert_eq!(said[0]["level"], "ERROR");
    assert_eq!((&said[0]["instance"], &said[0]["turn_id"]), (&id.to_string().into(), &turn_id.into()));
    assert_eq!(said[0]["attempt"], 1);
    assert!(said[0]["code"].as_str().is_some_and(|code| code.starts_with("POD-5")), "{log}");
    assert!(said[0]["error"].is_string());
}
