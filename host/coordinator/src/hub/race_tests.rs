//! What happens to a hub at the same time: an agent writes while a client comes, the owner leaves while one connects.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{OnceLock, Weak};

use podium_wire::updates::{EventType, ItemText};

use super::ring::RING_BYTES_MAX;
use super::*;

const TURN: &str = "turn-1";

/// Pieces of text that fill a ring.
const PIECES: usize = 8;

/// An agent that writes pieces of text, also while its snapshot is made, as often as it is told to.
#[derive(Debug, Default)]
struct Talker {
    hub: OnceLock<Weak<Hub>>,
    n: Mutex<u64>,
    talks: AtomicU32,
}

impl Talker {
    /// An agent whose turn has begun.
    fn begin(talks: u32) -> (Arc<Hub>, Arc<Self>) {
        let hub = Arc::new(Hub::new(InstanceId::from_uuid(uuid::Uuid::nil())));
        let talker = Arc::new(Self { talks: AtomicU32::new(talks), ..Self::default() });
        talker.hub.set(Arc::downgrade(&hub)).expect("it is set once");
        hub.begin(TURN, 1, None, Arc::clone(&talker) as _, false, 0);
        (hub, talker)
    }

    fn n(&self) -> u64 {
        *self.n.lock().expect("not poisoned")
    }

    /// Writes a ring full and one piece more.
    fn write(&self) {
        let hub = self.hub.get().and_then(Weak::upgrade).expect("there is a hub");
        for _ in 0..=PIECES {
            let mut n = self.n.lock().expect("not poisoned");
            *n += 1;
            let text = "x".repeat(RING_BYTES_MAX / PIECES);
            let mut update = Update::control(&UpdateBody::TextDelta(ItemText { item: "1".to_owned(), text }), 0);
            update.event_type = EventType::TextDelta;
            (update.turn_id, update.attempt, update.n) = (Some(TURN.to_owned()), Some(1), Some(*n));
            hub.live(update);
        }
    }
}

impl Snapshots for Talker {
    fn snapshot(&self) -> Option<TurnSnapshot> {
        let n = self.n();
        let goes_on = |left: u32| left.checked_sub(1);
        if self.talks.fetch_update(Ordering::AcqRel, Ordering::Acquire, goes_on).is_ok() {
            self.write();
        }
        Some(TurnSnapshot { turn_id: TURN.to_owned(), attempt: 1, n, items: Vec::new(), asks: Vec::new() })
    }
}

fn after(n: u64) -> Subscribe {
    Subscribe { after_seq: 0, turn_id: Some(TURN.to_owned()), attempt: Some(1), n: Some(n) }
}

/// Takes frames in order; fails at a gap or a duplicate, and answers up to where they lead.
#[track_caller]
fn followed(mut n: u64, frames: &[Utf8Bytes]) -> u64 {
    for text in frames {
        let Ok(ServerFrame::Update(update)) = ServerFrame::read(text) else { continue };
        if let Ok(UpdateBody::TurnSnapshot(snapshot)) = update.body() {
            assert!(snapshot.n >= n, "a snapshot leads back");
            n = snapshot.n;
        } else if let Some(next) = update.n {
            assert_eq!(next, n + 1, "a gap or a duplicate");
            n = next;
        }
    }
    n
}

#[test]
fn what_an_agent_writes_while_its_snapshot_is_made_is_told() {
    for talks in 0..SNAPSHOT_TRIES {
        let (hub, talker) = Talker::begin(talks);
        talker.write();
        let client = hub.connect().expect("there is room");
        let resume = hub.subscribe(&client, &after(0), 0);
        assert_eq!(followed(0, &resume.then), talker.n(), "after {talks} rings more");
        assert_eq!(client.drain().lagged_from, None);
    }
}

#[test]
fn a_client_that_cannot_catch_up_is_told_so() {
    let (hub, talker) = Talker::begin(u32::MAX);
    talker.write();
    let client = hub.connect().expect("there is room");
    let resume = hub.subscribe(&client, &after(0), 0);
    assert_eq!(followed(0, &resume.then), 0, "a part of it");
    assert_eq!(client.drain().lagged_from, Some(0));
    talker.talks.store(0, Ordering::Release);
    let resume = hub.subscribe(&client, &after(0), 0);
    assert_eq!(followed(0, &resume.then), talker.n());
}

#[test]
fn a_client_comes_whole_to_an_agent_that_never_stops_writing() {
    let (hub, talker) = Talker::begin(0);
    talker.write();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(Ordering::Acquire) {
                talker.write();
            }
        });
        for _ in 0..50 {
            let client = hub.connect().expect("there is room");
            // Where the ring begins, or a little before or behind it.
            let seen = talker.n().saturating_sub(PIECES as u64 - 1);
            let resume = hub.subscribe(&client, &after(seen), 0);
            let told = followed(seen, &resume.then);
            let Drained { frames, lagged_from, .. } = client.drain();
            // Where it is told of a gap, one may follow.
            if lagged_from.is_none() {
                followed(told, &frames);
            }
            hub.disconnect(&client);
        }
        done.store(true, Ordering::Release);
    });
}

#[test]
fn a_hub_takes_nobody_once_it_was_left_and_is_left_only_by_all() {
    let hub = Hub::new(InstanceId::from_uuid(uuid::Uuid::nil()));
    let client = hub.connect().expect("there is room");
    assert!(!hub.retire(), "somebody is there");
    let other = hub.connect().expect("nothing has changed");
    hub.disconnect(&client);
    assert!(!hub.retire(), "somebody is there");
    hub.disconnect(&other);
    assert!(hub.retire());
    assert_eq!(hub.connect().err(), Some(NoPlace::Closed));
}

#[test]
fn a_closed_hub_keeps_nothing_of_the_turn_that_ran() {
    let (hub, talker) = Talker::begin(0);
    let kept = Arc::downgrade(&talker);
    drop(talker);
    assert!(kept.upgrade().is_some(), "while it runs");
    hub.close(CloseCode::Moved);
    assert!(kept.upgrade().is_none());
}
