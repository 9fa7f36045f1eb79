//! `/instances`: create, list, info, delete.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use podium_kit::HttpError;
use podium_store::InstanceRow;
use podium_wire::rest::{CreateInstance, InstanceInfo, InstancePage, InstanceStatus, InstanceSummary};
use podium_wire::{ErrorCode, InstanceId};
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
    status: Option<String>,
}

/// Lists instances by id, which is by time of making.
pub(super) async fn list(
    State(parts): State<Arc<Parts>>,
    Query(query): Query<ListQuery>,
) -> Result<Json<InstancePage>, HttpError> {
    let limit = query.limit.unwrap_or(LIST_DEFAULT).clamp(1, LIST_MAX);
    if let Some(wanted) = query.status {
        return in_turn(&parts, &wanted, query.after, limit).await;
    }
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

/// Lists those that are in a turn, as their owners know without a look at any other instance.
async fn in_turn(
    parts: &Parts,
    wanted: &str,
    after: Option<InstanceId>,
    limit: usize,
) -> Result<Json<InstancePage>, HttpError> {
    let wanted = statuses(wanted)?;
    let mut found = parts.instances.of_status(&wanted, after, limit + 1);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(|(id, _)| *id) } else { None };
    let rows = parts.store.find(found.iter().map(|(id, _)| *id).collect()).await.map_err(Error::from)?;
    let status: HashMap<InstanceId, InstanceStatus> = found.into_iter().collect();
    // One that was deleted in between has no row.
    let summary = |row: InstanceRow| InstanceSummary {
        instance_id: row.id,
        deployment_id: row.component,
        status: status.get(&row.id).copied().unwrap_or(InstanceStatus::Running),
        created_at: row.created_at,
    };
    Ok(Json(InstancePage { instances: rows.into_iter().map(summary).collect(), next }))
}

/// Reads `running`, `waiting` or both with a comma.
fn statuses(text: &str) -> Result<Vec<InstanceStatus>, Error> {
    let read = |word: &str| match word {
        "running" => Ok(InstanceStatus::Running),
        "waiting" => Ok(InstanceStatus::Waiting),
        _ => Err(Error::coded(ErrorCode::BadRequest, "`status` is running, waiting or both with a comma between")),
    };
    text.split(',').map(read).collect()
}

/// Removes an instance with its data; a second time it is not there.
pub(super) async fn delete(State(parts): State<Arc<Parts>>, Instance(id): Instance) -> Result<StatusCode, HttpError> {
    parts.instances.ask(&parts, id, Command::Delete).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn with_url(mut info: InstanceInfo, headers: &HeaderMap) -> InstanceInfo {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
    info.ws_url = format!("ws://{host}/agent/{}", info.instance_id);
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statuses_of_a_turn_can_be_asked_for() {
        use InstanceStatus::{Running, Waiting};
        assert_eq!(statuses("running").ok(), Some(vec![Running]));
        assert_eq!(statuses("running,waiting").ok(), Some(vec![Running, Waiting]));
        for text in ["", "resting", "running,", "running, waiting", "RUNNING"] {
            assert!(statuses(text).is_err(), "{text}");
        }
    }
}
