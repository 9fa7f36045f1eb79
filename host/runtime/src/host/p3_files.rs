//! `wasi:filesystem` of WASI 0.3: the same files by the same rules, and streams of our own (`p3_streams.rs`).
//!
//! Must never do more than translate.

use std::fs::File;
use std::sync::Arc;

use tokio::sync::oneshot;
use wasmtime::component::{Access, Accessor, FutureReader, Linker, StreamReader};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystem};
use wasmtime_wasi::p2::bindings::filesystem::{preopens as p2_preopens, types as p2};
use wasmtime_wasi::p2::{FsError, FsResult};
use wasmtime_wasi::p3::bindings::clocks::system_clock::Instant;
use wasmtime_wasi::p3::bindings::filesystem::{preopens, types};
use wasmtime_wasi::p3::filesystem::{FilesystemError, FilesystemResult};

use super::changes::NewTime;
use super::files::Handle;
use super::p3_streams::{Ended, Names, Reading, Writing, end};
use super::workspace::Held03;
use crate::guest::{Guest, GuestState};

/// Links the interface.
pub(crate) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    types::add_to_linker::<_, Guest>(linker, |state| state)?;
    preopens::add_to_linker::<_, Guest>(linker, |state| state)
}

fn code(code: p2::ErrorCode) -> types::ErrorCode {
    macro_rules! same {
        ($($name:ident)*) => { match code { $(p2::ErrorCode::$name => types::ErrorCode::$name,)*
            // Nothing here waits.
            p2::ErrorCode::WouldBlock => types::ErrorCode::Busy } };
    }
    same!(Access Already BadDescriptor Busy Deadlock Quota Exist FileTooLarge IllegalByteSequence InProgress Interrupted
        Invalid Io IsDirectory Loop TooManyLinks MessageSize NameTooLong NoDevice NoEntry NoLock InsufficientMemory
        InsufficientSpace NotDirectory NotEmpty NotRecoverable Unsupported NoTty NoSuchDevice Overflow NotPermitted Pipe
        ReadOnly InvalidSeek TextFileBusy CrossDevice)
}

fn failed(error: FsError) -> FilesystemError {
    match error.downcast() {
        Ok(error) => code(error).into(),
        Err(trap) => FilesystemError::trap(trap),
    }
}

fn answered<T>(result: FsResult<T>) -> FilesystemResult<T> {
    result.map_err(failed)
}

fn follow(flags: types::PathFlags) -> p2::PathFlags {
    if flags.contains(types::PathFlags::SYMLINK_FOLLOW) {
        p2::PathFlags::SYMLINK_FOLLOW
    } else {
        p2::PathFlags::empty()
    }
}

fn open_flags(flags: types::OpenFlags) -> p2::OpenFlags {
    let pairs = [
        (types::OpenFlags::CREATE, p2::OpenFlags::CREATE),
        (types::OpenFlags::DIRECTORY, p2::OpenFlags::DIRECTORY),
        (types::OpenFlags::EXCLUSIVE, p2::OpenFlags::EXCLUSIVE),
        (types::OpenFlags::TRUNCATE, p2::OpenFlags::TRUNCATE),
    ];
    pairs.into_iter().filter(|(own, _)| flags.contains(*own)).fold(p2::OpenFlags::empty(), |all, (_, flag)| all | flag)
}

fn descriptor_flags(flags: types::DescriptorFlags) -> p2::DescriptorFlags {
    let pairs = [
        (types::DescriptorFlags::READ, p2::DescriptorFlags::READ),
        (types::DescriptorFlags::WRITE, p2::DescriptorFlags::WRITE),
        (types::DescriptorFlags::FILE_INTEGRITY_SYNC, p2::DescriptorFlags::FILE_INTEGRITY_SYNC),
        (types::DescriptorFlags::DATA_INTEGRITY_SYNC, p2::DescriptorFlags::DATA_INTEGRITY_SYNC),
        (types::DescriptorFlags::REQUESTED_WRITE_SYNC, p2::DescriptorFlags::REQUESTED_WRITE_SYNC),
        (types::DescriptorFlags::MUTATE_DIRECTORY, p2::DescriptorFlags::MUTATE_DIRECTORY),
    ];
    let set = pairs.into_iter().filter(|(own, _)| flags.contains(*own));
    set.fold(p2::DescriptorFlags::empty(), |all, (_, flag)| all | flag)
}

pub(super) fn kind(kind: p2::DescriptorType) -> types::DescriptorType {
    match kind {
        p2::DescriptorType::BlockDevice => types::DescriptorType::BlockDevice,
        p2::DescriptorType::CharacterDevice => types::DescriptorType::CharacterDevice,
        p2::DescriptorType::Directory => types::DescriptorType::Directory,
        p2::DescriptorType::Fifo => types::DescriptorType::Fifo,
        p2::DescriptorType::SymbolicLink => types::DescriptorType::SymbolicLink,
        p2::DescriptorType::RegularFile => types::DescriptorType::RegularFile,
        p2::DescriptorType::Socket => types::DescriptorType::Socket,
        p2::DescriptorType::Unknown => types::DescriptorType::Other(None),
    }
}

fn stat(stat: p2::DescriptorStat) -> types::DescriptorStat {
    let instant = |time: Option<wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime>| {
        let time = time?;
        Some(Instant { seconds: i64::try_from(time.seconds).ok()?, nanoseconds: time.nanoseconds })
    };
    types::DescriptorStat {
        type_: kind(stat.type_),
        link_count: stat.link_count,
        size: stat.size,
        data_access_timestamp: instant(stat.data_access_timestamp),
        data_modification_timestamp: instant(stat.data_modification_timestamp),
        status_change_timestamp: instant(stat.status_change_timestamp),
    }
}

fn time(time: types::NewTimestamp) -> NewTime {
    match time {
        types::NewTimestamp::NoChange => NewTime::Keep,
        types::NewTimestamp::Now => NewTime::Now,
        types::NewTimestamp::Timestamp(at) => NewTime::At { seconds: at.seconds, nanoseconds: at.nanoseconds },
    }
}

impl GuestState {
    /// The file behind a handle, with what counts a stream of it.
    fn streamed(&mut self, handle: &Handle) -> FilesystemResult<(Arc<File>, bool, Held03)> {
        self.use_files();
        let (file, is_read_only) = match self.table.get(handle)? {
            Descriptor::File(file) => (Arc::clone(&file.file), file.perms.write_not_permitted()),
            Descriptor::Dir(_) => return Err(types::ErrorCode::IsDirectory.into()),
        };
        Ok((file, is_read_only, self.held_03()?))
    }

    /// One more stream counts.
    fn held_03(&mut self) -> FilesystemResult<Held03> {
        let held = self.workspace.as_ref().map(|workspace| workspace.hold_stream_of_0_3()).unwrap_or_default();
        self.check_open_files().map_err(FilesystemError::trap)?;
        Ok(held)
    }
}

/// Both ends of what failed before it began: a trap goes on as one.
fn refused(error: FilesystemError, ended: &mut Option<Ended>) -> wasmtime::Result<()> {
    end(ended, Err(error.downcast()?));
    Ok(())
}

impl types::Host for GuestState {
    fn convert_error_code(&mut self, error: FilesystemError) -> wasmtime::Result<types::ErrorCode> {
        error.downcast()
    }
}

impl types::HostDescriptor for GuestState {
    fn drop(&mut self, handle: Handle) -> wasmtime::Result<()> {
        self.drop_handle(handle.rep())
    }
}

impl preopens::Host for GuestState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Handle, String)>> {
        p2_preopens::Host::get_directories(self)
    }
}

/// The store as one of our calls sees it.
type Ours<'a> = Access<'a, GuestState, Guest>;
type Concurrent = Accessor<GuestState, Guest>;

impl types::HostDescriptorWithStore<GuestState> for Guest {
    fn read_via_stream(
        mut store: Ours<'_>,
        file: Handle,
        offset: u64,
    ) -> wasmtime::Result<(StreamReader<u8>, FutureReader<Result<(), types::ErrorCode>>)> {
        let (ended, end) = oneshot::channel();
        let mut ended = Some(ended);
        let stream = match store.get().streamed(&file) {
            Ok((file, _, held)) => StreamReader::new(&mut store, Reading { file, at: offset, ended, _held: held })?,
            Err(error) => {
                refused(error, &mut ended)?;
                StreamReader::new(&mut store, std::iter::empty())?
            }
        };
        Ok((stream, FutureReader::new(&mut store, end)?))
    }

    fn write_via_stream(
        store: Ours<'_>,
        file: Handle,
        data: StreamReader<u8>,
        offset: u64,
    ) -> wasmtime::Result<FutureReader<Result<(), types::ErrorCode>>> {
        write(store, &file, data, Some(offset))
    }

    fn append_via_stream(
        store: Ours<'_>,
        file: Handle,
        data: StreamReader<u8>,
    ) -> wasmtime::Result<FutureReader<Result<(), types::ErrorCode>>> {
        write(store, &file, data, None)
    }

    async fn advise(
        store: &Concurrent,
        file: Handle,
        offset: u64,
        length: u64,
        advice: types::Advice,
    ) -> FilesystemResult<()> {
        let store = store.with_getter::<WasiFilesystem>(GuestState::used_files);
        WasiFilesystem::advise(&store, file, offset, length, advice).await
    }

    async fn sync_data(store: &Concurrent, of: Handle) -> FilesystemResult<()> {
        WasiFilesystem::sync_data(&store.with_getter::<WasiFilesystem>(GuestState::used_files), of).await
    }

    async fn get_flags(store: &Concurrent, of: Handle) -> FilesystemResult<types::DescriptorFlags> {
        // Of a preopen too, before anything is used.
        WasiFilesystem::get_flags(&store.with_getter::<WasiFilesystem>(GuestState::files), of).await
    }

    async fn get_type(store: &Concurrent, of: Handle) -> FilesystemResult<types::DescriptorType> {
        WasiFilesystem::get_type(&store.with_getter::<WasiFilesystem>(GuestState::files), of).await
    }

    async fn set_size(store: &Concurrent, of: Handle, size: u64) -> FilesystemResult<()> {
        store.with(|mut store| answered(store.get().set_size(of, size)))
    }

    async fn set_times(
        store: &Concurrent,
        of: Handle,
        read: types::NewTimestamp,
        written: types::NewTimestamp,
    ) -> FilesystemResult<()> {
        store.with(|mut store| answered(store.get().set_times(of.rep(), time(read), time(written))))
    }

    fn read_directory(
        mut store: Ours<'_>,
        folder: Handle,
    ) -> wasmtime::Result<(StreamReader<types::DirectoryEntry>, FutureReader<Result<(), types::ErrorCode>>)> {
        let (ended, end) = oneshot::channel();
        let mut ended = Some(ended);
        let state = store.get();
        let listed = answered(state.list(folder.rep())).and_then(|names| Ok((names, state.held_03()?)));
        let stream = match listed {
            Ok((names, held)) => StreamReader::new(&mut store, Names { left: names.into_iter(), ended, _held: held })?,
            Err(error) => {
                refused(error, &mut ended)?;
                StreamReader::new(&mut store, std::iter::empty())?
            }
        };
        Ok((stream, FutureReader::new(&mut store, end)?))
    }

    async fn sync(store: &Concurrent, of: Handle) -> FilesystemResult<()> {
        WasiFilesystem::sync(&store.with_getter::<WasiFilesystem>(GuestState::used_files), of).await
    }

    async fn create_directory_at(store: &Concurrent, at: Handle, path: String) -> FilesystemResult<()> {
        store.with(|mut store| answered(store.get().make_folder(at, path)))
    }

    async fn stat(store: &Concurrent, of: Handle) -> FilesystemResult<types::DescriptorStat> {
        store.with(|mut store| answered(store.get().stat(of))).map(stat)
    }

    async fn stat_at(
        store: &Concurrent,
        at: Handle,
        flags: types::PathFlags,
        path: String,
    ) -> FilesystemResult<types::DescriptorStat> {
        store.with(|mut store| answered(store.get().stat_at(at.rep(), follow(flags), path))).map(stat)
    }

    async fn set_times_at(
        store: &Concurrent,
        at: Handle,
        flags: types::PathFlags,
        path: String,
        read: types::NewTimestamp,
        written: types::NewTimestamp,
    ) -> FilesystemResult<()> {
        let times = (time(read), time(written));
        store.with(|mut store| answered(store.get().set_times_at(at.rep(), follow(flags), &path, times)))
    }

    async fn link_at(
        store: &Concurrent,
        at: Handle,
        flags: types::PathFlags,
        old: String,
        to: Handle,
        new: String,
    ) -> FilesystemResult<()> {
        store.with(|mut store| answered(store.get().link((at, follow(flags), old), (to, new))))
    }

    async fn open_at(
        store: &Concurrent,
        at: Handle,
        flags: types::PathFlags,
        path: String,
        open: types::OpenFlags,
        how: types::DescriptorFlags,
    ) -> FilesystemResult<Handle> {
        let follow = flags.contains(types::PathFlags::SYMLINK_FOLLOW);
        store.with(|mut store| {
            answered(store.get().open(at.rep(), follow, &path, open_flags(open), descriptor_flags(how)))
        })
    }

    async fn readlink_at(store: &Concurrent, at: Handle, path: String) -> FilesystemResult<String> {
        store.with(|mut store| answered(store.get().read_link(at.rep(), path)))
    }

    async fn remove_directory_at(store: &Concurrent, at: Handle, path: String) -> FilesystemResult<()> {
        store.with(|mut store| answered(store.get().remove_folder(at, path)))
    }

    async fn rename_at(store: &Concurrent, at: Handle, old: String, to: Handle, new: String) -> FilesystemResult<()> {
        store.with(|mut store| answered(store.get().rename((at, old), (to, new))))
    }

    async fn symlink_at(store: &Concurrent, at: Handle, target: String, path: String) -> FilesystemResult<()> {
        store.with(|mut store| answered(store.get().make_link(at, target, path)))
    }

    async fn unlink_file_at(store: &Concurrent, at: Handle, path: String) -> FilesystemResult<()> {
        store.with(|mut store| answered(store.get().remove_file(at, path)))
    }

    async fn is_same_object(store: &Concurrent, one: Handle, other: Handle) -> wasmtime::Result<bool> {
        WasiFilesystem::is_same_object(&store.with_getter::<WasiFilesystem>(GuestState::used_files), one, other).await
    }

    async fn metadata_hash(store: &Concurrent, of: Handle) -> FilesystemResult<types::MetadataHashValue> {
        let hash = store.with(|mut store| answered(store.get().metadata_hash(of.rep())))?;
        Ok(types::MetadataHashValue { lower: hash.lower, upper: hash.upper })
    }

    async fn metadata_hash_at(
        store: &Concurrent,
        at: Handle,
        flags: types::PathFlags,
        path: String,
    ) -> FilesystemResult<types::MetadataHashValue> {
        let hash = store.with(|mut store| answered(store.get().metadata_hash_at(at.rep(), follow(flags), path)))?;
        Ok(types::MetadataHashValue { lower: hash.lower, upper: hash.upper })
    }
}

fn write(
    mut store: Ours<'_>,
    handle: &Handle,
    mut data: StreamReader<u8>,
    at: Option<u64>,
) -> wasmtime::Result<FutureReader<Result<(), types::ErrorCode>>> {
    let (ended, end) = oneshot::channel();
    let mut ended = Some(ended);
    let state = store.get();
    match state.streamed(handle) {
        Ok((file, false, held)) => {
            let extent = state.extent(handle.rep());
            data.pipe(&mut store, Writing { file, extent, at, ended, _held: held })?;
        }
        Ok((_, true, _)) => {
            data.close(&mut store)?;
            refused(types::ErrorCode::NotPermitted.into(), &mut ended)?;
        }
        Err(error) => {
            data.close(&mut store)?;
            refused(error, &mut ended)?;
        }
    }
    FutureReader::new(&mut store, end)
}
