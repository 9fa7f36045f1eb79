//! An error as an HTTP answer: status, code and the one JSON body.
//!
//! Which failure has which code is decided by each server's own file; this only writes it.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use podium_wire::error::{ErrorBody, WireError};
use podium_wire::{ErrorCode, codes};

/// Wraps an error for axum.
#[derive(Debug, Clone)]
pub struct HttpError(pub WireError);

impl HttpError {
    /// An error of this code.
    pub fn new(code: codes::ErrorCode, message: impl Into<String>) -> Self {
        Self(WireError::new(code, message))
    }
}

impl From<WireError> for HttpError {
    fn from(error: WireError) -> Self {
        Self(error)
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let code = self.0.known_code();
        let status =
            code.and_then(|code| StatusCode::from_u16(code.status()).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(ErrorBody { error: self.0 })).into_response();
        if code == Some(ErrorCode::Unauthorized) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
