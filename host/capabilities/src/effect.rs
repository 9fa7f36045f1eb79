//! The one door of every outward effect.
//!
//! Counts and numbers what is in flight, and what has come back and lies in the host until the guest reads it. It is where an
//! effect's intent and answer will be journalled, so nothing that leaves the host may go around it.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use podium_wire::{ErrorCode, WireError};
use serde::Serialize;

use crate::limits::{CALLS_IN_FLIGHT_MAX, UNREAD_BYTES_MAX};
use crate::turn::Turn;

/// Counts one call in flight for as long as it lives.
#[derive(Debug)]
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

/// Counts bytes of an answer for as long as they lie in the host.
#[derive(Debug)]
pub(crate) struct UnreadBytes {
    held: Arc<AtomicUsize>,
    bytes: usize,
}

impl UnreadBytes {
    /// Counts them, unless that is more than a turn may have. An answer that is larger comes alone.
    pub(crate) fn hold(held: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        let more = |now: usize| (now == 0 || now.saturating_add(bytes) <= UNREAD_BYTES_MAX).then_some(now + bytes);
        held.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Self { held: Arc::clone(held), bytes })
    }

    /// Counts them in any case: of what cannot be refused any more, and is small.
    pub(crate) fn add(held: &Arc<AtomicUsize>, bytes: usize) -> Self {
        held.fetch_add(bytes, Ordering::AcqRel);
        Self { held: Arc::clone(held), bytes }
    }
}

impl Drop for UnreadBytes {
    fn drop(&mut self) {
        self.held.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What an effect has brought, until its guest reads it. So long the host holds it, so it counts as in flight.
#[derive(Debug)]
pub struct Unread<T> {
    answer: T,
    in_flight: Option<InFlight>,
    bytes: Option<UnreadBytes>,
}

impl<T> Unread<T> {
    /// The answer to a call that never left.
    pub(crate) fn refused(answer: T) -> Self {
        Self { answer, in_flight: None, bytes: None }
    }

    /// The same with another answer, and its bytes where they count.
    pub(crate) fn map<R>(self, change: impl FnOnce(T) -> (R, Option<UnreadBytes>)) -> Unread<R> {
        let (answer, bytes) = change(self.answer);
        Unread { answer, in_flight: self.in_flight, bytes: bytes.or(self.bytes) }
    }

    /// The guest reads it, or nobody ever will: it counts no more.
    pub fn read(self) -> T {
        self.answer
    }
}

impl Turn {
    /// True while the guest holds an answer with bytes that it has not read.
    pub fn holds_unread(&self) -> bool {
        self.effects().unread_bytes.load(Ordering::Acquire) > 0
    }

    /// Wraps an outward effect. The effect begins when the returned future is first polled and is cancelled
    /// when it is dropped; until then it counts as in flight, and what it brings until that is read or dropped.
    ///
    /// # Errors
    /// `POD-4019` when [`CALLS_IN_FLIGHT_MAX`] calls of this turn wait already.
    pub fn effect<F, R>(
        &self,
        kind: &'static str,
        request: &R,
        future: F,
    ) -> Result<impl Future<Output = Unread<F::Output>> + Send + use<F, R>, WireError>
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
            // Never the request itself: it holds what agents say.
            let bytes = serde_json::to_vec(request).unwrap_or_default().len();
            tracing::trace!(turn_id = self.spec().turn_id, n, kind, bytes, "effect");
        }
        let span = self.ports().watch.effect(kind, n);
        Ok(async move {
            let answer = future.await;
            drop(span);
            Unread { answer, in_flight: Some(in_flight), bytes: None }
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

    #[test]
    fn what_came_back_counts_until_it_is_read_or_dropped() {
        let turn = TestTurn::new();
        let answered = || {
            let effect = turn.turn.effect("test", &(), std::future::ready(7));
            effect.map(|effect| futures_util::FutureExt::now_or_never(effect).expect("is ready"))
        };
        let mut unread: Vec<_> = (0..CALLS_IN_FLIGHT_MAX).map(|_| answered().expect("has room")).collect();
        assert!(answered().is_err());
        assert_eq!(unread.pop().map(Unread::read), Some(7));
        unread.push(answered().expect("has room"));
        drop(unread.pop());
        assert!(answered().is_ok());
    }

    #[test]
    fn bytes_that_lie_unread_are_bounded_and_a_larger_answer_comes_alone() {
        let held = Arc::default();
        let whole = UnreadBytes::hold(&held, UNREAD_BYTES_MAX * 16).expect("is alone");
        assert!(UnreadBytes::hold(&held, 1).is_none());
        drop(whole);
        let most = UnreadBytes::hold(&held, UNREAD_BYTES_MAX - 1).expect("fits");
        let last = UnreadBytes::hold(&held, 1).expect("fits");
        assert!(UnreadBytes::hold(&held, 1).is_none());
        let more = UnreadBytes::add(&held, 5);
        drop((most, last, more));
        assert_eq!(held.load(Ordering::Acquire), 0);
    }
}
