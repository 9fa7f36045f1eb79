//! `/workspace` for guests of WASI 0.2 and of 0.3: what is opened, looked at and listed, and the bounds on what is open.
//!
//! One implementation for both, in the terms of 0.2; `p2_files.rs` and `p3_files.rs` only translate. What only reads an open file is the engine's
//! own. Must never show a guest a time of the host's clock that lies within its turn: a file that it has just written would tell how
//! long its work took. Must never let a call wait for anything but the disk.

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::AsFd;
use std::sync::Arc;

use futures_util::FutureExt;
use podium_capabilities::LimitReached;
use podium_capabilities::workspace::Extent;
use podium_chronicle::{ViewPath, Viewed};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::FsPerms;
use wasmtime_wasi::filesystem::{Descriptor, Dir, OpenMode};
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry, ErrorCode, HostDescriptor, MetadataHashValue,
    OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsError, FsResult, ReaddirIterator};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use super::history::{self, Found};
use super::opening::{How, Opened, unmake};
use super::recorder::Where;
use crate::guest::GuestState;
use crate::host::clocks::NANOS_PER_SECOND;

/// A handle that is looked at, not taken.
pub(super) type Handle = Resource<Descriptor>;

/// A folder's names, in order, as a guest reads them.
#[derive(Debug)]
pub(super) struct Listing(pub(super) std::vec::IntoIter<DirectoryEntry>);

/// What the engine answers to a call on files: it is done when it returns, because guests run on threads that may block.
pub(super) fn now<T>(call: impl Future<Output = FsResult<T>>) -> FsResult<T> {
    match call.now_or_never() {
        Some(done) => done,
        None => Err(FsError::trap(wasmtime::Error::msg("a call on files waits"))),
    }
}

impl preopens::Host for GuestState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Handle, String)>> {
        let directories = preopens::Host::get_directories(&mut self.files())?;
        if let Some(workspace) = &mut self.workspace {
            directories.iter().for_each(|(handle, _)| workspace.handed_out(handle));
        }
        self.check_open_files()?;
        Ok(directories)
    }
}

impl GuestState {
    /// Ends a guest that holds more than it may, or more than the host has left for guests.
    pub(super) fn check_open_files(&mut self) -> Result<(), LimitReached> {
        let streams = self.workspace.as_ref().map_or(0, |workspace| workspace.streams_of_0_3());
        let open = open_files(&mut self.table).saturating_add(streams as u64);
        if open > self.open_handles {
            return Err(LimitReached::Handles(self.open_handles));
        }
        let Some(workspace) = &mut self.workspace else { return Ok(()) };
        if workspace.hold(&mut self.table) { Ok(()) } else { Err(LimitReached::HostHandles(workspace.part())) }
    }

    /// As [`GuestState::check_open_files`], after a call.
    fn checked<T>(&mut self, done: FsResult<T>) -> FsResult<T> {
        self.check_open_files().map_err(FsError::trap)?;
        done
    }

    /// The folder behind a handle.
    pub(super) fn folder(&self, handle: u32) -> FsResult<Arc<File>> {
        match self.table.get(&Handle::new_borrow(handle))? {
            Descriptor::Dir(folder) => Ok(Arc::clone(&folder.dir)),
            Descriptor::File(_) => Err(ErrorCode::NotDirectory.into()),
        }
    }

    /// A file that may be written to, with its size; none of one that nobody counts.
    pub(super) fn extent(&self, handle: u32) -> Option<Arc<Extent>> {
        self.workspace.as_ref().and_then(|workspace| workspace.extent(handle))
    }

    /// Where a path leads in the history; none when it does not lead there.
    pub(super) fn in_history(&mut self, handle: u32, path: &str) -> Option<Result<ViewPath, ErrorCode>> {
        let table = &self.table;
        let workspace = self.workspace.as_ref()?;
        let is_root = || match table.get(&Handle::new_borrow(handle)) {
            Ok(Descriptor::Dir(folder)) => workspace.is_root(&folder.dir),
            _ => false,
        };
        workspace.history.place(handle, is_root, path)
    }

    /// Opens a file or a folder.
    pub(super) fn open(
        &mut self,
        at: u32,
        follow: bool,
        path: &str,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Handle> {
        self.use_files();
        let opened = match self.in_history(at, path) {
            // What can never be there cannot be made either.
            Some(Err(ErrorCode::NoEntry)) if writes(open, flags) => Err(ErrorCode::ReadOnly.into()),
            Some(place) => self.open_history(&place?, open, flags),
            None => self.open_file(at, follow, path, open, flags),
        };
        self.checked(opened)
    }

    fn open_file(
        &mut self,
        at: u32,
        follow: bool,
        path: &str,
        open: OpenFlags,
        flags: DescriptorFlags,
    ) -> FsResult<Handle> {
        let folder = self.folder(at)?;
        let how = How::new(follow, open, flags)?;
        let quota = self.workspace.as_ref().and_then(|workspace| workspace.quota().cloned());
        let opened = if !how.create {
            how.existing(folder.as_fd(), path)?
        } else if quota.as_ref().is_none_or(|quota| quota.take(0, 1)) {
            let opened = how.or_make(folder.as_fd(), path);
            if let (Some(quota), false) = (&quota, opened.as_ref().is_ok_and(|opened| opened.made)) {
                quota.give_back(0, 1);
            }
            opened?
        } else {
            match how.existing(folder.as_fd(), path) {
                Err(ErrorCode::NoEntry) => return Err(ErrorCode::Quota.into()),
                opened => opened?,
            }
        };
        let Opened { file, stat, is_folder, made } = opened;
        if is_folder {
            let folder = Dir::new(file, FsPerms::ReadWrite, how.mode, true);
            return Ok(self.table.push(Descriptor::Dir(folder))?);
        }
        let file = wasmtime_wasi::filesystem::File::new(file, FsPerms::ReadWrite, how.mode, true);
        let opened = Arc::clone(&file.file);
        let Some(workspace) = &mut self.workspace else { return Ok(self.table.push(Descriptor::File(file))?) };
        let place = match workspace.recorder() {
            Some(recorder) if how.changes() => recorder.place_of(opened.as_fd()),
            _ => Where::Unknown,
        };
        let refused = match &place {
            Where::At(path) if path.is_reserved() => Some(ErrorCode::ReadOnly),
            Where::Beyond => Some(ErrorCode::NameTooLong),
            _ => None,
        };
        if let Some(code) = refused {
            if made {
                unmake(folder.as_fd(), path);
                quota.iter().for_each(|quota| quota.give_back(0, 1));
            }
            return Err(code.into());
        }
        if let Some(quota) = &quota {
            quota.opened(&opened);
        }
        let extent = quota.as_ref().filter(|_| how.changes()).map(|quota| quota.extent(&stat));
        if let (Some(recorder), true) = (workspace.recorder(), how.changes()) {
            recorder.opened(&opened, &stat, &place);
        }
        if how.truncate && stat.st_size > 0 {
            opened.set_len(0).map_err(|error| FsError::from(ErrorCode::from(error)))?;
            if let Some(extent) = &extent {
                // Less never fails.
                let _ = extent.resize(0);
            }
        }
        let handle = self.table.push(Descriptor::File(file))?;
        if let Some(extent) = extent {
            workspace.writes(handle.rep(), extent);
        }
        Ok(handle)
    }

    fn open_history(&mut self, place: &ViewPath, open: OpenFlags, flags: DescriptorFlags) -> FsResult<Handle> {
        let Some(workspace) = &mut self.workspace else { return Err(ErrorCode::NoEntry.into()) };
        let shared = workspace.shared.clone();
        if open.contains(OpenFlags::CREATE | OpenFlags::EXCLUSIVE) && history::look(&shared, place).is_ok() {
            return Err(ErrorCode::Exist.into());
        }
        if writes(open, flags) {
            return Err(ErrorCode::ReadOnly.into());
        }
        match workspace.history.open(&shared, place)? {
            Found::Folder => {
                let nowhere = Dir::new(workspace.nowhere()?, FsPerms::ReadOnly, OpenMode::READ, true);
                let handle = self.table.push(Descriptor::Dir(nowhere))?;
                workspace.history.opened(handle.rep(), place.clone());
                Ok(handle)
            }
            Found::File(..) if open.contains(OpenFlags::DIRECTORY) => Err(ErrorCode::NotDirectory.into()),
            Found::File(file, found) => {
                let file = wasmtime_wasi::filesystem::File::new(file, FsPerms::ReadOnly, OpenMode::READ, true);
                workspace.history.holds(&file.file, found.size());
                Ok(self.table.push(Descriptor::File(file))?)
            }
        }
    }

    /// A folder's names in order, so that every look at the same files is the same. Names that are no text are not among them: no guest
    /// can say them.
    pub(super) fn list(&mut self, folder: u32) -> FsResult<Vec<DirectoryEntry>> {
        self.use_files();
        let place = self.workspace.as_ref().and_then(|workspace| workspace.history.folder(folder));
        if let (Some(place), Some(workspace)) = (place, &self.workspace) {
            let names = history::names(&workspace.shared, place)?;
            let entry = |found: podium_chronicle::ViewName| {
                let type_ = if found.is_folder { DescriptorType::Directory } else { DescriptorType::RegularFile };
                Some(DirectoryEntry { type_, name: String::from_utf8(found.name.into()).ok()? })
            };
            return Ok(names.into_iter().filter_map(entry).collect());
        }
        let listing = now(self.files().read_directory(Handle::new_borrow(folder)))?;
        let mut entries = Vec::new();
        for entry in self.table.delete::<ReaddirIterator>(listing)? {
            match entry.map_err(|error| error.downcast()) {
                Ok(entry) => entries.push(entry),
                Err(Ok(ErrorCode::IllegalByteSequence)) => {}
                // Removed since, by somebody else.
                Err(Ok(ErrorCode::NoEntry)) => {}
                Err(Ok(code)) => return Err(code.into()),
                Err(Err(trap)) => return Err(FsError::trap(trap)),
            }
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// What an open file or folder is.
    pub(super) fn stat(&mut self, of: Handle) -> FsResult<DescriptorStat> {
        self.use_files();
        now(self.files().stat(of)).map(|stat| self.by_the_turn(stat))
    }

    /// What an entry is.
    pub(super) fn stat_at(&mut self, at: u32, flags: PathFlags, path: String) -> FsResult<DescriptorStat> {
        self.use_files();
        let stat = match self.in_history(at, &path) {
            Some(place) => self.stat_of_history(&place?)?,
            None => now(self.files().stat_at(Handle::new_borrow(at), flags, path))?,
        };
        Ok(self.by_the_turn(stat))
    }

    fn stat_of_history(&self, place: &ViewPath) -> FsResult<DescriptorStat> {
        let Some(workspace) = &self.workspace else { return Err(ErrorCode::NoEntry.into()) };
        let (type_, size, at_ms) = match history::look(&workspace.shared, place)? {
            Viewed::Folder => (DescriptorType::Directory, 0, 0),
            Viewed::File(file) => (DescriptorType::RegularFile, file.size(), file.at_ms()),
        };
        let time = Some(datetime(at_ms.saturating_mul(NANOS_PER_SECOND / 1000)));
        Ok(DescriptorStat {
            type_,
            link_count: 1,
            size,
            data_access_timestamp: time,
            data_modification_timestamp: time,
            status_change_timestamp: time,
        })
    }

    /// The times of a file as the guest may know them.
    fn by_the_turn(&self, mut stat: DescriptorStat) -> DescriptorStat {
        let times =
            [&mut stat.data_access_timestamp, &mut stat.data_modification_timestamp, &mut stat.status_change_timestamp];
        for time in times.into_iter().flatten() {
            *time = datetime(self.shown_ns(nanos(time)));
        }
        stat
    }

    /// What tells one open file or folder from another.
    pub(super) fn metadata_hash(&mut self, of: u32) -> FsResult<MetadataHashValue> {
        self.use_files();
        match self.workspace.as_ref().and_then(|workspace| workspace.history.folder(of)) {
            Some(place) => Ok(hash_of(place)),
            None => now(self.files().metadata_hash(Handle::new_borrow(of))),
        }
    }

    /// What tells one entry from another.
    pub(super) fn metadata_hash_at(&mut self, at: u32, flags: PathFlags, path: String) -> FsResult<MetadataHashValue> {
        self.use_files();
        match self.in_history(at, &path) {
            Some(place) => {
                let place = place?;
                self.stat_of_history(&place)?;
                Ok(hash_of(&place))
            }
            None => now(self.files().metadata_hash_at(Handle::new_borrow(at), flags, path)),
        }
    }

    /// A link's target.
    pub(super) fn read_link(&mut self, at: u32, path: String) -> FsResult<String> {
        self.use_files();
        match self.in_history(at, &path) {
            // It has none: a link is shown as a file.
            Some(place) => self.stat_of_history(&place?).and(Err(ErrorCode::Invalid.into())),
            None => now(self.files().readlink_at(Handle::new_borrow(at), path)),
        }
    }

    /// A stream from a file.
    pub(super) fn reads(&mut self, file: Handle, offset: u64) -> FsResult<Resource<DynInputStream>> {
        self.use_files();
        let stream = self.files().read_via_stream(file, offset);
        if let (Ok(stream), Some(workspace)) = (&stream, &mut self.workspace) {
            workspace.streams_a_file(stream.rep());
        }
        self.checked(stream)
    }

    /// A stream of the names in a folder.
    pub(super) fn lists(&mut self, folder: u32) -> FsResult<Resource<ReaddirIterator>> {
        let listed = self.list(folder).and_then(|names| Ok(self.table.push(Listing(names.into_iter()))?));
        // One kind of resource to a guest.
        self.checked(listed.map(|listing| Resource::new_own(listing.rep())))
    }

    /// A handle is dropped; one that is given back unused opened nothing.
    pub(super) fn drop_handle(&mut self, handle: u32) -> wasmtime::Result<()> {
        if let Some(workspace) = &mut self.workspace {
            workspace.given_back(handle);
        }
        self.table.delete(Handle::new_own(handle))?;
        Ok(())
    }
}

/// Whether what is opened so may be changed or made.
fn writes(open: OpenFlags, flags: DescriptorFlags) -> bool {
    flags.contains(DescriptorFlags::WRITE) || open.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE)
}

fn hash_of(place: &ViewPath) -> MetadataHashValue {
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    MetadataHashValue { lower: hasher.finish(), upper: 0 }
}

fn nanos(time: &Datetime) -> u64 {
    time.seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(u64::from(time.nanoseconds))
}

/// A time as the interface has it.
pub(super) fn datetime(ns: u64) -> Datetime {
    // Less than a second, so it fits.
    let nanoseconds = u32::try_from(ns % NANOS_PER_SECOND).unwrap_or(0);
    Datetime { seconds: ns / NANOS_PER_SECOND, nanoseconds }
}

/// Entries that hold, or may hold, a descriptor of the host: a stream keeps its file open.
fn open_files(table: &mut ResourceTable) -> u64 {
    let holds = |entry: &&mut (dyn std::any::Any + Send)| {
        entry.is::<Descriptor>()
            || entry.is::<Listing>()
            || entry.is::<DynInputStream>()
            || entry.is::<DynOutputStream>()
    };
    table.iter_mut().filter(holds).count() as u64
}
