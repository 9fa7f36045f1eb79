//! Calls on names: looking one up, making, linking, renaming and removing entries.
//!
//! Every name is used beneath its folder's handle, its link not followed, and told to the dirty set after the change. Must never leave behind what
//! it could not give to whoever asked for it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use fuser::RenameFlags;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Statx, Uid};
use rustix::io::Errno;

use super::adapter::{Adapter, Caller, Given, Known};
use super::attr::{decoded, is_folder, stat_in, stat_of};
use super::past::Past;
use super::table::ROOT;
use crate::beneath::target_in;

/// Permission and set-id bits of a mode.
const MODE_BITS: u32 = 0o7777;

/// A folder's entries belong to its group, and folders in it do the same.
const SET_GROUP_ID: u32 = 0o2000;

impl Adapter {
    pub(super) fn look_up(&self, parent: u64, name: &[u8], may_keep: bool) -> Result<Known, Errno> {
        let folder = self.folders.folder(parent)?;
        let stat = self.folders.look(&folder, name)?;
        self.know(parent, name, &stat, may_keep)
    }

    pub(super) fn target(&self, ino: u64) -> Result<Vec<u8>, Errno> {
        let at = self.folders.at(ino)?;
        target_in(at.folder.as_fd(), &at.name)
    }

    pub(super) fn make_node(
        &self,
        caller: Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
        device: u32,
    ) -> Result<Known, Errno> {
        let folder = self.folder_for(parent, name)?;
        let kind = FileType::from_raw_mode(mode);
        rustix::fs::mknodat(&folder, name, kind, Mode::from_raw_mode(mode & MODE_BITS), decoded(device))?;
        self.made(caller, parent, &folder, name, Some(mode))
    }

    pub(super) fn make_folder(&self, caller: Caller, parent: u64, name: &[u8], mode: u32) -> Result<Known, Errno> {
        let folder = self.folder_for(parent, name)?;
        rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(mode & MODE_BITS))?;
        self.made(caller, parent, &folder, name, Some(mode))
    }

    pub(super) fn make_link(&self, caller: Caller, parent: u64, name: &[u8], target: &[u8]) -> Result<Known, Errno> {
        let folder = self.folder_for(parent, name)?;
        rustix::fs::symlinkat(target, &folder, name)?;
        self.made(caller, parent, &folder, name, None)
    }

    /// Makes and opens a file; one that is there already is opened, unless that was excluded.
    pub(super) fn create_file(
        &self,
        caller: Caller,
        parent: u64,
        name: &[u8],
        mode: u32,
        flags: i32,
    ) -> Result<(Known, Given), Errno> {
        let folder = self.folder_for(parent, name)?;
        let held = self.handles.hold()?;
        let opening = super::content::opening(flags);
        let created = |how| {
            let flags = opening | OFlags::CREATE | how;
            rustix::fs::openat(&folder, name, flags, Mode::from_raw_mode(mode & MODE_BITS))
        };
        let is_exclusive = flags & libc::O_EXCL != 0;
        let file = match created(OFlags::EXCL) {
            Ok(file) => {
                self.give(caller, &folder, name, Some(mode)).inspect_err(|_| self.take_back(&folder, name))?;
                file
            }
            Err(Errno::EXIST) if !is_exclusive => created(OFlags::empty())?,
            Err(error) => return Err(error),
        };
        let stat = stat_of(&file)?;
        if !super::attr::is_file(&stat) {
            return Err(Errno::EXIST);
        }
        self.told.touched(&folder, name);
        let known = self.know(parent, name, &stat, true)?;
        let given = self.given(file, &stat, flags, held);
        Ok((known, given))
    }

    pub(super) fn add_name(&self, ino: u64, parent: u64, name: &[u8]) -> Result<Known, Errno> {
        let at = self.folders.at(ino)?;
        let folder = self.folder_for(parent, name)?;
        rustix::fs::linkat(&at.folder, &*at.name, &folder, name, AtFlags::empty())?;
        self.told.linked(ino, (&at.folder, &at.name), (&folder, name));
        let stat = self.folders.look(&folder, name)?;
        self.know(parent, name, &stat, true)
    }

    pub(super) fn remove(&self, parent: u64, name: &[u8], is_folder: bool) -> Result<(), Errno> {
        let folder = self.folder_for(parent, name)?;
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&folder, name, flags)?;
        self.told.touched(&folder, name);
        Ok(())
    }

    pub(super) fn rename_entry(&self, from: (u64, &[u8]), to: (u64, &[u8]), flags: RenameFlags) -> Result<(), Errno> {
        if flags.contains(RenameFlags::RENAME_WHITEOUT) {
            return Err(Errno::INVAL);
        }
        let (old, new) = (self.folder_for(from.0, from.1)?, self.folder_for(to.0, to.1)?);
        let moved = self.folders.look(&old, from.1)?;
        let exchanged = flags.contains(RenameFlags::RENAME_EXCHANGE);
        let other = if exchanged { Some(self.folders.look(&new, to.1)?) } else { None };
        let how = rustix::fs::RenameFlags::from_bits_retain(flags.bits());
        rustix::fs::renameat_with(&old, from.1, &new, to.1, how)?;
        self.told.renamed((&old, from.1), (&new, to.1), is_folder(&moved), exchanged);
        let mut table = self.folders.table();
        table.renamed(moved.stx_ino, from, to);
        if let Some(other) = other {
            table.renamed(other.stx_ino, to, from);
        }
        Ok(())
    }

    /// The folder in which a name is to be made, changed or removed.
    fn folder_for(&self, parent: u64, name: &[u8]) -> Result<Arc<OwnedFd>, Errno> {
        // There the history is shown.
        if Past::has(parent, name) { Err(Errno::ROFS) } else { self.folders.folder(parent) }
    }

    /// An entry was made: it is whose it should be, told, and known.
    fn made(
        &self,
        caller: Caller,
        parent: u64,
        folder: &OwnedFd,
        name: &[u8],
        mode: Option<u32>,
    ) -> Result<Known, Errno> {
        let stat = self.give(caller, folder, name, mode).inspect_err(|_| self.take_back(folder, name))?;
        self.told.touched(folder, name);
        self.know(parent, name, &stat, true)
    }

    /// Gives a new entry to whoever asked for it, with the rights that were asked for: the host's own mask is not the caller's.
    fn give(&self, caller: Caller, folder: &OwnedFd, name: &[u8], mode: Option<u32>) -> Result<Statx, Errno> {
        let stat = self.folders.look(folder, name)?;
        // The kernel of the mount took the caller's mask off. What the folder adds, it keeps.
        let wanted = mode.map(|mode| (mode & MODE_BITS) | (u32::from(stat.stx_mode) & SET_GROUP_ID));
        let is_others = self.gives && (caller.uid != stat.stx_uid || caller.gid != stat.stx_gid);
        if is_others {
            let of_group = u32::from(stat_of(folder)?.stx_mode) & SET_GROUP_ID != 0;
            let group = (!of_group).then(|| Gid::from_raw(caller.gid));
            rustix::fs::chownat(folder, name, Some(Uid::from_raw(caller.uid)), group, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        let is_as_wanted = wanted.is_none_or(|wanted| u32::from(stat.stx_mode) & MODE_BITS == wanted);
        if let Some(wanted) = wanted.filter(|_| !is_as_wanted || is_others) {
            rustix::fs::chmodat(folder, name, Mode::from_raw_mode(wanted), AtFlags::empty())?;
        }
        if is_others || !is_as_wanted { stat_in(folder, name) } else { Ok(stat) }
    }

    /// Removes what was made and could not be given away.
    fn take_back(&self, folder: &OwnedFd, name: &[u8]) {
        let removed = rustix::fs::unlinkat(folder, name, AtFlags::empty())
            .or_else(|_| rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR));
        if let Err(error) = removed {
            tracing::warn!(%error, "an entry that could not be given to its owner stays");
            self.told.touched(folder, name);
        }
    }

    /// Gives everything back that a mount held: it is gone.
    pub(super) fn end(&self) {
        for opened in self.handles.clear() {
            self.forget_writer(&opened);
        }
        self.folders.close_all();
        debug_assert!(self.folders.folder(ROOT).is_ok());
    }
}
