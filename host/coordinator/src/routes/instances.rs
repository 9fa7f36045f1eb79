//! `/instances`: create, list, info, delete.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use podium_kit::HttpError;
use podium_wire::InstanceId;
use podium_wire::rest::{CreateInstance, InstanceInfo, InstancePage, InstanceStatus, InstanceSummary};
use serde::Deserialize;

use super::extract::{self, Instance, Query};
use crate::create;
use crate::error::Error;
use crate::host::Parts;
use crate::instances::Listed;
use crate::owner::Command;

/// Instances on a page unless asked otherwise, and at most.
const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 1000;

/// Makes an instance: 201 when it can be talked to.
pub(super) async fn create(
    State(parts): State<Arc<Parts>>,
    headers: HeaderMap,
    extract::Json(request): extract::Json<CreateInstance>,
) -> Result<(StatusCode, Json<InstanceInfo>), HttpError> {
    let info = create::create(&parts, request).await?;
    Ok((StatusCode::CREATED, Json(with_url(info, &headers))))
}

/// Everything about an instance that fits on a page.
pub(super) async fn info(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    headers: HeaderMap,
) -> Result<Json<InstanceInfo>, HttpError> {
    let info = parts.instances.ask(&parts, id, Command::Info).await?;
    Ok(Json(with_url(info, &headers)))
}

/// A stretch of the list.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    after: Option<InstanceId>,
    limit: Option<usize>,
}

/// Lists instances by id, which is by time of making.
pub(super) async fn list(
    State(parts): State<Arc<Parts>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<InstancePage>, HttpError> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    let mut rows = parts.store.list(query.after, limit + 1).await.map_err(Error::from)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = if more { rows.last().map(|row| row.id) } else { None };
    let mut instances = Vec::with_capacity(rows.len());
    for row in rows {
        let status = match parts.instances.listed(row.id).await {
            Listed::Active(status) => status,
            Listed::Resting if row.stopped => InstanceStatus::Stopped,
            Listed::Resting => InstanceStatus::Resting,
            Listed::Gone => continue,
        };
        let summary =
            InstanceSummary { instance_id: row.id, deployment_id: row.component, status, created_at: row.created_at };
        instances.push(summary);
    }
    Ok(Json(InstancePage { instances, next }))
}

/// Removes an instance with its data; a second time it is not there.
pub(super) async fn delete(State(parts): State<Arc<Parts>>, Instance(id): Instance) -> Result<StatusCode, HttpError> {
    parts.instances.ask(&parts, id, Command::Delete).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn with_url(mut info: InstanceInfo, headers: &HeaderMap) -> InstanceInfo {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    info.ws_url = format!("ws://{host}/agent/{}", info.instance_id);
    info
}
