//! Words into a running turn: from the owner's hands through the gate into `on-steer`, in the guest that waits.
//!
//! Owns the queue of one attempt and the joining of the hooks. A steer is an external event: the driver releases it like any
//! answer, one at a time, and only to a quiescent guest. Must never start a hook before the guest waits, nor after the main
//! hook has ended.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;
use podium_wire::message::Message;

use crate::gate::Arrival;
use podium_capabilities::journal::{Of, Recorded};

#[derive(Debug, Default)]
struct Queue {
    /// Wait for the guest to wait.
    waiting: VecDeque<Message>,
    /// Of those, how many are in the driver's hands as events that have arrived.
    offered: usize,
    /// Released, and not started yet.
    released: VecDeque<Message>,
    /// Hooks that run.
    running: usize,
    /// The main hook has ended: nothing is started any more.
    closed: bool,
    /// The guest's root future, which starts hooks.
    root: Option<Waker>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// The driver, while it sleeps.
    driver: AtomicWaker,
}

/// The steers of one attempt; clones are the same ones.
#[derive(Clone, Default)]
pub struct Steers(Arc<Shared>);

impl fmt::Debug for Steers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steers").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

impl Steers {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing under this lock can panic half way.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a steer behind the others. The caller bounds how many there are.
    pub fn push(&self, message: Message) {
        self.lock().waiting.push_back(message);
        self.0.driver.wake();
    }

    /// Those that wait for the guest, and those that it is taking in.
    pub fn pending(&self) -> usize {
        let queue = self.lock();
        queue.waiting.len() + queue.released.len() + queue.running
    }

    /// The ids of those whose hook was never called, in order.
    pub fn undelivered(&self) -> Vec<String> {
        let queue = self.lock();
        queue.released.iter().chain(&queue.waiting).map(|message| message.id.clone()).collect()
    }

    /// True while a steer can still reach the guest.
    pub(crate) fn are_open(&self) -> bool {
        !self.lock().closed
    }

    /// The event of the first steer that waits, as it came before; none when another one, or none, waits.
    pub(crate) fn again(&self, id: &str) -> Option<Box<dyn Arrival>> {
        let mut queue = self.lock();
        let is_first = queue.waiting.front().is_some_and(|message| message.id == id);
        if !is_first || queue.closed {
            return None;
        }
        queue.offered += 1;
        drop(queue);
        Some(Box::new(Offered(self.clone())))
    }

    /// The events of steers that came since the last time; wakes `cx` when another one comes.
    pub(crate) fn poll_arrivals(&self, cx: &mut Context<'_>) -> Vec<Box<dyn Arrival>> {
        self.0.driver.register(cx.waker());
        let mut queue = self.lock();
        let new = queue.waiting.len().saturating_sub(queue.offered);
        queue.offered += new;
        drop(queue);
        (0..new).map(|_| Box::new(Offered(self.clone())) as Box<dyn Arrival>).collect()
    }

    /// Runs the main hook, and beside it one of `start` for each released steer. Ends when the main hook has ended and every
    /// started one too; at once when one of them traps, or when the main hook's answer is no good, which `is_good` says.
    pub(crate) async fn beside<'a, T, U, E>(
        &self,
        main: impl Future<Output = Result<T, E>>,
        is_good: impl Fn(&T) -> bool,
        mut start: impl FnMut(Message) -> Hook<'a, U, E>,
        mut ended: impl FnMut(U),
    ) -> Result<T, E> {
        let mut main = std::pin::pin!(main);
        let mut answer = None;
        let mut hooks: Vec<Hook<'a, U, E>> = Vec::new();
        poll_fn(|cx| {
            if answer.is_none()
                && let Poll::Ready(answered) = main.as_mut().poll(cx)
            {
                self.lock().closed = true;
                let value = match answered {
                    Ok(value) if is_good(&value) => value,
                    other => return Poll::Ready(other),
                };
                answer = Some(value);
            }
            while let Some(message) = self.next_released(cx) {
                hooks.push(start(message));
            }
            // By index, so that the order of polls is the order of the steers.
            let mut place = 0;
            while let Some(hook) = hooks.get_mut(place) {
                match hook.as_mut().poll(cx) {
                    Poll::Pending => place += 1,
                    Poll::Ready(Err(trap)) => return Poll::Ready(Err(trap)),
                    Poll::Ready(Ok(done)) => {
                        drop(hooks.remove(place));
                        self.lock().running -= 1;
                        ended(done);
                    }
                }
            }
            match answer.take() {
                Some(value) if hooks.is_empty() => Poll::Ready(Ok(value)),
                value => {
                    answer = value;
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn next_released(&self, cx: &Context<'_>) -> Option<Message> {
        let mut queue = self.lock();
        queue.root = Some(cx.waker().clone());
        if queue.closed {
            return None;
        }
        let message = queue.released.pop_front()?;
        queue.running += 1;
        Some(message)
    }
}

/// A call of `on-steer`.
pub(crate) type Hook<'a, U, E> = Pin<Box<dyn Future<Output = Result<U, E>> + Send + 'a>>;

/// The event of the first steer that waits.
struct Offered(Steers);

impl Arrival for Offered {
    fn is_wanted(&self) -> bool {
        self.0.are_open()
    }

    fn not_before_ns(&self) -> u64 {
        0
    }

    fn recorded(&self) -> (Of, Recorded) {
        let id = self.0.lock().waiting.front().map(|message| message.id.clone());
        (Of::Steer(id.unwrap_or_default()), Recorded::Again)
    }

    fn deliver(self: Box<Self>) {
        let mut queue = self.0.lock();
        queue.offered = queue.offered.saturating_sub(1);
        if let Some(message) = queue.waiting.pop_front() {
            queue.released.push_back(message);
        }
        let root = queue.root.take();
        drop(queue);
        if let Some(root) = root {
            root.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use futures_util::FutureExt;
    use futures_util::task::noop_waker_ref;
    use podium_wire::message::{Origin, Role};
    use proptest::prelude::*;
    use tokio::sync::oneshot;

    use super::*;

    fn said(id: usize) -> Message {
        let origin = Origin { tenant_id: "local".to_owned(), role: "owner".to_owned(), channel: "ws".to_owned() };
        Message { id: id.to_string(), text: String::new(), role: Role::User, attachments: Vec::new(), origin }
    }

    fn arrivals(steers: &Steers) -> VecDeque<Box<dyn Arrival>> {
        steers.poll_arrivals(&mut Context::from_waker(noop_waker_ref())).into()
    }

    /// What a test does to a turn, at each step.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        Push,
        Release,
        Poll,
        EndHook,
        EndMain,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => Just(Step::Push), 4 => Just(Step::Release), 4 => Just(Step::Poll),
            2 => Just(Step::EndHook), 1 => Just(Step::EndMain),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        /// Whatever comes when: each steer is delivered once and in order, or told as undelivered; none starts after the
        /// main hook; the end comes when all that started has ended.
        #[test]
        fn every_steer_is_delivered_or_told(steps in steps()) {
            let steers = Steers::default();
            let started = RefCell::new(Vec::new());
            let ends: RefCell<VecDeque<oneshot::Sender<()>>> = RefCell::default();
            let (end_main, main) = oneshot::channel::<()>();
            let mut end_main = Some(end_main);
            let mut ended = 0;
            let start = |message: Message| -> Hook<'_, (), ()> {
                started.borrow_mut().push(message.id);
                let (end, hook) = oneshot::channel();
                ends.borrow_mut().push_back(end);
                hook.map(|_| Ok(())).boxed()
            };
            let count = RefCell::new(0);
            let mut all = Box::pin(steers.beside(
                main.map(|_| Ok::<(), ()>(())), |()| true, start, |()| *count.borrow_mut() += 1,
            ));
            let mut cx = Context::from_waker(noop_waker_ref());
            let (mut pushed, mut events, mut over) = (0, VecDeque::new(), false);
            for step in steps {
                match step {
                    Step::Push => { steers.push(said(pushed)); pushed += 1; }
                    Step::Release => {
                        events.extend(arrivals(&steers));
                        match events.pop_front() {
                            Some(event) if event.is_wanted() => event.deliver(),
                            _ => {}
                        }
                    }
                    Step::Poll => over = over || all.as_mut().poll(&mut cx).is_ready(),
                    Step::EndHook => {
                        if let Some(end) = ends.borrow_mut().pop_front() {
                            ended += 1;
                            let _ = end.send(());
                        }
                    }
                    Step::EndMain => {
                        if let Some(end) = end_main.take() {
                            let _ = end.send(());
                        }
                    }
                }
                if over {
                    break;
                }
                prop_assert_eq!(steers.pending() + *count.borrow(), pushed);
            }
            if over {
                prop_assert!(end_main.is_none() && !steers.are_open());
                prop_assert_eq!(started.borrow().len(), ended, "all that started has ended");
            }
            let told: Vec<String> = started.borrow().iter().cloned().chain(steers.undelivered()).collect();
            prop_assert_eq!(told, (0..pushed).map(|id| id.to_string()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_trap_of_either_ends_both() {
        let steers = Steers::default();
        steers.push(said(1));
        arrivals(&steers).pop_front().expect("arrived").deliver();
        let trap = |_| -> Hook<'_, (), &str> { async { Err("trap") }.boxed() };
        let never = std::future::pending::<Result<(), &str>>();
        assert_eq!(steers.beside(never, |()| true, trap, |()| {}).now_or_never(), Some(Err("trap")));

        let steers = Steers::default();
        steers.push(said(1));
        arrivals(&steers).pop_front().expect("arrived").deliver();
        let waits = |_| -> Hook<'_, (), &str> { std::future::pending().boxed() };
        let main = std::future::ready(Ok::<_, &str>(false));
        assert_eq!(steers.beside(main, |good| *good, waits, |()| {}).now_or_never(), Some(Ok(false)));
        assert_eq!(steers.undelivered(), ["1"], "nothing starts behind an end");
    }
}
