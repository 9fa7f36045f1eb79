//! The start of an attempt, the count of attempts, parking.
//!
//! The count is written before the guest runs, so that an attempt that takes the host down is counted. Must never
//! touch a row that a cut has consumed.

use podium_sqlite::Synchronous;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::journal;
use crate::rows::{Began, RowKind, RowStatus, Word};
use crate::slot::Open;

/// The start of one attempt at a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnStart {
    /// The turn's number, higher than any before; the same for each attempt at it.
    pub turn: u64,
    /// Its UUIDv7.
    pub turn_id: String,
    /// The hook that is called.
    pub kind: RowKind,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// The cut that it starts from.
    pub base_cut: u64,
    /// In what guest it begins.
    pub began: Began,
    /// Seed of the guest's randomness.
    pub seed: [u8; 32],
    /// When, in milliseconds since the Unix epoch.
    pub started: u64,
}

impl TurnStart {
    /// Writes the row of the turn, or its next attempt. A hook that the host calls of its own accord has no row in the inbox.
    pub(crate) fn insert(
        &self,
        connection: &Connection,
        inbox_seq: Option<u64>,
        id: Option<&str>,
    ) -> Result<(), StoreError> {
        connection
            .prepare_cached(
                "INSERT INTO turns(turn, turn_id, inbox_seq, message_id, kind, attempt, base_cut, began, seed, status,
                     started)
                 VALUES (?1, ?2, ?3, coalesce(?4, (SELECT id FROM inbox WHERE seq = ?3)), ?5, ?6, ?7, ?8, ?9, 'running',
                     ?10)
                 ON CONFLICT(turn) DO UPDATE SET attempt = ?6, base_cut = ?7, began = ?8, seed = ?9, started = ?10",
            )?
            .execute(params![
                self.turn,
                self.turn_id,
                inbox_seq,
                id,
                Word(self.kind),
                self.attempt,
                self.base_cut,
                self.began,
                self.seed,
                self.started
            ])?;
        Ok(())
    }
}

impl Open {
    /// `goes_on`: the attempt is brought to where the one before was, by its journal; else that one's journal is forgotten.
    pub(crate) fn begin(
        &mut self,
        inbox_seq: u64,
        start: &TurnStart,
        counted: u32,
        goes_on: bool,
    ) -> Result<(), StoreError> {
        let cut_seq = self.head.cut_seq;
        self.messages.transaction_at(Synchronous::Normal, |connection| {
            start.insert(connection, Some(inbox_seq), None)?;
            if goes_on {
                journal::take_over(connection, cut_seq, start.turn, start.attempt)?;
            } else if start.attempt > 1 {
                journal::forget(connection, start.turn)?;
            }
            changed_one(
                connection
                    .prepare_cached(
                        "UPDATE inbox SET status = 'running', attempts = ?2, turn = ?3
                         WHERE seq = ?1 AND status <> 'done' AND (turn IS NULL OR turn = ?3)",
                    )?
                    .execute(params![inbox_seq, counted, start.turn])?,
            )
        })?;
        self.head.last_turn = self.head.last_turn.max(start.turn);
        Ok(())
    }

    pub(crate) fn begin_hook(&mut self, start: &TurnStart) -> Result<(), StoreError> {
        self.messages.transaction_at(Synchronous::Normal, |connection| start.insert(connection, None, None))?;
        self.head.last_turn = self.head.last_turn.max(start.turn);
        Ok(())
    }

    /// Closes the turn of a hook that ended without a cut, if it is open: nothing runs it again.
    pub(crate) fn close_hook(&mut self, turn: u64) -> Result<(), StoreError> {
        let mut select = self.messages.connection().prepare_cached(
            "SELECT EXISTS(SELECT 1 FROM turns WHERE turn = ?1 AND inbox_seq IS NULL AND status = 'running')",
        )?;
        if select.query_row([turn], |row| row.get(0))? {
            drop(select);
            self.messages.transaction_at(Synchronous::Normal, |connection| {
                connection.prepare_cached("UPDATE turns SET status = 'dropped' WHERE turn = ?1")?.execute([turn])?;
                Ok::<_, StoreError>(())
            })?;
        }
        Ok(())
    }

    pub(crate) fn set_attempts(&mut self, inbox_seq: u64, counted: u32) -> Result<(), StoreError> {
        self.messages.transaction_at(Synchronous::Normal, |connection| {
            changed_one(
                connection
                    .prepare_cached("UPDATE inbox SET attempts = ?2 WHERE seq = ?1 AND status <> 'done'")?
                    .execute(params![inbox_seq, counted])?,
            )
        })
    }

    pub(crate) fn park(&mut self, inbox_seq: u64) -> Result<(), StoreError> {
        self.messages.transaction(|connection| {
            changed_one(
                connection
                    .prepare_cached("UPDATE inbox SET status = ?2 WHERE seq = ?1 AND status <> 'done'")?
                    .execute(params![inbox_seq, RowStatus::Parked])?,
            )
        })
    }

    pub(crate) fn unpark(&mut self, inbox_seq: u64) -> Result<(), StoreError> {
        self.messages.transaction(|connection| {
            // A journal that leads elsewhere than the agent would do so again.
            let diverged: Option<u64> = connection
                .prepare_cached(
                    "SELECT t.turn FROM inbox i JOIN turns t ON t.turn = i.turn WHERE i.seq = ?1 AND t.status = 'diverged'",
                )?
                .query_row([inbox_seq], |row| row.get(0))
                .optional()?;
            if let Some(turn) = diverged {
                journal::forget(connection, turn)?;
                connection.prepare_cached("UPDATE turns SET status = 'running' WHERE turn = ?1")?.execute([turn])?;
            }
            changed_one(
                connection
                    .prepare_cached("UPDATE inbox SET status = ?2, attempts = 0 WHERE seq = ?1 AND status <> 'done'")?
                    .execute(params![inbox_seq, RowStatus::Waiting])?,
            )
        })
    }

    pub(crate) fn set_stopped(&mut self, stopped: bool) -> Result<(), StoreError> {
        self.messages.transaction(|connection| write_stopped(connection, stopped))
    }
}

/// Writes the word of `meta` that says whether the instance is stopped.
pub(crate) fn write_stopped(connection: &Connection, stopped: bool) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta(k, v) VALUES ('stopped', ?1)")?
        .execute([u64::from(stopped)])?;
    Ok(())
}

/// Refuses when the row is not there in the state that the change needs.
pub(crate) fn changed_one(changed: usize) -> Result<(), StoreError> {
    if changed == 1 { Ok(()) } else { Err(StoreError::Refused("the inbox row is not in the state that this needs")) }
}
