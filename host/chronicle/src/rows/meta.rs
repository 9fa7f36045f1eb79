//! Rows of `meta`: single values.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, ToSql, params};

use crate::error::ChronicleError;

/// The next number of a change.
pub(crate) const NEXT_N: &str = "next_n";
/// The next number of a version.
pub(crate) const NEXT_VERSION: &str = "next_version";
/// The highest number that a segment ever had.
pub(crate) const LAST_SEGMENT: &str = "last_segment";
/// 1 when the last opening ended in order and nothing was dirty.
pub(crate) const CLEAN: &str = "clean";
/// 1 when entries with several names were seen, so that only a scan finds all of them.
pub(crate) const HARD_LINKS: &str = "hard_links";
/// 1 while files that were there before the first version are in none.
pub(crate) const UNADOPTED: &str = "unadopted";
/// The next number of a version when the last collection ended.
pub(crate) const COLLECTED: &str = "collected";
/// The schema's version.
pub(crate) const SCHEMA: &str = "schema";
/// The last version that a cut names.
pub(crate) const HEAD: &str = "head";
/// The last boot's id; text.
pub(crate) const BOOT: &str = "boot";

fn get<T: FromSql>(connection: &Connection, key: &str) -> Result<Option<T>, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT v FROM meta WHERE k = ?1")?;
    Ok(select.query_row([key], |row| row.get(0)).optional()?)
}

fn set(connection: &Connection, key: &str, value: impl ToSql) -> Result<(), ChronicleError> {
    connection.prepare_cached("INSERT OR REPLACE INTO meta(k, v) VALUES (?1, ?2)")?.execute(params![key, value])?;
    Ok(())
}

pub(crate) fn number(connection: &Connection, key: &str) -> Result<Option<u64>, ChronicleError> {
    get(connection, key)
}

pub(crate) fn set_number(connection: &Connection, key: &str, value: u64) -> Result<(), ChronicleError> {
    set(connection, key, value)
}

pub(crate) fn text(connection: &Connection, key: &str) -> Result<Option<String>, ChronicleError> {
    get(connection, key)
}

pub(crate) fn set_text(connection: &Connection, key: &str, value: &str) -> Result<(), ChronicleError> {
    set(connection, key, value)
}
