//! Owners come and go, are asked without end and cannot start what they should, and nobody is the worse for it.

use std::time::Duration;

use podium_it::database::writable;
use podium_it::socket::End;
use podium_it::{Client, Host, agents, eventually, within};
use podium_wire::frames::ServerFrame;
use podium_wire::rest::{InstanceStatus, UpgradeStatus};
use podium_wire::{ErrorCode, InstanceId};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

/// Longer than an owner stays when nobody needs it.
const LONGER_THAN_A_REST: Duration = Duration::from_secs(12);

/// How long an owner may take to leave: its rest, and what a loaded machine adds.
const LEFT: Duration = Duration::from_secs(60);

fn host_db(host: &Host) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(host.data().path().join("host.db"), flags).expect("the list opens")
}

/// True when the list says that the next start has nothing to do here.
fn is_marked_resting(host: &Host, id: InstanceId) -> bool {
    let count = "SELECT count(*) FROM instances WHERE id = ?1 AND NOT active";
    host_db(host).query_row(count, [id.to_string()], |row| row.get::<_, u64>(0)).expect("it can be read") == 1
}

async fn active_agents(client: &Client) -> Option<u64> {
    client.get("/admin/status").await.json()["active_agents"].as_u64()
}

#[tokio::test]
async fn a_client_that_was_silent_for_long_sees_the_turn_of_its_message() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    tokio::time::sleep(LONGER_THAN_A_REST).await;
    assert_eq!(active_agents(&client).await, Some(1), "a client is connected");
    assert_eq!(socket.turn("echo still there").await.text.as_deref(), Some("still there"));
}

#[tokio::test]
async fn an_instance_rests_after_its_last_client_has_left() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    assert_eq!(socket.turn("echo hello").await.text.as_deref(), Some("hello"));
    assert!(!is_marked_resting(&host, id));
    socket.close().await;
    within(LEFT, "the owner to leave", async || (active_agents(&client).await == Some(0)).then_some(())).await;
    assert!(is_marked_resting(&host, id));
    let listed: Value = client.get("/instances").await.with(200);
    assert_eq!(listed["instances"][0]["status"], json!("resting"));
    // Who comes now gets another owner.
    let mut socket = client.socket(id).await;
    assert_eq!(socket.turn("echo again").await.text.as_deref(), Some("again"));
}

#[tokio::test]
async fn a_wait_forgives_deaths_however_often_the_owner_is_asked() {
    let host = Host::start().await;
    let client = host.client();
    // One death would park it.
    assert_eq!(client.deploy(agents::with_retry("probe", 1), None, None).await.status, 201);
    let id = client.instance("probe").await;
    client.post_message(id, "m-1", "sleep 60000").await;
    let database = writable(&host, id);
    let attempts = "SELECT attempts FROM inbox WHERE id = 'm-1'";
    eventually("the wait to count", async || {
        client.info(id).await;
        let attempts: u32 = database.query_row(attempts, [], |row| row.get(0)).expect("it can be read");
        (attempts == 0).then_some(())
    })
    .await;
    drop(database);
    let host = host.crash().await;
    let client = host.client();
    client.until(id, "it waits again", |info| info.status == InstanceStatus::Waiting).await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
}

#[tokio::test]
async fn a_host_stops_under_a_flood_of_messages() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    client.ask_as(id, "m-1", "add").await;
    let mut floods = Vec::new();
    for _ in 0..4 {
        let mut socket = client.socket(id).await;
        floods.push(tokio::spawn(async move {
            loop {
                // A hundred under way, so that the owner never finds its inbox empty.
                for _ in 0..100 {
                    if socket.say_as("m-1", "add").await.is_err() {
                        return;
                    }
                }
                for _ in 0..100 {
                    match socket.try_next().await {
                        Ok(ServerFrame::Error(error)) => {
                            let known = [ErrorCode::ShuttingDown, ErrorCode::Busy];
                            assert!(error.known_code().is_some_and(|code| known.contains(&code)), "{error:?}");
                        }
                        Ok(_) => {}
                        Err(End::Closed(_) | End::Broken(_)) => return,
                    }
                }
            }
        }));
    }
    let turned = |status: &Value| status["clients"] == json!(4);
    eventually("the flood", async || turned(&client.get("/admin/status").await.json()).then_some(())).await;
    let data = host.data().clone();
    let (status, _) = host.stop().await;
    assert!(status.success(), "{status}");
    for flood in floods {
        flood.await.expect("a flood ends with its host");
    }
    let host = Host::start_on(&data).await;
    assert_eq!(host.client().reply(id, "add").await, "2");
}

#[tokio::test]
async fn a_turn_that_could_not_be_started_is_tried_again_unasked() {
    let host = Host::start_with(&["--log-format", "json"], &[]).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.post_message(id, "m-1", "sleep 3000").await;
    let database = writable(&host, id);
    client.until(id, "the first one waits", |info| info.status == InstanceStatus::Waiting).await;
    // No turn can begin; what runs can end.
    let trigger = "CREATE TRIGGER no_turn BEFORE INSERT ON turns BEGIN SELECT RAISE(ABORT, 'no turn'); END";
    database.execute_batch(trigger).expect("a trigger");
    client.post_message(id, "m-2", "echo second").await;
    client.until(id, "the second one is stuck", |info| info.status == InstanceStatus::Resting && info.inbox == 1).await;
    database.execute_batch("DROP TRIGGER no_turn").expect("it is gone");
    // Nobody sends anything more.
    client.until(id, "an answer", |info| info.inbox == 0).await;
    assert_eq!(client.history(id).await.messages.pop().expect("an answer").text, "second");
    assert!(host.log().contains("a turn cannot be started"));
}

#[tokio::test]
async fn an_upgrade_that_could_not_be_made_is_tried_again_unasked() {
    let host = Host::start_with(&["--log-format", "json"], &[]).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let before = client.info(id).await.deployment_id;
    let again = agents::component("probe");
    let deployed: Value = client.deploy(again, Some("probe"), Some("1.9.0")).await.with(201);
    let database = writable(&host, id);
    let trigger = "CREATE TRIGGER no_cut BEFORE INSERT ON cuts BEGIN SELECT RAISE(ABORT, 'no cut'); END";
    database.execute_batch(trigger).expect("a trigger");
    let path = format!("/agent/{id}/upgrade");
    let receipt = client.post_json(&path, &json!({"version": "1.9.0"})).await.with::<Value>(202);
    assert_eq!(receipt["status"], json!(UpgradeStatus::Accepted));
    eventually("the failure", async || host.log().contains("an upgrade cannot be started").then_some(())).await;
    assert_eq!(client.info(id).await.deployment_id, before);
    database.execute_batch("DROP TRIGGER no_cut").expect("it is gone");
    client.until(id, "the new code", |info| json!(info.deployment_id) == deployed["deployment_id"]).await;
    assert_eq!(client.reply(id, "echo new").await, "new");
}
