//! The one door of every outward effect.
//!
//! Numbers what leaves, has it recorded by the turn's journal, and counts what is in flight and what has come back and lies in the
//! host until the guest reads it. Nothing that leaves the host may go around it.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use podium_wire::{ErrorCode, WireError};
use serde::Serialize;

use crate::error::CallError;
use crate::journal::{Made, Recorded, request_hash};
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

    /// What it is, unread.
    pub(crate) fn as_ref(&self) -> &T {
        &self.answer
    }

    /// The guest reads it, or nobody ever will: it counts no more.
    pub fn read(self) -> T {
        self.answer
    }
}

/// What an effect is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EffectKind {
    /// Its name, `interface.function`.
    pub name: &'static str,
    /// It may be begun again when nobody knows whether it was done: the guest gets `POD-4031` for any other.
    pub idempotent: bool,
    /// People see it, so it is durable before it leaves.
    pub urgent: bool,
}

impl EffectKind {
    /// An effect that changes nothing outside and may be repeated.
    pub const fn read(name: &'static str) -> Self {
        Self { name, idempotent: true, urgent: false }
    }
}

/// One call that waits, numbered.
#[derive(Debug, Clone)]
pub struct Call {
    kind: EffectKind,
    made: Made,
    key: [u8; 32],
}

impl Call {
    /// A call of no turn: what is waited for is nobody's.
    pub fn detached(n: u64) -> Self {
        let made = Made { n, again: false, at_ns: 0, attempt: 1, given: None };
        Self { kind: EffectKind::read("none"), made, key: [0; 32] }
    }

    /// True when it was made before, by the guest that this one follows.
    pub fn is_again(&self) -> bool {
        self.made.again
    }

    /// The attempt in which it was first made.
    pub(crate) fn attempt(&self) -> u32 {
        self.made.attempt
    }

    /// When it was first made, nanoseconds since the Unix epoch.
    pub fn at_ns(&self) -> u64 {
        self.made.at_ns
    }

    /// Its answer as it is durable, if it is.
    pub(crate) fn given(&self) -> Option<&[u8]> {
        self.made.given.as_deref()
    }

    /// Its number in the turn.
    pub(crate) fn n(&self) -> u64 {
        self.made.n
    }

    /// The same for this effect however often it is begun, and for no other: what receives it can tell a repetition.
    pub fn idempotency_key(&self) -> String {
        self.key.iter().fold(String::with_capacity(64), |mut text, byte| {
            text.push_str(&format!("{byte:02x}"));
            text
        })
    }

    /// What a lane runs.
    pub fn waits_for<T>(
        self,
        answer: impl Future<Output = T> + Send + 'static,
        recorded: fn(&T) -> Recorded,
        fails: fn(WireError) -> T,
    ) -> Waiting<T> {
        Waiting { call: self, answer: answer.boxed(), recorded, fails, released: None }
    }
}

/// A call on its way: what a lane needs to run it, to record it, and to run it again.
pub struct Waiting<T> {
    /// The call.
    pub call: Call,
    /// Begins when it is polled and is cancelled when it is dropped.
    pub answer: BoxFuture<'static, T>,
    /// How the answer is kept in the turn's journal.
    pub recorded: fn(&T) -> Recorded,
    /// The answer for a failure that was recorded, or of which nothing is known.
    pub fails: fn(WireError) -> T,
    /// To be called when the answer is released to the guest.
    pub released: Option<Box<dyn FnOnce() + Send>>,
}

impl<T> fmt::Debug for Waiting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("call", &self.call).finish_non_exhaustive()
    }
}

impl<T> Waiting<T> {
    /// The failure of an effect that may have been done and must not be begun again; nothing for one that may be.
    pub fn unknown(&self) -> Option<WireError> {
        let is_lost = self.call.made.again && self.call.made.given.is_none() && !self.call.kind.idempotent;
        is_lost.then(|| {
            let kind = self.call.kind.name;
            WireError::new(ErrorCode::OutcomeUnknown, format!("the host ended before `{kind}` was answered"))
        })
    }

    /// The call's number in the turn.
    pub fn n(&self) -> u64 {
        self.call.made.n
    }
}

impl Turn {
    /// Numbers a call that waits, before anything is known of its answer.
    ///
    /// # Errors
    /// When the turn is closed; when it is run again and this call is another one than was made before.
    pub fn call<R: Serialize>(&self, kind: EffectKind, request: &R) -> Result<Call, CallError> {
        self.check_open()?;
        // What cannot be written as JSON is alike by its kind.
        let request = serde_json::to_vec(request).unwrap_or_default();
        let hash = request_hash(&request);
        let made = self.journal().wait(
            kind.name,
            hash,
            (kind.idempotent, kind.urgent),
            (self.host_clock().now_ns(), self.spec().attempt),
        )?;
        // Never the request itself: it holds what agents say.
        tracing::trace!(turn_id = self.spec().turn_id, n = made.n, kind = kind.name, bytes = request.len(), "effect");
        let mut key = blake3::Hasher::new_derive_key("podium effect of a turn");
        key.update(self.spec().instance.as_uuid().as_bytes());
        key.update(&self.spec().turn.to_le_bytes()).update(&made.n.to_le_bytes());
        Ok(Call { kind, made, key: *key.finalize().as_bytes() })
    }

    /// True while the guest holds an answer with bytes that it has not read.
    pub fn holds_unread(&self) -> bool {
        self.effects().unread_bytes.load(Ordering::Acquire) > 0
    }

    /// Wraps an outward effect. The effect begins when the returned future is first polled and is cancelled
    /// when it is dropped; until then it counts as in flight, and what it brings until that is read or dropped.
    ///
    /// # Errors
    /// `POD-4019` when [`CALLS_IN_FLIGHT_MAX`] calls of this turn wait already.
    pub fn effect<F>(
        &self,
        call: &Call,
        future: F,
    ) -> Result<impl Future<Output = Unread<F::Output>> + Send + use<F>, WireError>
    where
        F: Future + Send + 'static,
    {
        let counters = self.effects();
        let Some(in_flight) = InFlight::enter(&counters.in_flight) else {
            let message = format!("more than {CALLS_IN_FLIGHT_MAX} calls of this turn wait already");
            return Err(WireError::new(ErrorCode::TooManyCalls, message));
        };
        let span = self.ports().watch.effect(call.kind.name, call.made.n);
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
        let call = || turn.turn.call(EffectKind::read("test"), &()).expect("open");
        let issue = || turn.turn.effect(&call(), std::future::pending::<()>());
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
            let call = turn.turn.call(EffectKind::read("test"), &()).expect("open");
            let effect = turn.turn.effect(&call, std::future::ready(7));
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
