//! A new instance that begins as a copy of one of this one's cuts.
//!
//! Everything that is copied is committed, so a running turn goes on; its journal stays with it. Must never leave half an instance behind.

use podium_chronicle::{ChronicleError, FORK_VERSION, Named, Place};
use podium_store::{AtCut, NewFork, WorkspaceAt};
use podium_wire::cuts::{CutRef, ForkInstance};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::Value;

use super::Owner;
use super::workspace::{blocking, named};
use crate::error::Error;

/// Paths that are named when a fork lacks them.
const LEFT_OUT_MAX: usize = 1000;

/// A fork that is there.
#[derive(Debug)]
pub struct ForkMade {
    /// Its id.
    pub id: InstanceId,
    /// What it is a copy of.
    pub from: CutRef,
    /// What its workspace lacks.
    pub left_out: Vec<String>,
}

impl Owner {
    /// Makes a fork of a cut, or of the last one.
    pub(super) async fn fork(&mut self, request: ForkInstance) -> Result<ForkMade, Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        if request.at.is_none() && self.running.is_none() {
            // What a person has written by now is part of it.
            self.close_mount().await?;
        }
        let at = self.target(request.at.unwrap_or(self.core.cut)).await?;
        let now = self.parts.clock.now_ms();
        let id = InstanceId::from_uuid(self.parts.random.uuid_v7(now));
        let from = CutRef { instance_id: self.id, cut: at.cut.cut };
        let component = at.cut.component.clone();
        // Nobody opens what is half made, and removes it for that.
        let reserved = self.parts.instances.reserve(&self.parts, id);
        let made = match self.parts.store.begin_fork(id, component, now).await {
            Ok(folder) => self.fill_fork(id, now, at, &from, Place::new(folder)).await,
            Err(error) => Err(error.into()),
        };
        if made.is_err()
            && let Err(error) = self.parts.store.delete(id).await
        {
            // The first error is the one that counts; what this cannot remove the next start does.
            tracing::warn!(instance = %id, %error, "a failed fork was not cleaned up");
        }
        self.parts.instances.give_up(reserved);
        made.map(|left_out| ForkMade { id, from, left_out })
    }

    async fn fill_fork(
        &mut self,
        id: InstanceId,
        created_at: u64,
        at: AtCut,
        from: &CutRef,
        place: Place,
    ) -> Result<Vec<String>, Error> {
        let AtCut { cut, state, config } = at;
        let (workspace, left_out) = self.plant(named(cut.cut, cut.workspace.as_ref())?, place).await?;
        let new = NewFork {
            id,
            created_at,
            component: cut.component,
            config: (cut.config_rev, Value::Object(config).to_string()),
            state,
            state_version: cut.state_version,
            workspace,
            forked_from: serde_json::to_string(from).unwrap_or_default(),
        };
        self.parts.store.fork(new, &self.store, cut.cut).await?;
        Ok(left_out)
    }

    /// Makes the fork's workspace; none where the cut has no files. Also what it lacks.
    async fn plant(&mut self, at: Named, place: Place) -> Result<(Option<WorkspaceAt>, Vec<String>), Error> {
        let Some(root) = at.root.filter(|root| *root != podium_chronicle::empty_root()) else {
            return Ok((None, Vec::new()));
        };
        let planted = blocking(&self.workspace, move |workspace| workspace.plant(at.version, root, &place)).await;
        match planted {
            Ok(skipped) => {
                let left_out = skipped.iter().take(LEFT_OUT_MAX).map(|skipped| skipped.path.to_string()).collect();
                let root = root.as_bytes().to_vec();
                Ok((Some(WorkspaceAt { version: FORK_VERSION, root }), left_out))
            }
            Err(Error::Workspace(ChronicleError::NoVersion(_))) => {
                Err(Error::coded(ErrorCode::CutNotKept, format!("the files of cut {} were collected", at.cut)))
            }
            Err(error) => Err(error),
        }
    }

    /// Leaves the history of an instance that is about to be deleted to those of its forks that have not used theirs yet.
    pub(super) async fn leave_to_forks(&mut self) -> Result<(), Error> {
        let left = blocking(&self.workspace, |workspace| workspace.leave_to_forks()).await?;
        if left > 0 {
            tracing::info!(instance = %self.id, forks = left, "its history is left to its forks");
        }
        Ok(())
    }
}
