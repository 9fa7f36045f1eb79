//! `updates`: the elements of a turn's output.

use podium_capabilities::updates::{Element, PlanEvent, TerminalEvent, ToolInput};
use podium_wire::WireError;
use podium_wire::updates as wire;

use crate::bindings::podium::agent::updates as wit;

impl From<wit::Element> for Element {
    fn from(element: wit::Element) -> Self {
        match element {
            wit::Element::TextDelta(wit::TextDelta { item, text }) => Self::TextDelta(wire::ItemText { item, text }),
            wit::Element::TextFinal(wit::TextFinal { item, text }) => Self::TextFinal(wire::ItemText { item, text }),
            wit::Element::Thinking(wit::Thinking { item, text, done }) => Self::Thinking { item, text, done },
            wit::Element::ToolCall(call) => Self::ToolCall {
                tool_call_id: call.tool_call_id,
                tool_name: call.tool_name,
                kind: tool_kind(call.kind),
                input: match call.input {
                    wit::ToolInput::Pending => ToolInput::Pending,
                    wit::ToolInput::Delta(delta) => ToolInput::Delta(delta),
                    wit::ToolInput::Complete(input) => ToolInput::Complete(input),
                },
            },
            wit::Element::ToolResult(result) => {
                Self::ToolResult { tool_call_id: result.tool_call_id, outcome: result.outcome.map_err(WireError::from) }
            }
            wit::Element::CodeBlock(wit::CodeBlock { item, language, text }) => {
                Self::CodeBlock(wire::CodeBlock { item, language, text })
            }
            wit::Element::FileChange(change) => Self::FileChange(wire::FileChange {
                path: change.path,
                kind: match change.kind {
                    wit::FileChangeKind::Created => wire::FileChangeKind::Created,
                    wit::FileChangeKind::Modified => wire::FileChangeKind::Modified,
                    wit::FileChangeKind::Deleted => wire::FileChangeKind::Deleted,
                    wit::FileChangeKind::Renamed => wire::FileChangeKind::Renamed,
                },
                previous_path: change.previous_path,
                diff: change.diff,
                size: None,
                more: None,
            }),
            wit::Element::TerminalOutput(output) => Self::TerminalOutput {
                terminal_id: output.terminal_id,
                event: match output.event {
                    wit::TerminalEvent::Output(text) => TerminalEvent::Output(text),
                    wit::TerminalEvent::Exited(code) => TerminalEvent::Exited(code),
                },
            },
            wit::Element::Plan(event) => Self::Plan(match event {
                wit::Plan::Created(document) => PlanEvent::Created(plan(document)),
                wit::Plan::StepStarted(step) => PlanEvent::StepStarted(plan_step(step)),
                wit::Plan::StepCompleted(step) => PlanEvent::StepCompleted(plan_step(step)),
                wit::Plan::Revised(document) => PlanEvent::Revised(plan(document)),
            }),
            wit::Element::Usage(usage) => Self::Usage(wire::Usage {
                model: usage.model,
                input: usage.input,
                output: usage.output,
                cached: usage.cached,
                reasoning: usage.reasoning,
            }),
        }
    }
}

fn tool_kind(kind: wit::ToolKind) -> wire::ToolKind {
    match kind {
        wit::ToolKind::Command => wire::ToolKind::Command,
        wit::ToolKind::FileRead => wire::ToolKind::FileRead,
        wit::ToolKind::FileChange => wire::ToolKind::FileChange,
        wit::ToolKind::Search => wire::ToolKind::Search,
        wit::ToolKind::Fetch => wire::ToolKind::Fetch,
        wit::ToolKind::Mcp => wire::ToolKind::Mcp,
        wit::ToolKind::Agent => wire::ToolKind::Agent,
        wit::ToolKind::Other => wire::ToolKind::Other,
    }
}

fn plan(document: wit::PlanDocument) -> wire::Plan {
    let step = |step: wit::PlanStep| wire::PlanStep {
        id: step.id,
        title: step.title,
        status: match step.status {
            wit::StepStatus::Pending => wire::StepStatus::Pending,
            wit::StepStatus::Active => wire::StepStatus::Active,
            wit::StepStatus::Completed => wire::StepStatus::Completed,
            wit::StepStatus::Skipped => wire::StepStatus::Skipped,
        },
    };
    wire::Plan { id: document.id, title: document.title, steps: document.steps.into_iter().map(step).collect() }
}

fn plan_step(step: wit::PlanStepRef) -> wire::PlanStepRef {
    wire::PlanStepRef { plan_id: step.plan_id, step_id: step.step_id }
}
