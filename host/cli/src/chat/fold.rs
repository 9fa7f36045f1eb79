//! What a client knows of its message and the answer: frames in, actions out. Pure.
//!
//! One `Fold` lives as long as its message, over any number of connections. It must never show a text twice, never
//! call a message answered before its turn's cut, and never take another message's updates for its own.

use podium_wire::asks::Ask;
use podium_wire::frames::{ClientFrame, Hello, ServerFrame, Subscribe};
use podium_wire::message::MessageContent;
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{
    CutMade, EventType, FileChangeKind, MessageAccepted, StatusChange, StatusEvent, TurnSnapshot, Update, UpdateBody,
};
use podium_wire::{ErrorCode, WireError};

use super::answer::{Answer, Show};
use super::asks::Asks;
use super::steer::Typed;

/// What is to be done after a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Send this.
    Send(ClientFrame),
    /// Show this of the answer.
    Show(Show),
    /// Say this beside the answer.
    Note(String),
    /// Give up this connection and make another one.
    Reconnect,
    /// The message is done with.
    Done(Outcome),
}

/// How a message ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The turn's text, or why there is none.
    pub(crate) result: Result<String, WireError>,
    /// True when the host had the message before.
    pub(crate) duplicate: bool,
    /// The cut that made it true, where it was seen.
    pub(crate) cut: Option<u64>,
}

#[derive(Debug)]
struct Turn {
    turn_id: String,
    attempt: u32,
    /// The last update of this attempt that was folded.
    n: u64,
    /// The last one before a snapshot stood for updates of this attempt, some of them durable.
    before_snapshot: Option<u64>,
    /// The end of this attempt, which holds once it is cut: its `n` and the result.
    end: Option<(u64, Result<String, WireError>)>,
}

/// How far the wish to end the turn has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Interrupt {
    No,
    /// The turn may not have begun yet.
    Wanted,
    Sent,
}

/// A message on its way and what is known of its answer.
#[derive(Debug)]
pub(crate) struct Fold {
    id: String,
    content: MessageContent,
    /// Every durable update up to here was seen, or came before the message.
    seen_seq: Option<u64>,
    accepted: bool,
    duplicate: bool,
    /// This connection has not answered `process_message` yet.
    awaits_ack: bool,
    /// This connection gets the updates from `seen_seq` on.
    subscribed: bool,
    /// The subscription was not answered yet: updates until then come again behind the answer.
    awaits_subscribed: bool,
    interrupt: Interrupt,
    turn: Option<Turn>,
    /// A snapshot of a turn that may turn out to be ours.
    snapshot: Option<TurnSnapshot>,
    answer: Answer,
    asks: Asks,
    /// What was typed meanwhile.
    pub(crate) typed: Typed,
    done: bool,
}

impl Fold {
    /// A message that was not sent yet.
    pub(crate) fn new(id: String, content: MessageContent) -> Self {
        Self {
            id,
            content,
            seen_seq: None,
            accepted: false,
            duplicate: false,
            awaits_ack: false,
            subscribed: false,
            awaits_subscribed: false,
            interrupt: Interrupt::No,
            turn: None,
            snapshot: None,
            answer: Answer::default(),
            asks: Asks::default(),
            typed: Typed::default(),
            done: false,
        }
    }

    /// The message's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// True once the host has promised an answer.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// What the turn of this message asks.
    pub(crate) fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Somebody was told how to answer elsewhere.
    pub(crate) fn told(&mut self) {
        self.asks.told();
    }

    /// Reads a line as the answer to what the turn asks; an error says what is wanted instead.
    pub(crate) fn line(&mut self, line: &str) -> Result<ClientFrame, String> {
        self.asks.line(line)
    }

    /// Somebody wants the turn of this message to end; false when that was wanted before.
    pub(crate) fn want_interrupt(&mut self) -> bool {
        let first = self.interrupt == Interrupt::No;
        self.interrupt = self.interrupt.max(Interrupt::Wanted);
        first
    }

    /// The frame that ends the turn, once, where that is wanted and the turn of this message runs. Before that it would end
    /// somebody else's turn.
    pub(crate) fn interrupt(&mut self) -> Option<ClientFrame> {
        if !self.runs() || self.interrupt != Interrupt::Wanted {
            return None;
        }
        self.interrupt = Interrupt::Sent;
        Some(ClientFrame::Interrupt {})
    }

    /// True while the turn of this message is known to run.
    pub(crate) fn runs(&self) -> bool {
        self.turn.as_ref().is_some_and(|turn| turn.end.is_none())
    }

    /// The next typed line as a steer, where the turn of this message runs.
    pub(crate) fn steer(&mut self, id: impl FnOnce() -> String) -> Option<ClientFrame> {
        if self.runs() && !self.done && !self.awaits_ack { self.typed.next(id) } else { None }
    }

    /// Takes the next frame of the connection.
    pub(crate) fn feed(&mut self, frame: ServerFrame) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.done {
            return actions;
        }
        match frame {
            ServerFrame::Hello(hello) => self.hello(&hello, &mut actions),
            ServerFrame::Error(error) => self.error(error, &mut actions),
            ServerFrame::Pong(_) => {}
            ServerFrame::Subscribed(_) => self.awaits_subscribed = false,
            // Answers to this connection come once, in whatever order.
            ServerFrame::Update(update)
                if self.awaits_subscribed && update.event_type != EventType::MessageAccepted => {}
            ServerFrame::Update(update) => self.update(&update, &mut actions),
        }
        if self.answer.is_too_large() {
            let error = WireError::new(ErrorCode::Internal, "the answer is larger than any answer may be");
            actions.push(self.finish(Err(error), None));
        }
        actions
    }

    fn hello(&mut self, hello: &Hello, actions: &mut Vec<Action>) {
        self.snapshot = None;
        self.asks.unsent();
        // On a first connection everything that belongs to the message comes after `hello`.
        self.subscribed = self.seen_seq.is_some();
        self.awaits_subscribed = self.subscribed;
        if self.subscribed {
            actions.push(Action::Send(ClientFrame::Subscribe(self.place())));
        } else {
            self.seen_seq = Some(hello.last_seq);
        }
        self.awaits_ack = true;
        let message = ClientFrame::ProcessMessage { id: Some(self.id.clone()), content: self.content.clone() };
        actions.push(Action::Send(message));
        actions.extend(self.typed.again().into_iter().map(Action::Send));
    }

    /// Where this client stands, for `subscribe`.
    fn place(&self) -> Subscribe {
        let after_seq = self.seen_seq.unwrap_or(0);
        match &self.turn {
            None => Subscribe { after_seq, ..Subscribe::default() },
            Some(turn) => Subscribe {
                after_seq,
                turn_id: Some(turn.turn_id.clone()),
                attempt: Some(turn.attempt),
                // An end that was seen but not cut is asked for again: as a durable row it says that it holds.
                n: Some(match &turn.end {
                    Some((n, _)) => n.saturating_sub(1),
                    None => turn.before_snapshot.unwrap_or(turn.n),
                }),
            },
        }
    }

    fn error(&mut self, error: WireError, actions: &mut Vec<Action>) {
        if error.known_code() == Some(ErrorCode::ShuttingDown) {
            actions.push(Action::Reconnect);
        } else if std::mem::take(&mut self.awaits_ack) {
            actions.push(self.finish(Err(error), None));
        } else {
            let answer = [ErrorCode::AskResolved, ErrorCode::AskNotFound, ErrorCode::InvalidAnswer];
            let steer = if error.known_code().is_some_and(|code| answer.contains(&code)) {
                self.asks.unsent();
                false
            } else {
                self.typed.refused(&error)
            };
            let late = steer && error.known_code() == Some(ErrorCode::NoActiveTurn);
            if !late {
                actions.push(Action::Note(error.message));
            }
        }
    }

    fn finish(&mut self, result: Result<String, WireError>, cut: Option<u64>) -> Action {
        self.done = true;
        Action::Done(Outcome { result, duplicate: self.duplicate, cut })
    }

    fn saw(&mut self, seq: u64) {
        self.seen_seq = Some(self.seen_seq.unwrap_or(0).max(seq));
    }

    fn update(&mut self, update: &Update, actions: &mut Vec<Action>) {
        let body = match update.body() {
            Ok(body) => body,
            Err(error) => {
                tracing::debug!(%error, kind = update.event_type.name(), "an update of an unknown shape");
                return;
            }
        };
        match body {
            UpdateBody::MessageAccepted(accepted) => self.acknowledged(&accepted, actions),
            UpdateBody::Cut(cut) => self.cut(&cut, actions),
            UpdateBody::TurnRestarted(restarted) => {
                if self.turn.as_ref().is_some_and(|turn| turn.turn_id == restarted.turn_id) {
                    self.begin_attempt(restarted.attempt, restarted.keep_through_seq, actions);
                }
            }
            UpdateBody::TurnSnapshot(snapshot) => {
                self.snapshot = Some(snapshot);
                self.apply_snapshot(actions);
            }
            UpdateBody::Lagged(_) => actions.push(Action::Reconnect),
            UpdateBody::Reset(reset) => self.seen_seq = Some(reset.to_seq),
            UpdateBody::InstanceStatus(change) => self.status(&change, actions),
            body => {
                // Comes with the cut, at no place of the turn.
                if let UpdateBody::SteerUndelivered(_) = &body {
                    actions.extend(self.typed.told(&body).map(Action::Note));
                }
                self.of_a_turn(update, body, actions);
                if let Some(seq) = update.seq {
                    self.saw(seq);
                }
            }
        }
    }

    fn acknowledged(&mut self, accepted: &MessageAccepted, actions: &mut Vec<Action>) {
        if accepted.id != self.id {
            self.typed.acknowledged(&accepted.id);
            return;
        }
        self.awaits_ack = false;
        if !self.accepted {
            self.duplicate = accepted.duplicate;
        }
        self.accepted = true;
        if accepted.duplicate && !self.subscribed {
            // The message is older than this client: its answer may lie anywhere before.
            self.subscribed = true;
            self.awaits_subscribed = true;
            actions.push(Action::Send(ClientFrame::Subscribe(Subscribe::default())));
        }
    }

    fn cut(&mut self, cut: &CutMade, actions: &mut Vec<Action>) {
        let ours = self.turn.as_ref().filter(|turn| {
            cut.turn_id.as_deref() == Some(&turn.turn_id) && cut.attempt.is_none_or(|attempt| attempt == turn.attempt)
        });
        if let Some(turn) = ours {
            match &turn.end {
                Some((n, result)) if *n <= cut.through_n => {
                    let result = result.clone();
                    actions.push(self.finish(result, Some(cut.cut)));
                }
                // The end is missing here: it is read again as a durable row.
                _ => actions.push(Action::Reconnect),
            }
            return;
        }
        let unseen = |snapshot: &TurnSnapshot| cut.turn_id.as_deref() == Some(&snapshot.turn_id);
        if self.turn.is_none() && self.snapshot.as_ref().is_some_and(unseen) {
            // Of this turn only a snapshot was told, which may have stood for its end. Its rows say whose it is.
            actions.push(Action::Reconnect);
        } else if let Some(seq) = cut.last_seq {
            self.saw(seq);
        }
    }

    fn status(&mut self, change: &StatusChange, actions: &mut Vec<Action>) {
        let error = match (change.status, change.event) {
            (_, StatusEvent::Terminating | StatusEvent::Terminated) => {
                WireError::new(ErrorCode::InstanceNotFound, "the instance was deleted")
            }
            (InstanceStatus::Parked, _) => {
                WireError::new(ErrorCode::Parked, "the turn failed with the host too often, and the message is parked")
            }
            (InstanceStatus::Stopped, _) => WireError::new(
                ErrorCode::InstanceStopped,
                "the instance was stopped; it answers the message after its start",
            ),
            _ => return,
        };
        actions.push(self.finish(Err(error), None));
    }

    /// An update with a place in a turn.
    fn of_a_turn(&mut self, update: &Update, body: UpdateBody, actions: &mut Vec<Action>) {
        let (Some(turn_id), Some(attempt), Some(n)) = (&update.turn_id, update.attempt, update.n) else {
            return self.without_a_turn(update, body, actions);
        };
        let known = self.turn.as_ref().is_some_and(|turn| turn.turn_id == *turn_id);
        if !known {
            if update.message_id.as_deref() != Some(&self.id) {
                return;
            }
            self.turn = Some(Turn { turn_id: turn_id.clone(), attempt, n: 0, before_snapshot: None, end: None });
            self.apply_snapshot(actions);
        }
        let Some(turn) = &mut self.turn else { return };
        if attempt < turn.attempt && update.seq.is_none() {
            return;
        }
        if attempt > turn.attempt {
            // The restart itself was said to nobody, or to a connection that was lost. What has a `seq` stays.
            self.begin_attempt(attempt, u64::MAX, actions);
        }
        let Some(turn) = &mut self.turn else { return };
        if attempt == turn.attempt && n <= turn.n {
            self.seen_again(n, update.seq, body, actions);
            return;
        }
        if attempt == turn.attempt {
            turn.n = n;
        }
        self.fold(n, update.seq, body, actions);
    }

    /// The end of a message that no turn consumed: somebody discarded it.
    fn without_a_turn(&mut self, update: &Update, body: UpdateBody, actions: &mut Vec<Action>) {
        // An old message's answer is read from the beginning: what the instance ran then is no news.
        if matches!(body, UpdateBody::DeploymentChanged(_) | UpdateBody::Rewound(_)) && !self.duplicate {
            actions.extend(note(&body).map(Action::Note));
        }
        if let UpdateBody::Error(error) = body
            && update.message_id.as_deref() == Some(&self.id)
            && update.seq.is_some()
        {
            actions.push(self.finish(Err(error), None));
        }
    }

    /// An update that was folded before, or that a snapshot stood for; with a `seq` it says that it is durable now.
    /// A text that only the snapshot told of is not shown in its place: the end of the turn brings what is missing.
    fn seen_again(&mut self, n: u64, seq: Option<u64>, body: UpdateBody, actions: &mut Vec<Action>) {
        let Some(seq) = seq else { return };
        match body {
            UpdateBody::TextComplete(item) => self.answer.durable(&item.item, seq),
            UpdateBody::CodeBlock(block) => self.answer.durable(&block.item, seq),
            UpdateBody::StreamEnd(_) | UpdateBody::Error(_) => self.fold(n, Some(seq), body, actions),
            _ => {}
        }
    }

    fn fold(&mut self, n: u64, seq: Option<u64>, body: UpdateBody, actions: &mut Vec<Action>) {
        let mut shows = Vec::new();
        match body {
            UpdateBody::TextDelta(item) => self.answer.piece(&item.item, &item.text, &mut shows),
            UpdateBody::TextComplete(item) => self.answer.whole(&item.item, &item.text, seq, &mut shows),
            UpdateBody::CodeBlock(block) => {
                let text = format!("```{}\n{}\n```", block.language.unwrap_or_default(), block.text.trim_end());
                self.answer.block(&block.item, &text, seq, &mut shows);
            }
            UpdateBody::QuestionRequested(asked) => {
                let shown = self.asks.opened(&asked.request_id, asked.again, Ask::Question(asked.question));
                actions.extend(shown.map(Action::Note));
            }
            UpdateBody::PermissionRequested(asked) => {
                let shown = self.asks.opened(&asked.request_id, asked.again, Ask::Permission(asked.permission));
                actions.extend(shown.map(Action::Note));
            }
            UpdateBody::QuestionResolved(resolved) => {
                actions.extend(self.asks.answered(&resolved).map(Action::Note));
            }
            UpdateBody::ApprovalResolved(resolved) => {
                actions.extend(self.asks.decided(&resolved).map(Action::Note));
            }
            UpdateBody::StreamEnd(end) => {
                self.answer.end(&end.text, &mut shows);
                actions.extend(shows.drain(..).map(Action::Show));
                self.end(n, seq, Ok(end.text), actions);
            }
            UpdateBody::Error(error) => self.end(n, seq, Err(error), actions),
            body @ (UpdateBody::SteerDelivered(_) | UpdateBody::SteerFailed(_)) => {
                actions.extend(self.typed.told(&body).map(Action::Note));
            }
            body => actions.extend(note(&body).map(Action::Note)),
        }
        actions.extend(shows.into_iter().map(Action::Show));
    }

    fn end(&mut self, n: u64, seq: Option<u64>, result: Result<String, WireError>, actions: &mut Vec<Action>) {
        if seq.is_some() {
            actions.push(self.finish(result, None));
        } else if let Some(turn) = &mut self.turn {
            turn.end = Some((n, result));
        }
    }

    fn begin_attempt(&mut self, attempt: u32, keep_through_seq: u64, actions: &mut Vec<Action>) {
        let Some(turn) = &mut self.turn else { return };
        if attempt <= turn.attempt {
            return;
        }
        (turn.attempt, turn.n, turn.before_snapshot, turn.end) = (attempt, 0, None, None);
        self.interrupt = Interrupt::No;
        self.asks.clear();
        actions.push(Action::Note(format!("the host lost the turn; attempt {attempt} begins")));
        let mut shows = Vec::new();
        self.answer.restart(keep_through_seq, &mut shows);
        actions.extend(shows.into_iter().map(Action::Show));
    }

    fn apply_snapshot(&mut self, actions: &mut Vec<Action>) {
        let ours = |snapshot: &&TurnSnapshot| {
            self.turn.as_ref().is_some_and(|turn| turn.turn_id == snapshot.turn_id && turn.attempt <= snapshot.attempt)
        };
        if self.snapshot.as_ref().filter(ours).is_none() {
            return;
        }
        let Some(snapshot) = self.snapshot.take() else { return };
        self.begin_attempt(snapshot.attempt, u64::MAX, actions);
        let Some(turn) = &mut self.turn else { return };
        if snapshot.n <= turn.n {
            return;
        }
        turn.before_snapshot.get_or_insert(turn.n);
        turn.n = snapshot.n;
        self.asks.clear();
        for ask in snapshot.asks {
            actions.extend(self.asks.opened(&ask.request_id, ask.again, ask.ask).map(Action::Note));
        }
        let mut shows = Vec::new();
        for item in snapshot.items.iter().filter(|item| item.event_type == EventType::TextDelta) {
            self.answer.so_far(&item.item, &item.text, &mut shows);
        }
        actions.extend(shows.into_iter().map(Action::Show));
    }
}

/// What is said beside the answer.
fn note(body: &UpdateBody) -> Option<String> {
    match body {
        UpdateBody::ToolCall(call) => Some(format!("tool: {}", call.tool_name)),
        UpdateBody::ToolError(failed) => Some(format!("tool failed: {}", failed.error.message)),
        UpdateBody::TerminalComplete(terminal) => Some(format!("terminal: exit code {}", terminal.exit_code)),
        UpdateBody::FileChange(change) => {
            let what = match change.kind {
                FileChangeKind::Created => "created",
                FileChangeKind::Modified => "changed",
                FileChangeKind::Deleted => "deleted",
                FileChangeKind::Renamed => "renamed",
            };
            let more = change.more.map(|more| format!(" and {more} more files")).unwrap_or_default();
            Some(format!("{what}: {}{more}", change.path))
        }
        UpdateBody::Rewound(rewound) => Some(format!("rewound to cut {}", rewound.to)),
        UpdateBody::DeploymentChanged(changed) => Some(match &changed.error {
            None => format!("now runs {}", changed.deployment_id),
            Some(error) => format!(
                "{} failed ({}); {} is put back and answers",
                changed.previous_deployment_id, error.message, changed.deployment_id
            ),
        }),
        _ => None,
    }
}
