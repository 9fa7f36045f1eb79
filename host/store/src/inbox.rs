//! What is known of accepted rows: by id, by place, how they were answered, and for how long.

use podium_wire::WireError;
use podium_wire::updates::{EventType, StreamEnd};
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::rows::{RowKind, RowStatus, Word};
use crate::slot::Open;
use crate::steer;

/// How long an id is remembered at least: a client that retries for a week is answered the same.
pub const INBOX_IDS_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// How many of the last ids are remembered at least, however old.
pub const INBOX_IDS_MIN: u64 = 10_000;

/// Cuts between two removals.
const PRUNE_EVERY: u64 = 64;

/// Rows that one removal looks at: twice as many as cuts consume meanwhile, little for one commit.
const PRUNE_ROWS: u64 = 2 * PRUNE_EVERY;

/// How a row was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The cut that consumed it.
    pub cut: u64,
    /// The turn's text, when it ended well.
    pub text: Option<String>,
    /// The error, when it did not.
    pub error: Option<WireError>,
}

/// A row with a message's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its place in the inbox.
    pub inbox_seq: u64,
    /// Whose it is.
    pub sender: String,
    /// How far it is.
    pub status: RowStatus,
    /// Attempts that count.
    pub attempts: u32,
    /// What it asks for.
    pub kind: RowKind,
    /// Its body.
    pub body: String,
}

impl Open {
    pub(crate) fn outcome(&mut self, inbox_seq: u64) -> Result<Option<Outcome>, StoreError> {
        let connection = self.messages.connection();
        let consumed = connection
            .prepare_cached(
                "SELECT c.cut, c.first_seq, c.last_seq, t.error FROM inbox i JOIN cuts c ON c.cut = i.cut
                 LEFT JOIN turns t ON t.turn = c.turn WHERE i.seq = ?1",
            )?
            .query_row([inbox_seq], |row| {
                Ok((row.get(0)?, row.get::<_, Option<u64>>(1)?, row.get::<_, Option<u64>>(2)?, row.get(3)?))
            })
            .optional()?;
        let Some((cut, first, last, error)) = consumed else { return Ok(None) };
        let error: Option<String> = error;
        if let Some(error) = error {
            return Ok(Some(Outcome { cut, text: None, error: Some(serde_json::from_str(&error)?) }));
        }
        // The closing update is the last of its cut, or nearly.
        let closing: Option<(String, String)> = connection
            .prepare_cached(
                "SELECT event_type, body FROM updates
                 WHERE seq BETWEEN ?1 AND ?2 AND event_type IN (?3, ?4) ORDER BY seq DESC LIMIT 1",
            )?
            .query_row(params![first, last, EventType::StreamEnd.name(), EventType::Error.name()], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let mut outcome = Outcome { cut, text: None, error: None };
        match closing {
            Some((kind, body)) if kind == EventType::Error.name() => outcome.error = Some(serde_json::from_str(&body)?),
            Some((_, body)) => outcome.text = Some(serde_json::from_str::<StreamEnd>(&body)?.text),
            None => {}
        }
        Ok(Some(outcome))
    }

    pub(crate) fn find(&mut self, id: &str) -> Result<Vec<Found>, StoreError> {
        let mut select = self.messages.connection().prepare_cached(
            "SELECT seq, sender, status, attempts, kind, body FROM inbox WHERE id = ?1 AND kind <> ?2 ORDER BY seq",
        )?;
        let rows = select.query_map([id, steer::KIND], |row| {
            Ok(Found {
                inbox_seq: row.get(0)?,
                sender: row.get(1)?,
                status: row.get(2)?,
                attempts: row.get(3)?,
                kind: row.get::<_, Word<RowKind>>(4)?.0,
                body: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// True when a row waits or runs.
    pub(crate) fn work_left(&self) -> Result<bool, StoreError> {
        let mut select = self.messages.connection().prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM inbox WHERE status <> 'done' AND status IN ('waiting', 'running'))",
        )?;
        Ok(select.query_row([], |row| row.get(0))?)
    }
}

/// Forgets the oldest rows that need not be remembered, as part of some cuts.
pub(crate) fn prune(connection: &Connection, cut: u64, last_inbox_seq: u64, now: u64) -> Result<(), StoreError> {
    if last_inbox_seq <= INBOX_IDS_MIN || !cut.is_multiple_of(PRUNE_EVERY) {
        return Ok(());
    }
    connection
        .prepare_cached(
            "DELETE FROM inbox WHERE seq IN (
                 SELECT seq FROM (SELECT seq, at, status FROM inbox WHERE seq <= ?1 ORDER BY seq LIMIT ?3)
                 WHERE at < ?2 AND status = 'done')",
        )?
        .execute(params![last_inbox_seq - INBOX_IDS_MIN, now.saturating_sub(INBOX_IDS_MS), PRUNE_ROWS])?;
    Ok(())
}
