//! The beginning of a turn: which row, which attempt, and the guest that is borrowed for it.

use std::sync::Arc;

use podium_capabilities::journal::JournalStart;
use podium_capabilities::ports::Ports;
use podium_capabilities::turn::{Turn, TurnSpec};
use podium_runtime::{Call, stop_pair};
use podium_store::{Began, CutKind, OpenTurn, Outcome, RowKind, TurnStart};
use podium_wire::message::Message;
use podium_wire::rest::{Hook, InstanceStatus};
use podium_wire::updates::{StatusChange, StatusEvent, TurnKind, UpdateBody};
use podium_wire::{ErrorCode, WireError};
use serde_json::Value;

use super::config::{ConfigRow, changes};
use super::hooks::Reason;
use super::row::Row;
use super::steer::TurnSteers;
use super::{Attempt, Ended, Owner, Running};
use crate::agents::LoadedAgent;
use crate::error::Error;
use crate::ports::{HubSink, LogLines, StoreHistory, StoreJournal, TurnSnapshots, WaitFlag};

/// What is to be done with the first row.
enum Next {
    /// Nothing: no row, or something is in the way.
    Nothing,
    /// It has died too often.
    Park,
    /// It needs no guest.
    ConfigWithoutHook,
    /// Run it.
    Run,
}

/// What a row asks of the guest.
pub(super) struct Asked {
    kind: TurnKind,
    pub(super) call: Call,
    /// The configuration that becomes true with the cut.
    new_config: Option<serde_json::Map<String, Value>>,
}

/// Decides without doing: the rules of TURN.md §6 in one place.
fn next(owner: &Owner, agent: &LoadedAgent, row: &Row) -> Next {
    if row.parked {
        Next::Nothing
    } else if row.is_used_up(agent.attempts_max()) {
        Next::Park
    } else if row.kind == RowKind::ConfigChange && !agent.has(Hook::OnConfigChange) {
        Next::ConfigWithoutHook
    } else if owner.stopping {
        Next::Nothing
    } else {
        Next::Run
    }
}

impl Owner {
    /// Starts the first row's turn, if there is one and nothing runs.
    pub(super) async fn start_next(&mut self) {
        self.deadlines.start_tried();
        while self.running.is_none() {
            self.bring_forward();
            if !self.may_upgrade() && (self.core.stopped || self.is_parked()) {
                return;
            }
            let Some(row) = self.queue.front().cloned() else { return };
            if let Err(error) = self.close_mount().await {
                tracing::error!(instance = %self.id, code = %error.code(), %error, "a turn waits for a mount");
                return self.deadlines.start_failed(self.parts.clock.monotonic());
            }
            if row.kind == RowKind::Upgrade {
                // Needs the new code, and not the old one, which may be what does not load.
                if !self.may_upgrade() {
                    return;
                }
                if let Err(error) = self.start_upgrade(row).await {
                    tracing::error!(instance = %self.id, %error, "an upgrade cannot be started");
                    return self.deadlines.start_failed(self.parts.clock.monotonic());
                }
                continue;
            }
            let step = match self.load_agent().await {
                Ok(agent) => match next(self, &agent, &row) {
                    Next::Nothing => return,
                    Next::Park => {
                        self.park("its attempts died with the host too often").await;
                        continue;
                    }
                    Next::ConfigWithoutHook => self.set_config_without_hook(&row).await,
                    Next::Run => self.start_turn(&agent, row).await,
                },
                Err(error) => {
                    self.park(&error.to_string()).await;
                    continue;
                }
            };
            if let Err(error) = step {
                // The row stays first and unfinished, and is tried again.
                let (turn_id, attempt) = self.queue.front().map_or((None, None), Row::names);
                let code = error.code();
                tracing::error!(instance = %self.id, turn_id, attempt, %code, %error, "a turn cannot be started");
                return self.deadlines.start_failed(self.parts.clock.monotonic());
            }
        }
    }

    /// The code this instance runs, loaded.
    pub(super) async fn load_agent(&mut self) -> Result<Arc<LoadedAgent>, Error> {
        if let Some(agent) = &self.agent {
            return Ok(Arc::clone(agent));
        }
        let component = &self.core.component;
        let agent = self
            .parts
            .agents
            .load(component)
            .await
            .map_err(|error| Error::CodeUnavailable(component.clone(), Box::new(error)))?;
        self.agent = Some(Arc::clone(&agent));
        Ok(agent)
    }

    /// The first attempt at a new turn.
    pub(super) fn first_attempt(&self, kind: RowKind) -> TurnStart {
        let now = self.parts.clock.now_ms();
        TurnStart {
            turn: self.core.last_turn + 1,
            turn_id: self.parts.random.uuid_v7(now).to_string(),
            kind,
            attempt: 1,
            base_cut: self.core.cut,
            began: self.begins(kind),
            seed: self.parts.random.bytes32(),
            started: now,
        }
    }

    /// The next attempt at a row: at its old turn, or the first one.
    fn next_attempt(&self, row: &Row) -> TurnStart {
        match &row.turn {
            None => self.first_attempt(row.kind),
            Some(turn) => TurnStart {
                turn: turn.turn,
                turn_id: turn.turn_id.clone(),
                attempt: turn.attempt + 1,
                // What the dead attempt left in a warm guest is not known.
                began: Began::Fresh,
                ..self.first_attempt(row.kind)
            },
        }
    }

    pub(super) async fn start_turn(&mut self, agent: &Arc<LoadedAgent>, mut row: Row) -> Result<(), Error> {
        let (mut earlier, mut again) = (Vec::new(), None);
        let start = match row.take_begun() {
            Some(start) => start,
            None => {
                let mut start = self.next_attempt(&row);
                if start.attempt > 1 {
                    // Those that an earlier attempt was given died with it. Before the attempt counts: reading may fail.
                    earlier = self.store.steers(start.turn).await?;
                    again = self.journal_of(&row).await?;
                    if again.is_some() {
                        start = self.goes_on(&row, start);
                    }
                }
                row.attempts += 1;
                self.store.begin(row.seq, start.clone(), row.attempts, again.is_some()).await?;
                start
            }
        };
        let goes_on = again.is_some();
        let journal = match again {
            Some(again) => JournalStart::Again(again),
            None if Self::is_recorded(row.kind, start.began) && !row.is_hook() => JournalStart::New,
            None => JournalStart::Off,
        };
        row.turn = Some(OpenTurn {
            turn: start.turn,
            turn_id: start.turn_id.clone(),
            attempt: start.attempt,
            base_cut: start.base_cut,
            seed: start.seed,
            started: start.started,
        });
        self.core.last_turn = self.core.last_turn.max(start.turn);
        if !row.is_hook()
            && let Some(first) = self.queue.front_mut()
        {
            first.clone_from(&row);
        }

        let Asked { kind, call, new_config } = match self.call_of(&row) {
            Ok(asked) => asked,
            Err(error) => {
                self.park(&error.to_string()).await;
                return Ok(());
            }
        };
        let config =
            new_config.clone().map_or_else(|| Arc::clone(&self.core.config), |new| Arc::new(Value::Object(new)));
        let config_rev = self.core.config_rev + u64::from(new_config.is_some());
        let now = self.parts.clock.now_ms();
        self.workspace.set_limits(agent.limits.workspace());
        let message_id = (row.kind == RowKind::Message).then(|| row.id.clone());
        let spec = TurnSpec {
            instance: self.id,
            deployment: agent.deployment.deployment_id.clone(),
            turn: start.turn,
            turn_id: start.turn_id.clone(),
            attempt: start.attempt,
            message_id: message_id.clone(),
            kind,
            seed: start.seed,
            limits: super::hooks::limits(&row, &agent.limits),
            state: Arc::clone(&self.core.state),
            state_version: self.core.state_version,
            config,
            config_rev,
            workspace: self.workspace.clone(),
            // The guest's time begins where the turn does, whichever guest it is.
            now_ms: start.started,
            journal,
        };
        let steers = TurnSteers::begin(agent, row.kind, earlier);
        let span = crate::spans::turn(&row.trace, &spec);
        let wait = Arc::new(WaitFlag::new(Arc::clone(&self.wait_changed), span.parent()));
        let snapshots = Arc::new(TurnSnapshots::default());
        self.shown.hub.begin(&start.turn_id, start.attempt, message_id, Arc::clone(&snapshots) as _, goes_on, now);
        self.tell_status(InstanceStatus::Running, StatusEvent::TurnStarted);
        let turn = Turn::new(spec, self.turn_ports(&wait));
        snapshots.set(turn.clone());
        let (stop, signal) = stop_pair();
        let end = self.run_guest(agent, start.began, turn.clone(), call, signal, steers.guest());
        self.parts.metrics.turn_started();
        let began = self.parts.clock.monotonic();
        let end = Box::pin(async move { Ended::Guest(end.await) });
        let attempt = Attempt { row, number: start.turn, turn, steers, span, new_config, goes_on };
        self.running = Some(Running { attempt, stop, end, wait, began, forgiven: false, snapshots, wake: None });
        Ok(())
    }

    /// What a turn needs from here.
    pub(super) fn turn_ports(&self, wait: &Arc<WaitFlag>) -> Ports {
        let clock = self.parts.clock.clone();
        Ports {
            updates: Arc::new(HubSink { shown: Arc::clone(&self.shown), clock: clock.clone() }),
            logs: Arc::new(LogLines(Arc::clone(&self.shown))),
            history: Arc::new(StoreHistory(self.store.clone())),
            watch: Arc::clone(wait) as _,
            journal: Arc::new(StoreJournal { store: self.store.clone(), shown: Arc::clone(&self.shown) }),
            clock,
        }
    }

    /// What a row asks the guest to do.
    pub(super) fn call_of(&self, row: &Row) -> Result<Asked, serde_json::Error> {
        Ok(match row.kind {
            RowKind::Init => Asked { kind: TurnKind::Init, call: Call::Init, new_config: None },
            RowKind::Message => {
                let message = serde_json::from_str::<Message>(&row.body)?;
                Asked { kind: TurnKind::Message, call: Call::Message(message), new_config: None }
            }
            RowKind::ConfigChange => {
                let change: ConfigRow = serde_json::from_str(&row.body)?;
                let changes = changes(&self.core.config, &Value::Object(change.config.clone()));
                let call = Call::ConfigChange { changes, source: change.source };
                Asked { kind: TurnKind::ConfigChange, call, new_config: Some(change.config) }
            }
            RowKind::Upgrade => {
                Asked { kind: TurnKind::Upgrade, call: Call::Migrate(self.migrates_from()), new_config: None }
            }
            RowKind::Idle => Asked { kind: TurnKind::Idle, call: Call::Idle, new_config: None },
            RowKind::Shutdown => {
                let reason: Reason = serde_json::from_str(&row.body)?;
                Asked { kind: TurnKind::Shutdown, call: Call::Shutdown(reason.into()), new_config: None }
            }
        })
    }

    /// Stops running the first row until somebody retries or discards it.
    pub(super) async fn park(&mut self, why: &str) {
        let Some(row) = self.queue.front_mut() else { return };
        // In memory whatever the disk says, so that it can be run again or given up when there is room once more.
        row.parked = true;
        let (seq, (turn_id, attempt)) = (row.seq, row.names());
        tracing::warn!(instance = %self.id, turn_id, attempt, message_id = row.id, why, "a message is parked");
        self.tell_status(InstanceStatus::Parked, StatusEvent::Parked);
        self.answer_parked(why);
        if let Err(error) = self.store.park(seq).await {
            tracing::error!(instance = %self.id, inbox_seq = seq, %error, "a message cannot be parked");
        }
    }

    /// True while a row waits for a person, and nothing but upgrades is done.
    pub(super) fn is_parked(&self) -> bool {
        self.queue.iter().any(|row| row.parked)
    }

    /// Answers who waits for what is not done before somebody retries or discards what is parked: those requests have no bound
    /// of their own. A message's have, and an upgrade goes on.
    fn answer_parked(&mut self, why: &str) {
        let Some(error) = self.parked_error() else { return };
        let WireError { message, .. } = WireError::from(error);
        let error = WireError::new(ErrorCode::Parked, format!("{message}: {why}"));
        let stays = |row: &&Row| row.kind != RowKind::Message && (row.kind != RowKind::Upgrade || row.parked);
        let waiting: Vec<u64> = self.queue.iter().filter(stays).map(|row| row.seq).collect();
        for seq in waiting {
            self.resolve(seq, &Outcome { cut: self.core.cut, text: None, error: Some(error.clone()) });
        }
    }

    /// Why nothing behind a parked row is done, if one is.
    pub(super) fn parked_error(&self) -> Option<Error> {
        let row = self.queue.iter().find(|row| row.parked)?;
        Some(Error::coded(ErrorCode::Parked, format!("{} is parked, and nothing behind it runs", row.id)))
    }

    /// Tells clients the status.
    pub(super) fn tell_status(&self, status: InstanceStatus, event: StatusEvent) {
        self.shown.hub.control(&UpdateBody::InstanceStatus(StatusChange { status, event }), self.parts.clock.now_ms());
    }

    /// The turn's guest runs again after a wait that forgave its deaths.
    pub(super) async fn wait_ended(&mut self) {
        let Some(running) = &mut self.running else { return };
        running.forgiven = false;
        // From here on a death counts again: as the first, because reaching a wait forgave the others.
        running.attempt.row.attempts = 1;
        let seq = running.attempt.row.seq;
        self.write_attempts(seq, 1).await;
    }

    /// The turn has waited long enough for its deaths to be forgiven.
    pub(super) async fn wait_settled(&mut self) {
        let Some(running) = &mut self.running else { return };
        if running.wait.is_waiting() {
            running.forgiven = true;
            running.attempt.row.attempts = 0;
            let seq = running.attempt.row.seq;
            self.write_attempts(seq, 0).await;
        }
    }

    pub(super) async fn write_attempts(&mut self, seq: u64, attempts: u32) {
        if self.running.as_ref().is_some_and(|running| running.attempt.row.is_hook()) {
            return;
        }
        if let Err(error) = self.store.set_attempts(seq, attempts).await {
            let (turn_id, attempt) = self.queue.front().map_or((None, None), Row::names);
            // Counts one death too many at the worst; the turn itself goes on.
            tracing::warn!(instance = %self.id, turn_id, attempt, %error, "the count of attempts cannot be written");
        }
    }
}

impl Owner {
    /// A cut that no guest ran for.
    pub(super) async fn cut_without_turn(
        &mut self,
        kind: CutKind,
        row: Option<&Row>,
        error: Option<&podium_wire::WireError>,
    ) -> Result<u64, Error> {
        let mut request = self.empty_cut(kind);
        if let Some(row) = row {
            request.inbox_seq = Some(row.seq);
            request.turn = row.turn.as_ref().map(|turn| turn.turn);
            request.attempt = row.attempt();
            request.messages = super::turn_end::spoken(row, &[]);
        }
        if let Some(error) = error {
            if let Some(turn) = request.turn {
                request.updates = self.steers_given_up(turn, request.at).await?;
            }
            // The error last: to a client it is the end.
            request.updates.push(super::turn_end::error_update(error, request.at));
            request.error = Some(error.clone());
        }
        self.commit(request, row).await
    }
}
