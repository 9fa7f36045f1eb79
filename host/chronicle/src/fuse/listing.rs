//! Listing folders.
//!
//! Names come from the folder itself in its own order, a buffer of them at a time; where one listing goes on is the folder's own mark, so a folder that
//! changes meanwhile shows every name that stays. Must never hold a whole folder in memory.

use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::sync::PoisonError;
use std::time::Duration;

use fuser::{FileAttr, FileHandle, FileType, Generation, INodeNo};
use rustix::fs::{RawDir, SeekFrom};
use rustix::io::Errno;

use super::adapter::{Adapter, Known};
use super::attr::kind;
use super::handles::{Listed, OpenFolder};
use crate::beneath::folder_in;

/// Bytes of names that are read at once.
const NAMES_BYTES: usize = 16 * 1024;

impl Adapter {
    pub(super) fn open_folder(&self, ino: u64) -> Result<FileHandle, Errno> {
        if ino >= super::past::FIRST {
            return self.past.open_folder(ino);
        }
        let held = self.handles.hold()?;
        let folder = folder_in(self.folders.folder(ino)?.as_fd(), b".")?;
        Ok(FileHandle(self.handles.add_folder(folder, held)))
    }

    /// Calls `each` with the names from `offset` on, until it takes no more.
    pub(super) fn list(
        &self,
        handle: FileHandle,
        offset: u64,
        mut each: impl FnMut(&Listed) -> Result<bool, Errno>,
    ) -> Result<(), Errno> {
        let open = self.handles.folder(handle.0)?;
        let mut listing = open.listing.lock().unwrap_or_else(PoisonError::into_inner);
        if listing.at != offset || offset == 0 {
            listing.at = offset;
            listing.ahead.clear();
            listing.is_at_end = false;
        }
        loop {
            while let Some(listed) = listing.ahead.front() {
                if !each(listed)? {
                    return Ok(());
                }
                listing.at = listed.next;
                listing.ahead.pop_front();
            }
            if listing.is_at_end {
                return Ok(());
            }
            listing.ahead = names_from(&open, listing.at)?;
            listing.is_at_end = listing.ahead.is_empty();
        }
    }

    /// As [`Adapter::list`], with what is known of each.
    pub(super) fn list_known(
        &self,
        ino: u64,
        handle: FileHandle,
        offset: u64,
        may_keep: bool,
        mut each: impl FnMut(&Listed, &Known) -> bool,
    ) -> Result<(), Errno> {
        let open = self.handles.folder(handle.0)?;
        let mut is_first = true;
        self.list(handle, offset, |listed| {
            let was_first = std::mem::replace(&mut is_first, false);
            if matches!(&*listed.name, b"." | b"..") {
                return Ok(each(listed, &unknown(listed)));
            }
            let stat = match self.folders.look(&open.folder, &listed.name) {
                Ok(stat) => stat,
                // Gone meanwhile, or a mount stands there.
                Err(Errno::NOENT | Errno::XDEV) => return Ok(true),
                // What is listed already is told; the next call has the error.
                Err(error) => return if was_first { Err(error) } else { Ok(false) },
            };
            let known = match self.know(ino, &listed.name, &stat, may_keep) {
                Ok(known) => known,
                Err(error) => return if was_first { Err(error) } else { Ok(false) },
            };
            let is_taken = each(listed, &known);
            if !is_taken && self.folders.table().forget(stat.stx_ino, 1) {
                self.folders.close(stat.stx_ino);
            }
            Ok(is_taken)
        })
    }
}

fn names_from(open: &OpenFolder, offset: u64) -> Result<VecDeque<Listed>, Errno> {
    rustix::fs::seek(&open.folder, SeekFrom::Start(offset))?;
    let mut buffer = [MaybeUninit::uninit(); NAMES_BYTES];
    let mut names = RawDir::new(&open.folder, &mut buffer);
    let mut ahead = VecDeque::new();
    // One buffer: it is filled again only after it was used up.
    while let Some(entry) = names.next() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::INTR) => continue,
            // The folder was removed.
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error),
        };
        ahead.push_back(Listed {
            name: entry.file_name().to_bytes().into(),
            ino: entry.ino(),
            kind: kind(entry.file_type().as_raw_mode()),
            next: entry.next_entry_cookie(),
        });
        if names.is_buffer_empty() {
            break;
        }
    }
    Ok(ahead)
}

/// The folder itself and the one above, which the kernel looks up by itself.
fn unknown(listed: &Listed) -> Known {
    let attr = FileAttr {
        ino: INodeNo(listed.ino),
        size: 0,
        blocks: 0,
        atime: std::time::UNIX_EPOCH,
        mtime: std::time::UNIX_EPOCH,
        ctime: std::time::UNIX_EPOCH,
        crtime: std::time::UNIX_EPOCH,
        kind: FileType::Directory,
        perm: 0,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    };
    Known { attr, generation: Generation(0), ttl: Duration::ZERO }
}
