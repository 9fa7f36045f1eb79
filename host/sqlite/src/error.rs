//! What can go wrong with a database, told apart by what an operator can do about it.
//!
//! Must never guess from an error's text: SQLite's codes and the system's kinds decide.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// No space, or over a quota.
    Full,
    /// The file or its file system cannot be written.
    ReadOnly,
    /// The disk or the file system failed.
    Io,
    /// The file is not there.
    Missing,
    /// The file is no database, or its pages do not fit together.
    Damaged,
    /// Somebody else holds it for longer than we wait.
    Busy,
    /// Anything else: a broken invariant of ours.
    Other,
}

impl Failure {
    /// The public code of a failed database or file of the host's own.
    pub fn code(self) -> podium_wire::ErrorCode {
        match self {
            Self::Full => podium_wire::ErrorCode::StorageFull,
            Self::ReadOnly => podium_wire::ErrorCode::StorageReadOnly,
            Self::Damaged => podium_wire::ErrorCode::InstanceDamaged,
            Self::Io | Self::Missing | Self::Busy | Self::Other => podium_wire::ErrorCode::StorageFailed,
        }
    }
}

/// An error with its cause.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// SQLite refused.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The system refused.
    #[error("cannot use {path}: {source}")]
    File {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl SqliteError {
    /// Wraps a system error with the path that it is about.
    pub fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    /// Its kind.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Sqlite(error) => of_sqlite(error),
            Self::File { source, .. } => of_system(source),
        }
    }
}

fn of_sqlite(error: &rusqlite::Error) -> Failure {
    let Some(inner) = error.sqlite_error() else { return Failure::Other };
    // The shared-memory file grows by writing to it; SQLite has no better code for a full disk there.
    if inner.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE {
        return Failure::Full;
    }
    match inner.code {
        ErrorCode::DiskFull => Failure::Full,
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Failure::ReadOnly,
        ErrorCode::SystemIoFailure => Failure::Io,
        ErrorCode::CannotOpen => Failure::Missing,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Failure::Busy,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Failure::Damaged,
        _ => Failure::Other,
    }
}

fn of_system(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Full,
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => Failure::ReadOnly,
        io::ErrorKind::NotFound => Failure::Missing,
        _ => Failure::Io,
    }
}
