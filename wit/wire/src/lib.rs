//! podium-wire: every JSON shape that crosses a process, and the names both sides use.
//!
//! Owns ids, the manifest, the shape of limits, stream updates with their catalogue, WebSocket
//! frames, REST bodies and error codes. Golden examples are in `fixtures/`. It must never do I/O,
//! start a task or read a clock: it is data, and the parsing of data.

pub mod asks;
pub mod chronicle;
pub mod codes;
pub mod cuts;
pub mod error;
pub mod frames;
pub mod ids;
pub mod limits;
pub mod manifest;
pub mod message;
pub mod portable;
pub mod rest;
pub mod updates;

pub use codes::ErrorCode;
pub use error::WireError;
pub use ids::{AgentType, AgentVersion, DeploymentId, DeploymentRef, Digest, InstanceId, InvalidId};
