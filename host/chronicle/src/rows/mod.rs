//! The rows of `chronicle.db`: a file for each stored thing, with its statements.
//!
//! Must never decide anything: they read and write what they are told.

pub(crate) mod change;
pub(crate) mod lease;
pub(crate) mod meta;
pub(crate) mod object;
pub(crate) mod op;
pub(crate) mod segment;
pub(crate) mod skipped;
pub(crate) mod stat;
pub(crate) mod tree;
pub(crate) mod version;
