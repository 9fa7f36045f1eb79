//! Waiting for a condition, with a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long a condition may take before a story fails: far longer than it takes, because machines are loaded.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two looks at a condition.
const STEP: Duration = Duration::from_millis(5);

/// Looks until there is something; fails naming what was awaited.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    within(PATIENCE, what, look).await
}

/// The same with another deadline.
pub async fn within<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < patience, "after {patience:?} still waiting for {what}");
        tokio::time::sleep(STEP).await;
    }
}
