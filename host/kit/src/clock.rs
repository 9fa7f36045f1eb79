//! The clock: wall time in milliseconds and monotonic time, real or set by hand.
//!
//! The only place that reads the system's clocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A source of time; clones share it.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System {
        start: Instant,
    },
    /// Nanoseconds since the Unix epoch.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The system's clocks.
    #[expect(clippy::disallowed_methods, reason = "kit is the door to the system's clocks")]
    pub fn system() -> Self {
        Self(Source::System { start: Instant::now() })
    }

    /// A clock that moves only when [`Clock::advance`] is called.
    pub fn manual(start_ms: u64) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start_ms.saturating_mul(1_000_000)))))
    }

    /// Moves a manual clock; the system's goes by itself.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }

    /// Nanoseconds since the Unix epoch; 0 for a system clock set before it.
    #[expect(clippy::disallowed_methods, reason = "kit is the door to the system's clocks")]
    pub fn now_ns(&self) -> u64 {
        match &self.0 {
            Source::System { .. } => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
            Source::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.now_ns() / 1_000_000
    }

    /// Time since some fixed moment, never going back.
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Source::System { start } => start.elapsed(),
            Source::Manual(now) => Duration::from_nanos(now.load(Ordering::SeqCst)),
        }
    }
}
