//! The trait that an agent implements.
//!
//! Owns the hooks and their defaults. Must never do anything by default: a hook that the author
//! did not write is not reported to the host, which then does not call it.

use crate::bindings::exports::podium::agent::lifecycle::ShutdownReason;
use crate::{Change, Ctx, DeltaState, Hooks, Json, Message, Result};

/// An agent: its state, its configuration, and what it does when the host calls.
///
/// Put [`macro@crate::agent`] on the implementation; it exports the component, fills in `State`
/// (`()`) and `Config` ([`Json`]) where they are left out, and reports which hooks are there.
///
/// Each hook but `describe` and `on_steer` is a turn of its own in a fresh guest: what is kept
/// in Rust variables is gone afterwards, what is in `cx.state`, in messages and under
/// `/workspace` stays. An error ends the turn, and nothing of it stays.
///
/// With `keep_warm = true` in agent.toml the next turn usually finds the guest as this one left it:
/// a `static` or `thread_local!` serves as a cache of what is dear to work out again. It may be
/// gone at any moment, so an answer must be the same without it.
#[expect(async_fn_in_trait, reason = "guests have one thread: no caller needs Send futures")]
pub trait Agent: Sized + 'static {
    /// What the agent remembers, see [`DeltaState`].
    type State: DeltaState + Default;

    /// The shape of the configuration. Give its fields `#[serde(default)]`: an owner may leave
    /// any of them out.
    type Config: serde::de::DeserializeOwned;

    /// The hooks that are implemented. Written by [`macro@crate::agent`].
    const HOOKS: Hooks;

    /// The version of the state's shape; raise it together with a [`Agent::migrate`].
    const STATE_SCHEMA_VERSION: u32 = 1;

    /// A JSON Schema of the configuration.
    fn config_schema() -> Option<Json> {
        None
    }

    /// The configuration in force where the owner sets nothing, an object.
    fn config_default() -> Option<Json> {
        None
    }

    /// Runs once in an instance's life, before its first message. An error refuses the instance.
    async fn on_init(cx: &mut Ctx<Self>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// Answers a message.
    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()>;

    /// A person's word into a running turn: called in the same guest while `on_message` awaits, with a context of its own on
    /// the same state. An error is told and changes nothing of the turn; a panic ends it. The turn ends when both have.
    ///
    /// For an `on_message` that wants to hear of it, `cx.hand_on(message)` is all that this has to do.
    async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let _ = (cx, message);
        Ok(())
    }

    /// The configuration is about to become `cx.config`; an error keeps the old one.
    async fn on_config_change(cx: &mut Ctx<Self>, changes: Vec<Change>, source: String) -> Result<()> {
        let _ = (cx, changes, source);
        Ok(())
    }

    /// Asked of a warm guest before it is dropped; false defers.
    async fn on_idle(cx: &mut Ctx<Self>) -> bool {
        let _ = cx;
        true
    }

    /// The last call before a warm guest is dropped, and before an instance is deleted.
    async fn on_shutdown(cx: &mut Ctx<Self>, reason: ShutdownReason) -> Result<()> {
        let _ = (cx, reason);
        Ok(())
    }

    /// Turns the document that version `from` of the state's shape wrote into today's.
    async fn migrate(from: u32, state: Json) -> Result<Json> {
        let _ = from;
        Ok(state)
    }
}
