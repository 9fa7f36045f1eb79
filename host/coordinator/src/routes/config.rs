//! `/config`: the configuration in force, and its change.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use podium_kit::HttpError;
use podium_wire::rest::{ConfigDocument, PutConfig};

use super::extract::{self, Instance};
use crate::auth::LOCAL_PRINCIPAL;
use crate::host::Parts;
use crate::owner::{Command, WantedConfig};

/// Answers the configuration and its revision.
pub(super) async fn read(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
) -> Result<Json<ConfigDocument>, HttpError> {
    Ok(Json(parts.instances.ask(&parts, id, Command::Config).await?))
}

/// Sets the configuration, whole; answers when the agent has taken it.
pub(super) async fn set(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    extract::Json(body): extract::Json<PutConfig>,
) -> Result<Json<ConfigDocument>, HttpError> {
    let PutConfig { config, if_revision, now } = body;
    let sender = LOCAL_PRINCIPAL.to_owned();
    let set = |reply| Command::SetConfig { wanted: WantedConfig { config, if_revision, now, sender }, reply };
    Ok(Json(parts.instances.ask(&parts, id, set).await?))
}
