//! Rows of `object`: where each stored content is.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::pack::{Encoding, Location, ObjectKind};

const COLUMNS: &str = "kind, enc, raw_len, seg, off, len";

fn location(row: &Row<'_>, hash: ContentHash, first: usize) -> Result<Location, ChronicleError> {
    let unknown = || ChronicleError::damaged(hash, "its row has an unknown kind");
    Ok(Location {
        kind: ObjectKind::from_number(row.get(first)?).ok_or_else(unknown)?,
        encoding: Encoding::from_number(row.get(first + 1)?).ok_or_else(unknown)?,
        raw_len: row.get(first + 2)?,
        segment: row.get(first + 3)?,
        offset: row.get(first + 4)?,
        len: row.get(first + 5)?,
    })
}

pub(crate) fn find(connection: &Connection, hash: ContentHash) -> Result<Option<Location>, ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT kind, enc, raw_len, seg, off, len FROM object WHERE hash = ?1")?;
    let found = select.query_row([hash], |row| Ok(location(row, hash, 0))).optional()?;
    found.transpose()
}

/// Writes a new object, or where an old one was moved to.
pub(crate) fn write(connection: &Connection, hash: ContentHash, place: &Location) -> Result<(), ChronicleError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO object(hash, kind, enc, raw_len, seg, off, len) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
        .execute(params![hash, place.kind.number(), place.encoding.number(), place.raw_len, place.segment, place.offset, place.len])?;
    Ok(())
}

pub(crate) fn remove(connection: &Connection, hash: ContentHash) -> Result<(), ChronicleError> {
    connection.prepare_cached("DELETE FROM object WHERE hash = ?1")?.execute([hash])?;
    Ok(())
}

/// Calls `each` with every object, in the order of names.
pub(crate) fn each(
    connection: &Connection,
    mut each: impl FnMut(ContentHash, Location) -> Result<(), ChronicleError>,
) -> Result<(), ChronicleError> {
    let mut select = connection.prepare_cached(&format!("SELECT hash, {COLUMNS} FROM object"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let hash = row.get(0)?;
        each(hash, location(row, hash, 1)?)?;
    }
    Ok(())
}

/// The objects of a segment, in the order in which they lie there.
pub(crate) fn of_segment(
    connection: &Connection,
    segment: u64,
) -> Result<Vec<(ContentHash, Location)>, ChronicleError> {
    let mut select =
        connection.prepare_cached(&format!("SELECT hash, {COLUMNS} FROM object WHERE seg = ?1 ORDER BY off"))?;
    let mut rows = select.query([segment])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let hash = row.get(0)?;
        found.push((hash, location(row, hash, 1)?));
    }
    Ok(found)
}
