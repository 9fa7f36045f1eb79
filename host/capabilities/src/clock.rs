//! The turn clock: the only time a guest sees.
//!
//! It stands still while the guest runs but for one nanosecond a read, and moves to the time of each event
//! that is delivered, so that a replay of the events shows the same times. Never goes back. Times that were not read from
//! it, as those of files, must go through [`TurnClock::shown_ns`].

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Times of events that are kept, the first and the latest: of files that are older than those a turn learns less.
const TIMES_MAX: usize = 64;

/// Nanoseconds since the Unix epoch, as one turn sees them.
#[derive(Debug)]
pub struct TurnClock {
    now_ns: AtomicU64,
    /// When it stood still anew, by the host's clock and by this one: its start, then the times of events. Rising.
    times_ns: Mutex<Vec<(u64, u64)>>,
}

impl TurnClock {
    /// A clock that starts at this time.
    pub(crate) fn new(start_ns: u64) -> Self {
        Self { now_ns: AtomicU64::new(start_ns), times_ns: Mutex::new(vec![(start_ns, start_ns)]) }
    }

    /// The time now; each read is one nanosecond later than the one before.
    pub fn now_ns(&self) -> u64 {
        self.now_ns.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    /// Moves to the time of an event that is delivered; an earlier time changes nothing. An event that comes again comes later
    /// by the host's clock, `host_ns`, than it did first.
    pub fn deliver(&self, at_ns: u64, host_ns: u64) {
        if self.now_ns.fetch_max(at_ns, Ordering::AcqRel) < at_ns {
            let mut times = self.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
            if times.len() == TIMES_MAX {
                times.remove(1);
            }
            // Two events may have raced for the lock.
            if times.last().is_none_or(|(_, last)| *last < at_ns) {
                let before = times.last().map_or(0, |(host, _)| *host);
                times.push((host_ns.max(before), at_ns));
            }
        }
    }

    /// What a guest may know of a time that the host's clock gave: one before the turn as it is, a later one only as the
    /// time at which this clock stood then.
    pub fn shown_ns(&self, at_ns: u64) -> u64 {
        let times = self.times_ns.lock().unwrap_or_else(PoisonError::into_inner);
        let earlier = times.partition_point(|(host, _)| *host <= at_ns);
        earlier.checked_sub(1).and_then(|last| times.get(last)).map_or(at_ns, |(_, shown)| *shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rise_and_events_never_take_it_back() {
        let clock = TurnClock::new(1_000);
        assert_eq!([clock.now_ns(), clock.now_ns()], [1_001, 1_002]);
        clock.deliver(5_000, 5_000);
        assert_eq!(clock.now_ns(), 5_001);
        clock.deliver(10, 10);
        assert_eq!(clock.now_ns(), 5_002);
    }

    #[test]
    fn times_of_the_host_tell_no_more_than_the_clock_did() {
        let clock = TurnClock::new(1_000);
        assert_eq!([0, 999, 1_000, 1_001, u64::MAX].map(|at| clock.shown_ns(at)), [0, 999, 1_000, 1_000, 1_000]);
        clock.deliver(5_000, 5_000);
        assert_eq!([999, 4_999, 5_000, 9_000].map(|at| clock.shown_ns(at)), [999, 1_000, 5_000, 5_000]);
        for event in 0..1_000 {
            clock.deliver(10_000 + event, 10_000 + event);
        }
        let shown = [4_999, 9_000, 10_100, 10_999, u64::MAX].map(|at| clock.shown_ns(at));
        assert_eq!(shown, [1_000, 1_000, 1_000, 10_999, 10_999], "what is kept is bounded");
    }

    #[test]
    fn an_event_that_comes_again_shows_the_times_of_then() {
        let clock = TurnClock::new(1_000);
        clock.deliver(5_000, 90_000);
        // Written before it came again, and after it.
        assert_eq!([80_000, 95_000].map(|at| clock.shown_ns(at)), [1_000, 5_000]);
    }
}
