//! Configuration: revisions, the agent's say, refusal, what survives.

use podium_it::{Host, eventually};
use podium_wire::ErrorCode;
use podium_wire::frames::Subscribe;
use podium_wire::rest::ConfigDocument;
use podium_wire::updates::{EventType, UpdateBody};
use serde_json::{Value, json};

fn put(config: &Value) -> Value {
    json!({"config": config})
}

#[tokio::test]
async fn a_configuration_is_given_at_creation_and_changed_later() {
    let host = Host::start().await;
    let client = host.client();
    client.deployed("probe").await;
    let id = client.instance_with("probe", json!({"greeting": "hello"})).await;
    let path = format!("/api/v1/instances/{id}/config");
    assert_eq!(client.config(id).await.revision, 1);
    assert_eq!(client.config(id).await.config["greeting"], "hello");
    assert!(client.reply(id, "config").await.contains("hello"));
    let changed: ConfigDocument = client.put_json(&path, &put(&json!({"greeting": "ahoy"}))).await.with(200);
    assert_eq!((changed.revision, &changed.config["greeting"]), (2, &json!("ahoy")));
    assert!(client.reply(id, "config").await.contains("ahoy"));
    assert_eq!(client.state(id).await.state["hooks"]["on_config_change"], json!(1));
    let info = client.info(id).await;
    assert_eq!((info.config_rev, &info.config["greeting"]), (2, &json!("ahoy")));
    let host = host.crash().await;
    assert_eq!(host.client().config(id).await, changed);
    assert!(host.client().reply(id, "config").await.contains("ahoy"));
}

#[tokio::test]
async fn an_agent_may_refuse_and_the_old_one_stays() {
    let host = Host::start().await;
    let client = host.client();
    client.deployed("probe").await;
    let id = client.instance_with("probe", json!({"greeting": "hello"})).await;
    let path = format!("/api/v1/instances/{id}/config");
    let answer = client.put_json(&path, &put(&json!({"refuse": true}))).await;
    let error = answer.refused(ErrorCode::ConfigRefused);
    assert!(error.message.contains("refuse"), "{error:?}");
    let config = client.config(id).await;
    assert_eq!((config.revision, &config.config["greeting"]), (1, &json!("hello")));
    assert!(client.reply(id, "config").await.contains("hello"));
    // The refusal is an error cut.
    assert_eq!(client.state(id).await.state["hooks"].get("on_config_change"), None);
}

#[tokio::test]
async fn clients_are_told_of_a_new_revision() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    client.put_json(&format!("/api/v1/instances/{id}/config"), &put(&json!({"a": 1}))).await.with::<Value>(200);
    let updates = socket.until(EventType::Cut).await;
    let told = updates
        .iter()
        .any(|update| matches!(update.body(), Ok(UpdateBody::ConfigChanged(changed)) if changed.revision == 2));
    assert!(
        told || {
            // It may come with its seq right after the cut.
            let next = socket.update().await;
            matches!(next.body(), Ok(UpdateBody::ConfigChanged(changed)) if changed.revision == 2)
        },
        "{updates:?}"
    );
    let mut later = client.socket(id).await;
    later.subscribe(Subscribe::default()).await;
    let past = later.until(EventType::ConfigChanged).await;
    assert!(past.last().is_some_and(|update| update.seq.is_some()));
}

#[tokio::test]
async fn a_change_from_an_old_revision_is_refused() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let path = format!("/api/v1/instances/{id}/config");
    let with = |revision: u64, value: u64| json!({"config": {"value": value}, "if_revision": revision});
    let _: ConfigDocument = client.put_json(&path, &with(1, 1)).await.with(200);
    client.put_json(&path, &with(1, 2)).await.refused(ErrorCode::RevisionConflict);
    assert_eq!(client.config(id).await.config["value"], json!(1));
    let _: ConfigDocument = client.put_json(&path, &with(2, 3)).await.with(200);
}

#[tokio::test]
async fn what_is_no_configuration() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let path = format!("/api/v1/instances/{id}/config");
    for body in [json!([]), json!({"config": 7}), json!({"config": {}, "colour": 1}), json!({})] {
        client.put_json(&path, &body).await.refused(ErrorCode::InvalidJson);
    }
    let large = json!({"text": "x".repeat(300 * 1024)});
    client.put_json(&path, &put(&large)).await.refused(ErrorCode::InvalidConfig);
    let answer = client.create(&json!({"deployment_id": "probe", "config": large})).await;
    answer.refused(ErrorCode::InvalidConfig);
    assert_eq!(client.config(id).await.revision, 1);
}

#[tokio::test]
async fn a_change_waits_for_the_running_turn() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.post_message(id, "m-1", "sleep 700").await;
    let changed: ConfigDocument =
        client.put_json(&format!("/api/v1/instances/{id}/config"), &put(&json!({"a": 1}))).await.with(200);
    assert_eq!(changed.revision, 2);
    // The turn had its cut first: 1 is init, 2 the message, 3 the change.
    let outcome = client.ask_as(id, "m-1", "sleep 700").await;
    assert_eq!((outcome.cut, outcome.text.as_deref()), (2, Some("slept 700")));
    eventually("the change's cut", async || (client.info(id).await.cut == 3).then_some(())).await;
}

#[tokio::test]
async fn an_agent_without_the_hook_takes_every_configuration() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let path = format!("/api/v1/instances/{id}/config");
    let changed: ConfigDocument = client.put_json(&path, &put(&json!({"any": ["thing"]}))).await.with(200);
    assert_eq!(changed.revision, 2);
    assert_eq!(client.reply(id, "add").await, "1");
}
