//! What a guest changes in its workspace, told to the dirty set.
//!
//! Told after the change, by the path that the kernel knows then: a folder may have been renamed since it was opened, and a name may lead
//! through symbolic links. Must never miss a change: where a path cannot be known, everything is looked at.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Weak};

use podium_chronicle::{DirtySet, WorkPath};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};

/// Open files at which those that were closed are looked for first: twice what most agents ever open.
const WRITERS_SWEPT_AT: usize = 16;

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
    pub(crate) fn opened(&mut self, file: &Arc<File>) {
        let (Some(path), Ok(stat)) = (self.path_of(file.as_fd()), rustix::fs::fstat(file)) else {
            return self.dirty.scan_needed();
        };
        if self.writers.len() >= self.swept_at {
            self.sweep();
            self.swept_at = WRITERS_SWEPT_AT.max(self.writers.len() * 2);
        }
        let inode = (stat.st_dev, stat.st_ino);
        self.dirty.opened_for_writing(inode.0, inode.1, &path);
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

    /// An open file or folder had its attributes changed.
    pub(crate) fn touched(&self, file: &File) {
        match self.path_of(file.as_fd()) {
            Some(path) => self.dirty.touched(&path),
            None => self.dirty.scan_needed(),
        }
    }

    /// An entry was made, removed or had its attributes changed.
    pub(crate) fn touched_at(&self, folder: &File, name: &str) {
        match self.path_at(folder, name) {
            Some(path) => self.dirty.touched(&path),
            None => self.dirty.scan_needed(),
        }
    }

    /// What an entry leads to had its attributes changed.
    pub(crate) fn followed_at(&self, folder: &File, name: &str) {
        let Ok(target) = beneath(folder, name, OFlags::empty()) else { return self.dirty.scan_needed() };
        match self.path_of(target.as_fd()) {
            Some(path) => self.dirty.touched(&path),
            None => self.dirty.scan_needed(),
        }
    }

    /// An entry was renamed.
    pub(crate) fn renamed(&self, from: (&File, &str), to: (&File, &str)) {
        let (Some(old), Some(new)) = (self.path_at(from.0, from.1), self.path_at(to.0, to.1)) else {
            return self.dirty.scan_needed();
        };
        match stat_at(to.0, to.1) {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                self.dirty.renamed_folder(&old, &new);
            }
            Some(_) => self.dirty.renamed(&old, &new),
            None => self.dirty.scan_needed(),
        }
    }

    /// A file got another name.
    pub(crate) fn linked(&self, old: (&File, &str), new: (&File, &str)) {
        let (Some(from), Some(to)) = (self.path_at(old.0, old.1), self.path_at(new.0, new.1)) else {
            return self.dirty.scan_needed();
        };
        match stat_at(new.0, new.1) {
            Some(stat) => self.dirty.linked(stat.st_dev, stat.st_ino, &from, &to),
            None => self.dirty.scan_needed(),
        }
    }

    /// Where an entry is; none when that is no path of a workspace.
    fn path_at(&self, folder: &File, name: &str) -> Option<WorkPath> {
        let name = name.trim_end_matches('/');
        let (parent, name) = match name.rsplit_once('/') {
            Some((parent, name)) => (self.path_of(beneath(folder, parent, OFlags::DIRECTORY).ok()?.as_fd())?, name),
            None => (self.path_of(folder.as_fd())?, name),
        };
        parent.join(name.as_bytes()).ok()
    }

    /// Where an open file is; none when that is no path of a workspace.
    fn path_of(&self, file: BorrowedFd<'_>) -> Option<WorkPath> {
        let path = kernel_path(file).ok()?;
        let within = path.to_bytes().strip_prefix(self.root.as_slice())?;
        let within = if within.is_empty() { within } else { within.strip_prefix(b"/")? };
        WorkPath::new(within).ok()
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

/// Opens what a path leads to, for its place only.
fn beneath(folder: &File, path: &str, flags: OFlags) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let path = if path.is_empty() { "." } else { path };
    let flags = flags | OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat2(folder, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS)
}

fn stat_at(folder: &File, name: &str) -> Option<rustix::fs::Stat> {
    rustix::fs::statat(folder, name.trim_end_matches('/'), AtFlags::SYMLINK_NOFOLLOW).ok()
}
