//! podium-runtime: the wasm lane. Loads components and runs one turn in a guest, fresh unless its agent wants to be kept warm.
//!
//! Owns the engine, the compiled-code cache, the check of a component's world, the
//! gate that releases one event at a time, and the enforcement of a guest's limits; the compiler runs in a process of its own. It translates WIT types to
//! `podium-capabilities` and decides nothing of its own there. Must never let a guest stall the host: each runs
//! on threads that may block, in polls that end, and is killed by dropping its whole store.

mod bindings;
mod code_cache;
mod compiler;
mod convert;
mod driver;
mod end;
mod engine;
mod gate;
mod guest;
mod host;
mod linker;
mod load;
mod meter;
pub mod room;
mod runtime;
mod steer;
mod stop;
mod warm;
mod world;

pub use code_cache::CacheError;
pub use compiler::{COMPILE_CPU_DEFAULT, Compiler, CompilerProcess, compile_stdin};
pub use engine::EngineError;
pub use load::{Agent, LoadError};
pub use runtime::{Call, ConfigChange, Runtime, RuntimeConfig, ShutdownReason, StartError, TurnEnd};
pub use steer::Steers;
pub use stop::{StopHandle, StopReason, StopSignal, stop_pair};
pub use warm::{Seat, WARM_BYTES_DEFAULT, WARM_GUESTS_DEFAULT, WarmBudget};
