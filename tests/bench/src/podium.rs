//! This host under load: one `podium up` in a process of its own, agents over HTTP and WebSocket.

use std::path::Path;
use std::process::Command;

use podium_it::{Client, Data, Host, agents, root};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use crate::load::{self, Loads, PIECES, Peer};

#[derive(Clone)]
struct Podium {
    client: Client,
    deployment: String,
}

impl Peer for Podium {
    async fn new_agent(&self) -> Request {
        let body = json!({"deployment_id": self.deployment});
        let made: Value = self.client.post_json("/api/v1/instances", &body).await.with(201);
        let id = made["instance_id"].as_str().expect("an id");
        let url = format!("{}/agent/{id}", self.client.url().replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a request");
        let token = format!("Bearer {}", self.client.token().unwrap_or_default());
        request.headers_mut().insert("authorization", token.parse().expect("a header"));
        request
    }

    fn message(&self, number: usize) -> String {
        format!(r#"{{"type":"process_message","id":"m-{number}","content":{{"text":"{PIECES}"}}}}"#)
    }

    fn first(&self) -> &'static str {
        r#""event_type":"text.delta""#
    }

    fn end(&self) -> &'static str {
        r#""event_type":"cut""#
    }
}

/// The benchmark's agent, built.
pub fn component() -> Vec<u8> {
    let path = agents::built(&root().join("tests/bench/agent"), "streamer");
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Measures a host with its data in this folder.
pub async fn measure(folder: &Path, component: Vec<u8>) -> Loads {
    let data = Data::new();
    let place = folder.join("podium");
    let host = Host::spawn(&data, &place, "127.0.0.1:0").await.unwrap_or_else(|not| panic!("{not:?}"));
    let token = std::fs::read_to_string(place.join("token")).expect("a token").trim().to_owned();
    let client = Client::new(host.url(), Some(token));
    let deployed: Value = client.deploy(component, None, None).await.with(201);
    let deployment = deployed["deployment_id"].as_str().expect("an id").to_owned();
    load::measure(Podium { client, deployment }).await
}

/// What the runtime alone needs, as its own example says; nothing when it was not built.
pub fn runtime_part() -> Option<String> {
    let example = podium_it::host::binary().with_file_name("examples").join("fresh_turn");
    let agent = agents::built(&root().join("tests/bench/agent"), "streamer");
    let output = Command::new(&example).arg(&agent).arg("1").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    output.status.success().then_some(said)
}
