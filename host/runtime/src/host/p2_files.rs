//! `wasi:filesystem` of WASI 0.2: calls that open, list, change or tell times are put before the engine's.
//!
//! What is not here only reads what is open, and is the engine's own. Must never do more than translate.

use podium_capabilities::workspace::OverQuota;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance, Resource, ResourceType};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    DescriptorFlags, DirectoryEntry, ErrorCode, Host, HostDescriptor, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{FsResult, ReaddirIterator};

use super::changes::NewTime;
use super::files::{Handle, Listing, now};
use crate::guest::GuestState;

type Store<'a> = StoreContextMut<'a, GuestState>;

/// What a call of the interface answers, as it is lowered: the engine's error becomes the interface's own, or a trap.
fn lowered<T>(result: FsResult<T>) -> wasmtime::Result<(Result<T, ErrorCode>,)> {
    Ok((match result {
        Ok(value) => Ok(value),
        Err(error) => Err(error.downcast()?),
    },))
}

fn time(time: NewTimestamp) -> Result<NewTime, ErrorCode> {
    Ok(match time {
        NewTimestamp::NoChange => NewTime::Keep,
        NewTimestamp::Now => NewTime::Now,
        NewTimestamp::Timestamp(at) => NewTime::At {
            seconds: i64::try_from(at.seconds).map_err(|_| ErrorCode::Overflow)?,
            nanoseconds: at.nanoseconds,
        },
    })
}

/// Puts our calls before the engine's, which must be linked already.
pub(crate) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    handles(&mut types)?;
    looks(&mut types)?;
    entries(&mut types)?;
    writes(&mut types)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn handles(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    // A handle that is given back was not used: some toolchains look at their preopens and drop them at once.
    types.resource("descriptor", ResourceType::host::<Descriptor>(), |mut store, handle| {
        store.data_mut().drop_handle(handle)
    })?;
    types.resource("directory-entry-stream", ResourceType::host::<ReaddirIterator>(), |mut store, listing| {
        store.data_mut().table.delete(Resource::<Listing>::new_own(listing))?;
        Ok(())
    })?;
    // Asked of each preopen before the agent's first line; the answers are the same for any folder.
    types.func_wrap("[method]descriptor.get-flags", |mut store: Store<'_>, (of,): (Handle,)| {
        lowered(now(store.data_mut().files().get_flags(of)))
    })?;
    types.func_wrap("[method]descriptor.get-type", |mut store: Store<'_>, (of,): (Handle,)| {
        lowered(now(store.data_mut().files().get_type(of)))
    })?;
    types.func_wrap(
        "[method]descriptor.open-at",
        |mut store: Store<'_>,
         (at, how, path, open, flags): (Handle, PathFlags, String, OpenFlags, DescriptorFlags)| {
            let follow = how.contains(PathFlags::SYMLINK_FOLLOW);
            lowered(store.data_mut().open(at.rep(), follow, &path, open, flags))
        },
    )?;
    types.func_wrap("[method]descriptor.read-directory", |mut store: Store<'_>, (folder,): (Handle,)| {
        lowered(store.data_mut().lists(folder.rep()))
    })?;
    types.func_wrap(
        "[method]directory-entry-stream.read-directory-entry",
        |mut store: Store<'_>, (listing,): (Resource<ReaddirIterator>,)| {
            let listing = Resource::<Listing>::new_borrow(listing.rep());
            let next = store.data_mut().table.get_mut(&listing)?.0.next();
            Ok((Ok::<Option<DirectoryEntry>, ErrorCode>(next),))
        },
    )
}

fn looks(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap("[method]descriptor.stat", |mut store: Store<'_>, (of,): (Handle,)| {
        lowered(store.data_mut().stat(of))
    })?;
    types.func_wrap(
        "[method]descriptor.stat-at",
        |mut store: Store<'_>, (at, flags, path): (Handle, PathFlags, String)| {
            lowered(store.data_mut().stat_at(at.rep(), flags, path))
        },
    )?;
    types.func_wrap("[method]descriptor.metadata-hash", |mut store: Store<'_>, (of,): (Handle,)| {
        lowered(store.data_mut().metadata_hash(of.rep()))
    })?;
    types.func_wrap(
        "[method]descriptor.metadata-hash-at",
        |mut store: Store<'_>, (at, flags, path): (Handle, PathFlags, String)| {
            lowered(store.data_mut().metadata_hash_at(at.rep(), flags, path))
        },
    )?;
    types.func_wrap("[method]descriptor.readlink-at", |mut store: Store<'_>, (at, path): (Handle, String)| {
        lowered(store.data_mut().read_link(at.rep(), path))
    })?;
    types.func_wrap("[method]descriptor.read-via-stream", |mut store: Store<'_>, (file, offset): (Handle, u64)| {
        lowered(store.data_mut().reads(file, offset))
    })?;
    types.func_wrap("filesystem-error-code", |mut store: Store<'_>, (error,): (Resource<wasmtime::Error>,)| {
        let state = store.data_mut();
        if state.table.get(&error)?.downcast_ref::<OverQuota>().is_some() {
            return Ok((Some(ErrorCode::Quota),));
        }
        Ok((state.files().filesystem_error_code(error)?,))
    })
}

fn entries(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types
        .func_wrap("[method]descriptor.create-directory-at", |mut store: Store<'_>, (at, path): (Handle, String)| {
            lowered(store.data_mut().make_folder(at, path))
        })?;
    types
        .func_wrap("[method]descriptor.remove-directory-at", |mut store: Store<'_>, (at, path): (Handle, String)| {
            lowered(store.data_mut().remove_folder(at, path))
        })?;
    types.func_wrap("[method]descriptor.unlink-file-at", |mut store: Store<'_>, (at, path): (Handle, String)| {
        lowered(store.data_mut().remove_file(at, path))
    })?;
    types.func_wrap(
        "[method]descriptor.symlink-at",
        |mut store: Store<'_>, (at, target, path): (Handle, String, String)| {
            lowered(store.data_mut().make_link(at, target, path))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.link-at",
        |mut store: Store<'_>, (at, flags, old, to, new): (Handle, PathFlags, String, Handle, String)| {
            lowered(store.data_mut().link((at, flags, old), (to, new)))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.rename-at",
        |mut store: Store<'_>, (at, old, to, new): (Handle, String, Handle, String)| {
            lowered(store.data_mut().rename((at, old), (to, new)))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.set-times-at",
        |mut store: Store<'_>,
         (at, flags, path, read, written): (Handle, PathFlags, String, NewTimestamp, NewTimestamp)| {
            let set = |times| store.data_mut().set_times_at(at.rep(), flags, &path, times);
            let times = time(read).and_then(|read| Ok((read, time(written)?)));
            lowered(times.map_err(Into::into).and_then(set))
        },
    )
}

fn writes(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap("[method]descriptor.set-size", |mut store: Store<'_>, (of, size): (Handle, u64)| {
        lowered(store.data_mut().set_size(of, size))
    })?;
    types.func_wrap(
        "[method]descriptor.set-times",
        |mut store: Store<'_>, (of, read, written): (Handle, NewTimestamp, NewTimestamp)| {
            let set = |(read, written)| store.data_mut().set_times(of.rep(), read, written);
            let times = time(read).and_then(|read| Ok((read, time(written)?)));
            lowered(times.map_err(Into::into).and_then(set))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.write",
        |mut store: Store<'_>, (file, bytes, offset): (Handle, Vec<u8>, u64)| {
            lowered(store.data_mut().write(file, bytes, offset))
        },
    )?;
    types.func_wrap("[method]descriptor.write-via-stream", |mut store: Store<'_>, (file, offset): (Handle, u64)| {
        lowered(store.data_mut().writes(file, Some(offset)))
    })?;
    types.func_wrap("[method]descriptor.append-via-stream", |mut store: Store<'_>, (file,): (Handle,)| {
        lowered(store.data_mut().writes(file, None))
    })
}
