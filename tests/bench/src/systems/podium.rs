//! This host: one `podium up` in a process of its own, agents over HTTP and WebSocket.

use std::path::Path;
use std::time::Instant;

use podium_it::{Client, Data, Host, agents, root};
use serde_json::Value;

use super::{Door, Guard, Running, System};

/// The benchmark's agent in Rust, built.
pub fn component() -> Vec<u8> {
    let path = agents::built(&root().join("tests/bench/agents/rust"), "streamer");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Starts a host over this folder, whatever is in it, and deploys the agent.
pub(super) async fn start(folder: &Path) -> Running {
    // Its log lies apart from its data.
    let data = Data::new();
    let begun = Instant::now();
    let host = Host::spawn(&data, folder, "127.0.0.1:0").await.unwrap_or_else(|not| panic!("{not:?}"));
    let up = begun.elapsed();
    let token = std::fs::read_to_string(folder.join("token")).expect("a token").trim().to_owned();
    let client = Client::new(host.url(), Some(token));
    let deployed = client.deploy(component(), None, None).await;
    assert!([200, 201].contains(&deployed.status), "{} {}", deployed.status, deployed.text());
    let deployed: Value = deployed.json();
    let deployment = deployed["deployment_id"].as_str().expect("an id").to_owned();
    let door = Door::Podium { client, deployment };
    Running { door, up, system: System::Podium, guard: Some(Guard::Host(host)) }
}
