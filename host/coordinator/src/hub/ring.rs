//! The ring: the running attempt's latest frames, for connections that come back.
//!
//! Bounded in bytes; the oldest go first. Pure.

use std::collections::VecDeque;

use axum::extract::ws::Utf8Bytes;

/// Bytes of frames that are held: one turn's default output (TURN.md §4).
pub(super) const RING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Frames in the order of `n`.
#[derive(Debug, Default)]
pub(super) struct Ring {
    frames: VecDeque<(u64, Utf8Bytes)>,
    bytes: usize,
    /// Everything up to this `n` is no longer held.
    dropped_through_n: u64,
}

impl Ring {
    /// Adds the frame of the next `n`.
    pub(super) fn push(&mut self, n: u64, frame: Utf8Bytes) {
        self.bytes += frame.len();
        self.frames.push_back((n, frame));
        while self.bytes > RING_BYTES_MAX {
            let Some((n, frame)) = self.frames.pop_front() else { break };
            self.bytes -= frame.len();
            self.dropped_through_n = n;
        }
    }

    /// Frames up to this `n` are needed no more.
    pub(super) fn drop_through(&mut self, n: u64) {
        while let Some((_, frame)) = self.frames.pop_front_if(|(at, _)| *at <= n) {
            self.bytes -= frame.len();
        }
        self.dropped_through_n = self.dropped_through_n.max(n);
    }

    /// True when every frame after `n` is still held.
    pub(super) fn reaches(&self, n: u64) -> bool {
        n >= self.dropped_through_n
    }

    /// The frames after `n`.
    pub(super) fn after(&self, n: u64) -> impl Iterator<Item = Utf8Bytes> {
        self.frames.iter().filter(move |(at, _)| *at > n).map(|(_, frame)| frame.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn holds_a_suffix_within_the_bound(sizes in prop::collection::vec(0usize..600_000, 1..40), from in 0u64..50) {
            let mut ring = Ring::default();
            for (n, size) in (1..).zip(&sizes) {
                ring.push(n, "x".repeat(*size).into());
                prop_assert!(ring.bytes <= RING_BYTES_MAX);
            }
            let last = sizes.len() as u64;
            let held: Vec<_> = ring.after(from).collect();
            if ring.reaches(from) {
                prop_assert_eq!(held.len() as u64, last.saturating_sub(from));
            } else {
                prop_assert!((held.len() as u64) < last - from);
            }
        }
    }
}
