//! From the component's exports to the agent's hooks.
//!
//! Owns what happens around each hook: constructors, the panic hook, making the [`Ctx`], the
//! commit at the end, the line that says where an error of a hook comes from. Must never swallow an error of a hook or commit
//! after one.

use std::marker::PhantomData;

use crate::bindings::exports::podium::agent::lifecycle::{ConfigChange, Description, Guest, Message, ShutdownReason};
use crate::bindings::podium::agent::types::Error as HostError;
use crate::host::{config, state};
use crate::log::{self, Level};
use crate::state::Document;
use crate::updates::HookRuns;
use crate::{Agent, Change, Ctx, Error, Json, Result};

/// The exports of an agent; used by the code that [`macro@crate::agent`] writes.
pub struct Shim<A>(PhantomData<A>);

/// What every entry needs first.
fn enter() {
    crate::constructors::run_once();
    // A test's panics belong to the test.
    #[cfg(target_arch = "wasm32")]
    log_panics();
}

#[cfg(target_arch = "wasm32")]
fn log_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|panic| {
            // `Display` of a panic is "panicked at FILE:LINE:COLUMN:\nMESSAGE".
            log::write(Level::Error, "panic", &panic.to_string(), None);
        }));
    });
}

/// Runs a hook and commits what it did to the state, unless it failed.
///
/// `call` tells this call from all others of the instance.
async fn turn<A: Agent, T>(call: String, hook: impl AsyncFnOnce(&mut Ctx<A>) -> Result<T>) -> Result<T> {
    enter();
    let _runs = HookRuns::begin();
    let run = async {
        let mut cx = Ctx::open(call).map_err(Error::without_place)?;
        let answer = hook(&mut cx).await?;
        cx.write_state().map_err(Error::without_place)?;
        Ok(answer)
    };
    run.await
}

/// Hands a hook's error over, and logs where it comes from. Its text is the host's to tell.
fn answer<T>(hook: &str, outcome: Result<T>) -> Result<T, HostError> {
    outcome.map_err(|error| {
        log::write(Level::Error, hook, &error.log_line(), None);
        error.into_host()
    })
}

impl<A: Agent> Guest for Shim<A> {
    async fn describe() -> Description {
        enter();
        Description {
            hooks: A::HOOKS,
            state_schema_version: A::STATE_SCHEMA_VERSION,
            config_schema: A::config_schema().as_ref().map(Json::to_string),
            config_default: A::config_default().as_ref().map(Json::to_string),
        }
    }

    async fn on_init() -> Result<(), HostError> {
        answer("on_init", turn::<A, _>("init".to_owned(), A::on_init).await)
    }

    async fn on_message(message: Message) -> Result<(), HostError> {
        crate::host::inbox::with(crate::steer::Inbox::clear);
        let outcome = turn::<A, _>(message.id.clone(), async |cx| A::on_message(cx, message).await).await;
        answer("on_message", outcome)
    }

    async fn on_steer(message: Message) -> Result<(), HostError> {
        let outcome = turn::<A, _>(message.id.clone(), async |cx| A::on_steer(cx, message).await).await;
        answer("on_steer", outcome)
    }

    async fn on_config_change(changes: Vec<ConfigChange>, source: String) -> Result<(), HostError> {
        let call = format!("config-{}", config::revision());
        let outcome = turn::<A, _>(call, async |cx| {
            let changes =
                changes.into_iter().map(Change::from_host).collect::<Result<_>>().map_err(Error::without_place)?;
            A::on_config_change(cx, changes, source).await
        });
        answer("on_config_change", outcome.await)
    }

    async fn on_idle() -> bool {
        let asked = turn::<A, _>(format!("idle-{}", state::version()), async |cx| Ok(A::on_idle(cx).await)).await;
        // The export cannot answer an error; a guest that is in trouble may as well be dropped.
        asked.unwrap_or_else(|error| {
            log::write(Level::Error, "on_idle", &format!("{}: {error}", error.log_line()), None);
            true
        })
    }

    async fn on_shutdown(reason: ShutdownReason) -> Result<(), HostError> {
        let call = format!("shutdown-{}", state::version());
        answer("on_shutdown", turn::<A, _>(call, async |cx| A::on_shutdown(cx, reason).await).await)
    }

    async fn migrate(from_state_schema_version: u32) -> Result<(), HostError> {
        enter();
        let run = async {
            // Not through `Ctx`: today's type cannot be expected to read yesterday's document.
            let mut document = Document::open().map_err(Error::without_place)?;
            let migrated = A::migrate(from_state_schema_version, document.json().clone()).await?;
            document.commit(&migrated).map(|_| ()).map_err(Error::without_place)
        };
        answer("migrate", run.await)
    }
}
