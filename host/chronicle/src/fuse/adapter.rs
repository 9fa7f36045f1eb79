//! The workspace as the kernel asks for it through a mount: each call of the protocol, answered from `work/`.
//!
//! Only translates; what a call does is in `names`, `content`, `attributes` and `listing`. What is not here is answered with `ENOSYS`, after which the
//! kernel does not ask again: `flush`, because nothing is held back here; `access`, because the kernel checks rights itself; locks, which it
//! keeps itself; extended attributes, because no version has them, so none can be set and lost. Must never touch the mount itself.

use std::ffi::OsStr;
use std::io;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use podium_kit::Clock;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::attr::{answer, attr, identity, is_folder};
use super::attributes::Wanted;
use super::folders::Folders;
use super::gate::{Change, Entered, Gate, Refused};
use super::handles::{Handles, Listed};
use super::past::{FIRST, Past};
use super::told::Told;
use crate::limits::{MOUNT_IO_BYTES, MOUNT_TTL_MS};

/// A workspace behind a mount.
pub(super) struct Adapter {
    pub(super) folders: Folders,
    pub(super) handles: Handles,
    pub(super) told: Told,
    pub(super) past: Past,
    pub(super) gate: Gate<ReplyEmpty>,
    pub(super) clock: Clock,
    /// True when the host may give what it makes to whoever asked for it.
    pub(super) gives: bool,
}

/// The adapter, shared between its session with the kernel and the mount's owner.
#[derive(Clone)]
pub(super) struct Shared(pub(super) Arc<Adapter>);

impl Deref for Shared {
    type Target = Adapter;

    fn deref(&self) -> &Adapter {
        &self.0
    }
}

/// What the kernel is told of a name.
pub(super) struct Known {
    pub(super) attr: FileAttr,
    pub(super) generation: Generation,
    pub(super) ttl: Duration,
}

/// A file that was opened.
pub(super) struct Given {
    pub(super) handle: FileHandle,
    pub(super) flags: FopenFlags,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl From<&Request> for Caller {
    fn from(request: &Request) -> Self {
        Self { uid: request.uid(), gid: request.gid() }
    }
}

impl Adapter {
    /// Lets a change in.
    pub(super) fn enter(&self, change: Change) -> Result<Entered<ReplyEmpty>, Errno> {
        self.gate.enter(change).map_err(|refused| match refused {
            Refused::ReadOnly => Errno::ROFS,
            Refused::Full => Errno::DQUOT,
            Refused::Ended => Errno::NOTCONN,
        })
    }

    /// The kernel is told of a name; with `may_keep` it may believe it for a while.
    pub(super) fn know(&self, parent: u64, name: &[u8], stat: &Statx, may_keep: bool) -> Result<Known, Errno> {
        let ttl = ttl(may_keep);
        let until = may_keep.then(|| self.clock.monotonic() + ttl);
        let found = identity(stat);
        {
            let mut table = self.folders.table();
            let was = table.identity(found.ino);
            if !table.learn(parent, name, found, is_folder(stat), until) {
                return Err(Errno::NFILE);
            }
            drop(table);
            if was.is_some_and(|was| was != found) {
                self.folders.close(found.ino);
            }
        }
        Ok(Known { attr: attr(stat), generation: Generation(found.generation), ttl })
    }
}

/// How long the kernel may believe what it is told.
pub(super) fn ttl(may_keep: bool) -> Duration {
    if may_keep { Duration::from_millis(MOUNT_TTL_MS) } else { Duration::ZERO }
}

fn entry(reply: ReplyEntry, known: Result<Known, Errno>) {
    match known {
        Ok(known) => reply.entry(&known.ttl, &known.attr, known.generation),
        Err(error) => reply.error(answer(error)),
    }
}

/// What the kernel is to believe for this call only.
fn passing(attr: FileAttr) -> Known {
    Known { attr, generation: Generation(0), ttl: Duration::ZERO }
}

fn empty(reply: ReplyEmpty, done: Result<(), Errno>) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(answer(error)),
    }
}

fn written(reply: ReplyWrite, done: Result<usize, Errno>) {
    match done {
        Ok(bytes) => reply.written(u32::try_from(bytes).unwrap_or(u32::MAX)),
        Err(error) => reply.error(answer(error)),
    }
}

impl Filesystem for Shared {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // What the kernel of today lacks, it does without.
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_ASYNC_DIO,
        ] {
            if config.add_capabilities(wanted).is_err() {
                tracing::debug!(?wanted, "the kernel's mounts lack something");
            }
        }
        config.set_max_write(MOUNT_IO_BYTES).map(|_| ()).map_err(|most| io::Error::other(format!("at most {most}")))
    }

    fn destroy(&mut self) {
        // Unmounted, by whomever.
        drop(self.gate.end());
        self.end();
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if Past::has(parent.0, name.as_bytes()) {
            return entry(reply, self.past.look_up(parent.0, name.as_bytes()).map(passing));
        }
        let promise = self.gate.promise();
        entry(reply, self.look_up(parent.0, name.as_bytes(), promise.is_some()));
    }

    fn forget(&self, _req: &Request, ino: INodeNo, lookups: u64) {
        if ino.0 >= FIRST {
            return self.past.forget(ino.0, lookups);
        }
        if self.folders.table().forget(ino.0, lookups) {
            self.folders.close(ino.0);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, handle: Option<FileHandle>, reply: ReplyAttr) {
        let promise = self.gate.promise().filter(|_| ino.0 < FIRST);
        match self.attributes(ino.0, handle, promise.is_some()) {
            Ok(attr) => reply.attr(&ttl(promise.is_some()), &attr),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let wanted = Wanted { mode, uid, gid, size, atime, mtime };
        let change = if size.is_some_and(|size| size > 0) { Change::Growth } else { Change::Other };
        let entered = self.enter(change);
        match entered.as_ref().map_err(|error| *error).and_then(|_| self.set(ino.0, handle, &wanted)) {
            Ok(attr) => reply.attr(&ttl(true), &attr),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn readlink(&self, _req: &Request, ino: INodeNo, reply: ReplyData) {
        match self.target(ino.0) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let entered = self.enter(Change::Growth);
        let made = |_: &_| self.make_node(req.into(), parent.0, name.as_bytes(), mode, rdev);
        entry(reply, entered.as_ref().map_err(|error| *error).and_then(made));
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, _umask: u32, reply: ReplyEntry) {
        let entered = self.enter(Change::Growth);
        let made = |_: &_| self.make_folder(req.into(), parent.0, name.as_bytes(), mode);
        entry(reply, entered.as_ref().map_err(|error| *error).and_then(made));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let entered = self.enter(Change::Growth);
        let made = |_: &_| self.make_link(req.into(), parent.0, name.as_bytes(), target.as_os_str().as_bytes());
        entry(reply, entered.as_ref().map_err(|error| *error).and_then(made));
    }

    fn link(&self, _req: &Request, ino: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let entered = self.enter(Change::Growth);
        let made = |_: &_| self.add_name(ino.0, parent.0, name.as_bytes());
        entry(reply, entered.as_ref().map_err(|error| *error).and_then(made));
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let entered = self.enter(Change::Other);
        let removed = |_: &_| self.remove(parent.0, name.as_bytes(), false);
        empty(reply, entered.as_ref().map_err(|error| *error).and_then(removed));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let entered = self.enter(Change::Other);
        let removed = |_: &_| self.remove(parent.0, name.as_bytes(), true);
        empty(reply, entered.as_ref().map_err(|error| *error).and_then(removed));
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let entered = self.enter(Change::Other);
        let from = (parent.0, name.as_bytes());
        let to = (new_parent.0, new_name.as_bytes());
        let renamed = |_: &_| self.rename_entry(from, to, flags);
        empty(reply, entered.as_ref().map_err(|error| *error).and_then(renamed));
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.open_file(ino.0, flags) {
            Ok(given) => reply.opened(given.handle, given.flags),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let entered = self.enter(Change::Growth);
        let made = |_: &_| self.create_file(req.into(), parent.0, name.as_bytes(), mode, flags);
        match entered.as_ref().map_err(|error| *error).and_then(made) {
            Ok((known, given)) => {
                reply.created(&known.ttl, &known.attr, known.generation, given.handle, given.flags);
            }
            Err(error) => reply.error(answer(error)),
        }
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.read_file(handle, offset, size) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let of_mapping = write_flags.contains(WriteFlags::FUSE_WRITE_CACHE);
        let entered = self.enter(if of_mapping { Change::WriteBack } else { Change::Growth });
        let done = |_: &_| self.write_file(handle, offset, data);
        written(reply, entered.as_ref().map_err(|error| *error).and_then(done));
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.close_file(handle);
        reply.ok();
    }

    fn fsync(&self, _req: &Request, _ino: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.cut(reply);
    }

    fn fsyncdir(&self, _req: &Request, _ino: INodeNo, _handle: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.cut(reply);
    }

    fn opendir(&self, _req: &Request, ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.open_folder(ino.0) {
            Ok(handle) => reply.opened(handle, FopenFlags::empty()),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn readdir(&self, _req: &Request, _ino: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = if handle.0 >= FIRST {
            self.past.list(handle, offset, |listed, attr| {
                !reply.add(attr.ino, listed.next, listed.kind, OsStr::from_bytes(&listed.name))
            })
        } else {
            self.list(handle, offset, |listed| {
                Ok(!reply.add(INodeNo(listed.ino), listed.next, listed.kind, OsStr::from_bytes(&listed.name)))
            })
        };
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let promise = self.gate.promise().filter(|_| handle.0 < FIRST);
        let mut add = |listed: &Listed, known: &Known| {
            let (name, of) = (OsStr::from_bytes(&listed.name), known.attr.ino);
            !reply.add(of, listed.next, name, &known.ttl, &known.attr, known.generation)
        };
        let listed = if handle.0 >= FIRST {
            self.past.list(handle, offset, |listed, attr| add(listed, &passing(*attr)))
        } else {
            self.list_known(ino.0, handle, offset, promise.is_some(), add)
        };
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn releasedir(&self, _req: &Request, _ino: INodeNo, handle: FileHandle, _flags: OpenFlags, reply: ReplyEmpty) {
        if handle.0 >= FIRST {
            self.past.close(handle);
        } else {
            self.handles.remove_folder(handle.0);
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        match rustix::fs::fstatvfs(self.folders.root()) {
            Ok(of) => reply.statfs(
                of.f_blocks,
                of.f_bfree,
                of.f_bavail,
                of.f_files,
                of.f_ffree,
                u32::try_from(of.f_bsize).unwrap_or(4096),
                u32::try_from(of.f_namemax).unwrap_or(255),
                u32::try_from(of.f_frsize).unwrap_or(4096),
            ),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let entered = self.enter(Change::Growth);
        let done = |_: &_| self.allocate(handle, offset, length, mode);
        empty(reply, entered.as_ref().map_err(|error| *error).and_then(done));
    }

    fn lseek(&self, _req: &Request, _ino: INodeNo, handle: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        match self.seek(handle, offset, whence) {
            Ok(at) => reply.offset(at),
            Err(error) => reply.error(answer(error)),
        }
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        _ino_in: INodeNo,
        handle_in: FileHandle,
        offset_in: u64,
        _ino_out: INodeNo,
        handle_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let entered = self.enter(Change::Growth);
        let done = |_: &_| self.copy((handle_in, offset_in), (handle_out, offset_out), len);
        written(reply, entered.as_ref().map_err(|error| *error).and_then(done));
    }
}
