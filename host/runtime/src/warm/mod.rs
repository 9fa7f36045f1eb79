//! Guests kept between turns: a cache of what an agent has worked out, and never more.
//!
//! Owns the room for guests and the seats. A guest belongs to one seat, and a seat to one instance: nobody else ever gets it.
//! Must never let a turn wait for room that a resting guest takes.

mod pressure;
mod shelf;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podium_wire::Digest;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use wasmtime::{Engine, Store};

use crate::bindings;
use crate::guest::{self, GuestParts, GuestState};
use crate::host::stdio::Stdio;
use crate::load::Agent;

pub(crate) use pressure::Pressure;
use shelf::{Kept, Shelf};
pub use shelf::{WARM_BYTES_DEFAULT, WARM_GUESTS_DEFAULT, WarmBudget};

/// A guest that can be called, again and again: its store and its instance. Its room is given back when it is gone.
pub(crate) struct Living {
    pub(crate) store: Store<GuestState>,
    /// None until its first call.
    pub(crate) instance: Option<bindings::Agent>,
    pub(crate) stdio: Stdio,
    /// True once it has opened its workspace.
    pub(crate) uses_files: Arc<AtomicBool>,
    digest: Digest,
    _room: Room,
}

impl Living {
    /// A fresh one.
    pub(crate) fn new(engine: &Engine, agent: &Agent, room: Room, parts: GuestParts<'_>) -> Self {
        let (stdio, uses_files) = (parts.stdio.clone(), Arc::clone(&parts.uses_files));
        let store = guest::store(engine, parts);
        Self { store, instance: None, stdio, uses_files, digest: *agent.digest(), _room: room }
    }
}

/// The places of one guest, its own until it is gone.
pub(crate) struct Room {
    _places: OwnedSemaphorePermit,
    _counted: Arc<()>,
}

struct Inner<G> {
    shelf: Shelf<G>,
    /// Seats that are open; a guest that comes back to a closed one is dropped.
    seats: HashMap<u64, Arc<Notify>>,
    last_seat: u64,
}

/// All warm guests of a host, and the room for guests. A guest holds its room.
pub(crate) struct Pool<G = Box<Living>> {
    places: Arc<Semaphore>,
    /// Held once more by each guest that has room.
    counted: Arc<()>,
    inner: Mutex<Inner<G>>,
    pressure: Pressure,
}

impl<G> std::fmt::Debug for Pool<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("guests", &self.guests()).field("kept", &self.len()).finish()
    }
}

impl<G> Pool<G> {
    pub(crate) fn new(budget: WarmBudget, places: usize, pressure: Pressure) -> Self {
        let inner = Inner { shelf: Shelf::new(budget), seats: HashMap::new(), last_seat: 0 };
        Self { places: Arc::new(Semaphore::new(places)), counted: Arc::new(()), inner: Mutex::new(inner), pressure }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<G>> {
        // Nothing that runs under the lock leaves it half-changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Guests that are kept between turns.
    pub(crate) fn len(&self) -> usize {
        self.lock().shelf.len()
    }

    /// Guests that live, resting ones too.
    pub(crate) fn guests(&self) -> usize {
        Arc::strong_count(&self.counted).saturating_sub(1)
    }

    /// Room for one more guest that takes so many places. Resting guests make room at once, without their last hook.
    pub(crate) async fn room(&self, places: u32) -> Room {
        let room = |taken| Room { _places: taken, _counted: Arc::clone(&self.counted) };
        if let Ok(taken) = Arc::clone(&self.places).try_acquire_many_owned(places) {
            return room(taken);
        }
        // A guest that would come to rest after this sees that somebody waits.
        let _waits = Waits::new(self);
        loop {
            let oldest = self.lock().shelf.take_oldest();
            let was_the_last = oldest.is_none();
            drop(oldest);
            if let Ok(taken) = Arc::clone(&self.places).try_acquire_many_owned(places) {
                return room(taken);
            }
            if was_the_last {
                break;
            }
        }
        loop {
            // Never closed.
            if let Ok(taken) = Arc::clone(&self.places).acquire_many_owned(places).await {
                return room(taken);
            }
        }
    }

    /// Opens a seat: its number, and where its owner is told that its guest is to leave.
    fn open(&self) -> (u64, Arc<Notify>) {
        let leave = Arc::new(Notify::new());
        let mut inner = self.lock();
        inner.last_seat += 1;
        let number = inner.last_seat;
        inner.seats.insert(number, Arc::clone(&leave));
        (number, leave)
    }

    /// Keeps a guest at its seat, unless the seat is closed or somebody needs the room.
    fn keep(&self, seat: u64, digest: Digest, bytes: u64, guest: G) {
        let mut inner = self.lock();
        if !inner.seats.contains_key(&seat) {
            drop(inner);
            return drop(guest);
        }
        let kept = inner.shelf.keep(seat, digest, bytes, guest);
        finish(inner, kept);
    }

    /// Drops all that rest, without their last hooks: memory is short now.
    fn clear(&self) {
        let all = self.lock().shelf.take_all();
        // Outside the lock: giving memory back takes its time.
        drop(all);
    }

    /// Lets a claimed guest rest again.
    fn release(&self, seat: u64) {
        let mut inner = self.lock();
        if let Some(kept) = inner.shelf.release(seat) {
            finish(inner, kept);
        }
    }
}

/// Asks those who are to leave, and drops those who are gone.
fn finish<G>(inner: MutexGuard<'_, Inner<G>>, kept: Kept<G>) {
    for asked in &kept.asked {
        if let Some(owner) = inner.seats.get(asked) {
            owner.notify_one();
        }
    }
    drop(inner);
    // Outside the lock: giving memory back takes its time.
    drop(kept.gone);
}

/// Counts a turn that waits for room.
struct Waits<'a, G>(&'a Pool<G>);

impl<'a, G> Waits<'a, G> {
    fn new(pool: &'a Pool<G>) -> Self {
        pool.lock().shelf.begin_wait();
        Self(pool)
    }
}

impl<G> Drop for Waits<'_, G> {
    fn drop(&mut self) {
        self.0.lock().shelf.end_wait();
    }
}

/// The place of one instance among the warm guests. Its guest goes with it.
#[derive(Debug)]
pub struct Seat {
    pool: Arc<Pool>,
    number: u64,
    leave: Arc<Notify>,
}

impl Seat {
    pub(crate) fn open(pool: &Arc<Pool>) -> Self {
        let (number, leave) = pool.open();
        Self { pool: Arc::clone(pool), number, leave }
    }

    /// True while a guest is kept here.
    pub fn is_kept(&self) -> bool {
        self.pool.lock().shelf.is_kept(self.number)
    }

    /// Takes the guest for the turn that is about to begin, if it is one of this agent; nobody can take it away then.
    /// A second call answers the same.
    pub fn claim(&self, agent: &Agent) -> bool {
        self.pool.lock().shelf.claim(self.number, agent.digest())
    }

    /// Lets the guest rest again when it was claimed and no turn began.
    pub fn release(&self) {
        self.pool.release(self.number);
    }

    /// True when the guest rests and is to leave, because memory is needed elsewhere.
    pub fn is_asked_to_leave(&self) -> bool {
        self.pool.lock().shelf.is_asked(self.number)
    }

    /// Resolves when [`Seat::is_asked_to_leave`] may have become true.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Drops the guest.
    pub fn clear(&self) {
        let guests = {
            let shelf = &mut self.pool.lock().shelf;
            (shelf.take(self.number), shelf.take_claimed(self.number))
        };
        // Outside the lock: giving memory back takes its time.
        drop(guests);
    }

    pub(crate) fn take_claimed(&self) -> Option<Box<Living>> {
        self.pool.lock().shelf.take_claimed(self.number)
    }

    /// Where the guest is to be brought back.
    pub(crate) fn place(&self) -> Place {
        Place { pool: Arc::clone(&self.pool), seat: self.number }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.pool.lock().seats.remove(&self.number);
        self.clear();
    }
}

/// A seat, as a turn knows it: the seat may be gone before the turn is.
pub(crate) struct Place {
    pool: Arc<Pool>,
    seat: u64,
}

impl Place {
    /// Lets a guest rest that has answered and has nothing left to do.
    pub(crate) fn keep(self, mut guest: Box<Living>) {
        if self.pool.pressure.is_on() {
            drop(guest);
            return self.pool.clear();
        }
        guest.store.data_mut().rest();
        let (digest, bytes) = (guest.digest, guest.store.data().memory_used());
        self.pool.keep(self.seat, digest, bytes, guest);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// So many places, and guests that are nothing but their room.
    fn pool(places: usize) -> Pool<Room> {
        Pool::new(WarmBudget::default(), places, Pressure::new(podium_kit::Clock::manual(0)))
    }

    fn rest(pool: &Pool<Room>, seat: u64, guest: Room) {
        pool.keep(seat, Digest::from_bytes([0; 32]), 1, guest);
    }

    #[tokio::test]
    async fn a_turn_never_waits_for_the_room_of_a_resting_guest() {
        let pool = pool(1);
        let (seat, _leave) = pool.open();
        let guest = pool.room(1).await;
        rest(&pool, seat, guest);
        assert_eq!((pool.len(), pool.guests()), (1, 1));
        let guest = pool.room(1).now_or_never().expect("is there at once");
        assert_eq!(pool.len(), 0);
        // The same while it waits: a guest that ends its turn does not come to rest.
        let mut waits = Box::pin(pool.room(1));
        assert!(waits.as_mut().now_or_never().is_none(), "a running guest keeps its room");
        rest(&pool, seat, guest);
        let guest = waits.now_or_never().expect("is there at once");
        rest(&pool, seat, guest);
        assert_eq!(pool.len(), 1, "nobody waits any more");
    }

    #[tokio::test]
    async fn where_memory_is_short_nobody_rests() {
        let pool = pool(3);
        let mut seats = Vec::new();
        for _ in 0..3 {
            let (seat, leave) = pool.open();
            let guest = pool.room(1).await;
            rest(&pool, seat, guest);
            seats.push((seat, leave));
        }
        pool.clear();
        assert_eq!((pool.len(), pool.guests()), (0, 0));
        // It is no end of resting.
        let guest = pool.room(1).await;
        rest(&pool, seats[0].0, guest);
        assert_eq!((pool.len(), pool.guests()), (1, 1));
    }

    /// A guest whose room somebody else takes the moment it is free.
    struct Prey {
        room: Option<Room>,
        places: Arc<Semaphore>,
        thief: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    }

    impl Drop for Prey {
        fn drop(&mut self) {
            self.room = None;
            let mut thief = self.thief.lock().expect("not poisoned");
            if thief.is_none() {
                *thief = Arc::clone(&self.places).try_acquire_owned().ok();
            }
        }
    }

    #[tokio::test]
    async fn a_turn_whose_room_another_one_takes_makes_room_again() {
        let pool: Pool<Prey> = Pool::new(WarmBudget::default(), 2, Pressure::new(podium_kit::Clock::manual(0)));
        let thief = Arc::default();
        for _ in 0..2 {
            let (seat, _leave) = pool.open();
            let room = Some(pool.room(1).await);
            let prey = Prey { room, places: Arc::clone(&pool.places), thief: Arc::clone(&thief) };
            pool.keep(seat, Digest::from_bytes([0; 32]), 1, prey);
        }
        let room = pool.room(1).now_or_never();
        assert!(thief.lock().expect("not poisoned").is_some(), "the first room went to another turn");
        assert!(room.is_some(), "a guest rested");
        assert_eq!(pool.len(), 0);
    }

    #[tokio::test]
    async fn a_guest_that_comes_back_to_a_closed_seat_is_dropped() {
        let pool = pool(1);
        let guest = pool.room(1).await;
        rest(&pool, 7, guest);
        assert_eq!((pool.len(), pool.guests()), (0, 0));
    }

    #[tokio::test]
    async fn a_large_guest_takes_the_room_of_as_many_resting_ones_as_it_needs() {
        let pool = pool(4);
        for _ in 0..3 {
            let (seat, _leave) = pool.open();
            let guest = pool.room(1).await;
            rest(&pool, seat, guest);
        }
        let large = pool.room(3).now_or_never().expect("is there at once");
        assert_eq!((pool.len(), pool.guests()), (1, 2), "no more leave than must");
        let mut waits = Box::pin(pool.room(2));
        assert!(waits.as_mut().now_or_never().is_none(), "a running guest keeps its room");
        assert_eq!(pool.len(), 0);
        drop(large);
        assert!(waits.now_or_never().is_some());
    }
}
