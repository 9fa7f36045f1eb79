//! `wasi:random`, both versions: three sequences that all come from the turn's seed.
//!
//! The seed is secret and new for each turn, so the secure sequence is unpredictable to everybody but a replay.

use podium_capabilities::LimitReached;
use podium_capabilities::limits::HOSTCALL_BYTES_MAX;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wasmtime_wasi::p2::bindings::random as p2;
use wasmtime_wasi::p3::bindings::random as p3;

use crate::guest::GuestState;

/// Which sequence: none must tell anything of another.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
enum Stream {
    Secure = 1,
    Insecure = 2,
    Seed = 3,
}

/// The sequences of a turn, begun at first use.
pub(crate) struct TurnRandom {
    seed: [u8; 32],
    secure: Option<Box<ChaCha20Rng>>,
    insecure: Option<Box<ChaCha20Rng>>,
}

impl TurnRandom {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, secure: None, insecure: None }
    }

    fn begin(seed: [u8; 32], stream: Stream) -> ChaCha20Rng {
        let mut random = ChaCha20Rng::from_seed(seed);
        random.set_stream(stream as u64);
        random
    }

    fn secure(&mut self) -> &mut ChaCha20Rng {
        self.secure.get_or_insert_with(|| Box::new(Self::begin(self.seed, Stream::Secure)))
    }

    fn insecure(&mut self) -> &mut ChaCha20Rng {
        self.insecure.get_or_insert_with(|| Box::new(Self::begin(self.seed, Stream::Insecure)))
    }

    /// The same pair at each call, as the interface wants it.
    fn insecure_seed(&self) -> (u64, u64) {
        let mut random = Self::begin(self.seed, Stream::Seed);
        (random.next_u64(), random.next_u64())
    }
}

/// Bytes of a length that the guest chose.
fn bytes(random: &mut ChaCha20Rng, len: u64) -> wasmtime::Result<Vec<u8>> {
    let len = usize::try_from(len).ok().filter(|len| *len <= HOSTCALL_BYTES_MAX);
    let len = len.ok_or(LimitReached::HostCall(HOSTCALL_BYTES_MAX))?;
    let mut bytes = vec![0; len];
    random.fill_bytes(&mut bytes);
    Ok(bytes)
}

impl p2::random::Host for GuestState {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        bytes(self.random.secure(), len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.secure().next_u64())
    }
}

impl p2::insecure::Host for GuestState {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        bytes(self.random.insecure(), len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.insecure().next_u64())
    }
}

impl p2::insecure_seed::Host for GuestState {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.random.insecure_seed())
    }
}

impl p3::random::Host for GuestState {
    fn get_random_bytes(&mut self, max_len: u64) -> wasmtime::Result<Vec<u8>> {
        bytes(self.random.secure(), max_len.min(HOSTCALL_BYTES_MAX as u64))
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.secure().next_u64())
    }
}

impl p3::insecure::Host for GuestState {
    fn get_insecure_random_bytes(&mut self, max_len: u64) -> wasmtime::Result<Vec<u8>> {
        bytes(self.random.insecure(), max_len.min(HOSTCALL_BYTES_MAX as u64))
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        Ok(self.random.insecure().next_u64())
    }
}

impl p3::insecure_seed::Host for GuestState {
    fn get_insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok(self.random.insecure_seed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_three_sequences_again_and_none_is_another() {
        let draw = |seed| {
            let mut random = TurnRandom::new([seed; 32]);
            [random.secure().next_u64(), random.insecure().next_u64(), random.insecure_seed().0]
        };
        assert_eq!(draw(1), draw(1));
        let all: std::collections::BTreeSet<u64> = draw(1).into_iter().chain(draw(2)).collect();
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_length_beyond_a_host_call_is_refused() {
        let mut random = TurnRandom::new([0; 32]);
        assert!(bytes(random.secure(), HOSTCALL_BYTES_MAX as u64).is_ok());
        for len in [HOSTCALL_BYTES_MAX as u64 + 1, u64::MAX] {
            let refused = bytes(random.secure(), len).expect_err("refused");
            assert_eq!(refused.downcast_ref(), Some(&LimitReached::HostCall(HOSTCALL_BYTES_MAX)));
        }
    }
}
