//! Why the registry refuses, and the code that callers see.
//!
//! Every failure of this crate is here; none may lose its cause.

use std::io;
use std::path::PathBuf;

use podium_wire::manifest::InvalidManifest;
use podium_wire::{DeploymentId, DeploymentRef, ErrorCode, WireError};

use crate::stage::COMPONENT_BYTES_MAX;

/// A refusal or a failure of the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The upload has no bytes.
    #[error("the upload is empty")]
    EmptyUpload,
    /// The upload has more bytes than a component may have.
    #[error("the component has more than {COMPONENT_BYTES_MAX} bytes")]
    TooLarge,
    /// The bytes do not begin as WebAssembly does.
    #[error("the file is not WebAssembly")]
    NotAComponent,
    /// WebAssembly, but a core module.
    #[error("the file is a core WebAssembly module, not a component")]
    CoreModule,
    /// A component that is truncated, damaged, or uses features that no host of ours has.
    #[error("the component is not valid")]
    InvalidComponent(#[source] wasmparser::BinaryReaderError),
    /// A component that ends within what it nests.
    #[error("the component is not valid: it ends before the end of a nested module or component")]
    Truncated,
    /// The manifest section cannot be taken.
    #[error("the component's manifest is not valid")]
    InvalidManifest(#[source] InvalidManifest),
    /// More than one manifest section: which one holds would be a guess.
    #[error("the component has more than one manifest")]
    ManyManifests,
    /// This version is there with other bytes.
    #[error("{0} exists with other content")]
    VersionExists(DeploymentId),
    /// Nothing has this name.
    #[error("there is no deployment `{0}`")]
    NotFound(DeploymentRef),
    /// What is stored cannot be trusted.
    #[error("the stored deployment {deployment} is damaged: {reason}")]
    Damaged {
        /// Which.
        deployment: DeploymentRef,
        /// What is wrong with it.
        reason: String,
    },
    /// The record that was to be published does not describe the upload; a fault of the caller.
    #[error("the record of {0} does not describe the uploaded bytes")]
    WrongRecord(DeploymentId),
    /// A record could not be written as JSON.
    #[error("the record of {deployment} cannot be written")]
    Record {
        /// Whose.
        deployment: DeploymentId,
        /// Why.
        source: serde_json::Error,
    },
    /// A record could be written, but not read again.
    #[error("the manifest and description of {deployment} cannot be stored: {reason}")]
    UnreadableRecord {
        /// Whose.
        deployment: DeploymentId,
        /// What is too much of it.
        reason: String,
    },
    /// The system refused.
    #[error("cannot use {path}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl RegistryError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.into(), source: source.into() }
    }

    pub(crate) fn damaged(deployment: impl Into<DeploymentRef>, reason: impl Into<String>) -> Self {
        Self::Damaged { deployment: deployment.into(), reason: reason.into() }
    }

    /// The code that callers see.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::EmptyUpload => ErrorCode::EmptyUpload,
            Self::TooLarge => ErrorCode::ComponentTooLarge,
            Self::NotAComponent => ErrorCode::NotAComponent,
            Self::CoreModule => ErrorCode::CoreModule,
            Self::InvalidComponent(_) | Self::Truncated => ErrorCode::InvalidComponent,
            Self::InvalidManifest(_) | Self::ManyManifests | Self::UnreadableRecord { .. } => {
                ErrorCode::InvalidManifest
            }
            Self::VersionExists(_) => ErrorCode::VersionExists,
            Self::NotFound(_) => ErrorCode::DeploymentNotFound,
            Self::Damaged { .. } => ErrorCode::DeploymentDamaged,
            Self::WrongRecord(_) | Self::Record { .. } => ErrorCode::Internal,
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::StorageFull,
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => ErrorCode::StorageReadOnly,
                _ => ErrorCode::StorageFailed,
            },
        }
    }

    /// The error as it is sent, with its causes in the message.
    pub fn to_wire(&self) -> WireError {
        let mut message = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        WireError::new(self.code(), message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_s_refusals_have_codes_of_their_own() {
        let code = |errno: rustix::io::Errno| RegistryError::io("x", errno).code();
        assert_eq!(code(rustix::io::Errno::NOSPC), ErrorCode::StorageFull);
        assert_eq!(code(rustix::io::Errno::DQUOT), ErrorCode::StorageFull);
        assert_eq!(code(rustix::io::Errno::ROFS), ErrorCode::StorageReadOnly);
        assert_eq!(code(rustix::io::Errno::ACCESS), ErrorCode::StorageReadOnly);
        assert_eq!(code(rustix::io::Errno::IO), ErrorCode::StorageFailed);
    }

    #[test]
    fn the_sent_message_keeps_the_cause() {
        let manifest = podium_wire::manifest::Manifest::from_section(b"{").expect_err("not JSON");
        let sent = RegistryError::InvalidManifest(manifest).to_wire();
        assert_eq!(sent.known_code(), Some(ErrorCode::InvalidManifest));
        assert!(sent.message.contains("EOF while parsing"), "{}", sent.message);
    }
}
