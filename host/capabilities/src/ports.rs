//! What capabilities need from above: where updates and logs go, where history comes from.
//!
//! Traits only. Whoever implements them must not call back into the turn, but for the journal, and must not block.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use podium_kit::Clock;
use podium_kit::trace::Span;
use podium_wire::WireError;
use podium_wire::message::HistoryEntry;
use podium_wire::rest::LogLevel;
use podium_wire::updates::{TurnSnapshot, Update};
use serde_json::Value;

use crate::turn::Turn;

/// Takes live updates, in the order of their `n`.
pub trait UpdateSink: Send + Sync {
    /// Takes one update. Never blocks and never fails: who cannot follow is cut off elsewhere.
    fn update(&self, update: Update);

    /// An attempt that follows a lost one is where that one was, as far as it is durable: what is open there.
    fn snapshot(&self, snapshot: TurnSnapshot);
}

/// Takes lines of the agent's log.
pub trait LogSink: Send + Sync {
    /// Takes one line. Never blocks and never fails.
    fn log(&self, line: NewLine);

    /// A line of so many bytes was over the turn's bound. Who counts them says so.
    fn dropped(&self, _bytes: u64) {}
}

/// A line of the agent's log that has no number yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLine {
    /// When, in milliseconds since the Unix epoch.
    pub ts: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// Where it was written: the author's word, `stdout`, `stderr` or `podium`.
    pub module: String,
    /// The line.
    pub message: String,
    /// The turn.
    pub turn_id: String,
    /// More, an object.
    pub fields: Option<Value>,
}

/// Reads the conversation.
pub trait HistoryPort: Send + Sync {
    /// The last `limit` messages older than `before` (or of all), oldest first. `limit` is 1 to
    /// [`HISTORY_MAX`](crate::messages::HISTORY_MAX). Fewer when their texts have more bytes than
    /// [`HISTORY_BYTES_MAX`](crate::messages::HISTORY_BYTES_MAX); one alone may have more.
    fn page(&self, before: Option<u64>, limit: u32) -> BoxFuture<'static, Result<Vec<HistoryEntry>, WireError>>;
}

/// Is told when a turn waits, and what it waits for.
pub trait TurnWatch: Send + Sync {
    /// True when the guest can go on only after something from outside; false when it runs again.
    fn waiting(&self, waiting: bool);

    /// A turn that is run again goes on from here.
    fn goes_on(&self) {}

    /// An effect leaves, the `n`th of the attempt. The span ends with it, answered or given up.
    fn effect(&self, _kind: &'static str, _n: u64) -> Span {
        Span::default()
    }
}

/// Makes a turn's journal durable.
pub trait JournalPort: Send + Sync {
    /// Writes what [`Turn::take_undurable`] has when it is this turn's time to be written. Nothing of it is durable when that
    /// fails.
    fn write(&self, turn: Turn) -> BoxFuture<'static, Result<(), WireError>>;
}

/// Everything a turn needs from above.
#[derive(Clone)]
pub struct Ports {
    /// Where live updates go.
    pub updates: Arc<dyn UpdateSink>,
    /// Where log lines go.
    pub logs: Arc<dyn LogSink>,
    /// Where history comes from.
    pub history: Arc<dyn HistoryPort>,
    /// Who is told of waiting.
    pub watch: Arc<dyn TurnWatch>,
    /// Where the journal goes.
    pub journal: Arc<dyn JournalPort>,
    /// The host's clock: stamps updates and log lines, and the events that the guest sees.
    pub clock: Clock,
}
