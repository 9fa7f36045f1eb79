//! Rows of `change`: the iterations of every path.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::ChronicleError;
use crate::node::Kind;
use crate::path::WorkPath;
use crate::version::{Iteration, Op, Version};

const SELECT: &str = "SELECT n, idx, version, path, op, kind, old, new, old_mode, new_mode, size, at FROM change";

/// An iteration with the cut and the turn of its version, while that is kept.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) iteration: Iteration,
    pub(crate) cut: Option<u64>,
    pub(crate) turn: Option<u64>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<Iteration> {
    let (op, kind): (String, String) = (row.get(4)?, row.get(5)?);
    let unknown = |index: usize| rusqlite::Error::InvalidColumnType(index, "word".into(), rusqlite::types::Type::Text);
    Ok(Iteration {
        n: row.get(0)?,
        index: row.get(1)?,
        version: row.get(2)?,
        path: row.get(3)?,
        op: Op::from_word(&op).ok_or_else(|| unknown(4))?,
        kind: Kind::from_word(&kind).ok_or_else(|| unknown(5))?,
        old: row.get(6)?,
        new: row.get(7)?,
        old_mode: row.get(8)?,
        new_mode: row.get(9)?,
        size: row.get(10)?,
        at: row.get(11)?,
    })
}

/// The last number that a path's changes have.
pub(crate) fn last_index(connection: &Connection, path: &WorkPath) -> Result<u64, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT ifnull(max(idx), 0) FROM change WHERE path = ?1")?;
    Ok(select.query_row([path], |row| row.get(0))?)
}

pub(crate) fn insert(connection: &Connection, change: &Iteration) -> Result<(), ChronicleError> {
    connection
        .prepare_cached(
            "INSERT INTO change(n, idx, version, path, op, kind, old, new, old_mode, new_mode, size, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute(params![
            change.n,
            change.index,
            change.version,
            change.path,
            change.op.as_str(),
            change.kind.as_str(),
            change.old,
            change.new,
            change.old_mode,
            change.new_mode,
            change.size,
            change.at
        ])?;
    Ok(())
}

/// A path's iterations with an index above `after`, oldest first.
pub(crate) fn of_path(
    connection: &Connection,
    path: &WorkPath,
    after: u64,
    limit: usize,
) -> Result<Vec<Iteration>, ChronicleError> {
    let mut select =
        connection.prepare_cached(&format!("{SELECT} WHERE path = ?1 AND idx > ?2 ORDER BY idx LIMIT ?3"))?;
    Ok(select.query_map(params![path, after, limit], read)?.collect::<Result<_, _>>()?)
}

/// A path's iterations with an index below `before`, of versions up to `version`, newest first.
pub(crate) fn newest_of_path(
    connection: &Connection,
    path: &WorkPath,
    before: Option<u64>,
    version: u64,
    limit: usize,
) -> Result<Vec<Iteration>, ChronicleError> {
    let mut select = connection.prepare_cached(&format!(
        "{SELECT} WHERE path = ?1 AND idx < ?2 AND version <= ?3 ORDER BY idx DESC LIMIT ?4"
    ))?;
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    Ok(select.query_map(params![path, before, version, limit], read)?.collect::<Result<_, _>>()?)
}

/// Whether anything beneath a path ever changed, in versions up to `version`.
pub(crate) fn any_beneath(connection: &Connection, path: &WorkPath, version: u64) -> Result<bool, ChronicleError> {
    // All that begin with the path and a slash; a zero is the byte behind the slash.
    let range = [[path.as_bytes(), b"/"].concat(), [path.as_bytes(), b"0"].concat()];
    let mut select = connection
        .prepare_cached("SELECT EXISTS(SELECT 1 FROM change WHERE path > ?1 AND path < ?2 AND version <= ?3)")?;
    Ok(select.query_row(params![range[0], range[1], version], |row| row.get(0))?)
}

/// The numbers of the newest changes that left content, of versions up to `version`, in order.
pub(crate) fn last_files(connection: &Connection, version: u64, limit: usize) -> Result<Vec<u64>, ChronicleError> {
    let mut select = connection
        .prepare_cached("SELECT n FROM change WHERE version <= ?1 AND new IS NOT NULL ORDER BY n DESC LIMIT ?2")?;
    let mut numbers: Vec<u64> =
        select.query_map(params![version, limit], |row| row.get(0))?.collect::<Result<_, _>>()?;
    numbers.reverse();
    Ok(numbers)
}

/// As [`of_path`], each with the cut and the turn of its version; `all` has those of versions that no cut names yet.
pub(crate) fn told(
    connection: &Connection,
    path: &WorkPath,
    after: u64,
    limit: usize,
    all: bool,
) -> Result<Vec<Told>, ChronicleError> {
    // What a version that is not kept left behind is of a cut.
    let mut select = connection.prepare_cached(
        "SELECT n, idx, version, path, op, change.kind, old, new, old_mode, new_mode, size, change.at, version.cut,
             version.turn
         FROM change LEFT JOIN version ON version.id = change.version
         WHERE path = ?1 AND idx > ?2 AND (?4 OR ifnull(version.status, 'committed') = 'committed')
         ORDER BY idx LIMIT ?3",
    )?;
    let told = |row: &Row<'_>| Ok(Told { iteration: read(row)?, cut: row.get(12)?, turn: row.get(13)? });
    Ok(select.query_map(params![path, after, limit, all], told)?.collect::<Result<_, _>>()?)
}

/// All iterations with a number above `after`, oldest first.
pub(crate) fn list(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Iteration>, ChronicleError> {
    let mut select = connection.prepare_cached(&format!("{SELECT} WHERE n > ?1 ORDER BY n LIMIT ?2"))?;
    Ok(select.query_map(params![after, limit], read)?.collect::<Result<_, _>>()?)
}

pub(crate) fn find(connection: &Connection, n: u64) -> Result<Option<Iteration>, ChronicleError> {
    let mut select = connection.prepare_cached(&format!("{SELECT} WHERE n = ?1"))?;
    Ok(select.query_row([n], read).optional()?)
}

/// Removes what only a version that is dropped needs: changes that a later one of the same path follows. What stays says of every
/// path when it last changed.
pub(crate) fn drop_version(connection: &Connection, version: &Version) -> Result<(), ChronicleError> {
    connection
        .prepare_cached(
            "DELETE FROM change WHERE n BETWEEN ?1 AND ?2 AND EXISTS(
                 SELECT 1 FROM change AS later WHERE later.path = change.path AND later.idx > change.idx)",
        )?
        .execute(params![version.first_n, version.last_n])?;
    Ok(())
}

/// Removes deletions that came with dropped versions, of paths of which nothing older is told: while something is, a path would
/// seem to be there, and for ever.
pub(crate) fn drop_gone(connection: &Connection) -> Result<(), ChronicleError> {
    connection
        .prepare_cached(
            "DELETE FROM change WHERE op = 'D' AND version NOT IN (SELECT id FROM version) AND NOT EXISTS(
                 SELECT 1 FROM change AS before WHERE before.path = change.path AND before.idx < change.idx)",
        )?
        .execute([])?;
    Ok(())
}
