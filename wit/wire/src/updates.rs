//! Stream updates: what clients see of a turn, and the catalogue that says of each kind how it behaves.
//!
//! [`UpdateBody`] is the typed form, [`Update`] the frame. The catalogue ([`EventType::entry`]) is the one
//! table of names, durability and synonyms; docs are generated from it. Must never decide when an
//! update becomes durable: that is the cut's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::asks::{ApprovalResolved, OpenAsk, PermissionRequested, QuestionRequested, QuestionResolved};
use crate::error::WireError;
use crate::ids::DeploymentId;
use crate::rest::InstanceStatus;

/// How long an update lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Gets a `seq` at the cut and can be read again for ever.
    Durable,
    /// Shown live only; a durable update closes it with the whole content.
    Ephemeral,
    /// Said to one connection or to all, never part of a turn's output; has no `seq`.
    Control,
}

/// A row of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct CatalogueEntry {
    /// The canonical name, the only one that is sent.
    pub name: &'static str,
    /// How long it lives.
    pub durability: Durability,
    /// Names that are read as this one.
    pub synonyms: &'static [&'static str],
    /// Fields of `content`.
    pub fields: &'static str,
    /// What it says.
    pub about: &'static str,
}

macro_rules! catalogue {
    ($($variant:ident $name:literal $durability:ident [$($synonym:literal),*] $fields:literal $about:literal;)*) => {
        /// The kind of an update.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        pub enum EventType {
            $(#[doc = $about] #[serde(rename = $name, $(alias = $synonym),*)] $variant,)*
        }

        impl EventType {
            /// Every kind, in the order of the documentation.
            pub const ALL: &'static [EventType] = &[$(EventType::$variant,)*];

            /// Its row in the catalogue.
            pub fn entry(self) -> CatalogueEntry {
                match self {
                    $(EventType::$variant => CatalogueEntry {
                        name: $name,
                        durability: Durability::$durability,
                        synonyms: &[$($synonym),*],
                        fields: $fields,
                        about: $about,
                    },)*
                }
            }

            /// Reads a canonical name or a synonym.
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name $(| $synonym)* => Some(EventType::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

catalogue! {
    MessageAccepted "message.accepted" Control [] "id, inbox_seq, duplicate" "The message is durable; it will be answered.";
    StreamStart "stream_start" Durable ["created"] "kind" "A turn began.";
    TextDelta "text.delta" Ephemeral ["update", "stream_update", "text_delta"] "item, text" "The next piece of a text.";
    TextComplete "text.complete" Durable ["text_final"] "item, text" "A whole text.";
    ThinkingStart "thinking.start" Ephemeral [] "item" "The agent began to reason.";
    ThinkingProgress "thinking.progress" Ephemeral ["thinking_update"] "item, text" "The next piece of its reasoning.";
    ThinkingComplete "thinking.complete" Durable [] "item, text" "A whole train of thought.";
    ToolCallStart "tool.call_start" Ephemeral [] "tool_call_id, tool_name, kind" "A tool call is announced.";
    ToolCallDelta "tool.call_delta" Ephemeral [] "tool_call_id, delta" "The next piece of its input.";
    ToolCall "tool.call" Durable [] "tool_call_id, tool_name, kind, input" "A tool call with its whole input.";
    ToolResult "tool.result" Durable [] "tool_call_id, output" "What a tool answered.";
    ToolError "tool.error" Durable [] "tool_call_id, error" "Why a tool failed.";
    QuestionRequested "tool.question_requested" Durable [] "request_id, again, id, header, text, options, is_other, is_secret" "The agent asks a question and waits for the answer.";
    QuestionResolved "tool.question_resolved" Durable [] "request_id, outcome, answer?, by?, channel?" "A question is no longer open; a secret answer is not told.";
    PermissionRequested "tool.permission_requested" Durable [] "request_id, again, kind, title, details" "The agent asks for permission and waits for the decision.";
    ApprovalResolved "tool.approval_resolved" Durable [] "request_id, outcome, decision?, by?, channel?" "A request for permission is no longer open.";
    CodeBlock "code.block" Durable ["code_block"] "item, language?, text" "A block of code.";
    FileChange "file.change" Durable ["file_change"] "path, kind, previous_path?, diff?, size?, more?" "A workspace file changed: as the agent says, or, without `n`, as the cut has it.";
    TerminalStream "terminal.stream" Ephemeral ["terminal_output"] "terminal_id, text" "The next piece of a terminal's output.";
    TerminalComplete "terminal.complete" Durable [] "terminal_id, output, exit_code" "A terminal's whole output.";
    PlanCreated "plan.created" Durable [] "plan" "A new plan.";
    PlanStepStarted "plan.step_started" Ephemeral [] "plan_id, step_id" "A step began.";
    PlanStepCompleted "plan.step_completed" Ephemeral [] "plan_id, step_id" "A step is done.";
    PlanRevised "plan.revised" Durable [] "plan" "The plan as it is now.";
    Usage "usage" Durable [] "model?, input, output, cached, reasoning" "Tokens that a model used.";
    StateDelta "state.delta" Durable ["state_delta"] "version, patch" "A JSON Patch was applied to the state.";
    SteerDelivered "steer.delivered" Durable [] "id, text" "The agent was given a word into its running turn.";
    SteerFailed "steer.failed" Durable [] "id, error" "The agent answered such a word with an error; its turn goes on.";
    SteerUndelivered "steer.undelivered" Durable [] "id" "The turn ended before the agent could be given such a word.";
    StreamEnd "stream_end" Durable ["complete", "stream_complete"] "text" "The turn is over; its text as a whole.";
    Error "error" Durable [] "code, message, hint?, retryable" "The turn ended without its effects.";
    ConfigChanged "config.changed" Durable [] "revision" "The configuration has a new revision.";
    DeploymentChanged "deployment.changed" Durable [] "deployment_id, previous_deployment_id, reason, error?" "From here on the instance runs other code: `reason` is `upgrade`, `rewind`, or `put_back` with the error of the version that was on trial.";
    Rewound "rewound" Durable [] "to, from, left?" "The instance is again as it was at the cut `to`; `from` was its last cut. What came after `to` is no part of the conversation any more, and stays.";
    Cut "cut" Control [] "cut, turn_id, attempt, through_n, first_seq?, last_seq?" "Everything of this attempt up to `through_n` is true; the durable part has these numbers.";
    TurnRestarted "turn.restarted" Control [] "turn_id, attempt, keep_through_seq" "The attempt died: drop this turn's live updates.";
    TurnSnapshot "turn.snapshot" Control [] "turn_id, attempt, n, items, asks?" "The texts so far and the open questions of the running attempt, in place of updates that are no longer held.";
    Lagged "lagged" Control [] "from_seq, to_seq" "This connection was too slow and missed updates; subscribe again.";
    Reset "reset" Control [] "to_seq" "The subscription asked for a future that does not exist; continue from here.";
    InstanceStatus "instance.status" Control [] "status, event" "The instance has another status.";
}

impl EventType {
    /// The canonical name.
    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// True when the cut gives it a `seq`.
    pub fn is_durable(self) -> bool {
        self.entry().durability == Durability::Durable
    }
}

/// One update as it is framed. The field `content` stays unparsed JSON: it is written once and passed on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Update {
    /// The kind.
    pub event_type: EventType,
    /// Its number once it is durable, dense per instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The turn it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<String>,
    /// The attempt at that turn, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Its place within the attempt, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
    /// The message that the turn answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// When, in milliseconds since the Unix epoch.
    pub ts: u64,
    /// The fields that the catalogue names, an object.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub content: Box<RawValue>,
}

impl Update {
    /// A control update, which belongs to no place in a turn.
    pub fn control(body: &UpdateBody, ts: u64) -> Self {
        let (event_type, content) = body.encode();
        Self { event_type, seq: None, turn_id: None, attempt: None, n: None, message_id: None, ts, content }
    }

    /// The typed content.
    pub fn body(&self) -> Result<UpdateBody, serde_json::Error> {
        UpdateBody::decode(self.event_type, &self.content)
    }
}

macro_rules! bodies {
    ($($variant:ident($body:ty),)*) => {
        /// The typed content of an update.
        #[derive(Debug, Clone, PartialEq)]
        pub enum UpdateBody {
            $(#[doc = concat!("See [`EventType::", stringify!($variant), "`].")] $variant($body),)*
        }

        impl UpdateBody {
            /// The kind.
            pub fn event_type(&self) -> EventType {
                match self { $(UpdateBody::$variant(_) => EventType::$variant,)* }
            }

            /// The kind and the content as JSON.
            pub fn encode(&self) -> (EventType, Box<RawValue>) {
                let content = match self {
                    $(UpdateBody::$variant(body) => serde_json::value::to_raw_value(body),)*
                };
                // Every body is a struct with string keys, which serde_json always writes.
                (self.event_type(), content.unwrap_or_else(|_| RawValue::NULL.to_owned()))
            }

            /// Reads the content of an update of this kind.
            pub fn decode(event_type: EventType, content: &RawValue) -> Result<Self, serde_json::Error> {
                match event_type {
                    $(EventType::$variant => serde_json::from_str(content.get()).map(UpdateBody::$variant),)*
                }
            }
        }
    };
}

bodies! {
    MessageAccepted(MessageAccepted),
    StreamStart(StreamStart),
    TextDelta(ItemText),
    TextComplete(ItemText),
    ThinkingStart(Item),
    ThinkingProgress(ItemText),
    ThinkingComplete(ItemText),
    ToolCallStart(ToolCallStart),
    ToolCallDelta(ToolCallDelta),
    ToolCall(ToolCall),
    ToolResult(ToolResult),
    ToolError(ToolError),
    QuestionRequested(QuestionRequested),
    QuestionResolved(QuestionResolved),
    PermissionRequested(PermissionRequested),
    ApprovalResolved(ApprovalResolved),
    CodeBlock(CodeBlock),
    FileChange(FileChange),
    TerminalStream(TerminalStream),
    TerminalComplete(TerminalComplete),
    PlanCreated(PlanContent),
    PlanStepStarted(PlanStepRef),
    PlanStepCompleted(PlanStepRef),
    PlanRevised(PlanContent),
    Usage(Usage),
    StateDelta(StateDelta),
    SteerDelivered(SteerDelivered),
    SteerFailed(SteerFailed),
    SteerUndelivered(SteerUndelivered),
    StreamEnd(StreamEnd),
    Error(WireError),
    ConfigChanged(ConfigChanged),
    DeploymentChanged(Box<DeploymentChanged>),
    Rewound(Rewound),
    Cut(CutMade),
    TurnRestarted(TurnRestarted),
    TurnSnapshot(TurnSnapshot),
    Lagged(Lagged),
    Reset(Reset),
    InstanceStatus(StatusChange),
}

/// Content of `message.accepted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAccepted {
    /// The message's id.
    pub id: String,
    /// Its place in the inbox.
    pub inbox_seq: u64,
    /// True when the same message had been accepted before.
    pub duplicate: bool,
}

/// What a turn is run for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnKind {
    /// `on-init`.
    Init,
    /// `on-message`.
    Message,
    /// `on-config-change`.
    ConfigChange,
    /// `migrate`.
    Upgrade,
    /// `on-idle`.
    Idle,
    /// `on-shutdown`.
    Shutdown,
}

/// Content of `stream_start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamStart {
    /// What the turn is run for.
    pub kind: TurnKind,
}

/// Content of an update that names an item only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The item.
    pub item: String,
}

/// Content of an update with a text of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemText {
    /// The item.
    pub item: String,
    /// A piece or the whole, as the kind says.
    pub text: String,
}

/// What a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// Runs a command.
    Command,
    /// Reads files.
    FileRead,
    /// Changes files.
    FileChange,
    /// Searches in something.
    Search,
    /// Fetches from the network.
    Fetch,
    /// A tool of an MCP server.
    Mcp,
    /// Calls another agent.
    Agent,
    /// Anything else.
    Other,
}

/// Content of `tool.call_start`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallStart {
    /// The call.
    pub tool_call_id: String,
    /// The tool.
    pub tool_name: String,
    /// What it does.
    pub kind: ToolKind,
}

/// Content of `tool.call_delta`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallDelta {
    /// The call.
    pub tool_call_id: String,
    /// The next piece of the input's JSON text.
    pub delta: String,
}

/// Content of `tool.call`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The call.
    pub tool_call_id: String,
    /// The tool.
    pub tool_name: String,
    /// What it does.
    pub kind: ToolKind,
    /// The whole input.
    pub input: serde_json::Value,
}

/// Content of `tool.result`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolResult {
    /// The call.
    pub tool_call_id: String,
    /// What it answered.
    pub output: serde_json::Value,
}

/// Content of `tool.error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolError {
    /// The call.
    pub tool_call_id: String,
    /// Why it failed.
    pub error: WireError,
}

/// Content of `code.block`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeBlock {
    /// The item.
    pub item: String,
    /// The language's short name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The code.
    pub text: String,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileChangeKind {
    /// It is new.
    Created,
    /// Its content changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It has another path.
    Renamed,
}

/// Content of `file.change`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileChange {
    /// Path in the workspace.
    pub path: String,
    /// What happened.
    pub kind: FileChangeKind,
    /// The path before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_path: Option<String>,
    /// A unified diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Bytes that it has now, where the cut says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// On the last one of a cut: how many further files changed that are not told of one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more: Option<u64>,
}

/// Content of `terminal.stream`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalStream {
    /// The terminal.
    pub terminal_id: String,
    /// The next piece of its output.
    pub text: String,
}

/// Content of `terminal.complete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalComplete {
    /// The terminal.
    pub terminal_id: String,
    /// The whole output.
    pub output: String,
    /// The exit code.
    pub exit_code: i32,
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Being done.
    Active,
    /// Done.
    Completed,
    /// Given up.
    Skipped,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Unique within the plan.
    pub id: String,
    /// What is to be done.
    pub title: String,
    /// How far it is.
    pub status: StepStatus,
}

/// A plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Unique within the instance.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// Its steps in order.
    pub steps: Vec<PlanStep>,
}

/// Content of `plan.created` and `plan.revised`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanContent {
    /// The plan.
    pub plan: Plan,
}

/// Content of `plan.step_started` and `plan.step_completed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStepRef {
    /// The plan.
    pub plan_id: String,
    /// The step.
    pub step_id: String,
}

/// Content of `usage`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Tokens read.
    pub input: u64,
    /// Tokens written.
    pub output: u64,
    /// Of `input`, read from a cache.
    pub cached: u64,
    /// Of `output`, spent on reasoning.
    pub reasoning: u64,
}

/// Content of `state.delta`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateDelta {
    /// The state's version after it.
    pub version: u64,
    /// The RFC 6902 operations, an array.
    pub patch: serde_json::Value,
}

/// Content of `steer.delivered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteerDelivered {
    /// The steer's id.
    pub id: String,
    /// What was said.
    pub text: String,
}

/// Content of `steer.failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteerFailed {
    /// The steer's id.
    pub id: String,
    /// What the agent answered.
    pub error: WireError,
}

/// Content of `steer.undelivered`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteerUndelivered {
    /// The steer's id.
    pub id: String,
}

/// Content of `stream_end`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnd {
    /// The turn's texts, joined by an empty line.
    pub text: String,
}

/// Content of `config.changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChanged {
    /// The revision in force.
    pub revision: u64,
}

/// Why an instance runs other code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeploymentReason {
    /// Somebody asked for it.
    Upgrade,
    /// The new one was on trial and failed in its first turn.
    PutBack,
    /// The instance was rewound to a cut of this code.
    Rewind,
}

/// Content of `deployment.changed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeploymentChanged {
    /// What the instance runs from here on.
    pub deployment_id: DeploymentId,
    /// What it ran before.
    pub previous_deployment_id: DeploymentId,
    /// Why.
    pub reason: DeploymentReason,
    /// How the one on trial failed, when it is put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
}

/// Content of `rewound`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewound {
    /// The cut whose content the instance has.
    pub to: u64,
    /// The last cut before; rewinding to it undoes the rewind.
    pub from: u64,
    /// Folders that stay although the cut does not have them, because something that no cut has is in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<String>,
}

/// Content of `cut`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutMade {
    /// The cut's number.
    pub cut: u64,
    /// The turn that ended; absent for a cut outside a turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<String>,
    /// Its attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The last `n` of the attempt.
    pub through_n: u64,
    /// The first `seq` that it gave, absent when it gave none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seq: Option<u64>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
}

/// Content of `turn.restarted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TurnRestarted {
    /// The turn.
    pub turn_id: String,
    /// The attempt that begins now.
    pub attempt: u32,
    /// Updates with a `seq` up to here stay, and so does what came before one of them in the same attempt: rows are made in the order of `n`.
    pub keep_through_seq: u64,
}

/// A text that is being written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenItem {
    /// `text.delta`, `thinking.progress` or `terminal.stream`.
    pub event_type: EventType,
    /// The item.
    pub item: String,
    /// Its text so far.
    pub text: String,
}

/// Content of `turn.snapshot`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnSnapshot {
    /// The turn.
    pub turn_id: String,
    /// The attempt.
    pub attempt: u32,
    /// It stands for all updates up to this one.
    pub n: u64,
    /// The open items.
    pub items: Vec<OpenItem>,
    /// Questions and requests for permission that wait for an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<OpenAsk>,
}

/// Content of `lagged`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lagged {
    /// The last `seq` before the gap.
    pub from_seq: u64,
    /// The last `seq` that exists.
    pub to_seq: u64,
}

/// Content of `reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// The last `seq` that exists.
    pub to_seq: u64,
}

/// What made the status change (seed words).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusEvent {
    /// The instance was made.
    Created,
    /// A client connected.
    Connected,
    /// A turn began.
    TurnStarted,
    /// A turn ended well.
    TurnComplete,
    /// A turn ended without its effects.
    TurnError,
    /// A turn is parked.
    Parked,
    /// The instance takes no messages.
    Stopped,
    /// The instance takes messages again.
    Started,
    /// The instance is being deleted.
    Terminating,
    /// The instance is gone.
    Terminated,
}

/// Content of `instance.status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusChange {
    /// The status now.
    pub status: InstanceStatus,
    /// What changed it.
    pub event: StatusEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_as_itself_and_no_name_is_taken_twice() {
        let mut seen = std::collections::BTreeSet::new();
        for kind in EventType::ALL {
            let entry = kind.entry();
            for name in std::iter::once(&entry.name).chain(entry.synonyms) {
                assert!(seen.insert(*name), "{name} is taken twice");
                assert_eq!(EventType::from_name(name), Some(*kind));
                let read: EventType = serde_json::from_value(serde_json::json!(name)).expect("reads");
                assert_eq!(read, *kind);
            }
            assert_eq!(serde_json::to_value(kind).expect("writes"), entry.name);
        }
    }
}
