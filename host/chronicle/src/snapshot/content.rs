//! Reading one file or link of the workspace into the store.
//!
//! A file that changes while it is read is read again; one that never holds still is stored as it came and called unstable.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use fastcdc::v2020::StreamCDC;
use podium_sqlite::Database;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::beneath;
use crate::cas::{Cas, Part, hash_zeros};
use crate::error::ChronicleError;
use crate::failpoint;
use crate::hash::ContentHash;
use crate::limits::{CHUNK_AVERAGE, CHUNK_MAX, CHUNK_MIN, FILE_BYTES_MAX, READ_TRIES, WHOLE_BYTES};
use crate::node::{Kind, Meta, SkipReason};
use crate::path::WorkPath;

/// What came of reading an entry.
#[derive(Debug)]
pub(super) enum Content {
    /// Stored; `meta` is what the system said before and after.
    Stored { hash: ContentHash, size: u64, meta: Meta, stable: bool },
    /// It is not there any more.
    Gone,
    /// It is left out.
    Skipped(SkipReason, Meta),
}

/// Starts writing a file's dirty pages back, so that the next write through a mapping changes the file's change time. Such a
/// write to a page that is dirty already leaves no trace.
#[expect(unsafe_code, reason = "sync_file_range has no safe form")]
fn show_mapped_writes(file: BorrowedFd<'_>) {
    // SAFETY: the descriptor is open for the whole call, and the call takes nothing else of this process.
    // Its failure changes nothing: the file is hashed in any case.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// Stores what a file of this folder holds. `meta` is what the system said of the name; `held` says that it may be mapped for
/// writing: only then can a later write hide, as the first write of any new mapping changes the file's times.
pub(super) fn store_file(
    cas: &mut Cas,
    database: &Database,
    folder: BorrowedFd<'_>,
    (path, name): (&WorkPath, &[u8]),
    meta: &Meta,
    held: bool,
    bytes_max: u64,
) -> Result<Content, ChronicleError> {
    let file = match beneath::file_in(folder, name) {
        Ok(file) => file,
        Err(error) if beneath::is_gone(error) => return Ok(Content::Gone),
        Err(Errno::ACCESS | Errno::PERM) => return Ok(Content::Skipped(SkipReason::Unreadable, *meta)),
        Err(Errno::XDEV) => return Ok(Content::Skipped(SkipReason::OtherFileSystem, *meta)),
        // A device without a driver, or a socket: it took the file's place.
        Err(Errno::NXIO | Errno::NODEV) => return Ok(Content::Skipped(SkipReason::Device, *meta)),
        Err(error) => return Err(ChronicleError::work(path, error)),
    };
    let failed = |error: Errno| ChronicleError::work(path, error);
    let mut tries = 0;
    loop {
        tries += 1;
        let before = beneath::meta_of(file.as_fd()).map_err(failed)?;
        match before.kind {
            Ok(Kind::File) => {}
            // Something else has the name now; the writer that put it there tells of it.
            Ok(_) => return Ok(Content::Gone),
            Err(reason) => return Ok(Content::Skipped(reason, before)),
        }
        if before.size > bytes_max {
            return Ok(Content::Skipped(SkipReason::TooBig, before));
        }
        if held {
            show_mapped_writes(file.as_fd());
        }
        failpoint::hit("content.read").map_err(|error| ChronicleError::work(path, error))?;
        let (hash, size) = match read(cas, database, &file, &before) {
            Ok(read) => read,
            Err(ReadError::TooBig) => return Ok(Content::Skipped(SkipReason::TooBig, before)),
            Err(ReadError::Io(error)) => return Err(ChronicleError::work(path, error)),
            Err(ReadError::Store(error)) => return Err(error),
        };
        let after = beneath::meta_of(file.as_fd()).map_err(failed)?;
        let stable = before.stamp() == after.stamp() && size == after.size;
        if stable || tries >= READ_TRIES {
            return Ok(Content::Stored { hash, size, meta: after, stable });
        }
    }
}

/// Stores a link's target.
pub(super) fn store_link(
    cas: &mut Cas,
    database: &Database,
    folder: BorrowedFd<'_>,
    path: &WorkPath,
    name: &[u8],
    meta: &Meta,
) -> Result<Content, ChronicleError> {
    match beneath::target_in(folder, name) {
        Ok(target) => {
            let size = u64::try_from(target.len()).unwrap_or(0);
            Ok(Content::Stored { hash: cas.put(database, &target)?, size, meta: *meta, stable: true })
        }
        // EINVAL: it is no link any more.
        Err(Errno::INVAL) => Ok(Content::Gone),
        Err(error) if beneath::is_gone(error) => Ok(Content::Gone),
        Err(Errno::NAMETOOLONG) => Ok(Content::Skipped(SkipReason::PathTooLong, *meta)),
        Err(error) => Err(ChronicleError::work(path, error)),
    }
}

enum ReadError {
    TooBig,
    Io(io::Error),
    Store(ChronicleError),
}

impl From<ChronicleError> for ReadError {
    fn from(error: ChronicleError) -> Self {
        Self::Store(error)
    }
}

fn read(cas: &mut Cas, database: &Database, file: &OwnedFd, meta: &Meta) -> Result<(ContentHash, u64), ReadError> {
    let whole = u64::try_from(WHOLE_BYTES).unwrap_or(u64::MAX);
    beneath::retried(|| rustix::fs::seek(file, SeekFrom::Start(0))).map_err(io)?;
    if meta.size > whole {
        return read_large(cas, database, file, meta.size);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.size).unwrap_or(0) + 1);
    let file = reader(file)?;
    file.take(whole + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() > WHOLE_BYTES {
        // It grew; the next look at it sees a large file, or this one is stored cut off and called unstable.
        bytes.truncate(WHOLE_BYTES);
    }
    let hash = cas.put(database, &bytes)?;
    Ok((hash, u64::try_from(bytes.len()).unwrap_or(0)))
}

fn io(error: Errno) -> ReadError {
    ReadError::Io(error.into())
}

/// A handle of its own for std's traits; it shares the position.
fn reader(file: &OwnedFd) -> Result<File, ReadError> {
    Ok(File::from(file.try_clone().map_err(ReadError::Io)?))
}

/// A large file is divided where its bytes say so, and its holes are kept as holes.
fn read_large(cas: &mut Cas, database: &Database, file: &OwnedFd, size: u64) -> Result<(ContentHash, u64), ReadError> {
    let mut hasher = blake3::Hasher::new();
    let mut parts = Vec::new();
    let mut at = 0;
    while at < size {
        let data = match beneath::retried(|| rustix::fs::seek(file, SeekFrom::Data(at))) {
            Ok(data) => data.min(size),
            // Only a hole is left.
            Err(Errno::NXIO) => size,
            Err(error) => return Err(io(error)),
        };
        if data > at {
            hash_zeros(&mut hasher, data - at);
            parts.push(Part::Zeros(data - at));
            at = data;
            continue;
        }
        let end = match beneath::retried(|| rustix::fs::seek(file, SeekFrom::Hole(at))) {
            Ok(end) => end.clamp(at, size),
            Err(Errno::NXIO) => at,
            Err(error) => return Err(io(error)),
        };
        if end == at {
            break;
        }
        beneath::retried(|| rustix::fs::seek(file, SeekFrom::Start(at))).map_err(io)?;
        let mut extent = 0_u64;
        for chunk in StreamCDC::new(reader(file)?.take(end - at), CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX) {
            let chunk = chunk.map_err(|error| ReadError::Io(error.into()))?;
            hasher.update(&chunk.data);
            let hash = cas.put(database, &chunk.data)?;
            parts.push(Part::Data(u32::try_from(chunk.data.len()).unwrap_or(0), hash));
            extent += u64::try_from(chunk.data.len()).unwrap_or(0);
        }
        at += extent;
        if extent == 0 {
            break;
        }
        if at > FILE_BYTES_MAX {
            return Err(ReadError::TooBig);
        }
    }
    let hash = ContentHash::from(hasher.finalize());
    cas.put_list(database, hash, &parts)?;
    Ok((hash, at))
}
