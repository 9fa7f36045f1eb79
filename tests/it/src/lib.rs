//! The harness of the stories in `tests/it`: the real `podium` binary, driven from outside.
//!
//! Owns starting and killing hosts, typed HTTP and WebSocket clients, the agents' components and a reader of an
//! instance's databases. Uses no part of the host: only what any client could use, and the wire's shapes. Every wait
//! has a deadline; nothing sleeps blindly.

pub mod agents;
pub mod cli;
pub mod client;
pub mod collector;
pub mod component;
pub mod database;
pub mod guide;
pub mod host;
pub mod huge;
pub mod moment;
pub mod neighbour;
pub mod slow;
pub mod socket;
pub mod wait;

pub use cli::Cli;
pub use client::{Answer, Client};
pub use collector::Collector;
pub use host::{Data, Host};
pub use neighbour::Neighbour;
pub use slow::Slow;
pub use socket::{Socket, Turn};
pub use wait::{PATIENCE, eventually, within};

use std::path::PathBuf;

/// The repository's root.
pub fn root() -> PathBuf {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the root").to_owned()
}

/// A new message id.
pub fn message_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
