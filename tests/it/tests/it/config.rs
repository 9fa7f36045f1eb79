//! Configuration: revisions, the agent's say, refusal, what survives.

use podium_it::database::{Databases, Turn};
use podium_it::{Answer, Client, Host, agents, eventually};
use podium_wire::frames::Subscribe;
use podium_wire::rest::{ConfigDocument, InstanceStatus};
use podium_wire::updates::{EventType, UpdateBody};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

fn put(config: &Value) -> Value {
    json!({"config": config})
}

/// The probe with this much processor time, and a greeting.
async fn probe(host: &Host, cpu_ms: u64) -> (Client, InstanceId) {
    let client = host.client();
    let bytes = agents::with_limits("probe", &json!({"cpu_ms": cpu_ms}));
    assert_eq!(client.deploy(bytes, None, None).await.status, 201);
    let id = client.instance_with("probe", json!({"greeting": "hello"})).await;
    (client, id)
}

/// Sets a configuration beside what the story does meanwhile.
fn setting(client: &Client, id: InstanceId, body: Value) -> tokio::task::JoinHandle<Answer> {
    let client = client.clone();
    tokio::spawn(async move { client.put_json(&format!("/api/v1/instances/{id}/config"), &body).await })
}

/// The first configuration is in force, serves, and was not changed.
async fn the_old_one_stays(client: &Client, id: InstanceId) {
    let config = client.config(id).await;
    assert_eq!((config.revision, &config.config), (1, json!({"greeting": "hello"}).as_object().expect("an object")));
    assert!(client.reply(id, "config").await.contains("hello"));
    assert_eq!(client.state(id).await.state["hooks"].get("on_config_change"), None);
}

/// The kinds of the cuts and the turns, after a check of everything that always holds.
fn story_of(host: &Host, id: InstanceId) -> (Vec<String>, Vec<Turn>) {
    let databases = Databases::open(&host.data().path(), id);
    databases.check();
    (databases.cuts().into_iter().map(|cut| cut.kind).collect(), databases.turns())
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
    let state = client.state(id).await.state;
    assert_eq!(state["hooks"]["on_config_change"], json!(1));
    assert_eq!(state["told"], json!(["local: /greeting was \"hello\", is \"ahoy\""]));
    let more = json!({"greeting": "ahoy", "a/b": {"c": [1]}});
    let _: ConfigDocument = client.put_json(&path, &put(&more)).await.with(200);
    let less = json!({"a/b": {"c": [1], "d": null}});
    let changed: ConfigDocument = client.put_json(&path, &put(&less)).await.with(200);
    let told = client.state(id).await.state["told"].as_array().cloned().unwrap_or_default();
    let expected = [
        "local: /a~1b was nothing, is {\"c\":[1]}",
        "local: /a~1b/d was nothing, is null",
        "local: /greeting was \"ahoy\", is nothing",
    ];
    assert_eq!(told[1..], expected);
    let _: ConfigDocument = client.put_json(&path, &put(&json!({"greeting": "ahoy"}))).await.with(200);
    let changed = ConfigDocument { revision: changed.revision + 1, config: client.config(id).await.config };
    let info = client.info(id).await;
    assert_eq!((info.config_rev, &info.config["greeting"]), (5, &json!("ahoy")));
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
    assert_eq!(client.state(id).await.state["hooks"].get("on_config_change"), None);
    // The refusal is an error cut.
    assert_eq!(story_of(&host, id).0, ["init", "error", "turn"]);
}

#[tokio::test]
async fn a_hook_that_crashes_or_never_ends_leaves_the_old_one() {
    let host = Host::start().await;
    let (client, id) = probe(&host, 500).await;
    for (does, code) in [("boom", ErrorCode::GuestTrap), ("spin", ErrorCode::CpuLimit)] {
        let answer = setting(&client, id, put(&json!({"at_change": does}))).await.expect("an answer");
        answer.refused(code);
        the_old_one_stays(&client, id).await;
    }
    assert_eq!(story_of(&host, id).0, ["init", "error", "turn", "error", "turn"]);
}

#[tokio::test]
async fn kill_9_during_the_hook_leaves_it_undone_or_done() {
    // It is done again: one ends well, the other at its limit.
    for (does, end) in [("sleep 1500", "config"), ("spin", "error")] {
        let host = Host::start().await;
        let (client, id) = probe(&host, 2000).await;
        // Whoever waits for it is cut off with the host.
        let path = format!("/api/v1/instances/{id}/config");
        let body = put(&json!({"greeting": "ahoy", "at_change": does}));
        let waiting = tokio::spawn(client.request(reqwest::Method::PUT, &path).json(&body).send());
        client.until(id, "the hook runs", |info| info.status != InstanceStatus::Resting).await;
        let host = host.crash().await;
        assert!(waiting.await.expect("no panic").is_err());
        let client = host.client();
        let said = client.reply(id, "config").await;
        let (rev, greeting) = if end == "config" { (2, "ahoy") } else { (1, "hello") };
        assert!(said.contains(greeting), "{said}");
        assert_eq!(client.config(id).await.revision, rev);
        let (cuts, turns) = story_of(&host, id);
        assert_eq!(cuts, ["init", end, "turn"]);
        assert_eq!((turns[1].kind.as_str(), turns[1].attempt), ("config_change", 2));
    }
}

#[tokio::test]
async fn an_interrupt_ends_the_hook_and_the_old_one_stays() {
    let host = Host::start().await;
    let (client, id) = probe(&host, 600_000).await;
    for (does, status) in [("spin", InstanceStatus::Running), ("sleep 600000", InstanceStatus::Waiting)] {
        let setting = setting(&client, id, put(&json!({"at_change": does})));
        client.until(id, "the hook runs", |info| info.status == status).await;
        assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
        setting.await.expect("an answer").refused(ErrorCode::Interrupted);
        the_old_one_stays(&client, id).await;
    }
    assert_eq!(story_of(&host, id).0, ["init", "error", "turn", "error", "turn"]);
}

#[tokio::test]
async fn at_once_it_goes_before_a_turn_that_waits() {
    let host = Host::start().await;
    let (client, id) = probe(&host, 600_000).await;
    let waits = async || client.until(id, "it waits", |info| info.status == InstanceStatus::Waiting).await;
    client.post_message(id, "m-1", "sleep 600000").await;
    client.post_message(id, "m-2", "config").await;
    waits().await;
    // One that is refused makes the turn begin again, too.
    let refused = json!({"config": {"refuse": true}, "now": true});
    setting(&client, id, refused).await.expect("an answer").refused(ErrorCode::ConfigRefused);
    waits().await;
    let body = json!({"config": {"greeting": "ahoy"}, "now": true});
    let changed: ConfigDocument = setting(&client, id, body).await.expect("an answer").with(200);
    assert_eq!((changed.revision, client.config(id).await.revision), (2, 2));
    waits().await;
    let cli = host.cli();
    let set = cli.run_with(&["config", "set", &id.to_string(), "-", "--now"], br#"{"greeting":"salut"}"#).await;
    set.ok();
    assert_eq!(client.config(id).await.revision, 3);
    // The turn waits again, and no message was lost.
    waits().await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
    let error = client.ask_as(id, "m-1", "sleep 600000").await.error.expect("it was interrupted");
    assert_eq!(error.code, ErrorCode::Interrupted.to_string());
    assert!(client.ask_as(id, "m-2", "config").await.text.is_some_and(|text| text.contains("salut")));
    let (cuts, turns) = story_of(&host, id);
    assert_eq!(cuts, ["init", "error", "config", "config", "error", "turn"]);
    assert_eq!((turns[1].kind.as_str(), turns[1].attempt), ("message", 4));
}

#[tokio::test]
async fn at_once_stays_at_once_after_kill_9() {
    let host = Host::start().await;
    let (client, id) = probe(&host, 600_000).await;
    client.post_message(id, "m-1", "sleep 600000").await;
    client.until(id, "it waits", |info| info.status == InstanceStatus::Waiting).await;
    let path = format!("/api/v1/instances/{id}/config");
    let body = json!({"config": {"greeting": "ahoy", "at_change": "sleep 1500"}, "now": true});
    let waiting = tokio::spawn(client.request(reqwest::Method::PUT, &path).json(&body).send());
    // The turn was set aside, and the hook waits in its place.
    let turns = || Databases::open(&host.data().path(), id).turns();
    eventually("the hook", async || turns().iter().any(|turn| turn.kind == "config_change").then_some(())).await;
    let host = host.crash().await;
    assert!(waiting.await.expect("no panic").is_err());
    let client = host.client();
    client.until(id, "it is in force", |info| info.config_rev == 2).await;
    client.until(id, "the turn waits again", |info| info.status == InstanceStatus::Waiting).await;
    assert_eq!(story_of(&host, id).0, ["init", "config"]);
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
