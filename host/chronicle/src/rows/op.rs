//! Rows of `op`: restores, begun and ended, so that one that was cut short is known.

use rusqlite::{Connection, params};

use crate::error::ChronicleError;
use crate::hash::ContentHash;

/// A restore that did not end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Started {
    pub(crate) kind: String,
    pub(crate) from_root: ContentHash,
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

/// Ends one that is done.
pub(crate) fn end(connection: &Connection, id: u64, at: u64) -> Result<(), ChronicleError> {
    connection.prepare_cached("UPDATE op SET state = 'done', ended = ?2 WHERE id = ?1")?.execute(params![id, at])?;
    Ok(())
}

/// Ends all that were cut short: going back did them over, or undid them.
pub(crate) fn end_started(connection: &Connection, at: u64) -> Result<(), ChronicleError> {
    connection.prepare_cached("UPDATE op SET state = 'redone', ended = ?1 WHERE state = 'started'")?.execute([at])?;
    Ok(())
}

/// Those that did not end, oldest first.
pub(crate) fn started(connection: &Connection) -> Result<Vec<Started>, ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT kind, from_root, to_root FROM op WHERE state = 'started' ORDER BY id")?;
    let read =
        select.query_map([], |row| Ok(Started { kind: row.get(0)?, from_root: row.get(1)?, to_root: row.get(2)? }))?;
    Ok(read.collect::<Result<_, _>>()?)
}

/// Removes all but the newest `keep` that ended.
pub(crate) fn prune(connection: &Connection, keep: u64) -> Result<(), ChronicleError> {
    connection
        .prepare_cached("DELETE FROM op WHERE state <> 'started' AND id <= (SELECT max(id) FROM op) - ?1")?
        .execute([keep])?;
    Ok(())
}
