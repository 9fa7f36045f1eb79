//! `updates`: what the agent shows while it works.
//!
//! Turns an element into its updates, keeps the text of each open item, and closes what a turn leaves open.
//! A text is kept once per item and the JSON of a piece is written once.

use podium_wire::ErrorCode;
use podium_wire::error::{MESSAGE_BYTES_MAX, WireError, truncate};
use podium_wire::updates::{
    CodeBlock, EventType, FileChange, Item, ItemText, Plan, PlanContent, PlanStepRef, TerminalComplete, TerminalStream,
    ToolCall, ToolCallDelta, ToolCallStart, ToolError, ToolKind, ToolResult, UpdateBody, Usage,
};
use serde_json::Value;

use crate::error::CallError;
use crate::turn::{Sent, Turn, Work};

/// Most bytes of a name within a turn (item, call, terminal, plan): clients use them as keys.
pub const NAME_BYTES_MAX: usize = 128;
/// Most bytes of a path or a title: a line of a client's screen.
pub const TITLE_BYTES_MAX: usize = 4_096;
/// Most steps of a plan: clients draw them all.
pub const PLAN_STEPS_MAX: usize = 256;
/// Most items that are open at once: they are searched by name for each piece.
pub const OPEN_ITEMS_MAX: usize = 256;
/// The exit code of a terminal whose command had not ended when the turn did.
pub const EXIT_CODE_UNKNOWN: i32 = -1;

/// How far the input of a tool call is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolInput {
    /// Announced only.
    Pending,
    /// The next piece of its JSON text.
    Delta(String),
    /// The whole, JSON text.
    Complete(String),
}

/// What a terminal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalEvent {
    /// The next piece of its output.
    Output(String),
    /// It ended with this code.
    Exited(i32),
}

/// What happened to a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanEvent {
    /// A new one.
    Created(Plan),
    /// A step began.
    StepStarted(PlanStepRef),
    /// A step is done.
    StepCompleted(PlanStepRef),
    /// As it is now.
    Revised(Plan),
}

/// One piece of a turn's output, as `updates.wit` has it.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    /// The next piece of a text.
    TextDelta(ItemText),
    /// A whole text.
    TextFinal(ItemText),
    /// A piece of reasoning.
    Thinking {
        /// Which train of thought.
        item: String,
        /// The next piece.
        text: String,
        /// True closes it.
        done: bool,
    },
    /// A tool call.
    ToolCall {
        /// The call.
        tool_call_id: String,
        /// The tool.
        tool_name: String,
        /// What it does.
        kind: ToolKind,
        /// Its input.
        input: ToolInput,
    },
    /// A tool's answer as JSON text, or why it failed.
    ToolResult {
        /// The call.
        tool_call_id: String,
        /// What it answered.
        outcome: Result<String, WireError>,
    },
    /// A block of code.
    CodeBlock(CodeBlock),
    /// A change of a file.
    FileChange(FileChange),
    /// Output of a terminal.
    TerminalOutput {
        /// Which terminal.
        terminal_id: String,
        /// What it did.
        event: TerminalEvent,
    },
    /// What happened to a plan.
    Plan(PlanEvent),
    /// Tokens used.
    Usage(Usage),
}

/// What an open item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenKind {
    Text,
    Thinking,
    Terminal,
}

#[derive(Debug)]
struct Open {
    kind: OpenKind,
    name: String,
    text: String,
}

/// The items that are being written, in the order in which they were opened.
#[derive(Debug, Default)]
pub(crate) struct OpenTexts(Vec<Open>);

impl OpenTexts {
    fn position(&self, kind: OpenKind, name: &str) -> Option<usize> {
        // The last one opened is nearly always meant.
        self.0.iter().rposition(|open| open.kind == kind && open.name == name)
    }

    /// Adds a piece; true when the item is new.
    fn append(&mut self, kind: OpenKind, name: &str, piece: &str) -> Result<bool, CallError> {
        if let Some(at) = self.position(kind, name) {
            self.0[at].text.push_str(piece);
            return Ok(false);
        }
        if self.0.len() >= OPEN_ITEMS_MAX {
            let message = format!("{OPEN_ITEMS_MAX} items are open already; close some of them");
            return Err(CallError::refused(ErrorCode::InvalidElement, message));
        }
        self.0.push(Open { kind, name: name.to_owned(), text: piece.to_owned() });
        Ok(true)
    }

    fn take(&mut self, kind: OpenKind, name: &str) -> Option<String> {
        self.position(kind, name).map(|at| self.0.remove(at).text)
    }

    /// Kind, name and text so far of each.
    pub(crate) fn items(&self) -> impl Iterator<Item = (EventType, String, String)> + '_ {
        self.0.iter().map(|open| {
            let kind = match open.kind {
                OpenKind::Text => EventType::TextDelta,
                OpenKind::Thinking => EventType::ThinkingProgress,
                OpenKind::Terminal => EventType::TerminalStream,
            };
            (kind, open.name.clone(), open.text.clone())
        })
    }
}

/// True for the pieces that an open item holds.
pub(crate) fn is_piece_of_text(event_type: EventType) -> bool {
    matches!(event_type, EventType::TextDelta | EventType::ThinkingProgress | EventType::TerminalStream)
}

impl Turn {
    /// Shows an element.
    ///
    /// # Errors
    /// `POD-4017` for a name, title or plan that is too long, `POD-1007` for a text that should be JSON and is not;
    /// then nothing is shown. The limits of updates and output end the guest.
    pub fn emit(&self, element: Element) -> Result<(), CallError> {
        let element = checked(element)?;
        let mut sent = Vec::with_capacity(1);
        let shown = self.with_work(|work| work.element(self, element, &mut sent));
        // What was shown before a limit was reached is already counted.
        self.send(sent);
        shown
    }
}

impl Work {
    fn element(&mut self, turn: &Turn, element: Checked, sent: &mut Vec<Sent>) -> Result<(), CallError> {
        match element {
            Checked::Body(body) => self.emit(turn, &body, sent),
            Checked::TextDelta(piece) => {
                self.piece(turn, OpenKind::Text, &piece.item, &piece.text)?;
                self.emit(turn, &UpdateBody::TextDelta(piece), sent)
            }
            Checked::TextFinal(whole) => {
                self.take(OpenKind::Text, &whole.item);
                self.texts.push(whole.text.clone());
                self.emit(turn, &UpdateBody::TextComplete(whole), sent)
            }
            Checked::Thinking { item, text, done } => {
                if self.piece(turn, OpenKind::Thinking, &item, &text)? {
                    self.emit(turn, &UpdateBody::ThinkingStart(Item { item: item.clone() }), sent)?;
                }
                if !text.is_empty() {
                    self.emit(turn, &UpdateBody::ThinkingProgress(ItemText { item: item.clone(), text }), sent)?;
                }
                if done {
                    let text = self.take(OpenKind::Thinking, &item);
                    self.emit(turn, &UpdateBody::ThinkingComplete(ItemText { item, text }), sent)?;
                }
                Ok(())
            }
            Checked::Terminal { terminal_id, event: TerminalEvent::Output(text) } => {
                self.piece(turn, OpenKind::Terminal, &terminal_id, &text)?;
                self.emit(turn, &UpdateBody::TerminalStream(TerminalStream { terminal_id, text }), sent)
            }
            Checked::Terminal { terminal_id, event: TerminalEvent::Exited(exit_code) } => {
                let output = self.take(OpenKind::Terminal, &terminal_id);
                let whole = TerminalComplete { terminal_id, output, exit_code };
                self.emit(turn, &UpdateBody::TerminalComplete(whole), sent)
            }
        }
    }

    /// Adds a piece to an open item; true when the item is new.
    fn piece(&mut self, turn: &Turn, kind: OpenKind, name: &str, piece: &str) -> Result<bool, CallError> {
        self.hold(turn, piece.len())?;
        self.open.append(kind, name, piece)
    }

    fn take(&mut self, kind: OpenKind, name: &str) -> String {
        let text = self.open.take(kind, name).unwrap_or_default();
        self.release(text.len());
        text
    }

    /// The updates that close what is still open, with the whole texts.
    pub(crate) fn close_open_items(&mut self) -> Vec<UpdateBody> {
        let open = std::mem::take(&mut self.open);
        open.0
            .into_iter()
            .map(|Open { kind, name, text }| match kind {
                OpenKind::Text => {
                    self.texts.push(text.clone());
                    UpdateBody::TextComplete(ItemText { item: name, text })
                }
                OpenKind::Thinking => UpdateBody::ThinkingComplete(ItemText { item: name, text }),
                OpenKind::Terminal => UpdateBody::TerminalComplete(TerminalComplete {
                    terminal_id: name,
                    output: text,
                    exit_code: EXIT_CODE_UNKNOWN,
                }),
            })
            .collect()
    }
}

/// An element whose names and JSON are good: most are one update as they stand.
enum Checked {
    Body(UpdateBody),
    TextDelta(ItemText),
    TextFinal(ItemText),
    Thinking { item: String, text: String, done: bool },
    Terminal { terminal_id: String, event: TerminalEvent },
}

fn checked(element: Element) -> Result<Checked, CallError> {
    Ok(Checked::Body(match element {
        Element::TextDelta(piece) => {
            name("item", &piece.item)?;
            return Ok(Checked::TextDelta(piece));
        }
        Element::TextFinal(whole) => {
            name("item", &whole.item)?;
            return Ok(Checked::TextFinal(whole));
        }
        Element::Thinking { item, text, done } => {
            name("item", &item)?;
            return Ok(Checked::Thinking { item, text, done });
        }
        Element::TerminalOutput { terminal_id, event } => {
            name("terminal-id", &terminal_id)?;
            return Ok(Checked::Terminal { terminal_id, event });
        }
        Element::ToolCall { tool_call_id, tool_name, kind, input } => {
            name("tool-call-id", &tool_call_id)?;
            name("tool-name", &tool_name)?;
            match input {
                ToolInput::Pending => UpdateBody::ToolCallStart(ToolCallStart { tool_call_id, tool_name, kind }),
                ToolInput::Delta(delta) => UpdateBody::ToolCallDelta(ToolCallDelta { tool_call_id, delta }),
                ToolInput::Complete(input) => {
                    let input = json("input", &input)?;
                    UpdateBody::ToolCall(ToolCall { tool_call_id, tool_name, kind, input })
                }
            }
        }
        Element::ToolResult { tool_call_id, outcome } => {
            name("tool-call-id", &tool_call_id)?;
            match outcome {
                Ok(output) => UpdateBody::ToolResult(ToolResult { tool_call_id, output: json("outcome", &output)? }),
                Err(mut error) => {
                    truncate(&mut error.message, MESSAGE_BYTES_MAX);
                    UpdateBody::ToolError(ToolError { tool_call_id, error })
                }
            }
        }
        Element::CodeBlock(block) => {
            name("item", &block.item)?;
            name("language", block.language.as_deref().unwrap_or_default())?;
            UpdateBody::CodeBlock(block)
        }
        Element::FileChange(change) => {
            title("path", &change.path)?;
            title("previous-path", change.previous_path.as_deref().unwrap_or_default())?;
            UpdateBody::FileChange(change)
        }
        Element::Plan(PlanEvent::Created(plan)) => UpdateBody::PlanCreated(PlanContent { plan: checked_plan(plan)? }),
        Element::Plan(PlanEvent::Revised(plan)) => UpdateBody::PlanRevised(PlanContent { plan: checked_plan(plan)? }),
        Element::Plan(PlanEvent::StepStarted(step)) => UpdateBody::PlanStepStarted(checked_step(step)?),
        Element::Plan(PlanEvent::StepCompleted(step)) => UpdateBody::PlanStepCompleted(checked_step(step)?),
        Element::Usage(usage) => {
            name("model", usage.model.as_deref().unwrap_or_default())?;
            UpdateBody::Usage(usage)
        }
    }))
}

fn checked_plan(plan: Plan) -> Result<Plan, CallError> {
    name("id", &plan.id)?;
    title("title", &plan.title)?;
    if plan.steps.len() > PLAN_STEPS_MAX {
        let message = format!("the plan has {} steps; at most {PLAN_STEPS_MAX} are shown", plan.steps.len());
        return Err(CallError::refused(ErrorCode::InvalidElement, message));
    }
    for step in &plan.steps {
        name("step id", &step.id)?;
        title("step title", &step.title)?;
    }
    Ok(plan)
}

fn checked_step(step: PlanStepRef) -> Result<PlanStepRef, CallError> {
    name("plan-id", &step.plan_id)?;
    name("step-id", &step.step_id)?;
    Ok(step)
}

fn name(field: &str, text: &str) -> Result<(), CallError> {
    bounded(field, text, NAME_BYTES_MAX)
}

fn title(field: &str, text: &str) -> Result<(), CallError> {
    bounded(field, text, TITLE_BYTES_MAX)
}

fn bounded(field: &str, text: &str, bytes_max: usize) -> Result<(), CallError> {
    if text.len() <= bytes_max {
        return Ok(());
    }
    let message = format!("`{field}` has {} bytes; at most {bytes_max} are allowed", text.len());
    Err(CallError::refused(ErrorCode::InvalidElement, message))
}

fn json(field: &str, text: &str) -> Result<Value, CallError> {
    serde_json::from_str(text)
        .map_err(|error| CallError::refused(ErrorCode::InvalidJson, format!("`{field}` is not JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::LimitReached;
    use crate::testing::TestTurn;

    fn text(item: &str, text: &str) -> ItemText {
        ItemText { item: item.to_owned(), text: text.to_owned() }
    }

    fn thought(item: &str, text: &str, done: bool) -> Element {
        Element::Thinking { item: item.to_owned(), text: text.to_owned(), done }
    }

    fn terminal(event: TerminalEvent) -> Element {
        Element::TerminalOutput { terminal_id: "t".to_owned(), event }
    }

    /// What the elements show after `stream_start`.
    fn check(elements: Vec<Element>, expected: &[UpdateBody]) {
        let turn = TestTurn::new();
        for element in elements {
            turn.emit(element).expect("is shown");
        }
        assert_eq!(&turn.shown()[1..], expected);
    }

    #[test]
    fn reasoning_starts_goes_on_and_is_kept_whole() {
        check(
            vec![thought("r", "a", false), thought("r", "b", false), thought("r", "", true)],
            &[
                UpdateBody::ThinkingStart(Item { item: "r".to_owned() }),
                UpdateBody::ThinkingProgress(text("r", "a")),
                UpdateBody::ThinkingProgress(text("r", "b")),
                UpdateBody::ThinkingComplete(text("r", "ab")),
            ],
        );
    }

    #[test]
    fn a_terminal_is_kept_whole() {
        let stream = |text: &str| {
            UpdateBody::TerminalStream(TerminalStream { terminal_id: "t".to_owned(), text: text.to_owned() })
        };
        check(
            vec![
                terminal(TerminalEvent::Output("a".to_owned())),
                terminal(TerminalEvent::Output("b".to_owned())),
                terminal(TerminalEvent::Exited(3)),
            ],
            &[
                stream("a"),
                stream("b"),
                UpdateBody::TerminalComplete(TerminalComplete {
                    terminal_id: "t".to_owned(),
                    output: "ab".to_owned(),
                    exit_code: 3,
                }),
            ],
        );
    }

    #[test]
    fn the_end_of_a_turn_closes_what_is_open() {
        let turn = TestTurn::new();
        turn.emit(thought("r", "why", false)).expect("shown");
        turn.emit(terminal(TerminalEvent::Output("$ ".to_owned()))).expect("shown");
        turn.emit(Element::TextDelta(text("a", "one"))).expect("shown");
        turn.emit(Element::TextFinal(text("b", "two"))).expect("shown");
        let output = turn.complete();
        assert_eq!(output.texts, ["two", "one"]);
        assert_eq!(output.text, "two\n\none");
        let closed: Vec<_> = output.updates.iter().map(|update| update.event_type).collect();
        use EventType::{StreamEnd, StreamStart, TerminalComplete, TextComplete, ThinkingComplete};
        let expected = [StreamStart, TextComplete, ThinkingComplete, TerminalComplete, TextComplete, StreamEnd];
        assert_eq!(closed, expected);
    }

    #[test]
    fn a_final_text_is_the_truth_whatever_was_streamed() {
        let turn = TestTurn::new();
        turn.emit(Element::TextDelta(text("a", "dra"))).expect("shown");
        turn.emit(Element::TextFinal(text("a", "final"))).expect("shown");
        assert_eq!(turn.complete().texts, ["final"]);
    }

    #[test]
    fn bad_elements_are_refused_and_show_nothing() {
        let turn = TestTurn::new();
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        let call = |input| Element::ToolCall {
            tool_call_id: "c".to_owned(),
            tool_name: "grep".to_owned(),
            kind: ToolKind::Search,
            input,
        };
        let check = |element, expected| {
            let CallError::Refused(error) = turn.emit(element).expect_err("refused") else { panic!("ends the guest") };
            assert_eq!(error.known_code(), Some(expected));
        };
        check(Element::TextDelta(text(&long, "")), ErrorCode::InvalidElement);
        check(thought(&long, "", true), ErrorCode::InvalidElement);
        check(call(ToolInput::Complete("{".to_owned())), ErrorCode::InvalidJson);
        let step = podium_wire::updates::PlanStep {
            id: "s".to_owned(),
            title: String::new(),
            status: podium_wire::updates::StepStatus::Pending,
        };
        let steps = vec![step; PLAN_STEPS_MAX + 1];
        let plan = Plan { id: "p".to_owned(), title: String::new(), steps };
        check(Element::Plan(PlanEvent::Created(plan)), ErrorCode::InvalidElement);
        assert_eq!(turn.shown().len(), 1);
        turn.emit(Element::TextDelta(text(&long[1..], ""))).expect("the longest name is good");
        turn.emit(call(ToolInput::Complete("{}".to_owned()))).expect("is good");
    }

    #[test]
    fn only_so_many_items_are_open_at_once() {
        let turn = TestTurn::new();
        for n in 0..OPEN_ITEMS_MAX {
            turn.emit(Element::TextDelta(text(&n.to_string(), "x"))).expect("has room");
        }
        assert!(matches!(turn.emit(Element::TextDelta(text("more", "x"))), Err(CallError::Refused(_))));
        turn.emit(Element::TextFinal(text("0", "x"))).expect("closes one");
        turn.emit(Element::TextDelta(text("more", "x"))).expect("has room again");
    }

    #[test]
    fn the_limits_are_exact() {
        // `stream_start` is the host's: the guest has 2 left of 3.
        let turn = TestTurn::with(|spec| spec.limits.updates = 3);
        turn.emit(Element::TextDelta(text("a", "1"))).expect("has room");
        turn.emit(Element::TextDelta(text("a", "2"))).expect("has room");
        assert_eq!(turn.emit(Element::TextDelta(text("a", "3"))), Err(LimitReached::Updates(3).into()));

        let turn = TestTurn::with(|spec| spec.limits.output_bytes = 10);
        turn.emit(Element::TextDelta(text("a", "0123456789"))).expect("has room");
        assert_eq!(turn.emit(Element::TextDelta(text("a", "x"))), Err(LimitReached::Output(10).into()));
    }

    #[test]
    fn pieces_of_a_tool_call_end_somewhere_although_nothing_holds_them() {
        let turn = TestTurn::with(|spec| spec.limits.output_bytes = 1_000);
        let piece = || Element::ToolCall {
            tool_call_id: "c".to_owned(),
            tool_name: "t".to_owned(),
            kind: ToolKind::Other,
            input: ToolInput::Delta("x".repeat(100)),
        };
        let reached = (0..20).find_map(|_| turn.emit(piece()).err());
        assert_eq!(reached, Some(LimitReached::Output(1_000).into()));
    }

    proptest! {
        /// Whatever pieces come in whatever order, what clients joined from pieces is what is kept.
        #[test]
        fn pieces_join_to_what_is_kept(pieces in prop::collection::vec((0..3u8, 0..3u8, ".{0,8}", any::<bool>()), 0..40)) {
            let turn = TestTurn::new();
            let mut texts = std::collections::BTreeMap::<(u8, String), String>::new();
            for (kind, item, piece, done) in pieces {
                let item = item.to_string();
                let element = match kind {
                    0 => Element::TextDelta(text(&item, &piece)),
                    1 => thought(&item, &piece, done),
                    _ => Element::TerminalOutput { terminal_id: item, event: TerminalEvent::Output(piece) },
                };
                turn.emit(element).expect("within limits");
            }
            turn.complete();
            let mut whole = 0;
            for body in turn.shown() {
                match body {
                    UpdateBody::TextDelta(t) => texts.entry((0, t.item)).or_default().push_str(&t.text),
                    UpdateBody::ThinkingStart(t) => { texts.entry((1, t.item)).or_default(); }
                    UpdateBody::ThinkingProgress(t) => texts.entry((1, t.item)).or_default().push_str(&t.text),
                    UpdateBody::TerminalStream(t) => texts.entry((2, t.terminal_id)).or_default().push_str(&t.text),
                    UpdateBody::TextComplete(t) => prop_assert_eq!(texts.remove(&(0, t.item)), Some(t.text)),
                    UpdateBody::ThinkingComplete(t) => prop_assert_eq!(texts.remove(&(1, t.item)), Some(t.text)),
                    UpdateBody::TerminalComplete(t) => prop_assert_eq!(texts.remove(&(2, t.terminal_id)), Some(t.output)),
                    UpdateBody::StreamEnd(_) => whole += 1,
                    _ => {}
                }
            }
            prop_assert!(texts.is_empty(), "left open: {:?}", texts);
            prop_assert_eq!(whole, 1);
        }
    }
}
