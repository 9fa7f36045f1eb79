//! A workspace as a file system: mounting it, and the turn-taking between those who use the mount and its owner.
//!
//! A thin layer over `fuser`: `work/` stays the one place of the files, and the mount tells the same dirty set as guests do. Served by threads of its
//! own, which wait for the disk only. Whoever owns a mount must never touch it: its calls come back to this process.

mod adapter;
mod attr;
mod attributes;
mod content;
mod folders;
mod gate;
mod handles;
mod listing;
mod mounts;
mod names;
mod notices;
mod past;
mod table;
#[cfg(test)]
mod tests;
mod told;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fuser::{BackgroundSession, Config, INodeNo, MountOption, Notifier, ReplyEmpty, Session, SessionACL};
use podium_kit::Clock;
use podium_kit::descriptors::{Held, Part};
use rustix::io::Errno;

use crate::dirty::DirtySet;
use crate::limits::{MOUNT_DESCRIPTORS, MOUNT_DRAIN_MS, MOUNT_THREADS_MAX};
use adapter::{Adapter, Shared};
use folders::Folders;
use gate::Gate;
use handles::Handles;
use told::Told;

pub use mounts::{mark, settled, sweep};
pub use past::History;

/// Why a mount cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The machine or this process's rights lack something.
    #[error("this machine does not let the host mount: {0}")]
    Unavailable(#[source] io::Error),
    /// The folder cannot be a mount's place.
    #[error("{path} cannot be a mount's place: {why}")]
    Place {
        /// The folder.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A folder of the host failed.
    #[error("cannot use {path}: {source}")]
    File {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host has no descriptors left for it.
    #[error("the host has no descriptors left for a mount")]
    NoDescriptors,
    /// Calls in flight did not end in time.
    #[error("a call on the mount did not end in time")]
    Busy,
}

/// What a mount is made of.
pub struct MountRequest {
    /// The workspace's folder.
    pub work: PathBuf,
    /// Where it is to be seen: an empty folder.
    pub place: PathBuf,
    /// What the host's mounts are marked with, so that the next host finds what this one leaves: see [`mark`].
    pub mark: String,
    /// Where changes are told.
    pub dirty: DirtySet,
    /// The host's clock.
    pub clock: Clock,
    /// The descriptors of files that are open through it.
    pub files: Part,
    /// What `.chronicle` shows.
    pub history: Box<dyn History>,
    /// Called, from any thread, when the owner has something to look at: a cut becomes due, or the mount is gone.
    pub wake: Box<dyn Fn() + Send + Sync>,
}

/// A mounted workspace; clones are the same one.
#[derive(Clone)]
pub struct Mount(Arc<Mounted>);

struct Mounted {
    place: PathBuf,
    gate: Gate<ReplyEmpty>,
    adapter: Shared,
    notifier: Notifier,
    /// Where words to the kernel go.
    device: OwnedFd,
    clock: Clock,
    session: Mutex<Option<BackgroundSession>>,
    taken: Mutex<Option<Taken>>,
    _held: Held,
}

impl std::fmt::Debug for Mount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Mount").field(&self.0.place).finish()
    }
}

/// Who waits for a cut of what was written through a mount.
#[derive(Debug)]
pub struct Waiting(Vec<ReplyEmpty>);

impl Waiting {
    /// Tells them that it was made, or that it was not.
    pub fn answer(self, is_made: bool) {
        for reply in self.0 {
            if is_made { reply.ok() } else { reply.error(fuser::Errno::EIO) }
        }
    }
}

impl Mount {
    /// Mounts a workspace. Blocks for a moment.
    ///
    /// # Errors
    /// When the machine does not let the host mount, or the place is no empty folder.
    pub fn new(request: MountRequest) -> Result<Self, MountError> {
        let MountRequest { work, place, mark, dirty, clock, files, history, wake } = request;
        let root = crate::beneath::Beneath::open(&work).map_err(|error| file(&work, error))?.into_root();
        let place = mounts::settled(&place).map_err(|source| MountError::File { path: place.clone(), source })?;
        let taken = Taken::new(&place)?;
        // This process has no mount there, so one that is there is of a dead one.
        if mounts::sweep_at(&mark, &place).map_err(MountError::Unavailable)? {
            // Unmounting takes what is on top, and it would be hidden until then.
            return Err(MountError::Place { path: place, why: "something is mounted there" });
        }
        check_place(&place)?;
        let mut held = files.hold_nothing();
        if !held.set(MOUNT_DESCRIPTORS) {
            return Err(MountError::NoDescriptors);
        }
        let gate = Gate::new(clock.clone(), wake);
        let is_root = rustix::process::geteuid().is_root();
        let adapter = Shared(Arc::new(Adapter {
            told: Told::new(dirty, &root).map_err(|error| file(&work, error))?,
            folders: Folders::new(root).map_err(|error| file(&work, error))?,
            handles: Handles::new(files),
            past: past::Past::new(history),
            gate: gate.clone(),
            clock: clock.clone(),
            gives: is_root,
        }));
        let session =
            Session::new(adapter.clone(), &place, &options(mark, is_root)).map_err(MountError::Unavailable)?;
        let device = session.as_fd().try_clone_to_owned().map_err(MountError::Unavailable)?;
        let session = session.spawn().map_err(MountError::Unavailable)?;
        let notifier = session.notifier();
        let session = Mutex::new(Some(session));
        let taken = Mutex::new(Some(taken));
        Ok(Self(Arc::new(Mounted { place, gate, adapter, notifier, device, clock, session, taken, _held: held })))
    }

    /// Where it is.
    pub fn place(&self) -> &Path {
        &self.0.place
    }

    /// When a cut of what was written through it is due, by the monotonic clock: a second after the last change, at once for who waits for it.
    pub fn cut_due(&self) -> Option<Duration> {
        self.0.gate.cut_due()
    }

    /// A cut of everything that was written up to now begins.
    pub fn begin_cut(&self) -> Waiting {
        Waiting(self.0.gate.begin_cut())
    }

    /// Whether the workspace is larger than it may be: then it may only shrink.
    pub fn set_full(&self, is_full: bool) {
        self.0.gate.set_full(is_full);
    }

    /// Makes it read-only, for whoever changes the workspace elsewhere: waits for the writers in flight, has the kernel bring what it holds for
    /// mappings, and makes it forget what will change. Blocks; when it fails, everything is as before.
    ///
    /// # Errors
    /// When calls in flight do not end in time.
    pub fn close(&self) -> Result<(), MountError> {
        let mounted = &*self.0;
        if mounted.gate.is_closed() {
            return Ok(());
        }
        let limit = Duration::from_millis(MOUNT_DRAIN_MS);
        let done = mounted.gate.flush(limit) && {
            for ino in mounted.adapter.0.handles.inodes(true) {
                // Brings the pages of mappings, and has a mapping ask again before it writes the next.
                mounted.forget_pages(ino, 0);
            }
            mounted.gate.close(limit)
        };
        if !done {
            mounted.gate.open();
            return Err(MountError::Busy);
        }
        mounted.forget_names();
        Ok(())
    }

    /// True while it is read-only.
    pub fn is_closed(&self) -> bool {
        self.0.gate.is_closed()
    }

    /// Lets everybody write again. What a mapping wrote meanwhile is refused like any other write: its pages are of before. Blocks for a moment.
    pub fn reopen(&self) {
        if self.is_closed() {
            for ino in self.0.adapter.0.handles.inodes(true) {
                self.0.forget_pages(ino, 0);
            }
            self.0.gate.open();
        }
    }

    /// True when somebody has unmounted it.
    pub fn has_ended(&self) -> bool {
        self.0.gate.has_ended()
    }

    /// Unmounts it, whoever uses it: their next call fails. Blocks for a moment.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn unmount(&self) -> io::Result<()> {
        Waiting(self.0.gate.end()).answer(false);
        let session = self.0.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(session) = session else { return Ok(()) };
        let detached = mounts::detach(&self.0.place);
        self.0.adapter.0.end();
        // Its threads end when nobody has anything of it open any more.
        drop(session);
        drop(self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).take());
        detached
    }
}

impl Mounted {
    fn forget_pages(&self, ino: u64, from: i64) {
        if let Err(error) = self.notifier.inval_inode(INodeNo(ino), from, 0) {
            tracing::debug!(%error, ino, "the kernel does not forget a file");
        }
    }

    /// Has the kernel forget what it may still believe.
    fn forget_names(&self) {
        let kept = self.adapter.0.folders.table().kept(self.clock.monotonic());
        for (ino, names) in kept {
            for (parent, name) in names {
                if let Err(error) = notices::expire(&self.device, parent, &name) {
                    tracing::debug!(%error, "the kernel does not look a name up again");
                }
            }
            // From before the beginning: attributes only.
            self.forget_pages(ino, -1);
        }
        self.forget_pages(table::ROOT, -1);
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.session.get_mut().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            drop(self.gate.end());
            if let Err(error) = mounts::detach(&self.place) {
                tracing::warn!(place = %self.place.display(), %error, "a mount stays");
            }
        }
    }
}

/// Places of this process's mounts: nobody looks into them.
static TAKEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A place that a mount of this process has.
#[derive(Debug)]
struct Taken(PathBuf);

impl Taken {
    fn new(place: &Path) -> Result<Self, MountError> {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.iter().any(|other| place.starts_with(other)) {
            return Err(MountError::Place { path: place.to_owned(), why: "it is in a mount of this host" });
        }
        taken.insert(place.to_owned());
        Ok(Self(place.to_owned()))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

fn file(path: &Path, error: Errno) -> MountError {
    MountError::File { path: path.to_owned(), source: error.into() }
}

fn check_place(place: &Path) -> Result<(), MountError> {
    let refused = |why| MountError::Place { path: place.to_owned(), why };
    let failed = |source| MountError::File { path: place.to_owned(), source };
    let found = match place.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(refused("there is no such folder")),
        found => found.map_err(failed)?,
    };
    if !found.is_dir() {
        return Err(refused("it is no folder"));
    }
    if std::fs::read_dir(place).map_err(failed)?.next().is_some() {
        return Err(refused("it is not empty"));
    }
    Ok(())
}

fn options(mark: String, is_root: bool) -> Config {
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(mark),
        MountOption::DefaultPermissions,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::NoAtime,
    ];
    // The folder's own rights decide, which the kernel checks; only root may share a mount with others.
    config.acl = if is_root { SessionACL::All } else { SessionACL::Owner };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    config.n_threads = Some(processors.clamp(2, MOUNT_THREADS_MAX));
    config.clone_fd = true;
    config
}
