//! Many agents on one machine: what one costs that waits or rests, and what a host does at the end of its descriptors.
//!
//! Counts descriptors of the real process. What memory they take is measured by the benchmarks.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use podium_it::wait::within;
use podium_it::{Client, Host, Neighbour, PATIENCE, Socket, agents, eventually, root};
use podium_wire::rest::InstanceStatus;
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Error;

/// Agents of a story: enough that a descriptor for each would show.
const AGENTS: usize = 40;

/// Descriptors that come and go for other reasons: connections of the client, a folder during its fsync.
const SLACK: usize = 12;

/// How long databases of an agent that waits stay open, with room for a loaded machine.
const UNTIL_CLOSED: Duration = Duration::from_secs(60);

async fn instances(client: &Client, count: usize) -> Vec<InstanceId> {
    let deployed = client.deployed("probe").await.deployment.deployment_id.to_string();
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(client.instance(&deployed).await);
    }
    ids
}

async fn few_descriptors(host: &Host, most: usize) {
    within(UNTIL_CLOSED, "descriptors to be closed", || async { (host.descriptors() <= most).then_some(()) }).await;
}

async fn becomes(client: &Client, id: InstanceId, status: InstanceStatus) {
    eventually(status.as_str(), || async { (client.info(id).await.status == status).then_some(()) }).await;
}

async fn tell(client: &Client, id: InstanceId, text: &str) {
    let body = json!({"content": {"text": text}});
    let _: Value = client.post_json(&format!("/agent/{id}/messages"), &body).await.with(202);
}

#[tokio::test]
async fn an_agent_that_waits_holds_no_descriptor_and_one_that_rests_nothing() {
    let host = Host::start().await;
    let client = host.client();
    let mut ids = instances(&client, 1).await;
    let before = host.descriptors();
    ids.extend(instances(&client, AGENTS).await);
    for id in &ids {
        tell(&client, *id, "set waited yes").await;
        tell(&client, *id, "sleep 3600000").await;
    }
    for id in &ids {
        becomes(&client, *id, InstanceStatus::Waiting).await;
    }
    // The probe's toolchain asks for its preopens, but no file was used: no guest may hold a descriptor, only databases do.
    few_descriptors(&host, before + SLACK).await;
    for id in &ids {
        assert_eq!(client.info(*id).await.status, InstanceStatus::Waiting);
        let answer = client.post(&format!("/agent/{id}/interrupt")).await;
        assert!(answer.status < 300, "{} {}", answer.status, answer.text());
    }
    // The databases open again for the cut.
    for id in &ids {
        becomes(&client, *id, InstanceStatus::Resting).await;
        let state = client.state(*id).await;
        assert_eq!(state.state["values"]["waited"], "yes");
    }
    few_descriptors(&host, before + SLACK).await;
    let figures = client.get("/metrics").await.text();
    for figure in ["podium_guests 0", "podium_running_turns 0"] {
        assert!(figures.lines().any(|line| line == figure), "{figure}\n{figures}");
    }
}

#[tokio::test]
async fn the_workspace_is_made_when_a_file_is_first_used() {
    let host = Host::start().await;
    let client = host.client();
    let id = instances(&client, 1).await[0];
    let workspace = host.data().path().join(format!("instances/{id}/chronicle"));
    let mut socket = Socket::open(&client, id).await;
    assert_eq!(socket.turn("echo hello").await.text.as_deref(), Some("hello"));
    assert!(!workspace.exists(), "a turn without files made the workspace");
    assert_eq!(socket.turn("ls").await.text.as_deref(), Some(""));
    assert_eq!(socket.turn("write a.txt text").await.text.as_deref(), Some("written"));
    assert_eq!(socket.turn("read a.txt").await.text.as_deref(), Some("text"));
    assert_eq!(std::fs::read(workspace.join("work/a.txt")).expect("the file"), b"text");
}

/// The hard limit that many systems give a process.
const FEW: u64 = 1024;

#[tokio::test]
async fn a_host_that_is_out_of_descriptors_says_so_and_serves_on() {
    let host = Host::start_with_descriptors(FEW).await;
    let client = host.client();
    let ids = instances(&client, 8).await;
    let mut sockets = Vec::new();
    let refused = loop {
        assert!(sockets.len() < usize::try_from(FEW).expect("fits"), "no WebSocket was refused");
        match Socket::try_open(&client, ids[sockets.len() % ids.len()]).await {
            Ok(socket) => sockets.push(socket),
            Err(Error::Http(response)) => break response,
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(refused.status(), ErrorCode::TooManyConnections.status());
    let body = String::from_utf8_lossy(refused.body().as_deref().unwrap_or_default()).into_owned();
    assert!(body.contains(&ErrorCode::TooManyConnections.to_string()), "{body}");
    // Single requests still come through, and agents answer.
    assert_eq!(client.get("/health").await.status, 200);
    for socket in sockets.iter_mut().take(20) {
        assert_eq!(socket.turn("echo still here").await.text.as_deref(), Some("still here"));
    }
    // Connections that only sit there take the rest; the next one hears why it is not taken.
    let address = host.url().trim_start_matches("http://").to_owned();
    let mut idle = Vec::new();
    let said = loop {
        assert!(idle.len() < usize::try_from(FEW).expect("fits"), "no connection was refused");
        let mut stream = TcpStream::connect(&address).expect("the listener accepts");
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n").expect("half a request");
        let mut said = String::new();
        // A connection that was taken waits for the other half.
        let _ = stream.read_to_string(&mut said);
        if !said.is_empty() {
            break said;
        }
        idle.push(stream);
    };
    assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
    let body = said.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
    let error: Value = serde_json::from_str(body).expect("an error body");
    assert_eq!(error["error"]["code"], ErrorCode::TooManyConnections.to_string());
    assert_eq!(error["error"]["retryable"], true);
    assert!(host.descriptors() < usize::try_from(FEW).expect("fits"));
    // Whoever has a connection is served all the while; who leaves makes room.
    assert_eq!(sockets[0].turn("echo and here").await.text.as_deref(), Some("and here"));
    drop(idle);
    drop(sockets.split_off(1));
    within(PATIENCE, "room for a client", || async { Socket::try_open(&client, ids[0]).await.ok() }).await;
    assert!(!host.log().contains("Too many open files"), "{}", host.log());
}

#[tokio::test]
async fn files_of_all_agents_together_are_bounded() {
    let host = Host::start_with_descriptors(FEW).await;
    let client = host.client();
    let component = agents::built(&root().join("agents/hostile/files"), "hostile-files");
    let answer = client.deploy(std::fs::read(component).expect("a component"), None, None).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = client.instance("hostile-files").await;
    let mut socket = Socket::open(&client, id).await;
    // Its own limit of 256 is more than this host has for all guests.
    let neighbour = Neighbour::of(&client).await;
    let error = neighbour.meanwhile(socket.turn("handles")).await.error.expect("an error");
    assert_eq!(error.code, ErrorCode::HandleLimit.to_string());
    assert!(error.message.contains("the agents of this host"), "{}", error.message);
    // They were given back with the guest.
    assert_eq!(socket.turn("write mine text").await.error, None);
}
