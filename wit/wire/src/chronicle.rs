//! What people are told of the store behind a workspace: how large it is, what was collected, what is damaged.
//!
//! Owns these shapes only; what a damaged path is called here is for people, as names of files may be any bytes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How large the history of a workspace is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ChronicleStats {
    /// Versions that are kept.
    pub versions: u64,
    /// The oldest of them; 0 for none.
    pub oldest_version: u64,
    /// Files of stored content.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Those of them that a kept version needs, as the last collection found, and what was added since.
    pub live_bytes: u64,
    /// Bytes of the database's rows, the trees of folders among them.
    pub database_bytes: u64,
    /// Nodes of those trees.
    pub trees: u64,
    /// Bytes of the history that count towards its limit.
    pub store_bytes: u64,
    /// That limit.
    pub store_bytes_max: u64,
    /// Entries of the workspace at the last cut.
    pub entries: u64,
    /// Bytes of its files.
    pub workspace_bytes: u64,
}

/// What a check of a workspace's history found.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ChronicleChecked {
    /// True when nothing is damaged.
    pub sound: bool,
    /// Versions that were looked at.
    pub versions: u64,
    /// Nodes of trees that were read and hashed.
    pub trees: u64,
    /// Contents of files and links that were read and hashed.
    pub contents: u64,
    /// Their bytes.
    pub bytes: u64,
    /// All that is damaged; more than are listed, where there is much.
    pub damaged_count: u64,
    /// What is damaged: each content with each path that has it.
    pub damaged: Vec<ChronicleDamage>,
    /// What SQLite says of the database's pages, when that is not "ok".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

/// A content, or the tree of a folder, that is not what its name says. Everything else can be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChronicleDamage {
    /// A version that has it.
    pub version: u64,
    /// Where in that version; `.` is the workspace itself.
    pub path: String,
    /// Its name: BLAKE3, in hex.
    pub hash: String,
    /// What is wrong with it.
    pub what: String,
}

/// What a collection did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ChronicleCollected {
    /// Versions that nothing keeps any more.
    pub versions: u64,
    /// Contents that no version needs.
    pub contents: u64,
    /// Nodes of trees that no version needs.
    pub trees: u64,
    /// Files of content that were written anew or removed.
    pub segments: u64,
    /// Bytes of the history before.
    pub bytes_before: u64,
    /// Bytes of the history after.
    pub bytes_after: u64,
    /// False when it made way for a turn; another one goes on.
    pub complete: bool,
}
