//! WIT types to wire types and back, one file per interface. Nothing is decided here.

mod ask;
pub(crate) mod lifecycle;
mod log;
mod messages;
pub(crate) mod types;
mod updates;
mod workspace;
