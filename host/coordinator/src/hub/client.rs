//! One connection's queue: bounded in bytes, filled by the hub, drained by the connection's task.
//!
//! A reader that is too slow loses the queue and is told `lagged`; nobody waits for it.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::extract::ws::Utf8Bytes;
use podium_wire::frames::CloseCode;
use tokio::sync::Notify;

/// Bytes that wait for one connection before it counts as too slow: as much as a ring holds.
pub(super) const QUEUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Frames that wait for one connection before it counts as too slow: small frames cost more than their bytes.
pub(super) const QUEUE_FRAMES_MAX: usize = 32 * 1024;

#[derive(Debug)]
struct Queued {
    frame: Utf8Bytes,
    /// With this frame everything up to here has been told.
    through_seq: Option<u64>,
    /// An answer to this connection alone: never dropped, because nothing repeats it.
    answer: bool,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Queued>,
    bytes: usize,
    /// Everything up to here has been drained.
    seen_seq: u64,
    /// Set when frames were dropped: the last `seq` before the gap.
    lagged_from: Option<u64>,
    closed: Option<CloseCode>,
    /// Live updates of the running attempt up to this `n` are in a snapshot that the connection has.
    snapshot_n: u64,
}

/// What was waiting.
#[derive(Debug, Default)]
pub struct Drained {
    /// Frames in order.
    pub frames: Vec<Utf8Bytes>,
    /// Set when frames after these were dropped: the last `seq` before the gap.
    pub lagged_from: Option<u64>,
    /// Set when the connection is to be closed.
    pub closed: Option<CloseCode>,
}

impl Queue {
    fn add(&mut self, queued: Queued) {
        self.bytes += queued.frame.len();
        self.frames.push_back(queued);
    }

    fn keep_answers(&mut self) {
        self.frames.retain(|queued| queued.answer);
        self.bytes = self.frames.iter().map(|queued| queued.frame.len()).sum();
    }
}

/// The hub's end of a connection.
#[derive(Debug, Default)]
pub struct Client {
    queue: Mutex<Queue>,
    ready: Notify,
}

impl Client {
    /// A connection without anything waiting.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that runs under the lock leaves it half-changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame of the instance; `through_seq` says that with it everything up to that `seq` has been told.
    pub fn push(&self, frame: Utf8Bytes, through_seq: Option<u64>) {
        self.push_live(frame, through_seq, u64::MAX);
    }

    /// Queues the frame of the running attempt's update `n`, unless a snapshot has told it already.
    pub fn push_live(&self, frame: Utf8Bytes, through_seq: Option<u64>, n: u64) {
        let mut queue = self.lock();
        if queue.lagged_from.is_some() || n <= queue.snapshot_n {
            return;
        }
        if queue.bytes + frame.len() > QUEUE_BYTES_MAX || queue.frames.len() >= QUEUE_FRAMES_MAX {
            queue.lagged_from = Some(queue.seen_seq);
            queue.keep_answers();
        } else {
            queue.add(Queued { frame, through_seq, answer: false });
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Queues an answer to what this connection sent. One that sends without reading is closed as too slow.
    pub fn answer(&self, frame: Utf8Bytes) {
        let mut queue = self.lock();
        if queue.bytes + frame.len() > 2 * QUEUE_BYTES_MAX || queue.frames.len() >= 2 * QUEUE_FRAMES_MAX {
            queue.closed.get_or_insert(CloseCode::Slow);
        } else {
            queue.add(Queued { frame, through_seq: None, answer: true });
        }
        drop(queue);
        self.ready.notify_one();
    }

    /// Begins again from `seq`: updates that waited belong to the subscription before.
    pub fn restart(&self, seq: u64) {
        let mut queue = self.lock();
        queue.keep_answers();
        queue.lagged_from = None;
        queue.seen_seq = seq;
        queue.snapshot_n = 0;
    }

    /// The connection has a snapshot of the running attempt up to `n`; 0 when another attempt begins.
    pub fn set_snapshot(&self, n: u64) {
        self.lock().snapshot_n = n;
    }

    /// The connection has missed updates since it last began: it is told so, as one that reads too slowly.
    pub fn lag(&self) {
        let mut queue = self.lock();
        queue.lagged_from = Some(queue.seen_seq);
        drop(queue);
        self.ready.notify_one();
    }

    /// Sets the last `seq` that the connection knows of.
    pub fn set_seen(&self, seq: u64) {
        self.lock().seen_seq = seq;
    }

    /// Asks the connection to close.
    pub fn close(&self, code: CloseCode) {
        self.lock().closed = Some(code);
        self.ready.notify_one();
    }

    /// Waits until something is there.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Takes everything that waits.
    pub fn drain(&self) -> Drained {
        let mut queue = self.lock();
        queue.bytes = 0;
        if let Some(seq) = queue.frames.iter().rev().find_map(|queued| queued.through_seq) {
            queue.seen_seq = seq;
        }
        let frames = queue.frames.drain(..).map(|queued| queued.frame).collect();
        Drained { frames, lagged_from: queue.lagged_from.take(), closed: queue.closed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_reader_loses_its_queue_and_learns_from_where() {
        let client = Client::new();
        client.push("a".into(), Some(7));
        assert_eq!(client.drain().frames.len(), 1);
        client.answer("ack".into());
        let big = Utf8Bytes::from("x".repeat(QUEUE_BYTES_MAX / 2));
        for _ in 0..3 {
            client.push(big.clone(), Some(9));
        }
        let drained = client.drain();
        assert_eq!(drained.frames, ["ack"], "an answer is never dropped");
        assert_eq!(drained.lagged_from, Some(7));
        client.push("b".into(), None);
        assert_eq!(client.drain().frames.len(), 1, "after the drain the queue goes on");
    }
}
