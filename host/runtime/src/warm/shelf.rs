//! Who rests, and who has to go first: pure, whatever a guest is.
//!
//! Owns the count of guests and bytes. Must never hold more than a quarter over its budget, and never anything while somebody
//! waits for room.

use std::collections::HashMap;

use lru::LruCache;
use podium_wire::Digest;

/// Warm guests of a host unless its operator says otherwise: a few per cent of all that may live.
pub const WARM_GUESTS_DEFAULT: usize = 256;
/// Linear memory of all of them unless its operator says otherwise: sixteen agents with the whole of the default memory.
pub const WARM_BYTES_DEFAULT: u64 = 1024 * 1024 * 1024;

/// How much may be kept. Zero guests keep none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WarmBudget {
    /// Guests.
    pub guests: usize,
    /// Their linear memory together, bytes.
    pub bytes: u64,
}

impl Default for WarmBudget {
    fn default() -> Self {
        Self { guests: WARM_GUESTS_DEFAULT, bytes: WARM_BYTES_DEFAULT }
    }
}

impl WarmBudget {
    /// True when so much is too much: then the one longest at rest is asked to leave.
    fn is_over(&self, guests: usize, bytes: u64) -> bool {
        guests > self.guests || bytes > self.bytes
    }

    /// Those who were asked still have a last hook to run. Beyond a quarter over the budget they are dropped without it.
    fn is_far_over(&self, guests: usize, bytes: u64) -> bool {
        guests > self.guests.saturating_add(self.guests / 4).saturating_add(1)
            || bytes > self.bytes.saturating_add(self.bytes / 4)
    }
}

struct Resting<G> {
    guest: G,
    digest: Digest,
    bytes: u64,
    asked: bool,
}

/// What keeping a guest leads to.
pub(super) struct Kept<G> {
    /// Seats whose guests are to leave.
    pub(super) asked: Vec<u64>,
    /// Guests to drop, outside of every lock: giving memory back takes its time.
    pub(super) gone: Vec<G>,
}

/// Guests at their seats.
pub(super) struct Shelf<G> {
    budget: WarmBudget,
    /// The one longest at rest goes first.
    resting: LruCache<u64, Resting<G>>,
    /// Those whose turn is about to begin: nobody takes them away any more.
    claimed: HashMap<u64, Resting<G>>,
    bytes: u64,
    /// Turns that wait for room.
    waiting: usize,
}

impl<G> Shelf<G> {
    pub(super) fn new(budget: WarmBudget) -> Self {
        Self { budget, resting: LruCache::unbounded(), claimed: HashMap::new(), bytes: 0, waiting: 0 }
    }

    /// All of them.
    pub(super) fn len(&self) -> usize {
        self.resting.len() + self.claimed.len()
    }

    /// True while a guest is at this seat.
    pub(super) fn is_kept(&self, seat: u64) -> bool {
        self.resting.contains(&seat) || self.claimed.contains_key(&seat)
    }

    /// True when that guest rests and was asked to leave.
    pub(super) fn is_asked(&self, seat: u64) -> bool {
        self.resting.peek(&seat).is_some_and(|resting| resting.asked)
    }

    /// Keeps a guest, unless somebody waits for room or it alone is too large.
    pub(super) fn keep(&mut self, seat: u64, digest: Digest, bytes: u64, guest: G) -> Kept<G> {
        if self.waiting > 0 || self.budget.is_over(1, bytes) {
            return Kept { asked: Vec::new(), gone: vec![guest] };
        }
        let mut gone: Vec<G> = self.take(seat).into_iter().collect();
        self.put(seat, Resting { guest, digest, bytes, asked: false });
        let asked = self.ask();
        while self.budget.is_far_over(self.resting.len(), self.bytes) {
            let Some(oldest) = self.take_oldest() else { break };
            gone.push(oldest);
        }
        Kept { asked, gone }
    }

    fn put(&mut self, seat: u64, resting: Resting<G>) {
        self.bytes = self.bytes.saturating_add(resting.bytes);
        self.resting.put(seat, resting);
    }

    fn pop(&mut self, seat: u64) -> Option<Resting<G>> {
        let popped = self.resting.pop(&seat)?;
        self.bytes = self.bytes.saturating_sub(popped.bytes);
        Some(popped)
    }

    /// Asks as many to leave as must, the one longest at rest first.
    fn ask(&mut self) -> Vec<u64> {
        let all = (self.resting.len(), self.bytes);
        let without = |(guests, bytes): (usize, u64), one: &Resting<G>| {
            (guests.saturating_sub(1), bytes.saturating_sub(one.bytes))
        };
        let mut left = self.resting.iter().filter(|(_, one)| one.asked).fold(all, |left, (_, one)| without(left, one));
        let mut asked = Vec::new();
        for (seat, one) in self.resting.iter_mut().rev().filter(|(_, one)| !one.asked) {
            if !self.budget.is_over(left.0, left.1) {
                break;
            }
            left = without(left, one);
            one.asked = true;
            asked.push(*seat);
        }
        asked
    }

    /// Sets the guest aside for a turn that is about to begin, if it runs this code.
    pub(super) fn claim(&mut self, seat: u64, digest: &Digest) -> bool {
        if let Some(claimed) = self.claimed.get(&seat) {
            return claimed.digest == *digest;
        }
        let fits = self.resting.peek(&seat).is_some_and(|resting| resting.digest == *digest);
        if fits && let Some(resting) = self.pop(seat) {
            self.claimed.insert(seat, resting);
        }
        fits
    }

    /// Lets a claimed guest rest again, because no turn began.
    pub(super) fn release(&mut self, seat: u64) -> Option<Kept<G>> {
        let Resting { guest, digest, bytes, .. } = self.claimed.remove(&seat)?;
        Some(self.keep(seat, digest, bytes, guest))
    }

    /// The guest that was claimed.
    pub(super) fn take_claimed(&mut self, seat: u64) -> Option<G> {
        self.claimed.remove(&seat).map(|claimed| claimed.guest)
    }

    /// The guest that rests at this seat.
    pub(super) fn take(&mut self, seat: u64) -> Option<G> {
        self.pop(seat).map(|taken| taken.guest)
    }

    /// The one longest at rest.
    pub(super) fn take_oldest(&mut self) -> Option<G> {
        let oldest = *self.resting.peek_lru()?.0;
        self.take(oldest)
    }

    /// All that rest.
    pub(super) fn take_all(&mut self) -> Vec<G> {
        self.bytes = 0;
        std::iter::from_fn(|| self.resting.pop_lru()).map(|(_, resting)| resting.guest).collect()
    }

    /// Somebody begins to wait for room: from here on nobody comes to rest.
    pub(super) fn begin_wait(&mut self) {
        self.waiting += 1;
    }

    /// It has got room, or gave up.
    pub(super) fn end_wait(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_bytes([byte; 32])
    }

    #[test]
    fn the_one_longest_at_rest_is_asked_and_a_turn_makes_it_the_youngest() {
        let mut shelf = Shelf::new(WarmBudget { guests: 2, bytes: 100 });
        assert!(shelf.keep(1, digest(0), 10, "a").asked.is_empty());
        assert!(shelf.keep(2, digest(0), 10, "b").asked.is_empty());
        assert!(shelf.claim(1, &digest(0)));
        assert_eq!(shelf.take_claimed(1), Some("a"));
        assert!(shelf.keep(1, digest(0), 10, "a").asked.is_empty());
        assert_eq!(shelf.keep(3, digest(0), 10, "c").asked, [2]);
        assert!(shelf.is_asked(2) && shelf.is_kept(2));
        // Its owner has not come yet: nobody is asked twice, and one more goes unasked.
        assert_eq!(shelf.keep(4, digest(0), 10, "d").gone, ["b"]);
    }

    #[test]
    fn nobody_rests_while_somebody_waits_and_other_code_gets_no_guest() {
        let mut shelf = Shelf::new(WarmBudget { guests: 2, bytes: 100 });
        shelf.keep(1, digest(1), 10, "a");
        assert!(!shelf.claim(1, &digest(2)), "it runs other code");
        shelf.begin_wait();
        assert_eq!(shelf.take_oldest(), Some("a"));
        assert_eq!(shelf.keep(1, digest(1), 10, "b").gone, ["b"]);
        shelf.end_wait();
        assert!(shelf.keep(1, digest(1), 10, "c").gone.is_empty());
        assert_eq!(shelf.keep(2, digest(1), 101, "large").gone, ["large"]);
        assert!(shelf.claim(1, &digest(1)) && shelf.claim(1, &digest(1)));
        assert_eq!((shelf.take(1), shelf.take_oldest()), (None, None), "nobody takes what is claimed");
        assert_eq!(shelf.len(), 1);
        assert!(shelf.release(1).is_some_and(|kept| kept.gone.is_empty()));
        assert!(shelf.release(1).is_none());
        assert_eq!(shelf.take(1), Some("c"));
    }

    proptest! {
        /// Whatever comes and goes: the sums are right, a quarter over is the most, and those not asked fit the budget.
        #[test]
        fn the_budget_holds(steps in prop::collection::vec((0..12_u64, 0..60_u64, 0..4_u8), 0..200), guests in 0..6_usize, bytes in 0..200_u64) {
            let budget = WarmBudget { guests, bytes };
            let mut shelf = Shelf::new(budget);
            for (seat, size, step) in steps {
                match step {
                    0 | 1 => drop(shelf.keep(seat, digest(0), size, ())),
                    2 => drop(shelf.take(seat)),
                    3 if seat == 11 => drop(shelf.take_all()),
                    _ => {
                        shelf.claim(seat, &digest(0));
                        let released = size % 2 == 0 && shelf.release(seat).is_some();
                        prop_assert!(!released || shelf.take_claimed(seat).is_none());
                        shelf.take_claimed(seat);
                    }
                }
                prop_assert_eq!(shelf.bytes, shelf.resting.iter().map(|(_, one)| one.bytes).sum::<u64>());
                prop_assert!(!budget.is_far_over(shelf.resting.len(), shelf.bytes));
                let stay = shelf.resting.iter().filter(|(_, one)| !one.asked);
                let (count, sum) = stay.fold((0, 0), |(count, sum), (_, one)| (count + 1, sum + one.bytes));
                prop_assert!(!budget.is_over(count, sum));
            }
        }
    }
}
