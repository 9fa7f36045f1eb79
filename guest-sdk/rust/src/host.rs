//! The calls of the host, in the one place where it is chosen who answers them.
//!
//! In a component they are its imports; in a unit test they are answered by `testing`. The rest of the crate calls
//! nothing but these. Must never add anything to a call.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::bindings::podium::agent::{ask, config, log, messages, state, updates, workspace};
#[cfg(target_arch = "wasm32")]
pub(crate) use crate::steer::own as inbox;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::played::{ask, config, inbox, log, messages, state, timer, updates, workspace};
#[cfg(target_arch = "wasm32")]
pub(crate) use crate::timer;
