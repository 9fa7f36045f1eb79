//! What a turn of a test asks people, and what the test answers.
//!
//! Owns the requests that are open. Must never take an answer that a host would refuse, nor a question.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::played::{call, no_host, refused};
use crate::Json;
use crate::ask::{Answer, Decision};
use crate::bindings::podium::agent::ask::{PermissionRequest, QuestionRequest};
use crate::bindings::podium::agent::types::Error as HostError;

/// The codes of wit/wire that a host answers with.
const INVALID_JSON: &str = "POD-1007";
const TOO_MANY_CALLS: &str = "POD-4019";
const INVALID_ASK: &str = "POD-4021";

/// Bounds of the contract, as the WIT states them.
const OPEN_MAX: usize = 16;
const OPTIONS_MAX: usize = 64;
const BYTES_MAX: usize = 64 * 1024;
const LINE_BYTES_MAX: usize = 256;
const ID_BYTES_MAX: usize = 64;

/// Something that the turn asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Asked {
    /// A question.
    Question(crate::Question),
    /// A request for permission.
    Permission(crate::Permission),
}

impl Asked {
    /// The question, or the title of a request.
    pub fn text(&self) -> &str {
        match self {
            Self::Question(question) => &question.0.text,
            Self::Permission(permission) => &permission.0.title,
        }
    }

    /// The labels of a question's options.
    pub fn options(&self) -> Vec<&str> {
        match self {
            Self::Question(question) => question.0.options.iter().map(|option| option.label.as_str()).collect(),
            Self::Permission(_) => Vec::new(),
        }
    }

    /// True for a question whose answer is a secret.
    pub fn is_secret(&self) -> bool {
        matches!(self, Self::Question(question) if question.0.is_secret)
    }
}

#[derive(Debug, Clone)]
pub(super) enum Said {
    Answer(Answer),
    Decision(Decision),
}

#[derive(Debug)]
struct Entry {
    id: u64,
    asked: Asked,
    said: Option<Said>,
    waker: Option<Waker>,
}

/// What is asked and not answered.
#[derive(Debug, Default)]
pub(super) struct Asks {
    open: Vec<Entry>,
    next: u64,
}

impl Asks {
    /// What waits for an answer, oldest first.
    pub(super) fn open(&self) -> Vec<Asked> {
        self.open.iter().filter(|entry| entry.said.is_none()).map(|entry| entry.asked.clone()).collect()
    }

    /// Answers the oldest that waits.
    #[track_caller]
    pub(super) fn say(&mut self, said: Said) {
        let entry = self.open.iter_mut().find(|entry| entry.said.is_none());
        let Some(entry) = entry else { panic!("nothing is asked that could be answered") };
        match (&entry.asked, &said) {
            (Asked::Question(_), Said::Answer(_)) | (Asked::Permission(_), Said::Decision(_)) => {}
            (asked, _) => panic!("`{}` takes another kind of answer", asked.text()),
        }
        entry.said = Some(said);
        if let Some(waker) = entry.waker.take() {
            waker.wake();
        }
    }

    fn ask(&mut self, asked: Asked) -> Result<u64, HostError> {
        if self.open.len() >= OPEN_MAX {
            return Err(refused(TOO_MANY_CALLS, &format!("{OPEN_MAX} questions wait already")));
        }
        self.next += 1;
        self.open.push(Entry { id: self.next, asked, said: None, waker: None });
        Ok(self.next)
    }
}

/// The answer to a question that is asked with this text: an option's label, else a text where the question takes one.
#[track_caller]
pub(super) fn fitting(asked: &Asked, text: String) -> Answer {
    let Asked::Question(question) = asked else { panic!("`{}` wants a decision: use `decide`", asked.text()) };
    if question.0.options.iter().any(|option| option.label == text) {
        return Answer::Option(text);
    }
    let takes_text = question.0.is_other || question.0.options.is_empty();
    assert!(takes_text, "`{text}` is no option of `{}`", question.0.text);
    Answer::Text(text)
}

fn invalid(reason: &dyn std::fmt::Display) -> HostError {
    refused(INVALID_ASK, reason)
}

fn check_line(what: &str, line: &str) -> Result<(), HostError> {
    if line.len() > LINE_BYTES_MAX || line.contains(char::is_control) {
        return Err(invalid(&format!("{what} is one line of at most {LINE_BYTES_MAX} bytes")));
    }
    Ok(())
}

fn check_question(question: &QuestionRequest) -> Result<(), HostError> {
    let in_options = question.options.iter().map(|option| option.label.len() + option.description.len());
    if question.header.len() + question.text.len() + in_options.sum::<usize>() > BYTES_MAX {
        return Err(invalid(&format!("a question has at most {BYTES_MAX} bytes in all")));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if question.id.len() > ID_BYTES_MAX || !question.id.chars().all(fits) {
        return Err(invalid(&format!("a name has at most {ID_BYTES_MAX} letters, digits, `.`, `_` and `-`")));
    }
    check_line("the header", &question.header)?;
    if question.text.trim().is_empty() {
        return Err(invalid(&"the question has no text"));
    }
    if question.options.len() > OPTIONS_MAX {
        return Err(invalid(&format!("a question has at most {OPTIONS_MAX} options")));
    }
    for (place, option) in question.options.iter().enumerate() {
        check_line("a label", &option.label)?;
        let is_there = |other: &crate::bindings::podium::agent::ask::QuestionOption| other.label == option.label;
        if option.label.trim().is_empty() || question.options[..place].iter().any(is_there) {
            return Err(invalid(&"each option has a label of its own"));
        }
    }
    Ok(())
}

fn check_permission(request: &PermissionRequest) -> Result<(), HostError> {
    if request.title.len() + request.details.len() > BYTES_MAX {
        return Err(invalid(&format!("a request has at most {BYTES_MAX} bytes in all")));
    }
    check_line("the title", &request.title)?;
    if request.title.trim().is_empty() {
        return Err(invalid(&"the request has no title"));
    }
    serde_json::from_str::<Json>(&request.details).map(drop).map_err(|error| refused(INVALID_JSON, &error))
}

/// `podium:agent/ask`: asks a question.
pub(crate) fn question(question: &QuestionRequest) -> Pending<Answer> {
    let asked = Asked::Question(crate::Question(question.clone()));
    Pending::new(check_question(question), asked, |said| match said {
        Said::Answer(answer) => Some(answer),
        Said::Decision(_) => None,
    })
}

/// `podium:agent/ask`: asks for permission.
pub(crate) fn permission(request: &PermissionRequest) -> Pending<Decision> {
    let asked = Asked::Permission(crate::Permission(request.clone()));
    Pending::new(check_permission(request), asked, |said| match said {
        Said::Decision(decision) => Some(decision),
        Said::Answer(_) => None,
    })
}

/// The answer to come. Dropped, it takes the question back.
pub(crate) struct Pending<T> {
    id: Result<u64, HostError>,
    pick: fn(Said) -> Option<T>,
}

impl<T> Pending<T> {
    fn new(checked: Result<(), HostError>, asked: Asked, pick: fn(Said) -> Option<T>) -> Self {
        let ask = || call(|host| host.asks.ask(asked)).unwrap_or_else(|| Err(no_host()));
        Self { id: checked.and_then(|()| ask()), pick }
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, HostError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let id = match &self.id {
            Ok(id) => *id,
            Err(error) => return Poll::Ready(Err(error.clone())),
        };
        let said = call(|host| {
            let entry = host.asks.open.iter_mut().find(|entry| entry.id == id)?;
            entry.waker = Some(cx.waker().clone());
            entry.said.clone()
        });
        match said.flatten().and_then(self.pick) {
            Some(said) => Poll::Ready(Ok(said)),
            None => Poll::Pending,
        }
    }
}

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        if let Ok(id) = self.id {
            // Without a host there is nothing to take back.
            let _ = call(|host| host.asks.open.retain(|entry| entry.id != id));
        }
    }
}
