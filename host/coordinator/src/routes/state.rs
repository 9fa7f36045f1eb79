//! `/state`: the committed state, whole or at a JSON Pointer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use podium_capabilities::state::value_at;
use podium_kit::HttpError;
use podium_wire::ErrorCode;
use podium_wire::rest::StateDocument;
use serde::Deserialize;
use serde_json::Value;

use super::extract::{Instance, Query};
use crate::host::Parts;
use crate::owner::Command;

/// Where to look.
#[derive(Debug, Deserialize)]
pub(super) struct StateQuery {
    #[serde(default)]
    pointer: String,
}

/// Answers the value there, null where nothing is.
pub(super) async fn read(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(query): Query<StateQuery>,
) -> Result<Json<StateDocument>, HttpError> {
    let view = parts.instances.ask(&parts, id, Command::State).await?;
    let state = value_at(&view.state, &query.pointer)
        .map_err(|error| HttpError::new(ErrorCode::InvalidPointer, error.to_string()))?
        .cloned()
        .unwrap_or(Value::Null);
    Ok(Json(StateDocument { version: view.version, cut: view.cut, state }))
}
