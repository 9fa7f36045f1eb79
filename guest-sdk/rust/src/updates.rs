//! What an agent shows while it works: texts, reasoning, tool calls, plans.
//!
//! Owns the names of items, one counter per turn. Must never leave a text that was streamed
//! without its final form: only that one becomes history.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::bindings::podium::agent::updates as host;
use crate::error::placed;
use crate::{Error, Json, Result, log};

pub use host::{
    CodeBlock, Element, FileChange, FileChangeKind, PlanDocument, PlanStep, PlanStepRef, StepStatus, TerminalEvent,
    TerminalOutput, TextDelta, TextFinal, ToolInput, ToolKind, ToolResult, Usage,
};

/// The next item's number.
static NEXT: AtomicU32 = AtomicU32::new(1);
/// Hooks that run: a steering one runs beside another.
static HOOKS: AtomicU32 = AtomicU32::new(0);

/// A name that no other item of this turn has.
pub(crate) fn item(kind: &str) -> String {
    format!("{kind}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A hook that runs, until it is dropped. The first one of a turn begins the names of items anew, because a warm guest has
/// lived through other turns.
pub(crate) struct HookRuns;

impl HookRuns {
    pub(crate) fn begin() -> Self {
        if HOOKS.fetch_add(1, Ordering::Relaxed) == 0 {
            NEXT.store(1, Ordering::Relaxed);
        }
        Self
    }
}

impl Drop for HookRuns {
    fn drop(&mut self) {
        HOOKS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Shows an element.
#[track_caller]
pub(crate) fn emit(element: &Element) -> Result<()> {
    placed(crate::host::updates::emit(element).map_err(Error::from_host))
}

/// Logs what a `Drop` cannot answer.
fn logged(result: Result<()>) {
    if let Err(error) = result {
        log::write(log::Level::Error, module_path!(), &format!("{}: {error}", error.log_line()), None);
    }
}

/// A text that is shown as it is written. Dropping it finishes it.
#[must_use = "nothing is shown until something is written"]
pub struct Text {
    item: String,
    whole: String,
    is_open: bool,
}

impl Text {
    pub(crate) fn new() -> Self {
        Self { item: item("text"), whole: String::new(), is_open: false }
    }

    /// Shows the next piece; an empty one shows nothing.
    #[track_caller]
    pub fn write(&mut self, piece: impl AsRef<str>) -> Result<()> {
        let piece = piece.as_ref();
        if piece.is_empty() {
            return Ok(());
        }
        emit(&Element::TextDelta(TextDelta { item: self.item.clone(), text: piece.to_owned() }))?;
        self.is_open = true;
        self.whole.push_str(piece);
        Ok(())
    }

    /// What was written so far.
    pub fn as_str(&self) -> &str {
        &self.whole
    }

    /// Ends the text; it becomes a message of the history. Without it, the end of its scope does.
    #[track_caller]
    pub fn finish(mut self) -> Result<()> {
        self.is_open = true;
        self.close()
    }

    #[track_caller]
    fn close(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        let text = std::mem::take(&mut self.whole);
        emit(&Element::TextFinal(TextFinal { item: self.item.clone(), text }))
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        logged(self.close());
    }
}

/// A train of thought that is shown as it goes on. Dropping it ends it.
#[must_use = "nothing is shown until something is written"]
pub struct Thinking {
    item: String,
    is_open: bool,
}

impl Thinking {
    pub(crate) fn new() -> Self {
        Self { item: item("thinking"), is_open: false }
    }

    /// Shows the next piece.
    #[track_caller]
    pub fn write(&mut self, piece: impl Into<String>) -> Result<()> {
        self.is_open = true;
        self.emit(piece.into(), false)
    }

    /// Ends it.
    #[track_caller]
    pub fn finish(mut self) -> Result<()> {
        self.close()
    }

    #[track_caller]
    fn close(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_open) { self.emit(String::new(), true) } else { Ok(()) }
    }

    #[track_caller]
    fn emit(&self, text: String, done: bool) -> Result<()> {
        emit(&Element::Thinking(host::Thinking { item: self.item.clone(), text, done }))
    }
}

impl Drop for Thinking {
    fn drop(&mut self) {
        logged(self.close());
    }
}

/// A call of a tool that has been announced and waits for its outcome.
#[must_use = "a call needs its outcome: `succeed` or `fail`"]
pub struct ToolCall {
    id: String,
}

impl ToolCall {
    #[track_caller]
    pub(crate) fn start(tool_name: String, kind: ToolKind, input: &Json) -> Result<Self> {
        let id = item("call");
        let input = ToolInput::Complete(input.to_string());
        emit(&Element::ToolCall(host::ToolCall { tool_call_id: id.clone(), tool_name, kind, input }))?;
        Ok(Self { id })
    }

    /// The call's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Shows what the tool answered.
    #[track_caller]
    pub fn succeed(self, output: &Json) -> Result<()> {
        self.end(Ok(output.to_string()))
    }

    /// Shows why the tool failed.
    #[track_caller]
    pub fn fail(self, error: Error) -> Result<()> {
        self.end(Err(error.into_host()))
    }

    #[track_caller]
    fn end(self, outcome: Result<String, crate::bindings::podium::agent::types::Error>) -> Result<()> {
        emit(&Element::ToolResult(ToolResult { tool_call_id: self.id, outcome }))
    }
}

/// What the agent means to do, shown step by step.
pub struct Plan {
    document: PlanDocument,
}

impl Plan {
    #[track_caller]
    pub(crate) fn create<S: Into<String>>(call: &str, title: &str, steps: impl IntoIterator<Item = S>) -> Result<Self> {
        let step = |(index, title): (usize, S)| PlanStep {
            id: (index + 1).to_string(),
            title: title.into(),
            status: StepStatus::Pending,
        };
        let steps = steps.into_iter().enumerate().map(step).collect();
        // Unique within the instance, where other items are unique within the turn only.
        let id = format!("{}-{call}", item("plan"));
        let document = PlanDocument { id, title: title.to_owned(), steps };
        emit(&Element::Plan(host::Plan::Created(document.clone())))?;
        Ok(Self { document })
    }

    /// Shows that the step at `index` (from 0) began.
    #[track_caller]
    pub fn start(&mut self, index: usize) -> Result<()> {
        let step = self.set(index, StepStatus::Active)?;
        emit(&Element::Plan(host::Plan::StepStarted(step)))
    }

    /// Shows that the step at `index` (from 0) is done.
    #[track_caller]
    pub fn complete(&mut self, index: usize) -> Result<()> {
        let step = self.set(index, StepStatus::Completed)?;
        emit(&Element::Plan(host::Plan::StepCompleted(step)))
    }

    /// Changes the plan and shows it as it is now, steps done included. Steps shown as they went
    /// are ephemeral; this is kept.
    #[track_caller]
    pub fn revise(&mut self, change: impl FnOnce(&mut PlanDocument)) -> Result<()> {
        change(&mut self.document);
        emit(&Element::Plan(host::Plan::Revised(self.document.clone())))
    }

    #[track_caller]
    fn set(&mut self, index: usize, status: StepStatus) -> Result<PlanStepRef> {
        let plan_id = self.document.id.clone();
        match self.document.steps.get_mut(index) {
            Some(step) => {
                step.status = status;
                Ok(PlanStepRef { plan_id, step_id: step.id.clone() })
            }
            None => Err(Error::msg(format!("the plan has no step {index}"))),
        }
    }
}
