//! `workspace`: the files themselves, for agents whose language has none of its own.
//!
//! Paths are resolved by the kernel beneath the workspace's folder, and no symbolic link is followed. A change takes room of the same
//! count as those through `/workspace`, and is told to the same dirty set before its call answers. Must never hold more of a file or a folder in memory than one
//! call may give.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use podium_chronicle::{Beneath, ChronicleError, DirtySet, NamesBuffer, VIEW_NAME, WorkPath, each_name};
use podium_wire::ErrorCode;
use podium_wire::rest::FileKind;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::Quota;
use super::calls::{bounded, refused, work_path};
use crate::error::CallError;
use crate::limits::{WORKSPACE_CALL_BYTES_MAX, WORKSPACE_LIST_MAX};
use crate::turn::Turn;

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name in the folder.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Bytes of a file; 0 of everything else.
    pub size: u64,
}

/// A stretch of a folder's entries, by their names' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// At most as many as were asked for.
    pub entries: Vec<Listed>,
    /// The last name that was looked at, when there are more.
    pub next: Option<String>,
}

impl Turn {
    /// At most `len` bytes of a file, from `offset` on; fewer at its end.
    ///
    /// # Errors
    /// `POD-1001` for a length outside 1 to [`WORKSPACE_CALL_BYTES_MAX`], `POD-3011` for what is no path or leads through a symbolic link, `POD-3012` when
    /// nothing is there, `POD-3015` for what has no content.
    pub fn workspace_read(&self, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, CallError> {
        self.check_open()?;
        let path = work_path(path)?;
        let len = bounded("bytes", len, WORKSPACE_CALL_BYTES_MAX)?;
        let Some(work) = self.work_if_used()? else { return Err(failed(&path, Errno::NOENT)) };
        let (file, stat) = regular(&path, work.file(&path))?;
        let left = size(&stat).saturating_sub(offset);
        let mut bytes = vec![0; usize::try_from(left).unwrap_or(usize::MAX).min(len)];
        let mut read = 0;
        while read < bytes.len() {
            let at = offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            match file.read_at(&mut bytes[read..], at) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(broken(&path, error)),
            }
        }
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Writes to a file, which is made with the folders above it where it is not there. Without an `offset` it holds `content` and nothing else
    /// then; with one, the bytes from there on are `content`, and what is missing before them reads as zeros.
    ///
    /// # Errors
    /// As [`Turn::workspace_read`], `POD-1001` for more than [`WORKSPACE_CALL_BYTES_MAX`] bytes, `POD-3013` for an end that no file can have, `POD-4025` when there is
    /// no room for it: then the file is as it was, and folders that were made for it stay.
    pub fn workspace_write(
        &self,
        quota: &Quota,
        path: &str,
        offset: Option<u64>,
        content: &[u8],
    ) -> Result<(), CallError> {
        self.check_open()?;
        let path = work_path(path)?;
        let most = usize::try_from(WORKSPACE_CALL_BYTES_MAX).unwrap_or(usize::MAX);
        if content.len() > most {
            let message = format!("at most {most} bytes are written at once, not {}", content.len());
            return Err(CallError::refused(ErrorCode::BadRequest, message));
        }
        let end = offset.unwrap_or(0).checked_add(content.len() as u64);
        if end.is_none_or(|end| i64::try_from(end).is_err()) {
            return Err(CallError::refused(ErrorCode::FileTooLarge, format!("`{path}` cannot be as large as that")));
        }
        let work = self.work()?;
        let dirty = self.spec().workspace.dirty();
        make_folders(&work, quota, dirty, &path)?;
        let (opened, made) = match work.written(&path) {
            Err(Errno::NOENT) => (Ok(make(quota, &path, || work.new_file(&path))?), true),
            opened => (opened, false),
        };
        let (file, stat) = regular(&path, opened)?;
        let written = fill(quota, &file, &stat, offset, content);
        // Told of whether or not it worked.
        dirty.touched(&path);
        if stat.st_nlink > 1 {
            let (dev, ino) = inode(&stat);
            dirty.opened_for_writing(dev, ino, &path);
            dirty.closed(dev, ino);
        }
        match written {
            Ok(()) => Ok(()),
            Err(Unwritten::Full) => {
                if made && work.remove(&path, false).is_ok() {
                    quota.give_back(0, 1);
                }
                Err(quota.refusal().into())
            }
            Err(Unwritten::Io(error)) => Err(broken(&path, error)),
        }
    }

    /// The entries of a folder whose names come after `after`, by the names' bytes; the workspace itself is the empty path. Names that are
    /// no text are not among them, nor is `.chronicle`.
    ///
    /// # Errors
    /// As [`Turn::workspace_read`]; `POD-1001` for a limit outside 1 to [`WORKSPACE_LIST_MAX`], `POD-3015` for what is no folder.
    pub fn workspace_list(&self, path: &str, after: Option<&str>, limit: u32) -> Result<Listing, CallError> {
        self.check_open()?;
        let path = if path.is_empty() { WorkPath::root() } else { work_path(path)? };
        let limit = bounded("entries", limit, WORKSPACE_LIST_MAX)?;
        let Some(work) = self.work_if_used()? else {
            let nothing = Listing { entries: Vec::new(), next: None };
            return if path.is_root() { Ok(nothing) } else { Err(failed(&path, Errno::NOENT)) };
        };
        let folder = work.folder(&path).map_err(|error| failed(&path, error))?;
        let names = first_names(&folder, &path, after, limit + 1).map_err(|error| failed(&path, error))?;
        let is_more = names.len() > limit;
        let mut listing = Listing { entries: Vec::with_capacity(names.len().min(limit)), next: None };
        for name in names.into_iter().take(limit) {
            let stat = rustix::fs::statat(&folder, &name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
            listing.next = is_more.then(|| name.clone());
            match stat {
                Ok(stat) => listing.entries.push(listed(name, &stat)),
                // Removed since, by somebody else.
                Err(Errno::NOENT) => {}
                Err(error) => return Err(failed(&path, error)),
            }
        }
        Ok(listing)
    }

    /// Removes a file, a link or an empty folder.
    ///
    /// # Errors
    /// As [`Turn::workspace_read`]; `POD-3015` for a folder that holds something.
    pub fn workspace_remove(&self, quota: &Quota, path: &str) -> Result<(), CallError> {
        self.check_open()?;
        let path = work_path(path)?;
        let Some(work) = self.work_if_used()? else { return Err(failed(&path, Errno::NOENT)) };
        let stat = work.stat(&path).map_err(|error| failed(&path, error))?;
        let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        work.remove(&path, is_folder).map_err(|error| failed(&path, error))?;
        self.spec().workspace.dirty().touched(&path);
        if quota.is_exact() {
            quota.removed(&stat);
        }
        Ok(())
    }

    fn work(&self) -> Result<Beneath, CallError> {
        let path = self.spec().workspace.open().map_err(refused)?;
        Beneath::open(&path).map_err(|error| refused(ChronicleError::File { path, source: error.into() }))
    }

    /// None while nobody ever used a file: a look makes nothing.
    fn work_if_used(&self) -> Result<Option<Beneath>, CallError> {
        match self.spec().workspace.open_if_used().map_err(refused)? {
            Some(_) => self.work().map(Some),
            None => Ok(None),
        }
    }
}

/// Why something was not written.
enum Unwritten {
    Full,
    Io(io::Error),
}

/// Writes where there is room for it.
fn fill(quota: &Quota, file: &File, stat: &Stat, offset: Option<u64>, content: &[u8]) -> Result<(), Unwritten> {
    let extent = quota.extent(stat);
    extent.write(offset.unwrap_or(0), content.len()).map_err(|_| Unwritten::Full)?;
    file.write_all_at(content, offset.unwrap_or(0)).map_err(Unwritten::Io)?;
    let end = content.len() as u64;
    if offset.is_none() && end < size(stat) {
        file.set_len(end).map_err(Unwritten::Io)?;
        // Less always fits.
        let _ = extent.resize(end);
    }
    Ok(())
}

/// Makes what is missing of the folders above a path.
fn make_folders(work: &Beneath, quota: &Quota, dirty: &DirtySet, path: &WorkPath) -> Result<(), CallError> {
    let mut missing = Vec::new();
    let mut above = path.split().map(|(folder, _)| folder);
    while let Some(folder) = above.filter(|folder| !folder.is_root()) {
        match work.stat(&folder) {
            Ok(_) => break,
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(path, error)),
        }
        above = folder.split().map(|(folder, _)| folder);
        missing.push(folder);
    }
    for folder in missing.iter().rev() {
        make(quota, folder, || work.new_folder(folder))?;
        dirty.touched(folder);
    }
    Ok(())
}

/// Makes an entry where there is room for one.
fn make<T>(quota: &Quota, path: &WorkPath, make: impl FnOnce() -> Result<T, Errno>) -> Result<T, CallError> {
    if !quota.take(0, 1) {
        return Err(quota.refusal().into());
    }
    make().map_err(|error| {
        quota.give_back(0, 1);
        failed(path, error)
    })
}

/// What was opened, if it is a file.
fn regular(path: &WorkPath, opened: Result<OwnedFd, Errno>) -> Result<(File, Stat), CallError> {
    let file = opened.map_err(|error| failed(path, error))?;
    let stat = rustix::fs::fstat(&file).map_err(|error| failed(path, error))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((File::from(file), stat)),
        _ => Err(failed(path, Errno::ISDIR)),
    }
}

/// The first names of a folder after one, never more of them held.
fn first_names(folder: &OwnedFd, path: &WorkPath, after: Option<&str>, most: usize) -> Result<BTreeSet<String>, Errno> {
    let mut names = BTreeSet::<String>::new();
    each_name::<Errno>(folder.as_fd(), &mut NamesBuffer::new(), |name| {
        let Ok(name) = std::str::from_utf8(name) else { return Ok(true) };
        let is_later = after.is_none_or(|after| name > after) && !(path.is_root() && name == VIEW_NAME);
        let is_first = names.len() < most || names.last().is_some_and(|last| name < last.as_str());
        if is_later && is_first {
            names.insert(name.to_owned());
            if names.len() > most {
                names.pop_last();
            }
        }
        Ok(true)
    })?;
    Ok(names)
}

fn listed(name: String, stat: &Stat) -> Listed {
    let (kind, size) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => (FileKind::File, size(stat)),
        FileType::Directory => (FileKind::Folder, 0),
        FileType::Symlink => (FileKind::Symlink, 0),
        _ => (FileKind::Other, 0),
    };
    Listed { name, kind, size }
}

fn size(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the widths differ between machines")]
fn inode(stat: &Stat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

fn failed(path: &WorkPath, error: Errno) -> CallError {
    let (code, what) = match error {
        Errno::NOENT => (ErrorCode::FileNotFound, "there is nothing at"),
        Errno::NOTEMPTY | Errno::EXIST => (ErrorCode::NotAFile, "there is something in"),
        // A folder for a file, a file for a folder, a socket, a pipe that nobody reads.
        Errno::NOTDIR | Errno::ISDIR | Errno::NXIO => (ErrorCode::NotAFile, "it is something else that is at"),
        Errno::LOOP => (ErrorCode::InvalidPath, "a symbolic link is in the way to"),
        Errno::XDEV | Errno::NAMETOOLONG => (ErrorCode::InvalidPath, "there can be nothing at"),
        Errno::FBIG => (ErrorCode::FileTooLarge, "the system has no room for such a file at"),
        error => return broken(path, error.into()),
    };
    CallError::refused(code, format!("{what} `{path}`"))
}

fn broken(path: &WorkPath, source: io::Error) -> CallError {
    refused(ChronicleError::Work { path: path.clone(), source })
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
