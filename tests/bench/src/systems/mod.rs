//! What is measured: this host and its peers, each started as its users would start it, and reached over a WebSocket.
//!
//! Owns how an agent is made and addressed, how a message looks and which frames matter. Knows no load and no row.

pub mod front;
mod podium;
mod process;
pub mod serve;
mod workerd;

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use podium_it::{Client, Host};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

pub use podium::component;

/// Numbers of messages: an id is never used twice, whatever is restarted.
static MESSAGES: AtomicU64 = AtomicU64::new(1);

/// Something that runs agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// This host.
    Podium,
    /// A Bun process an agent, behind a small Rust front.
    Bun,
    /// The same with CPython.
    Cpython,
    /// A Durable Object an agent, SQLite storage, hibernatable WebSocket.
    Workerd,
}

impl System {
    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Podium => "Podium",
            Self::Bun => "Bun process",
            Self::Cpython => "CPython process",
            Self::Workerd => "workerd",
        }
    }

    /// Why it cannot be measured here, where it cannot.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Podium => None,
            Self::Bun => crate::tools::bun().err(),
            Self::Cpython => crate::tools::python().err(),
            Self::Workerd => crate::tools::workerd().err(),
        }
    }

    /// Where its data lies below a folder.
    pub fn folder(self, below: &Path) -> PathBuf {
        below.join(self.name().replace(' ', "-").to_lowercase())
    }

    /// Starts it with its data below this folder, whatever is there already.
    pub async fn start(self, folder: &Path) -> Running {
        let folder = self.folder(folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        match self {
            Self::Podium => podium::start(&folder).await,
            Self::Bun => process::start(self, &folder, &crate::tools::bun().expect("Bun"), "bun/agent.js"),
            Self::Cpython => {
                process::start(self, &folder, &crate::tools::python().expect("Python"), "cpython/agent.py")
            }
            Self::Workerd => workerd::start(&folder).await,
        }
    }
}

/// What a message asks of the agent.
#[derive(Debug, Clone, Copy)]
pub struct Ask {
    /// Pieces of text to stream.
    pub pieces: u32,
    /// Milliseconds to wait before them.
    pub wait_ms: u64,
}

impl Ask {
    /// A turn that streams.
    pub const fn stream(pieces: u32) -> Self {
        Self { pieces, wait_ms: 0 }
    }

    /// A turn that waits first.
    pub const fn wait(wait_ms: u64) -> Self {
        Self { pieces: 1, wait_ms }
    }
}

/// The name of an agent within its system.
#[derive(Debug, Clone)]
pub struct Agent(pub String);

/// How a running system is reached; cheap to clone.
#[derive(Clone)]
pub enum Door {
    /// This host's API.
    Podium {
        /// With its token.
        client: Client,
        /// What agents are made of.
        deployment: String,
    },
    /// A WebSocket whose path names the agent, which exists from the first connection on.
    Peer {
        /// Where it listens.
        address: String,
        /// The next agent's number.
        next: Arc<AtomicU64>,
    },
}

impl Door {
    /// Makes a brand-new agent.
    pub async fn create(&self) -> Result<Agent, String> {
        match self {
            Self::Podium { client, deployment } => {
                let answer = client.post_json("/api/v1/instances", &json!({"deployment_id": deployment})).await;
                if answer.status != 201 {
                    return Err(format!("create answered {}: {}", answer.status, answer.text()));
                }
                let made: Value = answer.json();
                Ok(Agent(made["instance_id"].as_str().expect("an id").to_owned()))
            }
            Self::Peer { next, .. } => Ok(Agent(next.fetch_add(1, Ordering::Relaxed).to_string())),
        }
    }

    /// The request that opens an agent's WebSocket.
    pub fn request(&self, agent: &Agent) -> Request {
        match self {
            Self::Podium { client, .. } => {
                let url = format!("{}/agent/{}", client.url().replacen("http", "ws", 1), agent.0);
                let mut request = url.into_client_request().expect("a request");
                let token = format!("Bearer {}", client.token().unwrap_or_default());
                request.headers_mut().insert("authorization", token.parse().expect("a header"));
                request
            }
            Self::Peer { address, .. } => {
                format!("ws://{address}/{}", agent.0).into_client_request().expect("a request")
            }
        }
    }

    /// A message with an id of its own.
    pub fn message(&self, ask: Ask) -> String {
        let id = MESSAGES.fetch_add(1, Ordering::Relaxed);
        self.message_as(&format!("m-{id}"), ask)
    }

    /// The text that asks this host's agent for it.
    pub fn text(&self, Ask { pieces, wait_ms }: Ask) -> String {
        if wait_ms == 0 { pieces.to_string() } else { format!("{pieces} {wait_ms}") }
    }

    /// A message with this id.
    pub fn message_as(&self, id: &str, Ask { pieces, wait_ms }: Ask) -> String {
        match self {
            Self::Podium { .. } => {
                let text = self.text(Ask { pieces, wait_ms });
                format!(r#"{{"type":"process_message","id":"{id}","content":{{"text":"{text}"}}}}"#)
            }
            Self::Peer { .. } => format!(r#"{{"id":"{id}","pieces":{pieces},"wait_ms":{wait_ms}}}"#),
        }
    }

    /// What stands in each frame that carries a piece of text.
    pub fn piece(&self) -> &'static str {
        match self {
            Self::Podium { .. } => r#""event_type":"text.delta""#,
            Self::Peer { .. } => r#""type":"chunk""#,
        }
    }

    /// What stands in the frame that says that the turn is durable and over.
    pub fn end(&self) -> &'static str {
        match self {
            Self::Podium { .. } => r#""event_type":"cut""#,
            Self::Peer { .. } => r#""type":"complete""#,
        }
    }
}

/// What ends with it.
enum Guard {
    Host(Host),
    Child(Child),
}

/// A running system; ended when dropped.
pub struct Running {
    /// How it is reached.
    pub door: Door,
    /// From its process's start until it listens.
    pub up: Duration,
    system: System,
    guard: Option<Guard>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(Guard::Child(child)) = &mut self.guard {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Running {
    /// Which it is.
    pub fn system(&self) -> System {
        self.system
    }

    /// The process whose tree it is.
    pub fn pid(&self) -> u32 {
        match &self.guard {
            Some(Guard::Host(host)) => host.pid(),
            Some(Guard::Child(child)) => child.id(),
            None => 0,
        }
    }

    /// This host's API; none of a peer.
    pub fn client(&self) -> Option<&Client> {
        match &self.door {
            Door::Podium { client, .. } => Some(client),
            Door::Peer { .. } => None,
        }
    }

    /// `kill -9`, and a start over the same folder.
    pub async fn crash(mut self, folder: &Path) -> Self {
        match self.guard.take() {
            Some(Guard::Host(host)) => drop(host.kill()),
            Some(Guard::Child(mut child)) => {
                let _ = child.kill();
                let _ = child.wait();
            }
            None => {}
        }
        self.again(folder).await
    }

    /// An orderly end where the system knows one, and a start over the same folder.
    pub async fn restart(mut self, folder: &Path) -> Self {
        match self.guard.take() {
            Some(Guard::Host(host)) => drop(host.stop().await),
            guard => self.guard = guard,
        }
        self.crash(folder).await
    }

    async fn again(self, folder: &Path) -> Self {
        let mut running = self.system.start(folder).await;
        // The numbers of a peer's agents go on.
        if let (Door::Peer { next, .. }, Door::Peer { next: before, .. }) = (&mut running.door, &self.door) {
            *next = Arc::clone(before);
        }
        running
    }
}
