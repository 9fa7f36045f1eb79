//! `ask`: questions to people, and requests for their permission.
//!
//! Owns what is open in a turn: its ids, its bounds, which answer fits, and that the first one counts. Requests and
//! resolutions are updates of the turn; a secret answer is in none of them. An answer is put into the turn's journal, a secret one
//! is not, and reaches the guest through [`Turn::effect`]. Must never keep an answer past its delivery, and never leave a request
//! open past its turn.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use podium_wire::asks::{
    Answer, ApprovalResolved, Ask, AskOutcome, Decision, OpenAsk, Permission, PermissionKind, PermissionRequested,
    Question, QuestionRequested, QuestionResolved,
};
use podium_wire::updates::UpdateBody;
use podium_wire::{ErrorCode, WireError};
use serde::{Deserialize, Serialize};

use crate::effect::{Call, EffectKind, Unread, UnreadBytes, Waiting};
use crate::error::CallError;
use crate::journal::Recorded;
use crate::turn::{Sent, Turn, Work};

/// Requests of one turn that may be open at once: a person is shown all of them, and nobody reads more.
pub const OPEN_ASKS_MAX: usize = 16;
/// Options of a question: a list that still can be read.
pub const ASK_OPTIONS_MAX: usize = 64;
/// All texts of a request: a person reads it, every client gets it, and it is held for the cut.
pub const ASK_BYTES_MAX: usize = 64 * 1024;
/// A header, a title or an option's label: a line of a screen.
pub const ASK_LINE_BYTES_MAX: usize = 256;
/// The agent's own name of a question: it is part of the request's id, which people type.
pub const ASK_ID_BYTES_MAX: usize = 64;
/// An answer: as much as a request.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Resolved requests that a turn remembers, so that who answers too late is told what became of it.
pub const RESOLVED_ASKS_KEPT: usize = 256;

/// What somebody gave for a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Given {
    /// An answer to a question.
    Answer(Answer),
    /// A decision on a permission.
    Decision(Decision),
}

impl Given {
    /// What it takes in memory beyond a word.
    fn bytes(&self) -> usize {
        match self {
            Self::Answer(answer) => answer.as_str().len(),
            Self::Decision(_) => 0,
        }
    }
}

/// Who gave it, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenBy {
    /// The authenticated principal.
    pub principal: String,
    /// `ws` or `http`.
    pub channel: &'static str,
}

/// An answer as the journal keeps it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    given: Given,
    principal: String,
    channel: String,
}

/// A permission as an agent asks for it: the details are still text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermissionAsked {
    /// What it is for.
    pub kind: PermissionKind,
    /// What would be done.
    pub title: String,
    /// JSON text.
    pub details: String,
}

/// One open request.
#[derive(Debug)]
struct Entry {
    ask: OpenAsk,
    /// The call that waits for it.
    call: Call,
    /// Set by the first answer.
    given: Option<(Given, GivenBy)>,
    waker: Option<Waker>,
}

/// The requests of a turn.
#[derive(Debug, Default)]
pub(crate) struct Asks {
    open: Vec<Entry>,
    /// How often each name was used. Each use is an update, so the turn's output bounds them.
    used: HashMap<String, u64>,
    resolved: VecDeque<(String, AskOutcome)>,
    /// The guest is being dropped: a request that goes with it was not taken back by the agent.
    guest_over: bool,
}

impl Asks {
    /// What waits for an answer, oldest first.
    pub(crate) fn open(&self) -> Vec<OpenAsk> {
        self.open.iter().filter(|entry| entry.given.is_none()).map(|entry| entry.ask.clone()).collect()
    }

    /// The next id under this name: of the n-th use, so that the next attempt makes the same ids.
    fn next_id(&mut self, turn: u64, name: &str) -> String {
        let uses = self.used.entry(name.to_owned()).or_default();
        *uses += 1;
        // The names that an agent may give hold neither `:` nor `#`, so no two of these are alike.
        match (name, *uses) {
            ("", place) => format!("{turn}#{place}"),
            (name, 1) => format!("{turn}:{name}"),
            (name, place) => format!("{turn}:{name}#{place}"),
        }
    }

    fn take(&mut self, request_id: &str) -> Option<Entry> {
        let index = self.open.iter().position(|entry| entry.ask.request_id == request_id)?;
        Some(self.open.remove(index))
    }
}

impl Work {
    /// A request is no longer open: remembers it and tells everybody. One that was answered stays answered.
    fn resolve(&mut self, turn: &Turn, entry: Entry, outcome: AskOutcome, sent: &mut Vec<Sent>) {
        let outcome = if entry.given.is_some() { AskOutcome::Answered } else { outcome };
        let request_id = entry.ask.request_id;
        if self.asks.resolved.len() == RESOLVED_ASKS_KEPT {
            self.asks.resolved.pop_front();
        }
        self.asks.resolved.push_back((request_id.clone(), outcome));
        let (given, by) = entry.given.unzip();
        let (by, channel) = by.map(|by| (by.principal, by.channel.to_owned())).unzip();
        let body = match (entry.ask.ask, given) {
            (Ask::Question(question), given) => {
                let answer = match given {
                    Some(Given::Answer(answer)) if !question.is_secret => Some(answer),
                    _ => None,
                };
                // The host's own updates pass every limit; people's words in them do not.
                let answer = answer.filter(|answer| self.hold(turn, answer.as_str().len()).is_ok());
                UpdateBody::QuestionResolved(QuestionResolved { request_id, outcome, answer, by, channel })
            }
            (Ask::Permission(_), given) => {
                let decision = match given {
                    Some(Given::Decision(decision)) => Some(decision),
                    _ => None,
                };
                UpdateBody::ApprovalResolved(ApprovalResolved { request_id, outcome, decision, by, channel })
            }
        };
        self.show(turn, &body, sent);
    }

    /// Nothing is open any more.
    pub(crate) fn resolve_all(&mut self, turn: &Turn, outcome: AskOutcome, sent: &mut Vec<Sent>) {
        for entry in std::mem::take(&mut self.asks.open) {
            self.resolve(turn, entry, outcome, sent);
        }
    }
}

impl Entry {
    fn is_secret(&self) -> bool {
        matches!(&self.ask.ask, Ask::Question(question) if question.is_secret)
    }
}

/// An answer that is kept in the journal; one that cannot be read was never given.
fn restored(kept: &[u8]) -> Option<(Given, GivenBy)> {
    let Kept { given, principal, channel } = serde_json::from_slice(kept).ok()?;
    let channel = if channel == "ws" { "ws" } else { "http" };
    Some((given, GivenBy { principal, channel }))
}

/// The guest's hold on a request: dropping it takes the request back.
#[derive(Debug)]
pub struct AskGuard {
    turn: Turn,
    request_id: Arc<OnceLock<String>>,
}

impl Drop for AskGuard {
    fn drop(&mut self) {
        if let Some(request_id) = self.request_id.get() {
            self.turn.take_back(request_id);
        }
    }
}

/// A request on its way, and the guest's hold on it.
pub type Asked<T> = (Waiting<Unread<Result<T, WireError>>>, AskGuard);

impl Turn {
    /// Asks a question. The future gives the first answer that fits; the guard takes the question back.
    ///
    /// # Errors
    /// The future answers `POD-4021` for a question against the rules, `POD-4019` for too many. The call itself fails when
    /// the turn is closed, or full.
    pub fn question(&self, question: Question) -> Result<Asked<Answer>, CallError> {
        let is_secret = question.is_secret;
        let checked = check_question(&question).map(|()| Ask::Question(question));
        self.ask("ask.question", checked, is_secret, |given| match given {
            Given::Answer(answer) => Some(answer),
            Given::Decision(_) => None,
        })
    }

    /// Asks for permission; the rest is as for [`Turn::question`].
    ///
    /// # Errors
    /// The same, and `POD-1007` for details that are no JSON.
    pub fn permission(&self, asked: PermissionAsked) -> Result<Asked<Decision>, CallError> {
        self.ask("ask.permission", check_permission(asked).map(Ask::Permission), false, |given| match given {
            Given::Decision(decision) => Some(decision),
            Given::Answer(_) => None,
        })
    }

    fn ask<T: Send + 'static>(
        &self,
        kind: &'static str,
        ask: Result<Ask, WireError>,
        is_secret: bool,
        pick: fn(Given) -> Option<T>,
    ) -> Result<Asked<T>, CallError> {
        // Asking a person again is showing the same request once more.
        let call = self.call(EffectKind { name: kind, idempotent: true, urgent: true }, &ask.as_ref().ok())?;
        // Set once the request is open; its effect is not polled before.
        let request_id = Arc::new(OnceLock::new());
        let issued = ask.and_then(|ask| {
            let effect = self.effect(&call, self.given(Arc::clone(&request_id)))?;
            Ok((ask, effect))
        });
        let effect = match issued {
            Ok((ask, effect)) => match self.open_ask(ask, &call) {
                Ok(id) => {
                    drop(request_id.set(id));
                    Ok(effect)
                }
                Err(CallError::Refused(error)) => Err(error),
                Err(ends) => return Err(ends),
            },
            Err(error) => Err(error),
        };
        let guard = AskGuard { turn: self.clone(), request_id: Arc::clone(&request_id) };
        let unread_bytes = Arc::clone(&self.effects().unread_bytes);
        let answer = async move {
            let effect = match effect {
                Ok(effect) => effect,
                Err(error) => return Unread::refused(Err(error)),
            };
            effect.await.map(|given| {
                let bytes = UnreadBytes::add(&unread_bytes, given.bytes());
                // Only what fits is taken, so there always is something to pick.
                let other = || WireError::new(ErrorCode::Internal, "the answer is of another kind");
                (pick(given).ok_or_else(other), Some(bytes))
            })
        };
        let recorded: fn(&Unread<Result<T, WireError>>) -> Recorded =
            if is_secret { |_| Recorded::Secret } else { |_| Recorded::Again };
        let mut waiting = call.waits_for(answer, recorded, |error| Unread::refused(Err(error)));
        let turn = self.clone();
        waiting.released = Some(Box::new(move || turn.answer_released(&request_id)));
        Ok((waiting, guard))
    }

    /// Opens a request and shows it; answers its id.
    fn open_ask(&self, ask: Ask, call: &Call) -> Result<String, CallError> {
        let mut sent = Vec::new();
        let spec = self.spec();
        let opened = self.with_work(|work| {
            if work.asks.open.len() >= OPEN_ASKS_MAX {
                let message = format!("{OPEN_ASKS_MAX} questions of this turn wait for an answer already");
                return Err(CallError::refused(ErrorCode::TooManyCalls, message));
            }
            let name = match &ask {
                Ask::Question(question) => question.id.as_str(),
                Ask::Permission(_) => "",
            };
            let request_id = work.asks.next_id(spec.turn, name);
            // What a lost attempt asked and was told is not known any more: people are asked again. What its journal has is
            // the same request still.
            let again = call.attempt() > 1;
            let body = match ask.clone() {
                Ask::Question(question) => {
                    UpdateBody::QuestionRequested(QuestionRequested { request_id: request_id.clone(), again, question })
                }
                Ask::Permission(permission) => UpdateBody::PermissionRequested(PermissionRequested {
                    request_id: request_id.clone(),
                    again,
                    permission,
                }),
            };
            work.emit(self, &body, &mut sent)?;
            let ask = OpenAsk {
                request_id: request_id.clone(),
                turn_id: spec.turn_id.clone(),
                message_id: spec.message_id.clone(),
                asked_at: call.at_ns() / 1_000_000,
                again,
                ask,
            };
            let given = call.given().and_then(restored);
            work.asks.open.push(Entry { ask, call: call.clone(), given, waker: None });
            Ok(request_id)
        });
        self.send(sent);
        opened
    }

    /// What is given for a request.
    fn given(&self, request_id: Arc<OnceLock<String>>) -> impl Future<Output = Given> + Send + use<> {
        let turn = self.clone();
        poll_fn(move |cx| match request_id.get() {
            Some(request_id) => turn.poll_given(request_id, cx),
            None => Poll::Pending,
        })
    }

    fn poll_given(&self, request_id: &str, cx: &Context<'_>) -> Poll<Given> {
        let given = self.with_work(|work| {
            let Some(entry) = work.asks.open.iter_mut().find(|entry| entry.ask.request_id == request_id) else {
                return Ok(None);
            };
            if entry.given.is_none() {
                entry.waker = Some(cx.waker().clone());
            }
            Ok(entry.given.clone().map(|(given, _)| given))
        });
        // A closed turn has no guest that could be told.
        given.ok().flatten().map_or(Poll::Pending, Poll::Ready)
    }

    /// An answer goes to the guest. It is told here, at a place of the turn's order, and not where it came in.
    fn answer_released(&self, request_id: &OnceLock<String>) {
        let mut sent = Vec::new();
        let resolved = self.with_work(|work| {
            if let Some(entry) = request_id.get().and_then(|request_id| work.asks.take(request_id)) {
                work.resolve(self, entry, AskOutcome::Answered, &mut sent);
            }
            Ok(())
        });
        // A closed turn has resolved everything.
        drop(resolved);
        self.send(sent);
    }

    /// The agent does not want a request any more.
    fn take_back(&self, request_id: &str) {
        let mut sent = Vec::new();
        let taken = self.with_work(|work| {
            if !work.asks.guest_over
                && let Some(entry) = work.asks.take(request_id)
            {
                work.resolve(self, entry, AskOutcome::Cancelled, &mut sent);
            }
            Ok(())
        });
        // A closed turn has resolved everything.
        drop(taken);
        self.send(sent);
    }

    /// The guest has ended and is about to be dropped: what it still asks ends with the turn.
    pub fn guest_ended(&self) {
        // A closed turn has nothing open.
        drop(self.with_work(|work| {
            work.asks.guest_over = true;
            Ok(())
        }));
    }

    /// What waits for an answer, oldest first.
    pub fn open_asks(&self) -> Vec<OpenAsk> {
        self.with_work(|work| Ok(work.asks.open())).unwrap_or_default()
    }

    /// Gives an answer or a decision. The first one that fits counts. It is in the turn's journal, but a secret one, and has to be
    /// made durable by the caller before anybody is told that it counts.
    ///
    /// # Errors
    /// `POD-3022` for one that does not fit, which leaves the request open; `POD-3020` when the request is resolved;
    /// `POD-3021` when there never was one of this id.
    pub fn give(&self, request_id: &str, given: Given, by: GivenBy) -> Result<(), WireError> {
        let waker = self.with_asks(|asks| {
            let Some(entry) = asks.open.iter_mut().find(|entry| entry.ask.request_id == request_id) else {
                let outcome = asks.resolved.iter().find(|(id, _)| id == request_id).map(|(_, outcome)| *outcome);
                return Err(outcome.map_or_else(|| no_such(request_id), |outcome| resolved(request_id, outcome)));
            };
            if entry.given.is_some() {
                return Err(resolved(request_id, AskOutcome::Answered));
            }
            check_given(&entry.ask.ask, &given)?;
            if !entry.is_secret() {
                let kept =
                    Kept { given: given.clone(), principal: by.principal.clone(), channel: by.channel.to_owned() };
                // Strings and names of variants, which can always be written.
                let kept = serde_json::to_vec(&kept).unwrap_or_default();
                self.journal().give(entry.call.n(), "ask", kept);
            }
            entry.given = Some((given, by));
            Ok(entry.waker.take())
        })?;
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// What was given could not be made durable: the request is open again, unless the guest was faster.
    pub fn ungive(&self, request_id: &str) {
        self.with_asks(|asks| {
            if let Some(entry) = asks.open.iter_mut().find(|entry| entry.ask.request_id == request_id) {
                entry.given = None;
            }
        });
    }

    /// The last requests that were resolved, oldest first.
    pub fn resolved_asks(&self) -> Vec<(String, AskOutcome)> {
        self.with_asks(|asks| asks.resolved.iter().cloned().collect())
    }
}

/// The refusal of an answer to what is resolved.
pub fn resolved(request_id: &str, outcome: AskOutcome) -> WireError {
    WireError::new(ErrorCode::AskResolved, format!("request {} {}", shown(request_id), outcome.as_words()))
}

/// The refusal of an answer to what was never asked.
pub fn no_such(request_id: &str) -> WireError {
    WireError::new(ErrorCode::AskNotFound, format!("nothing is asked under {}", shown(request_id)))
}

/// An id as a client sent it, fit for a message.
fn shown(request_id: &str) -> String {
    format!("`{}`", request_id.chars().take(2 * ASK_ID_BYTES_MAX).collect::<String>().escape_debug())
}

fn invalid(message: impl Into<String>) -> WireError {
    WireError::new(ErrorCode::InvalidAsk, message)
}

/// A text that is shown on a line.
fn check_line(what: &str, line: &str) -> Result<(), WireError> {
    if line.len() > ASK_LINE_BYTES_MAX {
        return Err(invalid(format!("{what} has more than {ASK_LINE_BYTES_MAX} bytes")));
    }
    if line.contains(char::is_control) {
        return Err(invalid(format!("{what} is not one line of text")));
    }
    Ok(())
}

fn check_size(bytes: usize) -> Result<(), WireError> {
    if bytes > ASK_BYTES_MAX {
        return Err(invalid(format!("a question has at most {ASK_BYTES_MAX} bytes in all, not {bytes}")));
    }
    Ok(())
}

fn check_question(question: &Question) -> Result<(), WireError> {
    let in_options = question.options.iter().map(|option| option.label.len() + option.description.len());
    check_size(question.header.len() + question.text.len() + in_options.sum::<usize>())?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if question.id.len() > ASK_ID_BYTES_MAX || !question.id.chars().all(fits) {
        let message = format!("an id has at most {ASK_ID_BYTES_MAX} letters, digits, `.`, `_` and `-`");
        return Err(invalid(message));
    }
    check_line("the header", &question.header)?;
    if question.text.trim().is_empty() {
        return Err(invalid("the question has no text"));
    }
    if question.options.len() > ASK_OPTIONS_MAX {
        return Err(invalid(format!("a question has at most {ASK_OPTIONS_MAX} options")));
    }
    for (place, option) in question.options.iter().enumerate() {
        check_line("a label", &option.label)?;
        if option.label.trim().is_empty() {
            return Err(invalid("an option has no label"));
        }
        if question.options[..place].iter().any(|other| other.label == option.label) {
            return Err(invalid(format!("two options are called `{}`", option.label)));
        }
    }
    Ok(())
}

fn check_permission(asked: PermissionAsked) -> Result<Permission, WireError> {
    check_size(asked.title.len() + asked.details.len())?;
    check_line("the title", &asked.title)?;
    if asked.title.trim().is_empty() {
        return Err(invalid("the request has no title"));
    }
    let details = serde_json::from_str(&asked.details)
        .map_err(|error| WireError::new(ErrorCode::InvalidJson, format!("the details are no JSON: {error}")))?;
    Ok(Permission { kind: asked.kind, title: asked.title, details })
}

/// Whether this may be given for that. What was given is never repeated: it may be a secret.
fn check_given(ask: &Ask, given: &Given) -> Result<(), WireError> {
    let refused = |message: &str| Err(WireError::new(ErrorCode::InvalidAnswer, message));
    match (ask, given) {
        (Ask::Question(_), Given::Answer(answer)) if answer.as_str().len() > ANSWER_BYTES_MAX => {
            refused(&format!("an answer has at most {ANSWER_BYTES_MAX} bytes"))
        }
        (Ask::Question(question), Given::Answer(answer)) if question.takes(answer) => Ok(()),
        (Ask::Question(_), Given::Answer(Answer::Option(_))) => refused("the question has no such option"),
        (Ask::Question(_), Given::Answer(Answer::Text(_))) => refused("the question takes one of its options only"),
        (Ask::Permission(_), Given::Decision(_)) => Ok(()),
        (Ask::Question(_), Given::Decision(_)) => refused("a question takes an answer, not a decision"),
        (Ask::Permission(_), Given::Answer(_)) => refused("a request for permission takes a decision, not an answer"),
    }
}

#[cfg(test)]
#[path = "ask_tests.rs"]
mod tests;
