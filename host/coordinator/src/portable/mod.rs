//! An instance as one file, out of this host and into another one.
//!
//! `entry`, `writer` and `reader` are the format, and pure: bytes in, bytes out. `export` and `import` move an instance through it. Must never
//! hold a whole workspace, component or conversation in memory, nor trust a number that a file says.
//!
//! The file (docs/guide/portable.md, decision 0047): a skippable frame of zstd with the format's number; one frame with a tar; a skippable frame
//! with the BLAKE3 of everything before it.

mod entry;
mod export;
mod import;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

use podium_wire::ErrorCode;
use podium_wire::limits::COMPONENT_BYTES_MAX;

use crate::error::{Error, io_code};

pub(crate) use export::{Export, ExportFiles, ExportRequest, Exporting, LEASE_MS};
pub(crate) use import::import;

/// Names of the entries that are no files of the workspace, in their order.
const HEAD_NAME: &[u8] = b"podium/export.json";
const COMPONENT_NAME: &[u8] = b"podium/component.wasm";
const STATE_NAME: &[u8] = b"podium/state.json";
const MESSAGES_NAME: &[u8] = b"podium/messages.jsonl";
/// What stands before the paths of the workspace.
const WORKSPACE_PREFIX: &[u8] = b"workspace/";

/// Bytes of `export.json`: a configuration, and a hundred paths as JSON writes them at the worst.
const HEAD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of the conversation, as the file has it: what no conversation of people comes near, and little beside the largest workspace.
const MESSAGES_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Bytes of one message there: the text of one turn's output at its cap, each character of it as long as JSON can make it.
const MESSAGE_BYTES_MAX: u64 = 6 * podium_capabilities::limits::OUTPUT_BYTES_CAP + 1024;

/// Bytes of a file that comes in. Packed as badly as can be it is a workspace at its cap with all its paths, a conversation and a component.
pub(crate) const FILE_BYTES_MAX: u64 = podium_capabilities::limits::WORKSPACE_BYTES_CAP
    + MESSAGES_BYTES_MAX
    + COMPONENT_BYTES_MAX
    + 2 * 1024 * 1024 * 1024;

/// How much a frame may look back, as a power of two: what is needed to read it is this many bytes.
const WINDOW_LOG_MAX: u32 = 23;

/// Bytes that are read, packed or sent at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// Why bytes are no export that this host takes.
#[derive(Debug, thiserror::Error)]
enum PortableError {
    /// It begins as something else.
    #[error("the file is no export of Podium: {0}")]
    Other(&'static str),
    /// Its format has another number.
    #[error("the export has the format {0}; this host reads {max}", max = podium_wire::portable::FORMAT)]
    Format(String),
    /// It is cut off, or its bytes are not those that were written.
    #[error("the export is not whole: {0}")]
    NotWhole(&'static str),
    /// It says what no export says.
    #[error("the export cannot be read: {0}")]
    Malformed(String),
    /// The disk failed.
    #[error("a file on its way cannot be used: {0}")]
    Io(#[source] io::Error),
}

impl PortableError {
    fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed(what.into())
    }

    /// What reading packed bytes said: the system's errors are the disk's, all others the file's.
    fn reading(error: io::Error) -> Self {
        match error.get_ref() {
            Some(inner) if inner.is::<Self>() => match error.downcast::<Self>() {
                Ok(own) => own,
                Err(error) => Self::Io(error),
            },
            _ if error.raw_os_error().is_some() => Self::Io(error),
            _ => Self::Malformed(error.to_string()),
        }
    }

    fn code(&self) -> ErrorCode {
        match self {
            Self::Other(_) | Self::NotWhole(_) | Self::Malformed(_) => ErrorCode::InvalidExport,
            Self::Format(_) => ErrorCode::ExportFormat,
            Self::Io(error) => io_code(error),
        }
    }
}

impl From<PortableError> for Error {
    fn from(error: PortableError) -> Self {
        Self::coded(error.code(), error.to_string())
    }
}
