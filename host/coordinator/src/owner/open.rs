//! Opening an instance: from its databases, or fresh from what its creation has just written.

use std::sync::Arc;

use podium_chronicle::{Named, Place};
use podium_store::{InstanceStore, StoreError};
use podium_wire::InstanceId;
use serde_json::Value;
use tokio::sync::{Notify, mpsc};

use super::deadlines::Deadlines;
use super::row::Row;
use super::upgrade::{self, Upgrades};
use super::warm::Warm;
use super::{Command, Core, Owner, Waiters};
use crate::error::Error;
use crate::host::Parts;
use crate::instances::Shown;

/// What an owner starts from.
pub enum Opening {
    /// The databases tell.
    Stored,
    /// The instance has just been made; its first row waits.
    Fresh {
        /// Its values.
        core: Box<Core>,
        /// The rows that wait, and who waits for them.
        queue: Vec<Row>,
        /// Who waits for the first one.
        waiters: Waiters,
    },
}

impl Owner {
    /// Opens an instance; commands that came meanwhile wait in `commands`.
    pub(crate) async fn open(
        parts: Arc<Parts>,
        id: InstanceId,
        opening: Opening,
        shown: Arc<Shown>,
        mut commands: mpsc::Receiver<Box<Command>>,
    ) -> Option<Self> {
        let store = parts.store.instance(id);
        let (core, named, queue, trial, waiters, active) = match opening {
            Opening::Fresh { core, queue, waiters } => (*core, Named::default(), queue, None, waiters, true),
            Opening::Stored => match recover(&store).await {
                Ok((core, named, queue, trial)) => {
                    let active = !queue.is_empty();
                    (core, named, queue, trial, Waiters::new(), active)
                }
                Err(error) => {
                    remove_unfinished(&parts, id, &error).await;
                    parts.instances.forget(id, &shown);
                    refuse_all(&mut commands, id, &error).await;
                    return None;
                }
            },
        };
        let workspace = parts.workspaces.closed(Place::new(store.chronicle()), named);
        let owner = Self {
            parts,
            id,
            store,
            workspace,
            shown,
            core,
            agent: None,
            queue: queue.into(),
            running: None,
            upgrade: Upgrades::recovered(id, trial.as_deref()),
            rewinds: super::rewind::Rewinds::new(),
            waiters,
            resolved_asks: super::asks::ResolvedAsks::default(),
            deferred: Vec::new(),
            commands,
            active,
            stopping: false,
            wait_changed: Arc::new(Notify::new()),
            deadlines: Deadlines::default(),
            maintenance: super::maintenance::Maintenance::default(),
            warm: Warm::default(),
            mounting: super::mount::Mounting::default(),
            was_refused: false,
        };
        owner.shown.hub.set_position(owner.position());
        owner.show_status();
        Some(owner)
    }
}

async fn recover(store: &InstanceStore) -> Result<(Core, Named, Vec<Row>, Option<String>), Error> {
    let recovered = store.recover().await?;
    let named = super::workspace::named(recovered.cut, recovered.workspace.as_ref())?;
    let core = Core {
        created_at: recovered.created_at,
        component: recovered.component,
        stopped: recovered.stopped,
        cut: recovered.cut,
        state: recovered.state,
        state_version: recovered.state_version,
        last_seq: recovered.last_seq,
        last_turn: recovered.last_turn,
        config: Arc::new(Value::Object(recovered.config)),
        config_rev: recovered.config_rev,
    };
    let queue = recovered.unfinished.into_iter().map(Row::from).collect();
    let queue = upgrade::ordered(queue, core.stopped);
    Ok((core, named, queue, recovered.trial))
}

/// Removes what a creation left that was never answered: nobody knows it.
async fn remove_unfinished(parts: &Parts, id: InstanceId, error: &Error) {
    if let Error::Store(StoreError::NeverCreated(_)) = error
        && let Err(error) = parts.store.delete(id).await
    {
        tracing::warn!(instance = %id, %error, "an instance that was never created cannot be removed");
    }
}

/// Answers everything that waited for an instance that does not open.
async fn refuse_all(commands: &mut mpsc::Receiver<Box<Command>>, id: InstanceId, error: &Error) {
    commands.close();
    let shown = error.to_string();
    let code = error.code();
    while let Some(command) = commands.recv().await {
        command.refuse(match code {
            podium_wire::ErrorCode::InstanceNotFound => Error::InstanceNotFound(id),
            code => Error::coded(code, shown.clone()),
        });
    }
}
