//! A stream into a file that takes room of the workspace's limit before it writes.
//!
//! Everything else is the engine's stream. Must forward `blocking_write_and_flush`: without it each write is another thread's work.

use std::sync::Arc;

use bytes::Bytes;
use podium_capabilities::workspace::Extent;
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{DynOutputStream, OutputStream, StreamError, StreamResult};

/// A stream that counts what it writes.
pub(super) struct Metered {
    inner: DynOutputStream,
    extent: Arc<Extent>,
    /// Where the next byte goes; none for the file's end.
    at: Option<u64>,
    is_closed: bool,
}

impl Metered {
    /// Counts what goes through `inner` into a file.
    pub(super) fn new(inner: DynOutputStream, extent: Arc<Extent>, at: Option<u64>) -> Self {
        Self { inner, extent, at, is_closed: false }
    }

    fn take(&mut self, len: usize) -> StreamResult<()> {
        if self.is_closed {
            return Err(StreamError::Closed);
        }
        let offset = self.at.unwrap_or_else(|| self.extent.size());
        if let Err(over) = self.extent.write(offset, len) {
            // As after any failed write.
            self.is_closed = true;
            return Err(StreamError::LastOperationFailed(over.into()));
        }
        self.at = self.at.map(|at| at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX)));
        Ok(())
    }
}

#[async_trait]
impl Pollable for Metered {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

#[async_trait]
impl OutputStream for Metered {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(bytes.len())?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> StreamResult<()> {
        if self.is_closed { Err(StreamError::Closed) } else { self.inner.flush() }
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.is_closed { Err(StreamError::Closed) } else { self.inner.check_write() }
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(bytes.len())?;
        self.inner.blocking_write_and_flush(bytes).await
    }

    async fn cancel(&mut self) {
        self.inner.cancel().await;
    }
}
