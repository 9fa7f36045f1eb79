//! `/export` and `/instances/import`: an instance out as a file, and in again.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use podium_kit::HttpError;
use podium_wire::ErrorCode;
use podium_wire::portable::{CONTENT_BYTES_HEADER, CUT_HEADER, Imported, LEFT_OUT_HEADER, MEDIA_TYPE};
use serde::Deserialize;

use super::body::drain;
use super::extract::{Instance, Query};
use super::files::stage;
use crate::error::Error;
use crate::host::Parts;
use crate::owner::Command;
use crate::portable::{Export, FILE_BYTES_MAX, import as import_file};

/// What is wanted of an instance.
#[derive(Debug, Deserialize)]
pub(super) struct ExportQuery {
    at: Option<u64>,
    component: Option<bool>,
}

/// An instance as a file. What fails on the way ends the answer without its end.
pub(super) async fn export(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(query): Query<ExportQuery>,
) -> Result<Response, HttpError> {
    let export = Export::begin(&parts, id, query.at, query.component.unwrap_or(true)).await?;
    let head = export.head();
    let name = format!("{}-{id}-{}.podium", head.deployment_id.agent_type, head.cut.cut);
    let headers = [
        (header::CONTENT_TYPE, MEDIA_TYPE.to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
        (HeaderName::from_static(CUT_HEADER), head.cut.cut.to_string()),
        (HeaderName::from_static(CONTENT_BYTES_HEADER), export.content_bytes().to_string()),
        (HeaderName::from_static(LEFT_OUT_HEADER), head.left_out_count.to_string()),
    ];
    let pieces = stream::unfold(export, move |mut export: Export| async move {
        let piece = export.next().await.transpose()?.map_err(|error| {
            tracing::warn!(instance = %id, %error, "an export breaks off on its way");
            std::io::Error::other(error.to_string())
        });
        Some((piece, export))
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Makes a new instance of a file: 201 when it can be talked to.
pub(super) async fn import(
    State(parts): State<Arc<Parts>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Imported>), HttpError> {
    let mut body = body.into_data_stream();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > FILE_BYTES_MAX) {
        drain(&mut body).await;
        return Err(too_large().into());
    }
    let file = stage(&parts, body, FILE_BYTES_MAX, too_large).await?;
    let made = import_file(&parts, file).await?;
    let info = parts.instances.ask(&parts, made.id, Command::Info).await?;
    let instance = super::instances::with_url(info, &headers);
    let imported = Imported { instance, imported_from: made.from, deployed: made.deployed, left_out: made.left_out };
    Ok((StatusCode::CREATED, Json(imported)))
}

fn too_large() -> Error {
    Error::coded(ErrorCode::ExportTooLarge, format!("an export may have {FILE_BYTES_MAX} bytes"))
}
