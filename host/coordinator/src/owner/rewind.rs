//! Back to an earlier cut, or forward to one that was left behind: state, messages, files, configuration and code together.
//!
//! A rewind is a cut of its own, whose parent is the cut that it goes to; so it takes nothing away, and another rewind undoes it. Must never
//! make that cut while a turn runs, nor leave files of one cut with the state of another.

use std::collections::VecDeque;
use std::sync::Arc;

use podium_chronicle::{ChronicleError, Named};
use podium_runtime::StopReason;
use podium_store::{AtCut, CutKind, NewRow, NewUpdate, Outcome, RowKind, TrialNote, difference};
use podium_wire::cuts::{RewindInstance, RewindReceipt};
use podium_wire::updates::{DeploymentChanged, DeploymentReason, Rewound, StateDelta, UpdateBody};
use podium_wire::{DeploymentId, ErrorCode};
use serde_json::Value;
use tokio::sync::oneshot;

use super::row::Row;
use super::workspace::{blocking, named};
use super::{Owner, Reply};
use crate::error::Error;

/// A rewind that somebody waits for.
#[derive(Debug)]
pub struct WantedRewind {
    /// Where to.
    pub request: RewindInstance,
    /// The authenticated principal.
    pub sender: String,
    /// The place for its answer.
    pub reply: Reply<RewindReceipt>,
}

/// Rewinds that wait until the turn which they have cancelled is over.
pub(super) type Rewinds = VecDeque<WantedRewind>;

/// What a rewind came to, and the `migrate` that follows it.
struct Done {
    receipt: RewindReceipt,
    migration: Option<oneshot::Receiver<Outcome>>,
}

impl Owner {
    /// Takes a rewind. A running turn is cancelled first.
    pub(super) async fn rewind(&mut self, wanted: WantedRewind) {
        if let Err(error) = self.target(wanted.request.to).await {
            drop(wanted.reply.send(Err(error)));
            return;
        }
        self.rewinds.push_back(wanted);
        self.rewind_waiting().await;
        self.start_next().await;
    }

    /// Does the rewinds that wait, as far as no turn is in the way.
    pub(super) async fn rewind_waiting(&mut self) {
        while !self.rewinds.is_empty() {
            if let Some(running) = &self.running {
                running.stop.stop(StopReason::Interrupt);
                return;
            }
            let Some(WantedRewind { request, sender, reply }) = self.rewinds.pop_front() else { return };
            match self.rewind_now(request, sender).await {
                Ok(Done { receipt, migration: None }) => drop(reply.send(Ok(receipt))),
                Ok(Done { receipt, migration: Some(outcome) }) => {
                    // Answered when the migration is over, however long that takes; the owner goes on.
                    let (parts, id) = (Arc::clone(&self.parts), self.id);
                    podium_kit::spawn::task("rewind reply", async move {
                        let result = match outcome.await {
                            Ok(Outcome { error: None, .. }) => migrated(&parts, id, receipt).await,
                            Ok(Outcome { error: Some(error), .. }) => Err(Error::Agent(error)),
                            Err(_) => Err(Error::Stopping),
                        };
                        drop(reply.send(result));
                    });
                }
                Err(error) => drop(reply.send(Err(error))),
            }
        }
    }

    /// The instance as the cut had it.
    pub(super) async fn target(&mut self, cut: u64) -> Result<AtCut, Error> {
        let found = self.store.at_cut(cut).await?;
        found.ok_or_else(|| Error::coded(ErrorCode::CutNotFound, format!("there is no cut {cut}")))
    }

    async fn rewind_now(&mut self, request: RewindInstance, sender: String) -> Result<Done, Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        let at = self.target(request.to).await?;
        let kept = self.core.component.clone();
        let migrates = request.keep_component && self.would_migrate(&at.cut.component).await?;
        let component = if request.keep_component && !migrates { kept.clone() } else { at.cut.component.clone() };
        if component != kept {
            // Nobody is sent to code that does not load.
            self.parts
                .agents
                .load(&component)
                .await
                .map_err(|error| Error::CodeUnavailable(component.clone(), Box::new(error)))?;
        }
        self.mark_active().await?;
        // What a person wrote is of the time before.
        self.close_mount().await?;
        // Durable before the rewind, so that no crash leaves the instance on code that was not asked for. Should the rewind not be
        // made, it asks for the code that runs.
        let upgrade = if migrates { Some(self.accept_upgrade(kept, sender).await?) } else { None };
        let receipt = self.cut_rewind(at, component).await?;
        let migration = upgrade.map(|seq| {
            let (told, outcome) = oneshot::channel();
            self.wait_for(seq, told);
            outcome
        });
        Ok(Done { receipt, migration })
    }

    /// True when the code that runs now would have to migrate the state of this other code.
    async fn would_migrate(&mut self, other: &DeploymentId) -> Result<bool, Error> {
        if *other == self.core.component {
            return Ok(false);
        }
        let agent = self.load_agent().await?;
        let (registry, other) = (Arc::clone(&self.parts.registry), other.clone());
        let old = podium_kit::spawn::blocking(move || registry.get(&other)).await.map_err(|_| Error::Stopping)??;
        let from = super::upgrade::migrates(old.description.state_schema_version, &agent.deployment.description);
        Ok(from.is_some())
    }

    /// Writes the row of an upgrade that nobody but this rewind asked for.
    async fn accept_upgrade(&mut self, deployment: DeploymentId, sender: String) -> Result<u64, Error> {
        let now = self.parts.clock.now_ms();
        let id = self.parts.random.uuid_v7(now).to_string();
        let body = super::upgrade::row_of(deployment);
        let new = NewRow { sender, id, kind: RowKind::Upgrade, hashed: body.clone(), body, at: now, start: None };
        let accepted = self.store.accept(new.clone()).await?;
        self.queue.push_back(Row::accepted(accepted.inbox_seq, new));
        Ok(accepted.inbox_seq)
    }

    async fn cut_rewind(&mut self, at: AtCut, component: DeploymentId) -> Result<RewindReceipt, Error> {
        let AtCut { cut: to, state, config } = at;
        let from = self.core.cut;
        let mut request = self.empty_cut(CutKind::Rewind);
        request.parent = to.cut;
        request.trial = TrialNote::Clear;
        let tell = |body: &UpdateBody| {
            let (event_type, content) = body.encode();
            NewUpdate { n: None, event_type, content, at: request.at }
        };
        let mut updates = Vec::new();
        if *self.core.state != state {
            let patch = difference(&self.core.state, &state);
            request.state_version += 1;
            updates.push(tell(&UpdateBody::StateDelta(StateDelta {
                version: request.state_version,
                patch: patch.clone(),
            })));
            request.patches = vec![patch];
            request.state_after = Arc::new(state);
        }
        let config = Value::Object(config);
        let revision = self.core.config_rev + 1;
        let config_changes = *self.core.config != config;
        if config_changes {
            request.config = Some((revision, config.to_string()));
            updates.push(super::config::changed(revision, request.at));
        }
        let component_changes = component != self.core.component;
        if component_changes {
            request.component = Some(component.clone());
            updates.push(tell(&UpdateBody::DeploymentChanged(Box::new(DeploymentChanged {
                deployment_id: component.clone(),
                previous_deployment_id: self.core.component.clone(),
                reason: DeploymentReason::Rewind,
                error: None,
            }))));
        }
        let (workspace, left) = self.rewind_files(named(to.cut, to.workspace.as_ref())?).await?;
        request.workspace = workspace;
        updates.push(tell(&UpdateBody::Rewound(Rewound { to: to.cut, from, left: left.clone() })));
        request.updates = updates;
        let cut = match self.commit(request, None).await {
            Ok(cut) => cut,
            Err(error) => {
                self.try_roll_back(None).await;
                return Err(error);
            }
        };
        if config_changes {
            self.core.config = Arc::new(config);
            self.core.config_rev = revision;
        }
        if component_changes {
            self.core.component = component;
            self.agent = None;
        }
        self.upgrade.forget_trial();
        self.warm.drop_guest();
        Ok(RewindReceipt {
            cut,
            to: to.cut,
            from,
            deployment_id: self.core.component.clone(),
            state_version: self.core.state_version,
            config_rev: self.core.config_rev,
            left,
        })
    }

    /// Brings the folder to what a cut names, for the next cut; also what stays there against it.
    async fn rewind_files(&mut self, to: Named) -> Result<(Option<podium_store::WorkspaceAt>, Vec<String>), Error> {
        let cut = self.core.cut + 1;
        let went = blocking(&self.workspace, move |workspace| workspace.go_back(to.version, to.root, cut)).await;
        match went {
            Ok(None) => Ok((None, Vec::new())),
            Ok(Some(went)) => {
                let left = went.brought.left.iter().map(ToString::to_string).collect();
                Ok((Some(super::workspace::at(&went.prepared)), left))
            }
            Err(Error::Workspace(ChronicleError::NoVersion(_))) => {
                Err(Error::coded(ErrorCode::CutNotKept, format!("the files of cut {} were collected", to.cut)))
            }
            Err(error) => Err(error),
        }
    }
}

/// The receipt of a rewind whose `migrate` has made a further cut.
async fn migrated(
    parts: &Arc<crate::host::Parts>,
    id: podium_wire::InstanceId,
    receipt: RewindReceipt,
) -> Result<RewindReceipt, Error> {
    let info = parts.instances.ask(parts, id, super::Command::Info).await?;
    Ok(RewindReceipt {
        cut: info.cut,
        deployment_id: info.deployment_id,
        state_version: info.state_version,
        config_rev: info.config_rev,
        ..receipt
    })
}
