//! Talking to an instance: one message, its streamed answer, across lost connections.
//!
//! `fold` is the pure part: frames in, actions out. `session` connects and waits. `screen` prints.
//! `keyboard` reads what is typed meanwhile, `steer` says where it goes.

mod answer;
pub(crate) mod fold;
pub(crate) mod keyboard;
pub(crate) mod screen;
pub(crate) mod session;
pub(crate) mod steer;

#[cfg(test)]
mod fold_tests;
