//! Every failure of the coordinator and the code it is answered with: the one place that maps them.

use podium_chronicle::ChronicleError;
use podium_chronicle::fuse::MountError;
use podium_registry::RegistryError;
use podium_runtime::LoadError;
use podium_store::{AcceptError, StoreError};
use podium_wire::{DeploymentId, ErrorCode, InstanceId, WireError};

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A failure that is known by its code and a sentence.
    #[error("{message}")]
    Coded {
        /// Its code.
        code: ErrorCode,
        /// The sentence.
        message: String,
    },
    /// No such instance.
    #[error("there is no instance {0}")]
    InstanceNotFound(InstanceId),
    /// The instance's code is not in the registry or does not load.
    #[error("the deployment {0} of this instance cannot be loaded: {1}")]
    CodeUnavailable(DeploymentId, #[source] Box<Error>),
    /// An agent's own failure, with its own code.
    #[error("{0}")]
    Agent(WireError),
    /// The databases failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A component does not load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The workspace or its history failed.
    #[error(transparent)]
    Workspace(#[from] ChronicleError),
    /// The workspace cannot be mounted, or its mount not closed.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The disk failed outside the databases.
    #[error("the workspace cannot be used: {0}")]
    Io(#[from] std::io::Error),
    /// The part that should have answered is gone.
    #[error("the host is stopping")]
    Stopping,
}

impl Error {
    /// An error of this code.
    pub fn coded(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Coded { code, message: message.into() }
    }

    /// The code it is answered with.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Coded { code, .. } => *code,
            Self::InstanceNotFound(_) => ErrorCode::InstanceNotFound,
            Self::CodeUnavailable(_, cause) => cause.code(),
            Self::Agent(error) => error.known_code().unwrap_or(ErrorCode::GuestError),
            Self::Store(error) => error.code(),
            Self::Registry(error) => error.code(),
            Self::Load(error) => error.code(),
            Self::Workspace(error) => error.code(),
            Self::Mount(error) => mount_code(error),
            Self::Io(error) => io_code(error),
            Self::Stopping => ErrorCode::ShuttingDown,
        }
    }
}

fn mount_code(error: &MountError) -> ErrorCode {
    match error {
        MountError::Unavailable(_) => ErrorCode::MountUnavailable,
        MountError::Place { .. } => ErrorCode::InvalidMountDir,
        MountError::File { source, .. } => io_code(source),
        MountError::NoDescriptors => ErrorCode::TooManyConnections,
        MountError::Busy => ErrorCode::MountBusy,
    }
}

/// The code of a failed file operation of the host's own.
pub(crate) fn io_code(error: &std::io::Error) -> ErrorCode {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::StorageFull,
        std::io::ErrorKind::ReadOnlyFilesystem => ErrorCode::StorageReadOnly,
        _ => ErrorCode::StorageFailed,
    }
}

impl From<AcceptError> for Error {
    fn from(error: AcceptError) -> Self {
        match error {
            AcceptError::Conflict(_) => {
                Self::coded(ErrorCode::MessageConflict, "another message was accepted under this id")
            }
            AcceptError::Store(error) => Self::Store(error),
        }
    }
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        match error {
            Error::Agent(error) => error,
            other => {
                // Handled here: whatever the host failed at is logged once, where it becomes an answer.
                let code = other.code();
                if code.number() / 1000 == 5 {
                    tracing::error!(code = %code, error = %other, "request failed");
                }
                WireError::new(code, other.to_string())
            }
        }
    }
}

impl From<Error> for podium_kit::HttpError {
    fn from(error: Error) -> Self {
        Self(error.into())
    }
}
