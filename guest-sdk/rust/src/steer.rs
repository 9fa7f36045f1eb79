//! Words into a running turn, inside the guest: from `on_steer` to the `on_message` that waits.
//!
//! Owns the one inbox of a guest. `on_steer` and `on_message` are two tasks of one component; what one hands on wakes the
//! other. Must never keep a word of one turn for the next.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::Message;

/// What ended a wait that can be steered.
#[derive(Debug, Clone, PartialEq)]
pub enum Waited<T> {
    /// What was waited for has come.
    Done(T),
    /// Somebody said something first.
    Steered(Message),
}

/// What was handed on and not taken yet.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    messages: VecDeque<Message>,
    waker: Option<Waker>,
}

impl Inbox {
    pub(crate) fn push(&mut self, message: Message) {
        self.messages.push_back(message);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn take(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Message> {
        match self.take() {
            Some(message) => Poll::Ready(message),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// The inbox of the one guest that this component is.
#[cfg(target_arch = "wasm32")]
pub(crate) mod own {
    use std::cell::RefCell;

    use super::Inbox;

    thread_local! {
        static INBOX: RefCell<Inbox> = RefCell::default();
    }

    pub(crate) fn with<T>(run: impl FnOnce(&mut Inbox) -> T) -> T {
        INBOX.with_borrow_mut(run)
    }
}

/// The next word that is handed on.
pub(crate) async fn next() -> Message {
    poll_fn(|cx| crate::host::inbox::with(|inbox| inbox.poll(cx))).await
}

/// Waits for either; a word that has come goes first.
pub(crate) async fn unless<F: Future>(future: F) -> Waited<F::Output> {
    let mut future = std::pin::pin!(future);
    poll_fn(|cx| {
        if let Poll::Ready(message) = crate::host::inbox::with(|inbox| inbox.poll(cx)) {
            return Poll::Ready(Waited::Steered(message));
        }
        future.as_mut().poll(cx).map(Waited::Done)
    })
    .await
}
