//! The journal of a turn: what its guest called and what it was given, in one order, and the way back to where it was.
//!
//! Owns the records of a turn that runs, the comparison of one that is run again, and the first difference. Calls are hashed;
//! what was given is kept where it cannot be had again. Must never let a guest go another way than it went before, and
//! never record for a guest that did not begin at the cut.
//!
//! Three things happen in order: a call that leaves something behind (an update, a patch), a call that waits, numbered `n`, and an
//! event that the gate released. Between two records the plain calls are one [`Segment`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use podium_store::JournalRow;
use podium_wire::{ErrorCode, WireError};

use crate::error::CallError;

/// Bytes of a turn's journal at most. A turn that needs more goes on without: it is not dropped while it waits, and what dies
/// with the host begins where the journal ends.
pub const JOURNAL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Calls of a segment whose own hashes are kept, so that the first that differs can be named. The others differ together.
const CALLS_NAMED_MAX: usize = 1024;
/// What a record takes beside its answer and calls.
const ROW_BYTES: usize = 128;

/// How a turn's journal begins.
#[derive(Debug, Clone, Default)]
pub enum JournalStart {
    /// Nothing is recorded: what a warm guest remembers is in no journal.
    #[default]
    Off,
    /// A new turn in a fresh guest.
    New,
    /// A turn that is run again from its cut, in a fresh guest.
    Again(Again),
}

/// What a turn is run again by.
#[derive(Debug, Clone, Default)]
pub struct Again {
    /// Its records, in order.
    pub rows: Vec<JournalRow>,
    /// Updates up to this `n` were shown before and are not shown again.
    pub kept_n: u64,
    /// True when clients have to be told what is open once it is where it was: they have lost the attempt before.
    pub tells: bool,
}

/// Calls between two records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Segment {
    count: u32,
    /// Of all of them, in order.
    chain: u64,
    /// Of the first ones, each.
    first: Vec<u32>,
}

/// The hash of a call.
fn sum(kind: &str, content: &[u8]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(kind.as_bytes()).update(b"\n").update(content);
    let mut low = [0; 8];
    low.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(low)
}

/// The hash of what a call that waits asks for.
pub(crate) fn request_hash(request: &[u8]) -> [u8; 32] {
    *blake3::hash(request).as_bytes()
}

#[expect(clippy::cast_possible_truncation, reason = "the low half names a call")]
fn low(sum: u64) -> u32 {
    sum as u32
}

impl Segment {
    fn add(&mut self, sum: u64) {
        self.count = self.count.saturating_add(1);
        self.chain = self.chain.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(sum);
        if self.first.len() < CALLS_NAMED_MAX {
            self.first.push(low(sum));
        }
    }

    fn encode(&self) -> Vec<u8> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(12 + 4 * self.first.len());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.chain.to_le_bytes());
        bytes.extend(self.first.iter().flat_map(|sum| sum.to_le_bytes()));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (count, rest) = bytes.split_first_chunk::<4>()?;
        let (chain, rest) = rest.split_first_chunk::<8>()?;
        let (sums, left) = rest.as_chunks::<4>();
        let first: Vec<u32> = sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect();
        let count = u32::from_le_bytes(*count);
        let named = usize::try_from(count).ok()?.min(CALLS_NAMED_MAX);
        (left.is_empty() && count > 0 && first.len() == named).then(|| Self {
            count,
            chain: u64::from_le_bytes(*chain),
            first,
        })
    }
}

/// What an event was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Of {
    /// The answer of call `n`: the effect brings it again, or it failed as it cannot fail again by itself.
    Answer {
        /// The call.
        n: u64,
        /// The failure.
        failed: Option<WireError>,
    },
    /// The agent was given the steer of this id.
    Steer(String),
}

/// An event that the gate released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The guest's time with it, nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// How often the guest had yielded since the one before.
    pub yields: u32,
    /// True when it was released to a guest that never came to rest, at just that count.
    pub forced: bool,
    /// What it was.
    pub of: Of,
}

/// How an answer is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// Its effect brings it again: it is durable elsewhere, or follows from what is.
    Again,
    /// It failed; the failure is kept.
    Failed(WireError),
    /// A secret that may be written nowhere: the journal ends before it.
    Secret,
}

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Call {
        n: u64,
        kind: String,
        hash: [u8; 32],
        at_ns: u64,
        attempt: u32,
    },
    Event(Event),
    /// The end of what was written at once.
    Mark,
}

#[derive(Debug, Clone, PartialEq)]
struct Record {
    before: Segment,
    step: Step,
}

const CALL: &str = "call";
const GIVEN: &str = "given";
const ANSWER: &str = "answer";
const STEER: &str = "steer";
const MARK: &str = "mark";

/// A call that waits, as the journal has taken it.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) n: u64,
    /// True when it was made before.
    pub(crate) again: bool,
    /// When it was first made, nanoseconds since the Unix epoch.
    pub(crate) at_ns: u64,
    /// In which attempt.
    pub(crate) attempt: u32,
    /// Its answer, where that is durable.
    pub(crate) given: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    place: u64,
    n: u64,
    segment: Segment,
    undurable: Vec<JournalRow>,
    bytes: usize,
    /// A call that people see, or their answer, waits to be durable.
    is_urgent: bool,
    /// What is still to come again.
    again: VecDeque<Record>,
    given: HashMap<u64, Vec<u8>>,
    diverged: Option<WireError>,
}

/// The journal of one turn.
#[derive(Debug, Default)]
pub struct Journal {
    state: Mutex<State>,
    /// Calls and events are recorded.
    records: AtomicBool,
    /// Something of the journal is still to come again.
    is_behind: AtomicBool,
    /// The turn is run again and has not gone on yet.
    is_again: AtomicBool,
}

impl Journal {
    /// A journal that begins so.
    pub(crate) fn new(start: &mut JournalStart) -> Self {
        let journal = Self::default();
        match start {
            JournalStart::Off => {}
            JournalStart::New => journal.records.store(true, Ordering::Release),
            JournalStart::Again(again) => {
                journal.records.store(true, Ordering::Release);
                journal.is_again.store(true, Ordering::Release);
                journal.load(std::mem::take(&mut again.rows));
            }
        }
        journal
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(&self, rows: Vec<JournalRow>) {
        let mut state = self.lock();
        for row in rows {
            let place = row.place;
            state.place = place;
            state.bytes += bytes_of(&row);
            if let Err(what) = state.take(row) {
                state.again.clear();
                state.diverged = Some(diverged(&format!("record {place} of its journal is damaged: {what}")));
                break;
            }
        }
        self.is_behind.store(!state.again.is_empty() || state.diverged.is_some(), Ordering::Release);
    }

    /// True while calls and events are recorded: the turn can be run again to where it is.
    pub fn is_kept(&self) -> bool {
        self.records.load(Ordering::Acquire)
    }

    /// True while a turn that is run again has not gone on yet.
    pub fn is_again(&self) -> bool {
        self.is_again.load(Ordering::Acquire)
    }

    /// True while something of the journal is still to come.
    pub fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Acquire)
    }

    /// True when something has to be durable before the guest goes on.
    pub fn is_urgent(&self) -> bool {
        self.is_kept() && self.lock().is_urgent
    }

    /// The first difference, once there is one.
    pub fn diverged(&self) -> Option<WireError> {
        self.lock().diverged.clone()
    }

    /// The turn goes on from here. True the first time.
    pub(crate) fn goes_on(&self) -> bool {
        self.is_again.swap(false, Ordering::AcqRel)
    }

    /// Nothing more is recorded: what comes cannot be run again.
    fn end(&self, state: &mut State) {
        self.records.store(false, Ordering::Release);
        state.undurable.clear();
        state.is_urgent = false;
    }

    /// Takes a call that leaves something behind, or finds that it is another one than before.
    pub(crate) fn call(&self, kind: &str, content: &[u8]) -> Result<(), CallError> {
        if !self.is_kept() {
            return Ok(());
        }
        let sum = sum(kind, content);
        let mut state = self.lock();
        state.check()?;
        if let Some(difference) = state.differs(kind, Some(sum)) {
            return Err(state.ends_at(&difference));
        }
        state.segment.add(sum);
        if state.again.front().is_some_and(|next| next.before.count == state.segment.count) {
            if state.again.front().is_some_and(|next| next.before.chain != state.segment.chain) {
                let place = state.segment.count;
                let difference = format!("one of the {place} calls up to `{kind}` is another one than before");
                return Err(state.ends_at(&difference));
            }
            self.pass_marks(&mut state);
        }
        Ok(())
    }

    /// Passes the ends of what was written at once.
    fn pass_marks(&self, state: &mut State) {
        while let Some(Record { before, step: Step::Mark }) = state.again.front() {
            if before.count != state.segment.count {
                return;
            }
            state.again.pop_front();
            state.segment = Segment::default();
        }
        self.is_behind.store(!state.again.is_empty(), Ordering::Release);
    }

    /// Takes a call that waits, or finds that it is another one than before. An urgent one is durable before it leaves.
    pub(crate) fn wait(
        &self,
        kind: &'static str,
        hash: [u8; 32],
        (idempotent, urgent): (bool, bool),
        (now_ns, attempt): (u64, u32),
    ) -> Result<Made, CallError> {
        let mut state = self.lock();
        state.check()?;
        state.n += 1;
        let n = state.n;
        let new = Made { n, again: false, at_ns: now_ns, attempt, given: None };
        if !self.is_kept() {
            return Ok(new);
        }
        if state.again.is_empty() {
            let row = JournalRow {
                n: Some(n),
                request_hash: Some(hash),
                idempotent,
                at_ns: now_ns,
                yields: attempt.into(),
                ..state.next(CALL, kind)
            };
            self.add(&mut state, row);
            state.is_urgent |= urgent || !idempotent;
            return Ok(new);
        }
        if let Some(difference) = state.differs(kind, None) {
            return Err(state.ends_at(&difference));
        }
        let (at_ns, attempt) = match state.again.front() {
            Some(Record { step: Step::Call { n: was, kind: kind_was, hash: hash_was, at_ns, attempt }, .. }) => {
                if (*was, kind_was.as_str(), *hash_was) != (n, kind, hash) {
                    let difference =
                        format!("call {n}, `{kind}`, asks for something else than `{kind_was}` did before");
                    return Err(state.ends_at(&difference));
                }
                (*at_ns, *attempt)
            }
            _ => return Err(state.ends_at(&format!("call {n}, `{kind}`, was not made before"))),
        };
        state.again.pop_front();
        state.segment = Segment::default();
        self.pass_marks(&mut state);
        let given = state.given.get(&n).cloned();
        Ok(Made { n, again: true, at_ns, attempt, given })
    }

    /// An answer that is to be durable before anybody is told of it, and before the guest has it.
    pub(crate) fn give(&self, n: u64, kind: &'static str, answer: Vec<u8>) {
        let mut state = self.lock();
        // What was given is no step of the guest: it divides no calls.
        let segment = std::mem::take(&mut state.segment);
        let row = JournalRow { n: Some(n), answer: Some(answer), idempotent: true, ..state.next(GIVEN, kind) };
        state.segment = segment;
        self.add(&mut state, row);
        state.is_urgent = true;
    }

    /// The gate releases an event. A secret ends the journal.
    pub fn event(&self, at_ns: u64, yields: u32, forced: bool, of: (Of, Recorded)) {
        if !self.is_kept() {
            return;
        }
        let mut state = self.lock();
        let (of, recorded) = of;
        let failed = match recorded {
            Recorded::Secret => return self.end(&mut state),
            Recorded::Again => None,
            Recorded::Failed(error) => serde_json::to_vec(&error).ok(),
        };
        let count = i64::from(yields);
        let row = JournalRow { at_ns, yields: if forced { -count } else { count }, ..state.next("", "") };
        let row = match of {
            Of::Answer { n, .. } => JournalRow { what: ANSWER.to_owned(), n: Some(n), answer: failed, ..row },
            Of::Steer(id) => JournalRow { what: STEER.to_owned(), answer: Some(id.into_bytes()), ..row },
        };
        self.add(&mut state, row);
    }

    fn add(&self, state: &mut State, row: JournalRow) {
        state.bytes += bytes_of(&row);
        if state.bytes > JOURNAL_BYTES_MAX {
            return self.end(state);
        }
        state.undurable.push(row);
    }

    /// The next event that has to come again, once every call before it was made.
    pub fn next_event(&self) -> Option<Event> {
        let state = self.lock();
        match state.again.front() {
            Some(Record { before, step: Step::Event(event) }) if before.count == state.segment.count => {
                Some(event.clone())
            }
            _ => None,
        }
    }

    /// That event is released.
    pub fn event_passed(&self) {
        let mut state = self.lock();
        state.again.pop_front();
        state.segment = Segment::default();
        self.pass_marks(&mut state);
    }

    /// The guest went another way than before; it must not go on.
    pub fn differ(&self, difference: &str) -> WireError {
        let mut state = self.lock();
        drop(state.ends_at(difference));
        state.diverged.clone().unwrap_or_else(|| diverged(""))
    }

    /// The guest does not go on, and something is still to come.
    pub fn stops_short(&self) -> WireError {
        let missing = {
            let state = self.lock();
            let made = state.segment.count;
            match state.again.front() {
                Some(next) if next.before.count > made => {
                    format!("{made} of {} calls were made that were made before", next.before.count)
                }
                Some(Record { step: Step::Call { n, kind, .. }, .. }) => {
                    format!("call {n}, `{kind}`, was not made again")
                }
                Some(Record { step: Step::Event(event), .. }) => format!("it did not come to rest for {:?}", event.of),
                Some(Record { step: Step::Mark, .. }) | None => "it ended before it was where it had been".to_owned(),
            }
        };
        self.differ(&missing)
    }

    /// Takes the records that are not durable yet; nothing while there never was one, and nothing that there is room for no more.
    pub(crate) fn take(&self) -> Option<Vec<JournalRow>> {
        if !self.is_kept() || self.is_behind() {
            return None;
        }
        let mut state = self.lock();
        if state.segment.count > 0 {
            let mark = state.next(MARK, "");
            self.add(&mut state, mark);
        }
        state.is_urgent = false;
        (self.is_kept() && state.place > 0).then(|| std::mem::take(&mut state.undurable))
    }

    /// They could not be written.
    pub(crate) fn put_back(&self, mut rows: Vec<JournalRow>) {
        let mut state = self.lock();
        state.is_urgent = !rows.is_empty();
        rows.append(&mut state.undurable);
        state.undurable = rows;
    }
}

impl State {
    fn check(&self) -> Result<(), CallError> {
        if self.diverged.is_some() { Err(CallError::Diverged) } else { Ok(()) }
    }

    /// The next record, which closes the segment.
    fn next(&mut self, what: &str, kind: &str) -> JournalRow {
        self.place += 1;
        JournalRow {
            place: self.place,
            what: what.to_owned(),
            kind: kind.to_owned(),
            n: None,
            request_hash: None,
            idempotent: true,
            answer: None,
            at_ns: 0,
            yields: 0,
            calls: std::mem::take(&mut self.segment).encode(),
        }
    }

    /// Reads a record.
    fn take(&mut self, row: JournalRow) -> Result<(), &'static str> {
        let before = Segment::decode(&row.calls).ok_or("its calls")?;
        let step = match row.what.as_str() {
            GIVEN => {
                let (Some(n), Some(answer)) = (row.n, row.answer) else { return Err("its answer") };
                self.given.insert(n, answer);
                return Ok(());
            }
            CALL => {
                let (Some(n), Some(hash)) = (row.n, row.request_hash) else { return Err("its request") };
                let attempt = u32::try_from(row.yields).map_err(|_| "its attempt")?;
                Step::Call { n, kind: row.kind, hash, at_ns: row.at_ns, attempt }
            }
            MARK => Step::Mark,
            ANSWER | STEER => {
                let yields = u32::try_from(row.yields.unsigned_abs()).map_err(|_| "its yields")?;
                let of = if row.what == STEER {
                    let id = String::from_utf8(row.answer.ok_or("its steer")?).map_err(|_| "its steer")?;
                    Of::Steer(id)
                } else {
                    let failed = row.answer.map(|error| serde_json::from_slice(&error)).transpose();
                    Of::Answer { n: row.n.ok_or("its call")?, failed: failed.map_err(|_| "its failure")? }
                };
                Step::Event(Event { at_ns: row.at_ns, yields, forced: row.yields < 0, of })
            }
            _ => return Err("its kind"),
        };
        self.again.push_back(Record { before, step });
        Ok(())
    }

    /// How the next call differs from the one that was made in its place; nothing while it may be the same.
    fn differs(&self, kind: &str, sum: Option<u64>) -> Option<String> {
        let next = self.again.front()?;
        let place = self.segment.count;
        match (sum, place < next.before.count) {
            (Some(sum), true) => {
                let was = usize::try_from(place).ok().and_then(|place| next.before.first.get(place))?;
                (*was != low(sum)).then(|| format!("call `{kind}` is another one than was made in its place before"))
            }
            (None, false) => None,
            (Some(_), false) => Some(match &next.step {
                Step::Call { n, kind: was, .. } => format!("call `{kind}` is made where call {n} was `{was}` before"),
                Step::Event(_) | Step::Mark => format!("call `{kind}` was not made before"),
            }),
            (None, true) => Some(format!("call `{kind}` is made where another one was made before")),
        }
    }

    fn ends_at(&mut self, difference: &str) -> CallError {
        self.diverged.get_or_insert_with(|| diverged(difference));
        CallError::Diverged
    }
}

fn bytes_of(row: &JournalRow) -> usize {
    ROW_BYTES + row.calls.len() + row.answer.as_ref().map_or(0, Vec::len)
}

fn diverged(difference: &str) -> WireError {
    WireError::new(ErrorCode::ReplayDiverged, format!("the agent went another way than before: {difference}"))
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
