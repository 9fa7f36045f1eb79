//! A disk that forgets what was not synced: a file system in memory, mounted with FUSE, that knows of each file and folder what is
//! there and what a power cut would leave.
//!
//! Stricter than the file systems that people have: the content of a file is safe after `fsync` of it, its name after `fsync` of its
//! folder, and nothing else makes anything safe.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use crate::Named;

/// Only this mount changes anything.
const TTL: Duration = Duration::from_secs(3600);
/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone)]
enum Content {
    File(Arc<Vec<u8>>),
    Folder(Arc<BTreeMap<Vec<u8>, u64>>),
    Link(Vec<u8>),
}

#[derive(Clone)]
struct Node {
    content: Content,
    mode: u16,
    mtime: SystemTime,
    ctime: SystemTime,
}

type Nodes = HashMap<u64, Node>;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(podium_kit::Clock::system().now_ns())
}

/// What there was, what was safe, and what was true, at one moment.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) after: String,
    pub(super) named: Named,
    now: Nodes,
    safe: Nodes,
}

struct State {
    now: Nodes,
    safe: Nodes,
    next: u64,
    /// What `messages.db` says.
    named: Named,
    images: Vec<Image>,
    recording: bool,
    /// Syncs of files whose names end so fail.
    failing: Option<&'static str>,
    /// Bytes that all files together may have.
    room: usize,
}

impl State {
    fn node(&self, ino: INodeNo) -> Result<&Node, Errno> {
        self.now.get(&ino.0).ok_or(Errno::ENOENT)
    }

    fn node_mut(&mut self, ino: INodeNo) -> Result<&mut Node, Errno> {
        let node = self.now.get_mut(&ino.0).ok_or(Errno::ENOENT)?;
        node.ctime = now();
        Ok(node)
    }

    fn names(&self, folder: INodeNo) -> Result<&BTreeMap<Vec<u8>, u64>, Errno> {
        match &self.node(folder)?.content {
            Content::Folder(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn names_mut(&mut self, folder: INodeNo) -> Result<&mut BTreeMap<Vec<u8>, u64>, Errno> {
        let node = self.node_mut(folder)?;
        node.mtime = node.ctime;
        match &mut node.content {
            Content::Folder(names) => Ok(Arc::make_mut(names)),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn bytes_mut(&mut self, ino: INodeNo) -> Result<&mut Vec<u8>, Errno> {
        let node = self.node_mut(ino)?;
        node.mtime = node.ctime;
        match &mut node.content {
            Content::File(bytes) => Ok(Arc::make_mut(bytes)),
            _ => Err(Errno::EISDIR),
        }
    }

    fn find(&self, folder: INodeNo, name: &OsStr) -> Result<u64, Errno> {
        self.names(folder)?.get(name.as_bytes()).copied().ok_or(Errno::ENOENT)
    }

    fn make(&mut self, folder: INodeNo, name: &OsStr, content: Content, mode: u32) -> Result<FileAttr, Errno> {
        if self.names(folder)?.contains_key(name.as_bytes()) {
            return Err(Errno::EEXIST);
        }
        self.next += 1;
        let (ino, time) = (self.next, now());
        let mode = u16::try_from(mode & 0o7777).unwrap();
        self.now.insert(ino, Node { content, mode, mtime: time, ctime: time });
        self.names_mut(folder)?.insert(name.as_bytes().to_vec(), ino);
        self.attr(INodeNo(ino))
    }

    fn attr(&self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let node = self.node(ino)?;
        let (kind, size) = match &node.content {
            Content::File(bytes) => (FileType::RegularFile, bytes.len()),
            Content::Folder(_) => (FileType::Directory, 0),
            Content::Link(target) => (FileType::Symlink, target.len()),
        };
        let size = u64::try_from(size).unwrap();
        Ok(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: node.mtime,
            mtime: node.mtime,
            ctime: node.ctime,
            crtime: node.ctime,
            kind,
            perm: node.mode,
            nlink: 1,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    /// Bytes of all files.
    fn taken(&self) -> usize {
        let bytes = |node: &Node| if let Content::File(bytes) = &node.content { bytes.len() } else { 0 };
        self.now.values().map(bytes).sum()
    }

    /// Makes a file longer, if there is room for that.
    fn reach(&mut self, ino: INodeNo, len: usize) -> Result<&mut Vec<u8>, Errno> {
        let taken = self.taken();
        let room = self.room;
        let bytes = self.bytes_mut(ino)?;
        if len > bytes.len() {
            if taken + (len - bytes.len()) > room {
                return Err(Errno::ENOSPC);
            }
            bytes.resize(len, 0);
        }
        Ok(bytes)
    }

    fn name_of(&self, ino: INodeNo) -> String {
        let named = |node: &Node| match &node.content {
            Content::Folder(names) => names.iter().find(|(_, other)| **other == ino.0).map(|(name, _)| name.clone()),
            _ => None,
        };
        self.now.values().find_map(named).map_or_else(String::new, |name| String::from_utf8(name).unwrap())
    }

    fn sync(&mut self, ino: INodeNo) -> Result<(), Errno> {
        let name = self.name_of(ino);
        // What a cut in the middle of it may leave is as before, or torn.
        self.capture(&format!("before the sync of {name}"));
        if self.failing.is_some_and(|end| name.ends_with(end)) {
            return Err(Errno::EIO);
        }
        let node = self.node(ino)?.clone();
        self.safe.insert(ino.0, node);
        self.capture(&format!("after the sync of {name}"));
        Ok(())
    }

    fn capture(&mut self, after: &str) {
        if self.recording {
            let (now, safe) = (self.now.clone(), self.safe.clone());
            self.images.push(Image { after: after.to_owned(), named: self.named, now, safe });
        }
    }
}

/// From now on the databases of this process have the index of their log in its memory. As a mapping of a file on a disk that this process
/// serves itself, it stops both: who unmaps it waits for the disk with the process's memory locked, and the disk for that memory.
#[expect(unsafe_code, reason = "which file layer SQLite takes is chosen by its own functions only")]
fn keep_indexes_in_memory() {
    use rusqlite::ffi;
    // Safety: the name ends with a zero, and the layer is SQLite's own and lives as long as the process.
    let result = unsafe { ffi::sqlite3_vfs_register(ffi::sqlite3_vfs_find(c"unix-excl".as_ptr()), 1) };
    assert_eq!(result, ffi::SQLITE_OK);
}

/// The disk; clones are the same one.
#[derive(Clone)]
pub(super) struct Disk(Arc<Mutex<State>>);

impl Disk {
    /// Mounts an empty one; none where this machine has no FUSE.
    pub(super) fn mount(at: &Path) -> Option<(Self, BackgroundSession)> {
        if std::fs::File::options().read(true).write(true).open("/dev/fuse").is_err() {
            eprintln!("skipped: there is no /dev/fuse that this user may use");
            return None;
        }
        keep_indexes_in_memory();
        std::fs::create_dir_all(at).unwrap();
        let time = now();
        let root = Node { content: Content::Folder(Arc::default()), mode: 0o755, mtime: time, ctime: time };
        let now = Nodes::from([(1, root)]);
        let disk = Self(Arc::new(Mutex::new(State {
            safe: now.clone(),
            now,
            next: 1,
            named: Named::default(),
            images: Vec::new(),
            recording: false,
            failing: None,
            room: usize::MAX,
        })));
        let session = fuser::spawn_mount(disk.clone(), at, &Config::default()).unwrap();
        Some((disk, session))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From now on every sync is remembered.
    pub(super) fn record(&self) {
        self.state().recording = true;
    }

    /// What was remembered so far.
    pub(super) fn images(&self) -> Vec<Image> {
        std::mem::take(&mut self.state().images)
    }

    /// `messages.db` names this.
    pub(super) fn name(&self, named: Named) {
        self.state().named = named;
    }

    pub(super) fn capture(&self, after: &str) {
        self.state().capture(after);
    }

    /// From now on it has room for so many bytes more; for any number of them with none.
    pub(super) fn has_room(&self, bytes: Option<usize>) {
        let state = &mut *self.state();
        state.room = bytes.map_or(usize::MAX, |bytes| state.taken() + bytes);
    }

    /// Syncs of files whose names end so fail from now on.
    pub(super) fn fail_syncs_of(&self, end: Option<&'static str>) {
        self.state().failing = end;
    }
}

/// What a power cut does to what was not synced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    /// A kill, not a power cut: everything stays.
    Kill,
    /// All of it goes.
    Forgets,
    /// Each sector and each folder goes or stays, by chance.
    Tears(u64),
}

impl Image {
    /// Writes what such a cut leaves into a folder.
    pub(super) fn leave(&self, cut: Cut, to: &Path) {
        let mut random = match cut {
            Cut::Tears(seed) => seed,
            _ => 0,
        };
        let mut chance = move || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match cut {
                Cut::Kill => true,
                Cut::Forgets => false,
                Cut::Tears(_) => random >> 63 == 1,
            }
        };
        let mut folders: Vec<(u64, PathBuf)> = vec![(1, to.to_owned())];
        while let Some((ino, path)) = folders.pop() {
            std::fs::create_dir_all(&path).unwrap();
            let sides = (self.safe.get(&ino), self.now.get(&ino));
            let side = if chance() { sides.1.or(sides.0) } else { sides.0 };
            let Some(Node { content: Content::Folder(names), .. }) = side else { continue };
            for (name, ino) in names.iter() {
                let path = path.join(OsStr::from_bytes(name));
                match (self.safe.get(ino), self.now.get(ino)) {
                    (Some(Node { content: Content::Folder(_), .. }), _)
                    | (None, Some(Node { content: Content::Folder(_), .. })) => folders.push((*ino, path)),
                    (Some(Node { content: Content::Link(target), .. }), _)
                    | (None, Some(Node { content: Content::Link(target), .. })) => {
                        std::os::unix::fs::symlink(OsStr::from_bytes(target), path).unwrap();
                    }
                    (safe, now) => {
                        let bytes = |node: Option<&Node>| match node.map(|node| &node.content) {
                            Some(Content::File(bytes)) => Arc::clone(bytes),
                            _ => Arc::default(),
                        };
                        std::fs::write(&path, torn(&bytes(safe), &bytes(now), &mut chance)).unwrap();
                        let mode = safe.or(now).map_or(0o600, |node| node.mode);
                        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode.into())).unwrap();
                    }
                }
            }
        }
    }
}

/// Content of which each sector is the safe one or the one that was there.
fn torn(safe: &[u8], now: &[u8], chance: &mut impl FnMut() -> bool) -> Vec<u8> {
    let len = if chance() { now.len() } else { safe.len() };
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = bytes.len()..(bytes.len() + SECTOR).min(len);
        let side = if chance() { now } else { safe };
        let found = side.get(at.start.min(side.len())..at.end.min(side.len())).unwrap_or_default();
        bytes.extend_from_slice(found);
        bytes.resize(at.end, 0);
    }
    bytes
}

/// Answers with what came of it.
macro_rules! answered {
    ($reply:ident, $result:expr, $value:ident => $done:expr) => {
        match $result {
            Ok($value) => $done,
            Err(error) => $reply.error(error),
        }
    };
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        let found = state.find(parent, name).and_then(|ino| state.attr(INodeNo(ino)));
        answered!(reply, found, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        answered!(reply, self.state().attr(ino), attr => reply.attr(&TTL, &attr));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let state = &mut *self.state();
        let mut set = || {
            if let Some(size) = size {
                let size = usize::try_from(size).unwrap();
                state.reach(ino, size)?.truncate(size);
            }
            let node = state.node_mut(ino)?;
            if let Some(mode) = mode {
                node.mode = u16::try_from(mode & 0o7777).unwrap();
            }
            match mtime {
                Some(TimeOrNow::SpecificTime(time)) => node.mtime = time,
                Some(TimeOrNow::Now) => node.mtime = now(),
                None => {}
            }
            state.attr(ino)
        };
        answered!(reply, set(), attr => reply.attr(&TTL, &attr));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        match self.state().node(ino).map(|node| &node.content) {
            Ok(Content::Link(target)) => reply.data(target),
            _ => reply.error(Errno::EINVAL),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let made = self.state().make(parent, name, Content::Folder(Arc::default()), mode & !umask);
        answered!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn symlink(&self, _: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let target = Content::Link(target.as_os_str().as_bytes().to_vec());
        let made = self.state().make(parent, name, target, 0o777);
        answered!(reply, made, attr => reply.entry(&TTL, &attr, Generation(0)));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let state = &mut *self.state();
        let gone = state.names_mut(parent).and_then(|names| names.remove(name.as_bytes()).ok_or(Errno::ENOENT));
        answered!(reply, gone, _gone => reply.ok());
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let state = &mut *self.state();
        let remove = state.find(parent, name).and_then(|ino| {
            if !state.names(INodeNo(ino))?.is_empty() {
                return Err(Errno::ENOTEMPTY);
            }
            state.names_mut(parent)?.remove(name.as_bytes());
            Ok(())
        });
        answered!(reply, remove, _gone => reply.ok());
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let state = &mut *self.state();
        let moved = state.find(parent, name).and_then(|ino| {
            if flags.contains(RenameFlags::RENAME_NOREPLACE) && state.find(to, new).is_ok() {
                return Err(Errno::EEXIST);
            }
            if let Ok(there) = state.find(to, new)
                && let Ok(names) = state.names(INodeNo(there))
                && !names.is_empty()
            {
                return Err(Errno::ENOTEMPTY);
            }
            state.names_mut(parent)?.remove(name.as_bytes());
            state.names_mut(to)?.insert(new.as_bytes().to_vec(), ino);
            Ok(())
        });
        answered!(reply, moved, _moved => reply.ok());
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, _: i32, reply: ReplyCreate) {
        let made = self.state().make(parent, name, Content::File(Arc::default()), mode & !umask);
        let flags = FopenFlags::FOPEN_KEEP_CACHE;
        answered!(reply, made, attr => reply.created(&TTL, &attr, Generation(0), FileHandle(0), flags));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.state().node(ino).map(|node| &node.content) {
            Ok(Content::File(bytes)) => {
                let from = usize::try_from(offset).unwrap().min(bytes.len());
                let to = (from + usize::try_from(size).unwrap()).min(bytes.len());
                reply.data(&bytes[from..to]);
            }
            _ => reply.error(Errno::EISDIR),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let state = &mut *self.state();
        let from = usize::try_from(offset).unwrap();
        let written = state.reach(ino, from + data.len()).map(|bytes| {
            bytes[from..from + data.len()].copy_from_slice(data);
        });
        answered!(reply, written, _done => reply.written(u32::try_from(data.len()).unwrap()));
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answered!(reply, self.state().sync(ino), _done => reply.ok());
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        answered!(reply, self.state().sync(ino), _done => reply.ok());
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.state();
        let Ok(names) = state.names(ino) else { return reply.error(Errno::ENOTDIR) };
        for (next, (name, ino)) in (1..).zip(names).skip(usize::try_from(offset).unwrap()) {
            let kind = state.attr(INodeNo(*ino)).map_or(FileType::RegularFile, |attr| attr.kind);
            if reply.add(INodeNo(*ino), next, kind, OsStr::from_bytes(name)) {
                break;
            }
        }
        reply.ok();
    }
}

/// The disk does what it says: a sync of a file keeps its content, one of its folder its name, and nothing else does.
#[test]
fn the_disk_forgets_what_was_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("disk");
    let Some((disk, session)) = Disk::mount(&at) else { return };
    std::fs::write(at.join("unsynced"), "x").unwrap();
    let file = std::fs::File::create(at.join("synced")).unwrap();
    std::io::Write::write_all(&mut &file, b"safe").unwrap();
    file.sync_all().unwrap();
    disk.record();
    disk.capture("no name is safe");
    std::fs::File::open(&at).unwrap().sync_all().unwrap();
    std::io::Write::write_all(&mut &file, b", and this is not").unwrap();
    disk.capture("the names are safe");
    disk.fail_syncs_of(Some("synced"));
    assert!(file.sync_all().is_err());
    assert_eq!(file.metadata().unwrap().size(), 21);
    drop(file);
    session.umount_and_join().unwrap();
    let images = disk.images();
    let left = |image: &Image, cut| {
        let to = tempfile::tempdir().unwrap();
        image.leave(cut, to.path());
        super::files_in(to.path())
            .into_iter()
            .map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap()))
            .collect::<Vec<_>>()
    };
    let pair = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let (first, last) = (&images[0], images.iter().find(|image| image.after == "the names are safe").unwrap());
    assert!(left(first, Cut::Forgets).is_empty());
    assert_eq!(left(last, Cut::Forgets), [pair("synced", "safe"), pair("unsynced", "")]);
    assert_eq!(left(last, Cut::Kill), [pair("synced", "safe, and this is not"), pair("unsynced", "x")]);
}
