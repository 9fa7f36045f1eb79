//! What a guest changes in its workspace, told to the dirty set.
//!
//! Told after the change, by the path that the kernel knows then: a folder may have been renamed since it was opened, and a name may lead
//! through symbolic links. Must never miss a change: where a path cannot be known, everything is looked at.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Weak};

use podium_chronicle::{DirtySet, PathError, WorkPath};
use rustix::fs::{FileType, OFlags, Stat};
use rustix::io::Errno;

use super::opening::{parent, place_of, stat_of};

/// Open files at which those that were closed are looked for first: twice what most agents ever open.
const WRITERS_SWEPT_AT: usize = 16;

/// Where something is in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Where {
    /// There.
    At(WorkPath),
    /// Where no version could have it: too deep, or with too long a path.
    Beyond,
    /// Nobody knows.
    Unknown,
}

impl Where {
    fn of(path: Result<WorkPath, PathError>) -> Self {
        match path {
            Ok(path) => Self::At(path),
            Err(PathError::TooDeep | PathError::TooLong) => Self::Beyond,
            Err(_) => Self::Unknown,
        }
    }
}

/// A file that the guest opened for writing.
#[derive(Debug)]
struct Writer {
    inode: (u64, u64),
    // A stream keeps the file open without its handle.
    file: Weak<File>,
}

/// Tells what one guest changes.
#[derive(Debug)]
pub(crate) struct Recorder {
    dirty: DirtySet,
    /// The folder as the kernel names it.
    root: Vec<u8>,
    writers: Vec<Writer>,
    swept_at: usize,
}

impl Recorder {
    /// For the guest of an open workspace folder.
    pub(crate) fn new(dirty: DirtySet, root: &File) -> rustix::io::Result<Self> {
        let root = kernel_path(root.as_fd())?.into_bytes();
        Ok(Self { dirty, root, writers: Vec::new(), swept_at: WRITERS_SWEPT_AT })
    }

    /// A file was opened for writing, made or emptied.
    pub(crate) fn opened(&mut self, file: &Arc<File>, stat: &Stat, place: &Where) {
        let Where::At(path) = place else { return self.dirty.scan_needed() };
        if self.writers.len() >= self.swept_at {
            self.sweep();
            self.swept_at = WRITERS_SWEPT_AT.max(self.writers.len() * 2);
        }
        let inode = (stat.st_dev, stat.st_ino);
        self.dirty.opened_for_writing(inode.0, inode.1, path);
        self.writers.push(Writer { inode, file: Arc::downgrade(file) });
    }

    /// Tells of files that the guest has closed since: what they hold now is what they will hold.
    pub(crate) fn sweep(&mut self) {
        let dirty = &self.dirty;
        self.writers.retain(|writer| {
            let is_open = writer.file.strong_count() > 0;
            if !is_open {
                dirty.closed(writer.inode.0, writer.inode.1);
            }
            is_open
        });
    }

    /// An entry was made, removed or had its attributes changed.
    pub(crate) fn touched(&self, place: &Where) {
        match place {
            Where::At(path) => self.dirty.touched(path),
            Where::Beyond | Where::Unknown => self.dirty.scan_needed(),
        }
    }

    /// What an entry leads to had its attributes changed.
    pub(crate) fn followed_at(&self, folder: &File, name: &str) {
        match place_of(folder.as_fd(), name, OFlags::empty()) {
            Ok(target) => self.touched(&self.place_of(target.as_fd())),
            Err(_) => self.dirty.scan_needed(),
        }
    }

    /// An entry was renamed: it was there, and is here.
    pub(crate) fn renamed(&self, from: &Where, to: (&Where, &File, &str)) {
        let (Where::At(old), Where::At(new)) = (from, to.0) else { return self.dirty.scan_needed() };
        match stat_of(to.1.as_fd(), to.2) {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.dirty.renamed_folder(old, new);
            }
            Some(_) => self.dirty.renamed(old, new),
            None => self.dirty.scan_needed(),
        }
    }

    /// A file, which is there, got another name.
    pub(crate) fn linked(&self, stat: &Stat, old: &Where, new: &Where) {
        match (old, new) {
            (Where::At(old), Where::At(new)) => self.dirty.linked(stat.st_dev, stat.st_ino, old, new),
            _ => self.dirty.scan_needed(),
        }
    }

    /// Where an entry is, or would be.
    pub(crate) fn place_at(&self, folder: &File, path: &str) -> Where {
        let Ok((parent, name)) = parent(folder.as_fd(), path) else { return Where::Unknown };
        match self.place_of(parent.as_ref().map_or(folder.as_fd(), AsFd::as_fd)) {
            Where::At(folder) => Where::of(folder.join(name.as_bytes())),
            other => other,
        }
    }

    /// Where an open file or folder is.
    pub(crate) fn place_of(&self, file: BorrowedFd<'_>) -> Where {
        let path = match kernel_path(file) {
            Ok(path) => path,
            // Longer than what one system call gives.
            Err(Errno::NAMETOOLONG) => return Where::Beyond,
            Err(_) => return Where::Unknown,
        };
        let within = path.to_bytes().strip_prefix(self.root.as_slice());
        let within = within.and_then(|within| if within.is_empty() { Some(within) } else { within.strip_prefix(b"/") });
        within.map_or(Where::Unknown, |within| Where::of(WorkPath::new(within)))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        for writer in &self.writers {
            self.dirty.closed(writer.inode.0, writer.inode.1);
        }
    }
}

/// The path of an open file as the kernel knows it now.
fn kernel_path(file: BorrowedFd<'_>) -> rustix::io::Result<CString> {
    rustix::fs::readlink(format!("/proc/self/fd/{}", file.as_raw_fd()), Vec::new())
}
