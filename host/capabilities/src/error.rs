//! What a host call answers when it does not do what was asked.
//!
//! Owns the difference between an answer that the guest sees and an end of the guest. Must never turn one
//! into the other.

use podium_wire::{ErrorCode, WireError};

use crate::limits::LimitReached;

/// A host call that was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The guest gets this as a typed error and goes on.
    #[error(transparent)]
    Refused(#[from] WireError),
    /// The guest is trapped: it went over a limit that has no answer.
    #[error(transparent)]
    Limit(#[from] LimitReached),
    /// The turn is closed; no call of it has an effect any more.
    #[error("the turn is over")]
    Closed,
    /// The turn is run again, and this call was not made before: the turn's journal says what differs.
    #[error("the agent went another way than before")]
    Diverged,
}

impl CallError {
    /// A typed error of this code.
    pub fn refused(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Refused(WireError::new(code, message))
    }
}
