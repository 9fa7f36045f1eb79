//! podium-sqlite: how every database of the project is opened, written and closed.
//!
//! Owns the process-wide settings of SQLite, the pragmas, templates, checkpoints and the pool of writer threads
//! with its open databases. Must never know of agents, and never start a second writer for one key.

mod budget;
mod database;
mod error;
mod pool;
mod process;
mod template;

pub use budget::{OPEN_SLOTS_MAX, open_slots_default};
pub use database::{CHECKPOINT_BYTES, Database, Synchronous};
pub use error::{Failure, SqliteError};
pub use pool::{PoolError, QUEUE_JOBS_MAX, Slot, WRITER_THREADS, WriterPool};
pub use template::{Template, create_file, sync_folder};
