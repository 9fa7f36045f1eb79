//! The one door to the files of a workspace: every path is resolved by the kernel beneath the workspace's handle.
//!
//! No symbolic link is followed, no mount is entered, nothing waits for a pipe's other end. Must never build a path of the host from
//! a name that a guest chose.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::limits::LINK_BYTES_MAX;
use crate::node::Meta;
use crate::path::WorkPath;

/// Bytes of a buffer for a folder's names: some 500 of them a system call.
const NAMES_BUFFER_BYTES: usize = 32 * 1024;

/// What every opening of a guest's entry has.
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);

/// How the kernel resolves a path here.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_XDEV)
    .union(ResolveFlags::NO_MAGICLINKS);

/// What a new file may be used for, less the process's umask.
const NEW_FILE: Mode =
    Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::WGRP).union(Mode::ROTH).union(Mode::WOTH);

/// The same of a new folder.
const NEW_FOLDER: Mode = Mode::RWXU.union(Mode::RWXG).union(Mode::RWXO);

/// A folder of the host, below which paths are resolved. Its calls fail with `ELOOP` where a symbolic link is on the way.
#[derive(Debug)]
pub struct Beneath {
    root: OwnedFd,
}

impl Beneath {
    /// Opens a folder of the host by its own path.
    pub fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        retried(|| rustix::fs::open(path, flags, Mode::empty())).map(|root| Self { root })
    }

    pub(crate) fn into_root(self) -> OwnedFd {
        self.root
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a folder.
    pub fn folder(&self, path: &WorkPath) -> Result<OwnedFd, Errno> {
        let bytes = if path.is_root() { &b"."[..] } else { path.as_bytes() };
        open_at(self.root.as_fd(), bytes, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// Opens what should be a regular file, for reading; the caller looks at what it got.
    pub fn file(&self, path: &WorkPath) -> Result<OwnedFd, Errno> {
        open_at(self.root.as_fd(), path.as_bytes(), OFlags::RDONLY)
    }

    /// Opens what should be a regular file, for writing; the caller looks at what it got.
    pub fn written(&self, path: &WorkPath) -> Result<OwnedFd, Errno> {
        open_at(self.root.as_fd(), path.as_bytes(), OFlags::WRONLY)
    }

    /// Makes a file where nothing is, and opens it for writing.
    pub fn new_file(&self, path: &WorkPath) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        resolved(self.root.as_fd(), path.as_bytes(), flags, NEW_FILE)
    }

    /// Makes a folder where nothing is.
    pub fn new_folder(&self, path: &WorkPath) -> Result<(), Errno> {
        self.within_parent(path, |folder, name| rustix::fs::mkdirat(folder, name, NEW_FOLDER))
    }

    /// What the system says of an entry; a link is not followed.
    pub fn stat(&self, path: &WorkPath) -> Result<Stat, Errno> {
        self.within_parent(path, |folder, name| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW))
    }

    /// Removes an entry: an empty folder, or anything else.
    pub fn remove(&self, path: &WorkPath, is_folder: bool) -> Result<(), Errno> {
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        self.within_parent(path, |folder, name| rustix::fs::unlinkat(folder, name, flags))
    }

    fn within_parent<T>(
        &self,
        path: &WorkPath,
        mut call: impl FnMut(BorrowedFd<'_>, &[u8]) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        match path.split() {
            Some((folder, name)) if !folder.is_root() => {
                let folder = self.folder(&folder)?;
                retried(|| call(folder.as_fd(), name))
            }
            Some((_, name)) => retried(|| call(self.root.as_fd(), name)),
            None => retried(|| call(self.root.as_fd(), b".")),
        }
    }
}

/// Opens `path` below `folder`.
fn open_at(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    resolved(folder, path, flags, Mode::empty())
}

fn resolved(folder: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    // EAGAIN: a rename elsewhere kept the kernel from deciding whether the path stays beneath.
    for _ in 0..crate::limits::PLACE_TRIES {
        match retried(|| rustix::fs::openat2(folder, path, flags | FLAGS, mode, RESOLVE)) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens a folder in `folder`.
pub(crate) fn folder_in(folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_at(folder, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens what should be a regular file in `folder`, for reading.
pub(crate) fn file_in(folder: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    open_at(folder, name, OFlags::RDONLY)
}

/// What the system says of a name; a link is not followed.
pub(crate) fn meta_in(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Meta, Errno> {
    retried(|| rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)).map(|stat| Meta::of(&stat))
}

/// What the system says of an open file.
pub(crate) fn meta_of(file: BorrowedFd<'_>) -> Result<Meta, Errno> {
    retried(|| rustix::fs::fstat(file)).map(|stat| Meta::of(&stat))
}

/// A symbolic link's target.
pub(crate) fn target_in(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let target = rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes();
    if target.len() > LINK_BYTES_MAX { Err(Errno::NAMETOOLONG) } else { Ok(target) }
}

/// Calls `each` with every name of a folder that was opened by [`Beneath::folder`], in the folder's own order, until it says `false`. A
/// name that is put in or taken out meanwhile may or may not be among them.
pub fn each_name<E: From<Errno>>(
    folder: BorrowedFd<'_>,
    buffer: &mut NamesBuffer,
    mut each: impl FnMut(&[u8]) -> Result<bool, E>,
) -> Result<(), E> {
    retried(|| rustix::fs::seek(folder, rustix::fs::SeekFrom::Start(0))).map_err(E::from)?;
    let mut names = RawDir::new(folder, &mut buffer.0);
    while let Some(entry) = names.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::INTR) => continue,
            // The folder itself was removed.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(E::from(error)),
        };
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." && !each(name)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Room for a folder's names, used again from folder to folder.
#[derive(Debug)]
pub struct NamesBuffer(Vec<MaybeUninit<u8>>);

impl NamesBuffer {
    /// Some 32 KiB of it.
    pub fn new() -> Self {
        Self(vec![MaybeUninit::uninit(); NAMES_BUFFER_BYTES])
    }
}

impl Default for NamesBuffer {
    fn default() -> Self {
        Self::new()
    }
}

/// Calls again what a signal cut short.
pub(crate) fn retried<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// True when a name is not there, or something above it is no folder any more.
pub(crate) fn is_gone(error: Errno) -> bool {
    // ELOOP: a link stands where a folder was.
    matches!(error, Errno::NOENT | Errno::NOTDIR | Errno::LOOP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_link_is_followed_and_no_pipe_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::write(root.join("secret"), "s").unwrap();
        std::fs::create_dir_all(root.join("work/a")).unwrap();
        std::fs::write(root.join("work/a/f"), "f").unwrap();
        std::os::unix::fs::symlink("..", root.join("work/up")).unwrap();
        std::os::unix::fs::symlink("a", root.join("work/b")).unwrap();
        let pipe = rustix::fs::open(root.join("work"), OFlags::DIRECTORY, Mode::empty()).unwrap();
        rustix::fs::mknodat(&pipe, "pipe", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let work = Beneath::open(&root.join("work")).unwrap();
        let path = |text: &str| text.parse::<WorkPath>().unwrap();
        assert!(work.file(&path("a/f")).is_ok());
        for led_astray in ["up/secret", "up", "b/f", "b"] {
            assert!(is_gone(work.file(&path(led_astray)).unwrap_err()), "{led_astray}");
        }
        // Returns at once.
        assert!(meta_of(work.file(&path("pipe")).unwrap().as_fd()).unwrap().kind.is_err());
        let mut names = Vec::new();
        each_name::<Errno>(work.root(), &mut NamesBuffer::new(), |name| {
            names.push(name.to_vec());
            Ok(true)
        })
        .unwrap();
        names.sort();
        assert_eq!(names, [&b"a"[..], b"b", b"pipe", b"up"]);
    }
}
