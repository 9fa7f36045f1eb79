//! Templates: a database file built once from its schema, written as bytes for every new one.
//!
//! Eight times cheaper than running the schema for each file. Must never overwrite: a file that is there is an error.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, MAIN_DB};

use crate::error::SqliteError;
use crate::process;

/// Bytes of a page: most rows of an agent are small, and a commit writes whole pages.
pub(crate) const PAGE_BYTES: u32 = 2048;

/// Where the file's header says how it is read and written: 2 means with a WAL (SQLite file format, 1.3.3).
const WAL_FORMAT: std::ops::RangeInclusive<usize> = 18..=19;

/// What is added to the name of a file that is not whole yet.
const BEGUN: &str = ".new";

/// Databases in memory that a template keeps for filling: as many as fill it at once, seldom more than there are cores.
const FILLERS_MAX: usize = 16;

/// The bytes of an empty database with a schema, in WAL mode.
pub struct Template {
    bytes: Vec<u8>,
    schema: String,
    /// Empty databases in memory with this schema; their statements stay prepared.
    fillers: Mutex<Vec<Connection>>,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Template").field("bytes", &self.bytes.len()).finish()
    }
}

impl Template {
    /// Runs `schema` (SQL statements; white space within their literals is not kept) in memory and keeps the file that it makes.
    pub fn build(schema: &str) -> Result<Self, SqliteError> {
        process::configure();
        // SQLite keeps the text as it is written, in every file.
        let schema = schema.split_whitespace().collect::<Vec<_>>().join(" ").replace(", ", ",");
        let mut connection = in_memory(&schema)?;
        let bytes = bytes_of(&mut connection)?;
        Ok(Self { bytes, schema, fillers: Mutex::new(vec![connection]) })
    }

    /// The bytes of a database of this schema with the rows that `fill` writes; for [`create_file`]. A file that begins so
    /// needs no transaction, and no WAL until its second one.
    pub fn filled<E: From<SqliteError>>(&self, fill: impl FnOnce(&Connection) -> Result<(), E>) -> Result<Vec<u8>, E> {
        let kept = self.fillers().pop();
        let mut connection = kept.map_or_else(|| in_memory(&self.schema), Ok)?;
        run(&connection, "BEGIN")?;
        let filled = fill(&connection).and_then(|()| Ok(bytes_of(&mut connection)?));
        // One that cannot go back is not used again.
        run(&connection, "ROLLBACK")?;
        let mut fillers = self.fillers();
        if fillers.len() < FILLERS_MAX {
            fillers.push(connection);
        }
        filled
    }

    fn fillers(&self) -> MutexGuard<'_, Vec<Connection>> {
        // Nothing under this lock can panic half way.
        self.fillers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a new file of these bytes, with mode 0600; with `durable` it is on the disk before this returns, its
    /// folder's entry excepted (see [`sync_folder`]).
    pub fn write(&self, path: &Path, durable: bool) -> Result<(), SqliteError> {
        create_file(path, &self.bytes, durable).map_err(|error| SqliteError::file(path, error))
    }
}

fn run(connection: &Connection, sql: &str) -> Result<(), SqliteError> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

fn in_memory(schema: &str) -> Result<Connection, SqliteError> {
    let connection = Connection::open_in_memory()?;
    connection.pragma_update(None, "page_size", PAGE_BYTES)?;
    connection.execute_batch(schema)?;
    Ok(connection)
}

/// What the file of a database in memory would be, with the changes of its transaction.
fn bytes_of(connection: &mut Connection) -> Result<Vec<u8>, SqliteError> {
    let mut bytes = connection.serialize(MAIN_DB)?.to_vec();
    // A database in memory has no WAL, so the mode is set in the bytes.
    if let Some(format) = bytes.get_mut(WAL_FORMAT) {
        format.fill(2);
    }
    Ok(bytes)
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
