//! A turn that waits without a guest, and the way back to where it was (TURN.md §5).
//!
//! Its guest is dropped after a while; what it asked stays open. An answer, a steer or a timer brings another guest to where the
//! first one was, by the turn's journal, and the turn goes on there. Must never show an update twice, or let two guests of a turn live.

use std::sync::Arc;
use std::time::Duration;

use podium_capabilities::LimitReached;
use podium_capabilities::journal::{Again, JournalStart};
use podium_runtime::{StopReason, TurnEnd, stop_pair};
use podium_store::{Began, RowKind, TurnStart};
use podium_wire::{ErrorCode, WireError};
use tokio::sync::Notify;

use super::row::Row;
use super::steer::TurnSteers;
use super::{Attempt, Command, Ended, Owner, Running, STOP_GRACE_MS};
use crate::error::Error;
use crate::metrics::TurnOutcome;

/// Questions about what is asked, and answers to it, that wait until a turn is where it was: some milliseconds.
const DEFERRED_MAX: usize = 64;

/// How long a turn that was to be resumed and could not waits before it is tried again.
const RESUME_AGAIN: Duration = Duration::from_secs(1);

impl Owner {
    /// True for a turn whose guest is recorded: the host did not choose its moment, and its agent is the same when it is run again.
    pub(super) fn is_recorded(kind: RowKind, began: Began) -> bool {
        began == Began::Fresh && matches!(kind, RowKind::Message | RowKind::ConfigChange)
    }

    /// The journal of the turn that a row's next attempt may go on with: none when it begins at its cut, as does one whose
    /// instance was changed since.
    pub(super) async fn journal_of(&mut self, row: &Row) -> Result<Option<Again>, Error> {
        let Some(turn) = row.turn.as_ref().filter(|turn| turn.base_cut == self.core.cut) else { return Ok(None) };
        if !Self::is_recorded(row.kind, Began::Fresh) {
            return Ok(None);
        }
        let kept = self.store.journal(turn.turn).await?;
        Ok((!kept.rows.is_empty()).then_some(Again { rows: kept.rows, kept_n: kept.kept_n, tells: true }))
    }

    /// The guest of the running turn is gone, and the turn waits on.
    pub(super) fn suspend(&mut self, due_ns: Option<u64>) {
        let Some(running) = &mut self.running else { return };
        let turn = &running.attempt.turn;
        let (wake, (stop, signal)) = (Arc::new(Notify::new()), stop_pair());
        let began = Duration::from_millis(turn.spec().now_ms);
        let now = Duration::from_nanos(self.parts.clock.now_ns());
        let limit = turn.limits().wait;
        let ends_in = (began + limit).saturating_sub(now);
        let fires_in = due_ns.map(|due_ns| Duration::from_nanos(due_ns).saturating_sub(now));
        tracing::debug!(instance = %self.id, turn_id = turn.spec().turn_id, "a turn waits without a guest");
        running.stop = stop;
        running.wake = Some(Arc::clone(&wake));
        running.end = Box::pin(async move {
            let fires = async {
                match fires_in {
                    Some(fires_in) => tokio::time::sleep(fires_in).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Who ends the turn is not forgotten because something else came at the same time.
                biased;
                reason = signal.stopped() => Ended::Guest(match reason {
                    StopReason::Interrupt => TurnEnd::Failed(WireError::new(ErrorCode::Interrupted, reason.to_string())),
                    StopReason::HostStop => TurnEnd::HostStopped,
                }),
                () = wake.notified() => Ended::Woken,
                () = fires => Ended::Woken,
                () = tokio::time::sleep(ends_in) => Ended::Guest(TurnEnd::Failed(LimitReached::Wait(limit).into())),
            }
        });
        if self.stopping {
            running.stop.stop(StopReason::HostStop);
        }
    }

    /// Something has come for a turn that waits without a guest.
    pub(super) async fn resume(&mut self) {
        let Some(running) = self.running.take() else { return };
        if let Err((running, error)) = self.try_resume(running).await {
            let (turn_id, attempt) = running.attempt.row.names();
            tracing::error!(instance = %self.id, turn_id, attempt, code = %error.code(), %error, "a turn cannot be resumed");
            self.running = Some(*running);
            self.suspend(Some(self.parts.clock.now_ns().saturating_add(nanos(RESUME_AGAIN))));
        }
    }

    async fn try_resume(&mut self, running: Running) -> Result<(), (Box<Running>, Error)> {
        let row = running.attempt.row.clone();
        let Some(turn) = row.turn.clone() else { return Ok(()) };
        let prepared = async {
            let agent = self.load_agent().await?;
            // The files as the turn found them: what its guest wrote is written again.
            self.roll_back(None).await?;
            let kept = self.store.journal(turn.turn).await?;
            let earlier = self.store.steers(turn.turn).await?;
            Ok((agent, kept, earlier))
        };
        let (agent, kept, earlier) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return Err((Box::new(running), error)),
        };
        let Running { attempt, wait, began, forgiven, snapshots, .. } = running;
        // Everything that was shown was shown to whoever is there.
        let kept_n = attempt.turn.snapshot().n;
        let mut spec = attempt.turn.spec().clone();
        spec.journal = JournalStart::Again(Again { rows: kept.rows, kept_n, tells: false });
        let Attempt { row, number, span, new_config, .. } = attempt;
        let call = match self.call_of(&row) {
            Ok(asked) => asked.call,
            Err(error) => {
                self.park(&error.to_string()).await;
                return Ok(());
            }
        };
        let steers = TurnSteers::begin(&agent, row.kind, earlier);
        let turn = podium_capabilities::Turn::new(spec, self.turn_ports(&wait));
        let (stop, signal) = stop_pair();
        let end = self.run_guest(&agent, Began::Fresh, turn.clone(), call, signal, steers.guest());
        let end = Box::pin(async move { Ended::Guest(end.await) });
        let attempt = Attempt { row, number, turn, steers, span, new_config, goes_on: true };
        self.running = Some(Running { attempt, stop, end, wait, began, forgiven, snapshots, wake: None });
        Ok(())
    }

    /// The start of an attempt that goes on where its journal ends.
    pub(super) fn goes_on(&self, row: &Row, start: TurnStart) -> TurnStart {
        match &row.turn {
            Some(turn) => TurnStart { base_cut: turn.base_cut, seed: turn.seed, started: turn.started, ..start },
            None => start,
        }
    }

    /// True while a guest is brought to where an earlier one was: what is asked there is not known yet.
    pub(super) fn is_coming_back(&self) -> bool {
        self.running.as_ref().is_some_and(Running::is_coming_back)
    }

    /// Keeps a command until that is over.
    pub(super) fn defer(&mut self, command: Command) {
        if self.deferred.len() < DEFERRED_MAX {
            self.deferred.push(command);
        } else {
            command.refuse(Error::coded(ErrorCode::Busy, "the turn is being brought back; try again in a moment"));
        }
    }

    /// Does what was kept.
    pub(super) async fn do_deferred(&mut self) {
        if self.is_coming_back() {
            return;
        }
        if let Some(running) = self.running.as_ref().filter(|running| running.attempt.goes_on && running.wake.is_none())
        {
            running.snapshots.set(running.attempt.turn.clone());
        }
        for command in std::mem::take(&mut self.deferred) {
            // None of them ends the owner.
            drop(Box::pin(self.handle(command)).await);
        }
    }

    /// How long the running turn may go on when the host stops: not at all when it waits and its journal brings it back.
    pub(super) fn stop_grace(&self) -> Duration {
        let waits = |running: &Running| running.is_waiting() && running.attempt.turn.journal().is_kept();
        if self.running.as_ref().is_some_and(waits) { Duration::ZERO } else { Duration::from_millis(STOP_GRACE_MS) }
    }

    /// A turn that was run again went another way than before: nothing of it becomes true, and a person decides.
    pub(super) async fn park_diverged(&mut self, attempt: Attempt, error: WireError, began: Duration) {
        self.count(TurnOutcome::NotCut, began);
        attempt.turn.log_failure(&error);
        self.abandon(&attempt.turn, false);
        self.warm.drop_guest();
        self.try_roll_back(Some(&attempt.turn)).await;
        if let Err(error) = self.store.set_diverged(attempt.number).await {
            tracing::error!(instance = %self.id, %error, "that a turn went another way cannot be written");
        }
        if let Some(row) = self.queue.front_mut() {
            row.attempts = attempt.row.attempts;
        }
        self.park(&format!("{}: {}", error.code, error.message)).await;
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
