//! What an owner has to do at a time: kept as deadlines, by the monotonic clock, and not as sleeps, which would begin anew with
//! every command and never end under a flood of them.
//!
//! Decides when; must never do what is due.

use std::time::Duration;

/// How long a line of an agent's log waits for others at most while a turn runs: short enough to follow with the eye.
const FLUSH: Duration = Duration::from_millis(200);

/// How long a turn must wait before its count of deaths is written as 0. A death in a shorter wait counts; writing at each short
/// wait would cost two transactions for every page of history that an agent reads.
const WAIT_SETTLED: Duration = Duration::from_millis(100);

/// How long after a turn that could not be started it is tried again: a disk that was full or busy may not be any more, and
/// nobody may come to ask.
const START_AGAIN: Duration = Duration::from_secs(1);

/// An owner's deadlines.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    start: Option<Duration>,
    log: Option<Duration>,
    wait: Option<(u64, Duration)>,
}

impl Deadlines {
    /// A turn is started, or there is none to start.
    pub(super) fn start_tried(&mut self) {
        self.start = None;
    }

    /// That failed.
    pub(super) fn start_failed(&mut self, now: Duration) {
        self.start = Some(now + START_AGAIN);
    }

    /// When it is tried again.
    pub(super) fn start(&self) -> Option<Duration> {
        self.start
    }

    /// When the log is written, if lines wait: the first one's time counts.
    pub(super) fn log(&mut self, lines_wait: bool, now: Duration) -> Option<Duration> {
        self.log = lines_wait.then(|| self.log.unwrap_or(now + FLUSH));
        self.log
    }

    /// When this wait has lasted long enough to count as one; waits have numbers.
    pub(super) fn wait(&mut self, number: Option<u64>, now: Duration) -> Option<Duration> {
        let kept = |number| self.wait.filter(|(known, _)| *known == number);
        self.wait = number.map(|number| kept(number).unwrap_or((number, now + WAIT_SETTLED)));
        self.wait.map(|(_, at)| at)
    }
}

/// Resolves at a time; at once, without the timer, when that is past, so that no other event can keep it waiting.
pub(super) async fn reached(at: Option<Duration>, now: Duration) {
    match at {
        Some(at) if at <= now => {}
        Some(at) => tokio::time::sleep(at.saturating_sub(now)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However often and for whatever reason the owner looks: each deadline stays where it was first set.
        #[test]
        fn looking_puts_nothing_off(pauses in prop::collection::vec(0..150_u64, 1..40)) {
            let mut deadlines = Deadlines::default();
            let first = Duration::from_secs(7);
            deadlines.start_failed(first);
            let mut now = first;
            for pause in pauses {
                prop_assert_eq!(deadlines.log(true, now), Some(first + FLUSH));
                prop_assert_eq!(deadlines.wait(Some(3), now), Some(first + WAIT_SETTLED));
                prop_assert_eq!(deadlines.start(), Some(first + START_AGAIN));
                now += Duration::from_millis(pause);
            }
            // Another wait, other lines: from now on.
            prop_assert_eq!(deadlines.wait(Some(5), now), Some(now + WAIT_SETTLED));
            prop_assert_eq!(deadlines.log(false, now), None);
            prop_assert_eq!(deadlines.log(true, now), Some(now + FLUSH));
        }
    }
}
