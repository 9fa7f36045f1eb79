//! An instance's log on its way to agent.db: lines are gathered without waiting and written in batches.
//!
//! Owns the gathering and the wake-up of those who follow. A turn never waits for the log.

use std::sync::{Mutex, MutexGuard, PoisonError};

use podium_store::{InstanceStore, NewLogLine, StoreError};
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{Notify, watch};

/// Lines that wait to be written: a batch is written several times a second, more than this is a flood.
const PENDING_LINES_MAX: usize = 16 * 1024;

#[derive(Debug, Default)]
struct Pending {
    lines: Vec<NewLogLine>,
    dropped: u64,
}

/// The log of one instance.
#[derive(Debug)]
pub struct Logs {
    /// Counts bytes that are not kept, over all instances.
    dropped_bytes: Counter,
    pending: Mutex<Pending>,
    arrived: Notify,
    written: watch::Sender<u64>,
}

impl Logs {
    /// A log without anything waiting.
    pub fn new(dropped_bytes: Counter) -> Self {
        Self { dropped_bytes, pending: Mutex::default(), arrived: Notify::new(), written: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        // Nothing that runs under the lock leaves it half-changed.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when lines wait to be written.
    pub fn is_waiting(&self) -> bool {
        !self.lock().lines.is_empty()
    }

    /// Resolves when a line has arrived since it last did.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Changes each time lines have been written.
    pub fn written(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Writes what has been gathered.
    pub async fn flush(&self, store: &InstanceStore) -> Result<(), StoreError> {
        let pending = std::mem::take(&mut *self.lock());
        if pending.lines.is_empty() {
            return Ok(());
        }
        if pending.dropped > 0 {
            tracing::warn!(dropped = pending.dropped, "an agent logs faster than its log is written");
        }
        store.append_logs(pending.lines).await?;
        self.written.send_modify(|count| *count += 1);
        Ok(())
    }
}

impl Logs {
    /// Counts bytes that were not kept.
    pub fn dropped(&self, bytes: u64) {
        self.dropped_bytes.inc_by(bytes);
    }

    /// Gathers a line; past [`PENDING_LINES_MAX`] it is dropped and counted.
    pub fn add(&self, line: NewLogLine) {
        let mut pending = self.lock();
        if pending.lines.len() >= PENDING_LINES_MAX {
            pending.dropped += 1;
            drop(pending);
            self.dropped(line.message.len() as u64);
            return;
        }
        pending.lines.push(line);
        drop(pending);
        self.arrived.notify_one();
    }
}
