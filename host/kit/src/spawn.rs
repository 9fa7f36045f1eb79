//! Tasks and threads: the one way to start them.
//!
//! A task that panics is logged with its name; nothing else notices it.

use std::future::Future;
use std::io;
use std::panic::AssertUnwindSafe;

use tokio::task::JoinHandle;

/// Starts a task on the current runtime.
#[expect(clippy::disallowed_methods, reason = "kit is the door to spawning")]
pub fn task<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(Named { name, future: Box::pin(future) })
}

/// Starts a task on another runtime than the current one.
pub fn task_on<F>(runtime: &tokio::runtime::Handle, name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    runtime.spawn(Named { name, future: Box::pin(future) })
}

/// Runs a blocking function on the current runtime's blocking threads.
#[expect(clippy::disallowed_methods, reason = "kit is the door to spawning")]
pub fn blocking<R, F>(function: F) -> JoinHandle<R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    tokio::task::spawn_blocking(function)
}

/// Starts a thread with a name.
#[expect(clippy::disallowed_methods, reason = "kit is the door to spawning")]
pub fn thread<F>(name: &str, function: F) -> io::Result<std::thread::JoinHandle<()>>
where
    F: FnOnce() + Send + 'static,
{
    std::thread::Builder::new().name(name.to_owned()).spawn(function)
}

/// Logs a panic of the inner future with the task's name, then lets it go on.
struct Named<F: Future> {
    name: &'static str,
    future: std::pin::Pin<Box<F>>,
}

impl<F: Future> Future for Named<F> {
    type Output = F::Output;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        let name = self.name;
        let future = &mut self.future;
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                tracing::error!(task = name, "task panicked");
                std::panic::resume_unwind(panic)
            }
        }
    }
}
