//! A turn of a test: while it runs, and what it did.
//!
//! Owns the polling of hooks. Time moves here and only when everything waits. Must never go round for ever: a turn
//! that waits for nothing that comes ends the test.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::asks::{Asked, Said, fitting};
use super::played::{LogLine, Played, Record, enter};
use super::{Before, TestAgent};
use crate::bindings::exports::podium::agent::lifecycle::Guest;
use crate::bindings::podium::agent::types::Error as HostError;
use crate::entry::Shim;
use crate::updates::Element;
use crate::{Agent, Decision, Error, Hooks, Json, Message, Result};

type Call = Pin<Box<dyn Future<Output = Result<(), HostError>>>>;

/// A turn that has begun. Dropping it leaves it unfinished and takes back what it did.
#[must_use = "a turn goes on with `advance`, `steer` and `finish`"]
pub struct Running<'a, A: Agent> {
    agent: &'a mut TestAgent<A>,
    /// None only at the end of `finish` and `drop`.
    call: Option<Call>,
    outcome: Option<Result<(), HostError>>,
    before: Option<Before>,
}

impl<'a, A: Agent> Running<'a, A> {
    pub(super) fn start(agent: &'a mut TestAgent<A>, message: Message) -> Self {
        let said = Some((message.role, message.text.clone()));
        let before = Some(Before { message: said, ..Before::of(agent.host_mut()) });
        let call: Call = Box::pin(Shim::<A>::on_message(message));
        let mut running = Self { agent, call: Some(call), outcome: None, before };
        running.poll();
        running
    }

    /// True while the hook waits; false when the turn only needs to be finished.
    pub fn is_waiting(&self) -> bool {
        self.outcome.is_none()
    }

    /// What the turn has shown so far.
    pub fn updates(&self) -> &[Element] {
        &self.agent.host().record.updates
    }

    /// Lets time pass.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.agent.host().now.saturating_add(duration);
        while self.is_waiting()
            && let Some(due) = self.agent.host().next_due().filter(|due| *due <= end)
        {
            self.agent.host_mut().move_to(due);
            self.poll();
        }
        if self.is_waiting() {
            self.agent.host_mut().move_to(end);
        }
    }

    /// Says something into the turn: `on_steer` runs to its end while `on_message` waits.
    ///
    /// # Panics
    ///
    /// When the turn has ended or the agent has no `on_steer`: no host would call it.
    #[track_caller]
    pub fn steer(&mut self, text: impl Into<String>) -> Result<()> {
        assert!(self.is_waiting(), "the turn has ended; there is nothing to steer");
        assert!(A::HOOKS.contains(Hooks::ON_STEER), "the agent has no `on_steer`");
        let message = self.agent.message(text);
        let mut call = pin!(Shim::<A>::on_steer(message));
        loop {
            let polled = enter(&mut self.agent.host, || call.as_mut().poll(&mut Context::from_waker(Waker::noop())));
            if let Poll::Ready(outcome) = polled {
                self.poll();
                return outcome.map_err(Error::from_host);
            }
            pass_time(&mut self.agent.host);
            self.poll();
        }
    }

    /// What the turn asks and nobody has answered, oldest first.
    pub fn asks(&self) -> Vec<Asked> {
        self.agent.host().asks.open()
    }

    /// Answers the oldest question with an option's label, or with a text where the question takes one.
    ///
    /// # Panics
    ///
    /// When nothing is asked, when it is a request for permission, or when the question does not take this answer.
    #[track_caller]
    pub fn answer(&mut self, answer: impl Into<String>) {
        let asks = self.asks();
        let Some(asked) = asks.first() else { panic!("nothing is asked that could be answered") };
        let answer = fitting(asked, answer.into());
        self.agent.host_mut().asks.say(Said::Answer(answer));
        self.poll();
    }

    /// Decides on the oldest request for permission.
    ///
    /// # Panics
    ///
    /// When nothing is asked, or when it is a question.
    #[track_caller]
    pub fn decide(&mut self, decision: Decision) {
        self.agent.host_mut().asks.say(Said::Decision(decision));
        self.poll();
    }

    /// Runs the turn to its end.
    ///
    /// # Panics
    ///
    /// When it waits for something that never comes.
    #[track_caller]
    pub fn finish(mut self) -> Turn {
        while self.is_waiting() {
            pass_time(&mut self.agent.host);
            self.poll();
        }
        self.release();
        let outcome = self.outcome.take().expect("the loop ends with an outcome");
        let before = self.before.take().expect("only this takes it");
        self.agent.cut(before, outcome)
    }

    fn poll(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        let Some(call) = &mut self.call else { return };
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(outcome) = enter(&mut self.agent.host, || call.as_mut().poll(&mut cx)) {
            self.outcome = Some(outcome);
        }
    }

    /// Drops the hook with its host at hand: what it drops may still call.
    fn release(&mut self) {
        let call = self.call.take();
        enter(&mut self.agent.host, || drop(call));
    }
}

impl<A: Agent> Drop for Running<'_, A> {
    fn drop(&mut self) {
        self.release();
        if let Some(before) = self.before.take() {
            let before = Before { message: None, ..before };
            let unfinished = Error::msg("the test dropped the turn").into_host();
            drop(self.agent.cut(before, Err(unfinished)));
        }
    }
}

/// Polls a hook until it is done.
#[track_caller]
pub(super) fn complete<T>(host: &mut Option<Played>, mut call: Pin<&mut impl Future<Output = T>>) -> T {
    loop {
        if let Poll::Ready(done) = enter(host, || call.as_mut().poll(&mut Context::from_waker(Waker::noop()))) {
            return done;
        }
        pass_time(host);
    }
}

/// Moves the clock to the next timer.
#[track_caller]
fn pass_time(host: &mut Option<Played>) {
    let host = host.as_mut().expect("the hook has given its host back");
    match host.next_due() {
        Some(due) => host.move_to(due),
        None if !host.asks.open().is_empty() => panic!("the hook waits for an answer: see `Running::answer`"),
        None => panic!("the hook waits for something that is no timer and no call of the host: it would wait for ever"),
    }
}

/// What a turn did.
#[derive(Debug)]
pub struct Turn {
    pub(super) outcome: Result<()>,
    pub(super) record: Record,
    pub(super) waited: Duration,
}

impl Turn {
    /// How it ended.
    pub fn result(&self) -> Result<(), &Error> {
        self.outcome.as_ref().copied()
    }

    /// The one reply of a turn that went well.
    ///
    /// # Panics
    ///
    /// When the turn failed, or replied not once.
    #[track_caller]
    pub fn reply(&self) -> &str {
        if let Err(error) = &self.outcome {
            panic!("the turn failed: {error:?}");
        }
        match self.replies()[..] {
            [reply] => reply,
            ref other => panic!("the turn has {} replies: {other:?}", other.len()),
        }
    }

    /// Every whole text, streamed or not, in order: what becomes history if the turn goes well.
    pub fn replies(&self) -> Vec<&str> {
        let texts = self.record.updates.iter().filter_map(|update| match update {
            Element::TextFinal(text) => Some(text.text.as_str()),
            _ => None,
        });
        texts.collect()
    }

    /// The error of a turn that failed.
    ///
    /// # Panics
    ///
    /// When it went well.
    #[track_caller]
    pub fn error(&self) -> &Error {
        match &self.outcome {
            Err(error) => error,
            Ok(()) => panic!("the turn went well and replied {:?}", self.replies()),
        }
    }

    /// Everything it showed, in order.
    pub fn updates(&self) -> &[Element] {
        &self.record.updates
    }

    /// The JSON Patches it wrote, in order, those of a failed turn too.
    pub fn patches(&self) -> &[Json] {
        &self.record.patches
    }

    /// What it logged.
    pub fn logs(&self) -> &[LogLine] {
        &self.record.logs
    }

    /// How long it waited, on the test's clock.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}
