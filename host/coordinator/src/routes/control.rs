//! `/interrupt`, `/stop`, `/start`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use podium_kit::HttpError;
use podium_wire::rest::InstanceInfo;

use super::extract::Instance;
use crate::host::Parts;
use crate::owner::Command;

/// Ends the running turn: 202, its error cut follows.
pub(super) async fn interrupt(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
) -> Result<StatusCode, HttpError> {
    parts.instances.ask(&parts, id, Command::Interrupt).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Takes no more messages.
pub(super) async fn stop(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
) -> Result<Json<InstanceInfo>, HttpError> {
    parts.instances.ask(&parts, id, Command::Stop).await?;
    Ok(Json(parts.instances.ask(&parts, id, Command::Info).await?))
}

/// Takes messages again.
pub(super) async fn start(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
) -> Result<Json<InstanceInfo>, HttpError> {
    parts.instances.ask(&parts, id, Command::Start).await?;
    Ok(Json(parts.instances.ask(&parts, id, Command::Info).await?))
}
