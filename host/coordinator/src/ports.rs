//! The coordinator's end of what capabilities need: the hub takes updates, the store gives history.
//!
//! Called while a guest runs: everything here is short. What waits for a disk is a task of its own, so that the guest's
//! times and its stop signal are looked at meanwhile.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use podium_capabilities::messages::HISTORY_BYTES_MAX;
use podium_capabilities::ports::{HistoryPort, JournalPort, LogSink, NewLine, TurnWatch, UpdateSink};
use podium_capabilities::turn::{DurableUpdate, Turn, Undurable};
use podium_kit::Clock;
use podium_kit::trace::{Parent, Span};
use podium_store::{HistoryQuery, InstanceStore, JournalBatch, JournalSource, Journaled, NewLogLine, NewUpdate};
use podium_wire::WireError;
use podium_wire::message::HistoryEntry;
use podium_wire::updates::{TurnSnapshot, Update};
use tokio::sync::Notify;

use crate::error::Error;
use crate::hub::Snapshots;
use crate::instances::Shown;

/// Passes a turn's live updates to the hub.
pub(crate) struct HubSink {
    pub(crate) shown: Arc<Shown>,
    pub(crate) clock: Clock,
}

impl UpdateSink for HubSink {
    fn update(&self, update: Update) {
        self.shown.hub.live(update);
    }

    fn snapshot(&self, snapshot: TurnSnapshot) {
        self.shown.hub.found(snapshot, self.clock.now_ms());
    }
}

/// Gathers a turn's log lines.
pub(crate) struct LogLines(pub Arc<Shown>);

impl LogSink for LogLines {
    fn log(&self, line: NewLine) {
        let NewLine { ts, level, module, message, turn_id, fields } = line;
        self.0.logs.add(NewLogLine { ts, level, module, message, turn_id: Some(turn_id), fields });
    }

    fn dropped(&self, bytes: u64) {
        self.0.logs.dropped(bytes);
    }
}

/// Reads the committed conversation.
pub(crate) struct StoreHistory(pub InstanceStore);

impl HistoryPort for StoreHistory {
    fn page(&self, before: Option<u64>, limit: u32) -> BoxFuture<'static, Result<Vec<HistoryEntry>, WireError>> {
        let store = self.0.clone();
        async move {
            let query = HistoryQuery::Before { before, limit: limit as usize, bytes: HISTORY_BYTES_MAX };
            let read = podium_kit::spawn::task("history page", async move { store.history(query).await });
            let page = read.await.map_err(|_| Error::Stopping).and_then(|page| Ok(page?.entries));
            page.map_err(WireError::from)
        }
        .boxed()
    }
}

/// Makes a turn's journal durable, and has the hub know what of the turn clients can read again.
pub(crate) struct StoreJournal {
    pub(crate) store: InstanceStore,
    pub(crate) shown: Arc<Shown>,
}

impl JournalPort for StoreJournal {
    fn write(&self, turn: Turn) -> BoxFuture<'static, Result<(), WireError>> {
        let (store, shown) = (self.store.clone(), Arc::clone(&self.shown));
        async move {
            let kept = Arc::new(Mutex::new(None));
            let source = TurnJournal { turn, kept: Arc::clone(&kept) };
            let written = store.write_journal(source).await.map_err(|error| WireError::from(Error::from(error)))?;
            let snapshot = kept.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let (Some(Journaled { last_seq, through_n: Some(_) }), Some(snapshot)) = (written, snapshot) {
                shown.hub.kept(last_seq, snapshot);
            }
            Ok(())
        }
        .boxed()
    }
}

/// A turn as the store takes its journal from it.
struct TurnJournal {
    turn: Turn,
    /// What was open when the records were taken.
    kept: Arc<Mutex<Option<TurnSnapshot>>>,
}

impl JournalSource for TurnJournal {
    fn take(&mut self) -> Option<JournalBatch> {
        let Undurable { rows, updates, snapshot } = self.turn.take_undurable()?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(snapshot);
        let spec = self.turn.spec();
        let at = self.turn.host_clock().now_ms();
        let updates = updates.into_iter().map(|DurableUpdate { n, event_type, content }| NewUpdate {
            n: Some(n),
            event_type,
            content,
            at,
        });
        Some(JournalBatch { turn: spec.turn, attempt: spec.attempt, rows, updates: updates.collect() })
    }

    fn put_back(&mut self, batch: JournalBatch) {
        let updates = batch
            .updates
            .into_iter()
            .filter_map(|NewUpdate { n, event_type, content, .. }| Some(DurableUpdate { n: n?, event_type, content }));
        self.turn.put_back(batch.rows, updates.collect());
    }
}

/// Whether a turn waits, and the owner's wake-up when that changes; where the spans of its effects belong.
#[derive(Debug)]
pub(crate) struct WaitFlag {
    /// Goes up at each change: odd while it waits.
    changes: AtomicU64,
    changed: Arc<Notify>,
    trace: Parent,
}

impl WaitFlag {
    /// A turn that runs.
    pub(crate) fn new(changed: Arc<Notify>, trace: Parent) -> Self {
        Self { changes: AtomicU64::new(0), changed, trace }
    }

    /// True while the guest waits for something from outside.
    pub(crate) fn is_waiting(&self) -> bool {
        self.number().is_some()
    }

    /// Which wait this is; none while it runs.
    pub(crate) fn number(&self) -> Option<u64> {
        Some(self.changes.load(Ordering::Acquire)).filter(|changes| changes % 2 == 1)
    }
}

impl TurnWatch for WaitFlag {
    fn waiting(&self, waiting: bool) {
        let turned = |changes: u64| (changes % 2 == u64::from(!waiting)).then_some(changes + 1);
        if self.changes.fetch_update(Ordering::AcqRel, Ordering::Acquire, turned).is_ok() {
            self.changed.notify_one();
        }
    }

    fn goes_on(&self) {
        self.changed.notify_one();
    }

    fn effect(&self, kind: &'static str, n: u64) -> Span {
        crate::spans::effect(&self.trace, kind, n)
    }
}

/// The running turn's texts so far. The hub is told of an attempt before the turn shows its first update, so the
/// turn itself comes a moment later.
#[derive(Default)]
pub(crate) struct TurnSnapshots(Mutex<Option<Turn>>);

impl TurnSnapshots {
    /// Sets the turn: its first guest's, and again when another guest goes on with it.
    pub(crate) fn set(&self, turn: Turn) {
        *self.lock() = Some(turn);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Turn>> {
        // A value is there or it is not.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for TurnSnapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TurnSnapshots").field(&*self.lock()).finish()
    }
}

impl Snapshots for TurnSnapshots {
    fn snapshot(&self) -> Option<TurnSnapshot> {
        // A copy, because a snapshot takes the turn's own lock.
        let turn = self.lock().clone();
        turn.as_ref().map(Turn::snapshot)
    }
}
