//! Threads whose tasks may block: where agents' owners, guests and databases run, apart from HTTP and health.
//!
//! There are more of them than cores, because some wait for a disk while others work. Code asks
//! [`may_block`] before it blocks; must never be true on a thread that serves connections.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Threads per core: with a real disk most of them wait in a commit, and commits in flight together share their syncs.
const THREADS_PER_CORE: usize = 16;
/// Fewest threads.
const THREADS_MIN: usize = 16;
/// Most threads: beyond it they only compete.
const THREADS_MAX: usize = 128;

thread_local! {
    static MAY_BLOCK: Cell<bool> = const { Cell::new(false) };
}

/// True on a thread of [`BlockingThreads`]: a task may do there what takes a disk's time.
pub fn may_block() -> bool {
    MAY_BLOCK.get()
}

/// A tokio runtime of such threads; clones are the same one. It ends, without waiting, when the last is dropped.
#[derive(Debug, Clone)]
pub struct BlockingThreads {
    handle: Handle,
    _runtime: Arc<Owned>,
}

/// Ends the runtime from wherever it is dropped, even one of its own threads.
#[derive(Debug)]
struct Owned(Option<Runtime>);

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl BlockingThreads {
    /// Starts the threads; `name` is what the system shows of them.
    ///
    /// # Errors
    /// When the system refuses threads.
    pub fn start(name: &str) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = cores.saturating_mul(THREADS_PER_CORE).clamp(THREADS_MIN, THREADS_MAX);
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(name)
            .on_thread_start(|| MAY_BLOCK.set(true))
            .enable_time()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), _runtime: Arc::new(Owned(Some(runtime))) })
    }

    /// Starts a task on these threads.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        crate::spawn::task_on(&self.handle, name, future)
    }

    /// Runs a future on these threads. It is dropped there when the answer is dropped.
    pub fn run<F>(&self, name: &'static str, future: F) -> OnBlockingThread<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        OnBlockingThread(self.spawn(name, future))
    }
}

/// A task on such a thread; dropping it ends the task.
#[derive(Debug)]
pub struct OnBlockingThread<T>(JoinHandle<T>);

impl<T> OnBlockingThread<T> {
    /// Its result; none when it panicked.
    pub async fn finished(mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl<T> Drop for OnBlockingThread<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_its_own_tasks_may_block() {
        let threads = BlockingThreads::start("test").expect("starts");
        assert_eq!(threads.run("asks", async { may_block() }).finished().await, Some(true));
        assert!(!may_block());
        assert_eq!(threads.run("panics", async { panic!("on purpose") }).finished().await, None::<()>);
        let own = threads.clone();
        threads.spawn("drops its own runtime", async move { drop(own) }).await.expect("ends");
    }
}
