//! A sample of every update's content, with every optional field present.

use podium_wire::ErrorCode;
use podium_wire::asks::{
    Answer, ApprovalResolved, Ask, AskOutcome, Decision, PermissionRequested, QuestionRequested, QuestionResolved,
};
use podium_wire::error::WireError;
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{
    CodeBlock, ConfigChanged, CutMade, DeploymentChanged, DeploymentReason, EventType, FileChange, FileChangeKind,
    Item, ItemText, Lagged, MessageAccepted, OpenItem, Plan, PlanContent, PlanStep, PlanStepRef, Reset, Rewound,
    StateDelta, StatusChange, StatusEvent, SteerDelivered, SteerFailed, SteerUndelivered, StepStatus, StreamEnd,
    StreamStart, TerminalComplete, TerminalStream, ToolCall, ToolCallDelta, ToolCallStart, ToolError, ToolKind,
    ToolResult, TurnKind, TurnRestarted, TurnSnapshot, Update, UpdateBody, Usage,
};
use serde_json::json;

use crate::Sample;

/// When all samples happened: a fixed moment of 2026.
pub(crate) const AT: u64 = 1_790_000_000_000;

pub(crate) const TURN: &str = "0198c0de-0000-7000-8000-0000000000aa";

fn text(text: &str) -> ItemText {
    ItemText { item: "answer".into(), text: text.into() }
}

fn plan(status: StepStatus) -> PlanContent {
    let step = |id: &str, title: &str, status| PlanStep { id: id.into(), title: title.into(), status };
    PlanContent {
        plan: Plan {
            id: "plan-1".into(),
            title: "Mend the test".into(),
            steps: vec![
                step("s1", "Read the failure", StepStatus::Completed),
                step("s2", "Change the code", status),
                step("s3", "Run it again", StepStatus::Pending),
                step("s4", "Ask for a review", StepStatus::Skipped),
            ],
        },
    }
}

/// A sample of this kind's content. The match has no default, so that a new kind needs a sample.
fn body(kind: EventType) -> UpdateBody {
    let call = || String::from("call-1");
    match kind {
        EventType::MessageAccepted => {
            UpdateBody::MessageAccepted(MessageAccepted { id: "m-1".into(), inbox_seq: 7, duplicate: false })
        }
        EventType::StreamStart => UpdateBody::StreamStart(StreamStart { kind: TurnKind::Message }),
        EventType::TextDelta => UpdateBody::TextDelta(text("Hello, ")),
        EventType::TextComplete => UpdateBody::TextComplete(text("Hello, world.")),
        EventType::ThinkingStart => UpdateBody::ThinkingStart(Item { item: "plan".into() }),
        EventType::ThinkingProgress => UpdateBody::ThinkingProgress(text("Let me ")),
        EventType::ThinkingComplete => UpdateBody::ThinkingComplete(text("Let me see.")),
        EventType::ToolCallStart => UpdateBody::ToolCallStart(ToolCallStart {
            tool_call_id: call(),
            tool_name: "grep".into(),
            kind: ToolKind::Search,
        }),
        EventType::ToolCallDelta => {
            UpdateBody::ToolCallDelta(ToolCallDelta { tool_call_id: call(), delta: "{\"pattern\":".into() })
        }
        EventType::ToolCall => UpdateBody::ToolCall(ToolCall {
            tool_call_id: call(),
            tool_name: "grep".into(),
            kind: ToolKind::Search,
            input: json!({"pattern": "cut"}),
        }),
        EventType::ToolResult => UpdateBody::ToolResult(ToolResult { tool_call_id: call(), output: json!(["a.md:1"]) }),
        EventType::ToolError => UpdateBody::ToolError(ToolError {
            tool_call_id: call(),
            error: WireError { code: "not_found".into(), message: "no such file".into(), hint: None, retryable: false },
        }),
        EventType::QuestionRequested => {
            let Ask::Question(question) = crate::asks::question().ask else { unreachable!("it is a question") };
            UpdateBody::QuestionRequested(QuestionRequested { request_id: "7:env".into(), again: false, question })
        }
        EventType::QuestionResolved => UpdateBody::QuestionResolved(QuestionResolved {
            request_id: "7:env".into(),
            outcome: AskOutcome::Answered,
            answer: Some(Answer::Option("staging".into())),
            by: Some("local".into()),
            channel: Some("ws".into()),
        }),
        EventType::PermissionRequested => {
            let Ask::Permission(permission) = crate::asks::permission().ask else { unreachable!("it is a permission") };
            UpdateBody::PermissionRequested(PermissionRequested { request_id: "7#2".into(), again: true, permission })
        }
        EventType::ApprovalResolved => UpdateBody::ApprovalResolved(ApprovalResolved {
            request_id: "7#2".into(),
            outcome: AskOutcome::Answered,
            decision: Some(Decision::AcceptForSession),
            by: Some("local".into()),
            channel: Some("http".into()),
        }),
        EventType::CodeBlock => UpdateBody::CodeBlock(CodeBlock {
            item: "code-1".into(),
            language: Some("rust".into()),
            text: "fn main() {}".into(),
        }),
        EventType::FileChange => UpdateBody::FileChange(FileChange {
            path: "src/new.rs".into(),
            kind: FileChangeKind::Renamed,
            previous_path: Some("src/old.rs".into()),
            diff: Some("@@ -1 +1 @@\n-a\n+b\n".into()),
            size: Some(2),
            more: Some(12),
        }),
        EventType::TerminalStream => {
            UpdateBody::TerminalStream(TerminalStream { terminal_id: "t-1".into(), text: "ok\n".into() })
        }
        EventType::TerminalComplete => UpdateBody::TerminalComplete(TerminalComplete {
            terminal_id: "t-1".into(),
            output: "ok\n".into(),
            exit_code: 0,
        }),
        EventType::PlanCreated => UpdateBody::PlanCreated(plan(StepStatus::Pending)),
        EventType::PlanStepStarted => {
            UpdateBody::PlanStepStarted(PlanStepRef { plan_id: "plan-1".into(), step_id: "s2".into() })
        }
        EventType::PlanStepCompleted => {
            UpdateBody::PlanStepCompleted(PlanStepRef { plan_id: "plan-1".into(), step_id: "s2".into() })
        }
        EventType::PlanRevised => UpdateBody::PlanRevised(plan(StepStatus::Active)),
        EventType::Usage => UpdateBody::Usage(Usage {
            model: Some("small-1".into()),
            input: 1200,
            output: 80,
            cached: 1000,
            reasoning: 12,
        }),
        EventType::StateDelta => UpdateBody::StateDelta(StateDelta {
            version: 3,
            patch: json!([{"op": "replace", "path": "/count", "value": 3}]),
        }),
        EventType::SteerDelivered => {
            UpdateBody::SteerDelivered(SteerDelivered { id: "s-1".into(), text: "Only the first two.".into() })
        }
        EventType::SteerFailed => UpdateBody::SteerFailed(SteerFailed {
            id: "s-1".into(),
            error: WireError {
                code: "no_such_step".into(),
                message: "no such step".into(),
                hint: None,
                retryable: false,
            },
        }),
        EventType::SteerUndelivered => UpdateBody::SteerUndelivered(SteerUndelivered { id: "s-1".into() }),
        EventType::StreamEnd => UpdateBody::StreamEnd(StreamEnd { text: "Hello, world.".into() }),
        EventType::Error => UpdateBody::Error(WireError::new(ErrorCode::GuestTrap, "the agent panicked")),
        EventType::ConfigChanged => UpdateBody::ConfigChanged(ConfigChanged { revision: 2 }),
        EventType::DeploymentChanged => UpdateBody::DeploymentChanged(Box::new(DeploymentChanged {
            deployment_id: "counter:1.2.3@2b2b2b2b".parse().expect("an id"),
            previous_deployment_id: "counter:1.2.3-dev.1@3c3c3c3c".parse().expect("an id"),
            reason: DeploymentReason::PutBack,
            error: Some(WireError::new(ErrorCode::GuestTrap, "the agent panicked")),
        })),
        EventType::Rewound => UpdateBody::Rewound(Rewound { to: 4, from: 9, left: vec!["cache".into()] }),
        EventType::Cut => UpdateBody::Cut(CutMade {
            cut: 4,
            turn_id: Some(TURN.into()),
            attempt: Some(1),
            through_n: 9,
            first_seq: Some(11),
            last_seq: Some(14),
        }),
        EventType::TurnRestarted => {
            UpdateBody::TurnRestarted(TurnRestarted { turn_id: TURN.into(), attempt: 2, keep_through_seq: 10 })
        }
        EventType::TurnSnapshot => UpdateBody::TurnSnapshot(TurnSnapshot {
            turn_id: TURN.into(),
            attempt: 1,
            n: 5000,
            items: vec![OpenItem { event_type: EventType::TextDelta, item: "answer".into(), text: "Hello, ".into() }],
            asks: vec![crate::asks::question()],
        }),
        EventType::Lagged => UpdateBody::Lagged(Lagged { from_seq: 10, to_seq: 14 }),
        EventType::Reset => UpdateBody::Reset(Reset { to_seq: 14 }),
        EventType::InstanceStatus => UpdateBody::InstanceStatus(StatusChange {
            status: InstanceStatus::Running,
            event: StatusEvent::TurnStarted,
        }),
    }
}

/// The kind as a whole update, as the frame carries it.
pub(crate) fn update(kind: EventType) -> Update {
    let mut update = Update::control(&body(kind), AT);
    // A control update belongs to no place in a turn; the others do.
    if kind.entry().durability != podium_wire::updates::Durability::Control {
        update.turn_id = Some(TURN.into());
        update.attempt = Some(1);
        update.n = Some(3);
        update.message_id = Some("m-1".into());
        update.seq = kind.is_durable().then_some(12);
    }
    update
}

pub(crate) fn samples() -> Vec<Sample> {
    EventType::ALL.iter().map(|kind| Sample::of("updates", kind.name(), &update(*kind))).collect()
}

#[test]
fn contents_are_typed_and_have_the_fields_that_the_catalogue_names() {
    for kind in EventType::ALL {
        let update = update(*kind);
        assert_eq!(update.body().expect("a body can be read again"), body(*kind), "{}", kind.name());
        let content: serde_json::Value = serde_json::from_str(update.content.get()).expect("content is JSON");
        let mut written: Vec<&str> = content.as_object().expect("an object").keys().map(String::as_str).collect();
        let fields = kind.entry().fields;
        let mut named: Vec<&str> = fields.split(", ").map(|field| field.trim_end_matches('?')).collect();
        written.sort_unstable();
        named.sort_unstable();
        assert_eq!(written, named, "{} is documented with other fields", kind.name());
    }
}
