//! The hub: passes one instance's updates to its connections, live and on resume (TURN.md §4).
//!
//! Owns the ring of the running attempt and the connections' bounded queues. Frames are encoded once and shared.
//! Everything here is synchronous and short: an emitting guest and the owner call it. Must never wait for a client,
//! and never decide what is durable.

mod client;
#[cfg(test)]
mod race_tests;
#[cfg(test)]
mod resume_tests;
mod ring;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use podium_wire::frames::{CloseCode, Hello, PROTOCOL, ServerFrame, Subscribe};
use podium_wire::updates::{CutMade, Lagged, Reset, TurnRestarted, TurnSnapshot, Update, UpdateBody};
use podium_wire::{InstanceId, WireError};
use tokio::sync::Notify;

pub(crate) use client::{Client, Drained};
use ring::Ring;

/// Connections to one instance at once: each holds a queue.
pub(crate) const CLIENTS_MAX: usize = 1024;

/// Snapshots that one subscription takes at most: each is a copy of the turn's texts, and only an agent that writes more than a
/// ring holds while one is made needs another.
const SNAPSHOT_TRIES: u32 = 8;

/// Where the instance stands, as clients are told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Position {
    /// The last durable update.
    pub last_seq: u64,
    /// The state's version.
    pub state_version: u64,
    /// The last cut.
    pub cut: u64,
}

/// The running attempt, as the hub knows it.
#[derive(Debug)]
struct Attempt {
    turn_id: String,
    attempt: u32,
    message_id: Option<String>,
    ring: Ring,
    /// What was open when the updates before the ring became durable: with their rows it stands for them.
    kept: Option<TurnSnapshot>,
    snapshots: Arc<dyn Snapshots>,
}

#[derive(Debug, Default)]
struct Inner {
    position: Position,
    attempt: Option<Attempt>,
    clients: Vec<Arc<Client>>,
    /// Takes no more connections.
    closed: bool,
}

/// One instance's hub.
#[derive(Debug)]
pub struct Hub {
    instance: InstanceId,
    inner: Mutex<Inner>,
    /// A connection came or went.
    changed: Notify,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoPlace {
    /// There are [`CLIENTS_MAX`].
    Full,
    /// The hub's owner has left or is leaving; the instance may have another one.
    Closed,
}

/// What a subscription still has to read from the store, and what follows it.
#[derive(Debug)]
pub struct Resume {
    /// Rows with a `seq` above this one …
    pub after_seq: u64,
    /// … and up to this one.
    pub through_seq: u64,
    /// Rows of this turn and attempt with `n` at or below this are left out: the client has seen them live.
    pub seen: Option<(String, u32, u64)>,
    /// Frames to send before the rows.
    pub first: Vec<Utf8Bytes>,
    /// Frames to send after the rows; the client's queue goes on behind them.
    pub then: Vec<Utf8Bytes>,
}

/// Makes the snapshot of the running attempt when its ring no longer reaches back far enough.
pub trait Snapshots: Send + Sync + std::fmt::Debug {
    /// The open items' texts so far; none when nothing was shown yet.
    fn snapshot(&self) -> Option<TurnSnapshot>;
}

impl Hub {
    /// A hub for an instance that stands here.
    pub fn new(instance: InstanceId) -> Self {
        Self { instance, inner: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that runs under the lock leaves it half-changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets where the instance stands, when it is opened.
    pub fn set_position(&self, position: Position) {
        self.lock().position = position;
    }

    /// Adds a connection; its first frame is `hello`.
    pub fn connect(&self) -> Result<Arc<Client>, NoPlace> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(NoPlace::Closed);
        }
        if inner.clients.len() >= CLIENTS_MAX {
            return Err(NoPlace::Full);
        }
        let client = Arc::new(Client::new());
        let hello = Hello {
            protocol: PROTOCOL.to_owned(),
            instance: self.instance,
            last_seq: inner.position.last_seq,
            state_version: inner.position.state_version,
            cut: inner.position.cut,
        };
        client.set_seen(inner.position.last_seq);
        client.push(frame(&ServerFrame::Hello(hello)), None);
        inner.clients.push(Arc::clone(&client));
        drop(inner);
        self.changed.notify_one();
        Ok(client)
    }

    /// Forgets a connection.
    pub fn disconnect(&self, client: &Arc<Client>) {
        self.lock().clients.retain(|other| !Arc::ptr_eq(other, client));
        self.changed.notify_one();
    }

    /// Resolves when a connection has come or gone since it last did: for the owner, which leaves only when nobody is here.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How many connections there are.
    pub fn clients(&self) -> usize {
        self.lock().clients.len()
    }

    /// Takes no more connections, if there is none; false, and nothing changes, when there is one.
    pub fn retire(&self) -> bool {
        let mut inner = self.lock();
        let idle = inner.clients.is_empty();
        inner.closed |= idle;
        idle
    }

    /// Closes every connection with this code and takes no more.
    pub fn close(&self, code: CloseCode) {
        let mut inner = self.lock();
        inner.closed = true;
        // Its snapshots know the turn, which knows this hub: kept, they would keep each other.
        inner.attempt = None;
        for client in inner.clients.drain(..) {
            client.close(code);
        }
    }

    /// An attempt begins. A later attempt at a turn tells clients to drop what they saw of it; of one that goes on where the one
    /// before was they ask anew, because what they saw of that is durable meanwhile.
    pub fn begin(
        &self,
        turn_id: &str,
        attempt: u32,
        message_id: Option<String>,
        snapshots: Arc<dyn Snapshots>,
        goes_on: bool,
        ts: u64,
    ) {
        let mut inner = self.lock();
        if goes_on {
            inner.clients.iter().for_each(|client| client.lag());
        } else if attempt > 1 {
            let restarted = restarted(turn_id, attempt, inner.position.last_seq, ts);
            inner.broadcast(&restarted, None);
        }
        for client in &inner.clients {
            client.set_snapshot(0);
        }
        inner.attempt = Some(Attempt {
            turn_id: turn_id.to_owned(),
            attempt,
            message_id,
            ring: Ring::default(),
            kept: None,
            snapshots,
        });
    }

    /// A live update of the running attempt.
    pub fn live(&self, update: Update) {
        let n = update.n;
        let text = frame(&ServerFrame::Update(update));
        let mut inner = self.lock();
        if let (Some(n), Some(attempt)) = (n, &mut inner.attempt) {
            attempt.ring.push(n, text.clone());
        }
        for client in &inner.clients {
            client.push_live(text.clone(), None, n.unwrap_or(u64::MAX));
        }
    }

    /// The durable updates of the running attempt up to the snapshot's `n` became rows before its cut: clients read them there from
    /// now on, and the snapshot has what was open then.
    pub fn kept(&self, last_seq: u64, snapshot: TurnSnapshot) {
        let mut inner = self.lock();
        inner.position.last_seq = inner.position.last_seq.max(last_seq);
        if let Some(attempt) = inner.attempt.as_mut().filter(|attempt| attempt.is_told_by(&snapshot)) {
            attempt.keep(snapshot);
        }
    }

    /// The running attempt follows a lost one and has come to where that one was: everybody is told what is open there.
    pub fn found(&self, snapshot: TurnSnapshot, ts: u64) {
        let mut inner = self.lock();
        let Some(attempt) = inner.attempt.as_mut().filter(|attempt| attempt.is_told_by(&snapshot)) else { return };
        let told = attempt.told(&snapshot, ts);
        attempt.keep(snapshot);
        inner.broadcast(&told, None);
    }

    /// A control update that belongs to no attempt.
    pub fn control(&self, body: &UpdateBody, ts: u64) {
        let mut inner = self.lock();
        if !inner.clients.is_empty() {
            let text = frame(&ServerFrame::Update(Update::control(body, ts)));
            inner.broadcast(&text, None);
        }
    }

    /// A cut was made: `with_seq` are durable updates that clients have not seen live, then comes `cut`.
    pub fn cut(&self, made: &CutMade, with_seq: Vec<Update>, position: Position, ts: u64) {
        let updates: Vec<_> = with_seq.into_iter().map(|update| frame(&ServerFrame::Update(update))).collect();
        let cut = frame(&ServerFrame::Update(Update::control(&UpdateBody::Cut(made.clone()), ts)));
        let mut inner = self.lock();
        inner.position = position;
        inner.attempt = None;
        for update in &updates {
            inner.broadcast(update, None);
        }
        inner.broadcast(&cut, Some(position.last_seq));
    }

    /// The attempt ended without a cut: the host stops, or the turn is parked.
    pub fn abandon(&self) {
        self.lock().attempt = None;
    }

    /// Answers one connection.
    pub fn reply(client: &Client, reply: &ServerFrame) {
        client.answer(frame(reply));
    }

    /// Answers one connection with an error.
    pub fn reply_error(client: &Client, error: WireError) {
        Self::reply(client, &ServerFrame::Error(error));
    }

    /// Begins a subscription: from here on the client's queue takes live frames, and what lies before them is returned.
    pub fn subscribe(&self, client: &Client, from: &Subscribe, ts: u64) -> Resume {
        let mut snapshot = None;
        for _ in 0..SNAPSHOT_TRIES {
            let inner = self.lock();
            let short = inner.attempt.as_ref().filter(|attempt| !attempt.joins(from, snapshot.as_ref()));
            let Some(source) = short.map(|attempt| Arc::clone(&attempt.snapshots)) else {
                return inner.resume(client, from, snapshot.as_ref(), ts);
            };
            drop(inner);
            // Outside the lock: a snapshot takes the turn's own lock, which an emitting guest holds when it calls `live`. What
            // the guest writes meanwhile may push the ring on, or be another attempt's: so it is looked at again.
            snapshot = source.snapshot();
        }
        self.lock().resume(client, from, snapshot.as_ref(), ts)
    }
}

impl Attempt {
    /// The last `n` of this attempt that a subscriber has seen.
    fn seen_by(&self, from: &Subscribe) -> u64 {
        let same = from.turn_id.as_deref() == Some(&self.turn_id) && from.attempt == Some(self.attempt);
        if same { from.n.unwrap_or(0) } else { 0 }
    }

    /// True for a snapshot of this attempt.
    fn is_told_by(&self, snapshot: &TurnSnapshot) -> bool {
        snapshot.turn_id == self.turn_id && snapshot.attempt == self.attempt
    }

    /// True when the ring goes on where the subscriber is, or where this snapshot takes it.
    fn joins(&self, from: &Subscribe, snapshot: Option<&TurnSnapshot>) -> bool {
        let told = snapshot.filter(|snapshot| self.is_told_by(snapshot)).map_or(0, |snapshot| snapshot.n);
        let kept = self.kept.as_ref().map_or(0, |kept| kept.n);
        self.ring.reaches(self.seen_by(from).max(told).max(kept))
    }

    /// The updates before this snapshot are rows, or were told by an attempt before.
    fn keep(&mut self, snapshot: TurnSnapshot) {
        self.ring.drop_through(snapshot.n);
        self.kept = Some(snapshot);
    }

    /// The frame of a snapshot.
    fn told(&self, snapshot: &TurnSnapshot, ts: u64) -> Utf8Bytes {
        let mut update = Update::control(&UpdateBody::TurnSnapshot(snapshot.clone()), ts);
        update.message_id.clone_from(&self.message_id);
        frame(&ServerFrame::Update(update))
    }

    /// The frames that bring a client from its place in this attempt to now.
    fn resume(&self, client: &Client, from: &Subscribe, snapshot: Option<&TurnSnapshot>, ts: u64) -> Vec<Utf8Bytes> {
        let mut frames = Vec::new();
        let mut after_n = self.seen_by(from);
        if !self.joins(from, snapshot) {
            // The agent outran every try. What cannot be told whole is not told in part: the client comes again.
            client.lag();
            return frames;
        }
        let is_enough = |snapshot: &&TurnSnapshot| self.ring.reaches(snapshot.n);
        if !self.ring.reaches(after_n)
            && let Some(snapshot) =
                self.kept.as_ref().filter(is_enough).or(snapshot.filter(|snapshot| self.is_told_by(snapshot)))
        {
            // Taken outside the lock: what came after it is in the ring, what is still on its way here must not come twice.
            after_n = after_n.max(snapshot.n);
            client.set_snapshot(snapshot.n);
            frames.push(self.told(snapshot, ts));
        }
        frames.extend(self.ring.after(after_n));
        frames
    }
}

impl Inner {
    /// What lies between a client's place and now; its queue goes on from here.
    fn resume(&self, client: &Client, from: &Subscribe, snapshot: Option<&TurnSnapshot>, ts: u64) -> Resume {
        let position = self.position;
        client.restart(position.last_seq);
        let mut then = Vec::new();
        let mut after_seq = from.after_seq;
        if after_seq > position.last_seq {
            after_seq = position.last_seq;
            let reset = UpdateBody::Reset(Reset { to_seq: position.last_seq });
            then.push(frame(&ServerFrame::Update(Update::control(&reset, ts))));
        }
        let seen = match (&from.turn_id, from.attempt, from.n) {
            (Some(turn_id), Some(attempt), Some(n)) => Some((turn_id.clone(), attempt, n)),
            _ => None,
        };
        let mut first = Vec::new();
        if let Some(running) = &self.attempt {
            if from.turn_id.as_deref() == Some(&running.turn_id)
                && from.attempt.is_some_and(|attempt| attempt != running.attempt)
            {
                // Before the rows: what of the lost attempt is durable comes with them, as this one's.
                first.push(restarted(&running.turn_id, running.attempt, after_seq, ts));
            }
            then.extend(running.resume(client, from, snapshot, ts));
        }
        Resume { after_seq, through_seq: position.last_seq, seen, first, then }
    }

    /// Queues a frame for every connection; `through_seq` is set on frames that complete what came before them.
    fn broadcast(&mut self, text: &Utf8Bytes, through_seq: Option<u64>) {
        for client in &self.clients {
            client.push(text.clone(), through_seq);
        }
    }
}

/// The frame that tells a connection what it has missed.
pub(crate) fn lagged(from_seq: u64, to_seq: u64, ts: u64) -> Utf8Bytes {
    frame(&ServerFrame::Update(Update::control(&UpdateBody::Lagged(Lagged { from_seq, to_seq }), ts)))
}

fn restarted(turn_id: &str, attempt: u32, keep_through_seq: u64, ts: u64) -> Utf8Bytes {
    let body = UpdateBody::TurnRestarted(TurnRestarted { turn_id: turn_id.to_owned(), attempt, keep_through_seq });
    frame(&ServerFrame::Update(Update::control(&body, ts)))
}

/// Encodes a frame once, for all who get it.
pub(crate) fn frame(frame: &ServerFrame) -> Utf8Bytes {
    frame.text().into()
}

impl Hub {
    /// The last durable update.
    pub fn position(&self) -> Position {
        self.lock().position
    }
}
