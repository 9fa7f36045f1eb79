//! podium-chronicle: the versioned workspace of an agent.
//!
//! Owns `chronicle/work/` (one plain folder, what a guest sees), `metadata/cas/` (content by its hash, in append-only segments) and
//! `metadata/chronicle.db` (trees, versions, iterations). A snapshot makes what is dirty a version, durable before `messages.db` names it;
//! opening, rolling back and restoring bring the folder to a version; `fuse` shows the folder as a file system. Must never know of guests or sockets, and
//! must never trust the folder more than the store: the content of a cut is what its root names (TURN.md §3).

mod beneath;
mod cas;
mod chronicle;
mod diff;
mod dirty;
mod error;
mod failpoint;
mod followed;
mod fork;
mod fsck;
pub mod fuse;
mod gc;
mod hash;
mod history;
mod ignored;
mod incoming;
pub mod limits;

mod node;
mod pack;
mod path;
mod prune;
mod recover;
mod restore;
mod rewind;
mod rights;
mod rows;
mod schema;
mod snapshot;
mod suspended;
mod told;
mod trash;
mod tree;
mod trees;
mod usage;
mod version;
mod view;
mod walk;

#[cfg(test)]
pub(crate) mod tests;

pub use beneath::{Beneath, NamesBuffer, each_name};
pub use chronicle::{Chronicle, Named, Opened, Place, Surroundings, boot_id};
pub use diff::{FileChange, TextDiff};
pub use dirty::DirtySet;
pub use error::{ChronicleError, Limited};
pub use fork::FORK_VERSION;
pub use fsck::{Checked, FAULTS_MAX, Fault};
pub use gc::{Collected, Due, Retention};
pub use hash::ContentHash;
pub use history::{Listed, Stats};
pub use incoming::{Incoming, IncomingError};
pub use limits::Limits;
pub use node::{FileTime, Kind, SkipReason, Skipped};
pub use path::{PathError, WorkPath};
pub use podium_sqlite::Failure;
pub use recover::BroughtBack;
pub use restore::{Brought, Restored};
pub use rewind::WentBack;
pub use snapshot::SnapshotRequest;
pub use suspended::Suspended;
pub use told::{PastFile, Sight};
pub use tree::{Entry, Totals, empty_root};
pub use version::{Iteration, Op, Prepared, Version, VersionKind, VersionStatus};
pub use view::{VIEW_NAME, ViewFile, ViewName, ViewPath, Viewed};
pub use walk::{Walk, Walked, WalkedEntry};
