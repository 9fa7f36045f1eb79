//! Removing whole folders that a guest made: of any depth and width, with two descriptors and little memory.
//!
//! What is to go is moved into `metadata/tmp/` first, which is emptied here and at every opening. A folder that is not empty gives its
//! folders up to `tmp/` itself, so that nothing is ever deep. Must never follow a link.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use crate::beneath::{self, Beneath, NamesBuffer};
use crate::error::ChronicleError;
use crate::limits::FILE_BYTES_MAX;
use crate::node::Kind;

/// What a removal took with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Removed {
    /// Entries that no version held: pipes, sockets, devices, files that are too big.
    pub(crate) left_out: u64,
}

/// A name in `tmp/` that is not used.
pub(crate) fn fresh_name(tmp: &Beneath, prefix: &str) -> Result<String, Errno> {
    for number in 0_u64.. {
        let name = format!("{prefix}-{number}");
        match beneath::meta_in(tmp.root(), name.as_bytes()) {
            Err(Errno::NOENT) => return Ok(name),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Err(Errno::EXIST)
}

/// Moves an entry of the workspace into `tmp/`; nothing when it is gone.
pub(crate) fn throw(tmp: &Beneath, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let to = fresh_name(tmp, "trash")?;
    match rustix::fs::renameat(folder, name, tmp.root(), to.as_str()) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

/// Removes everything in `tmp/`, whose own path is for errors.
pub(crate) fn empty(tmp: &Beneath, path: &Path) -> Result<Removed, ChronicleError> {
    let mut removed = Removed::default();
    let mut buffer = NamesBuffer::new();
    let mut inner = NamesBuffer::new();
    let mut next = 0_u64;
    loop {
        let mut found = false;
        let emptied = beneath::each_name(tmp.root(), &mut buffer, |name| {
            found = true;
            remove(tmp, name, &mut inner, &mut next, &mut removed)?;
            Ok::<_, Errno>(true)
        });
        emptied.map_err(|error| ChronicleError::file(path, error))?;
        if !found {
            return Ok(removed);
        }
    }
}

/// Removes an entry of `tmp/`, or, of a folder that holds folders, moves those up beside it.
fn remove(
    tmp: &Beneath,
    name: &[u8],
    buffer: &mut NamesBuffer,
    next: &mut u64,
    removed: &mut Removed,
) -> Result<(), Errno> {
    if unlink(tmp.root(), name, removed)? {
        return Ok(());
    }
    let folder = match beneath::folder_in(tmp.root(), name) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    // Removing while names are read may leave some out; `empty` comes by until nothing is left.
    beneath::each_name(folder.as_fd(), buffer, |inner| {
        if !unlink(folder.as_fd(), inner, removed)? {
            match rustix::fs::unlinkat(folder.as_fd(), inner, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    let up = loop {
                        *next += 1;
                        let up = format!("up-{next}");
                        if beneath::meta_in(tmp.root(), up.as_bytes()) == Err(Errno::NOENT) {
                            break up;
                        }
                    };
                    rustix::fs::renameat(folder.as_fd(), inner, tmp.root(), up.as_str())?;
                }
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok::<_, Errno>(true)
    })?;
    match rustix::fs::unlinkat(tmp.root(), name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes an entry that is no folder; false for one that is. A folder is made accessible.
fn unlink(folder: BorrowedFd<'_>, name: &[u8], removed: &mut Removed) -> Result<bool, Errno> {
    let meta = match beneath::meta_in(folder, name) {
        Ok(meta) => meta,
        Err(Errno::NOENT) => return Ok(true),
        Err(error) => return Err(error),
    };
    if meta.kind == Ok(Kind::Folder) {
        if meta.mode & 0o700 != 0o700 {
            open_up(folder, name)?;
        }
        return Ok(false);
    }
    let left_out = meta.kind.is_err() || (meta.kind == Ok(Kind::File) && meta.size > FILE_BYTES_MAX);
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) => removed.left_out += u64::from(left_out),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    Ok(true)
}

/// Gives the owner all rights on a folder that may not even be read.
pub(crate) fn open_up(folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let flags = rustix::fs::OFlags::PATH
        | rustix::fs::OFlags::DIRECTORY
        | rustix::fs::OFlags::NOFOLLOW
        | rustix::fs::OFlags::CLOEXEC;
    let found = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    // A path of ours: the kernel's name of the descriptor, which holds exactly that folder.
    rustix::fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), Mode::RWXU)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_very_deep_folder_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let tmp = Beneath::open(folder.path()).unwrap();
        std::fs::create_dir(folder.path().join("trash-0")).unwrap();
        let mut at = beneath::folder_in(tmp.root(), b"trash-0").unwrap();
        for depth in 0..5000_u32 {
            rustix::fs::mkdirat(&at, "deeper", Mode::RWXU).unwrap();
            if depth % 10 == 0 {
                rustix::fs::mknodat(&at, "pipe", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
            }
            at = beneath::folder_in(at.as_fd(), b"deeper").unwrap();
        }
        std::os::unix::fs::symlink("/", folder.path().join("trash-0/link")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        drop(at);
        let removed = empty(&tmp, folder.path()).unwrap();
        assert_eq!(removed.left_out, 500);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
