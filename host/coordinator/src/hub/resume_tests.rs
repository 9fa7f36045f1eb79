//! The property of resume (TURN.md §4): whenever a client comes and goes, it has every durable update once.
//!
//! A small model of an instance makes attempts, updates and cuts; a client that knows only the wire's rules
//! follows it. What the store would answer is the model's list of rows.

use std::collections::BTreeMap;

use podium_wire::updates::{EventType, ItemText};
use proptest::prelude::*;

use super::*;

/// Bytes of a large update: three of them are more than a ring holds.
const LARGE: usize = 1_500_000;

/// An update's place: turn, attempt, n.
type At = (u64, u32, u64);

#[derive(Debug, Clone)]
enum Step {
    /// An update of the running attempt, which a cut makes durable or not.
    Live { durable: bool, large: bool },
    /// The turn ends.
    Cut,
    /// The attempt dies; the next one begins.
    Restart,
    /// What it has shown becomes durable before its cut.
    Keep,
    /// The attempt dies; the next one goes on where the last became durable.
    Back,
    /// The client reads what waits for it.
    Read,
    /// It goes away.
    Leave,
    /// It comes back.
    Come,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => any::<bool>().prop_map(|durable| Step::Live { durable, large: false }),
        1 => Just(Step::Live { durable: false, large: true }),
        2 => Just(Step::Cut),
        1 => Just(Step::Restart),
        1 => Just(Step::Keep),
        1 => Just(Step::Back),
        4 => Just(Step::Read),
        2 => Just(Step::Leave),
        3 => Just(Step::Come),
    ];
    prop::collection::vec(step, 0..120)
}

#[derive(Debug)]
struct NothingOpen(TurnSnapshot);

impl Snapshots for std::sync::Mutex<NothingOpen> {
    fn snapshot(&self) -> Option<TurnSnapshot> {
        Some(self.lock().expect("not poisoned").0.clone())
    }
}

/// The instance: what is committed, and the attempt that runs.
struct Instance {
    hub: Hub,
    rows: Vec<Update>,
    at: At,
    pending: Vec<Update>,
    position: Position,
    open: Arc<std::sync::Mutex<NothingOpen>>,
    /// Updates of the turn up to here are rows.
    kept_n: u64,
}

fn turn_id(turn: u64) -> String {
    format!("turn-{turn}")
}

impl Instance {
    fn new() -> Self {
        let nothing = TurnSnapshot { turn_id: turn_id(1), attempt: 1, n: 0, items: Vec::new(), asks: Vec::new() };
        let mut instance = Self {
            hub: Hub::new(InstanceId::from_uuid(uuid::Uuid::nil())),
            rows: Vec::new(),
            at: (1, 0, 0),
            pending: Vec::new(),
            position: Position::default(),
            open: Arc::new(std::sync::Mutex::new(NothingOpen(nothing))),
            kept_n: 0,
        };
        instance.begin();
        instance
    }

    /// The next attempt at the turn.
    fn begin(&mut self) {
        let (turn, attempt, _) = self.at;
        self.at = (turn, attempt + 1, 0);
        self.pending.clear();
        let snapshot =
            TurnSnapshot { turn_id: turn_id(turn), attempt: attempt + 1, n: 0, items: Vec::new(), asks: Vec::new() };
        self.open = Arc::new(std::sync::Mutex::new(NothingOpen(snapshot)));
        self.hub.begin(&turn_id(turn), attempt + 1, None, Arc::clone(&self.open) as _, false, 0);
    }

    fn snapshot(&self) -> TurnSnapshot {
        self.open.lock().expect("not poisoned").0.clone()
    }

    /// Durable updates so far become rows.
    fn keep(&mut self) {
        for mut update in self.pending.drain(..) {
            self.position.last_seq += 1;
            update.seq = Some(self.position.last_seq);
            self.rows.push(update);
        }
        let snapshot = self.snapshot();
        self.kept_n = snapshot.n;
        self.hub.kept(self.position.last_seq, snapshot);
    }

    /// The next attempt takes over the rows of the one before, and goes on behind them.
    fn back(&mut self) {
        if self.kept_n == 0 {
            return self.begin();
        }
        let (turn, attempt, _) = self.at;
        self.at = (turn, attempt + 1, self.kept_n);
        self.pending.clear();
        for row in self.rows.iter_mut().filter(|row| row.turn_id == Some(turn_id(turn))) {
            row.attempt = Some(attempt + 1);
        }
        let snapshot = TurnSnapshot {
            turn_id: turn_id(turn),
            attempt: attempt + 1,
            n: self.kept_n,
            items: Vec::new(),
            asks: Vec::new(),
        };
        self.open = Arc::new(std::sync::Mutex::new(NothingOpen(snapshot.clone())));
        self.hub.begin(&turn_id(turn), attempt + 1, None, Arc::clone(&self.open) as _, true, 0);
        self.hub.found(snapshot, 0);
    }

    fn live(&mut self, durable: bool, large: bool) {
        self.at.2 += 1;
        let (turn, attempt, n) = self.at;
        let text = if large { "x".repeat(LARGE) } else { String::new() };
        let mut update = Update::control(&UpdateBody::TextDelta(ItemText { item: "1".to_owned(), text }), 0);
        update.event_type = if durable { EventType::TextComplete } else { EventType::TextDelta };
        (update.turn_id, update.attempt, update.n) = (Some(turn_id(turn)), Some(attempt), Some(n));
        self.open.lock().expect("not poisoned").0.n = n;
        if durable {
            self.pending.push(update.clone());
        }
        self.hub.live(update);
    }

    /// Every turn's last update is a durable one, its end or its error.
    fn cut(&mut self) {
        self.live(true, false);
        let (turn, attempt, n) = self.at;
        let first_seq = self.position.last_seq + 1;
        let mut last_seq = None;
        for mut update in self.pending.drain(..) {
            self.position.last_seq += 1;
            last_seq = Some(self.position.last_seq);
            update.seq = last_seq;
            self.rows.push(update);
        }
        self.position.cut += 1;
        let made = CutMade {
            cut: self.position.cut,
            turn_id: Some(turn_id(turn)),
            attempt: Some(attempt),
            through_n: n,
            first_seq: last_seq.map(|_| first_seq),
            last_seq,
        };
        self.hub.cut(&made, Vec::new(), self.position, 0);
        self.at = (turn + 1, 0, 0);
        self.kept_n = 0;
        self.begin();
    }

    /// What a connection sends for a subscription, before its queue goes on.
    fn subscribe(&self, client: &Client, from: &Subscribe) -> Vec<Utf8Bytes> {
        let Resume { after_seq, through_seq, seen, first, then } = self.hub.subscribe(client, from, 0);
        let was_seen = |row: &&Update| {
            seen.as_ref().is_some_and(|(turn, attempt, n)| {
                row.turn_id.as_ref() == Some(turn) && row.attempt == Some(*attempt) && row.n <= Some(*n)
            })
        };
        let rows = self.rows.iter().filter(|row| row.seq > Some(after_seq) && row.seq <= Some(through_seq));
        let rows = rows.filter(|row| !was_seen(row)).cloned().map(|row| frame(&ServerFrame::Update(row)));
        first.into_iter().chain(rows).chain(then).collect()
    }
}

/// A client that knows the rules of the wire and nothing else.
#[derive(Default)]
struct Reader {
    connection: Option<Arc<Client>>,
    after_seq: u64,
    place: Option<(String, u32, u64)>,
    /// What it has been told, durable ones only, with the `seq` of those that were rows; and the place up to which a snapshot stands for them.
    told: BTreeMap<(String, u32, u64), Option<u64>>,
    snapshots: BTreeMap<(String, u32), u64>,
}

impl Reader {
    fn come(&mut self, instance: &Instance) {
        if self.connection.is_some() {
            return;
        }
        let client = instance.hub.connect().expect("there is room");
        let place = self.place.clone();
        let from = Subscribe {
            after_seq: self.after_seq,
            turn_id: place.as_ref().map(|place| place.0.clone()),
            attempt: place.as_ref().map(|place| place.1),
            n: place.as_ref().map(|place| place.2),
        };
        for text in instance.subscribe(&client, &from) {
            self.take(&text);
        }
        self.connection = Some(client);
    }

    fn leave(&mut self, instance: &Instance) {
        if let Some(client) = self.connection.take() {
            instance.hub.disconnect(&client);
        }
    }

    fn read(&mut self, instance: &Instance) {
        let Some(client) = &self.connection else { return };
        let Drained { frames, lagged_from, .. } = client.drain();
        for text in frames {
            self.take(&text);
        }
        if lagged_from.is_some() {
            self.leave(instance);
            self.come(instance);
        }
    }

    /// Attempts before this one died: what was seen of them goes, but for rows and what came before those in its attempt, which is in
    /// rows, too. The attempt that goes on has taken them over.
    fn drop_earlier(&mut self, turn: &str, attempt: u32, keep_through_seq: u64) {
        let is_earlier = |told: &(String, u32, u64)| told.0 == turn && told.1 < attempt;
        let earlier: Vec<_> = self.told.extract_if(.., |told, _| is_earlier(told)).collect();
        let is_row = |seq: &Option<u64>| seq.is_some_and(|seq| seq <= keep_through_seq);
        let last = earlier.iter().filter(|(_, seq)| is_row(seq)).map(|((_, attempt, n), _)| (*attempt, *n)).max();
        let kept = earlier.into_iter().filter(|((_, attempt, n), _)| last.is_some_and(|last| (*attempt, *n) <= last));
        self.told.extend(kept.map(|((turn, _, n), seq)| ((turn, attempt, n), seq)));
    }

    fn take(&mut self, text: &str) {
        let Ok(ServerFrame::Update(update)) = ServerFrame::read(text) else { return };
        match update.body() {
            Ok(UpdateBody::TurnRestarted(again)) => {
                self.drop_earlier(&again.turn_id, again.attempt, again.keep_through_seq);
                self.place = Some((again.turn_id, again.attempt, 0));
                return;
            }
            Ok(UpdateBody::TurnSnapshot(snapshot)) => {
                self.snapshots.insert((snapshot.turn_id.clone(), snapshot.attempt), snapshot.n);
                self.place = Some((snapshot.turn_id, snapshot.attempt, snapshot.n));
                return;
            }
            Ok(UpdateBody::Cut(cut)) => {
                let place = self.place.take().filter(|place| Some(&place.0) == cut.turn_id.as_ref());
                assert_eq!(
                    place.map_or(0, |place| place.2),
                    cut.through_n,
                    "the cut of a turn that was not seen whole"
                );
                self.after_seq = cut.last_seq.unwrap_or(self.after_seq);
                return;
            }
            _ => {}
        }
        let (Some(turn), Some(attempt), Some(n)) = (update.turn_id.clone(), update.attempt, update.n) else { return };
        if update.event_type.is_durable() {
            // A row of a later attempt says that the one before died.
            self.drop_earlier(&turn, attempt, u64::MAX);
            let before = self.told.insert((turn.clone(), attempt, n), update.seq);
            assert_eq!(before, None, "{turn} {attempt} {n} came twice");
        }
        match update.seq {
            Some(seq) => {
                assert!(seq > self.after_seq, "{seq} came after {}", self.after_seq);
                self.after_seq = seq;
            }
            None => {
                let seen = self.place.as_ref().filter(|place| (&place.0, place.1) == (&turn, attempt));
                assert_eq!(n, seen.map_or(0, |place| place.2) + 1, "a gap or a duplicate");
                self.place = Some((turn, attempt, n));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_comes_and_goes_has_every_durable_update_once(steps in steps()) {
        let mut instance = Instance::new();
        let mut reader = Reader::default();
        for step in steps {
            match step {
                Step::Live { durable, large } => instance.live(durable, large),
                Step::Cut => instance.cut(),
                // What became durable is not taken back by the host.
                Step::Restart if instance.kept_n > 0 => {}
                Step::Restart => instance.begin(),
                Step::Keep => instance.keep(),
                Step::Back => instance.back(),
                Step::Read => reader.read(&instance),
                Step::Leave => reader.leave(&instance),
                Step::Come => reader.come(&instance),
            }
        }
        reader.come(&instance);
        reader.read(&instance);
        let durable: Vec<_> = instance.rows.iter().chain(&instance.pending).collect();
        for update in &durable {
            let (turn, attempt, n) = (update.turn_id.clone().expect("a turn"), update.attempt.expect("one"), update.n.expect("one"));
            // A snapshot stands for what was completed before it; its turn's end tells those texts again.
            let stood_for = reader.snapshots.get(&(turn.clone(), attempt)).is_some_and(|upto| n <= *upto);
            prop_assert!(stood_for || reader.told.contains_key(&(turn, attempt, n)), "{:?} is missing", update.seq);
        }
        prop_assert!(reader.told.len() <= durable.len(), "something is told that never became true");
    }
}
