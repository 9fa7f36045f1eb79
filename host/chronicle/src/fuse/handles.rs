//! What is open through a mount, by the number that the kernel was given.
//!
//! Each holds a descriptor of the guests' part of the host's. Must never hand out more than that part has.

use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuser::FileType;
use podium_kit::descriptors::{Held, Part};
use rustix::io::Errno;

use crate::limits::MOUNT_FILES_SHARE;

/// An open file.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: OwnedFd,
    pub(super) ino: u64,
    pub(super) writes: bool,
    /// True when the dirty set follows it; else each write is told.
    pub(super) is_followed: bool,
    pub(super) _held: Held,
}

/// A name that was read and not asked for yet.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: Box<[u8]>,
    pub(super) ino: u64,
    pub(super) kind: FileType,
    /// Where the next one is.
    pub(super) next: u64,
}

/// How far the listing of a folder is.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Where `ahead` begins.
    pub(super) at: u64,
    pub(super) ahead: VecDeque<Listed>,
    pub(super) is_at_end: bool,
}

/// An open folder.
#[derive(Debug)]
pub(super) struct OpenFolder {
    pub(super) folder: OwnedFd,
    pub(super) listing: Mutex<Listing>,
    _held: Held,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    files: HashMap<u64, Arc<Opened>>,
    folders: HashMap<u64, Arc<OpenFolder>>,
    of_inode: HashMap<u64, Vec<u64>>,
}

/// Everything that is open through one mount.
#[derive(Debug)]
pub(super) struct Handles {
    part: Part,
    inner: Mutex<Inner>,
}

impl Handles {
    /// Nothing; descriptors are taken of this part.
    pub(super) fn new(part: Part) -> Self {
        Self { part, inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more.
    pub(super) fn hold(&self) -> Result<Held, Errno> {
        let inner = self.inner();
        if inner.files.len() + inner.folders.len() >= self.part.max() / MOUNT_FILES_SHARE {
            return Err(Errno::NFILE);
        }
        drop(inner);
        self.part.take().ok_or(Errno::NFILE)
    }

    /// Takes a file in; its number.
    pub(super) fn add(&self, opened: Opened) -> u64 {
        let inner = &mut *self.inner();
        inner.last += 1;
        let number = inner.last;
        inner.of_inode.entry(opened.ino).or_default().push(number);
        inner.files.insert(number, Arc::new(opened));
        number
    }

    /// A file by its number.
    pub(super) fn file(&self, number: u64) -> Result<Arc<Opened>, Errno> {
        self.inner().files.get(&number).cloned().ok_or(Errno::BADF)
    }

    /// An open file of an inode, one for writing if it has to be: it may have no name any more.
    pub(super) fn of_inode(&self, ino: u64, writes: bool) -> Option<Arc<Opened>> {
        let inner = self.inner();
        let mut numbers = inner.of_inode.get(&ino)?.iter().filter_map(|number| inner.files.get(number));
        numbers.find(|opened| opened.writes || !writes).cloned()
    }

    /// Gives a file back.
    pub(super) fn remove(&self, number: u64) -> Option<Arc<Opened>> {
        let inner = &mut *self.inner();
        let opened = inner.files.remove(&number)?;
        if let Some(numbers) = inner.of_inode.get_mut(&opened.ino) {
            numbers.retain(|known| *known != number);
            if numbers.is_empty() {
                inner.of_inode.remove(&opened.ino);
            }
        }
        Some(opened)
    }

    /// Takes a folder in; its number.
    pub(super) fn add_folder(&self, folder: OwnedFd, held: Held) -> u64 {
        let inner = &mut *self.inner();
        inner.last += 1;
        let number = inner.last;
        inner.folders.insert(number, Arc::new(OpenFolder { folder, listing: Mutex::default(), _held: held }));
        number
    }

    /// A folder by its number.
    pub(super) fn folder(&self, number: u64) -> Result<Arc<OpenFolder>, Errno> {
        self.inner().folders.get(&number).cloned().ok_or(Errno::BADF)
    }

    /// Gives a folder back.
    pub(super) fn remove_folder(&self, number: u64) {
        self.inner().folders.remove(&number);
    }

    /// Inodes that are open, and whether one may write to them.
    pub(super) fn inodes(&self, writes: bool) -> Vec<u64> {
        let inner = self.inner();
        let open = inner.of_inode.iter();
        let any = |numbers: &Vec<u64>| {
            numbers.iter().filter_map(|number| inner.files.get(number)).any(|opened| opened.writes || !writes)
        };
        open.filter(|(_, numbers)| any(numbers)).map(|(ino, _)| *ino).collect()
    }

    /// Gives everything back; the files that were open for writing.
    pub(super) fn clear(&self) -> Vec<Arc<Opened>> {
        let inner = &mut *self.inner();
        inner.folders.clear();
        inner.of_inode.clear();
        std::mem::take(&mut inner.files).into_values().filter(|opened| opened.writes).collect()
    }
}
