//! An inbox row as the owner holds it: what the store tells of it, and whether its turn has begun already.

use podium_kit::trace::Parent;
use podium_store::{InboxRow, NewRow, OpenTurn, RowKind, RowStatus, TurnStart};
use serde::Deserialize;

/// The place of what is not in the inbox; rows count from 1.
const NO_SEQ: u64 = 0;

/// A row that waits or runs.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its place in the inbox.
    pub seq: u64,
    /// The message's id.
    pub id: String,
    /// What it asks for.
    pub kind: RowKind,
    /// Its body as JSON.
    pub body: String,
    /// Attempts that count against it, the running one included.
    pub attempts: u32,
    /// Its turn, once one has begun.
    pub turn: Option<OpenTurn>,
    /// Failed too often; waits for a person.
    pub parked: bool,
    /// Where its turn's span belongs; a host that starts again does not know it any more.
    pub trace: Parent,
    /// Wanted at once: it goes before a turn that has begun.
    pub hurries: bool,
    /// The attempt that was written together with the row and has not been run yet.
    begun: Option<TurnStart>,
}

impl Row {
    /// A row that has just been accepted.
    pub fn accepted(seq: u64, new: NewRow) -> Self {
        let NewRow { id, kind, body, start, .. } = new;
        let attempts = u32::from(start.is_some());
        let hurries = hurries(kind, &body);
        let trace = Parent::default();
        Self { seq, id, kind, body, attempts, turn: None, parked: false, trace, hurries, begun: start }
    }

    /// The turn of a hook that the host calls of its own accord: no row of the inbox is behind it.
    pub fn hook(start: TurnStart, body: String) -> Self {
        let (id, kind) = (String::new(), start.kind);
        let (begun, trace) = (Some(start), Parent::default());
        Self { seq: NO_SEQ, id, kind, body, attempts: 1, turn: None, parked: false, trace, hurries: false, begun }
    }

    /// True for such a turn.
    pub fn is_hook(&self) -> bool {
        self.seq == NO_SEQ
    }

    /// Its place in the inbox, if it has one.
    pub fn inbox_seq(&self) -> Option<u64> {
        (!self.is_hook()).then_some(self.seq)
    }

    /// Takes the attempt that was written with the row.
    pub fn take_begun(&mut self) -> Option<TurnStart> {
        self.begun.take()
    }

    /// Lets a parked row run again, its count from the start. An attempt that was written and never ran lies behind it: other
    /// code or another cut may be in force since.
    pub fn unpark(&mut self) {
        self.parked = false;
        self.attempts = 0;
        if let Some(TurnStart { turn, turn_id, attempt, base_cut, seed, started, .. }) = self.begun.take() {
            self.turn = Some(OpenTurn { turn, turn_id, attempt, base_cut, seed, started });
        }
    }

    /// True when as many attempts have died as may; an attempt that has not run yet has not died.
    pub fn is_used_up(&self, attempts_max: u32) -> bool {
        self.begun.is_none() && self.attempts >= attempts_max
    }

    /// The turn's id and the attempt, once one has begun: what a line of the host's log names.
    pub fn names(&self) -> (Option<&str>, Option<u32>) {
        let turn = self.turn.as_ref();
        (turn.map(|turn| turn.turn_id.as_str()), turn.map(|turn| turn.attempt))
    }

    /// The attempt at its turn, 0 before the first.
    pub fn attempt(&self) -> u32 {
        self.turn.as_ref().map_or(0, |turn| turn.attempt)
    }
}

impl From<InboxRow> for Row {
    fn from(row: InboxRow) -> Self {
        let parked = row.status == RowStatus::Parked;
        let InboxRow { seq, id, kind, body, attempts, turn, .. } = row;
        let hurries = hurries(kind, &body);
        Self { seq, id, kind, body, attempts, turn, parked, trace: Parent::default(), hurries, begun: None }
    }
}

/// The part of a row's body that says how soon it is wanted.
#[derive(Deserialize)]
struct Hurry {
    #[serde(default)]
    now: bool,
}

/// True for an upgrade or a configuration that is wanted at once.
fn hurries(kind: RowKind, body: &str) -> bool {
    let may = matches!(kind, RowKind::Upgrade | RowKind::ConfigChange);
    may && serde_json::from_str::<Hurry>(body).is_ok_and(|hurry| hurry.now)
}
