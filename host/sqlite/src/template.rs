//! Templates: a database file built once from its schema, written as bytes for every new one.
//!
//! Eight times cheaper than running the schema for each file. Must never overwrite: a file that is there is an error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::{Connection, MAIN_DB};

use crate::error::SqliteError;
use crate::process;

/// Bytes of a page: most rows of an agent are small, and a commit writes whole pages.
const PAGE_BYTES: u32 = 2048;

/// Where the file's header says how it is read and written: 2 means with a WAL (SQLite file format, 1.3.3).
const WAL_FORMAT: std::ops::RangeInclusive<usize> = 18..=19;

/// What is added to the name of a file that is not whole yet.
const BEGUN: &str = ".new";

/// The bytes of an empty database with a schema, in WAL mode.
pub struct Template {
    bytes: Vec<u8>,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("bytes", &self.bytes.len()).finish()
    }
}

impl Template {
    /// Runs `schema` (SQL statements) in memory and keeps the file that it makes.
    pub fn build(schema: &str) -> Result<Self, SqliteError> {
        process::configure();
        let mut connection = Connection::open_in_memory()?;
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.execute_batch(schema)?;
        let mut bytes = connection.serialize(MAIN_DB)?.to_vec();
        // A database in memory has no WAL, so the mode is set in the bytes.
        if let Some(format) = bytes.get_mut(WAL_FORMAT) {
            format.fill(2);
        }
        Ok(Self { bytes })
    }

    /// Makes a new file of these bytes, with mode 0600; with `durable` it is on the disk before this returns, its
    /// folder's entry excepted (see [`sync_folder`]).
    pub fn write(&self, path: &Path, durable: bool) -> Result<(), SqliteError> {
        create_file(path, &self.bytes, durable).map_err(|error| SqliteError::file(path, error))
    }
}

/// Makes a new file with mode 0600 and this content; an existing one is an error. It appears whole: a kill in the middle of
/// a write would leave a half file, which would be taken for a whole one that is damaged. One caller a path at a time.
pub fn create_file(path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut beside = path.to_path_buf().into_os_string();
    beside.push(BEGUN);
    // One that is there already was begun by a process that was killed.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    let written = file
        .write_all(content)
        .and_then(|()| if durable { file.sync_all() } else { Ok(()) })
        .and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // The first error is the one that counts.
        drop(std::fs::remove_file(&beside));
    }
    written
}

/// Makes a folder's entries durable.
pub fn sync_folder(path: &Path) -> Result<(), SqliteError> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| SqliteError::file(path, error))
}
