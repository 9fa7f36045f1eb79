//! `/cuts`, `/rewind`, `/fork`, `/diff`: what an instance was, back to it, and on from it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use podium_kit::HttpError;
use podium_wire::cuts::{CutDiff, CutPage, ForkInstance, Forked, RewindInstance, RewindReceipt};
use serde::Deserialize;

use super::extract::{self, Instance, Query};
use crate::auth::LOCAL_PRINCIPAL;
use crate::diff::{self, DiffRequest};
use crate::host::Parts;
use crate::owner::{Command, WantedRewind};

/// Cuts, messages or files on a page unless asked otherwise, and at most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// A stretch of the cuts.
#[derive(Debug, Deserialize)]
pub(super) struct CutsQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

/// Lists the cuts, oldest first.
pub(super) async fn list(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(query): Query<CutsQuery>,
) -> Result<Json<CutPage>, HttpError> {
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    Ok(Json(crate::cuts::page(&parts, id, query.after.unwrap_or(0), limit).await?))
}

/// Goes to another cut: answered when the instance is there.
pub(super) async fn rewind(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    extract::Json(request): extract::Json<RewindInstance>,
) -> Result<Json<RewindReceipt>, HttpError> {
    let wanted = |reply| Command::Rewind(WantedRewind { request, sender: LOCAL_PRINCIPAL.to_owned(), reply });
    Ok(Json(parts.instances.ask(&parts, id, wanted).await?))
}

/// Makes a new instance of a cut: 201 when it can be talked to.
pub(super) async fn fork(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    headers: HeaderMap,
    extract::Json(request): extract::Json<ForkInstance>,
) -> Result<(StatusCode, Json<Forked>), HttpError> {
    let made = parts.instances.ask(&parts, id, |reply| Command::Fork(request, reply)).await?;
    let info = parts.instances.ask(&parts, made.id, Command::Info).await?;
    let instance = super::instances::with_url(info, &headers);
    Ok((StatusCode::CREATED, Json(Forked { instance, forked_from: made.from, left_out: made.left_out })))
}

/// Two cuts, and a stretch of what differs.
#[derive(Debug, Deserialize)]
pub(super) struct DiffQuery {
    from: u64,
    to: u64,
    messages_after: Option<u64>,
    files_after: Option<u64>,
    limit: Option<usize>,
}

/// What differs between two cuts.
pub(super) async fn differences(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(query): Query<DiffQuery>,
) -> Result<Json<CutDiff>, HttpError> {
    let request = DiffRequest {
        from: query.from,
        to: query.to,
        messages_after: query.messages_after.unwrap_or(0),
        files_after: query.files_after.unwrap_or(0),
        limit: query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX),
    };
    Ok(Json(diff::diff(&parts, id, request).await?))
}
