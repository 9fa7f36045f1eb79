//! `/messages`: send, history, retry, discard.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use podium_kit::HttpError;
use podium_kit::trace::Span;
use podium_store::{HistoryQuery, HistoryStretch};
use podium_wire::ErrorCode;
use podium_wire::ids::check_message_id;
use podium_wire::message::MessageContent;
use podium_wire::rest::{ExternalCut, HistoryPage, MessageOutcome, MessageReceipt, PostMessage};
use serde::Deserialize;

use super::extract::{self, Instance, Query};
use crate::auth::LOCAL_PRINCIPAL;
use crate::content;
use crate::error::Error;
use crate::host::Parts;
use crate::owner::{Ack, Command, Incoming};

/// Messages on a page unless asked otherwise, and at most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// The longest that a request is held for an answer.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Checks a message and gives it its sender and id. `span` began when it came in.
pub(super) fn incoming(
    parts: &Parts,
    id: Option<String>,
    content: MessageContent,
    channel: &'static str,
    mut span: Span,
) -> Result<Incoming, Error> {
    match checked(parts, id, &content) {
        Ok(id) => Ok(Incoming { sender: LOCAL_PRINCIPAL.to_owned(), id, content, channel, span }),
        Err(error) => {
            span.fail(&error.code().to_string());
            Err(error)
        }
    }
}

/// The message's id, its own or a new one, if it can be taken.
fn checked(parts: &Parts, id: Option<String>, content: &MessageContent) -> Result<String, Error> {
    content::check(content)?;
    match id {
        Some(id) => {
            check_message_id(&id).map_err(|error| Error::coded(ErrorCode::InvalidMessageId, error.to_string()))?;
            Ok(id)
        }
        None => Ok(parts.random.uuid_v7(parts.clock.now_ms()).to_string()),
    }
}

/// How long to wait for the answer.
#[derive(Debug, Deserialize)]
pub(super) struct SendQuery {
    wait: Option<String>,
}

/// Accepts a message: 202, or with `?wait=30s` how its turn ended.
pub(super) async fn send(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(query): Query<SendQuery>,
    extract::Accepting(span): extract::Accepting,
    extract::Json(body): extract::Json<PostMessage>,
) -> Result<Response, HttpError> {
    let wait = query.wait.as_deref().map(parse_wait).transpose()?;
    let message = incoming(&parts, body.id, body.content, "http", span)?;
    let accepted = parts.instances.ask(&parts, id, |reply| Command::Accept(message, Ack::Reply(reply))).await?;
    let receipt = accepted.receipt;
    let outcome = match wait {
        Some(wait) => tokio::time::timeout(wait, accepted.outcome).await.ok(),
        None => None,
    };
    match outcome {
        Some(Ok(outcome)) => {
            let MessageReceipt { message_id, duplicate } = receipt;
            let text = outcome.text;
            let error = outcome.error;
            Ok(Json(MessageOutcome { message_id, duplicate, cut: outcome.cut, text, error }).into_response())
        }
        // Not answered yet, or the owner has left: the message is safe either way.
        Some(Err(_)) | None => Ok((StatusCode::ACCEPTED, Json(receipt)).into_response()),
    }
}

/// Reads `30s`, `1500ms` or `2m`.
pub(super) fn parse_wait(text: &str) -> Result<Duration, Error> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        _ => None,
    };
    digits
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .map(|ms| Duration::from_millis(ms).min(WAIT_MAX))
        .ok_or_else(|| Error::coded(ErrorCode::BadRequest, "`wait` is a time such as 30s, 1500ms or 2m"))
}

/// A stretch of the history.
#[derive(Debug, Deserialize)]
pub(super) struct HistoryParams {
    after: Option<u64>,
    limit: Option<usize>,
}

/// The conversation, oldest first.
pub(super) async fn history(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Query(query): Query<HistoryParams>,
) -> Result<Json<HistoryPage>, HttpError> {
    let limit = query.limit.unwrap_or(PAGE_DEFAULT).clamp(1, PAGE_MAX);
    let query = HistoryQuery::After { after: query.after.unwrap_or(0), limit };
    // A page ends at its number of messages or at its bytes.
    let HistoryStretch { entries: messages, more } =
        parts.store.instance(id).history(query).await.map_err(Error::from)?;
    let next = if more { messages.last().map(|message| message.seq) } else { None };
    Ok(Json(HistoryPage { messages, next }))
}

/// The message in a path below an instance.
#[derive(Debug, Deserialize)]
pub(super) struct MessagePath {
    message: String,
}

/// Runs a parked or failed message again.
pub(super) async fn retry(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Path(path): Path<MessagePath>,
) -> Result<(StatusCode, Json<MessageReceipt>), HttpError> {
    let receipt = parts.instances.ask(&parts, id, |reply| Command::Retry(path.message, reply)).await?;
    Ok((StatusCode::ACCEPTED, Json(receipt)))
}

/// Gives a parked message up.
pub(super) async fn discard(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    Path(path): Path<MessagePath>,
) -> Result<Json<ExternalCut>, HttpError> {
    let cut = parts.instances.ask(&parts, id, |reply| Command::Discard(path.message, reply)).await?;
    Ok(Json(ExternalCut { cut }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_have_units() {
        for (text, ms) in [("30s", 30_000), ("1500ms", 1_500), ("2m", 120_000), ("9999m", 300_000)] {
            assert_eq!(parse_wait(text).map(|wait| wait.as_millis()).ok(), Some(ms), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1h", "18446744073709551615m"] {
            assert!(parse_wait(text).is_err(), "{text}");
        }
    }
}
