//! Rows of `skipped`: what versions leave out, from one version until another.

use rusqlite::{Connection, Row, params};

use crate::error::ChronicleError;
use crate::node::{FileTime, SkipReason, Skipped};
use crate::path::WorkPath;

fn read(row: &Row<'_>) -> rusqlite::Result<Skipped> {
    let reason: String = row.get(1)?;
    Ok(Skipped {
        path: row.get(0)?,
        reason: SkipReason::from_word(&reason).unwrap_or(SkipReason::Unknown),
        size: row.get(2)?,
        disk: row.get(3)?,
        mtime: FileTime { seconds: row.get(4)?, nanoseconds: row.get(5)? },
        entries: row.get(6)?,
    })
}

/// What `version` left out, by path.
pub(crate) fn at(connection: &Connection, version: u64) -> Result<Vec<Skipped>, ChronicleError> {
    let mut select = connection.prepare_cached(
        "SELECT path, reason, size, disk, mtime_s, mtime_ns, entries FROM skipped
         WHERE since <= ?1 AND (until IS NULL OR until > ?1) ORDER BY path",
    )?;
    Ok(select.query_map([version], read)?.collect::<Result<_, _>>()?)
}

/// What is left out now.
pub(crate) fn now(connection: &Connection) -> Result<Vec<Skipped>, ChronicleError> {
    let mut select = connection.prepare_cached(
        "SELECT path, reason, size, disk, mtime_s, mtime_ns, entries FROM skipped WHERE until IS NULL ORDER BY path",
    )?;
    Ok(select.query_map([], read)?.collect::<Result<_, _>>()?)
}

pub(crate) fn write(connection: &Connection, skipped: &Skipped, since: u64) -> Result<(), ChronicleError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO skipped(path, since, until, reason, size, disk, mtime_s, mtime_ns, entries)
             VALUES (?1, ?2, NULL, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            skipped.path,
            since,
            skipped.reason.as_str(),
            skipped.size,
            skipped.disk,
            skipped.mtime.seconds,
            skipped.mtime.nanoseconds,
            skipped.entries
        ])?;
    Ok(())
}

/// From `version` on the entry is left out no more, or another one is.
pub(crate) fn end(connection: &Connection, path: &WorkPath, version: u64) -> Result<(), ChronicleError> {
    connection
        .prepare_cached("UPDATE skipped SET until = ?2 WHERE path = ?1 AND until IS NULL")?
        .execute(params![path, version])?;
    // One that began and ended in the same version was in none.
    connection.prepare_cached("DELETE FROM skipped WHERE path = ?1 AND until <= since")?.execute([path])?;
    Ok(())
}

/// Removes what only versions left out that are dropped.
pub(crate) fn prune(connection: &Connection) -> Result<(), ChronicleError> {
    connection
        .prepare_cached(
            "DELETE FROM skipped WHERE until IS NOT NULL AND NOT EXISTS(
                 SELECT 1 FROM version WHERE id >= skipped.since AND id < skipped.until)",
        )?
        .execute([])?;
    Ok(())
}
