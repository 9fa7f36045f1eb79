//! Write Podium agents in Rust.
//!
//! An agent is a type with one trait and one macro:
//!
//! ```
//! use podium_sdk::prelude::*;
//!
//! struct Greeter;
//!
//! #[podium_sdk::agent]
//! impl Agent for Greeter {
//!     async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
//!         cx.reply(format!("Hello! You said: {}", message.text))
//!     }
//! }
//! ```
//!
//! `podium build` makes a component of it, `podium deploy` takes it to a host. What an agent
//! remembers is a plain Rust type, of which the host keeps a JSON document:
//!
//! ```
//! use podium_sdk::prelude::*;
//!
//! #[derive(Default, DeltaState)]
//! struct Notes {
//!     count: u64,
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
//!         cx.state.count += 1; // written as `replace /count`
//!         cx.state.items.push(message.text); // written as `add /items/-`
//!         cx.reply(format!("{} notes", cx.state.count))
//!     }
//! }
//! ```
//!
//! An agent's logic is tested with `cargo test` alone: see the module `testing`.
//!
//! Files are plain `std::fs` under `/workspace`; what they were, and the same files without a file system, is in [`workspace`]. Each turn runs in a fresh guest: Rust variables
//! are gone after it, `cx.state`, messages and files stay. `keep_warm = true` in agent.toml keeps
//! variables as a cache, see [`Agent`].
//!
//! This file owns the names that agents use. It must never expose the generated bindings as
//! they are, save for plain records.

pub mod bindings;

mod agent;
pub mod ask;
mod constructors;
mod ctx;
pub mod delta;
mod entry;
mod error;
mod host;
pub mod log;
mod state;
mod steer;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(target_arch = "wasm32")]
mod timer;
pub mod updates;
pub mod workspace;

pub use agent::Agent;
pub use ask::{Answer, Decision, Permission, Question};
pub use bindings::exports::podium::agent::lifecycle::{Hooks, ShutdownReason};
pub use bindings::podium::agent::types::{Attachment, AttachmentSource, Message, Origin, Role};
pub use ctx::{Change, Ctx, Entry};
pub use delta::DeltaState;
pub use error::{Context, DEFAULT_CODE, Error, Result};
pub use podium_sdk_derive::{DeltaState, agent};
pub use serde_json::{Value as Json, json};
pub use steer::Waited;
pub use updates::{Plan, Text, Thinking, ToolCall, ToolKind, Usage};

/// Returns after this time of the turn's clock. For waits beside others, as in [`Ctx::unless_steered`]; alone,
/// [`Ctx::sleep`] also sees to the state.
pub async fn sleep(duration: std::time::Duration) {
    host::timer::wait_for(duration).await;
}

/// What most agents need: `use podium_sdk::prelude::*;`.
///
/// Deriving `Serialize` or `Deserialize` needs `serde` among the agent's own dependencies.
pub mod prelude {
    pub use crate::{Agent, Change, Context, Ctx, DeltaState, Error, Json, Message, Result, Waited, bail, json};
    pub use serde::{Deserialize, Serialize};
}

/// For the code that the macros write.
#[doc(hidden)]
pub mod private {
    pub use crate::bindings::export_agent;
    pub use crate::entry::Shim;
    pub use serde_json::Map;

    /// Compiles only for something that a component can export.
    pub fn check<T: crate::bindings::exports::podium::agent::lifecycle::Guest>() {}
}
