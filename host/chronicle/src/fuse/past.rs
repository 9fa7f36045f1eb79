//! `.chronicle` in a mount: the history as read-only files, with inodes that are only numbers.
//!
//! What stands where is `view`'s to say. Found by its name and in no listing of the workspace, so that whoever copies or removes everything leaves it
//! alone. Must never remember more places than the kernel does.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{FileAttr, FileHandle, FileType, INodeNo};
use rustix::io::Errno;

use super::handles::Listed;
use crate::error::ChronicleError;
use crate::limits::{MOUNT_LISTED_NAMES, MOUNT_PAST_MAX};
use crate::view::{VIEW_NAME, ViewFile, ViewName, ViewPath, Viewed};

/// Numbers from here on are places of the history; no file system has files with such numbers.
pub(super) const FIRST: u64 = 1 << 62;

/// The history as a mount asks for it. Each call may wait for the owner's steps on it.
pub trait History: Send + Sync {
    /// What stands at a place.
    ///
    /// # Errors
    /// When nothing does, or the history cannot be read.
    fn view(&self, place: &ViewPath) -> Result<Viewed, ChronicleError>;

    /// Names of a folder after this one, at most so many.
    ///
    /// # Errors
    /// When it is no folder, or the history cannot be read.
    fn names(&self, place: &ViewPath, after: Option<&[u8]>, limit: usize) -> Result<Vec<ViewName>, ChronicleError>;

    /// Bytes of a file.
    ///
    /// # Errors
    /// When the history cannot be read.
    fn read(&self, file: &ViewFile, offset: u64, len: usize) -> Result<Vec<u8>, ChronicleError>;
}

#[derive(Debug)]
struct Listing {
    place: ViewPath,
    /// The number of the first name in `ahead`, from the folder's beginning.
    at: u64,
    ahead: VecDeque<ViewName>,
    last: Option<Box<[u8]>>,
}

#[derive(Debug)]
enum Open {
    File(ViewFile),
    Folder(Listing),
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    places: HashMap<u64, (ViewPath, u64)>,
    numbers: HashMap<ViewPath, u64>,
    open: HashMap<u64, Open>,
}

/// The places of the history that the kernel knows, and what is open of them.
pub(super) struct Past {
    history: Box<dyn History>,
    inner: Mutex<Inner>,
    owner: (u32, u32),
}

impl Past {
    pub(super) fn new(history: Box<dyn History>) -> Self {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self { history, inner: Mutex::default(), owner }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when a name of a folder is a place of the history.
    pub(super) fn has(parent: u64, name: &[u8]) -> bool {
        parent >= FIRST || (parent == super::table::ROOT && name == VIEW_NAME.as_bytes())
    }

    /// Looks a name up; the kernel knows it from then on.
    pub(super) fn look_up(&self, parent: u64, name: &[u8]) -> Result<FileAttr, Errno> {
        let place = if parent >= FIRST { self.place(parent)?.join(name).ok_or(Errno::NOENT)? } else { ViewPath::Root };
        let viewed = self.view(&place)?;
        Ok(self.attr(self.know(place)?, &viewed))
    }

    fn view(&self, place: &ViewPath) -> Result<Viewed, Errno> {
        self.history.view(place).map_err(|error| errno(&error))
    }

    fn place(&self, ino: u64) -> Result<ViewPath, Errno> {
        self.inner().places.get(&ino).map(|(place, _)| place.clone()).ok_or(Errno::STALE)
    }

    fn know(&self, place: ViewPath) -> Result<u64, Errno> {
        let inner = &mut *self.inner();
        let known = inner.numbers.get(&place).copied();
        let ino = match known {
            Some(ino) => ino,
            None if inner.places.len() >= MOUNT_PAST_MAX => return Err(Errno::NFILE),
            None => {
                inner.last += 1;
                let ino = FIRST + inner.last;
                inner.numbers.insert(place.clone(), ino);
                ino
            }
        };
        inner.places.entry(ino).or_insert((place, 0)).1 += 1;
        Ok(ino)
    }

    pub(super) fn forget(&self, ino: u64, lookups: u64) {
        let inner = &mut *self.inner();
        let Some((place, known)) = inner.places.get_mut(&ino) else { return };
        *known = known.saturating_sub(lookups);
        if *known == 0 {
            inner.numbers.remove(place);
            inner.places.remove(&ino);
        }
    }

    pub(super) fn attributes(&self, ino: u64) -> Result<FileAttr, Errno> {
        Ok(self.attr(ino, &self.view(&self.place(ino)?)?))
    }

    fn attr(&self, ino: u64, viewed: &Viewed) -> FileAttr {
        let (kind, perm, size, at_ms) = match viewed {
            Viewed::Folder => (FileType::Directory, 0o555, 0, 0),
            Viewed::File(file) => (FileType::RegularFile, 0o444, file.size(), file.at_ms()),
        };
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(at_ms)).unwrap_or(UNIX_EPOCH);
        FileAttr {
            ino: INodeNo(ino),
            size,
            blocks: size.div_ceil(512),
            atime: at,
            mtime: at,
            ctime: at,
            crtime: UNIX_EPOCH,
            kind,
            perm,
            nlink: 1,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    pub(super) fn open_file(&self, ino: u64) -> Result<FileHandle, Errno> {
        match self.view(&self.place(ino)?)? {
            Viewed::File(file) => self.add(Open::File(file)),
            Viewed::Folder => Err(Errno::ISDIR),
        }
    }

    pub(super) fn open_folder(&self, ino: u64) -> Result<FileHandle, Errno> {
        self.add(Open::Folder(Listing { place: self.place(ino)?, at: 0, ahead: VecDeque::new(), last: None }))
    }

    fn add(&self, open: Open) -> Result<FileHandle, Errno> {
        let inner = &mut *self.inner();
        if inner.open.len() >= MOUNT_PAST_MAX {
            return Err(Errno::NFILE);
        }
        inner.last += 1;
        let handle = FIRST + inner.last;
        inner.open.insert(handle, open);
        Ok(FileHandle(handle))
    }

    pub(super) fn close(&self, handle: FileHandle) {
        self.inner().open.remove(&handle.0);
    }

    pub(super) fn read(&self, handle: FileHandle, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let file = match self.inner().open.get(&handle.0) {
            Some(Open::File(file)) => file.clone(),
            _ => return Err(Errno::BADF),
        };
        self.history.read(&file, offset, size as usize).map_err(|error| errno(&error))
    }

    /// Calls `each` with the names of a folder from the one of this number on, until it takes no more.
    pub(super) fn list(
        &self,
        handle: FileHandle,
        offset: u64,
        mut each: impl FnMut(&Listed, &FileAttr) -> bool,
    ) -> Result<(), Errno> {
        // Taken out: reading the history waits, and nobody else may wait for that.
        let Some(Open::Folder(mut listing)) = self.inner().open.remove(&handle.0) else { return Err(Errno::BADF) };
        let listed = self.list_from(&mut listing, offset, &mut each);
        self.inner().open.insert(handle.0, Open::Folder(listing));
        listed
    }

    fn list_from(
        &self,
        listing: &mut Listing,
        offset: u64,
        each: &mut impl FnMut(&Listed, &FileAttr) -> bool,
    ) -> Result<(), Errno> {
        if offset < listing.at || offset == 0 {
            *listing = Listing { place: listing.place.clone(), at: 0, ahead: VecDeque::new(), last: None };
        }
        loop {
            let Some(next) = listing.ahead.front() else {
                let names = self.history.names(&listing.place, listing.last.as_deref(), MOUNT_LISTED_NAMES);
                listing.ahead = names.map_err(|error| errno(&error))?.into();
                match listing.ahead.back() {
                    Some(last) => listing.last = Some(last.name.clone()),
                    None => return Ok(()),
                }
                continue;
            };
            if listing.at >= offset && !self.give(&listing.place, listing.at, next, each)? {
                return Ok(());
            }
            listing.at += 1;
            listing.ahead.pop_front();
        }
    }

    fn give(
        &self,
        folder: &ViewPath,
        at: u64,
        name: &ViewName,
        each: &mut impl FnMut(&Listed, &FileAttr) -> bool,
    ) -> Result<bool, Errno> {
        // What cannot be there by its name, or is not any more, is left out.
        let Some(place) = folder.join(&name.name) else { return Ok(true) };
        let viewed = match self.view(&place) {
            Ok(viewed) => viewed,
            Err(Errno::NOENT) => return Ok(true),
            Err(error) => return Err(error),
        };
        let ino = self.know(place)?;
        let attr = self.attr(ino, &viewed);
        let listed = Listed { name: name.name.clone(), ino, kind: attr.kind, next: at + 1 };
        let is_taken = each(&listed, &attr);
        if !is_taken {
            self.forget(ino, 1);
        }
        Ok(is_taken)
    }
}

fn errno(error: &ChronicleError) -> Errno {
    match error {
        ChronicleError::NotThere { .. } | ChronicleError::NoIteration(_) | ChronicleError::NoVersion(_) => Errno::NOENT,
        ChronicleError::Path(_) => Errno::NAMETOOLONG,
        error => {
            tracing::warn!(%error, "the history cannot be shown in a mount");
            Errno::IO
        }
    }
}

/// For mounts of folders without a history.
#[cfg(test)]
pub(super) struct Nothing;

#[cfg(test)]
impl History for Nothing {
    fn view(&self, _: &ViewPath) -> Result<Viewed, ChronicleError> {
        Err(ChronicleError::NoIteration(0))
    }

    fn names(&self, _: &ViewPath, _: Option<&[u8]>, _: usize) -> Result<Vec<ViewName>, ChronicleError> {
        Err(ChronicleError::NoIteration(0))
    }

    fn read(&self, _: &ViewFile, _: u64, _: usize) -> Result<Vec<u8>, ChronicleError> {
        Err(ChronicleError::NoIteration(0))
    }
}
