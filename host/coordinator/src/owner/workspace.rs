//! The workspace at the owner's steps: a version before a cut, back to the last cut when there is none.
//!
//! The history blocks, so it works on a thread that may. Must never make a cut of a turn with files of another: what a turn wrote
//! is in the version that its cut names, or goes.

use std::path::PathBuf;

use podium_capabilities::turn::Turn;
use podium_capabilities::workspace::Workspace;
use podium_chronicle::{ChronicleError, ContentHash, Named, Prepared, Sight, VersionKind, WorkPath};
use podium_store::{CutKind, NewLogLine, NewUpdate, WorkspaceAt};
use podium_wire::ErrorCode;
use podium_wire::rest::LogLevel;
use podium_wire::updates::{FileChange, UpdateBody};

use super::{HistoryRead, Owner};
use crate::error::Error;
use crate::files::{FileChange as Written, Workspace as Folder};

/// The last cut's workspace, as the history is asked for it.
pub(super) fn named(cut: u64, at: Option<&WorkspaceAt>) -> Result<Named, Error> {
    let Some(at) = at else { return Ok(Named { cut, ..Named::default() }) };
    let root = ContentHash::from_slice(&at.root)
        .ok_or(ChronicleError::Refused("the name of a workspace's content is damaged"))?;
    Ok(Named { cut, version: at.version, root: Some(root) })
}

/// A version as a cut names it.
pub(super) fn at(prepared: &Prepared) -> WorkspaceAt {
    WorkspaceAt { version: prepared.version, root: prepared.root.as_bytes().to_vec() }
}

/// Does what may block with a workspace.
pub(super) async fn blocking<T: Send + 'static>(
    workspace: &Workspace,
    work: impl FnOnce(&Workspace) -> Result<T, ChronicleError> + Send + 'static,
) -> Result<T, Error> {
    let workspace = workspace.clone();
    let done = podium_kit::spawn::blocking(move || work(&workspace)).await;
    Ok(done.map_err(|_| Error::Stopping)??)
}

/// Durable updates of what a cut changes in the workspace, which nobody has seen live.
pub(super) fn file_changes(changes: Vec<FileChange>, at: u64) -> Vec<NewUpdate> {
    let update = |change| {
        let (event_type, content) = UpdateBody::FileChange(change).encode();
        NewUpdate { n: None, event_type, content, at }
    };
    changes.into_iter().map(update).collect()
}

impl Owner {
    /// The folder as the last cut, or the running turn, has it; none while nobody ever used a file.
    pub(super) async fn folder_if_used(&mut self) -> Result<Option<PathBuf>, Error> {
        blocking(&self.workspace, Workspace::open_if_used).await
    }

    /// The folder, made where it is not there yet.
    pub(super) async fn folder(&mut self) -> Result<PathBuf, Error> {
        self.mark_active().await?;
        self.maintenance.make_way();
        blocking(&self.workspace, Workspace::open).await
    }

    /// Reads the history; whoever asked is answered by the reading.
    pub(super) async fn read_history(&mut self, read: HistoryRead) {
        let done = blocking(&self.workspace, move |workspace| {
            read.from(workspace);
            Ok(())
        });
        if let Err(error) = done.await {
            tracing::debug!(instance = %self.id, %error, "nobody was left to read a history");
        }
    }

    /// Files from before there was a history come into a cut of their own, before a turn may change them.
    pub(super) async fn adopt(&mut self) {
        if !self.workspace.has_strangers() {
            return;
        }
        let adopted = match blocking(&self.workspace, Workspace::open_unadopted).await {
            Ok(true) => self.mark_active().await,
            Ok(false) => return,
            Err(error) => Err(error),
        };
        let cut = match adopted {
            Ok(()) => self.cut_external(VersionKind::External).await,
            Err(error) => Err(error),
        };
        if let Err(error) = cut {
            tracing::error!(instance = %self.id, %error, "the files of a workspace from before its history cannot be kept");
        }
    }

    /// Changes a file between turns: a cut `external` before the answer.
    pub(super) async fn write_file(&mut self, change: Written) -> Result<u64, Error> {
        self.begin_between_turns().await?;
        let folder = self.folder().await?;
        let dirty = self.workspace.dirty().clone();
        let applied = podium_kit::spawn::blocking(move || Folder::open(&folder)?.apply(change, &dirty)).await;
        self.cut_written(applied.unwrap_or(Err(Error::Stopping)), VersionKind::External).await
    }

    /// Brings a path to what it was, between turns: a cut `external` before the answer.
    pub(super) async fn restore_file(&mut self, path: WorkPath, n: u64) -> Result<u64, Error> {
        self.begin_between_turns().await?;
        self.mark_active().await?;
        let restored = blocking(&self.workspace, move |workspace| {
            let brought = workspace.restore(&path, n, Sight::Cuts)?;
            // All of it or nothing: what is damaged takes the rest back with it.
            brought.all_readable()
        });
        let restored = restored.await;
        self.cut_written(restored, VersionKind::Restore).await
    }

    /// Limits the workspace as its agent's manifest says, which need not be compiled for that.
    async fn limit_workspace(&mut self) {
        let limits = match &self.agent {
            Some(agent) => Ok(agent.limits.clone()),
            None => self.parts.agents.limits(&self.core.component).await,
        };
        match limits {
            Ok(limits) => self.workspace.set_limits(limits.workspace()),
            // Those that it had last, or the defaults, hold.
            Err(error) => tracing::warn!(instance = %self.id, %error, "the limits of an agent are not known"),
        }
    }

    /// Refuses while a turn runs, and has a mount wait.
    async fn begin_between_turns(&mut self) -> Result<(), Error> {
        if self.running.is_some() {
            return Err(Error::coded(ErrorCode::TurnActive, "a turn is running"));
        }
        if self.stopping {
            return Err(Error::Stopping);
        }
        self.limit_workspace().await;
        self.close_mount().await
    }

    /// A cut of what was written outside a turn; if that failed, or cannot be cut, it is undone.
    async fn cut_written(&mut self, written: Result<(), Error>, kind: VersionKind) -> Result<u64, Error> {
        let made = match written {
            Ok(()) => self.cut_external(kind).await,
            Err(error) => Err(error),
        };
        if made.is_err() {
            self.try_roll_back(None).await;
        }
        made
    }

    async fn cut_external(&mut self, kind: VersionKind) -> Result<u64, Error> {
        let workspace = self.snapshot(kind, None).await?;
        self.cut_version(workspace).await
    }

    /// A cut of what was written through a mount; none when nothing was.
    pub(super) async fn cut_mounted(&mut self) -> Result<(), Error> {
        self.limit_workspace().await;
        match self.snapshot(VersionKind::External, None).await? {
            Some(workspace) => self.cut_version(Some(workspace)).await.map(drop),
            None => Ok(()),
        }
    }

    async fn cut_version(&mut self, workspace: Option<WorkspaceAt>) -> Result<u64, Error> {
        let mut request = self.empty_cut(CutKind::External);
        request.workspace = workspace;
        let told = self.workspace.take_told();
        for line in told.left_out {
            self.shown.logs.add(NewLogLine {
                ts: request.at,
                level: LogLevel::Warn,
                module: "podium".to_owned(),
                message: line,
                turn_id: None,
                fields: None,
            });
        }
        request.updates = file_changes(told.changes, request.at);
        self.commit(request, None).await
    }

    /// Makes a version of what was written since the last cut, for the next cut to name; none when nothing was.
    pub(super) async fn snapshot(
        &mut self,
        kind: VersionKind,
        turn: Option<u64>,
    ) -> Result<Option<WorkspaceAt>, Error> {
        if !self.workspace.is_dirty() {
            return Ok(None);
        }
        let cut = self.core.cut + 1;
        let prepared = blocking(&self.workspace, move |workspace| workspace.prepare(kind, cut, turn)).await?;
        Ok(prepared.as_ref().map(at))
    }

    /// The cut that names a version was made.
    pub(super) async fn workspace_is_true(&mut self, cut: u64, version: u64) {
        let done = blocking(&self.workspace, move |workspace| {
            workspace.committed(cut, version);
            Ok(())
        });
        if let Err(error) = done.await {
            tracing::warn!(instance = %self.id, %error, "a version cannot be marked as committed");
        }
    }

    /// Brings the workspace back to the last cut; what the turn wrote is kept as a recovered version, and its log says so.
    pub(super) async fn roll_back(&mut self, turn: Option<&Turn>) -> Result<(), Error> {
        if !self.workspace.is_dirty() {
            return Ok(());
        }
        let back = match blocking(&self.workspace, Workspace::roll_back).await {
            Ok(Some(back)) => back,
            Ok(None) => return Ok(()),
            Err(error) => {
                // It is opened anew by who uses a file next, which a guest does once.
                self.warm.drop_guest();
                return Err(error);
            }
        };
        let said = match back.kept {
            Some(version) => format!("the files that it wrote are kept as version {version}"),
            None if back.too_large_to_keep => "it wrote too much to be kept".to_owned(),
            None => return Ok(()),
        };
        if let Some(turn) = turn {
            turn.host_log(LogLevel::Warn, &said);
        }
        Ok(())
    }

    /// As [`Owner::roll_back`], where nothing waits for it: what cannot be brought back now is when a file is used next.
    pub(super) async fn try_roll_back(&mut self, turn: Option<&Turn>) {
        if let Err(error) = self.roll_back(turn).await {
            tracing::error!(instance = %self.id, %error, "a workspace cannot be brought back");
        }
    }

    /// Closes the workspace of an owner that leaves.
    pub(super) async fn close_workspace(&mut self) {
        self.maintenance.over().await;
        if let Err(error) = blocking(&self.workspace, Workspace::close).await {
            tracing::warn!(instance = %self.id, %error, "a workspace is left as after a crash");
        }
    }
}
