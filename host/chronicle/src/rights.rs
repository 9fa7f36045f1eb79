//! Rights on the folders of a workspace, which a guest may take from the host as from itself.
//!
//! A folder that is looked into, or changed, is given the rights for that, and gets its own back. Must never forget what it had:
//! a kill in between is an unclean end, after which the workspace is compared with its version.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::beneath::{self, Beneath};
use crate::path::WorkPath;

/// Folders with more rights than they had, and what they had.
#[derive(Debug)]
pub(crate) struct Rights {
    needed: u16,
    before: BTreeMap<WorkPath, u16>,
}

impl Rights {
    /// Those that looking into a folder takes.
    pub(crate) fn to_look() -> Self {
        Self { needed: 0o500, before: BTreeMap::new() }
    }

    /// Those that changing what is in a folder takes.
    pub(crate) fn to_change() -> Self {
        Self { needed: 0o700, before: BTreeMap::new() }
    }

    /// True when a folder of this mode has to be given some.
    pub(crate) fn lacks(&self, mode: u16) -> bool {
        mode & self.needed != self.needed
    }

    /// Opens a folder with the rights.
    pub(crate) fn open(&mut self, work: &Beneath, path: &WorkPath) -> Result<OwnedFd, Errno> {
        match work.folder(path) {
            Ok(folder) => {
                self.give(folder.as_fd(), path)?;
                return Ok(folder);
            }
            Err(Errno::ACCESS) => {}
            Err(error) => return Err(error),
        }
        let mut at = self.root(work)?;
        let mut reached = WorkPath::root();
        for name in path.names() {
            reached = reached.join(name).map_err(|_| Errno::NAMETOOLONG)?;
            at = self.enter(at.as_fd(), name, &reached)?;
        }
        Ok(at)
    }

    /// Opens the workspace itself.
    pub(crate) fn root(&mut self, work: &Beneath) -> Result<OwnedFd, Errno> {
        self.give(work.root(), &WorkPath::root())?;
        work.folder(&WorkPath::root())
    }

    /// Opens a folder in one that has the rights.
    pub(crate) fn enter(&mut self, above: BorrowedFd<'_>, name: &[u8], path: &WorkPath) -> Result<OwnedFd, Errno> {
        let folder = match beneath::folder_in(above, name) {
            Err(Errno::ACCESS) => {
                let before = open_up(above, name)?;
                self.before.entry(path.clone()).or_insert(before);
                beneath::folder_in(above, name)?
            }
            other => other?,
        };
        self.give(folder.as_fd(), path)?;
        Ok(folder)
    }

    fn give(&mut self, folder: BorrowedFd<'_>, path: &WorkPath) -> Result<(), Errno> {
        let mode = beneath::meta_of(folder)?.mode;
        // A change and its undoing are seen in the folder's change time: who needs none makes none.
        if self.lacks(mode) && !self.may(folder) {
            self.before.entry(path.clone()).or_insert(mode);
            rustix::fs::fchmod(folder, mode_of(mode | self.needed))?;
        }
        Ok(())
    }

    /// True when this process may do it all the same, as root may.
    fn may(&self, folder: BorrowedFd<'_>) -> bool {
        let mut access = Access::READ_OK | Access::EXEC_OK;
        access.set(Access::WRITE_OK, self.needed & 0o200 != 0);
        rustix::fs::accessat(folder, ".", access, AtFlags::EACCESS).is_ok()
    }

    /// A folder is to have this mode when the rights are given back.
    pub(crate) fn set(&mut self, path: &WorkPath, mode: u16) {
        self.before.insert(path.clone(), mode);
    }

    /// Gives each folder its own mode, the innermost first, and tells the first one of which that failed.
    pub(crate) fn give_back(&mut self, work: &Beneath) -> Result<(), (WorkPath, Errno)> {
        let mut first = Ok(());
        for (path, mode) in std::mem::take(&mut self.before).into_iter().rev() {
            // The workspace's own folder is the host's.
            let mode = if path.is_root() { 0o700 } else { mode };
            let set = match work.folder(&path) {
                Ok(folder) => rustix::fs::fchmod(folder, mode_of(mode)),
                Err(error) if beneath::is_gone(error) => Ok(()),
                Err(error) => Err(error),
            };
            if let (Ok(()), Err(error)) = (&first, set) {
                first = Err((path, error));
            }
        }
        first
    }
}

/// Gives the owner all rights on a folder that may not even be read; tells the mode that it had.
pub(crate) fn open_up(folder: BorrowedFd<'_>, name: &[u8]) -> Result<u16, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    let mode = beneath::meta_of(found.as_fd())?.mode;
    // A path of ours: the kernel's name of the descriptor, which holds exactly that folder.
    rustix::fs::chmod(format!("/proc/self/fd/{}", found.as_raw_fd()), mode_of(mode | 0o700))?;
    Ok(mode)
}

pub(crate) fn mode_of(mode: u16) -> Mode {
    Mode::from_raw_mode(u32::from(mode & 0o777))
}
