//! The one door of every outward effect.
//!
//! Counts and numbers what is in flight. It is where an effect's intent and answer will be journalled, so
//! nothing that leaves the host may go around it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use podium_wire::{ErrorCode, WireError};
use serde::Serialize;

use crate::limits::CALLS_IN_FLIGHT_MAX;
use crate::turn::Turn;

/// Counts one call in flight for as long as it lives.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn enter(count: &Arc<AtomicUsize>) -> Option<Self> {
        let enter = |now| (now < CALLS_IN_FLIGHT_MAX).then_some(now + 1);
        count.fetch_update(Ordering::AcqRel, Ordering::Acquire, enter).ok()?;
        Some(Self(Arc::clone(count)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Turn {
    /// Wraps an outward effect. The effect begins when the returned future is first polled and is cancelled
    /// when it is dropped; until then it counts as in flight.
    ///
    /// # Errors
    /// `POD-4019` when [`CALLS_IN_FLIGHT_MAX`] calls of this turn wait already.
    pub fn effect<F, R>(
        &self,
        kind: &'static str,
        request: &R,
        future: F,
    ) -> Result<impl Future<Output = F::Output> + Send + use<F, R>, WireError>
    where
        F: Future + Send + 'static,
        R: Serialize,
    {
        let counters = self.effects();
        let Some(in_flight) = InFlight::enter(&counters.in_flight) else {
            let message = format!("more than {CALLS_IN_FLIGHT_MAX} calls of this turn wait already");
            return Err(WireError::new(ErrorCode::TooManyCalls, message));
        };
        let n = counters.issued.fetch_add(1, Ordering::AcqRel) + 1;
        if tracing::enabled!(tracing::Level::TRACE) {
            let request = serde_json::to_string(request).unwrap_or_default();
            tracing::trace!(turn_id = self.spec().turn_id, n, kind, request, "effect");
        }
        let span = self.ports().watch.effect(kind, n);
        Ok(async move {
            let answer = future.await;
            drop((span, in_flight));
            answer
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestTurn;

    #[test]
    fn one_more_than_the_most_is_refused_until_one_is_dropped() {
        let turn = TestTurn::new();
        let issue = || turn.turn.effect("test", &(), std::future::pending::<()>());
        let mut calls: Vec<_> = (0..CALLS_IN_FLIGHT_MAX).map(|_| issue().expect("has room")).collect();
        let refused = issue().err().expect("is full");
        assert_eq!(refused.known_code(), Some(ErrorCode::TooManyCalls));
        calls.pop();
        assert!(issue().is_ok());
    }
}
