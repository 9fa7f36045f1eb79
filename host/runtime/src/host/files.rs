//! `wasi:filesystem`: the workspace, opened when it is first asked for, and the bound on open files.
//!
//! Everything else of the interface is the engine's own.

use podium_capabilities::LimitReached;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsResult, ReaddirIterator};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::guest::GuestState;

impl preopens::Host for GuestState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.open_workspace()?;
        let directories = preopens::Host::get_directories(&mut self.filesystem())?;
        self.check_open_files()?;
        Ok(directories)
    }
}

impl GuestState {
    /// Ends a guest that holds more than it may.
    fn check_open_files(&mut self) -> Result<(), LimitReached> {
        if open_files(&mut self.table) > self.open_handles {
            return Err(LimitReached::Handles(self.open_handles));
        }
        Ok(())
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

/// Puts calls that count what is open before the engine's, which must be linked already: every call that adds an entry
/// which holds a descriptor, or the names of a whole folder, in the host's memory.
pub(crate) fn bound_open_files(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, GuestState>, (at, path_flags, path, open_flags, flags): OpenAt| {
            Box::new(async move {
                let state = store.data_mut();
                let opened = state.filesystem().open_at(at, path_flags, path, open_flags, flags).await;
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
                let listing = state.filesystem().read_directory(folder).await;
                state.check_open_files()?;
                lowered(listing)
            })
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: StoreContextMut<'_, GuestState>, (file, offset): (Resource<Descriptor>, u64)| {
            let state = store.data_mut();
            let stream = state.filesystem().read_via_stream(file, offset);
            state.check_open_files()?;
            lowered(stream)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write-via-stream",
        |mut store: StoreContextMut<'_, GuestState>, (file, offset): (Resource<Descriptor>, u64)| {
            let state = store.data_mut();
            let stream = state.filesystem().write_via_stream(file, offset);
            state.check_open_files()?;
            lowered(stream)
        },
    )?;
    types.func_wrap(
        "[method]descriptor.append-via-stream",
        |mut store: StoreContextMut<'_, GuestState>, (file,): (Resource<Descriptor>,)| {
            let state = store.data_mut();
            let stream = state.filesystem().append_via_stream(file);
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
