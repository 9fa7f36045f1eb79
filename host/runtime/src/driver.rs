//! Polls one guest by hand until its turn is over, and releases its events through the gate.
//!
//! Owns the order of a turn and its times: processor, wall, waiting. A guest that is run again is given what the turn's journal
//! has, in its order, and goes on where that ends. Must never touch what the guest computes, and never wait without a bound.

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
use podium_capabilities::journal::{Event, Of};
use podium_capabilities::{LimitReached, Turn};
use podium_kit::Clock;
use podium_wire::{ErrorCode, WireError};
use tokio::sync::Semaphore;

use crate::gate::{Arrival, Effect, Gate, Issued, Next, Polled, Rule};
use crate::meter::{Meter, Ticker};
use crate::steer::Steers;
use crate::stop::{StopReason, StopSignal};

/// How long a quiescent guest without any pending call is waited for when it has opened files: a file operation
/// that the engine runs on another thread is the only thing that can still wake it.
const FILE_GRACE: Duration = Duration::from_secs(10);

/// How long an effect that was answered before may take to be answered again: it reads what is committed.
const AGAIN_MAX: Duration = Duration::from_secs(30);

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
    /// It has waited long enough, and its journal is durable; with the time at which the first timer fires.
    Suspended(Option<u64>),
    /// It went another way than before.
    Diverged(WireError),
    /// What has to be durable before it goes on cannot be made so.
    Journal(WireError),
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
    /// How long it waits for what is outside before it is dropped, where its journal allows.
    pub(crate) waiting_idle: Duration,
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

/// What a wait may take, and what it ends as.
struct Patience {
    left: Duration,
    limit: LimitReached,
    /// The guest is dropped instead of ended.
    suspends: bool,
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
    out: FuturesUnordered<Effect>,
    /// Asked for by a guest that is run again, and not begun.
    held: Vec<Issued>,
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

impl Effects {
    /// Begins an effect, or tells that nobody knows what became of it.
    fn issue(&mut self, issued: Issued) {
        let Issued { unknown, effect, fails, .. } = issued;
        match unknown {
            Some(error) => self.arrived.push_back(fails(error)),
            None => self.out.push(effect),
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
        let mut is_again = self.turn.is_some_and(|turn| turn.journal().is_again());
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
            let issued = self.gate.take_outbox();
            let polled =
                Polled { woken: guest_waker.woken.load(Ordering::Acquire), ticked: self.meter.yields() != ticks };
            if is_again {
                effects.held.extend(issued);
                self.check(&times)?;
                if self.turn.is_some_and(|turn| turn.journal().is_behind()) {
                    self.come_again(&mut rule, &mut effects, polled).await?;
                    continue;
                }
                is_again = false;
                self.go_on(&mut effects, &mut times);
                self.write_urgent().await?;
            } else {
                // The journal is written ahead: first the records of this poll, then their effects leave.
                self.write_urgent().await?;
                issued.into_iter().for_each(|issued| effects.issue(issued));
            }
            if !effects.out.is_empty() || effects.steers.is_some() {
                poll_fn(|cx| {
                    effects.poll(cx);
                    Poll::Ready(())
                })
                .await;
            }
            self.check(&times)?;
            // A guest that can be steered may wait for just that.
            let pending = self.gate.is_waiting() || self.steers.is_some_and(Steers::are_open);
            match rule.after_poll(polled, !effects.arrived.is_empty(), pending) {
                Next::Poll => {}
                Next::Pause => tokio::task::yield_now().await,
                Next::Release => self.release(&mut rule, &mut effects, polled.woken).await?,
                Next::Wait => self.wait(&guest_waker, &mut effects, &mut times).await?,
                Next::Stuck => self.wait_for_files(&guest_waker, &mut effects, &mut times).await?,
                Next::Differs => {}
            }
        }
    }

    /// Gives a guest that is run again what it was given before, once it is where it was then.
    async fn come_again(&self, rule: &mut Rule, effects: &mut Effects, polled: Polled) -> Result<(), Ended> {
        let Some(turn) = self.turn else { return Ok(()) };
        if let Some(error) = turn.journal().diverged() {
            return Err(Ended::Diverged(error));
        }
        let event = turn.journal().next_event();
        match (rule.again(polled, event.as_ref()), event) {
            (Next::Poll, _) => Ok(()),
            (Next::Release, Some(event)) => {
                let arrival = self.arrive_again(effects, &event).await?;
                if !arrival.is_wanted() {
                    let difference = format!("it does not want {:?} any more, which it was given before", event.of);
                    return Err(Ended::Diverged(turn.journal().differ(&difference)));
                }
                turn.clock().deliver(event.at_ns, self.clock.now_ns());
                rule.released();
                turn.journal().event_passed();
                arrival.deliver();
                Ok(())
            }
            (Next::Pause, _) => {
                tokio::task::yield_now().await;
                Ok(())
            }
            _ => Err(Ended::Diverged(turn.journal().stops_short())),
        }
    }

    /// What came before, once more: a steer that waits, a failure as it is recorded, or the effect's answer.
    async fn arrive_again(&self, effects: &mut Effects, event: &Event) -> Result<Box<dyn Arrival>, Ended> {
        let missing = || {
            let difference = format!("it was given {:?} before, and that does not come again", event.of);
            let error = self.turn.map(|turn| turn.journal().differ(&difference));
            Ended::Diverged(error.unwrap_or_else(|| WireError::new(ErrorCode::Internal, "no turn is run again")))
        };
        let (n, failed) = match &event.of {
            Of::Steer(id) => return self.steers.and_then(|steers| steers.again(id)).ok_or_else(missing),
            Of::Answer { n, failed } => (*n, failed.clone()),
        };
        let held = effects.held.iter().position(|issued| issued.n == n).ok_or_else(missing)?;
        let issued = effects.held.remove(held);
        if let Some(error) = failed {
            return Ok((issued.fails)(error));
        }
        tokio::select! {
            arrived = issued.effect => arrived.ok_or_else(missing),
            reason = self.stop.stopped() => Err(Ended::Stopped(reason)),
            () = tokio::time::sleep(AGAIN_MAX) => Err(missing()),
        }
    }

    /// The guest is where it was: from here on it is live.
    fn go_on(&self, effects: &mut Effects, times: &mut Times) {
        let Some(turn) = self.turn else { return };
        turn.goes_on();
        turn.set_waiting(false);
        for issued in std::mem::take(&mut effects.held) {
            effects.issue(issued);
        }
        // What people have waited for it counts, whether or not a guest was there.
        let began = Duration::from_millis(turn.spec().now_ms);
        times.wait = Duration::from_nanos(self.clock.now_ns()).saturating_sub(began);
    }

    /// Makes durable what has to be before the guest, or anybody else, goes on.
    async fn write_urgent(&self) -> Result<(), Ended> {
        match self.turn.filter(|turn| turn.journal().is_urgent()) {
            Some(turn) => turn.write_journal().await.map_err(Ended::Journal),
            None => Ok(()),
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

    /// Releases one event; what nobody wants any more is dropped and leaves the clock alone. `forced`: the guest never rests.
    async fn release(&self, rule: &mut Rule, effects: &mut Effects, forced: bool) -> Result<(), Ended> {
        while let Some(arrival) = effects.arrived.pop_front() {
            if !arrival.is_wanted() {
                continue;
            }
            // An answer that came in meanwhile is durable before the guest has it.
            self.write_urgent().await?;
            let yields = rule.released();
            if let Some(turn) = self.turn {
                let now_ns = self.clock.now_ns();
                let at_ns = now_ns.max(arrival.not_before_ns());
                turn.clock().deliver(at_ns, now_ns);
                turn.journal().event(at_ns, yields, forced, arrival.recorded());
            }
            tracing::trace!(yields, "event released");
            arrival.deliver();
            return Ok(());
        }
        Ok(())
    }

    /// Waits until something arrives, within the time that such a wait may take.
    async fn wait(&self, guest: &GuestWaker, effects: &mut Effects, times: &mut Times) -> Result<(), Ended> {
        let for_host = self.gate.waits_for_host();
        let mut patience = self.patience(for_host, times);
        if let Some(turn) = self.turn {
            turn.set_waiting(true);
        }
        let mut woke = until(self.stop, guest, effects, patience.left).await;
        if let (Woke::TimeOver, true, Some(turn)) = (&woke, patience.suspends, self.turn) {
            match turn.write_journal().await {
                Ok(()) if turn.journal().is_kept() => return Err(Ended::Suspended(self.gate.next_due_ns())),
                // It goes on to wait as it is.
                written => {
                    if let Err(error) = written {
                        tracing::warn!(turn_id = turn.spec().turn_id, %error, "a turn that waits cannot be recorded");
                    }
                    times.wait += patience.left;
                    times.mark += patience.left;
                    patience = Patience { suspends: false, left: self.wait.saturating_sub(times.wait), ..patience };
                    woke = until(self.stop, guest, effects, patience.left).await;
                }
            }
        }
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
            Woke::TimeOver => Err(Ended::Limit(patience.limit)),
        }
    }

    /// How long the guest may wait now.
    fn patience(&self, for_host: bool, times: &Times) -> Patience {
        if for_host {
            let left = self.wall.saturating_sub(times.wall);
            return Patience { left, limit: LimitReached::Wall(self.wall), suspends: false };
        }
        let left = self.wait.saturating_sub(times.wait);
        let suspends = left > self.waiting_idle && self.turn.is_some_and(|turn| turn.journal().is_kept());
        let left = if suspends { self.waiting_idle } else { left };
        Patience { left, limit: LimitReached::Wait(self.wait), suspends }
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
