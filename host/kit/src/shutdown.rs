//! Shutdown: one token that everything watches, and a count of what still runs.
//!
//! Clones are the same shutdown. Must never wait without a bound: `finish` takes one.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::threads::BlockingThreads;

/// Asks tasks to end and waits for them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins it; a second call does nothing.
    pub fn begin(&self) {
        self.token.cancel();
        self.tasks.close();
    }

    /// True once it has begun.
    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves once it has begun.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// Starts a task that [`Shutdown::finish`] waits for.
    pub fn task<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        crate::spawn::task(name, self.tasks.track_future(future))
    }

    /// The same on threads that may block.
    pub fn task_on<F>(&self, threads: &BlockingThreads, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        threads.spawn(name, self.tasks.track_future(future))
    }

    /// Begins it and waits until all its tasks have ended; false when `limit` came first.
    pub async fn finish(&self, limit: Duration) -> bool {
        self.begin();
        tokio::time::timeout(limit, self.tasks.wait()).await.is_ok()
    }
}
