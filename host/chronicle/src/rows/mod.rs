//! The rows of `chronicle.db`: a file for each stored thing, with its statements.
//!
//! Must never decide anything: they read and write what they are told.

use rusqlite::Connection;

use crate::error::ChronicleError;

pub(crate) mod change;
pub(crate) mod lease;
pub(crate) mod meta;
pub(crate) mod object;
pub(crate) mod op;
pub(crate) mod segment;
pub(crate) mod skipped;
pub(crate) mod stat;
pub(crate) mod tree;
pub(crate) mod version;

/// All pages of the database, and those of them that are free.
pub(crate) fn pages(connection: &Connection) -> Result<(u64, u64), ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT page_count, freelist_count FROM pragma_page_count, pragma_freelist_count")?;
    Ok(select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// Takes free pages out of the file, which is shorter after the next checkpoint.
pub(crate) fn give_back(connection: &Connection, pages: u64) -> Result<(), ChronicleError> {
    let mut vacuum = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut steps = vacuum.query([])?;
    // One step a page.
    while steps.next()?.is_some() {}
    Ok(())
}

/// Bytes that all rows together take; within a transaction, as it would leave them. Pages that are free will be used again.
pub(crate) fn bytes(connection: &Connection) -> Result<u64, ChronicleError> {
    let mut select = connection.prepare_cached(
        "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size",
    )?;
    Ok(select.query_row([], |row| row.get(0))?)
}
