//! Rows of `version`.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::rows::meta;
use crate::version::{Version, VersionKind, VersionStatus};

const SELECT: &str = "SELECT id, cut, parent, root, kind, status, turn, at, first_n, last_n, added, modified, deleted,
    new_bytes, unstable FROM version";

fn read(row: &Row<'_>) -> rusqlite::Result<Version> {
    let (kind, status): (String, String) = (row.get(4)?, row.get(5)?);
    let unknown = |index: usize| rusqlite::Error::InvalidColumnType(index, "word".into(), rusqlite::types::Type::Text);
    Ok(Version {
        id: row.get(0)?,
        cut: row.get(1)?,
        parent: row.get(2)?,
        root: row.get(3)?,
        kind: VersionKind::from_word(&kind).ok_or_else(|| unknown(4))?,
        status: VersionStatus::from_word(&status).ok_or_else(|| unknown(5))?,
        turn: row.get(6)?,
        at: row.get(7)?,
        first_n: row.get(8)?,
        last_n: row.get(9)?,
        added: row.get(10)?,
        modified: row.get(11)?,
        deleted: row.get(12)?,
        new_bytes: row.get(13)?,
        unstable: row.get(14)?,
    })
}

pub(crate) fn insert(connection: &Connection, version: &Version) -> Result<(), ChronicleError> {
    connection
        .prepare_cached(
            "INSERT INTO version(id, cut, parent, root, kind, status, turn, at, first_n, last_n, added, modified, deleted,
                 new_bytes, unstable) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            version.id,
            version.cut,
            version.parent,
            version.root,
            version.kind.as_str(),
            version.status.as_str(),
            version.turn,
            version.at,
            version.first_n,
            version.last_n,
            version.added,
            version.modified,
            version.deleted,
            version.new_bytes,
            version.unstable
        ])?;
    Ok(())
}

pub(crate) fn find(connection: &Connection, id: u64) -> Result<Option<Version>, ChronicleError> {
    let mut select = connection.prepare_cached(&format!("{SELECT} WHERE id = ?1"))?;
    Ok(select.query_row([id], read).optional()?)
}

/// Versions after `after`, oldest first.
pub(crate) fn list(connection: &Connection, after: u64, limit: usize) -> Result<Vec<Version>, ChronicleError> {
    let mut select = connection.prepare_cached(&format!("{SELECT} WHERE id > ?1 ORDER BY id LIMIT ?2"))?;
    Ok(select.query_map(params![after, limit], read)?.collect::<Result<_, _>>()?)
}

/// A version with this content, the wanted one where it is there.
pub(crate) fn with_root(
    connection: &Connection,
    root: ContentHash,
    wanted: u64,
) -> Result<Option<u64>, ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT id FROM version WHERE root = ?1 ORDER BY id = ?2 DESC, id DESC LIMIT 1")?;
    Ok(select.query_row(params![root, wanted], |row| row.get(0)).optional()?)
}

/// A recovered version with this content.
pub(crate) fn recovered_with(connection: &Connection, root: ContentHash) -> Result<Option<u64>, ChronicleError> {
    let mut select = connection
        .prepare_cached("SELECT id FROM version WHERE root = ?1 AND status = 'recovered' ORDER BY id DESC LIMIT 1")?;
    Ok(select.query_row([root], |row| row.get(0)).optional()?)
}

/// Prepared versions up to `id` are named by `cut` now.
pub(crate) fn commit(connection: &Connection, id: u64, cut: u64) -> Result<usize, ChronicleError> {
    Ok(connection
        .prepare_cached("UPDATE version SET status = 'committed', cut = ?2 WHERE id <= ?1 AND status = 'prepared'")?
        .execute(params![id, cut])?)
}

/// What is past a cut and its version becomes recovered, as with [`recover_prepared`]. The cut alone does not tell: a version whose
/// commit was lost is given a later one.
pub(crate) fn recover_past(connection: &Connection, version: u64, cut: u64) -> Result<Vec<u64>, ChronicleError> {
    let mut past = recover_prepared(connection)?;
    let mut select =
        connection.prepare_cached("SELECT id FROM version WHERE status = 'committed' AND id > ?1 AND cut > ?2")?;
    let committed: Vec<u64> = select.query_map([version, cut], |row| row.get(0))?.collect::<Result<_, _>>()?;
    recover(connection, &committed)?;
    past.extend(committed);
    past.sort_unstable();
    Ok(past)
}

/// Every prepared version becomes a recovered one; gives their numbers. The changes that came with them are removed: iterations are
/// what cuts left behind. Nobody but the turn that is lost was told of their numbers, which are given again: a turn that is run again
/// has the same ones.
pub(crate) fn recover_prepared(connection: &Connection) -> Result<Vec<u64>, ChronicleError> {
    let mut select =
        connection.prepare_cached("SELECT id, first_n FROM version WHERE status = 'prepared' ORDER BY id")?;
    let prepared: Vec<(u64, u64)> =
        select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    // They follow each other, and nothing true came after them.
    if let Some((_, first_n)) = prepared.first() {
        meta::set_number(connection, meta::NEXT_N, *first_n)?;
    }
    let prepared: Vec<u64> = prepared.into_iter().map(|(id, _)| id).collect();
    recover(connection, &prepared)?;
    Ok(prepared)
}

fn recover(connection: &Connection, versions: &[u64]) -> Result<(), ChronicleError> {
    for id in versions {
        connection
            .prepare_cached(
                "DELETE FROM change WHERE n BETWEEN (SELECT first_n FROM version WHERE id = ?1)
                     AND (SELECT last_n FROM version WHERE id = ?1)",
            )?
            .execute([id])?;
        connection
            .prepare_cached("UPDATE version SET status = 'recovered', first_n = 1, last_n = 0 WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(())
}

pub(crate) fn remove(connection: &Connection, id: u64) -> Result<(), ChronicleError> {
    connection.prepare_cached("DELETE FROM version WHERE id = ?1")?.execute([id])?;
    Ok(())
}

/// Number of versions, and the oldest.
pub(crate) fn sums(connection: &Connection) -> Result<(u64, u64), ChronicleError> {
    let mut select = connection.prepare_cached("SELECT count(*), ifnull(min(id), 0) FROM version")?;
    Ok(select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?)
}
