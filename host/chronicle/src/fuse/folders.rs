//! From an inode that the kernel names to a handle of its folder and its name there.
//!
//! Folders are opened by the kernel beneath the workspace's handle, and few are kept open: an agent's tree may have more than a process may
//! have descriptors. Must never give a name that leads to another inode than was meant.

use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lru::LruCache;
use rustix::fs::Statx;
use rustix::io::Errno;

use super::attr::{device, identity, stat_in, stat_of};
use super::past::FIRST;
use super::table::{Identity, ROOT, Table};
use crate::beneath::folder_in;
use crate::limits::{MOUNT_FOLDERS_MAX, PATH_BYTES_MAX};

/// An inode by a name of it.
pub(super) struct At {
    pub(super) folder: Arc<OwnedFd>,
    pub(super) name: Box<[u8]>,
    pub(super) stat: Statx,
}

/// The inodes that the kernel knows, and the folders that are open.
pub(super) struct Folders {
    root: Arc<OwnedFd>,
    /// Mounts in the workspace are not entered.
    device: (u32, u32),
    table: Mutex<Table>,
    open: Mutex<LruCache<u64, Arc<OwnedFd>>>,
}

impl Folders {
    /// Of a workspace.
    pub(super) fn new(root: OwnedFd) -> Result<Self, Errno> {
        let device = device(&stat_of(&root)?);
        let room = NonZeroUsize::new(MOUNT_FOLDERS_MAX).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            root: Arc::new(root),
            device,
            table: Mutex::new(Table::default()),
            open: Mutex::new(LruCache::new(room)),
        })
    }

    pub(super) fn root(&self) -> &Arc<OwnedFd> {
        &self.root
    }

    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing under this lock can panic half way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, LruCache<u64, Arc<OwnedFd>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A folder's handle.
    pub(super) fn folder(&self, ino: u64) -> Result<Arc<OwnedFd>, Errno> {
        if ino == ROOT {
            return Ok(Arc::clone(&self.root));
        }
        if ino >= FIRST {
            // The past does not change.
            return Err(Errno::ROFS);
        }
        if let Some(folder) = self.open().get(&ino) {
            return Ok(Arc::clone(folder));
        }
        let (meant, chain) = {
            let (table, open) = (self.table(), self.open());
            (table.identity(ino), table.chain(ino, |near| open.contains(&near)))
        };
        let (Some(meant), Some((near, names))) = (meant, chain) else { return Err(Errno::STALE) };
        let from = if near == ROOT { Arc::clone(&self.root) } else { self.opened(near)? };
        let folder = Arc::new(descend(&from, &names)?);
        if self.checked(stat_of(&folder)?, meant).is_err() {
            return Err(Errno::STALE);
        }
        self.open().put(ino, Arc::clone(&folder));
        Ok(folder)
    }

    /// A folder's handle, if it is open. It may have been given back meanwhile; the caller is asked again by the kernel.
    pub(super) fn opened(&self, ino: u64) -> Result<Arc<OwnedFd>, Errno> {
        self.open().get(&ino).map(Arc::clone).ok_or(Errno::STALE)
    }

    /// Where an inode is now.
    pub(super) fn at(&self, ino: u64) -> Result<At, Errno> {
        if ino == ROOT {
            return Ok(At { folder: Arc::clone(&self.root), name: b".".as_slice().into(), stat: stat_of(&self.root)? });
        }
        if ino >= FIRST {
            return Err(Errno::ROFS);
        }
        let (meant, names) = {
            let table = self.table();
            (table.identity(ino).ok_or(Errno::STALE)?, table.names(ino))
        };
        for (parent, name) in names {
            let Ok(folder) = self.folder(parent) else { continue };
            let found = stat_in(&folder, &name).and_then(|stat| self.checked(stat, meant));
            if let Ok(stat) = found {
                return Ok(At { folder, name, stat });
            }
        }
        Err(Errno::STALE)
    }

    /// A name of a folder.
    pub(super) fn look(&self, folder: impl AsFd, name: &[u8]) -> Result<Statx, Errno> {
        let stat = stat_in(folder, name)?;
        // A mount stands there; and some numbers are the protocol's and ours.
        if device(&stat) != self.device || !(ROOT + 1..FIRST).contains(&stat.stx_ino) {
            Err(Errno::XDEV)
        } else {
            Ok(stat)
        }
    }

    /// Refuses what is another inode than was meant.
    pub(super) fn checked(&self, stat: Statx, meant: Identity) -> Result<Statx, Errno> {
        if identity(&stat) == meant && device(&stat) == self.device { Ok(stat) } else { Err(Errno::STALE) }
    }

    /// A number means another inode now, or none: a handle of the old one is of no use.
    pub(super) fn close(&self, ino: u64) {
        self.open().pop(&ino);
    }

    /// Gives every handle back.
    pub(super) fn close_all(&self) {
        self.open().clear();
    }
}

/// Opens what the names lead to, as many at once as one call takes.
fn descend(from: &OwnedFd, names: &[Box<[u8]>]) -> Result<OwnedFd, Errno> {
    let mut at: Option<OwnedFd> = None;
    let mut path: Vec<u8> = Vec::new();
    for name in names {
        if !path.is_empty() && path.len() + 1 + name.len() > PATH_BYTES_MAX {
            at = Some(folder_in(at.as_ref().unwrap_or(from).as_fd(), &path)?);
            path.clear();
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    let last = if path.is_empty() { &b"."[..] } else { &path };
    folder_in(at.as_ref().unwrap_or(from).as_fd(), last)
}
