//! podium-sqlite: how every database of the project is opened, written and closed.
//!
//! Owns the process-wide settings of SQLite, the pragmas, templates, checkpoints and the slots of what is open. Must never
//! know of agents, and never let two jobs of one key run at once.

mod budget;
mod database;
mod error;
mod process;
mod slots;
mod template;

pub use budget::{OPEN_SLOTS_MAX, open_slots};
pub use database::{CHECKPOINT_BYTES, Database, Synchronous};
pub use error::{Failure, SqliteError};
pub use slots::{Slot, SlotError, Slots, Upkeep};
pub use template::{Template, create_file, sync_folder};
