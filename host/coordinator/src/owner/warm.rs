//! The guest that is kept between an instance's turns, where its agent asks for it (`keep_warm`).
//!
//! Owns one rule: a kept guest stands for the cut that it made itself. Any other cut, any failure and anything that the
//! instance is told to do drops it, so that its memory never knows more, or less, than what is committed. It is a cache: losing it
//! at any moment changes no answer.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use podium_capabilities::turn::Turn;
use podium_runtime::{Call, Seat, Steers, StopSignal, TurnEnd};
use podium_store::{Began, RowKind};
use podium_wire::{ErrorCode, WireError};

use super::Owner;
use crate::agents::LoadedAgent;

/// How often `on-idle` may defer in a row.
const DEFERRALS_MAX: u32 = 10;
/// For how long it may.
const DEFERRED_MAX: Duration = Duration::from_secs(60 * 60);

/// How often, and since when, an agent has asked to stay.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Deferrals {
    count: u32,
    since: Option<Duration>,
}

impl Deferrals {
    /// True while it may be asked; afterwards it goes unasked. Times are monotonic.
    pub(super) fn may_ask(&self, now: Duration) -> bool {
        let waited = self.since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        self.count < DEFERRALS_MAX && waited < DEFERRED_MAX
    }

    /// It has asked to stay.
    pub(super) fn deferred(&mut self, now: Duration) {
        self.count = self.count.saturating_add(1);
        self.since.get_or_insert(now);
    }
}

/// An instance's warm guest, or the place for one.
#[derive(Debug, Default)]
pub(super) struct Warm {
    /// None until the first turn of an agent that wants to be kept.
    seat: Option<Seat>,
    /// The cut that the guest stands for.
    cut: u64,
    /// True while a turn runs in it.
    is_running: bool,
    /// When it has rested long enough, by the monotonic clock.
    idle_at: Option<Duration>,
    pub(super) deferrals: Deferrals,
}

impl Warm {
    /// True while a guest rests here.
    pub(super) fn is_kept(&self) -> bool {
        self.seat.as_ref().is_some_and(Seat::is_kept)
    }

    /// True when it is to make room.
    pub(super) fn is_asked_to_leave(&self) -> bool {
        self.seat.as_ref().is_some_and(Seat::is_asked_to_leave)
    }

    /// Drops it.
    pub(super) fn drop_guest(&mut self) {
        self.idle_at = None;
        self.is_running = false;
        if let Some(seat) = &self.seat {
            seat.clear();
        }
    }

    /// Resolves when the guest has rested long enough.
    pub(super) async fn idle(&self, now: Duration) {
        match self.idle_at {
            Some(at) => tokio::time::sleep(at.saturating_sub(now)).await,
            None => std::future::pending().await,
        }
    }

    /// Resolves when it may have been asked to leave.
    pub(super) async fn asked_to_leave(&self) {
        match &self.seat {
            Some(seat) => seat.asked_to_leave().await,
            None => std::future::pending().await,
        }
    }

    /// True when a turn in a warm guest ended by a limit that also counts what earlier turns left behind: its message may
    /// be innocent, and gets a fresh guest.
    pub(super) fn is_worn_out(&self, error: &WireError) -> bool {
        use ErrorCode::{HandleLimit, MemoryLimit, TableLimit};
        self.is_running && matches!(error.known_code(), Some(MemoryLimit | HandleLimit | TableLimit))
    }
}

impl Owner {
    /// In what guest the next turn begins; a warm one is taken for it. `on-init` has none before it, and `migrate` runs
    /// other code.
    pub(super) fn begins(&self, kind: RowKind) -> Began {
        if matches!(kind, RowKind::Init | RowKind::Upgrade) {
            return Began::Fresh;
        }
        let (Some(agent), Some(seat)) = (&self.agent, &self.warm.seat) else { return Began::Fresh };
        let is_true = self.warm.cut == self.core.cut;
        if is_true && seat.claim(&agent.code) { Began::Warm } else { Began::Fresh }
    }

    /// Runs a turn in the guest that it begins in.
    pub(super) fn run_guest(
        &mut self,
        agent: &LoadedAgent,
        began: Began,
        turn: Turn,
        call: Call,
        stop: StopSignal,
        steers: Option<Steers>,
    ) -> BoxFuture<'static, TurnEnd> {
        let runtime = &self.parts.runtime;
        let claims = |seat: &Seat| seat.claim(&agent.code);
        let is_warm = began == Began::Warm && self.warm.seat.as_ref().is_some_and(claims);
        self.warm.idle_at = None;
        self.warm.is_running = is_warm;
        if is_warm {
            self.parts.metrics.warm_turn();
        } else if let Some(seat) = &self.warm.seat {
            seat.clear();
        }
        if agent.deployment.manifest.keep_warm {
            let seat = self.warm.seat.get_or_insert_with(|| runtime.seat());
            runtime.run_in(seat, &agent.code, turn, call, stop, steers)
        } else {
            runtime.run_steered(&agent.code, turn, call, stop, steers)
        }
    }

    /// After a turn: its guest stays if its cut became true, and goes otherwise.
    pub(super) fn guest_rests(&mut self, is_true: bool) {
        if is_true && self.warm.is_kept() {
            self.warm.is_running = false;
            self.warm.cut = self.core.cut;
            self.warm.idle_at = Some(self.parts.clock.monotonic() + self.parts.options.warm_idle);
        } else {
            self.warm.drop_guest();
        }
    }

    /// Between turns: drops a guest that stands for an old cut, or that nobody will ask soon.
    pub(super) fn drop_stale_guest(&mut self) {
        let Some(seat) = self.warm.seat.as_ref().filter(|_| self.running.is_none()) else { return };
        let is_true = self.warm.cut == self.core.cut;
        if !is_true || self.stopping || self.core.stopped || self.is_parked() {
            self.warm.drop_guest();
        } else {
            // A message that was refused, or was known already, had claimed it.
            seat.release();
        }
    }

    /// The loaded agent, if any: where a guest rests there is one.
    pub(super) fn loaded(&self) -> Option<Arc<LoadedAgent>> {
        self.agent.clone()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However often it defers, and at whatever times it is asked: at most ten times, and never after an hour.
        #[test]
        fn deferring_ends(pauses in prop::collection::vec(0..1_200_u64, 0..40)) {
            let mut deferrals = Deferrals::default();
            let (mut now, mut first, mut count) = (Duration::from_secs(7), None, 0);
            for pause in pauses {
                now += Duration::from_secs(pause);
                if !deferrals.may_ask(now) {
                    prop_assert!(count == DEFERRALS_MAX || now - first.expect("was asked") >= DEFERRED_MAX);
                    continue;
                }
                deferrals.deferred(now);
                count += 1;
                prop_assert!(count <= DEFERRALS_MAX);
                prop_assert!(now - *first.get_or_insert(now) < DEFERRED_MAX);
            }
        }
    }
}
