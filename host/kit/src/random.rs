//! Randomness: the operating system's, or a seeded sequence for simulations.
//!
//! The only place that asks the operating system for entropy; guests get theirs from a turn's seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// A source of random bytes; clones share it.
#[derive(Debug, Clone)]
pub struct Randomness(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    /// SplitMix64 state: not secret, only repeatable.
    Seeded(Arc<AtomicU64>),
}

impl Randomness {
    /// The operating system's.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A repeatable sequence, for simulations and tests.
    pub fn seeded(seed: u64) -> Self {
        Self(Source::Seeded(Arc::new(AtomicU64::new(seed))))
    }

    /// Fills `bytes`. The operating system's source does not fail once it has been seeded; a host
    /// without any entropy cannot make ids or seeds and must not go on.
    ///
    /// # Panics
    /// When the operating system has no source of randomness.
    #[expect(clippy::disallowed_methods, reason = "kit is the door to the system's entropy")]
    pub fn fill(&self, bytes: &mut [u8]) {
        match &self.0 {
            Source::System => {
                #[expect(clippy::expect_used, reason = "documented above: no host without entropy")]
                getrandom::fill(bytes).expect("the operating system gives random bytes");
            }
            Source::Seeded(state) => {
                for chunk in bytes.chunks_mut(8) {
                    let next = state.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst);
                    chunk.copy_from_slice(&split_mix(next).to_le_bytes()[..chunk.len()]);
                }
            }
        }
    }

    /// 32 random bytes: a turn's seed, a token.
    pub fn bytes32(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }

    /// A UUIDv7 of this moment.
    pub fn uuid_v7(&self, now_ms: u64) -> Uuid {
        let mut random = [0; 10];
        self.fill(&mut random);
        uuid::Builder::from_unix_timestamp_millis(now_ms, &random).into_uuid()
    }
}

/// The output function of SplitMix64 (Steele, Lea, Flood 2014).
fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
