//! Rows of `op`: restores, begun and ended, so that one that was cut short is known.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::ChronicleError;
use crate::hash::ContentHash;

/// A restore that did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) id: u64,
    pub(crate) to_root: ContentHash,
}

pub(crate) fn start(
    connection: &Connection,
    kind: &str,
    from_root: ContentHash,
    to_root: ContentHash,
    at: u64,
) -> Result<u64, ChronicleError> {
    connection
        .prepare_cached("INSERT INTO op(kind, from_root, to_root, state, at) VALUES (?1, ?2, ?3, 'started', ?4)")?
        .execute(params![kind, from_root, to_root, at])?;
    Ok(u64::try_from(connection.last_insert_rowid()).unwrap_or(0))
}

/// Ends one: `done`, or `redone` by a recovery.
pub(crate) fn end(connection: &Connection, id: u64, state: &str, at: u64) -> Result<(), ChronicleError> {
    connection.prepare_cached("UPDATE op SET state = ?2, ended = ?3 WHERE id = ?1")?.execute(params![id, state, at])?;
    Ok(())
}

/// The last one that did not end.
pub(crate) fn started(connection: &Connection) -> Result<Option<Started>, ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT id, to_root FROM op WHERE state = 'started' ORDER BY id DESC LIMIT 1")?;
    Ok(select.query_row([], |row| Ok(Started { id: row.get(0)?, to_root: row.get(1)? })).optional()?)
}

/// Removes all but the newest `keep` that ended.
pub(crate) fn prune(connection: &Connection, keep: u64) -> Result<(), ChronicleError> {
    connection
        .prepare_cached("DELETE FROM op WHERE state <> 'started' AND id <= (SELECT max(id) FROM op) - ?1")?
        .execute([keep])?;
    Ok(())
}
