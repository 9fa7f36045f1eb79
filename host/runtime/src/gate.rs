//! The gate: one event at a time reaches the guest, and only when it is quiescent.
//!
//! Owns the rule (pure), and the cells through which answers travel. The outside touches no cell and no
//! waker of the guest: what arrives lies in the driver's hands until it is released, so that the order of
//! releases is the order of the turn. A turn that is run again by its journal uses the same gate, and a rule that releases what was
//! released where it was.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, BoxFuture};
use podium_capabilities::effect::Waiting;
use podium_capabilities::journal::{Event, Of, Recorded};
use podium_wire::WireError;

/// Woken polls without a release after which a waiting event is released to a guest that yields in a loop and
/// so never becomes quiescent.
pub(crate) const YIELDS_MAX: u32 = 200;
/// Woken polls after which other guests get their turn on the thread.
const YIELDS_PER_PAUSE: u32 = 64;

/// How a poll of the guest ended, when it did not end the turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Polled {
    /// Something woke the guest during the poll, so it is not quiescent.
    pub(crate) woken: bool,
    /// The engine's ticker made it yield: that says nothing of the guest and depends on the machine.
    pub(crate) ticked: bool,
}

/// What the driver does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Poll again at once.
    Poll,
    /// Let others run, then poll again.
    Pause,
    /// Release the next event that has arrived.
    Release,
    /// Wait for an event.
    Wait,
    /// Nothing can ever come.
    Stuck,
    /// The guest is not where it was when this event came before.
    Differs,
}

/// The release rule.
#[derive(Debug, Default)]
pub(crate) struct Rule {
    yields: u32,
}

impl Rule {
    /// Decides after a poll that did not end the turn. `arrived`: an event waits for its release; `pending`: an
    /// event can still arrive.
    pub(crate) fn after_poll(&mut self, polled: Polled, arrived: bool, pending: bool) -> Next {
        match polled {
            Polled { woken: true, ticked: true } => Next::Pause,
            Polled { woken: true, ticked: false } => {
                self.yields = self.yields.saturating_add(1);
                if self.yields >= YIELDS_MAX && arrived {
                    Next::Release
                } else if self.yields.is_multiple_of(YIELDS_PER_PAUSE) {
                    Next::Pause
                } else {
                    Next::Poll
                }
            }
            _ if arrived => Next::Release,
            _ if pending => Next::Wait,
            _ => Next::Stuck,
        }
    }

    /// The same for a guest that is run again, whose `next` event came before; none while calls have to be made first.
    pub(crate) fn again(&mut self, polled: Polled, next: Option<&Event>) -> Next {
        match polled {
            Polled { woken: true, ticked: true } => Next::Pause,
            Polled { woken: true, ticked: false } => {
                self.yields = self.yields.saturating_add(1);
                match next {
                    Some(event) if event.forced && event.yields == self.yields => Next::Release,
                    Some(event) if event.forced && event.yields < self.yields => Next::Differs,
                    _ if self.yields.is_multiple_of(YIELDS_PER_PAUSE) => Next::Pause,
                    _ => Next::Poll,
                }
            }
            _ => match next {
                Some(event) if !event.forced => Next::Release,
                _ => Next::Differs,
            },
        }
    }

    /// An event is released. Answers the yields before it: a replay releases it at exactly that count.
    pub(crate) fn released(&mut self) -> u32 {
        std::mem::take(&mut self.yields)
    }
}

/// Whose time a pending call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// The host works: the turn's own time goes on.
    ForHost,
    /// A person, a timer or a peer: only waiting time goes on.
    ForOutside,
}

/// An event that has arrived and was not released yet.
pub(crate) trait Arrival: Send {
    /// False when the guest has dropped its reader: then nothing happened.
    fn is_wanted(&self) -> bool;
    /// The earliest time that the guest may see with it, nanoseconds since the Unix epoch.
    fn not_before_ns(&self) -> u64;
    /// What it is to the turn's journal.
    fn recorded(&self) -> (Of, Recorded);
    /// Fills the cell and wakes its reader.
    fn deliver(self: Box<Self>);
}

/// An effect on its way: resolves to what arrived, or to nothing when its reader was dropped.
pub(crate) type Effect = BoxFuture<'static, Option<Box<dyn Arrival>>>;

/// An effect that was asked for.
pub(crate) struct Issued {
    /// The number of its call.
    pub(crate) n: u64,
    /// What has to be told in place of it: it may have been done, and must not be done again.
    pub(crate) unknown: Option<WireError>,
    /// The effect itself, which begins when it is polled.
    pub(crate) effect: Effect,
    /// What arrives when it failed as was recorded.
    pub(crate) fails: Box<dyn FnOnce(WireError) -> Box<dyn Arrival> + Send>,
}

#[derive(Default)]
struct Shared {
    outbox: Mutex<Vec<Issued>>,
    for_host: AtomicUsize,
    for_outside: AtomicUsize,
    /// Calls that end at a known time, by their numbers.
    due_ns: Mutex<BTreeMap<u64, u64>>,
}

/// Where host calls leave what they wait for; clones are the same gate.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<Shared>);

impl Gate {
    /// Leaves an effect in the outbox and answers the cell that its result will be released into. `due_ns` is when a timer
    /// fires, 0 for anything else.
    pub(crate) fn wait<T: Send + 'static>(&self, waits: Waits, due_ns: u64, waiting: Waiting<T>) -> Answer<T> {
        let (n, unknown) = (waiting.n(), waiting.unknown());
        let Waiting { answer, recorded, fails, released, .. } = waiting;
        let count = Count::new(self, waits, n, due_ns);
        let cell = Arc::new(Cell(Mutex::new(Slot::Waiting { waker: None, _count: count })));
        let (abort, registration) = AbortHandle::new_pair();
        // Either it arrives or it fails.
        let released = Arc::new(Mutex::new(released));
        let (target, hook) = (Arc::clone(&cell), Arc::clone(&released));
        let arrived = move |value: T| {
            let kept = recorded(&value);
            Box::new(Arrived { cell: target, value, not_before_ns: due_ns, n, kept, released: hook })
                as Box<dyn Arrival>
        };
        let effect = Abortable::new(answer, registration).map(move |result| result.ok().map(arrived)).boxed();
        let target = Arc::clone(&cell);
        let fails = Box::new(move |error: WireError| {
            let (value, kept) = (fails(error.clone()), Recorded::Failed(error));
            Box::new(Arrived { cell: target, value, not_before_ns: 0, n, kept, released }) as Box<dyn Arrival>
        });
        lock(&self.0.outbox).push(Issued { n, unknown, effect, fails });
        Answer { cell, abort }
    }

    /// When the first timer that the guest waits for fires, nanoseconds since the Unix epoch.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        lock(&self.0.due_ns).values().min().copied()
    }

    /// Takes what was left since the last time.
    pub(crate) fn take_outbox(&self) -> Vec<Issued> {
        std::mem::take(&mut *lock(&self.0.outbox))
    }

    /// True while a call waits for the host.
    pub(crate) fn waits_for_host(&self) -> bool {
        self.0.for_host.load(Ordering::Acquire) > 0
    }

    /// True while any call waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waits_for_host() || self.0.for_outside.load(Ordering::Acquire) > 0
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts one call that waits.
struct Count {
    gate: Gate,
    waits: Waits,
    n: u64,
}

impl Count {
    fn new(gate: &Gate, waits: Waits, n: u64, due_ns: u64) -> Self {
        let count = Self { gate: gate.clone(), waits, n };
        count.counter().fetch_add(1, Ordering::AcqRel);
        if due_ns > 0 {
            lock(&gate.0.due_ns).insert(n, due_ns);
        }
        count
    }

    fn counter(&self) -> &AtomicUsize {
        match self.waits {
            Waits::ForHost => &self.gate.0.for_host,
            Waits::ForOutside => &self.gate.0.for_outside,
        }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.counter().fetch_sub(1, Ordering::AcqRel);
        lock(&self.gate.0.due_ns).remove(&self.n);
    }
}

enum Slot<T> {
    Waiting { waker: Option<Waker>, _count: Count },
    Full(T),
    Done,
}

struct Cell<T>(Mutex<Slot<T>>);

struct Arrived<T> {
    cell: Arc<Cell<T>>,
    value: T,
    not_before_ns: u64,
    n: u64,
    kept: Recorded,
    released: Arc<Mutex<Option<Released>>>,
}

/// To be called when an answer is released.
type Released = Box<dyn FnOnce() + Send>;

impl<T: Send> Arrival for Arrived<T> {
    fn is_wanted(&self) -> bool {
        matches!(*lock(&self.cell.0), Slot::Waiting { .. })
    }

    fn not_before_ns(&self) -> u64 {
        self.not_before_ns
    }

    fn recorded(&self) -> (Of, Recorded) {
        (Of::Answer { n: self.n, failed: None }, self.kept.clone())
    }

    fn deliver(self: Box<Self>) {
        let released = lock(&self.released).take();
        if let Some(released) = released {
            released();
        }
        let mut slot = lock(&self.cell.0);
        let before = match &*slot {
            Slot::Waiting { .. } => std::mem::replace(&mut *slot, Slot::Full(self.value)),
            Slot::Full(_) | Slot::Done => return,
        };
        drop(slot);
        if let Slot::Waiting { waker: Some(waker), .. } = before {
            waker.wake();
        }
    }
}

/// The reader's side of a cell. Dropping it cancels the effect.
pub(crate) struct Answer<T> {
    cell: Arc<Cell<T>>,
    abort: AbortHandle,
}

impl<T> Future for Answer<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut slot = lock(&self.cell.0);
        match &mut *slot {
            // The engine first polls with a waker that does nothing, so the last one counts.
            Slot::Waiting { waker, .. } => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Slot::Full(_) => match std::mem::replace(&mut *slot, Slot::Done) {
                Slot::Full(value) => Poll::Ready(value),
                Slot::Waiting { .. } | Slot::Done => Poll::Pending,
            },
            // Polled after it was ready: there is nothing more.
            Slot::Done => Poll::Pending,
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *lock(&self.cell.0), Slot::Done);
        drop(before);
        self.abort.abort();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::task::noop_waker_ref;
    use podium_capabilities::effect::Call;
    use proptest::prelude::*;

    use super::*;

    const QUIET: Polled = Polled { woken: false, ticked: false };
    const WOKEN: Polled = Polled { woken: true, ticked: false };
    const TICKED: Polled = Polled { woken: true, ticked: true };

    #[test]
    fn a_woken_guest_gets_no_event() {
        let mut rule = Rule::default();
        assert_eq!(rule.after_poll(WOKEN, true, true), Next::Poll);
        assert_eq!(rule.after_poll(TICKED, true, true), Next::Pause);
        assert_eq!(rule.after_poll(QUIET, true, true), Next::Release);
        assert_eq!(rule.after_poll(QUIET, false, true), Next::Wait);
        assert_eq!(rule.after_poll(QUIET, false, false), Next::Stuck);
    }

    #[test]
    fn a_guest_that_yields_for_ever_still_gets_its_event_at_a_fixed_count() {
        let mut rule = Rule::default();
        let mut polls = 0;
        while rule.after_poll(WOKEN, true, false) != Next::Release {
            polls += 1;
        }
        assert_eq!(polls + 1, YIELDS_MAX);
        assert_eq!(rule.released(), YIELDS_MAX);
        assert_eq!(rule.released(), 0);
    }

    proptest! {
        /// Ticks come by the machine's time, so they must change nothing of what is released when.
        #[test]
        fn ticks_do_not_move_releases(polls in prop::collection::vec((any::<bool>(), any::<bool>(), 0..3usize), 0..600)) {
            let releases = |with_ticks: bool| {
                let mut rule = Rule::default();
                let mut out = Vec::new();
                for (woken, arrived, ticks) in &polls {
                    for _ in 0..(if with_ticks { *ticks } else { 0 }) {
                        prop_assert_eq!(rule.after_poll(TICKED, *arrived, true), Next::Pause);
                    }
                    let next = rule.after_poll(Polled { woken: *woken, ticked: false }, *arrived, true);
                    prop_assert!(next != Next::Release || *arrived);
                    if next == Next::Release {
                        out.push(Some(rule.released()));
                    } else {
                        out.push(None);
                    }
                }
                Ok(out)
            };
            prop_assert_eq!(releases(true)?, releases(false)?);
        }
    }

    fn call<T: 'static>(n: u64, answer: impl Future<Output = T> + Send + 'static) -> Waiting<T> {
        let fails = |_| unreachable!("nothing failed before");
        Waiting {
            answer: answer.boxed(),
            ..Call::detached(n).waits_for(std::future::pending(), |_| Recorded::Again, fails)
        }
    }

    fn arrive(gate: &Gate) -> Vec<Option<Box<dyn Arrival>>> {
        gate.take_outbox().into_iter().map(|issued| issued.effect.now_or_never().expect("is ready")).collect()
    }

    #[test]
    fn an_answer_is_seen_only_after_its_release() {
        let gate = Gate::default();
        let mut answer = gate.wait(Waits::ForHost, 5, call(1, async { 7 }));
        let mut cx = Context::from_waker(noop_waker_ref());
        let arrived = arrive(&gate).pop().flatten().expect("arrived");
        assert!(answer.poll_unpin(&mut cx).is_pending(), "arrived is not released");
        assert!(gate.waits_for_host() && arrived.is_wanted());
        assert_eq!(arrived.not_before_ns(), 5);
        arrived.deliver();
        assert!(!gate.is_waiting(), "what is released is not waited for");
        assert_eq!(answer.poll_unpin(&mut cx), Poll::Ready(7));
    }

    #[test]
    fn an_answer_lies_in_its_cell_until_it_is_read_or_its_reader_is_dropped() {
        let gate = Gate::default();
        let brought = Arc::new(());
        let released = || {
            let held = Arc::clone(&brought);
            let answer = gate.wait(Waits::ForHost, 0, call(1, async move { held }));
            arrive(&gate).pop().flatten().expect("arrived").deliver();
            answer
        };
        let (read, dropped) = (released(), released());
        assert_eq!(Arc::strong_count(&brought), 3);
        assert!(read.now_or_never().is_some());
        assert_eq!(Arc::strong_count(&brought), 2);
        drop(dropped);
        assert_eq!(Arc::strong_count(&brought), 1);
    }

    #[test]
    fn a_dropped_reader_cancels_its_effect_and_is_not_waited_for() {
        let gate = Gate::default();
        let never = gate.wait(Waits::ForOutside, 0, call(1, std::future::pending::<()>()));
        let arrived = gate.wait(Waits::ForHost, 0, call(2, async {}));
        assert!(gate.is_waiting());
        let mut issued = gate.take_outbox();
        let late = issued.remove(1).effect.now_or_never().flatten().expect("arrived");
        drop((never, arrived));
        assert!(!gate.is_waiting());
        assert!(!late.is_wanted());
        late.deliver();
        assert!(issued.remove(0).effect.now_or_never().expect("was cancelled").is_none());
    }
}
