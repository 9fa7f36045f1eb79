//! `/steer`: a word into the running turn.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use podium_kit::HttpError;
use podium_wire::rest::{MessageReceipt, PostMessage};

use super::extract::{self, Instance};
use super::messages::incoming;
use crate::host::Parts;
use crate::owner::{Command, SteerAck};

/// Accepts a steer: 202 once it is durable.
pub(super) async fn send(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    extract::Accepting(span): extract::Accepting,
    extract::Json(body): extract::Json<PostMessage>,
) -> Result<(StatusCode, Json<MessageReceipt>), HttpError> {
    let steer = incoming(&parts, body.id, body.content, "http", span)?;
    let send = |reply| Command::Steer(steer, SteerAck::Reply(reply));
    let receipt = parts.instances.ask(&parts, id, send).await?;
    Ok((StatusCode::ACCEPTED, Json(receipt)))
}
