//! Steers: rows of the inbox that are bound to a turn and consumed by its cut (TURN.md §6).
//!
//! They have no turn of their own, so they never stand in the queue. Must never be left behind by the cut of their turn, or
//! be consumed by another one.

use rusqlite::{Connection, OptionalExtension, params};

use podium_wire::updates::EventType;

use crate::accept::{AcceptError, Accepted, body_hash};
use crate::error::StoreError;
use crate::rows::RowStatus;
use crate::slot::Open;

/// The word in `inbox.kind`. Readers of rows that have a turn of their own leave these out by it.
pub(crate) const KIND: &str = "steer";

/// A steer to accept.
#[derive(Debug, Clone)]
pub struct NewSteer {
    /// The authenticated principal.
    pub sender: String,
    /// Unique within the sender, messages included.
    pub id: String,
    /// Its content as JSON text.
    pub body: String,
    /// What must be the same for a repetition to be one.
    pub hashed: String,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The turn that it goes into; without one it is only looked for.
    pub turn: Option<u64>,
}

/// A steer that no cut has consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SteerRow {
    /// Its id.
    pub id: String,
    /// Its content as JSON text.
    pub body: String,
    /// Its delivery is a durable update of its turn already.
    pub is_told: bool,
}

/// A message of the same words is no repetition of a steer.
fn hash(steer: &NewSteer) -> [u8; 32] {
    body_hash(&format!("{KIND}\n{}", steer.hashed))
}

impl Open {
    /// None when it has to be new and there is no turn for it.
    pub(crate) fn accept_steer(
        &mut self,
        steer: &NewSteer,
    ) -> Result<Result<Option<Accepted>, AcceptError>, StoreError> {
        let connection = self.messages.connection();
        let known: Option<(u64, [u8; 32])> = connection
            .prepare_cached("SELECT seq, body_hash FROM inbox WHERE id = ?1 AND sender = ?2")?
            .query_row(params![steer.id, steer.sender], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let hash = hash(steer);
        match (known, steer.turn) {
            (Some((inbox_seq, before)), _) if before == hash => {
                Ok(Ok(Some(Accepted { inbox_seq, duplicate: true, outcome: None })))
            }
            (Some((seq, _)), _) => Ok(Err(AcceptError::Conflict(seq))),
            (None, None) => Ok(Ok(None)),
            (None, Some(turn)) => {
                let seq = self.head.last_inbox_seq + 1;
                self.messages.transaction(|connection| insert(connection, seq, steer, turn, hash))?;
                self.head.last_inbox_seq = seq;
                self.steers_wait = true;
                Ok(Ok(Some(Accepted { inbox_seq: seq, duplicate: false, outcome: None })))
            }
        }
    }

    pub(crate) fn steers(&mut self, turn: u64) -> Result<Vec<SteerRow>, StoreError> {
        let mut select = self.messages.connection().prepare_cached(
            // The updates of a turn without a cut are behind those of the last cut that has any.
            "SELECT id, body, EXISTS (
                 SELECT 1 FROM updates WHERE updates.turn = ?2 AND event_type = ?3 AND json_extract(updates.body, '$.id') = inbox.id
                 AND updates.seq > COALESCE((SELECT last_seq FROM cuts WHERE last_seq IS NOT NULL ORDER BY cut DESC LIMIT 1), 0)
             ) FROM inbox WHERE status <> 'done' AND status IN ('waiting', 'running') AND kind = ?1
             AND turn = ?2 ORDER BY seq",
        )?;
        let delivered = EventType::SteerDelivered.name();
        let rows = select.query_map(params![KIND, turn, delivered], |row| {
            Ok(SteerRow { id: row.get(0)?, body: row.get(1)?, is_told: row.get(2)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

fn insert(connection: &Connection, seq: u64, steer: &NewSteer, turn: u64, hash: [u8; 32]) -> Result<(), StoreError> {
    let NewSteer { sender, id, body, at, .. } = steer;
    connection
        .prepare_cached(
            "INSERT INTO inbox(seq, sender, id, body_hash, kind, body, at, attempts, status, turn)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9)",
        )?
        .execute(params![seq, sender, id, hash, KIND, body, at, RowStatus::Waiting, turn])?;
    Ok(())
}

/// Consumes a turn's steers, as part of its cut. Answers whether there are others: a turn that was set aside keeps its own.
pub(crate) fn consume(connection: &Connection, turn: u64, cut: u64) -> Result<bool, StoreError> {
    connection
        .prepare_cached(
            "UPDATE inbox SET status = 'done', cut = ?3
             WHERE status <> 'done' AND status IN ('waiting', 'running') AND kind = ?1 AND turn = ?2",
        )?
        .execute(params![KIND, turn, cut])?;
    let mut others = connection.prepare_cached(
        "SELECT EXISTS(SELECT 1 FROM inbox WHERE status <> 'done' AND status IN ('waiting', 'running') AND kind = ?1)",
    )?;
    Ok(others.query_row([KIND], |row| row.get(0))?)
}
