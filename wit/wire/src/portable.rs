//! What a file of an exported instance says of itself, and the answer to its import.
//!
//! The file is a contract between hosts: its frames and its entries are described in docs/guide/portable.md. Times are milliseconds since the
//! Unix epoch. Must never grow a field without a new [`FORMAT`]: a host that does not know one would lose what it says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cuts::CutKind;
use crate::ids::{DeploymentId, Digest, InstanceId};
use crate::message::Role;
use crate::rest::InstanceInfo;

/// The number of the file's format.
pub const FORMAT: u32 = 1;

/// Begins the file: a skippable frame of zstd, whose content is [`TITLE`], the format's number and a line feed.
pub const HEAD_MAGIC: [u8; 4] = 0x184D_2A5A_u32.to_le_bytes();

/// Begins the last frame: skippable too, its content the BLAKE3 of every byte before the frame.
pub const TAIL_MAGIC: [u8; 4] = 0x184D_2A5B_u32.to_le_bytes();

/// Bytes of the last frame: magic, length, hash.
pub const TAIL_BYTES: usize = 4 + 4 + 32;

/// What the first frame says before the number.
pub const TITLE: &str = "podium export ";

/// The header of an answer with an export that says how many bytes its entries have before they are packed.
pub const CONTENT_BYTES_HEADER: &str = "podium-content-bytes";

/// The header that says which cut it is.
pub const CUT_HEADER: &str = "podium-cut";

/// The header that says how many paths the cut's version left out.
pub const LEFT_OUT_HEADER: &str = "podium-left-out";

/// The media type of the file.
pub const MEDIA_TYPE: &str = "application/vnd.podium.export";

/// `podium/export.json`: everything of the instance but its state, messages, files and code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportHead {
    /// The format of the file, [`FORMAT`].
    pub format: u32,
    /// The instance that it was.
    pub instance_id: InstanceId,
    /// The cut that it is a copy of.
    pub cut: ExportedCut,
    /// The code that the cut ran.
    pub deployment_id: DeploymentId,
    /// The same by its bytes.
    pub component: ExportedComponent,
    /// The configuration.
    pub config: Map<String, Value>,
    /// Messages in `podium/messages.jsonl`.
    pub messages: u64,
    /// The files; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<ExportedWorkspace>,
    /// Paths that the cut's version left out, and that are not in the file; the first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// How many there are.
    #[serde(default)]
    pub left_out_count: u64,
}

/// The cut of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedCut {
    /// Its number there.
    pub cut: u64,
    /// The cut that it followed; 0 for the first.
    pub parent: u64,
    /// What made it.
    pub kind: CutKind,
    /// Patches of the state in the instance's life, which goes on counting.
    pub state_version: u64,
    /// The configuration's revision, which goes on counting.
    pub config_rev: u64,
    /// When it was made.
    pub at: u64,
}

/// The code of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedComponent {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size_bytes: u64,
    /// True when they are in the file, as `podium/component.wasm`.
    pub included: bool,
}

/// The workspace of an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedWorkspace {
    /// The name of its content, 64 hexadecimal digits. It is the same wherever the same files are.
    pub root: String,
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// A line of `podium/messages.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportedMessage {
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// When.
    pub at: u64,
}

/// What an instance was imported from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedFrom {
    /// The instance that was exported, on the host where that was.
    pub instance_id: InstanceId,
    /// Its cut.
    pub cut: u64,
    /// The BLAKE3 of the file, without its last frame: what that frame says. 64 hexadecimal digits.
    pub file: String,
}

/// Answer to an import.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Imported {
    /// The new instance.
    #[serde(flatten)]
    pub instance: InstanceInfo,
    /// What it is a copy of.
    pub imported_from: ImportedFrom,
    /// True when its component was not here, and was deployed from the file.
    pub deployed: bool,
    /// Paths that the cut's version left out there, and that the new instance therefore lacks; the first 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}
