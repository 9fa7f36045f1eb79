//! Bodies of the routes that look at cuts and go to them: list, rewind, fork, diff.
//!
//! Times are milliseconds since the Unix epoch. A cut is named by its number within its instance.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{DeploymentId, InstanceId};
use crate::message::HistoryEntry;
use crate::portable::ImportedFrom;
use crate::rest::{FileKind, InstanceInfo};

/// What made a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CutKind {
    /// `on-init`, or the creation of an agent without it.
    Init,
    /// A turn that ended well.
    Turn,
    /// A turn that ended without its effects.
    Error,
    /// A new configuration.
    Config,
    /// A write from outside a turn.
    External,
    /// New code.
    Upgrade,
    /// Back to an earlier cut.
    Rewind,
    /// A copy of another instance's cut, of this host or from a file.
    Fork,
}

impl CutKind {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Turn => "turn",
            Self::Error => "error",
            Self::Config => "config",
            Self::External => "external",
            Self::Upgrade => "upgrade",
            Self::Rewind => "rewind",
            Self::Fork => "fork",
        }
    }
}

/// A cut of another instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutRef {
    /// The instance.
    pub instance_id: InstanceId,
    /// Its cut.
    pub cut: u64,
}

/// The workspace that a cut names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutWorkspace {
    /// The number of its version.
    pub version: u64,
    /// The name of its content, 64 hexadecimal digits: two cuts with the same one have the same files.
    pub root: String,
}

/// One cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutInfo {
    /// Its number, from 1, never used twice.
    pub cut: u64,
    /// The cut that it follows; 0 for the first.
    pub parent: u64,
    /// What made it.
    pub kind: CutKind,
    /// True when it lies on the way from the first cut to the last one; false after a rewind to before it.
    pub on_path: bool,
    /// The number of the turn that it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u64>,
    /// The id of that turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<String>,
    /// The message that the turn answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Patches of the state in its life.
    pub state_version: u64,
    /// The code.
    pub deployment_id: DeploymentId,
    /// The configuration's revision.
    pub config_rev: u64,
    /// The files; absent while nobody ever used one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<CutWorkspace>,
    /// Of a cut of kind `fork`: what it is a copy of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<CutRef>,
    /// Of a cut of kind `fork` that came from a file: what the file is an export of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_from: Option<ImportedFrom>,
    /// When it was made.
    pub at: u64,
}

/// Cuts of an instance, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CutPage {
    /// At most `limit`.
    pub cuts: Vec<CutInfo>,
    /// The `after` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Body of a rewind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RewindInstance {
    /// The cut to go back to, or forward to one that an earlier rewind left behind.
    pub to: u64,
    /// Goes on with the code that runs now, whose `migrate` is run where the state has another shape.
    #[serde(default)]
    pub keep_component: bool,
}

/// Answer to a rewind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RewindReceipt {
    /// The instance's last cut now: the rewind's own, or that of the `migrate` which followed it.
    pub cut: u64,
    /// The cut whose content it has.
    pub to: u64,
    /// The last cut before. Rewinding to it undoes the rewind.
    pub from: u64,
    /// The code that runs now.
    pub deployment_id: DeploymentId,
    /// The state's version now.
    pub state_version: u64,
    /// The configuration's revision now.
    pub config_rev: u64,
    /// Folders that the cut does not have and that stay, because something that no cut has is in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// Body of a fork.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ForkInstance {
    /// The cut to copy; the last one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}

/// Answer to a fork.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Forked {
    /// The new instance.
    #[serde(flatten)]
    pub instance: InstanceInfo,
    /// What it is a copy of.
    pub forked_from: CutRef,
    /// Paths that the cut's version left out, and that the new instance therefore lacks; at most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// What differs between two cuts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CutDiff {
    /// The one cut.
    pub from: u64,
    /// The other.
    pub to: u64,
    /// The state.
    pub state: StateDiff,
    /// The messages.
    pub messages: MessageDiffs,
    /// The files.
    pub files: FileDiffs,
    /// The code, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<DeploymentDiff>,
    /// A JSON Patch from the one configuration to the other; empty when they are the same.
    pub config: Value,
}

/// How the state differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateDiff {
    /// The version at `from`.
    pub from_version: u64,
    /// The version at `to`.
    pub to_version: u64,
    /// A JSON Patch (RFC 6902) that makes the state at `to` of the one at `from`; empty when they are the same.
    pub patch: Value,
}

/// The code of two cuts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentDiff {
    /// At `from`.
    pub from: DeploymentId,
    /// At `to`.
    pub to: DeploymentId,
}

/// On which side of a difference something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiffSide {
    /// Only `to` has it.
    Added,
    /// Only `from` has it.
    Removed,
}

/// A message that one of two cuts does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageDiff {
    /// Which one has it.
    pub side: DiffSide,
    /// The message.
    #[serde(flatten)]
    pub message: HistoryEntry,
}

/// Messages that one of two cuts does not have, by `seq`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageDiffs {
    /// At most `limit`.
    pub changes: Vec<MessageDiff>,
    /// The `messages_after` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// How a path differs between two cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileDiffOp {
    /// Only `to` has it.
    Added,
    /// It has another content, or is of another kind.
    Modified,
    /// Only `from` has it.
    Deleted,
    /// `from` has the same content under `previous_path`.
    Renamed,
    /// Only its permissions or its time differ.
    Touched,
}

/// Why a difference has no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiffOmitted {
    /// A side is no text.
    Binary,
    /// A side has more than 1 MiB.
    TooLarge,
    /// Its stored content is damaged.
    Damaged,
}

/// A path that differs between two cuts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileDiff {
    /// Path in the workspace; what is not UTF-8 is shown with U+FFFD.
    pub path: String,
    /// What it is, or was.
    pub kind: FileKind,
    /// How it differs.
    pub op: FileDiffOp,
    /// The path at `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_path: Option<String>,
    /// Permission bits at `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_mode: Option<u16>,
    /// Permission bits at `to`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_mode: Option<u16>,
    /// Bytes at `from`, of files and links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_size: Option<u64>,
    /// Bytes at `to`, of files and links.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_size: Option<u64>,
    /// A unified difference; absent when the content is the same, or there is a reason in `omitted`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub omitted: Option<DiffOmitted>,
}

/// Paths that differ between two cuts, by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileDiffs {
    /// At most `limit`, and no more text than about 1 MiB.
    pub changes: Vec<FileDiff>,
    /// The `files_after` of the next page; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// True when the files of both cuts are the same.
    pub same: bool,
}
