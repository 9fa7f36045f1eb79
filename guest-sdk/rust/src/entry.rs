//! From the component's exports to the agent's hooks.
//!
//! Owns what happens around each hook: constructors, the panic hook, making the [`Ctx`], the
//! commit at the end. Must never swallow an error of a hook or commit after one.

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
async fn turn<A: Agent, T>(call: String, hook: impl AsyncFnOnce(&mut Ctx<A>) -> Result<T>) -> Result<T, HostError> {
    enter();
    let _runs = HookRuns::begin();
    let run = async {
        let mut cx = Ctx::open(call)?;
        let answer = hook(&mut cx).await?;
        cx.commit()?;
        Ok(answer)
    };
    run.await.map_err(Error::into_host)
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
        turn::<A, _>("init".to_owned(), A::on_init).await
    }

    async fn on_message(message: Message) -> Result<(), HostError> {
        crate::host::inbox::with(crate::steer::Inbox::clear);
        turn::<A, _>(message.id.clone(), async |cx| A::on_message(cx, message).await).await
    }

    async fn on_steer(message: Message) -> Result<(), HostError> {
        turn::<A, _>(message.id.clone(), async |cx| A::on_steer(cx, message).await).await
    }

    async fn on_config_change(changes: Vec<ConfigChange>, source: String) -> Result<(), HostError> {
        let call = format!("config-{}", config::revision());
        turn::<A, _>(call, async |cx| {
            let changes = changes.into_iter().map(Change::from_host).collect::<Result<_>>()?;
            A::on_config_change(cx, changes, source).await
        })
        .await
    }

    async fn on_idle() -> bool {
        let asked = turn::<A, _>(format!("idle-{}", state::version()), async |cx| Ok(A::on_idle(cx).await)).await;
        // The export cannot answer an error; a guest that is in trouble may as well be dropped.
        asked.unwrap_or_else(|error| {
            log::write(Level::Error, "on_idle", &error.message, None);
            true
        })
    }

    async fn on_shutdown(reason: ShutdownReason) -> Result<(), HostError> {
        turn::<A, _>(format!("shutdown-{}", state::version()), async |cx| A::on_shutdown(cx, reason).await).await
    }

    async fn migrate(from_state_schema_version: u32) -> Result<(), HostError> {
        enter();
        let run = async {
            // Not through `Ctx`: today's type cannot be expected to read yesterday's document.
            let mut document = Document::open()?;
            let migrated = A::migrate(from_state_schema_version, document.json().clone()).await?;
            document.commit(&migrated).map(|_| ())
        };
        run.await.map_err(Error::into_host)
    }
}
