//! Counts that `/admin/status` tells. Nothing decides by them.

use std::sync::atomic::{AtomicU64, Ordering};

/// The host's counts since its start.
#[derive(Debug, Default)]
pub struct Metrics {
    running_turns: AtomicU64,
    turns_ended: AtomicU64,
    clients: AtomicU64,
}

/// An open WebSocket; it is counted until it is dropped.
#[derive(Debug)]
pub struct ClientCount<'a>(&'a Metrics);

impl Drop for ClientCount<'_> {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// A turn began.
    pub fn turn_started(&self) {
        self.running_turns.fetch_add(1, Ordering::Relaxed);
    }

    /// A turn ended, however.
    pub fn turn_ended(&self) {
        self.running_turns.fetch_sub(1, Ordering::Relaxed);
        self.turns_ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a WebSocket.
    pub fn client(&self) -> ClientCount<'_> {
        self.clients.fetch_add(1, Ordering::Relaxed);
        ClientCount(self)
    }

    /// Turns that run.
    pub fn running_turns(&self) -> u64 {
        self.running_turns.load(Ordering::Relaxed)
    }

    /// Turns that have ended.
    pub fn turns_ended(&self) -> u64 {
        self.turns_ended.load(Ordering::Relaxed)
    }

    /// Open WebSockets.
    pub fn clients(&self) -> u64 {
        self.clients.load(Ordering::Relaxed)
    }
}
