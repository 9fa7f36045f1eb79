//! A message on which the host dies again and again is parked; retry and discard (TURN §6).

use podium_it::database::{Databases, held};
use podium_it::{Client, Data, Host, agents, eventually};
use podium_wire::ErrorCode;
use podium_wire::InstanceId;
use podium_wire::rest::{ExternalCut, InstanceStatus, MessageReceipt, UpgradeReceipt, UpgradeStatus};
use podium_wire::updates::{EventType, UpdateBody};
use serde_json::json;

/// A host with an instance whose first message has killed it as often as it may, and one message behind it.
async fn parked(retry: u32) -> (Host, Client, InstanceId) {
    let mut host = Host::start().await;
    let bytes = agents::with_retry("probe", retry);
    assert_eq!(host.client().deploy(bytes, None, None).await.status, 201);
    let id = host.client().instance("probe").await;
    host.client().post_message(id, "deadly", "spin").await;
    host.client().post_message(id, "behind", "push 1").await;
    for attempt in 1..=retry {
        let running = |info: &podium_wire::rest::InstanceInfo| info.status == InstanceStatus::Running;
        host.client().until(id, &format!("attempt {attempt} runs"), running).await;
        host = host.crash().await;
    }
    host.client().until(id, "it is parked", |info| info.status == InstanceStatus::Parked).await;
    let client = host.client();
    (host, client, id)
}

fn act(id: InstanceId, message: &str, verb: &str) -> String {
    format!("/api/v1/instances/{id}/messages/{message}/{verb}")
}

#[tokio::test]
async fn nothing_behind_a_parked_message_runs() {
    let (host, client, id) = parked(2).await;
    let info = client.info(id).await;
    assert_eq!((info.status, info.cut, info.inbox), (InstanceStatus::Parked, 1, 2));
    // New messages are taken, and wait.
    client.post_message(id, "later", "push 2").await;
    assert_eq!(client.info(id).await.cut, 1);
    // It stays parked through a crash and does not harm another instance.
    let host = host.crash().await;
    let client = host.client();
    client.until(id, "it is parked", |info| info.status == InstanceStatus::Parked).await;
    let neighbour = client.instance("probe").await;
    assert_eq!(client.reply(neighbour, "echo fine").await, "fine");
    assert_eq!(client.info(id).await.cut, 1);
}

/// Deaths that count against a message, as the disk has them.
fn deaths(data: &Data, id: InstanceId, message: &str) -> u32 {
    let inbox = Databases::open(&data.path(), id).inbox();
    inbox.iter().find(|row| row.id == message).expect("the message is there").attempts
}

/// Lets the agent wait, or spin, from its next attempt on: a file that is there or not, changed while the instance is stopped.
async fn set_calm(client: &Client, id: InstanceId, calm: bool) {
    assert_eq!(client.post(&act_on(id, "stop")).await.status, 200);
    eventually("the turn is set aside", async || {
        let answer = match calm {
            true => client.put_file(id, "calm", b"").await,
            false => client.delete(&format!("/api/v1/instances/{id}/files/calm")).await,
        };
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(client.post(&act_on(id, "start")).await.status, 200);
}

fn act_on(id: InstanceId, verb: &str) -> String {
    format!("/api/v1/instances/{id}/{verb}")
}

#[tokio::test]
async fn a_wait_forgives_deaths_whatever_ends_it() {
    let host = Host::start().await;
    assert_eq!(host.client().deploy(agents::with_retry("probe", 2), None, None).await.status, 201);
    let id = host.client().instance("probe").await;
    host.client().post_message(id, "m", "spin-unless calm").await;
    let running = |info: &podium_wire::rest::InstanceInfo| info.status == InstanceStatus::Running;
    host.client().until(id, "it runs", running).await;
    // One death, then an attempt that waits long enough for it to be forgiven.
    let data = host.kill();
    let host = Host::start_on(&data).await;
    host.client().until(id, "it runs", running).await;
    set_calm(&host.client(), id, true).await;
    host.client().until_waiting(id).await;
    eventually("the death is forgiven", async || (deaths(&data, id, "m") == 0).then_some(())).await;
    let (status, _) = host.stop().await;
    assert!(status.success(), "{status}");
    assert_eq!(deaths(&data, id, "m"), 0, "a stop brings no death back");
    // So there is one more to die before it is parked.
    let host = Host::start_on(&data).await;
    host.client().until_waiting(id).await;
    set_calm(&host.client(), id, false).await;
    host.client().until(id, "it runs", running).await;
    let host = Host::start_on(&host.kill()).await;
    let runs = [InstanceStatus::Running, InstanceStatus::Parked];
    let info = host.client().until(id, "it runs, or not", |info| runs.contains(&info.status)).await;
    assert_eq!(info.status, InstanceStatus::Running);
}

#[tokio::test]
async fn a_parked_message_is_discarded_and_the_queue_goes_on() {
    let (_host, client, id) = parked(1).await;
    client.post(&act(id, "behind", "discard")).await.refused(ErrorCode::NotParked);
    let cut: ExternalCut = client.post(&act(id, "deadly", "discard")).await.with(200);
    assert_eq!(cut.cut, 2);
    assert_eq!(client.ask_as(id, "behind", "push 1").await.text.as_deref(), Some("1"));
    let outcome = client.ask_as(id, "deadly", "spin").await;
    assert_eq!((outcome.duplicate, outcome.cut), (true, 2));
    assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::Discarded));
    client.post(&act(id, "deadly", "discard")).await.refused(ErrorCode::NotParked);
}

#[tokio::test]
async fn a_parked_message_is_run_again_with_its_attempts_anew() {
    let (_host, client, id) = parked(1).await;
    let mut socket = client.socket(id).await;
    let receipt: MessageReceipt = client.post(&act(id, "deadly", "retry")).await.with(202);
    assert_eq!(receipt.message_id, "deadly");
    client.until(id, "it runs again", |info| info.status == InstanceStatus::Running).await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
    let updates = socket.until(EventType::Error).await;
    match updates.last().map(podium_wire::updates::Update::body) {
        Some(Ok(UpdateBody::Error(error))) => assert_eq!(error.known_code(), Some(ErrorCode::Interrupted)),
        other => panic!("{other:?}"),
    }
    assert_eq!(client.ask_as(id, "behind", "push 1").await.text.as_deref(), Some("1"));
}

#[tokio::test]
async fn who_waits_behind_a_parked_message_is_told_so() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.post_message(id, "m", "sleep 1500").await;
    let path = format!("/api/v1/instances/{id}/config");
    let put = tokio::spawn({
        let (client, path) = (client.clone(), path.clone());
        async move { client.put_json(&path, &json!({"config": {"name": "one"}})).await }
    });
    client.until(id, "the change waits", |info| info.inbox == 2).await;
    let other = held(&host, id).await;
    put.await.expect("an answer").refused(ErrorCode::Parked);
    client.until(id, "it is parked", |info| info.status == InstanceStatus::Parked).await;
    drop(other);
    // Another one is not taken either: it would wait for as long as nobody looks.
    client.put_json(&path, &json!({"config": {"name": "two"}})).await.refused(ErrorCode::Parked);
    client.post(&act(id, "m", "retry")).await.with::<MessageReceipt>(202);
    client.until(id, "both are done", |info| info.inbox == 0).await;
    let config = client.config(id).await;
    assert_eq!((config.revision, &config.config["name"]), (2, &json!("one")));
}

#[tokio::test]
async fn an_upgrade_goes_on_while_a_message_is_parked() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let successor = agents::component("successor");
    assert_eq!(client.deploy(successor, Some("probe"), Some("2.0.0")).await.status, 201);
    client.post_message(id, "m", "sleep 1500").await;
    client.until(id, "it runs", |info| info.status == InstanceStatus::Waiting).await;
    let path = format!("/api/v1/instances/{id}/upgrade?wait=60s");
    let upgrade = tokio::spawn({
        let client = client.clone();
        async move { client.post_json(&path, &json!({"version": "2.0.0"})).await }
    });
    client.until(id, "the upgrade waits", |info| info.inbox == 2).await;
    let other = held(&host, id).await;
    client.until(id, "it is parked", |info| info.status == InstanceStatus::Parked).await;
    drop(other);
    let receipt: UpgradeReceipt = upgrade.await.expect("an answer").with(200);
    assert_eq!(receipt.status, UpgradeStatus::Done);
    let info = client.info(id).await;
    assert_eq!(info.status, InstanceStatus::Parked);
    assert!(info.deployment_id.to_string().contains("2.0.0"), "{info:?}");
}

#[tokio::test]
async fn what_could_not_even_be_parked_can_be_run_again() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.post_message(id, "m", "sleep 500").await;
    client.until(id, "it runs", |info| info.status == InstanceStatus::Waiting).await;
    let other = held(&host, id).await;
    let said = async || host.log().contains("a message cannot be parked").then_some(());
    podium_it::wait::within(std::time::Duration::from_secs(60), "neither a cut nor a parked row", said).await;
    drop(other);
    client.until(id, "it is parked", |info| info.status == InstanceStatus::Parked).await;
    client.post(&act(id, "m", "retry")).await.with::<MessageReceipt>(202);
    client.until(id, "it is answered", |info| info.inbox == 0 && info.status == InstanceStatus::Resting).await;
    assert_eq!(client.history(id).await.messages.pop().expect("an answer").text, "slept 500");
}

#[tokio::test]
async fn a_stopped_instance_runs_nothing_again() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    assert!(client.ask_as(id, "m", "read later.txt").await.error.is_some());
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/stop")).await.status, 200);
    client.post(&act(id, "m", "retry")).await.refused(ErrorCode::InstanceStopped);
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/start")).await.status, 200);
    client.post(&act(id, "m", "retry")).await.with::<MessageReceipt>(202);
}

#[tokio::test]
async fn a_failed_message_is_run_again_as_a_new_row() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    // It fails while the file is missing, and works when it is there.
    let failed = client.ask_as(id, "m-1", "read later.txt").await;
    assert!(failed.error.is_some());
    client.file_put(id, "later.txt", b"here now").await;
    let receipt: MessageReceipt = client.post(&act(id, "m-1", "retry")).await.with(202);
    assert_eq!(receipt.message_id, "retry:1:m-1");
    client.until(id, "the retry ends", |info| info.inbox == 0 && info.status == InstanceStatus::Resting).await;
    let history = client.history(id).await.messages;
    assert!(history.iter().any(|entry| entry.text == "here now"), "{history:?}");
    // The first outcome stays what it was.
    assert!(client.ask_as(id, "m-1", "read later.txt").await.error.is_some());
    client.post(&act(id, "m-1", "discard")).await.refused(ErrorCode::NotParked);
}

#[tokio::test]
async fn what_cannot_be_retried_or_discarded() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.ask_as(id, "fine", "echo fine").await;
    client.post(&act(id, "fine", "retry")).await.refused(ErrorCode::AlreadyAnswered);
    client.post(&act(id, "fine", "discard")).await.refused(ErrorCode::NotParked);
    for verb in ["retry", "discard"] {
        client.post(&act(id, "never-sent", verb)).await.refused(ErrorCode::MessageNotFound);
    }
    assert_eq!(client.state(id).await.state["hooks"]["on_message"], json!(1));
}
