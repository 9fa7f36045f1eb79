//! The calls of `wasi:filesystem` that change something by name or by attribute, each told to the recorder when it has worked.
//!
//! What is written through a handle needs no word: a file that is open for writing is looked at by every snapshot. Must never answer a call that
//! changed something before it was told.

use std::fs::File;
use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{LinkerInstance, Resource};
use wasmtime_wasi::filesystem::Descriptor;
use wasmtime_wasi::p2::bindings::filesystem::types::{HostDescriptor, NewTimestamp, PathFlags};

use super::files::lowered;
use super::recorder::Recorder;
use crate::guest::GuestState;

type Handle = Resource<Descriptor>;
type Store<'a> = StoreContextMut<'a, GuestState>;

impl GuestState {
    /// A file was opened so that it may be another one afterwards.
    pub(super) fn tell_opened(&mut self, handle: &Handle) {
        let file = match self.table.get(handle) {
            Ok(Descriptor::File(file)) => Arc::clone(&file.file),
            _ => return,
        };
        self.tell(|recorder| recorder.opened(&file));
    }

    fn tell(&mut self, change: impl FnOnce(&mut Recorder)) {
        if let Some(recorder) = self.workspace.as_mut().and_then(|workspace| workspace.recorder()) {
            change(recorder);
        }
    }

    /// The file or folder behind a handle.
    fn behind(&self, handle: u32) -> Option<Arc<File>> {
        Some(match self.table.get(&Handle::new_borrow(handle)).ok()? {
            Descriptor::File(file) => Arc::clone(&file.file),
            Descriptor::Dir(folder) => Arc::clone(&folder.dir),
        })
    }

    fn tell_at(&mut self, folder: u32, name: &str) {
        if let Some(folder) = self.behind(folder) {
            self.tell(|recorder| recorder.touched_at(&folder, name));
        }
    }
}

/// Puts the calls that change something before the engine's.
pub(super) fn told(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    entries(types)?;
    attributes(types)
}

fn entries(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.create-directory-at",
        |mut store: Store<'_>, (at, path): (Handle, String)| {
            Box::new(async move {
                let (state, folder) = (store.data_mut(), at.rep());
                let made = state.used_files().create_directory_at(at, path.clone()).await;
                if made.is_ok() {
                    state.tell_at(folder, &path);
                }
                lowered(made)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.remove-directory-at",
        |mut store: Store<'_>, (at, path): (Handle, String)| {
            Box::new(async move {
                let (state, folder) = (store.data_mut(), at.rep());
                let removed = state.used_files().remove_directory_at(at, path.clone()).await;
                if removed.is_ok() {
                    state.tell_at(folder, &path);
                }
                lowered(removed)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.unlink-file-at",
        |mut store: Store<'_>, (at, path): (Handle, String)| {
            Box::new(async move {
                let (state, folder) = (store.data_mut(), at.rep());
                let removed = state.used_files().unlink_file_at(at, path.clone()).await;
                if removed.is_ok() {
                    state.tell_at(folder, &path);
                }
                lowered(removed)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.symlink-at",
        |mut store: Store<'_>, (at, target, path): (Handle, String, String)| {
            Box::new(async move {
                let (state, folder) = (store.data_mut(), at.rep());
                let made = state.used_files().symlink_at(at, target, path.clone()).await;
                if made.is_ok() {
                    state.tell_at(folder, &path);
                }
                lowered(made)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.link-at",
        |mut store: Store<'_>, (at, flags, old, to, new): (Handle, PathFlags, String, Handle, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let folders = (state.behind(at.rep()), state.behind(to.rep()));
                let linked = state.used_files().link_at(at, flags, old.clone(), to, new.clone()).await;
                if let (Ok(()), (Some(at), Some(to))) = (&linked, &folders) {
                    state.tell(|recorder| recorder.linked((at, &old), (to, &new)));
                }
                lowered(linked)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.rename-at",
        |mut store: Store<'_>, (at, old, to, new): (Handle, String, Handle, String)| {
            Box::new(async move {
                let state = store.data_mut();
                let folders = (state.behind(at.rep()), state.behind(to.rep()));
                let renamed = state.used_files().rename_at(at, old.clone(), to, new.clone()).await;
                if let (Ok(()), (Some(at), Some(to))) = (&renamed, &folders) {
                    state.tell(|recorder| recorder.renamed((at, &old), (to, &new)));
                }
                lowered(renamed)
            })
        },
    )
}

fn attributes(types: &mut LinkerInstance<'_, GuestState>) -> wasmtime::Result<()> {
    types.func_wrap_async(
        "[method]descriptor.set-times",
        |mut store: Store<'_>, (of, read, written): (Handle, NewTimestamp, NewTimestamp)| {
            Box::new(async move {
                let state = store.data_mut();
                let (read, written) = (state.time_to_set(read), state.time_to_set(written));
                let handle = of.rep();
                let set = state.used_files().set_times(of, read, written).await;
                if let (Ok(()), Some(file)) = (&set, state.behind(handle)) {
                    state.tell(|recorder| recorder.touched(&file));
                }
                lowered(set)
            })
        },
    )?;
    types.func_wrap_async(
        "[method]descriptor.set-times-at",
        |mut store: Store<'_>,
         (at, flags, path, read, written): (Handle, PathFlags, String, NewTimestamp, NewTimestamp)| {
            Box::new(async move {
                let state = store.data_mut();
                let (read, written) = (state.time_to_set(read), state.time_to_set(written));
                let folder = at.rep();
                let set = state.used_files().set_times_at(at, flags, path.clone(), read, written).await;
                if let (Ok(()), Some(folder)) = (&set, state.behind(folder)) {
                    state.tell(|recorder| {
                        if flags.contains(PathFlags::SYMLINK_FOLLOW) {
                            recorder.followed_at(&folder, &path);
                        } else {
                            recorder.touched_at(&folder, &path);
                        }
                    });
                }
                lowered(set)
            })
        },
    )
}
