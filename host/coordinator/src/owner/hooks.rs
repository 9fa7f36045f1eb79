//! Hooks that the host calls of its own accord: `on-idle` and `on-shutdown` (TURN.md §7).
//!
//! Each is a turn with a cut and without a row of the inbox: nobody asked for it, nobody waits for it, and after a crash
//! nothing runs it again. However it ends, what it goes before happens.

use std::time::Duration;

use podium_capabilities::Limits;
use podium_runtime::{ShutdownReason, StopReason, TurnEnd};
use podium_store::{Began, RowKind};
use podium_wire::rest::Hook;
use podium_wire::updates::StatusEvent;
use serde::{Deserialize, Serialize};

use super::row::Row;
use super::{Attempt, Ended, Owner};
use crate::error::Error;
use crate::metrics::TurnOutcome;

/// How long an agent has for such a hook: messages wait behind it, and at a deletion somebody does.
const HOOK_MAX: Duration = Duration::from_secs(5);

/// Why `on-shutdown` is called, as the row of its turn says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    IdleTimeout,
    Deleted,
    Pressure,
}

impl From<Reason> for ShutdownReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::IdleTimeout => Self::IdleTimeout,
            Reason::Deleted => Self::Deleted,
            Reason::Pressure => Self::Pressure,
        }
    }
}

/// The limits of a turn: a hook that nobody asked for has less time.
pub(super) fn limits(row: &Row, own: &Limits) -> Limits {
    let mut limits = own.clone();
    if row.is_hook() {
        for time in [&mut limits.wall, &mut limits.cpu, &mut limits.wait] {
            *time = (*time).min(HOOK_MAX);
        }
    }
    limits
}

impl Owner {
    /// The warm guest has rested for long: asks it to go, or lets it go when it has deferred too often.
    pub(super) async fn warm_idle(&mut self) {
        let asks = self.loaded().is_some_and(|agent| agent.has(Hook::OnIdle));
        if asks && self.warm.deferrals.may_ask(self.parts.clock.monotonic()) {
            self.call_warm_guest(RowKind::Idle, String::new()).await;
        } else {
            self.let_guest_go(Reason::IdleTimeout).await;
        }
    }

    /// Memory may be needed elsewhere.
    pub(super) async fn warm_pressed(&mut self) {
        // The guest may have run a turn since, and is needed again.
        if self.warm.is_asked_to_leave() {
            self.let_guest_go(Reason::Pressure).await;
        }
    }

    /// Drops the warm guest, after its last hook if it has one.
    async fn let_guest_go(&mut self, reason: Reason) {
        if self.loaded().is_some_and(|agent| agent.has(Hook::OnShutdown)) {
            self.call_warm_guest(RowKind::Shutdown, said(reason)).await;
        } else {
            self.warm.drop_guest();
        }
    }

    /// Begins a hook in the warm guest; without one there is nothing to call.
    async fn call_warm_guest(&mut self, kind: RowKind, body: String) {
        let may_run = !self.stopping && !self.core.stopped;
        let called =
            if may_run && self.begins(kind) == Began::Warm { self.begin_hook(kind, body).await } else { Ok(()) };
        if let Err(error) = called {
            tracing::warn!(instance = %self.id, ?kind, %error, "a hook cannot be called");
        }
        if self.running.is_none() {
            self.warm.drop_guest();
        }
    }

    async fn begin_hook(&mut self, kind: RowKind, body: String) -> Result<(), Error> {
        let agent = self.load_agent().await?;
        self.close_mount().await?;
        let start = self.first_attempt(kind);
        self.store.begin_hook(start.clone()).await?;
        self.start_turn(&agent, Row::hook(start, body)).await
    }

    /// The end of a hook: its cut, then what it went before. Failing stops nothing.
    pub(super) async fn end_hook(&mut self, mut attempt: Attempt, end: TurnEnd, began: Duration) {
        let stays = end == TurnEnd::Deferred;
        let result = match end {
            TurnEnd::Completed | TurnEnd::Deferred => self.complete_or_fail(&attempt).await,
            TurnEnd::Failed(error) => self.fail(&attempt, error).await,
            // A hook has no journal: it is neither dropped while it waits nor run again.
            TurnEnd::HostStopped | TurnEnd::NoRoom | TurnEnd::Suspended { .. } | TurnEnd::Diverged(_) => {
                self.count(TurnOutcome::SetAside, began);
                self.abandon(&attempt.turn, false);
                self.try_roll_back(Some(&attempt.turn)).await;
                if let Err(error) = self.store.close_hook(attempt.number).await {
                    tracing::warn!(instance = %self.id, %error, "a hook that was ended cannot be closed");
                }
                return self.warm.drop_guest();
            }
        };
        self.resolved_asks.keep(&attempt.turn);
        if let Ok(outcome) = &result {
            crate::spans::ended(&mut attempt.span, outcome);
        }
        let is_good = match result {
            Ok(outcome) if outcome.error.is_none() => {
                self.count(TurnOutcome::Completed, began);
                self.tell_status(self.status(), StatusEvent::TurnComplete);
                true
            }
            Ok(_) => {
                self.count(TurnOutcome::Failed, began);
                self.tell_status(self.status(), StatusEvent::TurnError);
                false
            }
            Err(error) => {
                self.count(TurnOutcome::NotCut, began);
                tracing::error!(instance = %self.id, %error, "the cut of a hook cannot be made");
                self.shown.hub.abandon();
                self.try_roll_back(Some(&attempt.turn)).await;
                false
            }
        };
        self.guest_rests(is_good && attempt.row.kind == RowKind::Idle);
        if stays && is_good {
            self.warm.deferrals.deferred(self.parts.clock.monotonic());
        } else if self.warm.is_kept() && self.queue.is_empty() {
            // It may go. Where a message has come meanwhile, it is needed again.
            self.let_guest_go(Reason::IdleTimeout).await;
        }
    }

    /// The last turn of an instance that is being deleted, in the warm guest or a fresh one.
    pub(super) async fn last_words(&mut self) {
        let agent = match self.load_agent().await {
            Ok(agent) if !self.stopping && !self.was_refused => agent,
            _ => return,
        };
        if !agent.has(Hook::OnShutdown) {
            return;
        }
        if let Err(error) = self.begin_hook(RowKind::Shutdown, said(Reason::Deleted)).await {
            tracing::warn!(instance = %self.id, %error, "an agent cannot be told that its instance is deleted");
        }
        let Some(running) = &mut self.running else { return };
        let end = match tokio::time::timeout(HOOK_MAX, running.end.as_mut()).await {
            Ok(end) => end,
            Err(_) => {
                running.stop.stop(StopReason::Interrupt);
                running.end.as_mut().await
            }
        };
        if let Ended::Guest(end) = end {
            self.end_turn(end).await;
        }
        self.flush_logs().await;
    }
}

/// A reason as the body of a row.
fn said(reason: Reason) -> String {
    // An enum without fields, which serde_json always writes.
    serde_json::to_string(&reason).unwrap_or_default()
}
