//! Who may change the workspace now: those who write through its mount, or its owner and a guest.
//!
//! A write through the mount and a turn never mix: closing waits for the writers in flight, and everything after them is refused until the gate is
//! open again. Must never wait without a bound, and never keep one who may write from writing.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use podium_kit::Clock;

use crate::limits::{MOUNT_BUSY_MS, MOUNT_QUIET_MS};

/// What is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Everything.
    Open,
    /// What the kernel still has to write for a mapping, and nothing else.
    Flushing,
    /// Nothing.
    Closed,
    /// Nothing, for ever.
    Ended,
}

/// What somebody wants to do through the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Makes the workspace larger, or may.
    Growth,
    /// Makes it no larger.
    Other,
    /// Pages of a mapping, written before: the kernel brings them when it likes.
    WriteBack,
}

/// Why it may not be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The owner or a guest has the workspace.
    ReadOnly,
    /// It is larger than it may be.
    Full,
    /// The mount is gone.
    Ended,
}

struct State<S> {
    phase: Phase,
    is_full: bool,
    /// Changes that were let in and are not done.
    writers: usize,
    /// Answers that the kernel may keep, and that are not given yet.
    promises: usize,
    /// When the first and the last change was made of which no cut knows.
    changed: Option<(Duration, Duration)>,
    /// Who waits for a cut.
    syncs: Vec<S>,
}

struct Shared<S> {
    state: Mutex<State<S>>,
    left: Condvar,
    clock: Clock,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// The gate of one mount; clones are the same one. `S` is what waits for a cut.
pub(crate) struct Gate<S>(Arc<Shared<S>>);

impl<S> Clone for Gate<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Gate<S> {
    /// An open one; `wake` is called when the owner has something to look at.
    pub(crate) fn new(clock: Clock, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let state =
            State { phase: Phase::Open, is_full: false, writers: 0, promises: 0, changed: None, syncs: Vec::new() };
        Self(Arc::new(Shared { state: Mutex::new(state), left: Condvar::new(), clock, wake }))
    }

    fn state(&self) -> MutexGuard<'_, State<S>> {
        // Nothing under this lock can panic half way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a change in, until what is given is dropped.
    pub(crate) fn enter(&self, change: Change) -> Result<Entered<S>, Refused> {
        let state = &mut *self.state();
        match (state.phase, change) {
            (Phase::Ended, _) => return Err(Refused::Ended),
            (Phase::Open, _) | (Phase::Flushing, Change::WriteBack) => {}
            (Phase::Flushing | Phase::Closed, _) => return Err(Refused::ReadOnly),
        }
        if state.is_full && change == Change::Growth {
            return Err(Refused::Full);
        }
        state.writers += 1;
        Ok(Entered(self.clone()))
    }

    /// Whether the kernel may keep what it is about to be told, until what is given is dropped.
    pub(crate) fn promise(&self) -> Option<Promised<S>> {
        let state = &mut *self.state();
        if state.phase != Phase::Open {
            return None;
        }
        state.promises += 1;
        Some(Promised(self.clone()))
    }

    /// Somebody waits for a cut of what was written; given back where there will be none, because a turn has all of it or the mount is gone.
    pub(crate) fn sync(&self, waiting: S) -> Option<S> {
        {
            let state = &mut *self.state();
            if state.phase != Phase::Open || state.syncs.len() >= SYNCS_MAX {
                return Some(waiting);
            }
            state.syncs.push(waiting);
        }
        (self.0.wake)();
        None
    }

    /// When the owner should make a cut of what was written, by the monotonic clock.
    pub(crate) fn cut_due(&self) -> Option<Duration> {
        let state = self.state();
        if state.phase == Phase::Ended {
            return None;
        }
        if !state.syncs.is_empty() {
            return Some(Duration::ZERO);
        }
        let quiet = |(first, last): (Duration, Duration)| {
            (last + Duration::from_millis(MOUNT_QUIET_MS)).min(first + Duration::from_millis(MOUNT_BUSY_MS))
        };
        state.changed.map(quiet)
    }

    /// A cut of everything up to now begins; gives who waits for it.
    pub(crate) fn begin_cut(&self) -> Vec<S> {
        let state = &mut *self.state();
        state.changed = None;
        std::mem::take(&mut state.syncs)
    }

    /// First step of closing: no new changes; false when those in flight did not end in time.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        self.narrow(Phase::Flushing, limit)
    }

    /// Last step of closing: no changes at all; false when those in flight did not end in time.
    pub(crate) fn close(&self, limit: Duration) -> bool {
        self.narrow(Phase::Closed, limit)
    }

    fn narrow(&self, phase: Phase, limit: Duration) -> bool {
        let mut state = self.state();
        if state.phase == Phase::Ended {
            return true;
        }
        state.phase = phase;
        let busy = |state: &mut State<S>| state.writers > 0 || state.promises > 0;
        let waited = self.0.left.wait_timeout_while(state, limit, busy).unwrap_or_else(PoisonError::into_inner);
        !waited.1.timed_out()
    }

    /// True when nothing is let in.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state().phase, Phase::Closed | Phase::Ended)
    }

    /// Lets everything in again.
    pub(crate) fn open(&self) {
        let state = &mut *self.state();
        if state.phase != Phase::Ended {
            state.phase = Phase::Open;
        }
    }

    /// Whether the workspace is larger than it may be.
    pub(crate) fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    /// The mount is gone; gives who waits for a cut.
    pub(crate) fn end(&self) -> Vec<S> {
        let syncs = {
            let state = &mut *self.state();
            state.phase = Phase::Ended;
            std::mem::take(&mut state.syncs)
        };
        (self.0.wake)();
        syncs
    }

    /// True once the mount is gone.
    pub(crate) fn has_ended(&self) -> bool {
        self.state().phase == Phase::Ended
    }
}

/// Calls that wait for one cut: more are answered without.
const SYNCS_MAX: usize = 1024;

/// A change in flight.
pub(crate) struct Entered<S>(Gate<S>);

impl<S> Drop for Entered<S> {
    fn drop(&mut self) {
        let now = self.0.0.clock.monotonic();
        let is_first = {
            let state = &mut *self.0.state();
            state.writers = state.writers.saturating_sub(1);
            let first = state.changed.map_or(now, |(first, _)| first);
            let is_first = state.changed.is_none();
            state.changed = Some((first, now));
            is_first
        };
        self.0.0.left.notify_all();
        if is_first {
            (self.0.0.wake)();
        }
    }
}

/// An answer in flight that the kernel may keep.
pub(crate) struct Promised<S>(Gate<S>);

impl<S> Drop for Promised<S> {
    fn drop(&mut self) {
        let nobody = {
            let state = &mut *self.0.state();
            state.promises = state.promises.saturating_sub(1);
            state.promises == 0
        };
        if nobody {
            self.0.0.left.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;

    const SOON: Duration = Duration::from_millis(1);

    fn gate() -> (Gate<u32>, Clock, Arc<AtomicUsize>) {
        let clock = Clock::manual(0);
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let wake = move || {
            count.fetch_add(1, Ordering::SeqCst);
        };
        let gate = Gate::new(clock.clone(), Box::new(wake));
        (gate, clock, woken)
    }

    #[test]
    fn a_closed_gate_lets_nobody_in_and_waits_for_who_is_there() {
        let (gate, ..) = gate();
        let writer = gate.enter(Change::Growth).unwrap_or_else(|refused| panic!("{refused:?}"));
        assert!(!gate.flush(SOON), "somebody writes");
        assert_eq!(gate.enter(Change::Other).err(), Some(Refused::ReadOnly));
        drop(writer);
        assert!(gate.flush(SOON));
        drop(gate.enter(Change::WriteBack).unwrap_or_else(|refused| panic!("{refused:?}")));
        assert!(gate.promise().is_none(), "what may change at once is not kept");
        assert!(gate.close(SOON) && gate.is_closed());
        assert_eq!(gate.enter(Change::WriteBack).err(), Some(Refused::ReadOnly));
        assert_eq!(gate.sync(1), Some(1), "there is nothing to cut");
        gate.open();
        assert!(gate.enter(Change::Growth).is_ok() && gate.promise().is_some());
        assert!(gate.end().is_empty());
        gate.open();
        assert_eq!(gate.enter(Change::Growth).err(), Some(Refused::Ended));
    }

    #[test]
    fn an_answer_that_the_kernel_may_keep_is_waited_for() {
        let (gate, ..) = gate();
        let promise = gate.promise();
        assert!(!gate.flush(SOON));
        drop(promise);
        assert!(gate.flush(SOON));
    }

    #[test]
    fn a_cut_is_due_a_second_after_the_last_change_or_when_asked_for() {
        let (gate, clock, woken) = gate();
        assert_eq!(gate.cut_due(), None);
        drop(gate.enter(Change::Growth));
        assert_eq!((gate.cut_due(), woken.load(Ordering::SeqCst)), (Some(Duration::from_millis(1000)), 1));
        clock.advance(Duration::from_millis(400));
        drop(gate.enter(Change::Other));
        assert_eq!((gate.cut_due(), woken.load(Ordering::SeqCst)), (Some(Duration::from_millis(1400)), 1));
        for _ in 0..100 {
            clock.advance(Duration::from_millis(900));
            drop(gate.enter(Change::Other));
        }
        assert_eq!(gate.cut_due(), Some(Duration::from_millis(MOUNT_BUSY_MS)), "one who never rests is cut too");
        assert_eq!(gate.sync(7), None);
        assert_eq!((gate.cut_due(), woken.load(Ordering::SeqCst)), (Some(Duration::ZERO), 2));
        assert_eq!(gate.begin_cut(), [7]);
        assert_eq!(gate.cut_due(), None);
    }

    #[test]
    fn what_is_too_large_may_shrink() {
        let (gate, ..) = gate();
        gate.set_full(true);
        assert_eq!(gate.enter(Change::Growth).err(), Some(Refused::Full));
        assert!(gate.enter(Change::Other).is_ok());
        gate.set_full(false);
        assert!(gate.enter(Change::Growth).is_ok());
    }

    proptest! {
        /// Whatever comes in whatever order: while it says that it is closed, nobody is inside.
        #[test]
        fn nobody_is_inside_a_closed_gate(steps in prop::collection::vec(0..6_u8, 0..60)) {
            let (gate, ..) = gate();
            let mut inside = Vec::new();
            let mut is_closed = false;
            for step in steps {
                match step {
                    0 => inside.extend(gate.enter(Change::Growth).ok()),
                    1 => inside.extend(gate.enter(Change::WriteBack).ok()),
                    2 => drop(inside.pop()),
                    3 => is_closed = gate.flush(Duration::ZERO) && gate.close(Duration::ZERO),
                    4 => { gate.open(); is_closed = false; }
                    _ => drop(gate.begin_cut()),
                }
                prop_assert!(!is_closed || inside.is_empty());
            }
        }
    }
}
