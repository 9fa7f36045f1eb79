//! Rows of `tree`: nodes by name; each is checked when it is read.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::TREE_BYTES_MAX;

pub(crate) fn find(connection: &Connection, hash: ContentHash) -> Result<Option<Vec<u8>>, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT data FROM tree WHERE hash = ?1")?;
    let read = select.query_row([hash], |row| {
        let data = row.get_ref(0)?.as_blob()?;
        Ok(if data.len() > TREE_BYTES_MAX || ContentHash::of_tree(data) != hash { None } else { Some(data.to_vec()) })
    });
    match read.optional()? {
        None => Ok(None),
        Some(Some(data)) => Ok(Some(data)),
        Some(None) => Err(ChronicleError::damaged(hash, "a stored tree has another hash")),
    }
}

pub(crate) fn has(connection: &Connection, hash: ContentHash) -> Result<bool, ChronicleError> {
    Ok(connection.prepare_cached("SELECT 1 FROM tree WHERE hash = ?1")?.exists([hash])?)
}

/// Writes a node, also over one that is damaged.
pub(crate) fn write(connection: &Connection, hash: ContentHash, data: &[u8]) -> Result<(), ChronicleError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO tree(hash, data) VALUES (?1, ?2)")?
        .execute(params![hash, data])?;
    Ok(())
}

pub(crate) fn remove(connection: &Connection, hash: ContentHash) -> Result<(), ChronicleError> {
    connection.prepare_cached("DELETE FROM tree WHERE hash = ?1")?.execute([hash])?;
    Ok(())
}

/// The names of all stored nodes.
pub(crate) fn names(connection: &Connection) -> Result<Vec<ContentHash>, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT hash FROM tree")?;
    Ok(select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Number of nodes and their bytes.
pub(crate) fn sums(connection: &Connection) -> Result<(u64, u64), ChronicleError> {
    let mut select = connection.prepare_cached("SELECT count(*), ifnull(sum(length(data)), 0) FROM tree")?;
    Ok(select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}
