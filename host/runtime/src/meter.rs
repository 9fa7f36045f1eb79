//! Processor time of one turn, and the ticks that let a running guest be looked at.
//!
//! Time inside polls counts, whatever the guest does in them. The ticker's thread sleeps while no guest runs.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Duration;

use podium_kit::Clock;
use wasmtime::Engine;

/// Time between two ticks: how long a spinning guest runs before it is looked at.
const TICK: Duration = Duration::from_millis(5);
/// Ticks without a running guest after which the thread sleeps: waking it costs more than a few idle ticks.
const IDLE_TICKS_MAX: u32 = 20;

/// Processor time and yields of one turn; shared by its driver and the engine's callback.
#[derive(Debug)]
pub(crate) struct Meter {
    clock: Clock,
    limit: Duration,
    spent_ns: AtomicU64,
    poll_began_ns: AtomicU64,
    yields: AtomicU64,
}

impl Meter {
    pub(crate) fn new(clock: Clock, limit: Duration) -> Self {
        Self { clock, limit, spent_ns: AtomicU64::new(0), poll_began_ns: AtomicU64::new(0), yields: AtomicU64::new(0) }
    }

    /// A poll of the guest begins.
    pub(crate) fn begin(&self) {
        self.poll_began_ns.store(nanos(self.clock.monotonic()), Ordering::Release);
    }

    /// It ended; answers the time now.
    pub(crate) fn end(&self) -> Duration {
        let now = self.clock.monotonic();
        let began = self.poll_began_ns.load(Ordering::Acquire);
        self.spent_ns.fetch_add(nanos(now).saturating_sub(began), Ordering::AcqRel);
        now
    }

    /// True once more than the limit is spent; to be asked between polls.
    pub(crate) fn is_over(&self) -> bool {
        self.spent_ns.load(Ordering::Acquire) > nanos(self.limit)
    }

    /// The same from inside a poll.
    pub(crate) fn is_over_now(&self) -> bool {
        let running = nanos(self.clock.monotonic()).saturating_sub(self.poll_began_ns.load(Ordering::Acquire));
        self.spent_ns.load(Ordering::Acquire).saturating_add(running) > nanos(self.limit)
    }

    /// Counts a yield that the ticker made, which is none of the guest's own.
    pub(crate) fn count_yield(&self) {
        self.yields.fetch_add(1, Ordering::AcqRel);
    }

    /// How many there were.
    pub(crate) fn yields(&self) -> u64 {
        self.yields.load(Ordering::Acquire)
    }

    /// The limit.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[derive(Debug, Default)]
struct Activity {
    running: AtomicUsize,
    asleep: AtomicBool,
}

/// Ticks the engine's epoch while a guest runs.
#[derive(Debug)]
pub(crate) struct Ticker {
    activity: Arc<Activity>,
    thread: Thread,
}

impl Ticker {
    /// Starts the thread; it ends when the ticker is dropped.
    pub(crate) fn start(engine: &Engine) -> std::io::Result<Self> {
        let activity = Arc::new(Activity::default());
        let watched = Arc::downgrade(&activity);
        let engine = engine.clone();
        let handle = podium_kit::spawn::thread("epoch-ticker", move || tick(&engine, &watched))?;
        Ok(Self { activity, thread: handle.thread().clone() })
    }

    /// A guest runs until the guard is dropped.
    pub(crate) fn running(&self) -> Running<'_> {
        self.activity.running.fetch_add(1, Ordering::SeqCst);
        if self.activity.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(&self.activity.running)
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // The thread sees that the activity is gone.
        self.thread.unpark();
    }
}

/// Counts one running guest.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn tick(engine: &Engine, watched: &Weak<Activity>) {
    let mut idle = 0;
    while let Some(activity) = watched.upgrade() {
        engine.increment_epoch();
        idle = if activity.running.load(Ordering::SeqCst) == 0 { idle + 1 } else { 0 };
        let sleep = idle >= IDLE_TICKS_MAX && {
            activity.asleep.store(true, Ordering::SeqCst);
            // A guest that began before the store did not wake the thread.
            activity.running.load(Ordering::SeqCst) == 0
        };
        if sleep {
            drop(activity);
            std::thread::park();
            idle = 0;
            if let Some(activity) = watched.upgrade() {
                activity.asleep.store(false, Ordering::SeqCst);
            }
        } else {
            activity.asleep.store(false, Ordering::SeqCst);
            drop(activity);
            std::thread::sleep(TICK);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_inside_polls_counts() {
        let clock = Clock::manual(1_000);
        let meter = Meter::new(clock.clone(), Duration::from_millis(10));
        clock.advance(Duration::from_secs(1));
        meter.begin();
        clock.advance(Duration::from_millis(6));
        assert!(!meter.is_over_now());
        meter.end();
        clock.advance(Duration::from_secs(1));
        meter.begin();
        clock.advance(Duration::from_millis(4));
        assert!(!meter.is_over_now(), "the limit itself is allowed");
        clock.advance(Duration::from_nanos(1));
        assert!(meter.is_over_now());
        meter.end();
        assert!(meter.is_over());
    }

    #[test]
    fn ticks_while_a_guest_runs_and_again_after_sleep() {
        let engine = Engine::default();
        let ticker = Ticker::start(&engine).expect("starts");
        for _ in 0..2 {
            // Waits past the idle ticks, so that the thread is asleep when the guest begins.
            std::thread::sleep(TICK * (IDLE_TICKS_MAX + 10));
            assert!(ticker.activity.asleep.load(Ordering::SeqCst));
            let running = ticker.running();
            std::thread::sleep(TICK * 4);
            assert!(!ticker.activity.asleep.load(Ordering::SeqCst));
            drop(running);
        }
    }
}
