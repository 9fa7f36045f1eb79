//! `/logs`: a page of the agent's log, or with `?follow=1` its lines as they come (server-sent events).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use podium_kit::HttpError;
use podium_store::{InstanceStore, LogQuery};
use podium_wire::InstanceId;
use podium_wire::rest::{LogLevel, LogLine};
use serde::Deserialize;

use super::extract::{Instance, Query};
use crate::error::Error;
use crate::host::Parts;
use crate::owner::Command;

/// Lines on a page unless asked otherwise, and at most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// How often a follower looks again when it was not woken: the owner may have rested and come back.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which lines.
#[derive(Debug, Deserialize)]
pub(super) struct LogParams {
    limit: Option<usize>,
    offset: Option<u64>,
    after: Option<u64>,
    level: Option<LogLevel>,
    follow: Option<String>,
}

/// Answers lines, oldest first: the last `limit` ones, or those after `after`.
pub(super) async fn read(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(params): Query<LogParams>,
) -> Result<Response, HttpError> {
    // Also answers for an instance that does not exist, and makes what is gathered readable.
    parts.instances.ask(&parts, id, Command::FlushLogs).await?;
    let store = parts.store.instance(id);
    let limit = params.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let query = LogQuery { after: params.after, offset: params.offset.unwrap_or(0), limit, level: params.level };
    let page = store.logs(query).await.map_err(Error::from)?;
    if !params.follow.as_deref().is_some_and(|follow| matches!(follow, "1" | "true")) {
        return Ok(Json(page).into_response());
    }
    let after = page.lines.last().map_or(params.after.unwrap_or(0), |line| line.seq);
    let follower = Follower { parts, id, store, level: params.level, after, ready: page.lines.into_iter() };
    let events = stream::unfold(follower, async |mut follower| {
        let line = follower.next().await?;
        let event = Event::default().id(line.seq.to_string()).json_data(&line).ok()?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Somebody who reads the log as it grows.
struct Follower {
    parts: Arc<Parts>,
    id: InstanceId,
    store: InstanceStore,
    level: Option<LogLevel>,
    after: u64,
    ready: std::vec::IntoIter<LogLine>,
}

impl Follower {
    /// The next line; none when the host stops or the instance is gone.
    async fn next(&mut self) -> Option<LogLine> {
        loop {
            if let Some(line) = self.ready.next() {
                return Some(line);
            }
            let query = LogQuery { after: Some(self.after), offset: 0, limit: PAGE_MAX, level: self.level };
            let lines = self.store.logs(query).await.ok()?.lines;
            if let Some(last) = lines.last() {
                self.after = last.seq;
                self.ready = lines.into_iter();
                continue;
            }
            let written = self.parts.instances.log_changes(self.id);
            let changed = async {
                match written {
                    Some(mut written) => drop(written.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = self.parts.shutdown.begun() => return None,
            }
        }
    }
}
