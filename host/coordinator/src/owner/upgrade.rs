//! Other code for an instance: the row, its place in the queue, `migrate`, the cut, and the way back of a version on trial.
//!
//! An upgrade is durable before it is acknowledged and takes effect between two turns. Code and migrated state become true
//! in one cut. Must never consume a message: what fails here leaves the old code in force.

use std::sync::Arc;

use podium_store::{CutKind, CutRequest, NewRow, NewUpdate, Outcome, RowKind, TrialNote};
use podium_wire::rest::{Description, Hook, UpgradeReceipt, UpgradeStatus};
use podium_wire::updates::{DeploymentChanged, DeploymentReason, StateDelta, StatusEvent, UpdateBody};
use podium_wire::{DeploymentId, ErrorCode, InstanceId, WireError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::row::Row;
use super::{Attempt, Owner, Reply};
use crate::agents::LoadedAgent;
use crate::error::Error;

/// Upgrades that may wait for one turn's end: one a second of a build loop, and a bound for everybody else.
const UPGRADES_MAX: usize = 16;

/// An upgrade to queue; its code has been loaded once.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The code.
    pub deployment: DeploymentId,
    /// Whether it has to prove itself in its first turn.
    pub on_trial: bool,
    /// Whether a running turn makes way for it.
    pub now: bool,
    /// The authenticated principal.
    pub sender: String,
}

/// A queued upgrade.
#[derive(Debug)]
pub struct Queued {
    /// What is answered at once.
    pub receipt: UpgradeReceipt,
    /// How it ended; none when there is nothing to do.
    pub outcome: Option<oneshot::Receiver<Outcome>>,
}

/// The body of a row of kind `upgrade`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct UpgradeRow {
    deployment_id: DeploymentId,
    #[serde(default)]
    on_trial: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    now: bool,
}

/// What an owner knows of upgrades.
#[derive(Debug, Default)]
pub(super) struct Upgrades {
    /// The one that is being made.
    current: Option<Current>,
    /// The way back, until the new code's first turn has ended well.
    trial: Option<Trial>,
}

/// An upgrade on its way to its cut.
#[derive(Debug, Clone)]
struct Current {
    agent: Arc<LoadedAgent>,
    /// The way back, when it has to prove itself.
    trial: Option<Trial>,
    /// The schema version to migrate from, where `migrate` is to be called.
    from: Option<u32>,
}

/// What a version on trial is measured against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Trial {
    /// What is put back.
    deployment_id: DeploymentId,
    /// The state before it was migrated; none when it is as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<Arc<Value>>,
}

impl Upgrades {
    /// Reads the note of a trial that the last cut left.
    pub(super) fn recovered(id: InstanceId, note: Option<&str>) -> Self {
        let trial = note.and_then(|note| match serde_json::from_str(note) {
            Ok(trial) => Some(trial),
            Err(error) => {
                // Without its way back the version stays, as one that was not on trial.
                tracing::warn!(instance = %id, %error, "the note of an upgrade on trial cannot be read");
                None
            }
        });
        Self { current: None, trial }
    }

    /// There is no version on trial any more.
    pub(super) fn forget_trial(&mut self) {
        self.trial = None;
    }
}

/// The body of a row that asks for this code, as soon as it is its turn.
pub(super) fn row_of(deployment_id: DeploymentId) -> String {
    to_json(&UpgradeRow { deployment_id, on_trial: false, now: false })
}

/// True when a row may be overtaken by an upgrade: it is not being answered. A turn that has begun is gone on with on the code
/// that it began on, unless it is parked or the instance was stopped: then the upgrade may be what mends it.
fn waits(row: &Row, stopped: bool) -> bool {
    row.turn.is_none() || row.parked || stopped
}

/// The order in which rows run: upgrades first, but not before a turn that has begun, unless one is wanted at once; then
/// a configuration that is. A configuration never goes before a parked row, which waits for a person.
pub(super) fn ordered(mut rows: Vec<Row>, stopped: bool) -> Vec<Row> {
    let is_parked = rows.iter().any(|row| row.parked);
    let overtakes = |row: &Row| match row.kind {
        RowKind::Upgrade => !row.parked,
        RowKind::ConfigChange => row.hurries && !is_parked,
        RowKind::Init | RowKind::Message | RowKind::Idle | RowKind::Shutdown => false,
    };
    let makes_way = rows.iter().any(|row| row.hurries && overtakes(row));
    let first = rows.first().map(|row| row.seq);
    // Stable: rows of a kind stay in their order.
    rows.sort_by_key(|row| {
        let stays = overtakes(row) || (Some(row.seq) == first && !makes_way);
        match row.kind {
            _ if stays && !waits(row, stopped) => 0,
            RowKind::Upgrade if overtakes(row) => 1,
            _ if overtakes(row) => 2,
            _ => 3,
        }
    });
    rows
}

/// The schema version from which the new code has to migrate; none when it takes the state as it is.
pub(super) fn migrates(old_version: u32, new: &Description) -> Option<u32> {
    (new.hooks.contains(&Hook::Migrate) && old_version != new.state_schema_version).then_some(old_version)
}

/// True for a failure that another version of the code may not have.
fn is_the_codes_fault(error: &WireError) -> bool {
    match error.known_code() {
        Some(ErrorCode::Interrupted | ErrorCode::Discarded | ErrorCode::Parked) => false,
        Some(code) => code.number() / 1000 == 4,
        None => true,
    }
}

/// The failure of a migration, with its cause.
pub(super) fn migration_failed(cause: &WireError) -> WireError {
    WireError::new(ErrorCode::MigrationFailed, format!("`migrate` failed ({}): {}", cause.code, cause.message))
}

fn update(body: &UpdateBody, at: u64) -> NewUpdate {
    let (event_type, content) = body.encode();
    NewUpdate { n: None, event_type, content, at }
}

impl Owner {
    /// Queues an upgrade; the reply comes when it is durable.
    pub(super) async fn upgrade(&mut self, wanted: Wanted, reply: Reply<Queued>) {
        let queued = self.queue_upgrade(wanted).await;
        // Before the turn that may follow at once.
        drop(reply.send(queued));
        self.start_next().await;
    }

    async fn queue_upgrade(&mut self, wanted: Wanted) -> Result<Queued, Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        let Wanted { deployment, on_trial, now: hurries, sender } = wanted;
        let current = &self.core.component;
        if deployment.agent_type != current.agent_type {
            let message = format!("the instance runs `{}`, and {deployment} is another agent", current.agent_type);
            return Err(Error::coded(ErrorCode::OtherAgentType, message));
        }
        let receipt = |status| UpgradeReceipt {
            status,
            deployment_id: deployment.clone(),
            previous_deployment_id: current.clone(),
            cut: None,
        };
        let waiting = || self.queue.iter().filter(|row| row.kind == RowKind::Upgrade && !row.parked);
        let body = to_json(&UpgradeRow { deployment_id: deployment.clone(), on_trial, now: hurries });
        if let Some(last) = waiting().next_back() {
            if last.body == body {
                let receipt = receipt(UpgradeStatus::Accepted);
                let (told, outcome) = oneshot::channel();
                let seq = last.seq;
                self.wait_for(seq, told);
                return Ok(Queued { receipt, outcome: Some(outcome) });
            }
        } else if deployment == *current {
            return Ok(Queued { receipt: receipt(UpgradeStatus::Unchanged), outcome: None });
        }
        if waiting().count() >= UPGRADES_MAX {
            let message = format!("{UPGRADES_MAX} upgrades wait for the running turn already");
            return Err(Error::coded(ErrorCode::Busy, message));
        }
        let receipt = receipt(UpgradeStatus::Accepted);
        self.mark_active().await?;
        let now = self.parts.clock.now_ms();
        let id = self.parts.random.uuid_v7(now).to_string();
        let new = NewRow { sender, id, kind: RowKind::Upgrade, hashed: body.clone(), body, at: now, start: None };
        let accepted = self.store.accept(new.clone()).await?;
        // It is brought forward when nothing runs.
        self.queue.push_back(Row::accepted(accepted.inbox_seq, new));
        if hurries {
            self.make_way();
        }
        let (told, outcome) = oneshot::channel();
        self.wait_for(accepted.inbox_seq, told);
        Ok(Queued { receipt, outcome: Some(outcome) })
    }

    /// Puts first what goes first, while nothing runs: what ran may have been parked, stopped or set aside.
    pub(super) fn bring_forward(&mut self) {
        if self.queue.iter().skip(1).any(|row| row.kind == RowKind::Upgrade || row.hurries) {
            let rows = std::mem::take(&mut self.queue);
            self.queue = ordered(rows.into(), self.core.stopped).into();
        }
    }

    /// True when the first row is an upgrade that can be made now: also in a stopped instance, and before a parked row.
    pub(super) fn may_upgrade(&self) -> bool {
        let first = self.queue.front().is_some_and(|row| row.kind == RowKind::Upgrade && !row.parked);
        first && !self.stopping
    }

    /// The schema version that the running `migrate` comes from.
    pub(super) fn migrates_from(&self) -> u32 {
        self.upgrade.current.as_ref().and_then(|current| current.from).unwrap_or_default()
    }

    /// Makes the first row's upgrade: at once, or by the turn of `migrate`.
    pub(super) async fn start_upgrade(&mut self, row: Row) -> Result<(), Error> {
        let current = match self.prepare_upgrade(&row).await {
            Ok(current) => current,
            Err(Error::Stopping) => return Err(Error::Stopping),
            Err(error) => return self.refuse_upgrade(&row, error.into()).await,
        };
        if row.is_used_up(current.agent.attempts_max()) {
            let died = WireError::new(ErrorCode::Parked, "its attempts died with the host too often");
            return self.refuse_upgrade(&row, migration_failed(&died)).await;
        }
        let (agent, migrates) = (Arc::clone(&current.agent), current.from.is_some());
        self.upgrade.current = Some(current);
        if migrates { self.start_turn(&agent, row).await } else { self.upgrade_without_hook(&row).await }
    }

    async fn prepare_upgrade(&mut self, row: &Row) -> Result<Current, Error> {
        let wanted: UpgradeRow = serde_json::from_str(&row.body)
            .map_err(|error| Error::coded(ErrorCode::InstanceDamaged, format!("an upgrade cannot be read: {error}")))?;
        let agent = self.parts.agents.load(&wanted.deployment_id).await?;
        let description = &agent.deployment.description;
        let from = if description.hooks.contains(&Hook::Migrate) {
            // The state has the shape of the code in force.
            let (registry, old) = (Arc::clone(&self.parts.registry), self.core.component.clone());
            let old = podium_kit::spawn::blocking(move || registry.get(&old)).await.map_err(|_| Error::Stopping)??;
            migrates(old.description.state_schema_version, description)
        } else {
            None
        };
        let trial = if wanted.on_trial { self.way_back(&wanted.deployment_id, from.is_some()) } else { None };
        Ok(Current { agent, trial, from })
    }

    /// Consumes an upgrade that cannot be made; the old code stays.
    async fn refuse_upgrade(&mut self, row: &Row, error: WireError) -> Result<(), Error> {
        let cut = self.cut_without_turn(CutKind::Error, Some(row), Some(&error)).await?;
        self.queue.pop_front();
        self.resolve(row.seq, &Outcome { cut, text: None, error: Some(error) });
        self.tell_status(self.status(), StatusEvent::TurnError);
        Ok(())
    }

    /// Makes the cut of an upgrade that no guest runs for.
    async fn upgrade_without_hook(&mut self, row: &Row) -> Result<(), Error> {
        let mut request = self.empty_cut(CutKind::Upgrade);
        request.inbox_seq = Some(row.seq);
        let mut unseen = Vec::new();
        self.add_upgrade(row, &mut request, &mut unseen);
        let cut = self.commit(request, Some(row)).await?;
        self.upgraded(row);
        self.queue.pop_front();
        self.resolve(row.seq, &Outcome { cut, text: None, error: None });
        Ok(())
    }

    /// Adds to a good turn's cut what it means for the code: the new component when it is an upgrade's, the end of a trial when it
    /// is any other's.
    pub(super) fn add_upgrade(&self, row: &Row, request: &mut CutRequest, unseen: &mut Vec<NewUpdate>) {
        if row.kind != RowKind::Upgrade {
            if self.ends_trial(row) {
                request.trial = TrialNote::Clear;
            }
            return;
        }
        let Some(current) = &self.upgrade.current else { return };
        let deployment_id = current.agent.deployment.deployment_id.clone();
        request.component = Some(deployment_id.clone());
        request.trial = match &current.trial {
            Some(trial) => TrialNote::Set(to_json(trial)),
            None => TrialNote::Clear,
        };
        if deployment_id == self.core.component {
            // Asked for a second time, at once, while the first one waited.
            return;
        }
        let changed = UpdateBody::DeploymentChanged(Box::new(DeploymentChanged {
            deployment_id,
            previous_deployment_id: self.core.component.clone(),
            reason: DeploymentReason::Upgrade,
            error: None,
        }));
        let changed = update(&changed, request.at);
        unseen.push(changed.clone());
        request.updates.push(changed);
    }

    /// True when a good turn for this row proves a version on trial; a hook that nobody asked for does not.
    fn ends_trial(&self, row: &Row) -> bool {
        self.upgrade.trial.is_some() && !row.is_hook()
    }

    /// The way back from an upgrade. One that replaces a version on trial leads back to the last that had proved itself.
    fn way_back(&self, to: &DeploymentId, migrates: bool) -> Option<Trial> {
        let before = migrates.then(|| Arc::clone(&self.core.state));
        let trial = match self.upgrade.trial.clone() {
            Some(Trial { deployment_id, state }) => Trial { deployment_id, state: state.or(before) },
            None => Trial { deployment_id: self.core.component.clone(), state: before },
        };
        (trial.deployment_id != *to).then_some(trial)
    }

    /// Takes into memory what [`Owner::add_upgrade`] has made true.
    pub(super) fn upgraded(&mut self, row: &Row) {
        if row.kind != RowKind::Upgrade {
            if self.ends_trial(row) {
                self.upgrade.trial = None;
            }
            return;
        }
        let Some(current) = self.upgrade.current.take() else { return };
        self.core.component = current.agent.deployment.deployment_id.clone();
        self.agent = Some(current.agent);
        self.upgrade.trial = current.trial;
    }

    /// True when a turn failed that was the first one of a version on trial.
    pub(super) fn fails_its_trial(&self, attempt: &Attempt, error: &WireError) -> bool {
        self.upgrade.trial.is_some() && attempt.row.kind != RowKind::Upgrade && is_the_codes_fault(error)
    }

    /// Puts the old code back, and the state from before a migration; the row runs again on it, as the next attempt.
    pub(super) async fn put_back(&mut self, attempt: Attempt, error: WireError) {
        attempt.turn.log_failure(&error);
        self.abandon(&attempt.turn, false);
        self.try_roll_back(Some(&attempt.turn)).await;
        let attempts = attempt.row.attempts.saturating_sub(1);
        self.write_attempts(attempt.row.seq, attempts).await;
        if let Some(row) = self.queue.front_mut() {
            *row = attempt.row;
            row.attempts = attempts;
        }
        if let Err(error) = self.cut_back(error).await {
            tracing::error!(instance = %self.id, %error, "the cut of a version that is put back cannot be made");
            self.park("its cut cannot be made").await;
        }
    }

    async fn cut_back(&mut self, error: WireError) -> Result<(), Error> {
        let Some(Trial { deployment_id, state }) = self.upgrade.trial.clone() else { return Ok(()) };
        tracing::info!(instance = %self.id, %deployment_id, code = %error.code, "a version failed on trial and is put back");
        let mut request = self.empty_cut(CutKind::Upgrade);
        if let Some(state) = state.filter(|state| **state != *self.core.state) {
            let patch = json!([{ "op": "replace", "path": "", "value": &*state }]);
            request.state_version += 1;
            request.state_after = state;
            let delta = StateDelta { version: request.state_version, patch: patch.clone() };
            request.updates.push(update(&UpdateBody::StateDelta(delta), request.at));
            request.patches = vec![patch];
        }
        request.component = Some(deployment_id.clone());
        request.trial = TrialNote::Clear;
        let changed = UpdateBody::DeploymentChanged(Box::new(DeploymentChanged {
            deployment_id: deployment_id.clone(),
            previous_deployment_id: self.core.component.clone(),
            reason: DeploymentReason::PutBack,
            error: Some(error),
        }));
        request.updates.push(update(&changed, request.at));
        self.commit(request, None).await?;
        self.core.component = deployment_id;
        self.agent = None;
        self.upgrade.trial = None;
        Ok(())
    }
}

fn to_json<T: Serialize>(value: &T) -> String {
    // Structs with string keys, which serde_json always writes.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "upgrade_tests.rs"]
mod tests;
