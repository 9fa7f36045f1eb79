//! Questions and requests for permission: what an agent asks, what people answer, and what everybody is told of it.
//!
//! Owns the shapes for updates, frames and REST bodies alike. An answer may be a secret, so it must never be printed by
//! `Debug`, and never be part of a type that is stored unless the question says that it is none.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuestionOption {
    /// What is chosen and what an answer names; one line, no two of a question alike.
    pub label: String,
    /// What it means.
    pub description: String,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Question {
    /// The agent's own name for it, possibly empty.
    pub id: String,
    /// A title of a few words, possibly empty.
    pub header: String,
    /// What is asked.
    pub text: String,
    /// What can be chosen; none asks for a text.
    pub options: Vec<QuestionOption>,
    /// True when a text of one's own is an answer, too.
    pub is_other: bool,
    /// True when the answer goes to the agent and nowhere else: do not show it while it is typed.
    pub is_secret: bool,
}

impl Question {
    /// True when a text of one's own is an answer.
    pub fn takes_text(&self) -> bool {
        self.is_other || self.options.is_empty()
    }

    /// True when this answer fits the question.
    pub fn takes(&self, answer: &Answer) -> bool {
        match answer {
            Answer::Option(label) => self.options.iter().any(|option| option.label == *label),
            Answer::Text(_) => self.takes_text(),
        }
    }
}

/// What permission is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PermissionKind {
    /// To run a command.
    Command,
    /// To change files.
    FileChange,
    /// To have further permissions.
    Permissions,
    /// To use a tool.
    Tool,
}

/// A request for permission.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Permission {
    /// What it is for.
    pub kind: PermissionKind,
    /// What would be done, on one line.
    pub title: String,
    /// All that a person needs to decide.
    pub details: serde_json::Value,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Ask {
    /// A question.
    Question(Question),
    /// A request for permission.
    Permission(Permission),
}

/// Something that waits for an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenAsk {
    /// Unique in the instance: `{turn}:{id}`, or `{turn}#{place}` without an id of the agent's. The same after a crash.
    pub request_id: String,
    /// The turn that waits.
    pub turn_id: String,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// When it was asked, in milliseconds since the Unix epoch.
    pub asked_at: u64,
    /// True when an earlier attempt at the turn was lost, and may have asked and been answered before.
    pub again: bool,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// Everything that is open in an instance: body of `GET /agent/{id}/asks`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AskList {
    /// In the order in which it was asked.
    pub asks: Vec<OpenAsk>,
}

/// An answer to a question.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The label of an option.
    Option(String),
    /// A text of one's own.
    Text(String),
}

impl Answer {
    /// What was said, either way.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Option(text) | Self::Text(text) => text,
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Option(_) => "Option",
            Self::Text(_) => "Text",
        };
        write!(f, "{kind}({} bytes)", self.as_str().len())
    }
}

/// A decision on a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Yes, this once.
    Accept,
    /// Yes, and for the like from now on.
    AcceptForSession,
    /// No; go on without.
    Decline,
    /// No, and stop.
    Cancel,
}

/// The frame `answer`, and the body of `POST /agent/{id}/answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenAnswer {
    /// Which question.
    pub request_id: String,
    /// The answer.
    pub answer: Answer,
}

/// The frame `approve`, and the body of `POST /agent/{id}/approve`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GivenDecision {
    /// Which request.
    pub request_id: String,
    /// The decision.
    pub decision: Decision,
}

/// Why something is no longer open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskOutcome {
    /// Somebody answered.
    Answered,
    /// The agent does not want it any more, or the turn was interrupted.
    Cancelled,
    /// The turn is over, or was set aside.
    TurnEnded,
}

impl AskOutcome {
    /// As a sentence goes on after "it".
    pub fn as_words(self) -> &'static str {
        match self {
            Self::Answered => "has been answered",
            Self::Cancelled => "is not wanted any more",
            Self::TurnEnded => "went away with its turn",
        }
    }
}

/// Content of `tool.question_requested`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionRequested {
    /// See [`OpenAsk::request_id`].
    pub request_id: String,
    /// See [`OpenAsk::again`].
    pub again: bool,
    /// The question.
    #[serde(flatten)]
    pub question: Question,
}

/// Content of `tool.permission_requested`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermissionRequested {
    /// See [`OpenAsk::request_id`].
    pub request_id: String,
    /// See [`OpenAsk::again`].
    pub again: bool,
    /// The request.
    #[serde(flatten)]
    pub permission: Permission,
}

/// Content of `tool.question_resolved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionResolved {
    /// Which question.
    pub request_id: String,
    /// Why it is no longer open.
    pub outcome: AskOutcome,
    /// The answer, where there is one that is no secret and that the turn's output has room for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// Who answered: the authenticated principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// How: `ws` or `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

/// Content of `tool.approval_resolved`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalResolved {
    /// Which request.
    pub request_id: String,
    /// Why it is no longer open.
    pub outcome: AskOutcome,
    /// The decision, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// Who decided: the authenticated principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// How: `ws` or `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_never_printed() {
        let given = GivenAnswer { request_id: "7:key".into(), answer: Answer::Text("hunter2".into()) };
        assert_eq!(format!("{given:?}"), r#"GivenAnswer { request_id: "7:key", answer: Text(7 bytes) }"#);
    }

    #[test]
    fn a_question_takes_its_options_and_texts_where_it_says_so() {
        let option = |label: &str| QuestionOption { label: label.into(), description: String::new() };
        let question = |options, is_other| Question {
            id: "env".into(),
            header: String::new(),
            text: "Where?".into(),
            options,
            is_other,
            is_secret: false,
        };
        let (staging, other) = (Answer::Option("staging".into()), Answer::Text("staging".into()));
        let closed = question(vec![option("staging"), option("production")], false);
        assert!(closed.takes(&staging) && !closed.takes(&other) && !closed.takes(&Answer::Option("dev".into())));
        let open = question(vec![option("staging")], true);
        assert!(open.takes(&staging) && open.takes(&other));
        let free = question(Vec::new(), false);
        assert!(free.takes(&other) && !free.takes(&staging));
    }
}
