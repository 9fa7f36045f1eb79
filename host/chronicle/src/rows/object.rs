//! Rows of `object`: where each stored content is.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::pack::{Encoding, Location, ObjectKind};

/// Bytes of a content's name.
const NAME_BYTES: usize = 32;

const COLUMNS: &str = "kind, enc, raw_len, seg, off, len";

/// Where a row says that its content is; none when the row is damaged: it says what cannot be.
fn location(row: &Row<'_>, first: usize) -> Option<Location> {
    Some(Location {
        kind: ObjectKind::from_number(row.get(first).ok()?)?,
        encoding: Encoding::from_number(row.get(first + 1).ok()?)?,
        raw_len: row.get(first + 2).ok()?,
        segment: row.get(first + 3).ok()?,
        offset: row.get(first + 4).ok()?,
        len: row.get(first + 5).ok()?,
    })
}

pub(crate) fn find(connection: &Connection, hash: ContentHash) -> Result<Option<Location>, ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT kind, enc, raw_len, seg, off, len FROM object WHERE hash = ?1")?;
    let found = select.query_row([hash], |row| Ok(location(row, 0))).optional()?;
    found.map(|place| place.ok_or_else(|| ChronicleError::damaged(hash, "its row says what cannot be"))).transpose()
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

/// Calls `each` with every object, in the order of names; without a place when its row is damaged.
pub(crate) fn each(
    connection: &Connection,
    mut each: impl FnMut(ContentHash, Option<Location>),
) -> Result<(), ChronicleError> {
    let mut select =
        connection.prepare_cached(&format!("SELECT hash, {COLUMNS} FROM object WHERE length(hash) = {NAME_BYTES}"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        each(row.get(0)?, location(row, 1));
    }
    Ok(())
}

/// Removes rows with a name that no content can have.
pub(crate) fn remove_nameless(connection: &Connection) -> Result<(), ChronicleError> {
    connection.prepare_cached(&format!("DELETE FROM object WHERE length(hash) <> {NAME_BYTES}"))?.execute([])?;
    Ok(())
}

/// The objects of a segment, in the order in which they lie there; without a place where a row is damaged.
pub(crate) fn of_segment(
    connection: &Connection,
    segment: u64,
) -> Result<Vec<(ContentHash, Option<Location>)>, ChronicleError> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT hash, {COLUMNS} FROM object WHERE seg = ?1 AND length(hash) = {NAME_BYTES} ORDER BY off"
    ))?;
    let mut rows = select.query([segment])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push((row.get(0)?, location(row, 1)));
    }
    Ok(found)
}
