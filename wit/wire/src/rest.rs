//! Bodies of the HTTP routes, requests and answers, under `/api/v1` and the short forms alike.
//!
//! Times are milliseconds since the Unix epoch. Lists are pages: `next` is the `after` of the next one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::WireError;
use crate::ids::{AgentType, AgentVersion, DeploymentId, DeploymentRef, Digest, InstanceId};
use crate::limits::LimitsInForce;
use crate::manifest::Manifest;
use crate::message::{HistoryEntry, MessageContent};

/// Status of an instance, the same words everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum InstanceStatus {
    /// Nothing to do: it costs nothing.
    Resting,
    /// A turn runs.
    Running,
    /// A turn waits for something.
    Waiting,
    /// Its first message failed too often; retry or discard it.
    Parked,
    /// It takes no messages.
    Stopped,
}

impl InstanceStatus {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            InstanceStatus::Resting => "resting",
            InstanceStatus::Running => "running",
            InstanceStatus::Waiting => "waiting",
            InstanceStatus::Parked => "parked",
            InstanceStatus::Stopped => "stopped",
        }
    }
}

/// One hook that an agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// `on-init`
    OnInit,
    /// `on-message`
    OnMessage,
    /// `on-steer`
    OnSteer,
    /// `on-config-change`
    OnConfigChange,
    /// `on-idle`
    OnIdle,
    /// `on-shutdown`
    OnShutdown,
    /// `migrate`
    Migrate,
}

/// What an agent's `describe` said at deploy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// The hooks that do something.
    pub hooks: Vec<Hook>,
    /// The version of the state's shape.
    pub state_schema_version: u32,
    /// A JSON Schema of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<Value>,
    /// The configuration where the owner sets nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_default: Option<Map<String, Value>>,
}

/// A deployment, as listed and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deployment {
    /// Its id.
    pub deployment_id: DeploymentId,
    /// The agent type.
    pub agent_type: AgentType,
    /// The version.
    pub version: AgentVersion,
    /// SHA-256 of the uploaded bytes.
    pub checksum: Digest,
    /// Bytes of the component.
    pub size_bytes: u64,
    /// When it was first deployed.
    pub created_at: u64,
    /// What it imports and so may be granted: capability names, WASI folded into `files`, `clock`,
    /// `random` and `network`; sorted.
    pub capabilities: Vec<String>,
    /// The manifest it carries, or the least one.
    pub manifest: Manifest,
    /// What its `describe` said.
    pub description: Description,
}

/// Answer to a deploy: 201 for a new one, 200 for the same bytes again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    /// True when it was not there before.
    pub created: bool,
    /// The deployment.
    #[serde(flatten)]
    pub deployment: Deployment,
}

/// One deployment, and what a turn of it may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentDetail {
    /// The deployment.
    #[serde(flatten)]
    pub deployment: Deployment,
    /// Its limits, every one with its value.
    pub limits: LimitsInForce,
}

/// A page of deployments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct DeploymentPage {
    /// By type, then by version.
    pub deployments: Vec<Deployment>,
}

/// Body of `POST /instances`: one of `deployment_id` and `agent` (the same thing, a reference).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInstance {
    /// `TYPE[:VERSION[@HEX]]`.
    #[serde(alias = "agent")]
    pub deployment_id: DeploymentRef,
    /// The configuration, over the manifest's and the agent's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
}

/// An instance, as listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceSummary {
    /// Its id.
    pub instance_id: InstanceId,
    /// The code it runs.
    pub deployment_id: DeploymentId,
    /// Its status.
    pub status: InstanceStatus,
    /// When it was made.
    pub created_at: u64,
}

/// A page of instances, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstancePage {
    /// At most `limit`.
    pub instances: Vec<InstanceSummary>,
    /// The `after` of the next page, absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<InstanceId>,
}

/// Everything about an instance that fits on a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceInfo {
    /// Its id.
    pub instance_id: InstanceId,
    /// The code it runs.
    pub deployment_id: DeploymentId,
    /// Its status.
    pub status: InstanceStatus,
    /// The last cut.
    pub cut: u64,
    /// The configuration in force.
    pub config: Map<String, Value>,
    /// Its revision.
    pub config_rev: u64,
    /// Patches applied to the state.
    pub state_version: u64,
    /// The last durable update.
    pub last_seq: u64,
    /// Messages that wait.
    pub inbox: u64,
    /// When it was made.
    pub created_at: u64,
    /// Where its updates are: path of the WebSocket on this server, with scheme and host.
    pub ws_url: String,
}

/// Body of `POST /agent/{id}/messages`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// Its id, for safe repetition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// What is said.
    pub content: MessageContent,
}

/// Answer 202 to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageReceipt {
    /// Its id.
    pub message_id: String,
    /// True when the same message had been accepted before.
    pub duplicate: bool,
}

/// Answer 200 to a message with `?wait=`: how its turn ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageOutcome {
    /// Its id.
    pub message_id: String,
    /// True when the same message had been accepted before.
    pub duplicate: bool,
    /// The cut that consumed it.
    pub cut: u64,
    /// The turn's texts, when it ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The error, when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
}

/// A page of the history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryPage {
    /// At most `limit`.
    pub messages: Vec<HistoryEntry>,
    /// The `after` of the next page, absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// The configuration of an instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigDocument {
    /// Its revision, from 1.
    pub revision: u64,
    /// The document.
    pub config: Map<String, Value>,
}

/// Body of `PUT /agent/{id}/config`: the new document, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutConfig {
    /// The document.
    pub config: Map<String, Value>,
    /// Refuse unless this is the revision in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Do not wait for a running turn: it is set aside and begins again with the new configuration.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
}

/// Body of `POST /agent/{id}/upgrade`: one of `version` and `deployment_id`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UpgradeInstance {
    /// A version of the agent type that the instance runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<AgentVersion>,
    /// `TYPE[:VERSION[@HEX]]`, of the same agent type.
    #[serde(default, alias = "deployment", skip_serializing_if = "Option::is_none")]
    pub deployment_id: Option<DeploymentRef>,
    /// When the new code fails in its first turn, put the old one back and let it run that message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub on_trial: bool,
    /// Do not wait for a running turn: it is set aside and begins again on the new code.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
}

/// How far an upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpgradeStatus {
    /// It is durable, and takes effect when the running turn is over.
    Accepted,
    /// It is in force.
    Done,
    /// The instance runs this code already.
    Unchanged,
}

/// Answer to an upgrade: 202 when it is `accepted`, else 200.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpgradeReceipt {
    /// How far it is.
    pub status: UpgradeStatus,
    /// The code that was asked for.
    pub deployment_id: DeploymentId,
    /// The code in force when it was asked for.
    pub previous_deployment_id: DeploymentId,
    /// The cut that brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
}

/// The state of an instance at a pointer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StateDocument {
    /// Patches applied.
    pub version: u64,
    /// The cut it belongs to.
    pub cut: u64,
    /// The value, null where nothing is.
    pub state: Value,
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For finding a fault.
    Debug,
    /// What happens normally.
    Info,
    /// Unexpected, and handled.
    Warn,
    /// Something failed.
    Error,
}

/// One line of an agent's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Its place, rising.
    pub seq: u64,
    /// When.
    pub ts: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// Where it was written: the author's word, `stdout`, `stderr` or `podium`.
    pub module: String,
    /// The line.
    pub message: String,
    /// The turn, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<String>,
    /// More, an object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Value>,
}

/// A page of log lines, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogPage {
    /// At most `limit`.
    pub lines: Vec<LogLine>,
    /// Lines that were dropped for good because the log is bounded.
    pub dropped: u64,
}

/// What a workspace entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// Anything else; it has no content here.
    Other,
}

/// One entry of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileEntry {
    /// Path relative to the workspace, `/` between its parts; what is not UTF-8 is shown with U+FFFD.
    pub path: String,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of a file.
    pub size_bytes: u64,
    /// When it was last changed.
    pub modified_at: u64,
}

/// The workspace's entries, sorted by path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilePage {
    /// At most `limit`.
    pub files: Vec<FileEntry>,
    /// The `after` of the next page, absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What happened to a path of the workspace in one iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FileOp {
    /// It is new.
    Created,
    /// It has another content, or is of another kind.
    Modified,
    /// It is gone.
    Deleted,
    /// Only its permissions or its time changed.
    Touched,
}

/// One version of one path of the workspace, the same in `.chronicle/query/` as over HTTP, but that only this says cut and turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileIteration {
    /// Its number among all changes of the workspace, from 1, never used twice.
    pub n: u64,
    /// Its number among the path's, from 1.
    pub index: u64,
    /// Path relative to the workspace, `/` between its parts; what is not UTF-8 is shown with U+FFFD.
    pub path: String,
    /// What happened.
    pub op: FileOp,
    /// What the path is, or was before it was deleted.
    pub kind: FileKind,
    /// Bytes now; 0 of folders and of what is gone.
    pub size: u64,
    /// BLAKE3 of the content now, 64 hexadecimal digits, of a link that of its target; null of folders and of what is gone.
    pub hash: Option<String>,
    /// When it became part of the history, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
    /// The cut that it came with; absent when only this iteration of its version is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// The number of the turn that made it; absent for writes from outside a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<u64>,
}

/// The iterations of one path, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IterationPage {
    /// At most `limit`.
    pub iterations: Vec<FileIteration>,
    /// The `after` of the next page, an `index`; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Body of a restore of one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreFile {
    /// The iteration that it is brought back to.
    pub n: u64,
}

/// Answer to a write from outside a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExternalCut {
    /// The cut it made.
    pub cut: u64,
}

/// Asks for a mount of the workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostMount {
    /// An empty folder of the host's machine, absolute; none: one in the instance's own folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dir: Option<String>,
}

/// Where the workspace is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MountInfo {
    /// The folder on the host's machine.
    pub dir: String,
}

/// Answer of `/health`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// `ok`, or `stopping`.
    pub status: String,
    /// Of `podium`.
    pub version: String,
}

/// Answer of `/admin/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AdminStatus {
    /// Of `podium`.
    pub version: String,
    /// Agents that may be active at once, as configured.
    pub capacity: u64,
    /// Instances in a turn, or with a client connected.
    pub active_agents: u64,
    /// Instances in all.
    pub instances: u64,
    /// Deployments in all.
    pub deployments: u64,
    /// Turns that run now.
    pub running_turns: u64,
    /// Turns that ended since the start.
    pub turns_ended: u64,
    /// WebSockets that are open.
    pub clients: u64,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Resident memory of the process, bytes.
    pub memory_bytes: u64,
    /// Open descriptors of the process.
    pub open_descriptors: u64,
    /// Its limit.
    pub descriptor_limit: u64,
    /// The data folder.
    pub data: String,
}
