//! The guests' own threads: a tokio runtime apart from HTTP, sockets and health.
//!
//! A guest's file calls block its thread, so there are more threads than cores. Must never be dropped on a
//! thread of another runtime by waiting for it.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Threads per core: some block on files while others run.
const THREADS_PER_CORE: usize = 4;
/// Fewest threads.
const THREADS_MIN: usize = 4;
/// Most threads: beyond it they only compete.
const THREADS_MAX: usize = 64;

/// The guests' runtime.
#[derive(Debug)]
pub(crate) struct GuestThreads {
    // Taken out only by drop.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl GuestThreads {
    pub(crate) fn start() -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = (cores * THREADS_PER_CORE).clamp(THREADS_MIN, THREADS_MAX);
        let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name("guest").enable_time().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs a future on the guests' threads. It is dropped there when the answer is dropped.
    pub(crate) fn run<F>(&self, name: &'static str, future: F) -> OnGuestThread<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        OnGuestThread(podium_kit::spawn::task_on(&self.handle, name, future))
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A task on the guests' threads; dropping it ends the task.
#[derive(Debug)]
pub(crate) struct OnGuestThread<T>(JoinHandle<T>);

impl<T> OnGuestThread<T> {
    /// Its result; none when it panicked.
    pub(crate) async fn finished(mut self) -> Option<T> {
        (&mut self.0).await.ok()
    }
}

impl<T> Drop for OnGuestThread<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
