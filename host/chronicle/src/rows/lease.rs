//! Rows of `lease`: versions that somebody needs for a while, such as a turn that waits.

use rusqlite::{Connection, params};

use crate::error::ChronicleError;

/// Why a version that was made within a turn is kept: until the turn's cut, an effect of it may name it.
pub(crate) const TURN: &str = "turn";

/// Ends the leases of turns whose cut is this one or an earlier one.
pub(crate) fn end_turns(connection: &Connection, cut: u64) -> Result<(), ChronicleError> {
    connection
        .prepare_cached(
            "DELETE FROM lease WHERE why = ?1 AND version IN (SELECT id FROM version WHERE ifnull(cut, 0) <= ?2)",
        )?
        .execute(params![TURN, cut])?;
    Ok(())
}

pub(crate) fn write(
    connection: &Connection,
    version: u64,
    why: &str,
    until: Option<u64>,
) -> Result<(), ChronicleError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO lease(version, why, until) VALUES (?1, ?2, ?3)")?
        .execute(params![version, why, until])?;
    Ok(())
}

/// Ends the leases of this reason, on every version.
pub(crate) fn remove(connection: &Connection, why: &str) -> Result<(), ChronicleError> {
    connection.prepare_cached("DELETE FROM lease WHERE why = ?1")?.execute([why])?;
    Ok(())
}

/// The reasons that begin with a word.
pub(crate) fn reasons(connection: &Connection, begin: &str) -> Result<Vec<String>, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT DISTINCT why FROM lease WHERE substr(why, 1, ?2) = ?1")?;
    Ok(select.query_map(params![begin, begin.len()], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Removes what has run out; gives the versions that are leased.
pub(crate) fn current(connection: &Connection, now: u64) -> Result<Vec<u64>, ChronicleError> {
    connection.prepare_cached("DELETE FROM lease WHERE until IS NOT NULL AND until <= ?1")?.execute([now])?;
    let mut select = connection.prepare_cached("SELECT DISTINCT version FROM lease")?;
    Ok(select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}
