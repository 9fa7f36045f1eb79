//! One open database: pragmas, transactions, checkpoints, the two ways to close.
//!
//! Dropped, it leaves its WAL for the next opening (cheap); [`Database::rest`] leaves the main file only. Must never
//! create a file: templates do.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use crate::error::{Failure, SqliteError};
use crate::process;
use crate::template::PAGE_BYTES;

/// A WAL of this length is written back to the main file: long enough that it is rare, short enough that reading
/// it again after a crash takes milliseconds.
pub const CHECKPOINT_BYTES: u64 = 4 * 1024 * 1024;

/// How long a statement waits for a lock. Nobody else writes our files; somebody may look with a tool.
const BUSY_TIMEOUT_MS: u32 = 5000;

/// Page cache of a connection: its hot pages, not its history.
const CACHE_KIB: i64 = 256;

/// Statements that stay prepared: more than any room has for one file.
const STATEMENTS_MAX: usize = 64;

/// When a commit is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// With the next checkpoint or FULL commit: survives the process, not a power cut.
    Normal,
    /// When the commit returns.
    Full,
}

impl Synchronous {
    fn pragma(self) -> &'static str {
        match self {
            Synchronous::Normal => "PRAGMA synchronous=NORMAL",
            Synchronous::Full => "PRAGMA synchronous=FULL",
        }
    }
}

/// An open database; one job's at a time.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    synchronous: Synchronous,
    /// Pages in the WAL after the last commit, kept by SQLite's hook.
    wal_pages: Arc<AtomicU32>,
    /// True after a commit that the disk failed: all of it may be in the WAL, and then the next opening finds it.
    in_doubt: Cell<bool>,
}

/// SQLite has one code for a missing file and for a folder in which it may not make its WAL; the system knows more.
fn cannot_open(path: &Path, error: rusqlite::Error) -> SqliteError {
    let folder = path.parent().unwrap_or(path);
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen)
        && let Err(refused) = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK)
    {
        return SqliteError::file(folder, refused.into());
    }
    error.into()
}

impl Database {
    /// Opens an existing file.
    pub fn open(path: &Path, synchronous: Synchronous) -> Result<Self, SqliteError> {
        Self::open_with_cache(path, synchronous, CACHE_KIB)
    }

    /// As [`Database::open`], for one whose transactions touch more pages than usual: its cache may take so many KiB.
    pub fn open_with_cache(path: &Path, synchronous: Synchronous, cache_kib: i64) -> Result<Self, SqliteError> {
        process::configure();
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut connection = Connection::open_with_flags(path, flags).map_err(|error| cannot_open(path, error))?;
        // SQLite falls back to reading by itself; an owner that cannot write must know now.
        if connection.is_readonly(MAIN_DB)? {
            return Err(SqliteError::file(path, std::io::ErrorKind::ReadOnlyFilesystem.into()));
        }
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.execute_batch(&format!(
            "PRAGMA busy_timeout={BUSY_TIMEOUT_MS}; PRAGMA cache_size=-{cache_kib}; PRAGMA temp_store=MEMORY; {}",
            synchronous.pragma()
        ))?;
        // Already so in files of a template; the question also reads the header and the WAL.
        let mode: String = connection
            .query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))
            .map_err(|error| cannot_open(path, error))?;
        if mode != "wal" {
            tracing::warn!(path = %path.display(), mode, "database is not in WAL mode");
        }
        let wal_pages = Arc::new(AtomicU32::new(0));
        let hook = Arc::clone(&wal_pages);
        // Takes the place of SQLite's own checkpoint in the middle of a commit.
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            hook.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { connection, synchronous, wal_pages, in_doubt: Cell::new(false) })
    }

    /// The connection, for statements; use `prepare_cached`.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Runs `work` in one transaction at the database's own durability: all of it or nothing.
    pub fn transaction<T, E: From<SqliteError>>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        self.run("BEGIN IMMEDIATE")?;
        let done = work(&self.connection).and_then(|value| {
            self.run("COMMIT").inspect_err(|error| {
                if error.failure() == Failure::Io {
                    self.in_doubt.set(true);
                }
            })?;
            Ok(value)
        });
        if done.is_err() && !self.connection.is_autocommit() {
            // The first error is the one that counts; a connection that cannot roll back is closed by its owner.
            if let Err(error) = self.run("ROLLBACK") {
                tracing::warn!(%error, "rollback failed");
            }
        }
        done
    }

    /// The same at another durability, for this transaction only.
    pub fn transaction_at<T, E: From<SqliteError>>(
        &self,
        synchronous: Synchronous,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        if synchronous == self.synchronous {
            return self.transaction(work);
        }
        // SQLite takes this pragma when it is parsed, so it cannot stay prepared.
        self.connection.execute_batch(synchronous.pragma()).map_err(SqliteError::from)?;
        let done = self.transaction(work);
        self.connection.execute_batch(self.synchronous.pragma()).map_err(SqliteError::from)?;
        done
    }

    /// True while a commit that failed may come back with the next opening; see [`Database::settle`].
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt.get()
    }

    /// Makes sure that no commit that failed comes back: a small one takes its place in the WAL. To be called before anything is
    /// taken away that such a commit may name; costs nothing where none is in doubt.
    pub fn settle(&self) -> Result<(), SqliteError> {
        if self.in_doubt.get() {
            let settles: i64 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
            // Another number than before, so that this page, and with it the sum of all after it, is another.
            let next = settles.wrapping_add(1).rem_euclid(i64::from(i32::MAX));
            let write = |connection: &Connection| connection.execute_batch(&format!("PRAGMA user_version={next}"));
            self.transaction_at(Synchronous::Full, |connection| Ok::<_, SqliteError>(write(connection)?))?;
            self.in_doubt.set(false);
        }
        Ok(())
    }

    fn run(&self, sql: &str) -> Result<(), SqliteError> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Bytes that the WAL held after the last commit of this connection.
    pub fn wal_bytes(&self) -> u64 {
        u64::from(self.wal_pages.load(Ordering::Relaxed)).saturating_mul(u64::from(PAGE_BYTES))
    }

    /// Writes the WAL back and makes it durable. The WAL's file keeps its length and is used again from its start, which
    /// is cheaper to sync than a growing one. False when a foreign reader kept it from being whole.
    pub fn checkpoint(&self) -> Result<bool, SqliteError> {
        let (pages, written) = self.connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE)?;
        self.wal_pages.store(0, Ordering::Relaxed);
        Ok(pages == written)
    }

    /// Writes the WAL back and closes; the main file is all that stays.
    pub fn rest(self) -> Result<(), SqliteError> {
        self.connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::TRUNCATE)?;
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        self.connection.close().map_err(|(_, error)| error)?;
        Ok(())
    }
}
