//! The shape of an agent's limits. The numbers, with their reasons, are in podium-capabilities, but for what comes in from outside.
//!
//! All fields are optional here: what is absent takes the host's default; what is above the
//! host's cap is refused at deploy, never lowered silently.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Largest component: it is held in memory once while it is checked and compiled, and Python's have some 20 MiB.
pub const COMPONENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What an agent asks for in the `[limits]` table of agent.toml.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    /// All files of the workspace together, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_bytes: Option<u64>,
    /// Files, folders and links of the workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_entries: Option<u64>,
    /// Folders within each other that versions of the workspace have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_depth: Option<u64>,
    /// The largest file that versions of the workspace have, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_file_bytes: Option<u64>,
}

/// The limits in force for a deployment: what it asked for or the default, and those that are the same for all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsInForce {
    /// Linear memory of one guest, bytes.
    pub memory_bytes: u64,
    /// Time of a turn, waiting for people and timers not counted, milliseconds.
    pub wall_ms: u64,
    /// Processor time of a turn, milliseconds.
    pub cpu_ms: u64,
    /// Time a turn may wait in all, milliseconds.
    pub wait_ms: u64,
    /// Output held for a turn until its cut, bytes.
    pub output_bytes: u64,
    /// Updates of a turn.
    pub updates: u64,
    /// The state document as compact JSON, bytes.
    pub state_bytes: u64,
    /// Open files and folders.
    pub open_handles: u64,
    /// Messages that may wait in the inbox.
    pub inbox: u64,
    /// All files of the workspace together, bytes.
    pub workspace_bytes: u64,
    /// Files, folders and links of the workspace.
    pub workspace_entries: u64,
    /// Folders within each other that versions of the workspace have.
    pub workspace_depth: u64,
    /// The largest file that versions of the workspace have, bytes.
    pub workspace_file_bytes: u64,
    /// Objects and arrays within each other in the state.
    pub state_depth: u64,
    /// Operations of one patch.
    pub patch_operations: u64,
    /// Host calls that may wait at once.
    pub calls_in_flight: u64,
    /// Entries of the guest's table of host resources.
    pub resources: u64,
    /// Elements of one table of the engine.
    pub table_elements: u64,
    /// Bytes that one host call may bring.
    pub call_bytes: u64,
    /// Log of a turn, bytes.
    pub log_bytes: u64,
    /// Questions and requests for permission that may be open at once.
    pub open_asks: u64,
    /// Options of a question.
    pub ask_options: u64,
    /// A question or a request for permission, bytes.
    pub ask_bytes: u64,
    /// An answer, bytes.
    pub answer_bytes: u64,
    /// Steers of a turn that may wait at once.
    pub steers_pending: u64,
    /// Steers of a turn.
    pub steers: u64,
    /// All steers of a turn, bytes.
    pub steer_bytes: u64,
    /// A message as it comes in, bytes: one frame of a WebSocket, one body of a request.
    pub frame_bytes: u64,
    /// A component, bytes.
    pub component_bytes: u64,
}
