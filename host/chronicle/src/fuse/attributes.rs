//! Calls on attributes: what a file is, and changing that.
//!
//! An inode that is open is asked for by its handle, because it may have no name any more. Must never follow a link.

use std::os::fd::AsFd;
use std::sync::Arc;

use fuser::{FileAttr, FileHandle, FileType, TimeOrNow};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Statx, Timestamps, Uid};
use rustix::io::Errno;

use super::adapter::Adapter;
use super::attr::{attr, stat_in, stat_of, timespec};
use super::content::opening;
use super::folders::At;
use super::handles::Opened;
use super::past::FIRST;
use super::table::ROOT;

/// Attributes that are to be set.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
}

impl Wanted {
    fn owner(&self) -> (Option<Uid>, Option<Gid>) {
        (self.uid.map(Uid::from_raw), self.gid.map(Gid::from_raw))
    }

    fn mode(&self) -> Option<Mode> {
        self.mode.map(|mode| Mode::from_raw_mode(mode & 0o7777))
    }

    fn times(&self) -> Option<Timestamps> {
        (self.atime.is_some() || self.mtime.is_some())
            .then(|| Timestamps { last_access: timespec(self.atime), last_modification: timespec(self.mtime) })
    }
}

impl Adapter {
    pub(super) fn attributes(&self, ino: u64, handle: Option<FileHandle>, may_keep: bool) -> Result<FileAttr, Errno> {
        if ino >= FIRST {
            return self.past.attributes(ino);
        }
        let stat = match self.open_one(ino, handle, false) {
            Some(opened) => stat_of(&opened.file)?,
            None => match self.folders.at(ino) {
                Ok(at) => at.stat,
                // A folder that was removed while somebody stands in it.
                Err(stale) => stat_of(self.folders.opened(ino).map_err(|_| stale)?)?,
            },
        };
        if may_keep && ino != ROOT {
            self.folders.table().keep(ino, self.clock.monotonic() + super::adapter::ttl(true));
        }
        Ok(attr(&stat))
    }

    fn open_one(&self, ino: u64, handle: Option<FileHandle>, writes: bool) -> Option<Arc<Opened>> {
        let by_handle = handle.and_then(|handle| self.handles.file(handle.0).ok());
        by_handle.filter(|opened| opened.ino == ino).or_else(|| self.handles.of_inode(ino, writes))
    }

    pub(super) fn set(&self, ino: u64, handle: Option<FileHandle>, wanted: &Wanted) -> Result<FileAttr, Errno> {
        let stat = match self.folders.at(ino) {
            Ok(at) => self.set_at(&at, ino, handle, wanted)?,
            Err(stale) => {
                let opened = self.open_one(ino, handle, wanted.size.is_some()).ok_or(stale)?;
                set_open(&opened.file, wanted)?;
                self.told.touched_file(&opened.file);
                stat_of(&opened.file)?
            }
        };
        if ino != ROOT {
            self.folders.table().keep(ino, self.clock.monotonic() + super::adapter::ttl(true));
        }
        Ok(attr(&stat))
    }

    fn set_at(&self, at: &At, ino: u64, handle: Option<FileHandle>, wanted: &Wanted) -> Result<Statx, Errno> {
        let (uid, gid) = wanted.owner();
        let name = &*at.name;
        let done = (|| {
            if uid.is_some() || gid.is_some() {
                rustix::fs::chownat(&at.folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            if let Some(mode) = wanted.mode() {
                if super::attr::kind(u32::from(at.stat.stx_mode)) == FileType::Symlink {
                    return Err(Errno::OPNOTSUPP);
                }
                rustix::fs::chmodat(&at.folder, name, mode, AtFlags::empty())?;
            }
            if let Some(size) = wanted.size {
                match self.open_one(ino, handle, true).filter(|opened| opened.writes) {
                    Some(opened) => rustix::fs::ftruncate(&opened.file, size)?,
                    None => {
                        let flags = opening(libc::O_WRONLY) | OFlags::WRONLY;
                        let file = rustix::fs::openat(&at.folder, name, flags, Mode::empty())?;
                        rustix::fs::ftruncate(&file, size)?;
                    }
                }
            }
            if let Some(times) = wanted.times() {
                rustix::fs::utimensat(&at.folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Ok(())
        })();
        // Some of it may have been done.
        self.told.touched(&at.folder, name);
        done?;
        stat_in(&at.folder, name)
    }
}

/// Sets attributes of a file that has no name any more.
fn set_open(file: impl AsFd, wanted: &Wanted) -> Result<(), Errno> {
    let (uid, gid) = wanted.owner();
    if uid.is_some() || gid.is_some() {
        rustix::fs::fchown(&file, uid, gid)?;
    }
    if let Some(mode) = wanted.mode() {
        rustix::fs::fchmod(&file, mode)?;
    }
    if let Some(size) = wanted.size {
        rustix::fs::ftruncate(&file, size)?;
    }
    match wanted.times() {
        Some(times) => rustix::fs::futimens(&file, &times),
        None => Ok(()),
    }
}
