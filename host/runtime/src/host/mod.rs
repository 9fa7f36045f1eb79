//! Host functions, one file per interface: each takes the call apart, asks the turn, and answers.

pub(crate) mod ask;
mod changes;
pub(crate) mod clocks;
pub(crate) mod config;
pub(crate) mod files;
mod history;
pub(crate) mod log;
pub(crate) mod messages;
mod metered;
mod opening;
pub(crate) mod p2_files;
pub(crate) mod p3_files;
mod p3_streams;
pub(crate) mod random;
pub(crate) mod recorder;
pub(crate) mod state;
pub(crate) mod stdio;
pub(crate) mod updates;
pub(crate) mod workspace;
mod workspace_calls;

use podium_capabilities::CallError;

use crate::bindings::podium::agent::types;
use crate::guest::GuestState;

/// What a host call answers: a value or a typed error; a trap when the guest may not go on.
fn answer<T>(result: Result<T, CallError>) -> wasmtime::Result<Result<T, types::Error>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(CallError::Refused(error)) => Ok(Err(error.into())),
        Err(CallError::Limit(limit)) => Err(limit.into()),
        Err(ends @ (CallError::Closed | CallError::Diverged)) => Err(ends.into()),
    }
}

/// What a host call without a typed error answers.
fn value<T>(result: Result<T, CallError>) -> wasmtime::Result<T> {
    result.map_err(|error| match error {
        CallError::Limit(limit) => limit.into(),
        other => other.into(),
    })
}

impl types::Host for GuestState {}
