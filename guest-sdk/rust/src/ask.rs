//! Asking people: questions with options or a text, and requests for permission.
//!
//! ```
//! use podium_sdk::prelude::*;
//! use podium_sdk::testing::TestAgent;
//! use podium_sdk::{Decision, Permission, Question};
//!
//! struct Deployer;
//!
//! #[podium_sdk::agent]
//! impl Agent for Deployer {
//!     async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
//!         let place = cx
//!             .ask(
//!                 Question::new("place", "Where to?")
//!                     .option("staging", "Nobody notices.")
//!                     .option("production", "Everybody does.")
//!                     .or_other(),
//!             )
//!             .await?;
//!         let command = format!("deploy {} {}", message.text, place.as_str());
//!         match cx.permit(Permission::command(command).details(&json!({"place": place.as_str()}))).await? {
//!             Decision::Accept | Decision::AcceptForSession => cx.reply(format!("deployed to {}", place.as_str())),
//!             Decision::Decline => cx.reply("then not"),
//!             Decision::Cancel => bail!("stopped"),
//!         }
//!     }
//! }
//!
//! // In a unit test the test is the person.
//! let mut agent = TestAgent::<Deployer>::new();
//! let mut running = agent.start("website");
//! assert_eq!(running.asks()[0].text(), "Where to?");
//! running.answer("staging");
//! assert_eq!(running.asks()[0].text(), "deploy website staging");
//! running.decide(Decision::Accept);
//! assert_eq!(running.finish().reply(), "deployed to staging");
//! ```
//!
//! The turn waits for the first answer, for days if need be, and its wall time stands still. The question outlives guest and
//! host: when the answer comes the turn is run again to this place, and goes on. In a warm guest, and for a secret, a host that is
//! lost meanwhile asks again; a question with the same name is then the same one for people.
//!
//! This file owns the builders. It must never wait by itself: who awaits with `cx.wait` can be steered meanwhile.

use crate::bindings::podium::agent::ask as host;
use crate::error::placed_later;
use crate::{Error, Json, Result};

pub use host::{Answer, Decision, PermissionKind};

/// A question to the people who talk to the agent.
///
/// Without options it asks for a text. [`Ctx::ask`](crate::Ctx::ask) sends it; [`Question::send`] is for several at once.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "a question is asked with `cx.ask`"]
pub struct Question(pub(crate) host::QuestionRequest);

impl Question {
    /// A question with a name of its own in the turn: letters, digits, `.`, `_` and `-`, at most 64. Asked again after a
    /// crash it is the same question by its name.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self(host::QuestionRequest {
            id: name.into(),
            header: String::new(),
            text: text.into(),
            options: Vec::new(),
            is_other: false,
            is_secret: false,
        })
    }

    /// A title of a few words above it.
    pub fn header(mut self, header: impl Into<String>) -> Self {
        self.0.header = header.into();
        self
    }

    /// One more thing to choose. Labels are different and fit on a line.
    pub fn option(mut self, label: impl Into<String>, description: impl Into<String>) -> Self {
        self.0.options.push(host::QuestionOption { label: label.into(), description: description.into() });
        self
    }

    /// Takes a text of one's own besides the options.
    pub fn or_other(mut self) -> Self {
        self.0.is_other = true;
        self
    }

    /// The answer is a secret: it is not shown while it is typed, not told to other clients and not kept by the host. What
    /// the agent does with it is the agent's: state and messages are kept.
    pub fn secret(mut self) -> Self {
        self.0.is_secret = true;
        self
    }

    /// Asks now. The future is the answer; dropping it takes the question back. Await it with
    /// [`Ctx::wait`](crate::Ctx::wait), alone or joined with others.
    #[must_use = "dropping it takes the question back"]
    #[track_caller]
    pub fn send(self) -> impl Future<Output = Result<Answer>> + use<> {
        let answer = crate::host::ask::question(&self.0);
        placed_later(async move { answer.await.map_err(Error::from_host) })
    }
}

impl Answer {
    /// The label of the option that was chosen, or the text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Option(text) | Self::Text(text) => text,
        }
    }
}

/// A request for permission.
///
/// [`Ctx::permit`](crate::Ctx::permit) sends it; [`Permission::send`] is for several at once.
#[derive(Debug, Clone, PartialEq)]
#[must_use = "permission is asked for with `cx.permit`"]
pub struct Permission(pub(crate) host::PermissionRequest);

impl Permission {
    /// To do this, in words of one line.
    pub fn new(kind: PermissionKind, title: impl Into<String>) -> Self {
        Self(host::PermissionRequest { kind, title: title.into(), details: "{}".to_owned() })
    }

    /// To run a command.
    pub fn command(command: impl Into<String>) -> Self {
        Self::new(PermissionKind::Command, command)
    }

    /// To change files.
    pub fn file_change(title: impl Into<String>) -> Self {
        Self::new(PermissionKind::FileChange, title)
    }

    /// To use a tool.
    pub fn tool(title: impl Into<String>) -> Self {
        Self::new(PermissionKind::Tool, title)
    }

    /// All that a person needs to decide.
    pub fn details(mut self, details: &Json) -> Self {
        self.0.details = details.to_string();
        self
    }

    /// Asks now; see [`Question::send`].
    #[must_use = "dropping it takes the request back"]
    #[track_caller]
    pub fn send(self) -> impl Future<Output = Result<Decision>> + use<> {
        let decision = crate::host::ask::permission(&self.0);
        placed_later(async move { decision.await.map_err(Error::from_host) })
    }
}

impl Decision {
    /// True for both kinds of yes.
    pub fn is_accepted(self) -> bool {
        matches!(self, Self::Accept | Self::AcceptForSession)
    }
}
