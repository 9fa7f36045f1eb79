//! `/files`: the workspace, listed, read, written and removed from outside a turn.
//!
//! What lies at a path goes before what its last parts may mean to `history`.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Path, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use podium_kit::HttpError;
use podium_wire::rest::{ExternalCut, FilePage};
use podium_wire::{ErrorCode, InstanceId};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::body::{drain, unreadable};
use super::extract::{Instance, Query};
use super::history::{self, PageQuery, Past};
use crate::error::Error;
use crate::files::{FILE_BYTES_MAX, FileChange, LIST_LIMIT_MAX, Workspace, WorkspacePath, no_file};
use crate::host::Parts;
use crate::instances::Listed;
use crate::owner::Command;
use crate::transfers::StagedFile;

/// A stretch of the listing.
#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

/// The path below `/files/`.
#[derive(Debug, Deserialize)]
pub(super) struct FilePath {
    path: String,
}

/// Everything in the workspace, in the order of the paths.
pub(super) async fn list(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(query): Query<ListQuery>,
) -> Result<Json<FilePage>, HttpError> {
    let Some(folder) = folder(&parts, id).await? else { return Ok(Json(FilePage { files: Vec::new(), next: None })) };
    let limit = query.limit.unwrap_or(LIST_LIMIT_MAX).clamp(1, LIST_LIMIT_MAX);
    let list = move || Workspace::open(&folder)?.list(query.after.as_deref(), limit);
    Ok(Json(blocking(list).await??))
}

/// A file's content, or a look at its history.
pub(super) async fn read(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Path(FilePath { path }): Path<FilePath>,
    Query(page): Query<PageQuery>,
) -> Result<Response, HttpError> {
    let literal = WorkspacePath::new(&path)?;
    let folder = folder(&parts, id).await?;
    if let Some((of, past)) = Past::named(&path) {
        let at_literal = there(folder.clone(), literal.clone()).await?;
        return match past {
            _ if at_literal => content(&parts, folder, literal).await,
            Past::History => history::list(&parts, id, of, folder, page).await,
            Past::At(n) => history::content(&parts, id, of, n).await,
        };
    }
    content(&parts, folder, literal).await
}

/// True when something is at this path itself.
async fn there(folder: Option<PathBuf>, path: WorkspacePath) -> Result<bool, Error> {
    let Some(folder) = folder else { return Ok(false) };
    blocking(move || Ok(Workspace::open(&folder)?.has(&path))).await?
}

async fn content(parts: &Arc<Parts>, folder: Option<PathBuf>, path: WorkspacePath) -> Result<Response, HttpError> {
    let folder = folder.ok_or_else(|| no_file(&path))?;
    let held = parts.transfers.begin()?;
    let (file, size) = blocking(move || Workspace::open(&folder)?.read(&path)).await??;
    let content = ReaderStream::new(tokio::fs::File::from_std(file)).inspect(move |_| {
        // Counted for as long as the client takes to read it.
        let _ = &held;
    });
    Ok((content_headers(size), Body::from_stream(content)).into_response())
}

/// Never a page of this origin, whatever an agent wrote.
pub(super) fn content_headers(size: u64) -> [(HeaderName, String); 3] {
    [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
    ]
}

/// Writes a file, whole: an external cut before the answer.
pub(super) async fn put(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Path(FilePath { path }): Path<FilePath>,
    body: Body,
) -> Result<Json<ExternalCut>, HttpError> {
    write(&parts, id, &path, body).await
}

/// As `PUT`; below the path of a file, where nothing else is, a restore of it.
pub(super) async fn post(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Path(FilePath { path }): Path<FilePath>,
    body: Body,
) -> Result<Json<ExternalCut>, HttpError> {
    if let Some(of) = history::restored(&path) {
        let literal = WorkspacePath::new(&path)?;
        if !there(folder(&parts, id).await?, literal).await? {
            return history::restore(&parts, id, &of, body).await;
        }
    }
    write(&parts, id, &path, body).await
}

async fn write(parts: &Arc<Parts>, id: InstanceId, path: &str, body: Body) -> Result<Json<ExternalCut>, HttpError> {
    let path = WorkspacePath::new(path)?;
    known(parts, id).await?;
    let content = stage(parts, body.into_data_stream(), FILE_BYTES_MAX, too_large).await?;
    let change = FileChange::Put { path, content };
    let cut = parts.instances.ask(parts, id, |reply| Command::Write(change, reply)).await?;
    Ok(Json(ExternalCut { cut }))
}

/// Removes a file: an external cut before the answer.
pub(super) async fn remove(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Path(FilePath { path }): Path<FilePath>,
) -> Result<Json<ExternalCut>, HttpError> {
    let change = FileChange::Remove(WorkspacePath::new(&path)?);
    let cut = parts.instances.ask(&parts, id, |reply| Command::Write(change, reply)).await?;
    Ok(Json(ExternalCut { cut }))
}

/// The workspace's folder of an instance that exists, as its last cut has it; none while nobody ever used a file.
async fn folder(parts: &Arc<Parts>, id: InstanceId) -> Result<Option<PathBuf>, Error> {
    known(parts, id).await?;
    parts.instances.ask(parts, id, Command::Folder).await
}

/// Refuses an instance that does not exist.
async fn known(parts: &Arc<Parts>, id: InstanceId) -> Result<(), Error> {
    // One that is just being made has its folder to itself until it is there.
    if parts.instances.listed(id).await != Listed::Gone && parts.store.exists(id).await? {
        Ok(())
    } else {
        Err(Error::InstanceNotFound(id))
    }
}

fn too_large() -> Error {
    Error::coded(ErrorCode::FileTooLarge, format!("a file may have {FILE_BYTES_MAX} bytes in one request"))
}

/// Gathers the body, of at most `bytes_max`, in a staged file.
pub(super) async fn stage(
    parts: &Arc<Parts>,
    mut body: BodyDataStream,
    bytes_max: u64,
    too_large: fn() -> Error,
) -> Result<StagedFile, Error> {
    let held = match parts.transfers.begin() {
        Ok(held) => held,
        Err(refused) => {
            drain(&mut body).await;
            return Err(refused);
        }
    };
    let host = Arc::clone(parts);
    let mut file = blocking(move || host.transfers.stage(held)).await??;
    let mut size = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| unreadable(&error))?;
        size += piece.len() as u64;
        if size > bytes_max {
            drain(&mut body).await;
            return Err(too_large());
        }
        let write = move || std::io::Write::write_all(file.file(), &piece).map(|()| file);
        file = blocking(write).await??;
    }
    Ok(file)
}

pub(super) async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
    podium_kit::spawn::blocking(work).await.map_err(|_| Error::Stopping)
}
