//! Why the store refuses or fails, and the public code of each.
//!
//! Must never hide the cause: what SQLite or the system said stays in the chain.

use std::io;
use std::path::PathBuf;

use podium_sqlite::{Failure, SlotError, SqliteError};
use podium_wire::{ErrorCode, InstanceId, WireError};

/// A failed operation of the store. Nothing of it was kept, unless said otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such instance.
    #[error("there is no instance {0}")]
    NotFound(InstanceId),
    /// An instance of this id is there already.
    #[error("instance {0} exists already")]
    Exists(InstanceId),
    /// The instance has no cut: its creation never ended and nobody was told of it. Its data can be deleted.
    #[error("the creation of instance {0} never ended")]
    NeverCreated(InstanceId),
    /// A caller broke a rule of the turn; nothing was written.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// The instance's files contradict each other.
    #[error("instance {id} is damaged: {what}")]
    Damaged {
        /// Which.
        id: InstanceId,
        /// What does not fit.
        what: String,
    },
    /// The database failed.
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// A file or folder failed.
    #[error("cannot use {path}: {source}")]
    File {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Stored JSON cannot be read, or a value cannot be written.
    #[error("stored JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The store is closed, or a job failed.
    #[error(transparent)]
    Slot(#[from] SlotError),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error.into())
    }
}

impl StoreError {
    /// Wraps a system error with the path that it is about.
    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { path: path.into(), source }
    }

    /// The kind of failure, where a disk is at fault.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            Self::Sqlite(error) => Some(error.failure()),
            Self::File { path, source } => {
                let kind = io::Error::from(source.kind());
                Some(SqliteError::file(path.clone(), kind).failure())
            }
            _ => None,
        }
    }

    /// The public code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound(_) | Self::NeverCreated(_) => ErrorCode::InstanceNotFound,
            Self::Damaged { .. } | Self::Json(_) => ErrorCode::InstanceDamaged,
            Self::Slot(SlotError::Closed) => ErrorCode::ShuttingDown,
            Self::Exists(_) | Self::Refused(_) | Self::Slot(_) => ErrorCode::Internal,
            Self::Sqlite(_) | Self::File { .. } => self.failure().map_or(ErrorCode::StorageFailed, Failure::code),
        }
    }

    /// The error as clients see it.
    pub fn to_wire(&self) -> WireError {
        WireError::new(self.code(), self.to_string())
    }
}
