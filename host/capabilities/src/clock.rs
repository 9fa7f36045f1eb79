//! The turn clock: the only time a guest sees.
//!
//! It stands still while the guest runs but for one nanosecond a read, and moves to the time of each event
//! that is delivered, so that a replay of the events shows the same times. Never goes back.

use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds since the Unix epoch, as one turn sees them.
#[derive(Debug)]
pub struct TurnClock(AtomicU64);

impl TurnClock {
    /// A clock that starts at this time.
    pub(crate) fn new(start_ns: u64) -> Self {
        Self(AtomicU64::new(start_ns))
    }

    /// The time now; each read is one nanosecond later than the one before.
    pub fn now_ns(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }

    /// Moves to the time of a delivered event; an earlier time changes nothing.
    pub fn deliver(&self, at_ns: u64) {
        self.0.fetch_max(at_ns, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rise_and_events_never_take_it_back() {
        let clock = TurnClock::new(1_000);
        assert_eq!([clock.now_ns(), clock.now_ns()], [1_001, 1_002]);
        clock.deliver(5_000);
        assert_eq!(clock.now_ns(), 5_001);
        clock.deliver(10);
        assert_eq!(clock.now_ns(), 5_002);
    }
}
