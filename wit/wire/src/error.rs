//! The one shape of an error on every wire: HTTP bodies, WebSocket frames, updates, the CLI's `--json`.
//!
//! Owns the shape only; which failure has which code is decided where the failure is known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::codes::ErrorCode;

/// Most bytes of an error message that are kept: a guest can write it.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// An error as callers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct WireError {
    /// `POD-NNNN`, or a guest's own word in a guest's own error.
    pub code: String,
    /// What happened, one sentence.
    pub message: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// True when the same request may succeed later without a change.
    pub retryable: bool,
}

impl WireError {
    /// An error with the code's own hint and retryability.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let mut message = message.into();
        truncate(&mut message, MESSAGE_BYTES_MAX);
        Self { code: code.to_string(), message, hint: Some(code.hint().to_owned()), retryable: code.retryable() }
    }

    /// The same error with another hint.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The host's code, when it is one.
    pub fn known_code(&self) -> Option<ErrorCode> {
        self.code.parse().ok()
    }
}

/// The body of every HTTP error: `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    /// The error.
    pub error: WireError,
}

/// Cuts a text to at most `bytes_max` bytes at a character's boundary.
pub fn truncate(text: &mut String, bytes_max: usize) {
    if text.len() > bytes_max {
        let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
}
