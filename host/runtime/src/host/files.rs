//! `wasi:filesystem`: the workspace, opened when it is first used, the bounds on open files, and their times by the turn's clock.
//!
//! Everything else of the interface is the engine's own. Must never show a guest a time of the host's clock that lies within
//! its turn: a file that it has just written would tell how long its work took.

use podium_capabilities::LimitReached;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::clocks::wall_clock::Datetime;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DescriptorStat, ErrorCode, HostDescriptor, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsResult, ReaddirIterator};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::guest::GuestState;
use crate::host::clocks::NANOS_PER_SECOND;

impl preopens::Host for GuestState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
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
    fn check_open_files(&mut self) -> Result<(), LimitReached> {
        let open = open_files(&mut self.table);
        if open > self.open_handles {
            return Err(LimitReached::Handles(self.open_handles));
        }
        let Some(workspace) = &mut self.workspace else { return Ok(()) };
        if workspace.hold(&mut self.table) { Ok(()) } else { Err(LimitReached::HostHandles(workspace.part())) }
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

    /// The time to be set: where that is now, it is the guest's.
    pub(super) fn time_to_set(&mut self, time: NewTimestamp) -> NewTimestamp {
        match time {
            NewTimestamp::Now => NewTimestamp::Timestamp(datetime(self.now_ns())),
            NewTimestamp::NoChange | NewTimestamp::Timestamp(_) => time,
        }
    }
}

fn nanos(time: &Datetime) -> u64 {
    time.seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(u64::from(time.nanoseconds))
}

fn datetime(ns: u64) -> Datetime {
    // Less than a second, so it fits.
    let nanoseconds = u32::try_from(ns % NANOS_PER_SECOND).unwrap_or(0);
    Datetime { seconds: ns / NANOS_PER_SECOND, nanoseconds }
}

type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

/// What a call of the interface answers, as it is lowered: the engine's error becomes the interface's own, or a trap.
pub(super) fn lowered<T>(result: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

/// Puts calls that count what is open, and two that open nothing, before the engine's, which must be linked already: every
/// call that adds an entry which holds a descriptor, or the names of a whole folder, in the host's memory. Then those that tell
/// times, and those that change something.
pub(crate) fn bound_open_files(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    // A handle that is given back was not used: some toolchains look at their preopens and drop them at once.
    types.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, handle| {
        let state = store.data_mut();
        if let Some(workspace) = &mut state.workspace {
            workspace.given_back(handle);
        }
        state.table.delete(Resource::<Descriptor>::new_own(handle))?;
        Ok(())
    })?;
    // Asked of each preopen before the agent's first line; the answers are the same for any folder.
    types.func_wrap_async(
        "[method]descriptor.get-flags",
        |mut store: StoreContextMut<'_, GuestState>, (of,): (Resource<Descriptor>,)| {
            Box::new(async move { lowered(store.data_mut().files().get_flags(of).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.get-type",
        |mut store: StoreContextMut<'_, GuestState>, (of,): (Resource<Descriptor>,)| {
            Box::new(async move { lowered(store.data_mut().files().get_type(of).await) })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, GuestState>, (at, path_flags, path, open_flags, flags): OpenAt| {
            Box::new(async move {
                let state = store.data_mut();
                let opened = state.used_files().open_at(at, path_flags, path, open_flags, flags).await;
                if changes(open_flags, flags)
                    && let Ok(handle) = &opened
                {
                    state.tell_opened(handle);
                }
                state.check_open_files()?;
                lowered(opened)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.read-directory",
        |mut store: StoreContextMut<'_, GuestState>, (folder,): (Resource<Descriptor>,)| {
            Box::new(async move {
                let state = store.data_mut();
                let listing = state.used_files().read_directory(folder).await;
                state.check_open_files()?;
                lowered(listing)
            })
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: StoreContextMut<'_, GuestState>, (file, offset): (Resource<Descriptor>, u64)| {
            let state = store.data_mut();
            let stream = state.used_files().read_via_stream(file, offset);
            if let (Ok(stream), Some(workspace)) = (&stream, &mut state.workspace) {
                workspace.streams_a_file(stream.rep());
            }
            state.check_open_files()?;
            lowered(stream)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: StoreContextMut<'_, GuestState>, (file, offset): (Resource<Descriptor>, u64)| {
            let state = store.data_mut();
            let stream = state.used_files().write_via_stream(file, offset);
            if let (Ok(stream), Some(workspace)) = (&stream, &mut state.workspace) {
                workspace.streams_a_file(stream.rep());
            }
            state.check_open_files()?;
            lowered(stream)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: StoreContextMut<'_, GuestState>, (file,): (Resource<Descriptor>,)| {
            let state = store.data_mut();
            let stream = state.used_files().append_via_stream(file);
            if let (Ok(stream), Some(workspace)) = (&stream, &mut state.workspace) {
                workspace.streams_a_file(stream.rep());
            }
            state.check_open_files()?;
            lowered(stream)
        },
    )?;
    times_by_the_turn(&mut types)?;
    super::changes::told(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn times_by_the_turn(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.stat",
        |mut store: StoreContextMut<'_, GuestState>, (of,): (Resource<Descriptor>,)| {
            Box::new(async move {
                let state = store.data_mut();
                let stat = state.used_files().stat(of).await;
                lowered(stat.map(|stat| state.by_the_turn(stat)))
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.stat-at",
        |mut store: StoreContextMut<'_, GuestState>, (at, flags, path): (Resource<Descriptor>, PathFlags, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let stat = state.used_files().stat_at(at, flags, path).await;
                lowered(stat.map(|stat| state.by_the_turn(stat)))
            })
        },
    )?;
    Ok(())
}

/// Whether a file that is opened so may be another one afterwards.
fn changes(open_flags: OpenFlags, flags: DescriptorFlags) -> bool {
    flags.contains(DescriptorFlags::WRITE) || open_flags.intersects(OpenFlags::CREATE | OpenFlags::TRUNCATE)
}

/// Entries that hold, or may hold, a descriptor of the host: a stream keeps its file open.
fn open_files(table: &mut ResourceTable) -> u64 {
    let holds = |entry: &&mut (dyn std::any::Any + Send)| {
        entry.is::<Descriptor>()
            || entry.is::<ReaddirIterator>()
            || entry.is::<DynInputStream>()
            || entry.is::<DynOutputStream>()
    };
    table.iter_mut().filter(holds).count() as u64
}
