//! Rows of `stat`: for each folder, which content its files had when the system last said this of them (the stat cache).
//!
//! A folder's rows are divided by name into parts, so that one changed file of a large folder rewrites one part. Must only be written
//! in the transaction that stores the content they vouch for.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, params};

use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::node::{FileTime, Meta, Stamp};
use crate::path::WorkPath;

/// Files of one part, about: a row of some eight kilobytes.
const PART_FILES: usize = 64;
/// Most parts of a folder.
const PARTS_MAX: usize = 1024;

/// What the system said of a file, and the content that it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StatRow {
    stamp: Stamp,
    pub(crate) hash: ContentHash,
}

impl StatRow {
    pub(crate) fn new(meta: &Meta, hash: ContentHash) -> Self {
        Self { stamp: meta.stamp(), hash }
    }

    /// True when a file of which the system says this now has that content still.
    pub(crate) fn vouches_for(&self, meta: &Meta) -> bool {
        self.stamp == meta.stamp()
    }
}

/// The rows of one folder by name.
pub(crate) type FolderStats = HashMap<Box<[u8]>, StatRow>;
/// What changes in a folder: a new row, or none any more.
pub(crate) type StatChanges = BTreeMap<Box<[u8]>, Option<StatRow>>;

fn part_of(name: &[u8], parts: usize) -> usize {
    let hash = blake3::hash(name);
    let [a, b, ..] = *hash.as_bytes();
    usize::from(u16::from_le_bytes([a, b])) % parts.max(1)
}

fn parts_for(files: usize) -> usize {
    (files / PART_FILES).next_power_of_two().clamp(1, PARTS_MAX)
}

fn encode<'a>(parts: usize, rows: impl Iterator<Item = (&'a [u8], &'a StatRow)>) -> Vec<u8> {
    let mut data = u16::try_from(parts).unwrap_or(1).to_le_bytes().to_vec();
    for (name, StatRow { stamp, hash }) in rows {
        data.push(u8::try_from(name.len()).unwrap_or(0));
        data.extend_from_slice(name);
        data.extend_from_slice(&stamp.ino.to_le_bytes());
        data.extend_from_slice(&stamp.size.to_le_bytes());
        for time in [stamp.mtime, stamp.ctime] {
            data.extend_from_slice(&time.seconds.to_le_bytes());
            data.extend_from_slice(&time.nanoseconds.to_le_bytes());
        }
        data.extend_from_slice(&stamp.mode.to_le_bytes());
        data.extend_from_slice(hash.as_bytes());
    }
    data
}

/// Rows of a part, as far as they can be read: what cannot vouches for nothing. Gives the number of parts.
fn decode(data: &[u8], rows: &mut FolderStats) -> usize {
    fn row(rest: &mut &[u8]) -> Option<(Box<[u8]>, StatRow)> {
        fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
            let (first, after) = rest.split_first_chunk::<N>()?;
            *rest = after;
            Some(*first)
        }
        let [length] = take::<1>(rest)?;
        let (name, after) = rest.split_at_checked(usize::from(length))?;
        *rest = after;
        let ino = u64::from_le_bytes(take(rest)?);
        let size = u64::from_le_bytes(take(rest)?);
        let mut time = || {
            Some(FileTime { seconds: i64::from_le_bytes(take(rest)?), nanoseconds: u32::from_le_bytes(take(rest)?) })
        };
        let (mtime, ctime) = (time()?, time()?);
        let mode = u16::from_le_bytes(take(rest)?);
        let hash = ContentHash::from_bytes(take(rest)?);
        Some((name.into(), StatRow { stamp: Stamp { ino, size, mtime, ctime, mode }, hash }))
    }
    let Some((parts, mut rest)) = data.split_first_chunk::<2>() else { return 1 };
    while let Some((name, row)) = row(&mut rest) {
        rows.insert(name, row);
    }
    usize::from(u16::from_le_bytes(*parts)).clamp(1, PARTS_MAX)
}

/// All rows of a folder.
pub(crate) fn folder(connection: &Connection, dir: &WorkPath) -> Result<FolderStats, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT data FROM stat WHERE dir = ?1")?;
    let mut rows = select.query([dir])?;
    let mut stats = FolderStats::new();
    while let Some(row) = rows.next()? {
        decode(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, &mut stats);
    }
    Ok(stats)
}

fn part(connection: &Connection, dir: &WorkPath, part: usize) -> Result<Option<(usize, FolderStats)>, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT data FROM stat WHERE dir = ?1 AND part = ?2")?;
    let data: Option<Vec<u8>> = select.query_row(params![dir, part], |row| row.get(0)).optional()?;
    Ok(data.map(|data| {
        let mut stats = FolderStats::new();
        (decode(&data, &mut stats), stats)
    }))
}

/// The row of one file.
pub(crate) fn find(connection: &Connection, dir: &WorkPath, name: &[u8]) -> Result<Option<StatRow>, ChronicleError> {
    let Some((parts, stats)) = part(connection, dir, 0)? else { return Ok(None) };
    let wanted = part_of(name, parts);
    if wanted == 0 {
        return Ok(stats.get(name).copied());
    }
    Ok(part(connection, dir, wanted)?.and_then(|(_, stats)| stats.get(name).copied()))
}

fn write_part(connection: &Connection, dir: &WorkPath, part: usize, data: &[u8]) -> Result<(), ChronicleError> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO stat(dir, part, data) VALUES (?1, ?2, ?3)")?
        .execute(params![dir, part, data])?;
    Ok(())
}

/// Changes some rows of a folder that has about `files` files now.
pub(crate) fn change(
    connection: &Connection,
    dir: &WorkPath,
    files: usize,
    changes: &StatChanges,
) -> Result<(), ChronicleError> {
    let wanted = parts_for(files);
    let parts = part(connection, dir, 0)?.map(|(parts, _)| parts);
    match parts {
        // A folder that has grown or shrunk much is divided anew.
        Some(parts) if parts <= wanted * 4 && wanted <= parts * 4 => {
            let mut by_part: BTreeMap<usize, Vec<_>> = BTreeMap::new();
            for change in changes {
                by_part.entry(part_of(change.0, parts)).or_default().push(change);
            }
            for (number, changes) in by_part {
                let mut stats = part(connection, dir, number)?.map(|(_, stats)| stats).unwrap_or_default();
                apply(&mut stats, changes.into_iter());
                if stats.is_empty() && parts == 1 {
                    return remove(connection, dir);
                }
                let data = encode(parts, stats.iter().map(|(name, row)| (&name[..], row)));
                write_part(connection, dir, number, &data)?;
            }
            Ok(())
        }
        _ => {
            let mut stats = folder(connection, dir)?;
            apply(&mut stats, changes.iter());
            replace(connection, dir, &stats)
        }
    }
}

fn apply<'a>(stats: &mut FolderStats, changes: impl Iterator<Item = (&'a Box<[u8]>, &'a Option<StatRow>)>) {
    for (name, row) in changes {
        match row {
            Some(row) => stats.insert(name.clone(), *row),
            None => stats.remove(name),
        };
    }
}

/// Writes all rows of a folder anew.
pub(crate) fn replace(connection: &Connection, dir: &WorkPath, stats: &FolderStats) -> Result<(), ChronicleError> {
    remove(connection, dir)?;
    if stats.is_empty() {
        return Ok(());
    }
    let parts = parts_for(stats.len());
    let mut divided: Vec<Vec<(&[u8], &StatRow)>> = vec![Vec::new(); parts];
    for (name, row) in stats {
        divided[part_of(name, parts)].push((name, row));
    }
    for (number, rows) in divided.into_iter().enumerate() {
        // The first one says how many there are.
        if number == 0 || !rows.is_empty() {
            write_part(connection, dir, number, &encode(parts, rows.into_iter()))?;
        }
    }
    Ok(())
}

/// The folders that have rows.
pub(crate) fn folders(connection: &Connection) -> Result<Vec<WorkPath>, ChronicleError> {
    let mut select = connection.prepare_cached("SELECT DISTINCT dir FROM stat")?;
    Ok(select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Calls `each` with every content that a row vouches for.
pub(crate) fn each_content(connection: &Connection, mut each: impl FnMut(ContentHash)) -> Result<(), ChronicleError> {
    let mut select = connection.prepare_cached("SELECT data FROM stat")?;
    let mut rows = select.query([])?;
    let mut stats = FolderStats::new();
    while let Some(row) = rows.next()? {
        decode(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?, &mut stats);
        stats.drain().for_each(|(_, row)| each(row.hash));
    }
    Ok(())
}

/// Removes a folder's rows.
pub(crate) fn remove(connection: &Connection, dir: &WorkPath) -> Result<(), ChronicleError> {
    connection.prepare_cached("DELETE FROM stat WHERE dir = ?1")?.execute([dir])?;
    Ok(())
}

/// Removes all rows: nothing is vouched for.
pub(crate) fn clear(connection: &Connection) -> Result<(), ChronicleError> {
    connection.prepare_cached("DELETE FROM stat")?.execute([])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ino: u64) -> StatRow {
        let time = FileTime { seconds: 1, nanoseconds: 2 };
        let stamp = Stamp { ino, size: 3, mtime: time, ctime: time, mode: 0o644 };
        StatRow { stamp, hash: ContentHash::of(&ino.to_le_bytes()) }
    }

    #[test]
    fn a_folder_that_grows_is_divided_and_keeps_its_rows() {
        let folder_path = tempfile::tempdir().unwrap();
        let file = folder_path.path().join("c.db");
        crate::schema::template().unwrap().write(&file, false).unwrap();
        let database = podium_sqlite::Database::open(&file, podium_sqlite::Synchronous::Normal).unwrap();
        let connection = database.connection();
        let dir: WorkPath = "d".parse().unwrap();
        let mut expected = FolderStats::new();
        for round in 0..20_u64 {
            let mut changes = StatChanges::new();
            for n in 0..100 {
                let name: Box<[u8]> = format!("{round}-{n}").into_bytes().into();
                changes.insert(name.clone(), Some(row(round * 100 + n)));
                expected.insert(name, row(round * 100 + n));
            }
            if round > 0 {
                let gone: Box<[u8]> = format!("{}-5", round - 1).into_bytes().into();
                expected.remove(&gone);
                changes.insert(gone, None);
            }
            change(connection, &dir, expected.len(), &changes).unwrap();
            assert_eq!(folder(connection, &dir).unwrap(), expected);
        }
        for (name, row) in &expected {
            assert_eq!(find(connection, &dir, name).unwrap(), Some(*row));
        }
        assert_eq!(find(connection, &dir, b"0-5").unwrap(), None);
        remove(connection, &dir).unwrap();
        assert!(folder(connection, &dir).unwrap().is_empty());
    }

    #[test]
    fn damaged_rows_vouch_for_nothing() {
        let mut stats = FolderStats::new();
        for data in [&b""[..], b"x", b"\0\0\xff", &[0; 50]] {
            decode(data, &mut stats);
        }
        assert!(stats.keys().all(|name| name.is_empty()));
    }
}
