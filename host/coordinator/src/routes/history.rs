//! Below a file's path, `/history`, `/at/{n}` and `/restore`: what it was, and back to it.
//!
//! Read in the owner, a bounded piece at a time; what is gone has a history as well. Must never begin to send content of which a part
//! is damaged.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use podium_chronicle::{Kind, PastFile, Sight};
use podium_kit::HttpError;
use podium_wire::rest::{ExternalCut, IterationPage, RestoreFile};
use podium_wire::{ErrorCode, InstanceId};
use serde::Deserialize;

use super::BODY_BYTES_MAX;
use super::files::{blocking, content_headers};
use crate::error::Error;
use crate::files::{Workspace, WorkspacePath, no_file, not_a_file};
use crate::host::Parts;
use crate::owner::Command;

/// Iterations on a page unless asked otherwise, and at most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// Bytes that the owner reads at once: little to wait for, and few asks for a large file.
const PIECE_BYTES: usize = 512 * 1024;

/// A stretch of a history.
#[derive(Debug, Deserialize)]
pub(super) struct PageQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

/// What the last parts of a path may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// `…/history`
    History,
    /// `…/at/{n}`
    At(u64),
}

impl Past {
    /// The path that is meant and what of it, if the last parts of `path` can mean that.
    pub(super) fn named(path: &str) -> Option<(WorkspacePath, Self)> {
        let (of, past) = match path.rsplit_once('/')? {
            (of, "history") => (of, Self::History),
            (at, n) if n.bytes().all(|byte| byte.is_ascii_digit()) => {
                (at.strip_suffix("/at")?, Self::At(n.parse().ok()?))
            }
            _ => return None,
        };
        Some((WorkspacePath::new(of).ok()?, past))
    }
}

/// The path that is to be restored, if the last part of `path` can mean that.
pub(super) fn restored(path: &str) -> Option<WorkspacePath> {
    WorkspacePath::new(path.strip_suffix("/restore")?).ok()
}

/// The iterations of a path, oldest first; empty for what is there and in no cut.
pub(super) async fn list(
    parts: &Arc<Parts>,
    id: InstanceId,
    path: WorkspacePath,
    folder: Option<PathBuf>,
    page: PageQuery,
) -> Result<Response, HttpError> {
    let of = path.in_history()?;
    let (after, limit) = (page.after.unwrap_or(0), page.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX));
    let read = move |chronicle: &podium_chronicle::Chronicle| chronicle.told(&of, after, limit, Sight::Cuts);
    let told = parts.instances.history(parts, id, read).await?;
    let told = told.unwrap_or(IterationPage { iterations: Vec::new(), next: None });
    if told.iterations.is_empty() && after == 0 {
        let folder = folder.ok_or_else(|| no_file(&path))?;
        let there = path.clone();
        if !blocking(move || Ok::<_, Error>(Workspace::open(&folder)?.has(&there))).await?? {
            return Err(no_file(&path).into());
        }
    }
    Ok(Json(told).into_response())
}

/// What a file was in the cut that an iteration came with.
pub(super) async fn content(
    parts: &Arc<Parts>,
    id: InstanceId,
    path: WorkspacePath,
    n: u64,
) -> Result<Response, HttpError> {
    let held = parts.transfers.begin()?;
    let of = path.in_history()?;
    let found =
        parts.instances.history(parts, id, move |chronicle| chronicle.at_iteration(&of, n, Sight::Cuts)).await?;
    // Nobody ever used a file.
    let found =
        found.ok_or_else(|| Error::coded(ErrorCode::IterationNotFound, format!("there is no iteration {n}")))?;
    let file = found.ok_or_else(|| {
        let said = format!("there was no file `{}` at iteration {n}", path.as_path().display());
        Error::coded(ErrorCode::FileNotFound, said)
    })?;
    if file.kind != Kind::File {
        return Err(not_a_file(&path).into());
    }
    let size = file.size;
    let mut pieces = Pieces { parts: Arc::clone(parts), id, path, file, offset: 0 };
    let first = pieces.next().await?;
    // A large file is read through before its first byte is sent: an error could not be told any more.
    let began = pieces.offset;
    while pieces.next().await?.is_some() {}
    pieces.offset = began;
    let content = stream::unfold((first, pieces, held), async |(ready, mut pieces, held)| {
        let piece = match ready {
            Some(piece) => Ok(piece),
            None => pieces.next().await.transpose()?.map_err(|error| {
                tracing::warn!(instance = %pieces.id, %error, "a file of the history breaks off on its way");
                std::io::Error::other(error.to_string())
            }),
        };
        // Counted for as long as the client takes to read it.
        Some((piece, (None, pieces, held)))
    });
    Ok((content_headers(size), Body::from_stream(content)).into_response())
}

/// A file of the history, piece by piece.
struct Pieces {
    parts: Arc<Parts>,
    id: InstanceId,
    path: WorkspacePath,
    file: PastFile,
    offset: u64,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if self.offset >= self.file.size {
            return Ok(None);
        }
        let (path, hash, offset) = (self.path.in_history()?, self.file.hash, self.offset);
        let read = move |chronicle: &podium_chronicle::Chronicle| {
            chronicle.read_content(hash, offset, PIECE_BYTES).map_err(|error| error.at(&path))
        };
        let piece = self.parts.instances.history(&self.parts, self.id, read).await?.unwrap_or_default();
        if piece.is_empty() {
            let said = format!("`{}` ends at {offset} of {} bytes", self.path.as_path().display(), self.file.size);
            return Err(Error::coded(ErrorCode::ContentDamaged, said));
        }
        self.offset += piece.len() as u64;
        Ok(Some(piece.into()))
    }
}

/// Brings a path back to what it was: an external cut before the answer.
pub(super) async fn restore(
    parts: &Arc<Parts>,
    id: InstanceId,
    path: &WorkspacePath,
    body: Body,
) -> Result<Json<ExternalCut>, HttpError> {
    let body = super::body::collect(body, BODY_BYTES_MAX).await?;
    let RestoreFile { n } = super::extract::json(&body)?;
    let of = path.in_history()?;
    let cut = parts.instances.ask(parts, id, |reply| Command::Restore(of, n, reply)).await?;
    Ok(Json(ExternalCut { cut }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkspacePath {
        WorkspacePath::new(text).expect("a path")
    }

    #[test]
    fn the_last_parts_of_a_path_name_its_past() {
        assert_eq!(Past::named("a/history"), Some((path("a"), Past::History)));
        assert_eq!(Past::named("a/history/history"), Some((path("a/history"), Past::History)));
        assert_eq!(Past::named("a/b/at/12"), Some((path("a/b"), Past::At(12))));
        assert_eq!(Past::named("a/at/1/at/2"), Some((path("a/at/1"), Past::At(2))));
        for other in
            ["history", "at/1", "a/at", "a/at/", "a/at/x", "a/at/-1", "a/at/+1", "a/12", "a/at/1/b", "a/histories"]
        {
            assert_eq!(Past::named(other), None, "{other}");
        }
        // More than any number there can be.
        assert_eq!(Past::named("a/at/99999999999999999999"), None);
        assert_eq!(restored("a/b/restore"), Some(path("a/b")));
        assert_eq!(restored("restore"), None);
    }
}
