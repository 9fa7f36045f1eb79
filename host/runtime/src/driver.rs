//! Polls one guest by hand until its turn is over, and releases its events through the gate.
//!
//! Owns the order of a turn and its times: processor, wall, waiting. Must never touch what the guest computes,
//! and never wait without a bound.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use podium_capabilities::{LimitReached, Turn};
use podium_kit::Clock;
use tokio::sync::Semaphore;

use crate::gate::{Arrival, Gate, Issued, Next, Polled, Rule};
use crate::meter::{Meter, Ticker};
use crate::steer::Steers;
use crate::stop::{StopReason, StopSignal};

/// How long a quiescent guest without any pending call is waited for when it has opened files: a file operation
/// that the engine runs on another thread is the only thing that can still wake it.
const FILE_GRACE: Duration = Duration::from_secs(10);

/// How a guest ended other than by its own answer.
#[derive(Debug)]
pub(crate) enum Ended {
    /// A trap, or an error of the engine.
    Guest(wasmtime::Error),
    /// A limit of the turn.
    Limit(LimitReached),
    /// From outside.
    Stopped(StopReason),
    /// It waits for what can never come.
    Stuck,
}

/// Everything that drives one guest.
pub(crate) struct Driver<'a> {
    /// The turn, none while an agent describes itself.
    pub(crate) turn: Option<&'a Turn>,
    pub(crate) clock: &'a Clock,
    pub(crate) gate: &'a Gate,
    pub(crate) meter: &'a Meter,
    pub(crate) ticker: &'a Ticker,
    /// Lets a number of guests compute at once, first come first served.
    pub(crate) polls: &'a Semaphore,
    pub(crate) stop: &'a StopSignal,
    /// Where steers come from, when the turn can be steered.
    pub(crate) steers: Option<&'a Steers>,
    /// True once the guest has opened its workspace.
    pub(crate) uses_files: &'a AtomicBool,
    pub(crate) wall: Duration,
    pub(crate) wait: Duration,
}

/// The guest's waker: a flag that says "not quiescent", and the driver while it sleeps.
#[derive(Debug, Default)]
struct GuestWaker {
    woken: AtomicBool,
    driver: AtomicWaker,
}

impl Wake for GuestWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.driver.wake();
    }
}

/// What ended a wait.
enum Woke {
    Event,
    Guest,
    Stopped(StopReason),
    TimeOver,
}

/// Time spent by a turn.
struct Times {
    mark: Duration,
    wall: Duration,
    wait: Duration,
}

/// Effects that are out, and what came back.
#[derive(Default)]
struct Effects {
    out: FuturesUnordered<Issued>,
    steers: Option<Steers>,
    arrived: VecDeque<Box<dyn Arrival>>,
}

impl Effects {
    /// Takes in everything that is ready.
    fn poll(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(arrival)) = self.out.poll_next_unpin(cx) {
            self.arrived.extend(arrival);
        }
        if let Some(steers) = &self.steers {
            self.arrived.extend(steers.poll_arrivals(cx));
        }
    }
}

impl Driver<'_> {
    /// Drives the guest to its end. The caller drops the guest with its store.
    pub(crate) async fn drive<T>(
        self,
        mut guest: Pin<&mut (dyn Future<Output = wasmtime::Result<T>> + Send)>,
    ) -> Result<T, Ended> {
        let guest_waker = Arc::new(GuestWaker::default());
        let waker = Waker::from(Arc::clone(&guest_waker));
        let mut rule = Rule::default();
        let mut effects = Effects { steers: self.steers.cloned(), ..Effects::default() };
        let mut times = Times { mark: self.clock.monotonic(), wall: Duration::ZERO, wait: Duration::ZERO };
        loop {
            // Never closed, so that there is always a permit to wait for.
            let computes = self.polls.acquire().await;
            let ticks = self.meter.yields();
            guest_waker.woken.store(false, Ordering::Release);
            let running = self.ticker.running();
            self.meter.begin();
            let polled = guest.as_mut().poll(&mut Context::from_waker(&waker));
            let now = self.meter.end();
            drop((running, computes));
            times.wall += now.saturating_sub(times.mark);
            times.mark = now;
            if let Poll::Ready(result) = polled {
                return result.map_err(Ended::Guest);
            }
            // A journal is written ahead here: first the records of this poll, then their effects leave.
            effects.out.extend(self.gate.take_outbox());
            if !effects.out.is_empty() || effects.steers.is_some() {
                poll_fn(|cx| {
                    effects.poll(cx);
                    Poll::Ready(())
                })
                .await;
            }
            self.check(&times)?;
            let polled =
                Polled { woken: guest_waker.woken.load(Ordering::Acquire), ticked: self.meter.yields() != ticks };
            // A guest that can be steered may wait for just that.
            let pending = self.gate.is_waiting() || self.steers.is_some_and(Steers::are_open);
            match rule.after_poll(polled, !effects.arrived.is_empty(), pending) {
                Next::Poll => {}
                Next::Pause => tokio::task::yield_now().await,
                Next::Release => self.release(&mut rule, &mut effects),
                Next::Wait => self.wait(&guest_waker, &mut effects, &mut times).await?,
                Next::Stuck => self.wait_for_files(&guest_waker, &mut effects, &mut times).await?,
            }
        }
    }

    fn check(&self, times: &Times) -> Result<(), Ended> {
        if let Some(reason) = self.stop.reason() {
            return Err(Ended::Stopped(reason));
        }
        if self.meter.is_over() {
            return Err(Ended::Limit(LimitReached::Cpu(self.meter.limit())));
        }
        if times.wall > self.wall {
            return Err(Ended::Limit(LimitReached::Wall(self.wall)));
        }
        Ok(())
    }

    /// Releases one event; what nobody wants any more is dropped and leaves the clock alone.
    fn release(&self, rule: &mut Rule, effects: &mut Effects) {
        while let Some(arrival) = effects.arrived.pop_front() {
            if !arrival.is_wanted() {
                continue;
            }
            if let Some(turn) = self.turn {
                turn.clock().deliver(self.clock.now_ns().max(arrival.not_before_ns()));
            }
            // The journal's record of the event holds this count of yields.
            let yields = rule.released();
            tracing::trace!(yields, "event released");
            arrival.deliver();
            return;
        }
    }

    /// Waits until something arrives, within the time that such a wait may take.
    async fn wait(&self, guest: &GuestWaker, effects: &mut Effects, times: &mut Times) -> Result<(), Ended> {
        let for_host = self.gate.waits_for_host();
        let (limit, left) = if for_host {
            (LimitReached::Wall(self.wall), self.wall.saturating_sub(times.wall))
        } else {
            (LimitReached::Wait(self.wait), self.wait.saturating_sub(times.wait))
        };
        if let Some(turn) = self.turn {
            turn.set_waiting(true);
        }
        let woke = until(self.stop, guest, effects, left).await;
        if let Some(turn) = self.turn {
            turn.set_waiting(false);
        }
        let now = self.clock.monotonic();
        let spent = if for_host { &mut times.wall } else { &mut times.wait };
        *spent += now.saturating_sub(times.mark);
        times.mark = now;
        match woke {
            Woke::Event | Woke::Guest => Ok(()),
            Woke::Stopped(reason) => Err(Ended::Stopped(reason)),
            Woke::TimeOver => Err(Ended::Limit(limit)),
        }
    }

    /// Nothing is pending: only a file operation on another thread can still wake the guest.
    async fn wait_for_files(&self, guest: &GuestWaker, effects: &mut Effects, times: &mut Times) -> Result<(), Ended> {
        if !self.uses_files.load(Ordering::Acquire) {
            return Err(Ended::Stuck);
        }
        let woke = until(self.stop, guest, effects, FILE_GRACE).await;
        let now = self.clock.monotonic();
        times.wall += now.saturating_sub(times.mark);
        times.mark = now;
        match woke {
            Woke::Event | Woke::Guest => Ok(()),
            Woke::Stopped(reason) => Err(Ended::Stopped(reason)),
            Woke::TimeOver => Err(Ended::Stuck),
        }
    }
}

/// Sleeps until an event, a wake of the guest, the stop signal or the end of `limit`.
async fn until(stop: &StopSignal, guest: &GuestWaker, effects: &mut Effects, limit: Duration) -> Woke {
    let mut time_over = std::pin::pin!(tokio::time::sleep(limit));
    let woke = poll_fn(|cx| {
        if let Poll::Ready(reason) = stop.poll_stopped(cx) {
            return Poll::Ready(Woke::Stopped(reason));
        }
        effects.poll(cx);
        if !effects.arrived.is_empty() {
            return Poll::Ready(Woke::Event);
        }
        guest.driver.register(cx.waker());
        if guest.woken.load(Ordering::Acquire) {
            return Poll::Ready(Woke::Guest);
        }
        time_over.as_mut().poll(cx).map(|()| Woke::TimeOver)
    })
    .await;
    guest.driver.take();
    woke
}
