//! Turns that are run again by their journals: two thousand pairs of a turn that races questions, timers and words, a crash at
//! every record, and the same with a journal that is out of order.
//!
//! `PODIUM_DURABLE_PAIRS` sets another number of pairs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};

use podium_capabilities::Again;
use podium_capabilities::ask::{Given, GivenBy};
use podium_runtime::Steers;
use podium_store::JournalRow;
use podium_wire::asks::Answer;
use podium_wire::updates::UpdateBody;

use super::*;

/// Pairs unless told otherwise.
const PAIRS: u64 = 2_000;
/// When the turns begin, more or less: a turn that is run again begins when it did, and waits no longer than it may.
static START: std::sync::OnceLock<u64> = std::sync::OnceLock::new();

/// Turns that run at once.
const AT_ONCE: u64 = 32;

/// Moments that nobody chose, from a seed.
struct Moments(u64);

impl Moments {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_micros(self.next() % 3_000)).await;
    }
}

/// What a turn left.
struct Played {
    end: TurnEnd,
    /// Its journal, as far as it was written and then to its end.
    rows: Vec<JournalRow>,
    /// Everything it showed: place, kind and content.
    shown: Vec<(Option<u64>, String, String)>,
    state: serde_json::Value,
    /// Steers that it was given or that wait, in order.
    said: Vec<String>,
}

fn word(id: &str) -> Message {
    let Call::Message(message) = message(id) else { unreachable!("is a message") };
    Message { id: id.to_owned(), ..message }
}

/// Plays people: answers what is asked at some moment, and says a word now and then, until it is dropped.
async fn people(turn: Turn, steers: Steers, said: &Mutex<Vec<String>>, mut moments: Moments) {
    let mut words = moments.next() % 4;
    let mut answered = HashSet::new();
    loop {
        moments.pause().await;
        if turn.journal().is_again() {
            continue;
        }
        let open: Vec<_> =
            turn.open_asks().into_iter().map(|ask| ask.request_id).filter(|id| !answered.contains(id)).collect();
        if !open.is_empty() {
            let picked = moments.next() as usize % open.len();
            let label = if moments.next().is_multiple_of(2) { "left" } else { "right" };
            let by = GivenBy { principal: "local".to_owned(), channel: "ws" };
            // The agent may have taken it back meanwhile.
            drop(turn.give(&open[picked], Given::Answer(Answer::Option(label.to_owned())), by));
            answered.insert(open[picked].clone());
        } else if words > 0 {
            words -= 1;
            let mut said = said.lock().expect("not poisoned");
            let id = format!("s-{}", said.len());
            steers.push(word(&id));
            said.push(id);
        }
    }
}

/// Runs a turn, from the beginning or by a journal.
async fn play(house: &House, text: &str, seed: u64, again: Option<(Vec<JournalRow>, Vec<String>)>) -> Played {
    let workspace = Workspaces::new(Clock::system(), 100);
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("makes");
    let (rows, said) = again.clone().unwrap_or_default();
    let (turn, kept) = house.turn(|spec| {
        spec.seed = [seed as u8; 32];
        spec.now_ms = *START.get_or_init(|| Clock::system().now_ms()) - 10_000 + seed;
        spec.workspace = workspace.closed(Place::new(folder.path()), Named::default());
        spec.journal = match again {
            None => JournalStart::New,
            Some(_) => JournalStart::Again(Again { rows: rows.clone(), kept_n: 0, tells: false }),
        };
    });
    let steers = Steers::default();
    for id in &said {
        steers.push(word(id));
    }
    let said = Mutex::new(said);
    let (_handle, stop) = stop_pair();
    let run = house.runtime.run_steered(&house.agent, turn.clone(), message(text), stop, Some(steers.clone()));
    let end = tokio::select! {
        end = run => end,
        () = people(turn.clone(), steers.clone(), &said, Moments::new(seed ^ 0x5eed ^ (rows.len() as u64) << 20)) => unreachable!("people stay"),
    };
    let mut rows = rows;
    rows.extend(kept.rows.lock().expect("not poisoned").drain(..));
    rows.extend(turn.take_undurable().into_iter().flat_map(|taken| taken.rows));
    let output = if end == TurnEnd::Completed { Some(turn.complete()) } else { None };
    let updates = kept.updates.lock().expect("not poisoned");
    let shown = |update: &Update| (update.n, update.event_type.name().to_owned(), update.content.get().to_owned());
    let said = said.into_inner().expect("not poisoned");
    let state = output.map_or_else(|| json!(null), |output| (*output.state).clone());
    Played { end, rows, shown: updates.iter().map(shown).collect(), state, said }
}

fn events(rows: &[JournalRow]) -> usize {
    rows.iter().filter(|row| row.what == "answer" || row.what == "steer").count()
}

async fn at_once<T>(count: u64, one: impl AsyncFn(u64) -> T) -> Vec<T> {
    let mut all = Vec::new();
    for first in (0..count).step_by(AT_ONCE as usize) {
        all.extend(futures_util::future::join_all((first..count.min(first + AT_ONCE)).map(|number| one(number))).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_that_is_run_again_does_the_same() {
    let pairs = std::env::var("PODIUM_DURABLE_PAIRS").ok().and_then(|pairs| pairs.parse().ok()).unwrap_or(PAIRS);
    let house = House::with("juggler").await;
    let (all_events, all_calls) = (AtomicU64::new(0), AtomicU64::new(0));
    let differ = at_once(pairs, async |seed| {
        let text = if seed.is_multiple_of(10) { "yields 900" } else { "juggle 3" };
        let first = play(&house, text, seed, None).await;
        assert_eq!(first.end, TurnEnd::Completed, "seed {seed}");
        all_events.fetch_add(events(&first.rows) as u64, Ordering::Relaxed);
        all_calls.fetch_add(first.rows.iter().filter(|row| row.what == "call").count() as u64, Ordering::Relaxed);
        let again = play(&house, text, seed, Some((first.rows.clone(), first.said.clone()))).await;
        assert!(!matches!(&again.end, TurnEnd::Failed(_)), "seed {seed}: {:?}", again.end);
        let same = again.end == TurnEnd::Completed && (&again.shown, &again.state) == (&first.shown, &first.state);
        if !same {
            eprintln!("seed {seed}: {:?}", again.end);
        }
        u64::from(!same || again.rows.len() != first.rows.len())
    })
    .await;
    let (events, calls) = (all_events.into_inner(), all_calls.into_inner());
    let diverged: u64 = differ.iter().sum();
    println!("{pairs} pairs, {events} events, {calls} calls that wait: {diverged} diverged");
    assert!(events > 5 * pairs, "the turns were none");
    assert_eq!(diverged, 0);
}

/// The control: the same turns by a journal in which two answers have changed places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_is_out_of_order_leads_elsewhere() {
    let house = House::with("juggler").await;
    let ends = at_once(100, async |seed| {
        let first = play(&house, "juggle 3", seed, None).await;
        let mut rows = first.rows;
        let answers: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].what == "answer").collect();
        let (one, other) =
            (answers[seed as usize % (answers.len() - 1)], answers[seed as usize % (answers.len() - 1) + 1]);
        let (n, at_ns) = ((rows[one].n, rows[other].n), (rows[one].at_ns, rows[other].at_ns));
        (rows[one].n, rows[one].at_ns) = (n.1, at_ns.1);
        (rows[other].n, rows[other].at_ns) = (n.0, at_ns.0);
        play(&house, "juggle 3", seed, Some((rows, first.said))).await.end
    })
    .await;
    let diverged = ends.iter().filter(|end| matches!(end, TurnEnd::Diverged(_))).count();
    println!("{diverged} of {} diverged with two answers exchanged", ends.len());
    assert!(diverged * 100 >= ends.len() * 95, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_every_record_goes_on_to_the_end() {
    let house = House::with("juggler").await;
    let crashes = at_once(24, async |seed| {
        let first = play(&house, "juggle 2", seed, None).await;
        for cut in 1..first.rows.len() {
            let rows = first.rows[..cut].to_vec();
            let given = rows.iter().filter(|row| row.what == "steer").count();
            let again = play(&house, "juggle 2", seed, Some((rows, first.said[..given].to_vec()))).await;
            assert_eq!(again.end, TurnEnd::Completed, "seed {seed}, {cut} of {} records", first.rows.len());
            let places: Vec<u64> = again.rows.iter().map(|row| row.place).collect();
            assert_eq!(places, (1..=again.rows.len() as u64).collect::<Vec<_>>());
            let texts = again.shown.iter().filter(|(_, kind, _)| kind == "text.complete").count();
            assert!(texts >= 2, "both rounds ended");
        }
        first.rows.len() - 1
    })
    .await;
    println!("{} crashes, 0 failures", crashes.iter().sum::<usize>());
}

#[tokio::test]
async fn a_turn_that_waits_is_dropped_and_brought_back() {
    let house = House::idle_after("probe", Duration::from_millis(50)).await;
    let (turn, kept) = house.turn(|spec| spec.journal = JournalStart::New);
    let (_handle, stop) = stop_pair();
    let end = house.runtime.run(&house.agent, turn.clone(), message("ask where"), stop).await;
    assert_eq!(end, TurnEnd::Suspended { due_ns: None });
    assert_eq!(house.runtime.guests(), 0);
    assert_eq!(turn.open_asks().len(), 1, "what it asked stays open");
    let shown = kept.updates.lock().expect("not poisoned").len() as u64;
    let by = GivenBy { principal: "local".to_owned(), channel: "ws" };
    turn.give("1:where", Given::Answer(Answer::Option("staging".to_owned())), by).expect("fits");
    turn.write_journal().await.expect("written");
    let rows = kept.rows.lock().expect("not poisoned").clone();
    let started = turn.spec().now_ms;
    let (turn, kept) = house.turn(|spec| {
        spec.now_ms = started;
        spec.journal = JournalStart::Again(Again { rows, kept_n: shown, tells: false });
    });
    let (_handle, stop) = stop_pair();
    let end = house.runtime.run(&house.agent, turn.clone(), message("ask where"), stop).await;
    assert_eq!(end, TurnEnd::Completed);
    assert_eq!(turn.complete().text, "option staging");
    let updates = kept.updates.lock().expect("not poisoned");
    assert_eq!(updates.first().and_then(|update| update.n), Some(shown + 1), "nothing is shown twice");
    assert!(matches!(updates[0].body(), Ok(UpdateBody::QuestionResolved(_))), "{updates:?}");
}

#[tokio::test]
async fn a_turn_that_waits_for_a_timer_says_when_it_fires() {
    let house = House::idle_after("probe", Duration::from_millis(50)).await;
    let (turn, _kept) = house.turn(|spec| spec.journal = JournalStart::New);
    let (_handle, stop) = stop_pair();
    let end = house.runtime.run(&house.agent, turn.clone(), message("sleep 60000"), stop).await;
    let TurnEnd::Suspended { due_ns: Some(due_ns) } = end else { panic!("{end:?}") };
    let begun = turn.spec().now_ms * 1_000_000;
    assert!((begun + 60_000_000_000..begun + 61_000_000_000).contains(&due_ns), "{begun} {due_ns}");
}

#[tokio::test]
async fn an_agent_that_goes_another_way_does_not_go_on() {
    let house = House::with("probe").await;
    let (turn, kept) = house.turn(|spec| spec.journal = JournalStart::New);
    let (_handle, stop) = stop_pair();
    assert_eq!(house.runtime.run(&house.agent, turn.clone(), message("history 2"), stop).await, TurnEnd::Completed);
    let mut rows = kept.rows.lock().expect("not poisoned").clone();
    rows.extend(turn.take_undurable().into_iter().flat_map(|taken| taken.rows));
    // Another message is another way; so is one that ends at once.
    for (text, named) in [("history 3", "asks for something else"), ("echo no", "`text.complete`")] {
        let (turn, _kept) = house.turn(|spec| {
            spec.journal = JournalStart::Again(Again { rows: rows.clone(), kept_n: 0, tells: false });
        });
        let (_handle, stop) = stop_pair();
        let end = house.runtime.run(&house.agent, turn, message(text), stop).await;
        let TurnEnd::Diverged(error) = end else { panic!("{end:?}") };
        assert_eq!(error.known_code(), Some(ErrorCode::ReplayDiverged));
        assert!(error.message.contains(named), "{}", error.message);
    }
}
