//! Streams of files and of names for guests of WASI 0.3.
//!
//! A stream reads or writes when the other end is ready, on the guest's thread, and counts for as long as it lives. Must never hold bytes that
//! nobody asked for, and never write what there is no room for.

use std::fs::File;
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use podium_capabilities::workspace::Extent;
use rustix::io::ReadWriteFlags;
use tokio::sync::oneshot;
use wasmtime::StoreContextMut;
use wasmtime::component::{Destination, Source, StreamConsumer, StreamProducer, StreamResult, VecBuffer};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p3::bindings::filesystem::types;

use super::p3_files::kind;
use super::workspace::Held03;
use crate::guest::GuestState;

/// Bytes that a stream reads for the host's own buffer; a guest's own is filled as it is.
const READ_BYTES: usize = 64 * 1024;

/// Names that a stream hands over where the reader does not say how many it takes.
const NAMES: usize = 32;

/// Where the end of a stream is told.
pub(super) type Ended = oneshot::Sender<Result<(), types::ErrorCode>>;

/// Tells how a stream ended; nobody need listen.
pub(super) fn end(ended: &mut Option<Ended>, result: Result<(), types::ErrorCode>) {
    if let Some(ended) = ended.take() {
        drop(ended.send(result));
    }
}

/// A stream from a file.
pub(super) struct Reading {
    pub(super) file: Arc<File>,
    pub(super) at: u64,
    pub(super) ended: Option<Ended>,
    pub(super) _held: Held03,
}

impl StreamProducer<GuestState> for Reading {
    type Item = u8;
    type Buffer = VecBuffer<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'a, GuestState>,
        destination: Destination<'a, u8, VecBuffer<u8>>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut destination = destination.as_direct(store, READ_BYTES);
        if destination.remaining().is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let (file, at) = (Arc::clone(&self.file), self.at);
        let result = match file.read_at(destination.remaining(), at) {
            Ok(0) => Ok(()),
            Ok(count) => {
                destination.mark_written(count);
                self.at = at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            Err(error) => Err(error.into()),
        };
        end(&mut self.ended, result);
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        end(&mut self.ended, Ok(()));
    }
}

/// A stream into a file, from a place on or at its end.
pub(super) struct Writing {
    pub(super) file: Arc<File>,
    pub(super) extent: Option<Arc<Extent>>,
    pub(super) at: Option<u64>,
    pub(super) ended: Option<Ended>,
    pub(super) _held: Held03,
}

impl Writing {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, types::ErrorCode> {
        if let Some(extent) = &self.extent {
            let offset = self.at.unwrap_or_else(|| extent.size());
            extent.write(offset, bytes.len()).map_err(|_| types::ErrorCode::Quota)?;
        }
        let count = match self.at {
            Some(at) => self.file.write_at(bytes, at)?,
            None => rustix::io::pwritev2(&self.file, &[IoSlice::new(bytes)], 0, ReadWriteFlags::APPEND)
                .map_err(std::io::Error::from)?,
        };
        self.at = self.at.map(|at| at.saturating_add(u64::try_from(count).unwrap_or(u64::MAX)));
        Ok(count)
    }
}

impl StreamConsumer<GuestState> for Writing {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        store: StoreContextMut<'_, GuestState>,
        source: Source<'_, u8>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let mut source = source.as_direct(store);
        match self.write(source.remaining()) {
            Ok(count) => {
                source.mark_read(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Err(error) => {
                end(&mut self.ended, Err(error));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        end(&mut self.ended, Ok(()));
    }
}

/// A stream of a folder's names.
pub(super) struct Names {
    pub(super) left: std::vec::IntoIter<p2::DirectoryEntry>,
    pub(super) ended: Option<Ended>,
    pub(super) _held: Held03,
}

impl StreamProducer<GuestState> for Names {
    type Item = types::DirectoryEntry;
    type Buffer = VecBuffer<types::DirectoryEntry>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut store: StoreContextMut<'a, GuestState>,
        mut destination: Destination<'a, Self::Item, Self::Buffer>,
        _finish: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let count = destination.remaining(&mut store).unwrap_or(NAMES);
        if count == 0 {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        let entry = |found: p2::DirectoryEntry| types::DirectoryEntry { type_: kind(found.type_), name: found.name };
        let names: Vec<_> = self.left.by_ref().take(count).map(entry).collect();
        let result = if names.len() < count {
            end(&mut self.ended, Ok(()));
            StreamResult::Dropped
        } else {
            StreamResult::Completed
        };
        destination.set_buffer(names.into());
        Poll::Ready(Ok(result))
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        end(&mut self.ended, Ok(()));
    }
}
