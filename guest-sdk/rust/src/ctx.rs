//! What a hook works with: the agent's state and configuration, and the way to show things.
//!
//! Owns the moments at which state is written: at the end of a hook, before each wait, and when
//! asked. Must never wait with uncommitted state: a steering hook would not see it.

use std::time::Duration;

use crate::bindings::exports::podium::agent::lifecycle::ConfigChange;
use crate::delta::DeltaState;
use crate::error::{placed, placed_later};
use crate::host::{config, messages};
use crate::state::Document;
use crate::updates::{self, CodeBlock, Element, FileChange, Plan, TextFinal, Usage};
use crate::{
    Agent, Answer, Context, Decision, Error, Json, Message, Permission, Question, Result, Text, Thinking, ToolCall,
    ToolKind, Waited,
};

pub use crate::bindings::podium::agent::messages::Entry;

/// Most messages the host gives in one page.
const PAGE_MAX: usize = 200;

/// The context of a hook.
pub struct Ctx<A: Agent> {
    /// What the agent remembers. Change it as any Rust value; what changed is written as a JSON
    /// Patch at the end of the hook, before each wait, and at [`Ctx::commit`].
    pub state: A::State,
    /// The configuration in force.
    pub config: A::Config,
    document: Document,
    /// Distinguishes this call of a hook from all others of the instance.
    call: String,
}

/// One changed place of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// JSON Pointer of the place.
    pub pointer: String,
    /// What was there.
    pub old: Option<Json>,
    /// What is there now.
    pub new: Option<Json>,
}

impl Change {
    pub(crate) fn from_host(change: ConfigChange) -> Result<Self> {
        let parse = |text: Option<String>| text.map(|text| serde_json::from_str(&text)).transpose();
        let (old, new) = (parse(change.old)?, parse(change.new)?);
        Ok(Self { pointer: change.pointer, old, new })
    }
}

impl<A: Agent> Ctx<A> {
    pub(crate) fn open(call: String) -> Result<Self> {
        let document = Document::open()?;
        let state = A::State::load(document.json())?;
        let text = config::get("").map_err(Error::from_host)?;
        let config = serde_json::from_str(text.as_deref().unwrap_or("{}"))
            .map_err(|error| Error::new("invalid_config", format!("the configuration does not fit: {error}")))?;
        Ok(Self { state, config, document, call })
    }

    /// Writes the changes of `state` now. Not needed at the end of a hook or before a wait.
    ///
    /// Where another hook has changed the state since it was read (`on_steer` beside `on_message`), this hook's changes are
    /// made to what that one left, place by place, and `state` is read again: neither undoes the other. Where both changed
    /// the same place, the later one holds; an element of a list is a place by its index.
    #[track_caller]
    pub fn commit(&mut self) -> Result<()> {
        placed(self.write_state())
    }

    /// [`Ctx::commit`] for the SDK itself.
    pub(crate) fn write_state(&mut self) -> Result<()> {
        if self.document.commit(&self.state)? {
            self.state = A::State::load(self.document.json())?;
        }
        Ok(())
    }

    /// Applies a JSON Patch of the author's own to the state, after the changes made so far, and
    /// answers the state's new version. `state` is read again.
    #[track_caller]
    pub fn apply(&mut self, patch: &Json) -> Result<u64> {
        placed(self.write_patch(patch))
    }

    fn write_patch(&mut self, patch: &Json) -> Result<u64> {
        self.write_state()?;
        let version = self.document.apply(patch)?;
        self.state = A::State::load(self.document.json())?;
        Ok(version)
    }

    /// The whole state document, fields that the type does not know included, as of the last
    /// commit.
    pub fn document(&self) -> &Json {
        self.document.json()
    }

    /// Awaits something with the state written before, and read again after when another hook
    /// changed it meanwhile. The waiting methods below do this by themselves.
    #[track_caller]
    pub fn wait<F: IntoFuture>(&mut self, future: F) -> impl Future<Output = Result<F::Output>> {
        placed_later(self.wait_for(future))
    }

    async fn wait_for<F: IntoFuture>(&mut self, future: F) -> Result<F::Output> {
        self.write_state()?;
        let output = future.await;
        if self.document.refresh()? {
            self.state = A::State::load(self.document.json())?;
        }
        Ok(output)
    }

    /// Waits; the agent can be steered meanwhile.
    #[track_caller]
    pub fn sleep(&mut self, duration: Duration) -> impl Future<Output = Result<()>> {
        self.wait(crate::host::timer::wait_for(duration))
    }

    /// Hands a word on to the `on_message` that runs, which gets it from [`Ctx::steered`], [`Ctx::unless_steered`] or
    /// [`Ctx::take_steer`]. For `on_steer`; what nobody takes is gone with the turn.
    pub fn hand_on(&self, message: Message) {
        crate::host::inbox::with(|inbox| inbox.push(message));
    }

    /// Waits until `on_steer` hands a word on. For `on_message`.
    #[track_caller]
    pub fn steered(&mut self) -> impl Future<Output = Result<Message>> {
        self.wait(crate::steer::next())
    }

    /// Awaits something unless `on_steer` hands a word on first. What was waited for is dropped then; to go on with it
    /// later, pin it and give it by reference: `cx.unless_steered(&mut pinned)`.
    #[track_caller]
    pub fn unless_steered<F: IntoFuture>(&mut self, future: F) -> impl Future<Output = Result<Waited<F::Output>>> {
        self.wait(crate::steer::unless(future.into_future()))
    }

    /// A word that was handed on already, without waiting for one.
    pub fn take_steer(&mut self) -> Option<Message> {
        crate::host::inbox::with(crate::steer::Inbox::take)
    }

    /// The last `count` messages of the conversation before this turn, oldest first.
    #[track_caller]
    pub fn history(&mut self, count: usize) -> impl Future<Output = Result<Vec<Entry>>> {
        placed_later(self.read_history(count))
    }

    async fn read_history(&mut self, count: usize) -> Result<Vec<Entry>> {
        let mut before = None;
        let mut pages: Vec<Vec<Entry>> = Vec::new();
        let mut missing = count;
        while missing > 0 {
            let limit = u32::try_from(missing.min(PAGE_MAX)).context("the page is too long")?;
            let page = self.wait_for(messages::history(before, limit)).await?.map_err(Error::from_host)?;
            missing = missing.saturating_sub(page.entries.len());
            let is_last = page.before.is_none() || page.entries.is_empty();
            before = page.before;
            pages.push(page.entries);
            if is_last {
                break;
            }
        }
        Ok(pages.into_iter().rev().flatten().collect())
    }

    /// Asks the people who talk to the agent, and waits for the first answer; the agent can be steered meanwhile.
    #[track_caller]
    pub fn ask(&mut self, question: Question) -> impl Future<Output = Result<Answer>> {
        placed_later(async move { self.wait_for(question.send()).await? })
    }

    /// Asks for permission, and waits for the first decision.
    #[track_caller]
    pub fn permit(&mut self, permission: Permission) -> impl Future<Output = Result<Decision>> {
        placed_later(async move { self.wait_for(permission.send()).await? })
    }

    /// Answers with a whole text, a message of the history.
    #[track_caller]
    pub fn reply(&self, text: impl Into<String>) -> Result<()> {
        self.emit(&Element::TextFinal(TextFinal { item: updates::item("text"), text: text.into() }))
    }

    /// Answers with a text that is shown as it is written.
    pub fn stream(&self) -> Text {
        Text::new()
    }

    /// Shows reasoning as it goes on.
    pub fn thinking(&self) -> Thinking {
        Thinking::new()
    }

    /// Announces a call of a tool.
    #[track_caller]
    pub fn tool(&self, name: impl Into<String>, kind: ToolKind, input: &Json) -> Result<ToolCall> {
        ToolCall::start(name.into(), kind, input)
    }

    /// Shows a block of code; `language` is its usual short name, such as `rust`.
    #[track_caller]
    pub fn code(&self, language: Option<&str>, text: impl Into<String>) -> Result<()> {
        let language = language.map(str::to_owned);
        self.emit(&Element::CodeBlock(CodeBlock { item: updates::item("code"), language, text: text.into() }))
    }

    /// Shows what the agent means to do, step by step.
    #[track_caller]
    pub fn plan<S: Into<String>>(&self, title: &str, steps: impl IntoIterator<Item = S>) -> Result<Plan> {
        Plan::create(&self.call, title, steps)
    }

    /// Shows that a file of the workspace changed.
    #[track_caller]
    pub fn file_change(&self, change: FileChange) -> Result<()> {
        self.emit(&Element::FileChange(change))
    }

    /// Counts tokens that a model used.
    #[track_caller]
    pub fn usage(&self, usage: Usage) -> Result<()> {
        self.emit(&Element::Usage(usage))
    }

    /// Shows any element.
    #[track_caller]
    pub fn emit(&self, element: &Element) -> Result<()> {
        updates::emit(element)
    }
}
