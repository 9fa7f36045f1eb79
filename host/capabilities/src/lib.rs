//! podium-capabilities: the list of what an agent may do, one file per interface of the WIT package.
//!
//! Owns the rules of every host call: limits, permissions, what becomes an update and what is kept for the
//! cut. Both lanes only translate to it. It speaks wire types and must never know of an engine or a socket;
//! what it needs from above comes in through [`ports`].

pub mod ask;
pub mod clock;
pub mod config;
pub mod effect;
pub mod error;
pub mod journal;
pub mod limits;
pub mod log;
pub mod messages;
pub mod ports;
pub mod state;
pub mod steer;
pub mod turn;
pub mod updates;
pub mod workspace;

#[cfg(test)]
mod testing;

pub use error::CallError;
pub use journal::{Again, Journal, JournalStart};
pub use limits::{LimitError, LimitReached, Limits};
pub use ports::Ports;
pub use turn::{DurableUpdate, Turn, TurnOutput, TurnSpec};
pub use updates::Element;
