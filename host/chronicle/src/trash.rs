//! Removing whole folders that a guest made: of any depth and width, with two descriptors and little memory.
//!
//! A folder that is to go is moved into `metadata/tmp/` first, which is emptied now and then and at every opening. One that is not empty
//! gives its folders up to `tmp/` itself, so that nothing is ever deep. Must never follow a link.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::beneath::{self, Beneath, NamesBuffer};
use crate::error::ChronicleError;
use crate::limits::FILE_BYTES_MAX;
use crate::node::Kind;
use crate::rights::open_up;

/// Folders that wait in `tmp/`; few enough that they take no room, enough that emptying is rare.
const WAITING_MAX: u64 = 1000;

/// `metadata/tmp/`, where what is to go waits, and what is to come is staged.
#[derive(Debug)]
pub(crate) struct Trash {
    tmp: Beneath,
    path: PathBuf,
    /// The last number that a name here had.
    last: Cell<u64>,
    waiting: Cell<u64>,
    /// Entries that no version held and that are gone: pipes, sockets, devices, files that are too big.
    left_out: Cell<u64>,
}

impl Trash {
    /// Opens `metadata/tmp/` and empties it.
    pub(crate) fn open(path: PathBuf) -> Result<Self, ChronicleError> {
        let tmp = Beneath::open(&path).map_err(|error| ChronicleError::file(&path, error))?;
        let trash = Self { tmp, path, last: Cell::new(0), waiting: Cell::new(0), left_out: Cell::new(0) };
        trash.empty()?;
        Ok(trash)
    }

    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.tmp.root()
    }

    /// Takes an entry out of a folder of the workspace, in which this process may do so; nothing when it is gone.
    pub(crate) fn throw(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        if !self.unlink(folder, name)? {
            self.take_in(folder, name)?;
        }
        Ok(())
    }

    /// Empties it when much waits. Nothing may be staged.
    pub(crate) fn tidy(&self) -> Result<(), Errno> {
        if self.waiting.get() < WAITING_MAX { Ok(()) } else { self.empty_all() }
    }

    /// Removes everything here.
    pub(crate) fn empty(&self) -> Result<(), ChronicleError> {
        self.empty_all().map_err(|error| ChronicleError::file(&self.path, error))
    }

    /// How many entries that no version held are gone since this was asked last.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.take()
    }

    fn empty_all(&self) -> Result<(), Errno> {
        let (mut buffer, mut inner) = (NamesBuffer::new(), NamesBuffer::new());
        loop {
            let mut found = false;
            beneath::each_name(self.root(), &mut buffer, |name| {
                found = true;
                self.remove(name, &mut inner)?;
                Ok::<_, Errno>(true)
            })?;
            if !found {
                self.waiting.set(0);
                return Ok(());
            }
        }
    }

    /// Moves a folder here under a name that is not used.
    fn take_in(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
        loop {
            self.last.set(self.last.get() + 1);
            let to = format!("trash-{}", self.last.get());
            match rustix::fs::renameat(folder, name, self.root(), to.as_str()) {
                // Left here by a process that was killed; numbers only grow, so each is met once.
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(Errno::NOENT) => return Ok(()),
                other => {
                    self.waiting.set(self.waiting.get() + 1);
                    return other;
                }
            }
        }
    }

    /// Removes an entry here, or, of a folder that holds folders, moves those up beside it.
    fn remove(&self, name: &[u8], buffer: &mut NamesBuffer) -> Result<(), Errno> {
        if self.unlink(self.root(), name)? {
            return Ok(());
        }
        let folder = match beneath::folder_in(self.root(), name) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Removing while names are read may leave some out; `empty` comes by until nothing is left.
        beneath::each_name(folder.as_fd(), buffer, |inner| {
            if !self.unlink(folder.as_fd(), inner)? {
                match rustix::fs::unlinkat(folder.as_fd(), inner, AtFlags::REMOVEDIR) {
                    Err(Errno::NOTEMPTY | Errno::EXIST) => self.take_in(folder.as_fd(), inner)?,
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok::<_, Errno>(true)
        })?;
        match rustix::fs::unlinkat(self.root(), name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes an entry that is no folder; false for one that is, which is made accessible: it cannot be moved else.
    fn unlink(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Result<bool, Errno> {
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
            Ok(()) => self.left_out.set(self.left_out.get() + u64::from(left_out)),
            Err(Errno::NOENT) => {}
            // A folder has the name now.
            Err(Errno::ISDIR) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::Mode;

    use super::*;

    #[test]
    fn a_very_deep_folder_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let trash = Trash::open(folder.path().to_owned()).unwrap();
        std::fs::create_dir(folder.path().join("trash-1")).unwrap();
        let mut at = beneath::folder_in(trash.root(), b"trash-1").unwrap();
        for depth in 0..5000_u32 {
            rustix::fs::mkdirat(&at, "deeper", Mode::RWXU).unwrap();
            if depth % 10 == 0 {
                rustix::fs::mknodat(&at, "pipe", rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
            }
            at = beneath::folder_in(at.as_fd(), b"deeper").unwrap();
        }
        std::os::unix::fs::symlink("/", folder.path().join("trash-1/link")).unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        drop(at);
        trash.empty().unwrap();
        assert_eq!((trash.left_out(), trash.left_out()), (500, 0));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_thrown_away_is_never_many_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (work, tmp) = (folder.path().join("work"), folder.path().join("tmp"));
        std::fs::create_dir(&work).unwrap();
        std::fs::create_dir(&tmp).unwrap();
        let trash = Trash::open(tmp.clone()).unwrap();
        let from = Beneath::open(&work).unwrap();
        let waiting = || std::fs::read_dir(&tmp).unwrap().count();
        for n in 0..3000 {
            std::fs::write(work.join(format!("f{n}")), "").unwrap();
            std::fs::create_dir(work.join(format!("d{n}"))).unwrap();
            std::fs::write(work.join(format!("d{n}/f")), "").unwrap();
            trash.throw(from.root(), format!("f{n}").as_bytes()).unwrap();
            trash.throw(from.root(), format!("d{n}").as_bytes()).unwrap();
            trash.tidy().unwrap();
            // Every folder that waits has a number of its own, which nobody had to look for.
            assert!(trash.last.get() == n + 1 && trash.waiting.get() < WAITING_MAX);
            if n == 500 {
                assert_eq!(waiting(), 501);
            }
        }
        assert_eq!(std::fs::read_dir(&work).unwrap().count(), 0);
        trash.empty().unwrap();
        assert_eq!(waiting(), 0);
        trash.throw(from.root(), b"gone already").unwrap();
    }
}
