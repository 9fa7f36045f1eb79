//! `/workspace` as a guest has it: a handle from the start, the folder and its descriptor at the first use.
//!
//! Many toolchains ask for their preopens before the first line of the agent runs, and most turns never open a file. So
//! the handle begins as one on a folder that is gone, where nothing can be found or made, and all guests share its descriptor.
//! Must never leave a handle on that folder once the real one can be opened.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use podium_capabilities::workspace::{Extent, Quota};
use podium_chronicle::ChronicleError;
use podium_kit::descriptors::{Held, Part};
use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemCtx};
use wasmtime_wasi::{FsPerms, WasiCtx};
use wasmtime_wasi_io::streams::{DynInputStream, DynOutputStream};

use crate::host::history::History;
use crate::host::recorder::Recorder;

/// A file system with `/workspace`, which is a folder that is gone. Made once, cloned for each guest.
#[derive(Clone)]
pub(crate) struct Nowhere {
    view: WasiFilesystemCtx,
    folder: Arc<File>,
}

impl std::fmt::Debug for Nowhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nowhere").finish_non_exhaustive()
    }
}

impl Nowhere {
    /// Makes the folder within this one, opens it, and removes it.
    pub(crate) fn new(within: &Path) -> io::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = within.join(format!("nowhere-{}-{number}", std::process::id()));
        private_folder(&path)?;
        let mut builder = WasiCtx::builder();
        let opened = builder
            // Guests run on threads that may block.
            .allow_blocking_current_thread(true)
            .preopened_dir(&path, "/workspace", FsPerms::ReadWrite)
            .map(drop)
            .map_err(|error| io::Error::other(format!("{error:#}")));
        let folder = open(&path);
        std::fs::remove_dir(&path)?;
        opened?;
        Ok(Self { view: builder.build().filesystem().clone(), folder: Arc::new(folder?) })
    }

    /// A guest's own view of it.
    pub(crate) fn view(&self) -> WasiFilesystemCtx {
        self.view.clone()
    }
}

/// A stream of WASI 0.3 counts for as long as this lives.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held03 {
    _counted: Option<Arc<()>>,
}

/// One guest's workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(super) shared: podium_capabilities::workspace::Workspace,
    pub(super) history: History,
    recorder: Option<Recorder>,
    /// What it may still write; none before it has used a file.
    quota: Option<Quota>,
    /// A turn has begun in which the workspace was not counted.
    is_new_turn: bool,
    /// Files that are open for writing, by their handles.
    extents: HashMap<u32, Arc<Extent>>,
    nowhere: Arc<File>,
    /// Handles that still stand on the folder that is gone.
    unopened: Vec<u32>,
    opened: Option<Arc<File>>,
    /// Streams of files that the guest held when it was last counted.
    streams: Vec<u32>,
    /// As many as there are streams of WASI 0.3, and one.
    streams_of_0_3: Arc<()>,
    /// The guest's share of the host's descriptors.
    held: Held,
    /// The folder was to be opened, and the host had no descriptor left for it.
    refused: bool,
}

impl Workspace {
    /// That of a turn, not opened.
    pub(crate) fn new(
        shared: podium_capabilities::workspace::Workspace,
        nowhere: &Nowhere,
        descriptors: &Part,
    ) -> Self {
        Self {
            shared,
            history: History::default(),
            recorder: None,
            quota: None,
            is_new_turn: true,
            extents: HashMap::new(),
            nowhere: Arc::clone(&nowhere.folder),
            unopened: Vec::new(),
            opened: None,
            streams: Vec::new(),
            streams_of_0_3: Arc::new(()),
            held: descriptors.hold_nothing(),
            refused: false,
        }
    }

    /// Another turn of the guest begins: what the workspace has may be another number now, and its limits too.
    pub(crate) fn begin_turn(&mut self) {
        self.is_new_turn = true;
    }

    /// A handle that the guest was given.
    pub(crate) fn handed_out(&mut self, handle: &Resource<Descriptor>) {
        self.unopened.push(handle.rep());
    }

    /// A handle that the guest has dropped; its number may come again as another one.
    pub(crate) fn given_back(&mut self, handle: u32) {
        self.unopened.retain(|unopened| *unopened != handle);
        self.history.given_back(handle);
        self.extents.remove(&handle);
    }

    /// A handle that a file may be written with.
    pub(super) fn writes(&mut self, handle: u32, extent: Arc<Extent>) {
        self.extents.insert(handle, extent);
    }

    /// The size of the file behind a handle that it may be written with.
    pub(super) fn extent(&self, handle: u32) -> Option<Arc<Extent>> {
        self.extents.get(&handle).cloned()
    }

    /// Whether a folder is the workspace itself.
    pub(super) fn is_root(&self, folder: &Arc<File>) -> bool {
        let Some(root) = &self.opened else { return false };
        let inode = |file: &File| rustix::fs::fstat(file).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        Arc::ptr_eq(root, folder) || inode(root).is_some_and(|root| inode(folder) == Some(root))
    }

    /// The folder that is gone.
    pub(super) fn nowhere(&self) -> io::Result<File> {
        self.nowhere.try_clone()
    }

    /// One more stream of WASI 0.3.
    pub(super) fn hold_stream_of_0_3(&self) -> Held03 {
        Held03 { _counted: Some(Arc::clone(&self.streams_of_0_3)) }
    }

    /// How many there are.
    pub(super) fn streams_of_0_3(&self) -> usize {
        Arc::strong_count(&self.streams_of_0_3) - 1
    }

    /// A stream that the guest got of a file: it keeps the file open when the handle is gone.
    pub(crate) fn streams_a_file(&mut self, stream: u32) {
        // A number comes again when its stream is gone.
        if !self.streams.contains(&stream) {
            self.streams.push(stream);
        }
    }

    /// Whether the guest is about to use a handle for the first time.
    pub(crate) fn is_to_be_opened(&self) -> bool {
        !self.unopened.is_empty() || (self.is_new_turn && self.opened.is_some())
    }

    /// Whether a call that comes without a handle has to open it, or to count it, first.
    pub(crate) fn is_unready(&self) -> bool {
        self.opened.is_none() || self.is_to_be_opened()
    }

    /// Puts all handles on the real folder. When it cannot be opened, or no descriptor is left for it, they stay where nothing is.
    pub(crate) fn open(&mut self, table: &mut ResourceTable) -> Result<(), ChronicleError> {
        let count = self.count(table);
        // Taken in any case: a handle that the guest drops may come again as another one.
        let handles = std::mem::take(&mut self.unopened);
        if self.opened.is_none() && !self.held.set(count + 1) {
            self.refused = true;
            return Ok(());
        }
        if self.opened.is_none() {
            let path = self.shared.open()?;
            let folder = Arc::new(open(&path).map_err(|error| unusable(&path, error))?);
            let recorder = Recorder::new(self.shared.dirty().clone(), &folder);
            self.recorder = Some(recorder.map_err(|error| unusable(&path, error.into()))?);
            self.count_anew()?;
            self.opened = Some(folder);
        } else if self.is_new_turn {
            self.count_anew()?;
        }
        let Some(folder) = self.opened.clone() else { return Ok(()) };
        for handle in handles {
            if let Ok(Descriptor::Dir(at)) = table.get_mut(&Resource::<Descriptor>::new_borrow(handle)) {
                at.dir = Arc::clone(&folder);
            }
        }
        Ok(())
    }

    /// Counts from what the last cut has.
    fn count_anew(&mut self) -> Result<(), ChronicleError> {
        let counted = self.shared.read(|chronicle| Ok((chronicle.usage()?, chronicle.limits())))?;
        let (usage, limits) = counted.unwrap_or_default();
        match &self.quota {
            Some(quota) => quota.begin(usage, &limits),
            None => self.quota = Some(Quota::new(self.shared.clone(), usage, &limits)),
        }
        self.is_new_turn = false;
        Ok(())
    }

    /// What it may still write; none before it has used a file.
    pub(crate) fn quota(&self) -> Option<&Quota> {
        self.quota.as_ref()
    }

    /// Who tells what the guest changes; none before it has used a file.
    pub(crate) fn recorder(&mut self) -> Option<&mut Recorder> {
        self.recorder.as_mut()
    }

    /// Counts what this guest keeps open in the host's part; false when that has not so many left.
    pub(crate) fn hold(&mut self, table: &mut ResourceTable) -> bool {
        let count = self.count(table);
        !self.refused && self.held.set(count)
    }

    /// True when the host had no descriptor left for the folder: what the guest has seen since is not what is there.
    pub(crate) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Descriptors that this guest keeps open: the folder, which its handles share and which stays open without them, and
    /// everything else it has opened. Its standard streams and listings hold none.
    fn count(&mut self, table: &mut ResourceTable) -> usize {
        self.streams.retain(|stream| {
            table.get(&Resource::<DynInputStream>::new_borrow(*stream)).is_ok()
                || table.get(&Resource::<DynOutputStream>::new_borrow(*stream)).is_ok()
        });
        let folder = self.opened.as_ref();
        let is_own = |descriptor: &Descriptor| match descriptor {
            Descriptor::Dir(at) => !folder.is_some_and(|folder| Arc::ptr_eq(folder, &at.dir)),
            Descriptor::File(_) => true,
        };
        let own = table.iter_mut().filter(|entry| entry.downcast_ref().is_some_and(is_own)).count();
        own.saturating_sub(self.unopened.len())
            + usize::from(folder.is_some())
            + self.streams.len()
            + self.streams_of_0_3()
    }

    /// The most that all guests may hold.
    pub(crate) fn part(&self) -> u64 {
        self.held.max() as u64
    }
}

fn unusable(path: &Path, source: io::Error) -> ChronicleError {
    ChronicleError::File { path: path.to_owned(), source }
}

fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::PATH;
    OpenOptions::new().read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or(0)).open(path)
}

/// Makes one folder with mode 0700, or finds it.
fn private_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use podium_capabilities::workspace::Workspaces;
    use podium_chronicle::{Named, Place};
    use podium_kit::Clock;
    use wasmtime_wasi::filesystem::WasiFilesystemCtxView;
    use wasmtime_wasi::p2::bindings::filesystem::preopens::Host;

    use super::*;

    /// A guest that was given its handle, on a host that has so many descriptors for files.
    fn guest(folder: &Path, descriptors: &Part) -> (Workspace, ResourceTable, Resource<Descriptor>) {
        let nowhere = Nowhere::new(folder).expect("is made");
        let (mut table, mut ctx) = (ResourceTable::new(), nowhere.view());
        let mut view = WasiFilesystemCtxView { ctx: &mut ctx, table: &mut table };
        let (handle, _) = view.get_directories().expect("answers").pop().expect("one");
        // Its history counts in a part of its own, so that the numbers below are the guest's.
        let common = Workspaces::new(Clock::manual(1_000), 100);
        let mut workspace = Workspace::new(common.closed(Place::new(folder), Named::default()), &nowhere, descriptors);
        workspace.handed_out(&handle);
        (workspace, table, handle)
    }

    #[test]
    fn a_folder_that_stays_open_without_a_handle_is_counted() {
        let (folder, part) = (tempfile::tempdir().expect("a folder"), Part::new(2));
        let (mut workspace, mut table, handle) = guest(folder.path(), &part);
        assert!(workspace.hold(&mut table));
        assert_eq!(part.held(), 0, "nothing is open yet");
        workspace.open(&mut table).expect("opens");
        assert_eq!(part.held(), 1, "before anything is asked of it");
        assert!(workspace.hold(&mut table));
        assert_eq!(part.held(), 1, "its handle is no second one");
        workspace.given_back(handle.rep());
        table.delete(handle).expect("was there");
        assert!(workspace.hold(&mut table));
        assert_eq!(part.held(), 1, "it is open still");
        drop(workspace);
        assert_eq!(part.held(), 0);
    }

    #[test]
    fn a_guest_without_a_file_system_has_a_workspace_all_the_same() {
        let (folder, part) = (tempfile::tempdir().expect("a folder"), Part::new(2));
        let common = Workspaces::new(Clock::manual(1_000), 100);
        let shared = common.closed(Place::new(folder.path()), Named::default());
        let nowhere = Nowhere::new(folder.path()).expect("is made");
        let (mut workspace, mut table) = (Workspace::new(shared, &nowhere, &part), ResourceTable::new());
        assert!(workspace.is_unready() && !workspace.is_to_be_opened());
        workspace.open(&mut table).expect("opens");
        assert!(workspace.quota().is_some() && !workspace.is_unready());
        assert_eq!(part.held(), 1);
        // What it has may be another number in its next turn.
        workspace.begin_turn();
        assert!(workspace.is_unready());
    }

    #[test]
    fn a_folder_is_not_opened_when_no_descriptor_is_left_for_it() {
        let (folder, part) = (tempfile::tempdir().expect("a folder"), Part::new(1));
        let taken = part.take().expect("one");
        let (mut workspace, mut table, _handle) = guest(folder.path(), &part);
        workspace.open(&mut table).expect("is no error of the system");
        assert!(workspace.was_refused() && !workspace.hold(&mut table));
        assert!(!folder.path().join("work").exists());
        drop(taken);
        assert!(!workspace.hold(&mut table), "the guest has seen an empty folder");
    }
}
