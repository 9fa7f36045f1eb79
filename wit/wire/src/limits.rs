//! The shape of an agent's limits. The numbers, with their reasons, are in podium-capabilities.
//!
//! All fields are optional here: what is absent takes the host's default; what is above the
//! host's cap is refused at deploy, never lowered silently.

use serde::{Deserialize, Serialize};

/// What an agent asks for in the `[limits]` table of agent.toml.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsRequest {
    /// Linear memory of one guest, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Time of a turn, waiting for people and timers not counted, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall_ms: Option<u64>,
    /// Processor time of a turn, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// Time a turn may wait in all, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Output held for a turn until its cut, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<u64>,
    /// Updates of a turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<u64>,
    /// The state document as compact JSON, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_bytes: Option<u64>,
    /// Open files, sockets and other host handles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_handles: Option<u64>,
    /// Messages that may wait in the inbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inbox: Option<u64>,
}
