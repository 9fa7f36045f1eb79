//! Why the chronicle refuses or fails.
//!
//! Must never hide the cause: what SQLite or the system said stays in the chain.

use std::io;
use std::path::PathBuf;

use podium_sqlite::{Failure, SqliteError};
use podium_wire::ErrorCode;

use crate::hash::ContentHash;
use crate::path::{PathError, WorkPath};

/// A failed operation of the chronicle. Nothing of it was kept, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ChronicleError {
    /// The database failed.
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// A file or folder of the host failed.
    #[error("cannot use {path}: {source}")]
    File {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or folder of the workspace failed.
    #[error("cannot use {path} in the workspace: {source}")]
    Work {
        /// What.
        path: WorkPath,
        /// Why.
        source: io::Error,
    },
    /// These bytes are no path of a workspace.
    #[error(transparent)]
    Path(#[from] PathError),
    /// There is no such version, or it was not kept.
    #[error("there is no version {0}")]
    NoVersion(u64),
    /// There is no such iteration, or it was not kept.
    #[error("there is no iteration {0}")]
    NoIteration(u64),
    /// The version has nothing at this path, or something else than was asked for.
    #[error("there is no {what} at {path}")]
    NotThere {
        /// Where.
        path: WorkPath,
        /// What was asked for.
        what: &'static str,
    },
    /// Stored content is not what its name says.
    #[error("stored content {hash}{} is damaged: {what}", of_path(path.as_ref()))]
    Damaged {
        /// Its name.
        hash: ContentHash,
        /// Whose content it is, where that is known.
        path: Option<WorkPath>,
        /// What does not fit.
        what: String,
    },
    /// Content that a restore needs is damaged.
    #[error("{count} files cannot be brought back; the first is {path}: {what}")]
    Unreadable {
        /// The first one.
        path: WorkPath,
        /// What does not fit.
        what: String,
        /// How many there are.
        count: usize,
    },
    /// The workspace or its history is larger than it may be.
    #[error("over the limit of {limit} {what}")]
    OverLimit {
        /// Of what.
        what: Limited,
        /// How many are allowed.
        limit: u64,
    },
    /// A caller broke a rule; nothing was done.
    #[error("refused: {0}")]
    Refused(&'static str),
}

/// What has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Bytes of the workspace's files.
    WorkspaceBytes,
    /// Entries of the workspace.
    WorkspaceEntries,
    /// Bytes of the paths of those.
    WorkspacePathBytes,
    /// Entries of one folder.
    FolderEntries,
    /// Bytes of the stored history.
    StoreBytes,
    /// Milliseconds that the patterns of `.chronicleignore` take.
    IgnoreTime,
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::WorkspaceBytes => "bytes in a workspace",
            Self::WorkspaceEntries => "entries in a workspace",
            Self::WorkspacePathBytes => "bytes of paths in a workspace",
            Self::FolderEntries => "entries in one folder",
            Self::StoreBytes => "bytes of stored history",
            Self::IgnoreTime => "ms for the patterns of .chronicleignore",
        })
    }
}

fn of_path(path: Option<&WorkPath>) -> String {
    path.map_or_else(String::new, |path| format!(" of {path}"))
}

impl From<rusqlite::Error> for ChronicleError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.into())
    }
}

impl ChronicleError {
    pub(crate) fn file(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::File { path: path.into(), source: source.into() }
    }

    pub(crate) fn work(path: &WorkPath, source: impl Into<io::Error>) -> Self {
        Self::Work { path: path.clone(), source: source.into() }
    }

    pub(crate) fn damaged(hash: ContentHash, what: impl Into<String>) -> Self {
        Self::Damaged { hash, path: None, what: what.into() }
    }

    /// The same error, with the path that damaged content belongs to.
    #[must_use]
    pub fn at(self, path: &WorkPath) -> Self {
        match self {
            Self::Damaged { hash, path: None, what } => Self::Damaged { hash, path: Some(path.clone()), what },
            other => other,
        }
    }

    /// The public code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Path(_) => ErrorCode::InvalidPath,
            Self::NoIteration(_) => ErrorCode::IterationNotFound,
            Self::NotThere { .. } => ErrorCode::FileNotFound,
            Self::OverLimit { .. } => ErrorCode::WorkspaceLimit,
            // One file, and not the instance: everything else can be read.
            Self::Damaged { path: Some(_), .. } | Self::Unreadable { .. } => ErrorCode::ContentDamaged,
            Self::NoVersion(_) | Self::Refused(_) => ErrorCode::Internal,
            Self::Sqlite(_) | Self::File { .. } | Self::Work { .. } | Self::Damaged { path: None, .. } => {
                self.failure().map_or(ErrorCode::Internal, Failure::code)
            }
        }
    }

    /// The kind of failure, where a disk is at fault.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Sqlite(error) => Some(error.failure()),
            Self::File { source, .. } | Self::Work { source, .. } => {
                Some(SqliteError::file(PathBuf::new(), source.kind().into()).failure())
            }
            Self::Damaged { .. } | Self::Unreadable { .. } => Some(Failure::Damaged),
            _ => None,
        }
    }
}
