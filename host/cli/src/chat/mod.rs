//! Talking to an instance: one message, its streamed answer, across lost connections.
//!
//! `fold` is the pure part: frames in, actions out. `session` connects and waits. `screen` prints.

mod answer;
pub(crate) mod fold;
pub(crate) mod screen;
pub(crate) mod session;

#[cfg(test)]
mod fold_tests;
