//! podium-store: the truth of an agent on disk, and every way to change or read it.
//!
//! Owns `messages.db` (the commit point of a turn), `state.db`, `agent.db` and `host.db`, the fold of the state, the cut and
//! recovery. Must never know of guests, sockets or the workspace's content: a workspace is opaque bytes in a cut.

mod accept;
mod config;
mod create;
mod cut;
mod cuts;
mod delete;
mod difference;
mod error;
mod fork;
mod history;
mod host_db;
mod inbox;
mod instance;
mod journal;
mod lineage;
mod logs;
mod paths;
mod recover;
mod rows;
mod scan;
mod schema;
mod slot;
mod snapshots;
pub mod state;
mod state_steps;
mod steer;
mod store;
mod turn;
mod updates;

pub use accept::{AcceptError, Accepted, NewRow};
pub use create::{FirstCut, NewInstance};
pub use cut::{CutMade, CutRequest, NewUpdate, TrialNote, WorkspaceAt};
pub use cuts::{AtCut, CutRow, MessageDifference};
pub use difference::difference;
pub use error::StoreError;
pub use fork::NewFork;
pub use history::{HistoryQuery, HistoryStretch};
pub use host_db::InstanceRow;
pub use inbox::{Found, INBOX_IDS_MIN, INBOX_IDS_MS, Outcome};
pub use instance::InstanceStore;
pub use journal::{ANSWER_INLINE_MAX, JournalBatch, JournalKept, JournalRow, JournalSource, Journaled};
pub use logs::{LOG_BYTES_MAX, LogQuery, NewLogLine};
pub use recover::{InboxRow, OpenTurn, Recovered};
pub use rows::{Began, CutKind, RowKind, RowStatus};
pub use snapshots::{SNAPSHOT_DELTA_BYTES, SNAPSHOT_DELTAS};
pub use steer::{NewSteer, SteerRow};
pub use store::Store;
pub use turn::TurnStart;
pub use updates::PAGE_BYTES_MAX;
