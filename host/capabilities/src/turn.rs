//! One attempt at a turn, as its guest sees it: what it may call and what it leaves behind.
//!
//! Owns everything an attempt changes until its cut. A turn is closed once, by [`Turn::complete`] or
//! [`Turn::fail`]; after that no host call has an effect. Must never make anything durable itself.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podium_store::JournalRow;
use podium_store::state::Document;
use podium_wire::ErrorCode;
use podium_wire::asks::AskOutcome;
use podium_wire::error::WireError;
use podium_wire::ids::{DeploymentId, InstanceId};
use podium_wire::updates::{
    Durability, EventType, OpenItem, StreamEnd, StreamStart, TurnKind, TurnSnapshot, Update, UpdateBody,
};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::ask::Asks;
use crate::clock::TurnClock;
use crate::error::CallError;
use crate::journal::{Journal, JournalStart};
use crate::limits::{LimitReached, Limits};
use crate::log::LogBudget;
use crate::ports::Ports;
use crate::steer::Heard;
use crate::updates::{OpenTexts, is_piece_of_text};
use crate::workspace::Workspace;

/// What an attempt starts from.
#[derive(Debug, Clone)]
pub struct TurnSpec {
    /// The instance.
    pub instance: InstanceId,
    /// The deployment it runs.
    pub deployment: DeploymentId,
    /// The turn's number in the instance.
    pub turn: u64,
    /// The turn's id, as updates carry it.
    pub turn_id: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The message that is answered, if any.
    pub message_id: Option<String>,
    /// What the turn is run for.
    pub kind: TurnKind,
    /// What all randomness of the turn comes from.
    pub seed: [u8; 32],
    /// Its limits.
    pub limits: Limits,
    /// The state at the cut it starts from.
    pub state: Arc<Value>,
    /// That state's version.
    pub state_version: u64,
    /// The configuration in force, or about to be for a configuration change.
    pub config: Arc<Value>,
    /// Its revision.
    pub config_rev: u64,
    /// What the guest sees as `/workspace`.
    pub workspace: Workspace,
    /// When the turn began, milliseconds since the Unix epoch: the guest's clock starts here.
    pub now_ms: u64,
    /// Whether it is recorded, and by what it is run again.
    pub journal: JournalStart,
}

/// A durable update of an attempt, which has no `seq` yet.
#[derive(Debug, Clone)]
pub struct DurableUpdate {
    /// Its place in the attempt.
    pub n: u64,
    /// Its kind.
    pub event_type: EventType,
    /// Its content, as it was shown live.
    pub content: Box<RawValue>,
}

/// What of a turn is to become durable before its cut.
#[derive(Debug)]
pub struct Undurable {
    /// Records of its journal.
    pub rows: Vec<JournalRow>,
    /// Its durable updates so far, which get their `seq` with them.
    pub updates: Vec<DurableUpdate>,
    /// What is open now.
    pub snapshot: TurnSnapshot,
}

/// What an attempt leaves for its cut.
#[derive(Debug, Clone)]
pub struct TurnOutput {
    /// The durable updates in order of `n`.
    pub updates: Vec<DurableUpdate>,
    /// The accepted patches, each one RFC 6902 array.
    pub patches: Vec<Value>,
    /// The state after them.
    pub state: Arc<Value>,
    /// Its version.
    pub state_version: u64,
    /// The turn's texts, each a message of the history.
    pub texts: Vec<String>,
    /// The texts joined by an empty line: what `stream_end` says.
    pub text: String,
    /// The steers that the agent was given, in order.
    pub heard: Vec<Heard>,
    /// The last `n` of the attempt.
    pub last_n: u64,
}

/// Counts of effects.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) in_flight: Arc<AtomicUsize>,
    /// Bytes of answers that the guest has not read yet.
    pub(crate) unread_bytes: Arc<AtomicUsize>,
    /// Versions of the workspace that were asked for.
    pub(crate) steps: AtomicU64,
    /// Held while one page of the history is read and not counted yet.
    pub(crate) page: Arc<futures_util::lock::Mutex<()>>,
}

/// What goes to the sink, outside of every lock.
#[derive(Debug)]
pub(crate) enum Sent {
    Update(Update),
    Snapshot(TurnSnapshot),
}

/// What the attempt changes.
#[derive(Debug)]
pub(crate) struct Work {
    closed: bool,
    n: u64,
    /// Updates up to this one were shown by an earlier guest of the turn, and what of them is durable is.
    kept_n: u64,
    /// What is open has to be told before the next update.
    is_to_tell: bool,
    held_bytes: u64,
    durable: Vec<DurableUpdate>,
    pub(crate) open: OpenTexts,
    pub(crate) asks: Asks,
    pub(crate) texts: Vec<String>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) state: Document,
    pub(crate) state_version: u64,
    pub(crate) patches: Vec<Value>,
}

struct Inner {
    spec: TurnSpec,
    ports: Ports,
    clock: TurnClock,
    effects: Effects,
    journal: Journal,
    log: Mutex<LogBudget>,
    work: Mutex<Work>,
    closed: AtomicBool,
    waiting: AtomicBool,
}

/// One attempt at a turn. Clones are the same attempt. Host calls of one attempt come from one task, so that
/// updates reach the sink in the order of `n`.
#[derive(Clone)]
pub struct Turn(Arc<Inner>);

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").field("turn_id", &self.0.spec.turn_id).field("attempt", &self.0.spec.attempt).finish()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is complete before anything can panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Turn {
    /// Begins an attempt and shows its `stream_start` as the first update.
    pub fn new(mut spec: TurnSpec, ports: Ports) -> Self {
        let (kept_n, is_to_tell) = match &spec.journal {
            JournalStart::Again(again) => (again.kept_n, again.tells),
            JournalStart::Off | JournalStart::New => (0, false),
        };
        let work = Work {
            closed: false,
            n: 0,
            kept_n,
            is_to_tell,
            held_bytes: 0,
            durable: Vec::new(),
            open: OpenTexts::default(),
            asks: Asks::default(),
            texts: Vec::new(),
            heard: Vec::new(),
            state: Document::new(Arc::clone(&spec.state)),
            state_version: spec.state_version,
            patches: Vec::new(),
        };
        let turn = Self(Arc::new(Inner {
            clock: TurnClock::new(spec.now_ms.saturating_mul(1_000_000)),
            ports,
            effects: Effects::default(),
            journal: Journal::new(&mut spec.journal),
            log: Mutex::default(),
            work: Mutex::new(work),
            closed: AtomicBool::new(false),
            // One that waited without a guest waits still.
            waiting: AtomicBool::new(matches!(&spec.journal, JournalStart::Again(again) if !again.tells)),
            spec,
        }));
        let start = UpdateBody::StreamStart(StreamStart { kind: turn.0.spec.kind });
        let mut sent = Vec::with_capacity(1);
        lock(&turn.0.work).show(&turn, &start, &mut sent);
        turn.send(sent);
        turn
    }

    /// What it started from.
    pub fn spec(&self) -> &TurnSpec {
        &self.0.spec
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.0.spec.limits
    }

    /// What was recorded of it.
    pub fn journal(&self) -> &Journal {
        &self.0.journal
    }

    /// The guest's clock.
    pub fn clock(&self) -> &TurnClock {
        &self.0.clock
    }

    /// The host's clock.
    pub fn host_clock(&self) -> &podium_kit::Clock {
        &self.0.ports.clock
    }

    /// Says that the guest waits for something from outside, or runs again.
    pub fn set_waiting(&self, waiting: bool) {
        if self.0.waiting.swap(waiting, Ordering::AcqRel) != waiting {
            self.0.ports.watch.waiting(waiting);
        }
    }

    /// True while the guest waits for something from outside.
    pub fn is_waiting(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire)
    }

    /// True once [`Turn::complete`] or [`Turn::fail`] was called.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// The texts that are being written and what waits for an answer, for a client that subscribes now. It stands for every update up to its
    /// `n`, of which the last may still be on their way to the sink.
    pub fn snapshot(&self) -> TurnSnapshot {
        lock(&self.0.work).snapshot(self)
    }

    /// Ends the attempt well: closes the items that are still open, shows `stream_end` and gives what the cut
    /// needs. A second call gives an output without updates.
    pub fn complete(&self) -> TurnOutput {
        self.set_waiting(false);
        self.close_log();
        self.goes_on();
        let mut sent = Vec::new();
        let output = {
            let mut work = lock(&self.0.work);
            if !work.closed {
                work.resolve_all(self, AskOutcome::TurnEnded, &mut sent);
                for body in work.close_open_items() {
                    work.show(self, &body, &mut sent);
                }
                let end = UpdateBody::StreamEnd(StreamEnd { text: work.texts.join("\n\n") });
                work.show(self, &end, &mut sent);
            }
            self.close(&mut work);
            TurnOutput {
                updates: std::mem::take(&mut work.durable),
                patches: std::mem::take(&mut work.patches),
                state: Arc::clone(work.state.root()),
                state_version: work.state_version,
                text: work.texts.join("\n\n"),
                texts: std::mem::take(&mut work.texts),
                heard: std::mem::take(&mut work.heard),
                last_n: work.n,
            }
        };
        self.send(sent);
        output
    }

    /// Ends the attempt without its effects: only the `error` update is left, the state is the old one. The
    /// update is not shown here: it goes out with its `seq`. What was asked is resolved first, live.
    pub fn fail(&self, error: &WireError) -> TurnOutput {
        self.set_waiting(false);
        self.close_log();
        let mut sent = Vec::new();
        let mut work = lock(&self.0.work);
        work.skip_kept();
        let interrupted = error.known_code() == Some(ErrorCode::Interrupted);
        work.resolve_all(self, if interrupted { AskOutcome::Cancelled } else { AskOutcome::TurnEnded }, &mut sent);
        self.close(&mut work);
        work.n += 1;
        let (event_type, content) = UpdateBody::Error(error.clone()).encode();
        work.durable = Vec::new();
        work.patches = Vec::new();
        work.texts = Vec::new();
        work.open = OpenTexts::default();
        let heard = std::mem::take(&mut work.heard);
        let heard = heard.into_iter().map(|heard| Heard { texts_before: 0, ..heard }).collect();
        let last_n = work.n;
        drop(work);
        self.send(sent);
        TurnOutput {
            updates: vec![DurableUpdate { n: last_n, event_type, content }],
            patches: Vec::new(),
            state: Arc::clone(&self.0.spec.state),
            state_version: self.0.spec.state_version,
            texts: Vec::new(),
            text: String::new(),
            heard,
            last_n,
        }
    }

    /// Ends the attempt without a cut. What was asked is resolved, live, unless the turn comes back by its journal: then it
    /// stays open.
    pub fn set_aside(&self, comes_back: bool) {
        self.set_waiting(false);
        self.close_log();
        let mut sent = Vec::new();
        {
            let mut work = lock(&self.0.work);
            if !(comes_back && self.0.journal.is_kept()) {
                work.resolve_all(self, AskOutcome::TurnEnded, &mut sent);
            }
            self.close(&mut work);
        }
        self.send(sent);
    }

    /// A guest that was brought to where an earlier one was goes on from here. What clients have to know of it is told.
    pub fn goes_on(&self) {
        if !self.0.journal.goes_on() {
            return;
        }
        {
            let mut work = lock(&self.0.work);
            work.skip_kept();
            if std::mem::take(&mut work.is_to_tell) {
                let snapshot = work.snapshot(self);
                drop(work);
                self.0.ports.updates.snapshot(snapshot);
            }
        }
        self.0.ports.watch.goes_on();
    }

    /// Takes what is to become durable before the cut; nothing for a turn without a journal, and for one that has ended.
    pub fn take_undurable(&self) -> Option<Undurable> {
        let mut work = lock(&self.0.work);
        if work.closed {
            return None;
        }
        let rows = self.0.journal.take()?;
        let updates = std::mem::take(&mut work.durable);
        (!rows.is_empty() || !updates.is_empty()).then(|| Undurable { rows, updates, snapshot: work.snapshot(self) })
    }

    /// It could not be made durable.
    pub fn put_back(&self, rows: Vec<JournalRow>, updates: Vec<DurableUpdate>) {
        let mut work = lock(&self.0.work);
        self.0.journal.put_back(rows);
        let later = std::mem::replace(&mut work.durable, updates);
        work.durable.extend(later);
    }

    /// Makes durable what is not yet: records of the journal, and the updates so far.
    ///
    /// # Errors
    /// The store's.
    pub async fn write_journal(&self) -> Result<(), WireError> {
        self.0.ports.journal.write(self.clone()).await
    }

    fn close(&self, work: &mut Work) {
        work.closed = true;
        self.0.closed.store(true, Ordering::Release);
    }

    pub(crate) fn check_open(&self) -> Result<(), CallError> {
        if self.is_closed() { Err(CallError::Closed) } else { Ok(()) }
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.0.ports
    }

    pub(crate) fn effects(&self) -> &Effects {
        &self.0.effects
    }

    /// One more version of the workspace is asked for: how many were before.
    pub(crate) fn next_step(&self) -> u64 {
        self.0.effects.steps.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn with_log<R>(&self, change: impl FnOnce(&mut LogBudget) -> R) -> R {
        change(&mut lock(&self.0.log))
    }

    /// Runs a change of the attempt, unless it is closed. The lock is never held while a port is called.
    pub(crate) fn with_work<R>(&self, change: impl FnOnce(&mut Work) -> Result<R, CallError>) -> Result<R, CallError> {
        let mut work = lock(&self.0.work);
        if work.closed { Err(CallError::Closed) } else { change(&mut work) }
    }

    /// Shows an update of the host's own, unless the attempt is closed; `note` keeps what the cut needs of it.
    pub(crate) fn show_own(&self, body: &UpdateBody, note: impl FnOnce(&mut Work)) {
        let mut sent = Vec::new();
        let shown = self.with_work(|work| {
            work.show(self, body, &mut sent);
            note(work);
            Ok(())
        });
        if shown.is_ok() {
            self.send(sent);
        }
    }

    /// Looks at what is asked, also when the attempt is closed.
    pub(crate) fn with_asks<R>(&self, look: impl FnOnce(&mut Asks) -> R) -> R {
        look(&mut lock(&self.0.work).asks)
    }

    /// Hands updates over, outside of every lock.
    pub(crate) fn send(&self, updates: Vec<Sent>) {
        for update in updates {
            match update {
                Sent::Update(update) => self.0.ports.updates.update(update),
                Sent::Snapshot(snapshot) => self.0.ports.updates.snapshot(snapshot),
            }
        }
    }
}

impl Work {
    fn snapshot(&self, turn: &Turn) -> TurnSnapshot {
        TurnSnapshot {
            turn_id: turn.spec().turn_id.clone(),
            attempt: turn.spec().attempt,
            n: self.n,
            items: self.open.items().map(|(event_type, item, text)| OpenItem { event_type, item, text }).collect(),
            asks: self.asks.open(),
        }
    }

    /// Updates go on behind those that were shown before, wherever the guest has come to.
    fn skip_kept(&mut self) {
        self.n = self.n.max(self.kept_n);
    }

    /// Shows an update of the guest, within the limits.
    pub(crate) fn emit(&mut self, turn: &Turn, body: &UpdateBody, sent: &mut Vec<Sent>) -> Result<(), CallError> {
        let limits = turn.limits();
        if self.n >= limits.updates {
            return Err(LimitReached::Updates(limits.updates).into());
        }
        let (event_type, content) = body.encode();
        turn.journal().call(event_type.name(), content.get().as_bytes())?;
        // A piece of an open text is held by its item; anything else is counted as it is shown, even when
        // nothing holds it, so that a stream of it ends somewhere.
        if !is_piece_of_text(event_type) {
            self.hold(turn, content.get().len())?;
        }
        self.push(turn, event_type, content, sent);
        Ok(())
    }

    /// Counts bytes as held until the cut.
    pub(crate) fn hold(&mut self, turn: &Turn, bytes: usize) -> Result<(), LimitReached> {
        let limit = turn.limits().output_bytes;
        let held = self.held_bytes.saturating_add(bytes as u64);
        if held > limit {
            return Err(LimitReached::Output(limit));
        }
        self.held_bytes = held;
        Ok(())
    }

    /// Gives back bytes that are no longer held.
    pub(crate) fn release(&mut self, bytes: usize) {
        self.held_bytes = self.held_bytes.saturating_sub(bytes as u64);
    }

    /// Shows an update of the host itself, which no limit keeps back.
    pub(crate) fn show(&mut self, turn: &Turn, body: &UpdateBody, sent: &mut Vec<Sent>) {
        let (event_type, content) = body.encode();
        self.push(turn, event_type, content, sent);
    }

    fn push(&mut self, turn: &Turn, event_type: EventType, content: Box<RawValue>, sent: &mut Vec<Sent>) {
        self.n += 1;
        if self.n <= self.kept_n {
            return;
        }
        if std::mem::take(&mut self.is_to_tell) {
            // Beyond what is durable, clients see again what they had to drop. A text that is open has this piece already.
            let mut snapshot = self.snapshot(turn);
            let told = is_piece_of_text(event_type);
            snapshot.n -= u64::from(!told);
            sent.push(Sent::Snapshot(snapshot));
            if told {
                return;
            }
        }
        if event_type.entry().durability == Durability::Durable {
            self.durable.push(DurableUpdate { n: self.n, event_type, content: content.clone() });
        }
        let spec = turn.spec();
        sent.push(Sent::Update(Update {
            event_type,
            seq: None,
            turn_id: Some(spec.turn_id.clone()),
            attempt: Some(spec.attempt),
            n: Some(self.n),
            message_id: spec.message_id.clone(),
            ts: turn.ports().clock.now_ms(),
            content,
        }));
    }
}

#[cfg(test)]
mod tests {
    use podium_wire::ErrorCode;
    use podium_wire::updates::ItemText;

    use super::*;
    use crate::testing::TestTurn;
    use crate::updates::Element;

    fn piece(text: &str) -> Element {
        Element::TextDelta(ItemText { item: "a".to_owned(), text: text.to_owned() })
    }

    #[test]
    fn a_turn_begins_with_its_start_and_ends_with_its_text() {
        let turn = TestTurn::new();
        turn.emit(piece("hel")).expect("shown");
        turn.emit(piece("lo")).expect("shown");
        let output = turn.complete();
        let kinds: Vec<_> = turn.shown().iter().map(UpdateBody::event_type).collect();
        use EventType::{StreamEnd, StreamStart, TextComplete, TextDelta};
        assert_eq!(kinds, [StreamStart, TextDelta, TextDelta, TextComplete, StreamEnd]);
        let durable: Vec<_> = output.updates.iter().map(|update| (update.n, update.event_type)).collect();
        assert_eq!(durable, [(1, StreamStart), (4, TextComplete), (5, StreamEnd)]);
        assert_eq!((output.last_n, output.text.as_str()), (5, "hello"));
        assert_eq!(output.texts, ["hello"]);
    }

    #[test]
    fn a_failed_turn_keeps_its_error_only_and_shows_nothing_of_it() {
        let turn = TestTurn::new();
        turn.emit(piece("half")).expect("shown");
        turn.state_apply(r#"[{"op":"add","path":"/a","value":1}]"#).expect("applies");
        let shown = turn.shown().len();
        let output = turn.fail(&WireError::new(ErrorCode::GuestTrap, "oops"));
        assert_eq!(turn.shown().len(), shown);
        assert_eq!(output.updates.len(), 1);
        assert_eq!((output.updates[0].event_type, output.updates[0].n), (EventType::Error, shown as u64 + 1));
        assert_eq!((output.patches.len(), output.state_version, output.texts.len()), (0, 0, 0));
        assert_eq!(*output.state, serde_json::json!({}));
    }

    #[test]
    fn a_closed_turn_refuses_every_call() {
        let turn = TestTurn::new();
        turn.complete();
        let shown = turn.shown().len();
        assert_eq!(turn.emit(piece("late")), Err(CallError::Closed));
        assert_eq!(turn.state_apply("[]"), Err(CallError::Closed));
        assert_eq!(turn.state_get(""), Err(CallError::Closed));
        assert_eq!(turn.config_get(""), Err(CallError::Closed));
        assert_eq!(turn.history(None, 1).err(), Some(CallError::Closed));
        turn.log(podium_wire::rest::LogLevel::Info, "m", "late", None);
        assert_eq!((turn.shown().len(), turn.lines().len()), (shown, 0));
        assert!(turn.complete().updates.is_empty());
    }

    #[test]
    fn the_snapshot_holds_what_is_open() {
        let turn = TestTurn::new();
        turn.emit(piece("so ")).expect("shown");
        turn.emit(piece("far")).expect("shown");
        let snapshot = turn.snapshot();
        assert_eq!((snapshot.n, snapshot.items.len()), (3, 1));
        assert_eq!((snapshot.items[0].event_type, snapshot.items[0].text.as_str()), (EventType::TextDelta, "so far"));
        turn.emit(Element::TextFinal(ItemText { item: "a".to_owned(), text: "so far".to_owned() })).expect("shown");
        assert!(turn.snapshot().items.is_empty());
    }

    #[test]
    fn waiting_is_told_once_each_way_and_ends_with_the_turn() {
        let turn = TestTurn::new();
        turn.set_waiting(true);
        turn.set_waiting(true);
        assert!(turn.is_waiting());
        turn.complete();
        assert!(!turn.is_waiting());
        assert_eq!(turn.waits(), [true, false]);
    }
}
