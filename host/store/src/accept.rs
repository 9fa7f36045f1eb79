//! Accept: a row of the inbox, durable once and found again for ever after (TURN.md §2).
//!
//! Must never take the same sender and id with another body.

use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::inbox::Outcome;
use crate::rows::{RowKind, RowStatus, Word};
use crate::slot::Open;
use crate::turn::TurnStart;

/// A row to accept.
#[derive(Debug, Clone)]
pub struct NewRow {
    /// The authenticated principal: `local`, or `podium` for the host's own rows.
    pub sender: String,
    /// Unique within the sender.
    pub id: String,
    /// What it asks for.
    pub kind: RowKind,
    /// Its content as JSON text; the same content must be given as the same text.
    pub body: String,
    /// What must be the same for a repetition to be one: the body without what may differ, such as the way it came.
    pub hashed: String,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// When its turn starts at once: written in the same transaction, as attempt 1 of the row.
    pub start: Option<TurnStart>,
}

/// An accepted row.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Its place in the inbox.
    pub inbox_seq: u64,
    /// True when it had been accepted before; `start` was not written then.
    pub duplicate: bool,
    /// How it was answered, when it is a duplicate that was.
    pub outcome: Option<Outcome>,
}

/// Why a row was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The same sender used this id for another body, at this place of the inbox.
    #[error("the id was used for another message")]
    Conflict(u64),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The hash by which bodies are compared.
pub(crate) fn body_hash(hashed: &str) -> [u8; 32] {
    *blake3::hash(hashed.as_bytes()).as_bytes()
}

/// Inserts the row at `seq`; false when the sender has one of this id.
pub(crate) fn insert(connection: &Connection, seq: u64, row: &NewRow) -> Result<bool, StoreError> {
    let (status, attempts, turn) = match &row.start {
        Some(start) => (RowStatus::Running, 1, Some(start.turn)),
        None => (RowStatus::Waiting, 0, None),
    };
    let hash = body_hash(&row.hashed);
    let inserted = connection
        .prepare_cached(
            "INSERT INTO inbox(seq, sender, id, body_hash, kind, body, at, attempts, status, turn)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT(id, sender) DO NOTHING",
        )?
        .execute(params![seq, row.sender, row.id, hash, Word(row.kind), row.body, row.at, attempts, status, turn])?;
    if inserted == 1
        && let Some(start) = &row.start
    {
        start.insert(connection, Some(seq), Some(&row.id))?;
    }
    Ok(inserted == 1)
}

impl Open {
    pub(crate) fn accept(&mut self, row: &NewRow) -> Result<Result<Accepted, AcceptError>, StoreError> {
        let seq = self.head.last_inbox_seq + 1;
        self.check_new_turn(row.start.as_ref())?;
        let new = self.messages.transaction(|connection| insert(connection, seq, row))?;
        if new {
            self.head.last_inbox_seq = seq;
            if let Some(start) = &row.start {
                self.head.last_turn = start.turn;
            }
            return Ok(Ok(Accepted { inbox_seq: seq, duplicate: false, outcome: None }));
        }
        let (seq, hash): (u64, [u8; 32]) = self
            .messages
            .connection()
            .prepare_cached("SELECT seq, body_hash FROM inbox WHERE id = ?1 AND sender = ?2")?
            .query_row(params![row.id, row.sender], |found| Ok((found.get(0)?, found.get(1)?)))?;
        if hash != body_hash(&row.hashed) {
            return Ok(Err(AcceptError::Conflict(seq)));
        }
        Ok(Ok(Accepted { inbox_seq: seq, duplicate: true, outcome: self.outcome(seq)? }))
    }

    /// Turn numbers rise by the caller's hand; none may be used twice.
    fn check_new_turn(&self, start: Option<&TurnStart>) -> Result<(), StoreError> {
        match start {
            Some(start) if start.turn <= self.head.last_turn => {
                Err(StoreError::Refused("the turn's number has been used"))
            }
            _ => Ok(()),
        }
    }
}
