//! `wasi:filesystem`: the workspace, opened when it is first used, and the bounds on open files.
//!
//! Everything else of the interface is the engine's own.

use podium_capabilities::LimitReached;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable, ResourceType};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsResult, ReaddirIterator};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::guest::GuestState;

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
}

type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

/// What a call of the interface answers, as it is lowered: the engine's error becomes the interface's own, or a trap.
fn lowered<T>(result: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

/// Puts calls that count what is open, and two that open nothing, before the engine's, which must be linked already: every
/// call that adds an entry which holds a descriptor, or the names of a whole folder, in the host's memory.
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
    linker.allow_shadowing(false);
    Ok(())
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
