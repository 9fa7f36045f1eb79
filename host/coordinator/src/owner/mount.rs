//! A workspace's mount, as its owner has it: when a person may write, and when what was written is cut.
//!
//! Between turns the mount may write, and a second of quiet or a `fsync` makes an external cut of it (TURN.md §8). Before anybody else changes the
//! workspace, the mount is closed and what it wrote is cut. Must never touch the mount: its calls come back to this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use podium_capabilities::workspace::Workspace;
use podium_chronicle::fuse::{History, Mount, MountError, MountRequest};
use podium_chronicle::{Chronicle, ChronicleError, ViewFile, ViewName, ViewPath, Viewed};
use podium_store::NewLogLine;
use podium_wire::ErrorCode;
use podium_wire::rest::{LogLevel, MountInfo};
use tokio::sync::Notify;

use super::Owner;
use crate::error::Error;

/// How long closing a mount may take: the kernel answers in microseconds, or hangs.
const CLOSE_MAX: Duration = Duration::from_secs(15);

/// How long after a cut that could not be made of a mount's writes it is tried again.
const CUT_AGAIN: Duration = Duration::from_secs(5);

/// An owner's mount, if it has one.
#[derive(Debug, Default)]
pub(super) struct Mounting {
    mount: Option<Mount>,
    woken: Arc<Notify>,
    again: Option<Duration>,
}

impl Mounting {
    /// True while it is mounted: then the owner stays.
    pub(super) fn is_mounted(&self) -> bool {
        self.mount.is_some()
    }

    /// When a cut of what was written is due.
    pub(super) fn cut_due(&self) -> Option<Duration> {
        let due = self.mount.as_ref().and_then(Mount::cut_due);
        [due, self.again].into_iter().flatten().min()
    }

    /// Resolves when there is something new to look at.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// True when somebody has unmounted it from outside.
    pub(super) fn has_ended(&self) -> bool {
        self.mount.as_ref().is_some_and(Mount::has_ended)
    }
}

impl Owner {
    /// Mounts the workspace; where it is mounted already, that is the answer to the same wish.
    pub(super) async fn mount(&mut self, wanted: Option<PathBuf>) -> Result<MountInfo, Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        if self.mounting.has_ended() {
            self.mount_ended().await;
        }
        let own = std::path::absolute(self.store.chronicle().join("mount"))?;
        let wanted = match wanted {
            Some(place) => Some(outside(&place, self.parts.data.path()).await?),
            None => None,
        };
        if let Some(mount) = &self.mounting.mount {
            return if wanted.is_none_or(|place| mount.place() == place) {
                Ok(shown(mount))
            } else {
                let message = format!("the workspace is mounted at {}", mount.place().display());
                Err(Error::coded(ErrorCode::AlreadyMounted, message))
            };
        }
        let place = wanted.unwrap_or_else(|| own.clone());
        let work = self.folder().await?;
        let woken = Arc::clone(&self.mounting.woken);
        let request = MountRequest {
            work,
            place,
            mark: podium_chronicle::fuse::mark(self.parts.data.path()),
            dirty: self.workspace.dirty().clone(),
            clock: self.parts.clock.clone(),
            files: self.parts.guest_files.clone(),
            history: Box::new(Past(self.workspace.clone())),
            wake: Box::new(move || woken.notify_one()),
        };
        let mounted = podium_kit::spawn::blocking(move || {
            if request.place == own {
                // It may be there, and a dead mount on it, which cannot be looked into.
                match std::fs::create_dir(&own) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(MountError::File { path: own, source: error });
                    }
                    _ => {}
                }
            }
            Mount::new(request)
        });
        let mount = mounted.await.map_err(|_| Error::Stopping)??;
        if self.running.is_some() {
            // It is read-only while a turn runs, from its first moment on.
            close(mount.clone()).await?;
        }
        tracing::info!(instance = %self.id, place = %mount.place().display(), "a workspace is mounted");
        let info = shown(&mount);
        self.mounting.mount = Some(mount);
        Ok(info)
    }

    /// Where the workspace is mounted.
    pub(super) fn mounted(&self) -> Result<MountInfo, Error> {
        self.mounting.mount.as_ref().map(shown).ok_or_else(not_mounted)
    }

    /// Unmounts the workspace; what was written through the mount is cut first.
    pub(super) async fn unmount(&mut self) -> Result<(), Error> {
        if !self.mounting.is_mounted() {
            return Err(not_mounted());
        }
        if let Err(error) = self.close_mount().await {
            // What is not in a cut then is in the next one.
            tracing::warn!(instance = %self.id, %error, "what was written through a mount is not cut yet");
        }
        self.take_mount_away().await;
        Ok(())
    }

    /// Unmounts without a cut, if there is a mount.
    pub(super) async fn take_mount_away(&mut self) {
        self.mounting.again = None;
        let Some(mount) = self.mounting.mount.take() else { return };
        let place = mount.place().to_owned();
        let unmounted = podium_kit::spawn::blocking(move || mount.unmount());
        match unmounted.await {
            Ok(Ok(())) => tracing::info!(instance = %self.id, place = %place.display(), "a workspace is unmounted"),
            Ok(Err(error)) => {
                tracing::warn!(instance = %self.id, place = %place.display(), %error, "a mount cannot be taken away");
            }
            Err(_) => {}
        }
    }

    /// Before anything else than the mount changes the workspace: makes it read-only and cuts what was written through it. It opens again once
    /// nothing runs. When this fails, nothing may change the workspace.
    pub(super) async fn close_mount(&mut self) -> Result<(), Error> {
        let Some(mount) = self.mounting.mount.clone() else { return Ok(()) };
        if mount.is_closed() {
            return Ok(());
        }
        close(mount.clone()).await?;
        let waiting = mount.begin_cut();
        let made = match self.cut_mounted().await {
            Err(error) if error.code() == ErrorCode::WorkspaceLimit => self.give_up_written(&error).await,
            made => made,
        };
        waiting.answer(made.is_ok());
        if made.is_err() {
            self.reopen_mount().await;
        } else {
            mount.set_full(false);
            self.mounting.again = None;
        }
        made
    }

    /// Nobody else changes the workspace now: lets the mount write again. Where that does not come to an end, it stays read-only.
    pub(super) async fn reopen_mount(&mut self) {
        let Some(mount) = self.mounting.mount.clone().filter(Mount::is_closed) else { return };
        let reopened = podium_kit::spawn::blocking(move || mount.reopen());
        if tokio::time::timeout(CLOSE_MAX, reopened).await.is_err() {
            tracing::error!(instance = %self.id, "a mount stays read-only, because a call on it does not end");
        }
    }

    /// A cut is due of what was written through the mount, or it is gone.
    pub(super) async fn mount_due(&mut self) {
        let Some(mount) = self.mounting.mount.clone() else { return };
        self.mounting.again = None;
        let waiting = mount.begin_cut();
        let made = self.cut_mounted().await;
        waiting.answer(made.is_ok());
        match made {
            Ok(()) => mount.set_full(false),
            Err(error) if error.code() == ErrorCode::WorkspaceLimit => {
                // Whoever made it so large can make it smaller, and each change is looked at again.
                mount.set_full(true);
                tracing::warn!(instance = %self.id, %error, "a mount may only remove files now");
            }
            Err(error) => {
                self.mounting.again = Some(self.parts.clock.monotonic() + CUT_AGAIN);
                tracing::error!(instance = %self.id, code = %error.code(), %error, "what was written through a mount cannot be cut");
            }
        }
    }

    /// Somebody has unmounted it.
    pub(super) async fn mount_ended(&mut self) {
        if self.running.is_none() {
            self.mount_due().await;
        }
        self.take_mount_away().await;
    }

    /// What was written is more than a workspace may hold, and somebody else needs it: as after such a turn, it goes.
    async fn give_up_written(&mut self, why: &Error) -> Result<(), Error> {
        self.roll_back(None).await?;
        let message = format!("what was written through the mount is gone, as no cut can hold it: {why}");
        self.shown.logs.add(NewLogLine {
            ts: self.parts.clock.now_ms(),
            level: LogLevel::Warn,
            module: "podium".to_owned(),
            message,
            turn_id: None,
            fields: None,
        });
        Ok(())
    }
}

/// The history as the mount shows it.
struct Past(Workspace);

impl Past {
    fn ask<T>(&self, read: impl FnOnce(&Chronicle) -> Result<T, ChronicleError>) -> Result<T, ChronicleError> {
        // Nobody ever used a file.
        self.0.read(read)?.ok_or(ChronicleError::NoIteration(0))
    }
}

impl History for Past {
    fn view(&self, place: &ViewPath) -> Result<Viewed, ChronicleError> {
        self.ask(|chronicle| chronicle.view(place))
    }

    fn names(&self, place: &ViewPath, after: Option<&[u8]>, limit: usize) -> Result<Vec<ViewName>, ChronicleError> {
        self.ask(|chronicle| chronicle.view_names(place, after, limit))
    }

    fn read(&self, file: &ViewFile, offset: u64, len: usize) -> Result<Vec<u8>, ChronicleError> {
        self.ask(|chronicle| chronicle.view_read(file, offset, len))
    }
}

async fn close(mount: Mount) -> Result<(), Error> {
    let closed = podium_kit::spawn::blocking(move || mount.close());
    match tokio::time::timeout(CLOSE_MAX, closed).await {
        Ok(closed) => Ok(closed.map_err(|_| Error::Stopping)??),
        Err(_) => Err(MountError::Busy.into()),
    }
}

fn shown(mount: &Mount) -> MountInfo {
    MountInfo { dir: mount.place().display().to_string() }
}

fn not_mounted() -> Error {
    Error::coded(ErrorCode::NotMounted, "the workspace is not mounted")
}

/// A folder that a person names: an absolute one, and none of the host's own.
async fn outside(place: &Path, data: &Path) -> Result<PathBuf, Error> {
    let refused = |why: &str| Error::coded(ErrorCode::InvalidMountDir, format!("`{}` {why}", place.display()));
    if !place.is_absolute() {
        return Err(refused("is not absolute"));
    }
    let (named, data) = (place.to_owned(), data.to_owned());
    let found = podium_kit::spawn::blocking(move || {
        Ok::<_, std::io::Error>((podium_chronicle::fuse::settled(&named)?, data.canonicalize()?))
    });
    let (real, data) =
        found.await.map_err(|_| Error::Stopping)?.map_err(|error| refused(&format!("cannot be used: {error}")))?;
    if real.starts_with(&data) { Err(refused("is in the host's data folder")) } else { Ok(real) }
}
