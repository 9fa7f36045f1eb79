//! Rows of `segment`: which files of `cas/` exist, and how long they are.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::ChronicleError;
use crate::pack::Segment;

fn read(row: &Row<'_>) -> rusqlite::Result<Segment> {
    Ok(Segment { id: row.get(0)?, len: row.get(1)?, sealed: row.get(2)? })
}

/// All segments by number.
pub(crate) fn all(connection: &Connection) -> Result<Vec<Segment>, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT id, len, sealed FROM segment ORDER BY id")?;
    Ok(select.query_map([], read)?.collect::<Result<_, _>>()?)
}

/// The one that has room, if there is one.
pub(crate) fn writable(connection: &Connection) -> Result<Option<Segment>, ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT id, len, sealed FROM segment WHERE NOT sealed ORDER BY id DESC LIMIT 1")?;
    Ok(select.query_row([], read).optional()?)
}

/// Records a segment's length; what was added counts as live until a collection looks.
pub(crate) fn write(connection: &Connection, segment: &Segment) -> Result<(), ChronicleError> {
    connection
        .prepare_cached(
            "INSERT INTO segment(id, len, live, sealed) VALUES (?1, ?2, ?2, ?3)
             ON CONFLICT(id) DO UPDATE SET live = live + excluded.len - len, len = excluded.len, sealed = excluded.sealed",
        )?
        .execute(params![segment.id, segment.len, segment.sealed])?;
    Ok(())
}

pub(crate) fn seal(connection: &Connection, id: u64) -> Result<(), ChronicleError> {
    connection.prepare_cached("UPDATE segment SET sealed = 1 WHERE id = ?1")?.execute([id])?;
    Ok(())
}

pub(crate) fn set_live(connection: &Connection, id: u64, live: u64) -> Result<(), ChronicleError> {
    connection.prepare_cached("UPDATE segment SET live = ?2 WHERE id = ?1")?.execute(params![id, live])?;
    Ok(())
}

pub(crate) fn remove(connection: &Connection, id: u64) -> Result<(), ChronicleError> {
    connection.prepare_cached("DELETE FROM segment WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Number of segments, their bytes, and those that are known to be needed.
pub(crate) fn sums(connection: &Connection) -> Result<(u64, u64, u64), ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT count(*), ifnull(sum(len), 0), ifnull(sum(live), 0) FROM segment")?;
    Ok(select.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
}
