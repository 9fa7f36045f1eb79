//! Extractors whose refusals are Podium's own errors: path ids, JSON bodies, query strings. And the span of a message.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts as RequestParts;
use podium_kit::HttpError;
use podium_kit::trace::Span;
use podium_wire::{ErrorCode, InstanceId, WireError};
use serde::de::DeserializeOwned;

use super::BODY_BYTES_MAX;
use crate::host::Parts;
use crate::spans;

/// The instance in the path. An id of another form is an instance that does not exist.
pub(super) struct Instance(pub InstanceId);

impl FromRequestParts<Arc<Parts>> for Instance {
    type Rejection = HttpError;

    async fn from_request_parts(request: &mut RequestParts, state: &Arc<Parts>) -> Result<Self, HttpError> {
        let Path(all) = Path::<std::collections::HashMap<String, String>>::from_request_parts(request, state)
            .await
            .map_err(|error| HttpError::new(ErrorCode::BadRequest, error.body_text()))?;
        let id = all.get("id").map(String::as_str).unwrap_or_default();
        let shown: String = id.chars().take(64).collect();
        id.parse()
            .map(Self)
            .map_err(|_| HttpError::new(ErrorCode::InstanceNotFound, format!("there is no instance {shown}")))
    }
}

/// The span of a message that comes in with this request; below the caller's own when the headers name one.
pub(super) struct Accepting(pub Span);

impl FromRequestParts<Arc<Parts>> for Accepting {
    type Rejection = Infallible;

    async fn from_request_parts(request: &mut RequestParts, _: &Arc<Parts>) -> Result<Self, Infallible> {
        Ok(Self(spans::accept(Some(&request.headers))))
    }
}

/// A JSON body.
pub(super) struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<Parts>> for Json<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &Arc<Parts>) -> Result<Self, HttpError> {
        let bytes = super::body::collect(request.into_body(), BODY_BYTES_MAX).await?;
        json(&bytes).map(Self)
    }
}

/// A JSON body that was gathered.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(bytes).map_err(|error| {
        HttpError(WireError::new(ErrorCode::InvalidJson, format!("the body is not as expected: {error}")))
    })
}

/// The query string.
pub(super) struct Query<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<Arc<Parts>> for Query<T> {
    type Rejection = HttpError;

    async fn from_request_parts(request: &mut RequestParts, state: &Arc<Parts>) -> Result<Self, HttpError> {
        axum::extract::Query::from_request_parts(request, state)
            .await
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|error| HttpError::new(ErrorCode::BadRequest, error.body_text()))
    }
}
