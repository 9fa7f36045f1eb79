//! Where an open file is, as the kernel knows it now: what the dirty set is told.
//!
//! Must never tell a path that was remembered: folders are renamed. Where a path cannot be known, everything is looked at.

use std::os::fd::{AsFd, AsRawFd};

use crate::dirty::DirtySet;
use crate::path::WorkPath;

/// Tells what changes through a mount.
#[derive(Debug)]
pub(super) struct Told {
    dirty: DirtySet,
    /// The folder as the kernel names it.
    root: Vec<u8>,
    device: u64,
}

impl Told {
    /// For a workspace's folder.
    pub(super) fn new(dirty: DirtySet, root: impl AsFd) -> rustix::io::Result<Self> {
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the width differs between machines")]
        let device = rustix::fs::fstat(&root)?.st_dev as u64;
        Ok(Self { dirty, root: kernel_path(root)?, device })
    }

    /// An entry of a folder was made, removed or had its attributes changed.
    pub(super) fn touched(&self, folder: impl AsFd, name: &[u8]) {
        match self.path_in(folder, name) {
            Some(path) => self.dirty.touched(&path),
            None => self.dirty.scan_needed(),
        }
    }

    /// An open file had its attributes changed.
    pub(super) fn touched_file(&self, file: impl AsFd) {
        match self.path_of(file) {
            Some(path) => self.dirty.touched(&path),
            None => self.dirty.scan_needed(),
        }
    }

    /// A file was opened for writing; false when it has no path to be followed by, and each write is to be told.
    pub(super) fn opened(&self, ino: u64, file: impl AsFd) -> bool {
        match self.path_of(file) {
            Some(path) => self.dirty.opened_for_writing(self.device, ino, &path),
            None => {
                self.dirty.scan_needed();
                return false;
            }
        }
        true
    }

    /// Something changed that has no path.
    pub(super) fn somewhere(&self) {
        self.dirty.scan_needed();
    }

    /// It was closed.
    pub(super) fn closed(&self, ino: u64) {
        self.dirty.closed(self.device, ino);
    }

    /// A file got another name.
    pub(super) fn linked(&self, ino: u64, old: (impl AsFd, &[u8]), new: (impl AsFd, &[u8])) {
        match (self.path_in(old.0, old.1), self.path_in(new.0, new.1)) {
            (Some(old), Some(new)) => self.dirty.linked(self.device, ino, &old, &new),
            _ => self.dirty.scan_needed(),
        }
    }

    /// An entry was renamed, or two changed places.
    pub(super) fn renamed(&self, from: (impl AsFd, &[u8]), to: (impl AsFd, &[u8]), is_folder: bool, exchanged: bool) {
        match (self.path_in(from.0, from.1), self.path_in(to.0, to.1)) {
            (Some(from), Some(to)) if exchanged => self.dirty.exchanged(&from, &to),
            (Some(from), Some(to)) if is_folder => self.dirty.renamed_folder(&from, &to),
            (Some(from), Some(to)) => self.dirty.renamed(&from, &to),
            _ => self.dirty.scan_needed(),
        }
    }

    fn path_in(&self, folder: impl AsFd, name: &[u8]) -> Option<WorkPath> {
        let folder = self.path_of(folder)?;
        if name == b"." { Some(folder) } else { folder.join(name).ok() }
    }

    /// None where that is no path of a workspace: too deep, too long, or of a folder that is gone.
    fn path_of(&self, file: impl AsFd) -> Option<WorkPath> {
        let path = kernel_path(file).ok()?;
        let within = path.strip_prefix(self.root.as_slice())?;
        let within = if within.is_empty() { within } else { within.strip_prefix(b"/")? };
        WorkPath::new(within).ok()
    }
}

/// The path of an open file as the kernel knows it now.
fn kernel_path(file: impl AsFd) -> rustix::io::Result<Vec<u8>> {
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    Ok(rustix::fs::readlink(link, Vec::new())?.into_bytes())
}
