//! The calls on files that change something, for guests of WASI 0.2 and of 0.3: each within the workspace's limits, and told to the recorder
//! when it has worked.
//!
//! What is written through a handle needs no word: a file that is open for writing is looked at by every snapshot. Must never answer a call that
//! changed something before it was told.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

use podium_capabilities::workspace::Quota;
use rustix::fs::{FileType, Stat, Timespec, Timestamps};
use wasmtime::component::Resource;
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::FsResult;
use wasmtime_wasi::p2::bindings::filesystem::types::{ErrorCode, HostDescriptor, PathFlags};
use wasmtime_wasi_io::streams::DynOutputStream;

use super::files::{Handle, now};
use super::metered::Metered;
use super::opening::{self, code, stat_of};
use super::recorder::{Recorder, Where};
use crate::guest::GuestState;
use crate::host::clocks::NANOS_PER_SECOND;

/// A time to be set.
#[derive(Debug, Clone, Copy)]
pub(super) enum NewTime {
    /// As it is.
    Keep,
    /// The guest's time.
    Now,
    /// This, nanoseconds of any number.
    At { seconds: i64, nanoseconds: u32 },
}

impl GuestState {
    fn quota(&self) -> Option<Quota> {
        self.workspace.as_ref().and_then(|workspace| workspace.quota().cloned())
    }

    fn recorder(&mut self) -> Option<&mut Recorder> {
        self.workspace.as_mut().and_then(|workspace| workspace.recorder())
    }

    fn tell(&mut self, place: &Where) {
        if let Some(recorder) = self.recorder() {
            recorder.touched(place);
        }
    }

    /// The folder of an entry that is to change, and where the entry is; refused in the history.
    fn entry(&mut self, at: u32, path: &str) -> FsResult<(Arc<File>, Where)> {
        self.use_files();
        if self.in_history(at, path).is_some() {
            return Err(ErrorCode::ReadOnly.into());
        }
        let folder = self.folder(at)?;
        let place = self.recorder().map_or(Where::Unknown, |recorder| recorder.place_at(&folder, path));
        Ok((folder, place))
    }

    /// As [`GuestState::entry`], of one that is to be made: where no version could have it, nothing is.
    fn new_entry(&mut self, at: u32, path: &str) -> FsResult<(Arc<File>, Where)> {
        let (folder, place) = self.entry(at, path)?;
        match &place {
            Where::At(path) if path.is_reserved() => Err(ErrorCode::ReadOnly.into()),
            Where::Beyond => Err(ErrorCode::NameTooLong.into()),
            _ => Ok((folder, place)),
        }
    }

    /// Makes an entry with `make` where there is room for one, and tells of it.
    fn make<T>(&mut self, place: &Where, make: impl FnOnce(&mut Self) -> FsResult<T>) -> FsResult<T> {
        let quota = self.quota();
        if quota.as_ref().is_some_and(|quota| !quota.take(0, 1)) {
            return Err(ErrorCode::Quota.into());
        }
        let made = make(self);
        match &made {
            Ok(_) => self.tell(place),
            Err(_) => quota.iter().for_each(|quota| quota.give_back(0, 1)),
        }
        made
    }

    /// Removes an entry with `remove`, and tells of it.
    fn remove(&mut self, at: u32, path: &str, remove: impl FnOnce(&mut Self) -> FsResult<()>) -> FsResult<()> {
        let (folder, place) = self.entry(at, path)?;
        let going = self.going(&folder, path);
        remove(self)?;
        self.tell(&place);
        if let Some((quota, stat)) = going {
            quota.removed(&stat);
        }
        Ok(())
    }

    /// What an entry is that is about to go, where that counts.
    fn going(&self, folder: &File, path: &str) -> Option<(Quota, Stat)> {
        let quota = self.quota().filter(Quota::is_exact)?;
        Some((quota, stat_of(folder.as_fd(), path)?))
    }

    /// Makes a folder.
    pub(super) fn make_folder(&mut self, at: Handle, path: String) -> FsResult<()> {
        let (_, place) = self.new_entry(at.rep(), &path)?;
        self.make(&place, |state| now(state.files().create_directory_at(at, path)))
    }

    /// Makes a symbolic link.
    pub(super) fn make_link(&mut self, at: Handle, target: String, path: String) -> FsResult<()> {
        let (_, place) = self.new_entry(at.rep(), &path)?;
        self.make(&place, |state| now(state.files().symlink_at(at, target, path)))
    }

    /// Removes an empty folder.
    pub(super) fn remove_folder(&mut self, at: Handle, path: String) -> FsResult<()> {
        self.remove(at.rep(), &path.clone(), |state| now(state.files().remove_directory_at(at, path)))
    }

    /// Removes a file or a link.
    pub(super) fn remove_file(&mut self, at: Handle, path: String) -> FsResult<()> {
        self.remove(at.rep(), &path.clone(), |state| now(state.files().unlink_file_at(at, path)))
    }

    /// Gives a file another name.
    pub(super) fn link(
        &mut self,
        (at, flags, old): (Handle, PathFlags, String),
        (to, new): (Handle, String),
    ) -> FsResult<()> {
        let (folder, from) = self.entry(at.rep(), &old)?;
        let (_, place) = self.new_entry(to.rep(), &new)?;
        let Some(stat) = stat_of(folder.as_fd(), &old) else {
            // The engine says why.
            return now(self.files().link_at(at, flags, old, to, new));
        };
        let quota = self.quota();
        if quota.as_ref().is_some_and(|quota| !quota.take_name(&stat)) {
            return Err(ErrorCode::Quota.into());
        }
        let linked = now(self.files().link_at(at, flags, old, to, new));
        match &linked {
            Ok(()) => {
                if let Some(recorder) = self.recorder() {
                    recorder.linked(&stat, &from, &place);
                }
            }
            Err(_) => quota.iter().for_each(|quota| quota.give_name_back(&stat)),
        }
        linked
    }

    /// Renames an entry; what stood where it goes is gone then.
    pub(super) fn rename(&mut self, (at, old): (Handle, String), (to, new): (Handle, String)) -> FsResult<()> {
        let (folder, from) = self.entry(at.rep(), &old)?;
        let (target, place) = self.new_entry(to.rep(), &new)?;
        let going = self.going(&target, &new);
        let moved = going.as_ref().and_then(|_| stat_of(folder.as_fd(), &old));
        now(self.files().rename_at(at, old, to, new.clone()))?;
        if let Some(recorder) = self.recorder() {
            recorder.renamed(&from, (&place, &target, &new));
        }
        if let (Some((quota, gone)), Some(moved)) = (going, moved)
            && (gone.st_dev, gone.st_ino) != (moved.st_dev, moved.st_ino)
        {
            quota.removed(&gone);
        }
        Ok(())
    }

    /// Changes a file's size.
    pub(super) fn set_size(&mut self, of: Handle, size: u64) -> FsResult<()> {
        self.use_files();
        let extent = self.extent(of.rep());
        let before = extent.as_ref().map(|extent| extent.size());
        if let Some(extent) = &extent
            && extent.resize(size).is_err()
        {
            return Err(ErrorCode::Quota.into());
        }
        let set = now(self.files().set_size(of, size));
        if let (Some(extent), Some(before), Err(_)) = (&extent, before, &set) {
            // It is as it was, and so had room.
            let _ = extent.resize(before);
        }
        set
    }

    /// Writes to a file.
    pub(super) fn write(&mut self, file: Handle, bytes: Vec<u8>, offset: u64) -> FsResult<u64> {
        self.use_files();
        if let Some(extent) = self.extent(file.rep())
            && extent.write(offset, bytes.len()).is_err()
        {
            return Err(ErrorCode::Quota.into());
        }
        now(self.files().write(file, bytes, offset))
    }

    /// A stream into a file, from an offset on or at its end.
    pub(super) fn writes(&mut self, file: Handle, offset: Option<u64>) -> FsResult<Resource<DynOutputStream>> {
        self.use_files();
        let extent = self.extent(file.rep());
        let mut stream = match offset {
            Some(offset) => self.files().write_via_stream(file, offset),
            None => self.files().append_via_stream(file),
        }?;
        if let Some(extent) = extent {
            let inner: DynOutputStream = self.table.delete(stream)?;
            stream = self.table.push(Box::new(Metered::new(inner, extent, offset)) as DynOutputStream)?;
        }
        if let Some(workspace) = &mut self.workspace {
            workspace.streams_a_file(stream.rep());
        }
        self.check_open_files().map_err(wasmtime_wasi::p2::FsError::trap)?;
        Ok(stream)
    }

    /// Sets the times of an open file or folder.
    pub(super) fn set_times(&mut self, of: u32, read: NewTime, written: NewTime) -> FsResult<()> {
        self.use_files();
        let times = self.times(read, written)?;
        let (file, perms) = match self.table.get(&Handle::new_borrow(of))? {
            Descriptor::File(file) => (Arc::clone(&file.file), file.perms),
            Descriptor::Dir(folder) => (Arc::clone(&folder.dir), folder.perms),
        };
        if perms.write_not_permitted() {
            return Err(ErrorCode::NotPermitted.into());
        }
        opening::set_times(file.as_fd(), &times).map_err(code)?;
        let place = self.recorder().map_or(Where::Unknown, |recorder| recorder.place_of(file.as_fd()));
        self.tell(&place);
        Ok(())
    }

    /// Sets the times of an entry, or of what it leads to.
    pub(super) fn set_times_at(
        &mut self,
        at: u32,
        flags: PathFlags,
        path: &str,
        (read, written): (NewTime, NewTime),
    ) -> FsResult<()> {
        let (folder, place) = self.entry(at, path)?;
        let times = self.times(read, written)?;
        let follow = flags.contains(PathFlags::SYMLINK_FOLLOW);
        opening::set_times_at(folder.as_fd(), path, follow, &times).map_err(code)?;
        let is_link = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        match self.recorder() {
            Some(recorder) if follow && stat_of(folder.as_fd(), path).as_ref().is_none_or(is_link) => {
                recorder.followed_at(&folder, path);
            }
            Some(recorder) => recorder.touched(&place),
            None => {}
        }
        Ok(())
    }

    /// The times to be set, where that is now, those of the guest.
    fn times(&mut self, read: NewTime, written: NewTime) -> FsResult<Timestamps> {
        let time = |time| match time {
            NewTime::Keep => Ok(Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT }),
            NewTime::Now => {
                let now = self.now_ns();
                timespec(i64::try_from(now / NANOS_PER_SECOND).ok(), now % NANOS_PER_SECOND)
            }
            NewTime::At { seconds, nanoseconds } => {
                let nanoseconds = u64::from(nanoseconds);
                let carried = i64::try_from(nanoseconds / NANOS_PER_SECOND).ok();
                timespec(carried.and_then(|more| seconds.checked_add(more)), nanoseconds % NANOS_PER_SECOND)
            }
        };
        Ok(Timestamps { last_access: time(read)?, last_modification: time(written)? })
    }
}

fn timespec(seconds: Option<i64>, nanoseconds: u64) -> FsResult<Timespec> {
    let seconds = seconds.ok_or(ErrorCode::Overflow)?;
    Ok(Timespec { tv_sec: seconds, tv_nsec: nanoseconds.try_into().map_err(|_| ErrorCode::Overflow)? })
}
