//! podium-kit: what every server part takes from the outside world, behind one small door.
//!
//! Owns the clock, randomness, spawning, threads that may block, listening, descriptors, the machine's bounds, shutdown, log and traces, the data folder
//! and the HTTP form of an error. Elsewhere the std and tokio ones are banned (clippy.toml), so that a fleet can be run in a
//! simulation. Must never know of agents.

pub mod clock;
pub mod data;
pub mod descriptors;
pub mod http;
pub mod listen;
pub mod machine;
pub mod otlp;
pub mod process;
pub mod random;
pub mod shutdown;
pub mod spawn;
pub mod telemetry;
pub mod threads;
pub mod trace;

pub use clock::Clock;
pub use http::HttpError;
pub use random::Randomness;
pub use shutdown::Shutdown;
pub use threads::BlockingThreads;
