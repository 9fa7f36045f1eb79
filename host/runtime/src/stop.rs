//! Ending a turn from outside: one handle, one signal, one reason.
//!
//! The first reason stays, but that an interrupt comes before a host stop. The signal is looked at inside the guest's loops too, so a spinning guest ends.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Why a turn is ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// Somebody asked for it; the turn fails with `POD-4008`.
    #[error("the turn was interrupted")]
    Interrupt,
    /// The host stops; the turn is run again at its next start.
    #[error("the host is stopping")]
    HostStop,
}

#[derive(Debug, Default)]
struct Shared {
    /// 0 none, 1 interrupt, 2 host stop.
    reason: AtomicU8,
    waker: AtomicWaker,
}

/// Ends a turn. Dropping it ends nothing.
#[derive(Debug, Clone)]
pub struct StopHandle(Arc<Shared>);

/// What a running turn watches.
#[derive(Debug)]
pub struct StopSignal(Arc<Shared>);

/// A handle and the signal that it gives.
pub fn stop_pair() -> (StopHandle, StopSignal) {
    let shared = Arc::new(Shared::default());
    (StopHandle(Arc::clone(&shared)), StopSignal(shared))
}

impl StopHandle {
    /// Ends the turn for this reason. A host stop behind an interrupt changes nothing; the other way round the turn that a
    /// person ended must not run again.
    pub fn stop(&self, reason: StopReason) {
        let was = match reason {
            StopReason::Interrupt => self.0.reason.swap(1, Ordering::AcqRel),
            StopReason::HostStop => {
                self.0.reason.compare_exchange(0, 2, Ordering::AcqRel, Ordering::Acquire).unwrap_or_else(|was| was)
            }
        };
        if was == 0 {
            self.0.waker.wake();
        }
    }
}

impl StopSignal {
    /// The reason, once there is one.
    pub fn reason(&self) -> Option<StopReason> {
        match self.0.reason.load(Ordering::Acquire) {
            1 => Some(StopReason::Interrupt),
            2 => Some(StopReason::HostStop),
            _ => None,
        }
    }

    /// Ready once there is a reason. One task at a time may poll it.
    pub(crate) fn poll_stopped(&self, cx: &mut Context<'_>) -> Poll<StopReason> {
        self.0.waker.register(cx.waker());
        self.reason().map_or(Poll::Pending, Poll::Ready)
    }

    /// Resolves once there is a reason.
    pub async fn stopped(&self) -> StopReason {
        poll_fn(|cx| self.poll_stopped(cx)).await
    }

    /// A second look at the same signal, for the guest's own loops.
    pub(crate) fn watcher(&self) -> StopWatcher {
        StopWatcher(StopSignal(Arc::clone(&self.0)))
    }
}

/// Looks at a signal without waiting for it.
#[derive(Debug)]
pub(crate) struct StopWatcher(StopSignal);

impl StopWatcher {
    pub(crate) fn reason(&self) -> Option<StopReason> {
        self.0.reason()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_wins() {
        let (handle, signal) = stop_pair();
        assert_eq!(signal.reason(), None);
        handle.stop(StopReason::HostStop);
        assert_eq!(signal.reason(), Some(StopReason::HostStop));
        handle.stop(StopReason::Interrupt);
        assert_eq!(signal.reason(), Some(StopReason::Interrupt));
        handle.stop(StopReason::HostStop);
        assert_eq!(signal.watcher().reason(), Some(StopReason::Interrupt));
    }
}
