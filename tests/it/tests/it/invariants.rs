//! What always holds in an instance's databases, after a load of every kind and after crashes (TURN §9).

use podium_it::database::Databases;
use podium_it::{Host, agents, message_id};
use podium_wire::rest::InstanceStatus;
use serde_json::json;

const COMMANDS: &[&str] = &[
    "push x",
    "set a 1",
    "echo hello",
    "boom",
    "stream 50",
    "fail",
    "badpatch",
    "set a 2",
    "elements",
    "sleep 5",
    "log line",
    "write f.txt text",
    "state",
    "history 5",
];

#[tokio::test]
async fn they_hold_after_a_mixed_load() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    for round in 0..6 {
        for command in COMMANDS {
            client.ask(id, command).await;
        }
        client.file_put(id, "outside.txt", b"x").await;
        let config = json!({"config": {"round": round, "refuse": round % 2 == 1}});
        client.put_json(&format!("/api/v1/instances/{id}/config"), &config).await;
    }
    let expected = client.state(id).await;
    let info = client.info(id).await;
    let data = host.kill();
    let databases = Databases::open(&data.path(), id);
    let cuts = databases.check();
    assert_eq!(cuts as u64, info.cut);
    assert_eq!(databases.state_at(expected.cut), expected.state);
    let kinds: Vec<String> = databases.cuts().into_iter().map(|cut| cut.kind).collect();
    for kind in ["init", "turn", "error", "config", "external"] {
        assert!(kinds.iter().any(|found| found == kind), "no cut of the kind {kind}: {kinds:?}");
    }
    // Each cut's state can be rebuilt, not only the last.
    for cut in [1, info.cut / 2, info.cut - 1] {
        assert!(databases.state_at(cut).is_object());
    }
}

#[tokio::test]
async fn they_hold_after_crashes_in_the_middle_of_a_mixed_load() {
    let mut host = Host::start().await;
    let bytes = agents::with_retry("probe", 10);
    assert_eq!(host.client().deploy(bytes, None, None).await.status, 201);
    let id = host.client().instance("probe").await;
    for round in 0..10_u64 {
        let client = host.client();
        let load = tokio::spawn(async move {
            for command in COMMANDS.iter().cycle() {
                let body = json!({"id": message_id(), "content": {"text": command}});
                let path = format!("/api/v1/instances/{id}/messages");
                let request = client.request(reqwest::Method::POST, &path).json(&body);
                if request.send().await.is_err() {
                    break;
                }
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(37 * round % 200)).await;
        host = host.crash().await;
        load.await.expect("the load ends");
    }
    let settled = |info: &podium_wire::rest::InstanceInfo| info.inbox == 0 && info.status == InstanceStatus::Resting;
    let info = host.client().until(id, "everything is answered", settled).await;
    let state = host.client().state(id).await;
    let data = host.kill();
    let databases = Databases::open(&data.path(), id);
    assert_eq!(databases.check() as u64, info.cut);
    assert_eq!(databases.state_at(state.cut), state.state);
    assert!(databases.inbox().iter().all(|row| row.status == "done"));
}

#[tokio::test]
async fn an_unused_agent_is_small_on_disk() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    client.until(id, "it rests", |info| info.status == InstanceStatus::Resting).await;
    let folder = host.data().path().join("instances").join(id.to_string());
    let bytes = podium_it::eventually("it is at most 40 KB", async || {
        let bytes = disk_bytes(&folder);
        (bytes <= 40 * 1024).then_some(bytes)
    })
    .await;
    assert!(bytes > 0);
}

/// Bytes that a folder takes on the disk.
fn disk_bytes(folder: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let own = std::fs::metadata(folder).map_or(0, |metadata| metadata.blocks() * 512);
    let inner: u64 = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            if entry.path().is_dir() {
                disk_bytes(&entry.path())
            } else {
                entry.metadata().map_or(0, |metadata| metadata.blocks() * 512)
            }
        })
        .sum();
    own + inner
}
