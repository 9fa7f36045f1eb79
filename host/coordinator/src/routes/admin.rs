//! `/health` and `/admin/status`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use podium_kit::HttpError;
use podium_wire::rest::{AdminStatus, Health};

use crate::error::Error;
use crate::host::{CAPACITY, Parts};

/// Answers without looking at anything that could be slow.
pub(super) async fn health(State(parts): State<Arc<Parts>>) -> Json<Health> {
    let status = if parts.shutdown.has_begun() { "stopping" } else { "ok" };
    Json(Health { status: status.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// What the host is doing and what it uses.
pub(super) async fn status(State(parts): State<Arc<Parts>>) -> Result<Json<AdminStatus>, HttpError> {
    let instances = parts.store.count().await.map_err(Error::from)?;
    let registry = Arc::clone(&parts.registry);
    let (deployments, process) = podium_kit::spawn::blocking(move || (registry.list(), podium_kit::process::usage()))
        .await
        .map_err(|_| Error::Stopping)?;
    let deployments = deployments.map_err(Error::from)?.len() as u64;
    Ok(Json(AdminStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        capacity: CAPACITY,
        active_agents: parts.instances.active() as u64,
        instances,
        deployments,
        running_turns: parts.metrics.running_turns(),
        turns_ended: parts.metrics.turns_ended(),
        clients: parts.metrics.clients(),
        uptime_ms: u64::try_from(parts.clock.monotonic().saturating_sub(parts.started).as_millis()).unwrap_or(u64::MAX),
        memory_bytes: process.memory_bytes,
        open_descriptors: process.open_descriptors,
        descriptor_limit: process.descriptor_limit,
        data: parts.data.path().display().to_string(),
    }))
}
