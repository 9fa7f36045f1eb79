//! What must hold for any bytes that a stranger sends: one function for each door, which panics when it does not hold.
//!
//! `tests/fuzz` calls them with what libFuzzer thinks up, `tests/corpus.rs` with what it has kept, on stable Rust and in
//! every test run. They use the code that the host runs, never a copy of it.

mod frames;
mod manifest;
mod patches;
mod rest;

pub use frames::frames;
pub use manifest::manifest;
pub use patches::patches;
pub use rest::rest;

use podium_wire::WireError;
use podium_wire::error::MESSAGE_BYTES_MAX;

/// A property, by the name of its fuzz target and corpus.
pub type Property = (&'static str, fn(&[u8]));

/// All of them.
pub const ALL: [Property; 4] = [("frames", frames), ("rest", rest), ("manifest", manifest), ("patches", patches)];

/// An error for a client: a code of the host, and a text that does not grow with what was sent.
fn refused(error: &WireError) {
    assert!(error.known_code().is_some(), "no code of the host: {error:?}");
    assert!(!error.message.is_empty() && error.message.len() <= MESSAGE_BYTES_MAX, "{} bytes", error.message.len());
}
