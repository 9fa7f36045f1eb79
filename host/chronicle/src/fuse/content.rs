//! Calls on open files.
//!
//! A file that is open for writing is in every generation of the dirty set until it is given back, which a mapping puts off. Must never
//! allocate by a number that was sent, nor wait for anything but the disk.

use std::os::fd::OwnedFd;

use fuser::{FileHandle, FopenFlags, OpenAccMode, OpenFlags, ReplyEmpty};
use podium_kit::descriptors::Held;
use rustix::buffer::spare_capacity;
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, Statx};
use rustix::io::Errno;

use super::adapter::{Adapter, Given};
use super::attr::{is_file, seen, stat_of};
use super::gate::Change;
use super::handles::Opened;
use super::past::FIRST;
use crate::limits::MOUNT_IO_BYTES;

/// How a file is opened for whoever wants it so: appending, caching and emptying are the kernel's part.
pub(super) fn opening(flags: i32) -> OFlags {
    let kept = flags & (libc::O_ACCMODE | libc::O_SYNC | libc::O_DSYNC);
    let own = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    OFlags::from_bits_retain(u32::try_from(kept).unwrap_or(0)) | own
}

impl Adapter {
    pub(super) fn open_file(&self, ino: u64, flags: OpenFlags) -> Result<Given, Errno> {
        let writes = flags.acc_mode() != OpenAccMode::O_RDONLY;
        if ino >= FIRST {
            if writes {
                return Err(Errno::ROFS);
            }
            // Its size is of this moment, so it is read to its end and not to what the kernel remembers.
            return Ok(Given { handle: self.past.open_file(ino)?, flags: FopenFlags::FOPEN_DIRECT_IO });
        }
        let entered = if writes { Some(self.enter(Change::Other)?) } else { None };
        let held = self.handles.hold()?;
        let file = match self.folders.at(ino) {
            Ok(at) if !is_file(&at.stat) => return Err(Errno::STALE),
            Ok(at) => rustix::fs::openat(&at.folder, &*at.name, opening(flags.0), Mode::empty())?,
            // It has no name any more, and is open.
            Err(stale) => {
                let open = self.handles.of_inode(ino, false).ok_or(stale)?;
                let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&open.file));
                rustix::fs::open(link, opening(flags.0) - OFlags::NOFOLLOW, Mode::empty())?
            }
        };
        let stat = stat_of(&file)?;
        let meant = self.folders.table().identity(ino).ok_or(Errno::STALE)?;
        self.folders.checked(stat, meant)?;
        let given = self.given(file, &stat, flags.0, held);
        drop(entered);
        Ok(given)
    }

    /// A file was opened or made: its writers are told, and the kernel keeps its pages where it has seen them as they are.
    pub(super) fn given(&self, file: OwnedFd, stat: &Statx, flags: i32, held: Held) -> Given {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let is_followed = writes && self.told.opened(stat.stx_ino, &file);
        let promise = self.gate.promise();
        let now = promise.as_ref().map(|_| seen(stat));
        let is_same = self.folders.table().is_as_seen(stat.stx_ino, now);
        let opened = Opened { file, ino: stat.stx_ino, writes, is_followed, _held: held };
        let handle = FileHandle(self.handles.add(opened));
        Given { handle, flags: if is_same { FopenFlags::FOPEN_KEEP_CACHE } else { FopenFlags::empty() } }
    }

    pub(super) fn close_file(&self, handle: FileHandle) {
        if handle.0 >= FIRST {
            return self.past.close(handle);
        }
        let Some(opened) = self.handles.remove(handle.0) else { return };
        if opened.writes {
            self.forget_writer(&opened);
            // What the kernel has of it is what was written, unless a guest may write too.
            let promise = self.gate.promise();
            let now = promise.and_then(|_| stat_of(&opened.file).ok()).map(|stat| seen(&stat));
            self.folders.table().is_as_seen(opened.ino, now);
        }
    }

    pub(super) fn forget_writer(&self, opened: &Opened) {
        if opened.is_followed {
            self.told.closed(opened.ino);
        } else {
            self.told.somewhere();
        }
    }

    pub(super) fn read_file(&self, handle: FileHandle, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        if handle.0 >= FIRST {
            return self.past.read(handle, offset, size.min(MOUNT_IO_BYTES));
        }
        let opened = self.handles.file(handle.0)?;
        let size = size.min(MOUNT_IO_BYTES) as usize;
        let mut bytes = Vec::with_capacity(size.max(1));
        // Less than was asked for is the end of the file to the kernel.
        while bytes.len() < size {
            let at = offset.saturating_add(bytes.len() as u64);
            match rustix::io::pread(&opened.file, spare_capacity(&mut bytes), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    pub(super) fn write_file(&self, handle: FileHandle, offset: u64, data: &[u8]) -> Result<usize, Errno> {
        let opened = self.handles.file(handle.0)?;
        let mut written = 0;
        while written < data.len() {
            match rustix::io::pwrite(&opened.file, &data[written..], offset.saturating_add(written as u64)) {
                Ok(0) => break,
                Ok(bytes) => written += bytes,
                Err(Errno::INTR) => {}
                // What is written stays, and the next call has the error.
                Err(_) if written > 0 => break,
                Err(error) => return Err(error),
            }
        }
        self.tell_unfollowed(&opened);
        Ok(written)
    }

    fn tell_unfollowed(&self, opened: &Opened) {
        if !opened.is_followed {
            self.told.somewhere();
        }
    }

    /// Answers when what was written before is in a cut.
    pub(super) fn cut(&self, reply: ReplyEmpty) {
        if let Some(reply) = self.gate.sync(reply) {
            if self.gate.has_ended() {
                reply.error(super::attr::answer(Errno::NOTCONN));
            } else {
                // While a turn has the workspace, what was written before it is in a cut already.
                reply.ok();
            }
        }
    }

    pub(super) fn allocate(&self, handle: FileHandle, offset: u64, length: u64, mode: i32) -> Result<(), Errno> {
        let opened = self.handles.file(handle.0)?;
        let mode = FallocateFlags::from_bits_retain(u32::try_from(mode).map_err(|_| Errno::INVAL)?);
        rustix::fs::fallocate(&opened.file, mode, offset, length)?;
        self.tell_unfollowed(&opened);
        Ok(())
    }

    /// Where data or a hole begins; all other seeking is the kernel's.
    pub(super) fn seek(&self, handle: FileHandle, offset: i64, whence: i32) -> Result<i64, Errno> {
        let opened = self.handles.file(handle.0)?;
        let offset = u64::try_from(offset).map_err(|_| Errno::NXIO)?;
        let to = match whence {
            libc::SEEK_DATA => SeekFrom::Data(offset),
            libc::SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let at = rustix::fs::seek(&opened.file, to)?;
        i64::try_from(at).map_err(|_| Errno::OVERFLOW)
    }

    pub(super) fn copy(
        &self,
        (from, from_at): (FileHandle, u64),
        (to, to_at): (FileHandle, u64),
        len: u64,
    ) -> Result<usize, Errno> {
        let (source, target) = (self.handles.file(from.0)?, self.handles.file(to.0)?);
        // The kernel comes again for the rest: one call must not hold a thread for a whole file.
        let len = usize::try_from(len.min(COPY_BYTES_MAX)).unwrap_or(usize::MAX);
        let (mut from_at, mut to_at) = (from_at, to_at);
        let copied =
            rustix::fs::copy_file_range(&source.file, Some(&mut from_at), &target.file, Some(&mut to_at), len)?;
        self.tell_unfollowed(&target);
        Ok(copied)
    }
}

/// Bytes that one call copies within the file system.
const COPY_BYTES_MAX: u64 = 64 * 1024 * 1024;
