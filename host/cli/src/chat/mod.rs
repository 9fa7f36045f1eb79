//! Talking to an instance: one message, its streamed answer, across lost connections.
//!
//! `fold` is the pure part: frames in, actions out. `session` connects and waits. `screen` prints.
//! `keyboard` reads what is typed meanwhile, `steer` says where it goes. `asks` is what the turn asks, `piped` and `echo` are for
//! its answers.

mod answer;
pub(crate) mod asks;
pub(crate) mod echo;
pub(crate) mod fold;
pub(crate) mod keyboard;
pub(crate) mod piped;
pub(crate) mod screen;
pub(crate) mod session;
pub(crate) mod steer;

#[cfg(test)]
mod fold_tests;
