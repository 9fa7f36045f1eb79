//! Instances: create, list, info, state, stop, start, delete.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use podium_it::{Client, Host, Socket, agents, eventually};
use podium_wire::ErrorCode;
use podium_wire::InstanceId;
use podium_wire::rest::{InstancePage, InstanceStatus, StateDocument};
use serde_json::json;

#[tokio::test]
async fn an_instance_is_made_and_answers() {
    let host = Host::start().await;
    let client = host.client();
    let deployed = client.deployed("counter").await.deployment;
    let id = client.instance("counter").await;
    let info = client.info(id).await;
    assert_eq!(info.instance_id, id);
    assert_eq!(info.deployment_id, deployed.deployment_id);
    assert_eq!((info.cut, info.state_version, info.config_rev, info.inbox), (1, 0, 1, 0));
    assert_eq!(info.ws_url, format!("{}/agent/{id}", host.url().replace("http", "ws")));
    for expected in ["1", "2", "3"] {
        assert_eq!(client.reply(id, "add").await, expected);
    }
    let state = client.state(id).await;
    assert_eq!(state.state, json!({"count": 3}));
    let info = client.info(id).await;
    assert_eq!((info.cut, info.state_version), (state.cut, state.version));
    assert_eq!(info.cut, 4);
    client.until(id, "the instance rests", |info| info.status == InstanceStatus::Resting).await;
}

#[tokio::test]
async fn on_init_runs_once_as_cut_one() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let before = host.client().state(id).await;
    assert_eq!((before.cut, &before.state["hooks"]["on_init"]), (1, &json!(1)));
    host.client().reply(id, "echo x").await;
    let host = host.crash().await;
    host.client().reply(id, "echo y").await;
    assert_eq!(host.client().state(id).await.state["hooks"]["on_init"], json!(1));
}

#[tokio::test]
async fn an_agent_that_refuses_to_start_leaves_no_instance() {
    let host = Host::start().await;
    let client = host.client();
    client.deployed("probe").await;
    let answer = client.create(&json!({"deployment_id": "probe", "config": {"init_fails": true}})).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(answer.text().contains("init_fails"), "{}", answer.text());
    let page: InstancePage = client.get("/api/v1/instances").await.with(200);
    assert_eq!(page.instances, []);
    let left = std::fs::read_dir(host.data().path().join("instances")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "its folder stayed");
}

/// The probe with this much processor time.
async fn probe(client: &Client, cpu_ms: u64) {
    let bytes = agents::with_limits("probe", &json!({"cpu_ms": cpu_ms}));
    assert_eq!(client.deploy(bytes, None, None).await.status, 201);
}

/// The one instance, once it is listed.
async fn listed(client: &Client) -> InstanceId {
    eventually("the instance is listed", async || {
        let page: InstancePage = client.get("/api/v1/instances").await.with(200);
        page.instances.first().map(|instance| instance.instance_id)
    })
    .await
}

/// No instance, and nothing of one on the disk.
async fn nothing_is_left(host: &Host) {
    let client = host.client();
    eventually("no instance", async || {
        let page: InstancePage = client.get("/api/v1/instances").await.with(200);
        let folders = std::fs::read_dir(host.data().path().join("instances")).map_or(0, Iterator::count);
        (page.instances.is_empty() && folders == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_on_init_that_crashes_or_never_ends_leaves_no_instance() {
    let host = Host::start().await;
    let client = host.client();
    probe(&client, 500).await;
    for (does, cause) in [("boom", "crashed"), ("spin", "processor time")] {
        let answer = client.create(&json!({"deployment_id": "probe", "config": {"at_init": does}})).await;
        let error = answer.refused(ErrorCode::InitFailed);
        assert!(error.message.contains(cause), "{error:?}");
        nothing_is_left(&host).await;
    }
}

#[tokio::test]
async fn an_interrupt_during_on_init_leaves_no_instance() {
    let host = Host::start().await;
    let client = host.client();
    probe(&client, 600_000).await;
    for does in ["spin", "sleep 600000"] {
        let creating = tokio::spawn({
            let client = client.clone();
            async move { client.create(&json!({"deployment_id": "probe", "config": {"at_init": does}})).await }
        });
        let id = listed(&client).await;
        client.until(id, "the hook runs", |info| info.status != InstanceStatus::Resting).await;
        assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
        creating.await.expect("an answer").refused(ErrorCode::InitFailed);
        nothing_is_left(&host).await;
    }
}

#[tokio::test]
async fn kill_9_during_on_init_leaves_no_instance() {
    let mut host = Host::start().await;
    let mut client = host.client();
    probe(&client, 600_000).await;
    for does in ["spin", "sleep 600000"] {
        let body = json!({"deployment_id": "probe", "config": {"at_init": does}});
        let request = client.request(reqwest::Method::POST, "/api/v1/instances").json(&body);
        let creating = tokio::spawn(request.send());
        let id = listed(&client).await;
        client.until(id, "the hook runs", |info| info.status != InstanceStatus::Resting).await;
        host = host.crash().await;
        assert!(creating.await.expect("no panic").is_err());
        client = host.client();
        nothing_is_left(&host).await;
    }
    assert_eq!(client.reply(client.instance("probe").await, "echo next").await, "next");
}

#[tokio::test]
async fn an_unknown_agent_has_no_instances() {
    let host = Host::start().await;
    let client = host.client();
    client.create(&json!({"deployment_id": "nobody"})).await.refused(ErrorCode::DeploymentNotFound);
    for body in [json!({}), json!({"deployment_id": "Not A Type"}), json!({"deployment_id": "a", "colour": "red"})] {
        let answer = client.create(&body).await;
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.status);
    }
}

#[tokio::test]
async fn a_list_comes_in_pages() {
    let host = Host::start().await;
    let client = host.client();
    client.deployed("hello").await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(client.instance("hello").await);
    }
    made.sort_unstable();
    let mut seen = Vec::new();
    let mut path = "/api/v1/instances?limit=2".to_owned();
    loop {
        let page: InstancePage = client.get(&path).await.with(200);
        assert!(page.instances.len() <= 2);
        seen.extend(page.instances.iter().map(|instance| instance.instance_id));
        let Some(next) = page.next else { break };
        path = format!("/api/v1/instances?limit=2&after={next}");
    }
    assert_eq!(seen, made);
    let host = host.crash().await;
    let page: InstancePage = host.client().get("/api/v1/instances").await.with(200);
    assert_eq!(page.instances.len(), made.len());
}

#[tokio::test]
async fn the_state_is_read_at_a_pointer() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "set colour red").await;
    client.reply(id, "push first").await;
    let at = async |pointer: &str| client.get(&format!("/api/v1/instances/{id}/state?pointer={pointer}")).await;
    let read = async |pointer: &str| at(pointer).await.with::<StateDocument>(200).state;
    assert_eq!(read("/values/colour").await, json!("red"));
    assert_eq!(read("/items/0").await, json!("first"));
    assert_eq!(read("/nowhere").await, json!(null));
    at("values").await.refused(ErrorCode::InvalidPointer);
    // `~` stands before 0 or 1 only.
    at("/values/~2").await.refused(ErrorCode::InvalidPointer);
}

#[tokio::test]
async fn a_stopped_instance_takes_no_messages_and_keeps_its_data() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    client.reply(id, "add").await;
    let _: serde_json::Value = client.post(&format!("/api/v1/instances/{id}/stop")).await.with(200);
    assert_eq!(client.info(id).await.status, InstanceStatus::Stopped);
    let body = json!({"content": {"text": "add"}});
    let path = format!("/api/v1/instances/{id}/messages");
    client.post_json(&path, &body).await.refused(ErrorCode::InstanceStopped);
    // It stays stopped through a crash.
    let host = host.crash().await;
    let client = host.client();
    client.post_json(&path, &body).await.refused(ErrorCode::InstanceStopped);
    assert_eq!(client.state(id).await.state, json!({"count": 1}));
    let _: serde_json::Value = client.post(&format!("/api/v1/instances/{id}/start")).await.with(200);
    assert_eq!(client.reply(id, "add").await, "2");
}

#[tokio::test]
async fn a_deleted_instance_is_gone() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let other = client.instance("counter").await;
    client.reply(id, "add").await;
    let mut socket = client.socket(id).await;
    assert_eq!(client.delete(&format!("/api/v1/instances/{id}")).await.status, 204);
    socket.end().await;
    client.delete(&format!("/api/v1/instances/{id}")).await.refused(ErrorCode::InstanceNotFound);
    let body = json!({"content": {"text": "add"}});
    for path in ["messages", "messages?wait=1s"] {
        client.post_json(&format!("/api/v1/instances/{id}/{path}"), &body).await.refused(ErrorCode::InstanceNotFound);
    }
    for path in ["", "/info", "/state", "/config", "/messages", "/files", "/logs"] {
        client.get(&format!("/api/v1/instances/{id}{path}")).await.refused(ErrorCode::InstanceNotFound);
    }
    assert!(Socket::try_open(&client, id).await.is_err());
    assert!(!host.data().path().join("instances").join(id.to_string()).exists());
    assert_eq!(client.reply(other, "add").await, "1");
    let host = host.crash().await;
    host.client().get(&format!("/api/v1/instances/{id}")).await.refused(ErrorCode::InstanceNotFound);
}

#[tokio::test]
async fn an_instance_in_a_turn_can_be_deleted() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.post_message(id, "m-1", "sleep 60000").await;
    client.until(id, "the turn runs", |info| info.status != InstanceStatus::Resting).await;
    assert_eq!(client.delete(&format!("/api/v1/instances/{id}")).await.status, 204);
    client.get(&format!("/api/v1/instances/{id}")).await.refused(ErrorCode::InstanceNotFound);
}

#[tokio::test]
async fn a_message_to_nobody_is_refused() {
    let host = Host::start().await;
    let client = host.client();
    let nobody: InstanceId = "0198c0de-0000-7000-8000-00000000dead".parse().expect("an id");
    let body = json!({"content": {"text": "hello?"}});
    client.post_json(&format!("/api/v1/instances/{nobody}/messages"), &body).await.refused(ErrorCode::InstanceNotFound);
    client.get("/api/v1/instances/not-an-id").await.refused(ErrorCode::InstanceNotFound);
    client.get("/api/v1/instances/..%2f..%2fetc").await.refused(ErrorCode::InstanceNotFound);
    assert!(Socket::try_open(&client, nobody).await.is_err());
}

#[tokio::test]
async fn instances_know_nothing_of_each_other() {
    let host = Host::start().await;
    let client = host.client();
    let one = client.deployed_instance("probe").await;
    let two = client.instance("probe").await;
    client.reply(one, "set secret swordfish").await;
    client.reply(one, "write mine.txt swordfish").await;
    assert!(!client.reply(two, "state").await.contains("swordfish"));
    assert_eq!(client.reply(two, "ls").await, "");
}

#[tokio::test]
async fn two_versions_of_an_agent_run_side_by_side() {
    let host = Host::start().await;
    let client = host.client();
    let bytes = agents::component("counter");
    for version in ["1.0.0", "2.0.0"] {
        assert_eq!(client.deploy(bytes.clone(), None, Some(version)).await.status, 201);
    }
    let old = client.instance("counter:1.0.0").await;
    let new = client.instance("counter").await;
    assert_eq!(client.info(old).await.deployment_id.version.to_string(), "1.0.0");
    assert_eq!(client.info(new).await.deployment_id.version.to_string(), "2.0.0");
    assert_eq!(client.reply(old, "add").await, "1");
    assert_eq!(client.reply(new, "add").await, "1");
}

/// Who lists instances learns of one before it is whole, and may ask for it at once.
#[tokio::test]
async fn an_instance_that_is_just_being_made_is_left_to_its_maker() {
    let host = Host::start().await;
    let client = host.client();
    assert_eq!(client.deploy(agents::component("probe"), None, None).await.status, 201);
    let done = Arc::new(AtomicBool::new(false));
    let watcher = tokio::spawn({
        let (client, done) = (client.clone(), Arc::clone(&done));
        async move {
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) {
                let page: InstancePage = client.get("/api/v1/instances?limit=1000").await.with(200);
                if let Some(last) = page.instances.last() {
                    let id = last.instance_id;
                    let (info, files) = (format!("/agent/{id}/info"), format!("/agent/{id}/files"));
                    let (info, files) = tokio::join!(client.get(&info), client.get(&files));
                    assert!(
                        matches!(info.status, 200 | 404) && matches!(files.status, 200 | 404),
                        "{info:?} {files:?}"
                    );
                    asked += 1;
                }
            }
            asked
        }
    });
    for _ in 0..100 {
        let (one, two) = tokio::join!(client.instance("probe"), client.instance("probe"));
        assert_eq!(client.reply(one, "echo a").await, "a");
        assert_eq!(client.reply(two, "echo b").await, "b");
    }
    done.store(true, Ordering::Relaxed);
    assert!(watcher.await.expect("the watcher") > 10);
    assert_eq!(client.get("/health").await.status, 200);
}
