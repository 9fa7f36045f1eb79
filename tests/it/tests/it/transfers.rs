//! Files on their way in and out: clients that take their time, and a host that is killed meanwhile.

use podium_it::{Client, Host, Slow, agents, eventually};
use podium_wire::{ErrorCode, InstanceId};

/// The hard limit of descriptors that many systems give a process.
const FEW: u64 = 1024;

/// More slow requests than a host with so few descriptors can have in transfer.
const SLOW_MAX: usize = 60;

fn slow_upload(client: &Client, id: InstanceId) -> Slow {
    let mut upload = Slow::body(client, &format!("PUT /api/v1/instances/{id}/files/slow"), "application/octet-stream");
    upload.send(b"a beginning").expect("the host takes it");
    upload
}

#[tokio::test]
async fn slow_uploads_and_downloads_are_bounded_and_take_nothing_from_others() {
    let host = Host::start_with_descriptors(FEW).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.file_put(id, "a.txt", b"x").await;
    // More than the connection itself holds, so that the file stays open.
    client.file_put(id, "large", &vec![7; 20 * 1024 * 1024]).await;
    let mut slow = Vec::new();
    let refused = loop {
        assert!(slow.len() < SLOW_MAX, "nothing was refused");
        slow.push(slow_upload(&client, id));
        slow.push(Slow::get(&client, &format!("/api/v1/instances/{id}/files/large")));
        let answer = client.file(id, "a.txt").await;
        if answer.status != 200 {
            break answer.refused(ErrorCode::TooManyConnections);
        }
    };
    assert!(refused.message.contains("on their way"), "{refused:?}");
    client.put_file(id, "b.txt", b"x").await.refused(ErrorCode::TooManyConnections);
    client.deploy(agents::component("hello"), None, None).await.refused(ErrorCode::TooManyConnections);
    // Everything else goes on: health, lists, WebSockets, and the agents' own files.
    assert_eq!(client.get("/health").await.status, 200);
    assert_eq!(client.files(id).await.files.len(), 2);
    let mut socket = client.socket(id).await;
    assert_eq!(socket.turn("write c.txt by the agent").await.text.as_deref(), Some("written"));
    assert!(host.descriptors() < usize::try_from(FEW).expect("fits"));
    // Who leaves makes room.
    drop(slow);
    eventually("room for a file", async || (client.put_file(id, "b.txt", b"x").await.status == 200).then_some(()))
        .await;
    assert_eq!(client.file(id, "c.txt").await.text(), "by the agent");
}

#[tokio::test]
async fn an_upload_that_kill_9_cut_off_leaves_nothing_behind() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.file_put(id, "a.txt", b"x").await;
    let uploads = host.data().path().join("uploads");
    let staged = || std::fs::read_dir(&uploads).expect("the folder is there").flatten().collect::<Vec<_>>();
    let upload = slow_upload(&client, id);
    eventually("the upload's beginning on the disk", async || {
        staged().first()?.metadata().ok().filter(|file| file.len() > 0)
    })
    .await;
    let host = host.crash().await;
    assert!(staged().is_empty(), "{:?}", staged());
    let paths = |page: podium_wire::rest::FilePage| page.files.into_iter().map(|file| file.path).collect::<Vec<_>>();
    assert_eq!(paths(host.client().files(id).await), ["a.txt"]);
    let beside = host.data().path().join(format!("instances/{id}/chronicle"));
    let entries = std::fs::read_dir(beside).expect("a folder").flatten();
    let names: std::collections::BTreeSet<_> = entries.map(|entry| entry.file_name()).collect();
    assert!(names.iter().eq(["metadata", "work"]), "{names:?}");
    drop(upload);
    host.client().file_put(id, "slow", b"whole").await;
    assert_eq!(host.client().file(id, "slow").await.text(), "whole");
    assert!(staged().is_empty());
}
