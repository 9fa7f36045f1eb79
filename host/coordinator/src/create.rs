//! The making of an instance: its folder and databases, then `on-init` as cut 1.
//!
//! An instance that its agent refuses is gone before the answer; one that a crash interrupted is removed at the next start.

use std::sync::Arc;

use podium_store::{Began, FirstCut, NewInstance, NewRow, Outcome, RowKind, TurnStart};
use podium_wire::rest::{CreateInstance, Hook, InstanceInfo};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Map, Value};
use tokio::sync::oneshot;

use crate::agents::LoadedAgent;
use crate::error::Error;
use crate::host::Parts;
use crate::owner::{Command, Core, HOST_SENDER, Opening, Row, check_config_size};

/// Makes an instance and answers its first info, on the threads that may block: nearly all of it is the disk's time.
pub(crate) async fn create(parts: &Arc<Parts>, request: CreateInstance) -> Result<InstanceInfo, Error> {
    let own = Arc::clone(parts);
    let created =
        parts.shutdown.task_on(&parts.threads, "instance creation", async move { create_here(&own, request).await });
    created.await.map_err(|_| Error::Stopping)?
}

async fn create_here(parts: &Arc<Parts>, request: CreateInstance) -> Result<InstanceInfo, Error> {
    let deployment = parts.registry.find(&request.deployment_id)?;
    let agent = parts.agents.prepare(deployment).await?;
    let config = merged(&agent, request.config)?;
    let now = parts.clock.now_ms();
    let id = InstanceId::from_uuid(parts.random.uuid_v7(now));
    let outcome = make(parts, &agent, id, config, now).await?;
    if let Some(outcome) = outcome {
        let outcome = outcome.await.map_err(|_| Error::Stopping)?;
        if let Some(error) = outcome.error {
            parts.instances.ask(parts, id, Command::Delete).await?;
            if error.known_code() == Some(ErrorCode::Parked) {
                // The host failed, not the agent.
                return Err(Error::coded(
                    ErrorCode::StorageFailed,
                    format!("the instance is not made: {}", error.message),
                ));
            }
            let message = format!("`on-init` refused the instance: {}", error.message);
            return Err(Error::coded(ErrorCode::InitFailed, message));
        }
    }
    parts.instances.ask(parts, id, Command::Info).await
}

/// The first configuration: the request's over the manifest's over the agent's own.
fn merged(agent: &LoadedAgent, requested: Option<Map<String, Value>>) -> Result<Map<String, Value>, Error> {
    let own = agent.deployment.description.config_default.clone();
    let manifest = agent.deployment.manifest.config.clone();
    let mut config = Map::new();
    for layer in [own, manifest, requested].into_iter().flatten() {
        config.extend(layer);
    }
    check_config_size(&config)?;
    Ok(config)
}

/// Writes the instance and starts its owner; with `on-init`, answers where its outcome will come.
async fn make(
    parts: &Arc<Parts>,
    agent: &Arc<LoadedAgent>,
    id: InstanceId,
    config: Map<String, Value>,
    now: u64,
) -> Result<Option<oneshot::Receiver<Outcome>>, Error> {
    let component = agent.deployment.deployment_id.clone();
    let config_text = Value::Object(config.clone()).to_string();
    let has_init = agent.has(Hook::OnInit);
    let row = NewRow {
        sender: HOST_SENDER.to_owned(),
        id: parts.random.uuid_v7(now).to_string(),
        kind: RowKind::Init,
        hashed: String::new(),
        body: String::from("{}"),
        at: now,
        start: has_init.then(|| TurnStart {
            turn: 1,
            turn_id: parts.random.uuid_v7(now).to_string(),
            kind: RowKind::Init,
            attempt: 1,
            base_cut: 0,
            began: Began::Fresh,
            seed: parts.random.bytes32(),
            started: now,
        }),
    };
    let first = if has_init { FirstCut::Row(row.clone()) } else { FirstCut::Now };
    let reserved = parts.instances.reserve(parts, id);
    let new = NewInstance { id, created_at: now, component: component.clone(), config: config_text, first };
    if let Err(error) = parts.store.create(new).await {
        parts.instances.give_up(reserved);
        return Err(error.into());
    }
    let mut core = Core {
        created_at: now,
        component,
        stopped: false,
        cut: 1,
        state: Arc::new(Value::Object(Map::new())),
        state_version: 0,
        last_seq: 0,
        last_turn: 0,
        config: Arc::new(Value::Object(config)),
        config_rev: 1,
    };
    let (told, outcome) = oneshot::channel();
    let opening = if has_init {
        core.cut = 0;
        let first = Row::accepted(1, row);
        let waiters = [(first.seq, vec![told])].into();
        Opening::Fresh { core: Box::new(core), queue: vec![first], waiters }
    } else {
        Opening::Fresh { core: Box::new(core), queue: Vec::new(), waiters: crate::owner::Waiters::new() }
    };
    reserved.start(parts, opening);
    Ok(has_init.then_some(outcome))
}
