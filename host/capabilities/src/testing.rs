//! A turn on ports that keep what they are given: tests of host calls without any guest.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use podium_chronicle::{Named, Place};
use podium_kit::Clock;
use podium_wire::WireError;
use podium_wire::message::{HistoryEntry, Role};
use podium_wire::updates::{TurnKind, TurnSnapshot, Update, UpdateBody};
use serde_json::json;

use crate::ports::{HistoryPort, JournalPort, LogSink, NewLine, Ports, TurnWatch, UpdateSink};
use crate::turn::{Turn, TurnSpec};
use crate::workspace::Workspaces;

#[derive(Default)]
pub(crate) struct Kept {
    updates: Mutex<Vec<Update>>,
    lines: Mutex<Vec<NewLine>>,
    messages: Mutex<Vec<HistoryEntry>>,
    waits: Mutex<Vec<bool>>,
    dropped: Mutex<u64>,
    snapshots: Mutex<Vec<TurnSnapshot>>,
}

impl UpdateSink for Kept {
    fn update(&self, update: Update) {
        self.updates.lock().expect("not poisoned").push(update);
    }

    fn snapshot(&self, snapshot: TurnSnapshot) {
        self.snapshots.lock().expect("not poisoned").push(snapshot);
    }
}

impl JournalPort for Kept {
    fn write(&self, turn: Turn) -> BoxFuture<'static, Result<(), WireError>> {
        // What was taken is durable here.
        drop(turn.take_undurable());
        async { Ok(()) }.boxed()
    }
}

impl LogSink for Kept {
    fn log(&self, line: NewLine) {
        self.lines.lock().expect("not poisoned").push(line);
    }

    fn dropped(&self, bytes: u64) {
        *self.dropped.lock().expect("not poisoned") += bytes;
    }
}

impl TurnWatch for Kept {
    fn waiting(&self, waiting: bool) {
        self.waits.lock().expect("not poisoned").push(waiting);
    }
}

impl HistoryPort for Kept {
    fn page(&self, before: Option<u64>, limit: u32) -> BoxFuture<'static, Result<Vec<HistoryEntry>, WireError>> {
        let messages = self.messages.lock().expect("not poisoned");
        let older: Vec<_> = messages.iter().filter(|m| before.is_none_or(|b| m.seq < b)).cloned().collect();
        let page = older[older.len().saturating_sub(limit as usize)..].to_vec();
        async move { Ok(page) }.boxed()
    }
}

/// A turn and what came out of it.
pub(crate) struct TestTurn {
    pub(crate) turn: Turn,
    kept: Arc<Kept>,
}

impl Deref for TestTurn {
    type Target = Turn;
    fn deref(&self) -> &Turn {
        &self.turn
    }
}

impl TestTurn {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut TurnSpec)) -> Self {
        let kept = Arc::new(Kept::default());
        let mut spec = TurnSpec {
            instance: "0198c0de-0000-7000-8000-000000000001".parse().expect("valid"),
            deployment: "hello:1.0.0@2b795103".parse().expect("valid"),
            turn: 1,
            turn_id: "t-1".to_owned(),
            attempt: 1,
            message_id: Some("m-1".to_owned()),
            kind: TurnKind::Message,
            seed: [7; 32],
            limits: crate::Limits::default(),
            state: Arc::new(json!({})),
            state_version: 0,
            config: Arc::new(json!({})),
            config_rev: 1,
            workspace: Workspaces::new(Clock::manual(1_000), 0).closed(Place::new("/nowhere"), Named::default()),
            now_ms: 1_000,
            journal: crate::JournalStart::Off,
        };
        change(&mut spec);
        let ports = Ports {
            updates: kept.clone(),
            logs: kept.clone(),
            history: kept.clone(),
            watch: kept.clone(),
            journal: kept.clone(),
            clock: Clock::manual(1_000),
        };
        Self { turn: Turn::new(spec, ports), kept }
    }

    /// What was shown, in order.
    pub(crate) fn shown(&self) -> Vec<UpdateBody> {
        let updates = self.kept.updates.lock().expect("not poisoned");
        let first = updates.first().and_then(|update| update.n).unwrap_or(1);
        assert!(updates.iter().zip(first..).all(|(update, n)| update.n == Some(n)), "n is dense");
        updates.iter().map(|update| update.body().expect("reads")).collect()
    }

    /// The snapshots that were told.
    pub(crate) fn snapshots(&self) -> Vec<TurnSnapshot> {
        self.kept.snapshots.lock().expect("not poisoned").clone()
    }

    /// What was logged.
    pub(crate) fn lines(&self) -> Vec<NewLine> {
        self.kept.lines.lock().expect("not poisoned").clone()
    }

    /// Bytes of log lines that were dropped.
    pub(crate) fn dropped_bytes(&self) -> u64 {
        *self.kept.dropped.lock().expect("not poisoned")
    }

    /// What the watch was told.
    pub(crate) fn waits(&self) -> Vec<bool> {
        self.kept.waits.lock().expect("not poisoned").clone()
    }

    /// Puts one message into the history, the only one.
    pub(crate) fn say_text(&self, text: &str) {
        let entry = HistoryEntry { seq: 1, cut: 1, role: Role::User, text: text.to_owned(), at: 1 };
        *self.kept.messages.lock().expect("not poisoned") = vec![entry];
    }

    /// Puts messages 1 to `count` into the history.
    pub(crate) fn say(&self, count: u64) {
        let entry = |seq| HistoryEntry { seq, cut: 1, role: Role::User, text: format!("message {seq}"), at: seq };
        *self.kept.messages.lock().expect("not poisoned") = (1..=count).map(entry).collect();
    }
}
