//! The journal of a turn that has no cut yet: what it called and what it was given, so that it can be run again to where it
//! was (TURN.md §5).
//!
//! Rows are appended in their order and never changed; the turn's cut removes them. With them the turn's durable updates get
//! their `seq`. What a row means is the business of who writes it. Must never hold a row of a turn that has ended.

use podium_wire::updates::EventType;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::cut::NewUpdate;
use crate::error::StoreError;
use crate::slot::Open;

/// Answers of more bytes lie beside the journal, by the hash of their content: a row of the journal stays small, and what two
/// effects bring alike is kept once.
pub const ANSWER_INLINE_MAX: usize = 4096;

/// One record of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalRow {
    /// Its place in the turn, from 1 without a gap.
    pub place: u64,
    /// What it records.
    pub what: String,
    /// The kind of the effect that it is about; empty where it is about none.
    pub kind: String,
    /// The effect's number, if it is about one.
    pub n: Option<u64>,
    /// The hash of what was asked for.
    pub request_hash: Option<[u8; 32]>,
    /// True when the effect may be repeated.
    pub idempotent: bool,
    /// What came back.
    pub answer: Option<Vec<u8>>,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Of an event the guest's yields before it, negative where it did not come to rest; of a call the attempt that made it.
    pub yields: i64,
    /// The calls since the record before.
    pub calls: Vec<u8>,
}

/// Records that are to be appended, with the updates that become durable with them.
#[derive(Debug, Clone)]
pub struct JournalBatch {
    /// The turn.
    pub turn: u64,
    /// The attempt.
    pub attempt: u32,
    /// Its next records.
    pub rows: Vec<JournalRow>,
    /// Its next durable updates, each with its place in the attempt.
    pub updates: Vec<NewUpdate>,
}

/// Where the next records come from. They are taken when it is the journal's turn to be written, so that two who write at
/// once write in order.
pub trait JournalSource: Send + 'static {
    /// Takes what is not durable yet, if anything.
    fn take(&mut self) -> Option<JournalBatch>;
    /// It could not be written: it is the next again.
    fn put_back(&mut self, batch: JournalBatch);
}

/// What a write of the journal made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Journaled {
    /// The last update's `seq`.
    pub last_seq: u64,
    /// The last durable update's place in the attempt, if one became durable now.
    pub through_n: Option<u64>,
}

/// A turn's journal as it was left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JournalKept {
    /// Its records, in order.
    pub rows: Vec<JournalRow>,
    /// The place of the turn's last durable update, 0 without one.
    pub kept_n: u64,
}

impl Open {
    pub(crate) fn write_journal(&mut self, source: &mut dyn JournalSource) -> Result<Option<Journaled>, StoreError> {
        let Some(batch) = source.take() else { return Ok(None) };
        let written = self.append(&batch);
        if written.is_err() {
            source.put_back(batch);
        }
        written.map(Some)
    }

    fn append(&mut self, batch: &JournalBatch) -> Result<Journaled, StoreError> {
        let first = self.head.last_seq + 1;
        self.messages.transaction(|connection| {
            check_running(connection, batch.turn)?;
            for row in &batch.rows {
                insert(connection, batch.turn, row)?;
            }
            let mut insert = connection.prepare_cached(
                "INSERT INTO updates(seq, turn, attempt, n, event_type, body, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?;
            for (seq, update) in (first..).zip(&batch.updates) {
                let NewUpdate { n, event_type, content, at } = update;
                let body = content.get();
                insert.execute(params![seq, batch.turn, batch.attempt, n, EventType::name(*event_type), body, at])?;
            }
            Ok::<_, StoreError>(())
        })?;
        self.head.last_seq += batch.updates.len() as u64;
        self.journal_waits = true;
        let through_n = batch.updates.last().and_then(|update| update.n);
        Ok(Journaled { last_seq: self.head.last_seq, through_n })
    }

    pub(crate) fn journal(&self, turn: u64) -> Result<JournalKept, StoreError> {
        let mut select = self.messages.connection().prepare_cached(
            "SELECT e.place, e.what, e.kind, e.n, e.request_hash, e.idempotent, coalesce(e.answer, o.body), e.at, e.yields,
                 e.calls
             FROM effects e LEFT JOIN objects o ON o.hash = e.object WHERE e.turn = ?1 ORDER BY e.place",
        )?;
        let rows = select.query_map([turn], read)?.collect::<Result<Vec<_>, _>>()?;
        for (row, place) in rows.iter().zip(1..) {
            if row.place != place {
                return Err(self.damaged(format!("the journal of turn {turn} lacks its record {place}")));
            }
        }
        let mut select = self
            .messages
            .connection()
            .prepare_cached("SELECT coalesce(max(n), 0) FROM updates WHERE seq > ?1 AND turn = ?2")?;
        let kept_n = select.query_row([self.head.cut_seq, turn], |row| row.get(0))?;
        Ok(JournalKept { rows, kept_n })
    }

    /// Notes that a turn's journal leads elsewhere than its agent: who runs it again begins at the cut.
    pub(crate) fn set_diverged(&mut self, turn: u64) -> Result<(), StoreError> {
        self.messages.transaction(|connection| {
            let set = "UPDATE turns SET status = 'diverged' WHERE turn = ?1 AND status = 'running'";
            connection.prepare_cached(set)?.execute([turn])?;
            Ok(())
        })
    }
}

/// The records of a turn that is over, or of none, must not be written.
fn check_running(connection: &Connection, turn: u64) -> Result<(), StoreError> {
    let mut select = connection.prepare_cached("SELECT status = 'running' FROM turns WHERE turn = ?1")?;
    if select.query_row([turn], |row| row.get(0)).optional()?.unwrap_or(false) {
        return Ok(());
    }
    Err(StoreError::Refused("the turn of the journal does not run"))
}

fn insert(connection: &Connection, turn: u64, row: &JournalRow) -> Result<(), StoreError> {
    let large = row.answer.as_deref().filter(|answer| answer.len() > ANSWER_INLINE_MAX);
    let object = large.map(|answer| *blake3::hash(answer).as_bytes());
    if let (Some(hash), Some(body)) = (object, large) {
        connection
            .prepare_cached("INSERT INTO objects(hash, body) VALUES (?1, ?2) ON CONFLICT(hash) DO NOTHING")?
            .execute(params![hash, body])?;
    }
    let answer = row.answer.as_ref().filter(|_| object.is_none());
    connection
        .prepare_cached(
            "INSERT INTO effects(turn, place, what, kind, n, request_hash, idempotent, answer, object, at, yields, calls)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            turn,
            row.place,
            row.what,
            row.kind,
            row.n,
            row.request_hash,
            row.idempotent,
            answer,
            object,
            row.at_ns,
            row.yields,
            row.calls
        ])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    Ok(JournalRow {
        place: row.get(0)?,
        what: row.get(1)?,
        kind: row.get(2)?,
        n: row.get(3)?,
        request_hash: row.get(4)?,
        idempotent: row.get(5)?,
        answer: row.get(6)?,
        at_ns: row.get(7)?,
        yields: row.get(8)?,
        calls: row.get(9)?,
    })
}

/// Removes a turn's journal, as part of its cut or of an attempt that begins at the cut. Answers whether there are others: a
/// turn that was set aside keeps its own.
pub(crate) fn forget(connection: &Connection, turn: u64) -> Result<bool, StoreError> {
    connection.prepare_cached("DELETE FROM effects WHERE turn = ?1")?.execute([turn])?;
    let needless = "DELETE FROM objects WHERE hash NOT IN (SELECT object FROM effects WHERE object IS NOT NULL)";
    connection.prepare_cached(needless)?.execute([])?;
    Ok(connection.prepare_cached("SELECT EXISTS(SELECT 1 FROM effects)")?.query_row([], |row| row.get(0))?)
}

/// Gives the durable updates of an attempt that goes on to the attempt that it goes on in.
pub(crate) fn take_over(connection: &Connection, cut_seq: u64, turn: u64, attempt: u32) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE updates SET attempt = ?3 WHERE seq > ?1 AND turn = ?2")?
        .execute(params![cut_seq, turn, attempt])?;
    Ok(())
}
