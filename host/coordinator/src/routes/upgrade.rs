//! `/upgrade`: other code for an instance.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use podium_kit::HttpError;
use podium_wire::rest::{UpgradeInstance, UpgradeReceipt, UpgradeStatus};
use serde::Deserialize;

use super::extract::{self, Instance, Query};
use super::messages::parse_wait;
use crate::auth::LOCAL_PRINCIPAL;
use crate::error::Error;
use crate::host::Parts;

/// How long to wait until it is in force.
#[derive(Debug, Deserialize)]
pub(super) struct UpgradeQuery {
    wait: Option<String>,
}

/// Queues an upgrade: 202 once it is durable, or with `?wait=30s` how it ended.
pub(super) async fn upgrade(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(query): Query<UpgradeQuery>,
    extract::Json(body): extract::Json<UpgradeInstance>,
) -> Result<(StatusCode, Json<UpgradeReceipt>), HttpError> {
    let wait = query.wait.as_deref().map(parse_wait).transpose()?;
    let queued = crate::upgrade::upgrade(&parts, id, body, LOCAL_PRINCIPAL.to_owned()).await?;
    let receipt = queued.receipt;
    let outcome = match (wait, queued.outcome) {
        (Some(wait), Some(outcome)) => tokio::time::timeout(wait, outcome).await.ok(),
        _ => None,
    };
    match outcome {
        Some(Ok(outcome)) => match outcome.error {
            Some(error) => Err(Error::Agent(error).into()),
            None => {
                let done = UpgradeReceipt { status: UpgradeStatus::Done, cut: Some(outcome.cut), ..receipt };
                Ok((StatusCode::OK, Json(done)))
            }
        },
        // Not made yet, or the owner has left: it is safe either way.
        Some(Err(_)) | None if receipt.status == UpgradeStatus::Accepted => Ok((StatusCode::ACCEPTED, Json(receipt))),
        Some(Err(_)) | None => Ok((StatusCode::OK, Json(receipt))),
    }
}
