//! Unit tests of an agent with `cargo test`: no host, no WebAssembly.
//!
//! A [`TestAgent`] is an instance whose host is played in memory. It runs the same code around each hook as a
//! component does: state is loaded from a JSON document and written back as a JSON Patch, an error takes everything
//! back, replies become history.
//!
//! # A first test
//!
//! ```
//! use podium_sdk::prelude::*;
//! use podium_sdk::testing::TestAgent;
//!
//! #[derive(Default, DeltaState)]
//! struct Notes {
//!     items: Vec<String>,
//! }
//!
//! struct NoteTaker;
//!
//! #[podium_sdk::agent]
//! impl Agent for NoteTaker {
//!     type State = Notes;
//!
//!     async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
//!         if message.text.is_empty() {
//!             bail!("an empty note");
//!         }
//!         podium_sdk::info!("a note of {} bytes", message.text.len());
//!         cx.state.items.push(message.text);
//!         cx.reply(format!("{} notes", cx.state.items.len()))
//!     }
//! }
//!
//! let mut agent = TestAgent::<NoteTaker>::new().with_state(json!({"items": ["buy bread"]}));
//!
//! let turn = agent.send("water the plants");
//! assert_eq!(turn.reply(), "2 notes");
//! // What was written, which is what a host stores.
//! assert_eq!(turn.patches(), [json!([{"op": "add", "path": "/items/-", "value": "water the plants"}])]);
//! assert_eq!(turn.logs()[0].message, "a note of 16 bytes");
//! assert_eq!(agent.state(), &json!({"items": ["buy bread", "water the plants"]}));
//! assert_eq!(agent.history().len(), 2); // the message and its answer
//!
//! // A turn that ends in an error leaves nothing behind.
//! let turn = agent.send("");
//! assert_eq!(turn.error().message, "an empty note");
//! assert_eq!(agent.memory().items.len(), 2);
//! ```
//!
//! # Configuration, time, and a word in between
//!
//! [`TestAgent::start`] leaves a turn where it waits; time is the test's own and passes at once.
//!
//! ```
//! use std::time::Duration;
//!
//! use podium_sdk::prelude::*;
//! use podium_sdk::testing::TestAgent;
//!
//! #[derive(Default, DeltaState)]
//! struct Kettle {
//!     is_off: bool,
//! }
//!
//! #[derive(Deserialize)]
//! struct Settings {
//!     minutes: u64,
//! }
//!
//! struct TeaMaker;
//!
//! #[podium_sdk::agent]
//! impl Agent for TeaMaker {
//!     type State = Kettle;
//!     type Config = Settings;
//!
//!     fn config_default() -> Option<Json> {
//!         Some(json!({"minutes": 3}))
//!     }
//!
//!     async fn on_message(cx: &mut Ctx<Self>, _: Message) -> Result<()> {
//!         for _ in 0..cx.config.minutes {
//!             cx.sleep(Duration::from_secs(60)).await?;
//!             if cx.state.is_off {
//!                 return cx.reply("no tea then");
//!             }
//!         }
//!         cx.reply("tea is ready")
//!     }
//!
//!     async fn on_steer(cx: &mut Ctx<Self>, _: Message) -> Result<()> {
//!         cx.state.is_off = true;
//!         Ok(())
//!     }
//! }
//!
//! let mut agent = TestAgent::<TeaMaker>::new().with_config(json!({"minutes": 5}));
//! let turn = agent.send("tea, please");
//! assert_eq!((turn.reply(), turn.waited()), ("tea is ready", Duration::from_secs(300)));
//!
//! let mut running = agent.start("another one");
//! running.advance(Duration::from_secs(90));
//! running.steer("stop").unwrap();
//! let turn = running.finish();
//! assert_eq!((turn.reply(), turn.waited()), ("no tea then", Duration::from_secs(120)));
//! ```
//!
//! An agent that hears of such words in its loop ([`Ctx::unless_steered`](crate::Ctx::unless_steered)) is tested alike:
//!
//! ```
//! use std::time::Duration;
//!
//! use podium_sdk::prelude::*;
//! use podium_sdk::testing::TestAgent;
//!
//! struct Waiter;
//!
//! #[podium_sdk::agent]
//! impl Agent for Waiter {
//!     async fn on_message(cx: &mut Ctx<Self>, _: Message) -> Result<()> {
//!         let minute = Duration::from_secs(60);
//!         loop {
//!             match cx.unless_steered(podium_sdk::sleep(minute)).await? {
//!                 Waited::Done(()) => return cx.reply("nobody said anything for a minute"),
//!                 Waited::Steered(word) => cx.reply(format!("heard: {}", word.text))?,
//!             }
//!         }
//!     }
//!
//!     async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
//!         cx.hand_on(message);
//!         Ok(())
//!     }
//! }
//!
//! let mut agent = TestAgent::<Waiter>::new();
//! let mut running = agent.start("go");
//! running.advance(Duration::from_secs(59));
//! running.steer("hello").unwrap();
//! let turn = running.finish();
//! assert_eq!(turn.replies(), ["heard: hello", "nobody said anything for a minute"]);
//! assert_eq!(turn.waited(), Duration::from_secs(119));
//! ```
//!
//! # Questions
//!
//! The test is the person: [`Running::asks`] is what is open, [`Running::answer`] and [`Running::decide`] answer the oldest of it.
//! [`crate::ask`] has an example.
//!
//! # What is not played
//!
//! `/workspace` is the machine's own: let functions that use files take the folder, and give them a temporary one in
//! a test. Limits of memory, time and output do not hold. `std::time` is the real clock. A panic ends the test, as it
//! would end the turn.
//!
//! This file owns the instance of a test. It must never run a hook otherwise than `entry` does for a component.

pub(crate) mod asks;
pub(crate) mod past;
pub(crate) mod played;
mod running;

use std::marker::PhantomData;
use std::pin::pin;

pub use asks::Asked;
pub use played::LogLine;
pub use running::{Running, Turn};

use crate::bindings::exports::podium::agent::lifecycle::{ConfigChange, Guest};
use crate::bindings::podium::agent::types::Error as HostError;
use crate::entry::Shim;
use crate::updates::Element;
use crate::{Agent, DeltaState, Entry, Error, Hooks, Json, Message, Origin, Role, ShutdownReason};
use played::Played;
use running::complete;

/// An instance of an agent, without a host.
pub struct TestAgent<A: Agent> {
    /// None only while a hook has it.
    host: Option<Played>,
    messages: u64,
    is_initialised: bool,
    agent: PhantomData<A>,
}

impl<A: Agent> Default for TestAgent<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A: Agent> TestAgent<A> {
    /// A new instance: empty state, the agent's default configuration, no history.
    pub fn new() -> Self {
        let config = A::config_default().unwrap_or_else(|| Json::Object(serde_json::Map::new()));
        assert!(config.is_object(), "the default configuration is an object");
        Self { host: Some(Played::new(config)), messages: 0, is_initialised: false, agent: PhantomData }
    }

    /// With this state document, as an earlier turn may have left it. Then `on_init` is not called: the instance has
    /// lived already.
    ///
    /// # Panics
    ///
    /// When no host would keep such a document: its root is an object, it has at most 1 MiB, and its depth is at most 64.
    #[must_use]
    #[track_caller]
    pub fn with_state(mut self, state: Json) -> Self {
        if let Err(error) = played::check_document(&state) {
            panic!("{}: {}", error.code, error.message);
        }
        self.host_mut().state = state;
        self.is_initialised = true;
        self
    }

    /// With these settings of the owner's over the default ones, as `podium instance create --config` gives them.
    ///
    /// # Panics
    ///
    /// When it is no object.
    #[must_use]
    #[track_caller]
    pub fn with_config(mut self, config: Json) -> Self {
        let Json::Object(settings) = config else { panic!("a configuration is an object, not {config}") };
        if let Some(known) = self.host_mut().config.as_object_mut() {
            known.extend(settings);
        }
        self
    }

    /// With an earlier conversation, oldest first.
    #[must_use]
    pub fn with_history<S: Into<String>>(mut self, said: impl IntoIterator<Item = (Role, S)>) -> Self {
        for (role, text) in said {
            self.remember(role, text.into());
        }
        self
    }

    /// With these contents of a file, one a cut, oldest first: what [`crate::workspace`] finds. `std::fs` does not: its files are the machine's.
    ///
    /// # Panics
    /// When it is no path of a workspace, or too much for one.
    #[must_use]
    pub fn with_past<C: Into<Vec<u8>>>(mut self, path: &str, contents: impl IntoIterator<Item = C>) -> Self {
        let past = &mut self.host_mut().past;
        contents.into_iter().for_each(|content| past.given(path, &content.into()));
        self
    }

    /// A file as the last cut has it, as far as [`TestAgent::with_past`] and the agent's calls of [`crate::workspace`] say.
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        self.host().past.file(path)
    }

    /// A message as `podium chat` sends it, with an id that no other message of this instance has.
    pub fn message(&mut self, text: impl Into<String>) -> Message {
        self.messages += 1;
        Message {
            id: format!("message-{}", self.messages),
            text: text.into(),
            role: Role::User,
            attachments: Vec::new(),
            origin: Origin { tenant_id: "local".to_owned(), role: "owner".to_owned(), channel: "ws".to_owned() },
        }
    }

    /// Sends a text and runs the turn to its end. The first one runs `on_init` before it.
    ///
    /// # Panics
    ///
    /// When `on_init` fails, or when the turn waits for something that never comes.
    #[track_caller]
    pub fn send(&mut self, text: impl Into<String>) -> Turn {
        self.start(text).finish()
    }

    /// Sends a message made by hand, for instance with attachments, and runs the turn to its end.
    #[track_caller]
    pub fn send_message(&mut self, message: Message) -> Turn {
        self.start_message(message).finish()
    }

    /// Sends a text and runs the turn until it waits.
    #[track_caller]
    pub fn start(&mut self, text: impl Into<String>) -> Running<'_, A> {
        let message = self.message(text);
        self.start_message(message)
    }

    /// Sends a message made by hand and runs the turn until it waits.
    #[track_caller]
    pub fn start_message(&mut self, message: Message) -> Running<'_, A> {
        if !self.is_initialised
            && let Err(error) = self.init().result()
        {
            panic!("`on_init` failed: {error}");
        }
        Running::start(self, message)
    }

    /// Runs `on_init`, as the making of an instance does; nothing when the agent has none.
    #[track_caller]
    pub fn init(&mut self) -> Turn {
        self.is_initialised = true;
        self.hook(Hooks::ON_INIT, Shim::<A>::on_init())
    }

    /// Gives the instance another configuration, whole: `on_config_change` runs with what changed and may refuse.
    #[track_caller]
    pub fn reconfigure(&mut self, config: Json) -> Turn {
        let host = self.host_mut();
        let text = |value: Option<&Json>| value.map(Json::to_string);
        // A patch between the two names each changed place.
        let places = json_patch::diff(&host.config, &config);
        let changes = places.0.iter().map(|operation| {
            let pointer = operation.path().to_string();
            let (old, new) = (text(host.config.pointer(&pointer)), text(config.pointer(&pointer)));
            ConfigChange { pointer, old, new }
        });
        let changes: Vec<ConfigChange> = changes.collect();
        let before = std::mem::replace(&mut host.config, config);
        host.config_revision += 1;
        let turn = self.hook(Hooks::ON_CONFIG_CHANGE, Shim::<A>::on_config_change(changes, "owner".to_owned()));
        if turn.result().is_err() {
            let host = self.host_mut();
            host.config = before;
            host.config_revision -= 1;
        }
        turn
    }

    /// Brings the state from an older version of its shape to today's.
    #[track_caller]
    pub fn migrate(&mut self, from: u32) -> Turn {
        self.hook(Hooks::MIGRATE, Shim::<A>::migrate(from))
    }

    /// Says goodbye, as the deletion of an instance does.
    #[track_caller]
    pub fn shut_down(&mut self, reason: ShutdownReason) -> Turn {
        self.hook(Hooks::ON_SHUTDOWN, Shim::<A>::on_shutdown(reason))
    }

    /// The state document as of the last cut.
    pub fn state(&self) -> &Json {
        &self.host().state
    }

    /// The same as the agent sees it.
    ///
    /// # Panics
    ///
    /// When the document does not fit the type, as a turn would fail on it.
    #[track_caller]
    pub fn memory(&self) -> A::State {
        A::State::load(self.state()).unwrap_or_else(|unfit| panic!("{unfit}"))
    }

    /// The configuration in force.
    pub fn config(&self) -> &Json {
        &self.host().config
    }

    /// The conversation as of the last cut, oldest first.
    pub fn history(&self) -> &[Entry] {
        &self.host().history
    }

    fn host(&self) -> &Played {
        self.host.as_ref().expect("the hook has given its host back")
    }

    fn host_mut(&mut self) -> &mut Played {
        self.host.as_mut().expect("the hook has given its host back")
    }

    fn remember(&mut self, role: Role, text: String) {
        let history = &mut self.host_mut().history;
        let seq = history.last().map_or(1, |entry| entry.seq + 1);
        // A test's clock begins at the epoch.
        history.push(Entry { seq, role, text, at_ms: 0 });
    }

    /// Runs a hook to its end, unless the agent has none: then a host does not call it.
    #[track_caller]
    fn hook(&mut self, flag: Hooks, call: impl Future<Output = Result<(), HostError>>) -> Turn {
        let before = Before::of(self.host_mut());
        let outcome = if A::HOOKS.contains(flag) { complete(&mut self.host, pin!(call)) } else { Ok(()) };
        self.cut(before, outcome)
    }

    /// Ends a turn: what it did becomes true, or nothing of it.
    fn cut(&mut self, before: Before, outcome: Result<(), HostError>) -> Turn {
        let host = self.host_mut();
        let record = std::mem::take(&mut host.record);
        let waited = std::mem::take(&mut host.now);
        host.past.end(outcome.is_ok());
        let outcome = outcome.map_err(Error::from_host);
        if let Some((role, text)) = before.message {
            self.remember(role, text);
        }
        if outcome.is_ok() {
            for update in &record.updates {
                if let Element::TextFinal(text) = update {
                    self.remember(Role::Assistant, text.text.clone());
                }
            }
        } else {
            let host = self.host_mut();
            (host.state, host.state_version) = (before.state, before.state_version);
        }
        Turn { outcome, record, waited }
    }
}

/// What an error brings back, and the message, which is history however its turn ends.
struct Before {
    state: Json,
    state_version: u64,
    message: Option<(Role, String)>,
}

impl Before {
    fn of(host: &Played) -> Self {
        Self { state: host.state.clone(), state_version: host.state_version, message: None }
    }
}
