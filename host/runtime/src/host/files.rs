//! `wasi:filesystem`: the workspace, opened when it is first asked for, and the bound on open files.
//!
//! Everything else of the interface is the engine's own.

use podium_capabilities::LimitReached;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::ReaddirIterator;
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::guest::GuestState;

impl preopens::Host for GuestState {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.open_workspace()?;
        preopens::Host::get_directories(&mut self.filesystem())
    }
}

type OpenAt = (Resource<Descriptor>, PathFlags, String, OpenFlags, DescriptorFlags);

/// Puts a bounded `open-at` before the engine's, which must be linked already.
pub(crate) fn bound_open_files(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker.instance("wasi:filesystem/types@0.2.12")?.func_wrap_async(
        "[method]descriptor.open-at",
        |mut store: StoreContextMut<'_, GuestState>, (at, path_flags, path, open_flags, flags): OpenAt| {
            Box::new(async move {
                let state = store.data_mut();
                let opened = state.filesystem().open_at(at, path_flags, path, open_flags, flags).await;
                if open_files(&mut state.table) > state.open_handles {
                    return Err(LimitReached::Handles(state.open_handles).into());
                }
                Ok((match opened {
                    Ok(descriptor) => Ok::<_, ErrorCode>(descriptor),
                    Err(error) => Err(error.downcast()?),
                },))
            })
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
