//! The end of a turn: the one cut (TURN.md §3), then everybody is told.
//!
//! Nothing of a turn is true before `InstanceStore::cut` has answered; nothing is told as durable before.

use podium_capabilities::steer::Heard;
use podium_capabilities::turn::{DurableUpdate, TurnOutput};
use podium_chronicle::VersionKind;
use podium_runtime::TurnEnd;
use podium_store::{CutKind, CutRequest, NewUpdate, Outcome, RowKind, TrialNote};
use podium_wire::message::{Message, Role};
use podium_wire::rest::LogLevel;
use podium_wire::updates::{CutMade, StatusEvent, Update, UpdateBody};
use podium_wire::{ErrorCode, WireError};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

use super::row::Row;
use super::warm::Deferrals;
use super::{Attempt, Owner, Running};
use crate::error::Error;
use crate::metrics::{Commit, TurnOutcome};

impl Owner {
    /// The guest is gone; what it did becomes true, or not at all.
    pub(super) async fn end_turn(&mut self, end: TurnEnd) {
        let Some(Running { mut attempt, began, .. }) = self.running.take() else { return };
        if attempt.row.is_hook() {
            return self.end_hook(attempt, end, began).await;
        }
        let result = match end {
            // At the host's end it runs again at the next start, else at once.
            TurnEnd::HostStopped | TurnEnd::NoRoom | TurnEnd::Suspended { .. } => {
                self.count(TurnOutcome::SetAside, began);
                self.warm.drop_guest();
                self.set_aside(attempt).await;
                return;
            }
            TurnEnd::Diverged(error) => return self.park_diverged(attempt, error, began).await,
            TurnEnd::Failed(error) if self.warm.is_worn_out(&error) => {
                // The next attempt begins in a fresh guest, and its end is the message's.
                self.count(TurnOutcome::SetAside, began);
                self.warm.drop_guest();
                self.set_aside(attempt).await;
                return;
            }
            TurnEnd::Failed(error) if self.fails_its_trial(&attempt, &error) => {
                self.count(TurnOutcome::SetAside, began);
                self.put_back(attempt, error).await;
                return;
            }
            TurnEnd::Completed | TurnEnd::Deferred => self.complete_or_fail(&attempt).await,
            TurnEnd::Failed(error) => self.fail(&attempt, error).await,
        };
        self.guest_rests(matches!(&result, Ok(outcome) if outcome.error.is_none()));
        self.warm.deferrals = Deferrals::default();
        self.resolved_asks.keep(&attempt.turn);
        match result {
            Ok(outcome) => {
                self.was_refused = attempt.row.kind == RowKind::Init && outcome.error.is_some();
                crate::spans::ended(&mut attempt.span, &outcome);
                if let Some(error) = &outcome.error {
                    // The agent's own log has the sentence; here it would let an agent flood the host's.
                    let (turn_id, attempt) = attempt.row.names();
                    tracing::debug!(instance = %self.id, turn_id, attempt, code = error.code, "a turn failed");
                }
                self.count(if outcome.error.is_none() { TurnOutcome::Completed } else { TurnOutcome::Failed }, began);
                self.queue.pop_front();
                if self.queue.is_empty() {
                    // Who is told that the turn is over may write at once.
                    self.reopen_mount().await;
                }
                let event = if outcome.error.is_none() { StatusEvent::TurnComplete } else { StatusEvent::TurnError };
                self.resolve(attempt.row.seq, &outcome);
                self.tell_status(self.status(), event);
            }
            Err(error) => {
                // The cut did not become true: the row is still first and will be run again as the next attempt.
                self.count(TurnOutcome::NotCut, began);
                let code = error.code();
                attempt.span.fail(&code.to_string());
                let (turn_id, attempt_n) = attempt.row.names();
                tracing::error!(instance = %self.id, turn_id, attempt = attempt_n, %code, %error, "a cut cannot be made");
                self.shown.hub.abandon();
                self.try_roll_back(Some(&attempt.turn)).await;
                if let Some(row) = self.queue.front_mut() {
                    row.attempts = attempt.row.attempts;
                }
                self.park("its cut cannot be made").await;
            }
        }
    }

    /// Counts a turn that ended.
    pub(super) fn count(&self, outcome: TurnOutcome, began: Duration) {
        self.parts.metrics.turn_ended(outcome, self.parts.clock.monotonic().saturating_sub(began));
    }

    /// The host stops, or the instance was stopped: the row runs again later, and this attempt does not count.
    async fn set_aside(&mut self, attempt: Attempt) {
        // What goes before it at once makes another cut, at which the turn begins anew.
        let comes_back = !self.queue.iter().any(|row| row.hurries);
        if comes_back && let Err(error) = attempt.turn.write_journal().await {
            tracing::warn!(instance = %self.id, %error, "a turn that is set aside goes on from an earlier place");
        }
        self.abandon(&attempt.turn, comes_back);
        self.try_roll_back(Some(&attempt.turn)).await;
        let attempts = attempt.row.attempts.saturating_sub(1);
        self.write_attempts(attempt.row.seq, attempts).await;
        if let Some(row) = self.queue.front_mut() {
            *row = attempt.row;
            row.attempts = attempts;
        }
    }

    /// Completes a turn, or fails it where it wrote more than a workspace may hold.
    pub(super) async fn complete_or_fail(&mut self, attempt: &Attempt) -> Result<Outcome, Error> {
        match self.complete(attempt).await {
            Err(error) if error.code() == ErrorCode::WorkspaceLimit => self.fail(attempt, error.into()).await,
            ended => ended,
        }
    }

    async fn complete(&mut self, attempt: &Attempt) -> Result<Outcome, Error> {
        // While it can still fail: a turn is closed once.
        let workspace = self.snapshot(VersionKind::Turn, Some(attempt.number)).await?;
        let told = self.workspace.take_told();
        told.left_out.iter().for_each(|line| attempt.turn.host_log(LogLevel::Warn, line));
        let TurnOutput { updates, patches, state, state_version, texts, text, heard, last_n } = attempt.turn.complete();
        let mut request = self.empty_cut(kind_of(attempt.row.kind));
        request.turn = Some(attempt.number);
        request.attempt = attempt.row.attempt();
        request.inbox_seq = attempt.row.inbox_seq();
        request.workspace = workspace;
        request.patches = patches;
        request.state_after = Arc::clone(&state);
        request.state_version = state_version;
        request.messages = spoken_and_heard(&attempt.row, &texts, heard);
        request.updates = rows(updates, request.at);
        let mut unseen = attempt.steers.undelivered(request.at);
        request.updates.extend(unseen.clone());
        if let Some(config) = &attempt.new_config {
            let revision = self.core.config_rev + 1;
            request.config = Some((revision, Value::Object(config.clone()).to_string()));
            let changed = super::config::changed(revision, request.at);
            unseen.push(changed.clone());
            request.updates.push(changed);
        }
        self.add_upgrade(&attempt.row, &mut request, &mut unseen);
        let changes = super::workspace::file_changes(told.changes, request.at);
        request.updates.extend(changes.clone());
        unseen.extend(changes);
        let cut = self.cut_turn(attempt, request, unseen, last_n).await?;
        self.upgraded(&attempt.row);
        if let Some(config) = &attempt.new_config {
            self.core.config = Arc::new(Value::Object(config.clone()));
            self.core.config_rev += 1;
        }
        Ok(Outcome { cut, text: Some(text), error: None })
    }

    pub(super) async fn fail(&mut self, attempt: &Attempt, error: WireError) -> Result<Outcome, Error> {
        let error = if attempt.row.kind == RowKind::ConfigChange && error.known_code() == Some(ErrorCode::GuestError) {
            WireError::new(ErrorCode::ConfigRefused, error.message)
        } else if attempt.row.kind == RowKind::Upgrade {
            super::upgrade::migration_failed(&error)
        } else {
            error
        };
        attempt.turn.log_failure(&error);
        self.roll_back(Some(&attempt.turn)).await?;
        let output = attempt.turn.fail(&error);
        let mut request = self.empty_cut(CutKind::Error);
        request.turn = Some(attempt.number);
        request.attempt = attempt.row.attempt();
        request.inbox_seq = attempt.row.inbox_seq();
        request.messages = spoken_and_heard(&attempt.row, &[], output.heard);
        // The error last: to a client it is the end.
        request.updates = attempt.steers.undelivered(request.at);
        request.updates.extend(rows(output.updates, request.at));
        request.error = Some(error.clone());
        let unseen = request.updates.clone();
        let cut = self.cut_turn(attempt, request, unseen, output.last_n).await?;
        Ok(Outcome { cut, text: None, error: Some(error) })
    }

    /// Makes a turn's cut.
    async fn cut_turn(
        &mut self,
        attempt: &Attempt,
        request: CutRequest,
        unseen: Vec<NewUpdate>,
        through_n: u64,
    ) -> Result<u64, Error> {
        let mut span = attempt.span.child("cut");
        let made = self.commit_through(request, Some(&attempt.row), unseen, through_n).await;
        match &made {
            Ok(cut) => crate::spans::cut(&mut span, *cut),
            Err(error) => span.fail(&error.code().to_string()),
        }
        made
    }

    /// A cut that changes nothing yet.
    pub(super) fn empty_cut(&self, kind: CutKind) -> CutRequest {
        CutRequest {
            kind,
            parent: self.core.cut,
            turn: None,
            attempt: 0,
            inbox_seq: None,
            patches: Vec::new(),
            state_after: Arc::clone(&self.core.state),
            state_version: self.core.state_version,
            messages: Vec::new(),
            updates: Vec::new(),
            config: None,
            component: None,
            trial: TrialNote::Keep,
            workspace: None,
            error: None,
            stopped: None,
            at: self.parts.clock.now_ms(),
        }
    }

    /// Makes a cut outside a turn and tells everybody.
    pub(super) async fn commit(&mut self, request: CutRequest, row: Option<&Row>) -> Result<u64, Error> {
        let unseen = request.updates.clone();
        let through_n = unseen.last().and_then(|update| update.n).unwrap_or(0);
        self.commit_through(request, row, unseen, through_n).await
    }

    /// Makes a cut: the databases first, then the values in memory, then the clients. `unseen` are those of its updates
    /// that clients have not seen live.
    async fn commit_through(
        &mut self,
        request: CutRequest,
        row: Option<&Row>,
        unseen: Vec<NewUpdate>,
        through_n: u64,
    ) -> Result<u64, Error> {
        let (state, state_version, at) = (Arc::clone(&request.state_after), request.state_version, request.at);
        let count = request.updates.len();
        let version = request.workspace.as_ref().map(|workspace| workspace.version);
        let began = self.parts.clock.monotonic();
        let made = self.store.cut(request).await?;
        self.parts.metrics.committed(Commit::Cut, self.parts.clock.monotonic().saturating_sub(began));
        self.core.cut = made.cut;
        self.core.state = state;
        self.core.state_version = state_version;
        if let Some(last) = made.last_seq {
            self.core.last_seq = last;
        }
        let turn = row.and_then(|row| row.turn.as_ref());
        let message_id = row.filter(|row| row.kind == RowKind::Message).map(|row| row.id.clone());
        // Unseen updates are the last ones of the cut.
        let first_unseen = made.last_seq.map_or(0, |last| last + 1 - unseen.len() as u64);
        debug_assert!(unseen.len() <= count);
        let with_seq = unseen
            .into_iter()
            .zip(first_unseen..)
            .map(|(update, seq)| Update {
                event_type: update.event_type,
                seq: Some(seq),
                turn_id: turn.map(|turn| turn.turn_id.clone()),
                attempt: turn.map(|turn| turn.attempt),
                n: update.n,
                message_id: message_id.clone(),
                ts: update.at,
                content: update.content,
            })
            .collect();
        let told = CutMade {
            cut: made.cut,
            turn_id: turn.map(|turn| turn.turn_id.clone()),
            attempt: turn.map(|turn| turn.attempt),
            through_n,
            first_seq: made.first_seq,
            last_seq: made.last_seq,
        };
        self.shown.hub.cut(&told, with_seq, self.position(), at);
        if let Some(version) = version {
            self.workspace_is_true(made.cut, version).await;
        }
        Ok(made.cut)
    }
}

/// The kind of cut that a row's turn makes when it ends well.
fn kind_of(kind: RowKind) -> CutKind {
    match kind {
        RowKind::Init => CutKind::Init,
        RowKind::Message | RowKind::Idle | RowKind::Shutdown => CutKind::Turn,
        RowKind::ConfigChange => CutKind::Config,
        RowKind::Upgrade => CutKind::Upgrade,
    }
}

/// What was said in a turn, in order: the message that came in, then the agent's texts.
pub(super) fn spoken(row: &Row, texts: &[String]) -> Vec<(Role, String)> {
    let heard = match row.kind {
        RowKind::Message => serde_json::from_str::<Message>(&row.body).ok(),
        RowKind::Init | RowKind::ConfigChange | RowKind::Upgrade | RowKind::Idle | RowKind::Shutdown => None,
    };
    let heard = heard.map(|message| (message.role, message.text));
    heard.into_iter().chain(texts.iter().map(|text| (Role::Assistant, text.clone()))).collect()
}

/// The same, with the steers that the agent was given.
fn spoken_and_heard(row: &Row, texts: &[String], heard: Vec<Heard>) -> Vec<(Role, String)> {
    let said = spoken(row, texts);
    let opening = said.len() - texts.len();
    super::steer::converse(said, opening, heard)
}

/// The one durable update of a cut that failed outside a guest.
pub(super) fn error_update(error: &WireError, at: u64) -> NewUpdate {
    let (event_type, content) = UpdateBody::Error(error.clone()).encode();
    NewUpdate { n: None, event_type, content, at }
}

/// A turn's durable updates as rows.
fn rows(updates: Vec<DurableUpdate>, at: u64) -> Vec<NewUpdate> {
    let row = |DurableUpdate { n, event_type, content }| NewUpdate { n: Some(n), event_type, content, at };
    updates.into_iter().map(row).collect()
}
