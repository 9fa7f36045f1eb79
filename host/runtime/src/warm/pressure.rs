//! Whether memory is short: then no guest may rest, whatever the budget says.
//!
//! Owns how short it has to be, and how often that is looked at. Must never keep a turn waiting: a look is three small files
//! of the kernel's, at most once a second, when a guest comes to rest.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use podium_kit::Clock;
use podium_kit::machine::{self, Groups, Memory};

/// Memory is short when less than one part in so many is left, of the machine or of a control group above this process. The
/// rest is for guests in a turn, databases and the page cache: a cache of ours must not take the last of it.
const LEFT_PART: u64 = 20;

/// How long a look is good for: a burst of turns must not read the kernel's files at each end.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of the memory that is left.
#[derive(Debug)]
pub(crate) struct Pressure {
    clock: Clock,
    groups: Groups,
    /// When it was looked at last, and whether memory was short.
    last: Mutex<Option<(Duration, bool)>>,
}

impl Pressure {
    /// Of this machine and this process's control groups.
    pub(crate) fn new(clock: Clock) -> Self {
        Self { clock, groups: Groups::own(), last: Mutex::new(None) }
    }

    /// True when no guest should rest.
    pub(super) fn is_on(&self) -> bool {
        self.look(|| is_short(machine::memory().into_iter().chain(self.groups.memory())))
    }

    fn look(&self, is_short: impl FnOnce() -> bool) -> bool {
        let now = self.clock.monotonic();
        // A panic in between leaves what was known.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, known)) if now.saturating_sub(at) < LOOK_EVERY => known,
            _ => {
                let short = is_short();
                *last = Some((now, short));
                short
            }
        }
    }
}

/// What cannot be read is no reason.
fn is_short(bounds: impl IntoIterator<Item = Memory>) -> bool {
    bounds.into_iter().any(|memory| memory.available < memory.total / LEFT_PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bound_that_is_nearly_reached_is_enough() {
        let of = |total, available| Memory { total, available };
        assert!(!is_short([]));
        assert!(!is_short([of(1000, 50)]) && is_short([of(1000, 49)]));
        assert!(is_short([of(1000, 900), of(100, 4)]) && is_short([of(1000, 9), of(100, 90)]));
        assert!(!is_short([of(0, 0)]), "a bound that says nothing");
    }

    #[test]
    fn it_looks_once_a_second() {
        let clock = Clock::manual(0);
        let pressure = Pressure::new(clock.clone());
        assert!(pressure.look(|| true));
        clock.advance(Duration::from_millis(999));
        assert!(pressure.look(|| false), "what is known is good for a second");
        clock.advance(Duration::from_millis(1));
        assert!(!pressure.look(|| false));
    }
}
