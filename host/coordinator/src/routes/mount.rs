//! `/mount`: the workspace as a file system of the host's machine.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use podium_kit::HttpError;
use podium_wire::rest::{MountInfo, PostMount};

use super::extract::{self, Instance};
use crate::host::Parts;
use crate::owner::Command;

/// Answers where it is mounted.
pub(super) async fn show(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
) -> Result<Json<MountInfo>, HttpError> {
    Ok(Json(parts.instances.ask(&parts, id, Command::Mounted).await?))
}

/// Mounts it, until it is unmounted or the host stops.
pub(super) async fn mount(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    extract::Json(body): extract::Json<PostMount>,
) -> Result<Json<MountInfo>, HttpError> {
    let place = body.dir.map(PathBuf::from);
    Ok(Json(parts.instances.ask(&parts, id, |reply| Command::Mount(place, reply)).await?))
}

/// Unmounts it, after a cut of what was written.
pub(super) async fn unmount(State(parts): State<Arc<Parts>>, Instance(id): Instance) -> Result<StatusCode, HttpError> {
    parts.instances.ask(&parts, id, Command::Unmount).await?;
    Ok(StatusCode::NO_CONTENT)
}
