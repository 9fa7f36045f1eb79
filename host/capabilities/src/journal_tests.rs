//! The journal without a guest: what is recorded comes again in its order, and the first difference is named.

use podium_wire::updates::ItemText;
use proptest::prelude::*;

use super::*;
use crate::effect::EffectKind;
use crate::testing::TestTurn;
use crate::updates::Element;

/// What a guest does, or is given.
#[derive(Debug, Clone, PartialEq)]
enum Did {
    Say(u8),
    Call(u8),
    Given(u64),
    Event { n: u64, yields: u32, forced: bool, failed: bool },
    Steer(u8),
    Write,
}

fn steps() -> impl Strategy<Value = Vec<Did>> {
    let step = prop_oneof![
        6 => any::<u8>().prop_map(Did::Say),
        3 => any::<u8>().prop_map(Did::Call),
        1 => (1..20_u64).prop_map(Did::Given),
        3 => (1..20_u64, 0..500_u32, any::<bool>(), any::<bool>())
            .prop_map(|(n, yields, forced, failed)| Did::Event { n, yields: yields + 1, forced, failed }),
        1 => any::<u8>().prop_map(Did::Steer),
        1 => Just(Did::Write),
    ];
    prop::collection::vec(step, 0..80)
}

const KIND: EffectKind = EffectKind::read("test");

fn event(did: &Did) -> Option<(Event, (Of, Recorded))> {
    let (yields, forced, of, recorded) = match did {
        Did::Event { n, yields, forced, failed } => {
            let failed = failed.then(|| WireError::new(ErrorCode::TooManyCalls, "no"));
            let recorded = failed.clone().map_or(Recorded::Again, Recorded::Failed);
            (*yields, *forced, Of::Answer { n: *n, failed }, recorded)
        }
        Did::Steer(id) => (0, false, Of::Steer(id.to_string()), Recorded::Again),
        Did::Say(_) | Did::Call(_) | Did::Given(_) | Did::Write => return None,
    };
    Some((Event { at_ns: 7, yields, forced, of: of.clone() }, (of, recorded)))
}

fn say(turn: &TestTurn, what: u8) -> Result<(), CallError> {
    turn.emit(Element::TextFinal(ItemText { item: what.to_string(), text: what.to_string() }))
}

/// Records what a guest did; answers the records, and what of it they reach.
fn record(steps: &[Did]) -> Vec<JournalRow> {
    let turn = TestTurn::with(|spec| spec.journal = JournalStart::New);
    let mut rows = Vec::new();
    for did in steps {
        match did {
            Did::Say(what) => say(&turn, *what).expect("shown"),
            Did::Call(what) => drop(turn.call(KIND, what).expect("made")),
            Did::Given(n) => turn.journal().give(*n, "ask", vec![7; 9]),
            Did::Write => rows.extend(turn.take_undurable().into_iter().flat_map(|taken| taken.rows)),
            did => {
                let (event, of) = event(did).expect("an event");
                turn.journal().event(event.at_ns, event.yields, event.forced, of);
            }
        }
    }
    rows.extend(turn.take_undurable().into_iter().flat_map(|taken| taken.rows));
    rows
}

fn again(rows: Vec<JournalRow>) -> TestTurn {
    TestTurn::with(|spec| spec.journal = JournalStart::Again(Again { rows, kept_n: 0, tells: false }))
}

/// Does the same again until the journal is used up; answers how many steps that took.
fn replay(turn: &TestTurn, steps: &[Did]) -> Result<usize, CallError> {
    for (place, did) in steps.iter().enumerate() {
        if !turn.journal().is_behind() {
            return Ok(place);
        }
        match did {
            Did::Say(what) => say(turn, *what)?,
            Did::Call(what) => drop(turn.call(KIND, what)?),
            Did::Given(_) | Did::Write => {}
            did => {
                let (event, _) = event(did).expect("an event");
                let next = turn.journal().next_event();
                if next.as_ref() != Some(&event) {
                    turn.journal().differ(&format!("{next:?}"));
                    return Err(CallError::Diverged);
                }
                turn.journal().event_passed();
            }
        }
    }
    Ok(steps.len())
}

proptest! {
    /// Whatever was recorded, cut anywhere: the same steps reach its end without a difference.
    #[test]
    fn what_was_recorded_comes_again(steps in steps(), cut in 0..100_usize) {
        let mut rows = record(&steps);
        prop_assert!(rows.iter().zip(1..).all(|(row, place)| row.place == place));
        rows.truncate(cut);
        let turn = again(rows);
        replay(&turn, &steps).expect("is the same");
        prop_assert!(!turn.journal().is_behind(), "{:?}", turn.journal().stops_short());
        prop_assert_eq!(turn.journal().diverged(), None);
    }

    /// One step that is another one, or is missing, is found; a given answer and a write are no steps of a guest.
    #[test]
    fn one_other_step_is_found(steps in steps(), at in any::<prop::sample::Index>(), other in any::<u8>()) {
        prop_assume!(!steps.is_empty());
        let at = at.index(steps.len());
        let mut changed = steps.clone();
        match &mut changed[at] {
            Did::Say(what) | Did::Call(what) => *what = what.wrapping_add(other.max(1)),
            Did::Steer(id) => *id = id.wrapping_add(1),
            Did::Event { n, .. } => *n += 1,
            Did::Given(_) | Did::Write => return Ok(()),
        }
        let turn = again(record(&steps));
        let ended = replay(&turn, &changed);
        prop_assert!(ended.is_err(), "{ended:?}");
        let error = turn.journal().diverged().expect("says where");
        prop_assert_eq!(error.known_code(), Some(ErrorCode::ReplayDiverged));
        let ended = replay(&again(record(&steps)), &[&steps[..at], &steps[at + 1..]].concat());
        let same = steps[at..].windows(2).all(|pair| pair[0] == pair[1]);
        prop_assert!(ended.is_err() || same || turn_is_short(&steps, at), "{ended:?}");
    }
}

/// True when what is missing shows only in that the guest stops short.
fn turn_is_short(steps: &[Did], at: usize) -> bool {
    let turn = again(record(steps));
    drop(replay(&turn, &[&steps[..at], &steps[at + 1..]].concat()));
    turn.journal().is_behind()
}

#[test]
fn the_first_call_that_differs_is_named() {
    let rows = record(&[Did::Say(1), Did::Call(2), Did::Say(3)]);
    let said = |steps: &[Did]| {
        let turn = again(rows.clone());
        assert_eq!(replay(&turn, steps), Err(CallError::Diverged));
        assert_eq!(say(&turn, 1), Err(CallError::Diverged), "nothing is done any more");
        turn.journal().diverged().expect("says where").message
    };
    assert!(said(&[Did::Say(9)]).contains("`text.complete` is another one than was made in its place"));
    assert!(said(&[Did::Call(2)]).contains("`test` is made where another one was made"));
    assert!(said(&[Did::Say(1), Did::Say(3)]).contains("`text.complete` is made where call 1 was `test`"));
    assert!(said(&[Did::Say(1), Did::Call(7)]).contains("call 1, `test`, asks for something else"));
    let turn = again(rows.clone());
    assert_eq!(replay(&turn, &[Did::Say(1)]), Ok(1));
    assert!(turn.journal().stops_short().message.contains("call 1, `test`, was not made again"));
}

#[test]
fn a_difference_past_the_calls_that_are_named_is_found_too() {
    let many: Vec<Did> = (0..2_000_u32).map(|n| Did::Say(u8::try_from(n % 250).expect("small"))).collect();
    let rows = record(&many);
    assert!(rows[0].calls.len() < 5_000, "what is kept of calls is bounded");
    assert_eq!(replay(&again(rows.clone()), &many), Ok(2_000));
    let mut other = many;
    other[1_999] = Did::Say(251);
    assert_eq!(replay(&again(rows), &other), Err(CallError::Diverged));
}

#[test]
fn what_is_written_ends_where_the_guest_is() {
    let turn = TestTurn::with(|spec| spec.journal = JournalStart::New);
    say(&turn, 1).expect("shown");
    let taken = turn.take_undurable().expect("something");
    assert_eq!((taken.rows.len(), taken.updates.len(), taken.snapshot.n), (1, 2, 2));
    assert!(turn.take_undurable().is_none());
    // What could not be written comes first the next time.
    say(&turn, 2).expect("shown");
    turn.put_back(taken.rows, taken.updates);
    let taken = turn.take_undurable().expect("both");
    assert_eq!(taken.rows.iter().map(|row| row.place).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(taken.updates.iter().map(|update| update.n).collect::<Vec<_>>(), [1, 2, 3]);
    turn.complete();
    assert!(turn.take_undurable().is_none());
}

#[test]
fn nothing_is_shown_twice_and_what_was_lost_is_shown_again() {
    let steps = [Did::Say(1), Did::Call(2), Did::Say(3), Did::Say(4)];
    let rows = record(&steps);
    // `stream_start` and the first text were durable: n 1 and 2.
    let turn = TestTurn::with(|spec| spec.journal = JournalStart::Again(Again { rows, kept_n: 2, tells: true }));
    assert_eq!(replay(&turn, &steps), Ok(4));
    assert_eq!((turn.shown().len(), turn.snapshots().len()), (2, 1));
    assert_eq!(turn.snapshots()[0].n, 2);
    turn.goes_on();
    assert_eq!(turn.snapshots().len(), 1, "it is told once");
    let output = turn.complete();
    assert_eq!(output.updates.iter().map(|update| update.n).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(output.texts, ["1", "3", "4"], "the turn has all of it");
}

#[test]
fn a_turn_that_fails_on_its_way_back_goes_on_behind_what_was_shown() {
    let rows = record(&[Did::Say(1), Did::Say(2), Did::Say(3)]);
    let turn = TestTurn::with(|spec| spec.journal = JournalStart::Again(Again { rows, kept_n: 4, tells: true }));
    say(&turn, 1).expect("the same");
    let output = turn.fail(&WireError::new(ErrorCode::Interrupted, "enough"));
    assert_eq!(output.updates.iter().map(|update| update.n).collect::<Vec<_>>(), [5]);
}

#[test]
fn a_journal_is_bounded_and_a_damaged_one_is_told() {
    let turn = TestTurn::with(|spec| spec.journal = JournalStart::New);
    for n in 0..=JOURNAL_BYTES_MAX / ROW_BYTES {
        turn.journal().event(n as u64, 0, false, (Of::Steer(String::new()), Recorded::Again));
    }
    assert!(!turn.journal().is_kept() && turn.take_undurable().is_none());
    let rows = record(&[Did::Say(1), Did::Call(2), Did::Say(3)]);
    for damage in [
        |row: &mut JournalRow| row.calls.truncate(3),
        |row: &mut JournalRow| row.what = "else".to_owned(),
        |row: &mut JournalRow| row.calls[0] ^= 1,
    ] {
        let mut damaged = rows.clone();
        damage(&mut damaged[0]);
        let turn = again(damaged);
        assert!(turn.journal().is_behind());
        let ended = replay(&turn, &[Did::Say(1), Did::Call(2), Did::Say(3)]);
        assert_eq!(ended, Err(CallError::Diverged));
    }
}

#[test]
fn a_secret_ends_the_journal_before_it() {
    let turn = TestTurn::with(|spec| spec.journal = JournalStart::New);
    drop(turn.call(KIND, &1).expect("made"));
    let before = turn.take_undurable().expect("the call").rows;
    turn.journal().event(7, 0, false, (Of::Answer { n: 1, failed: None }, Recorded::Secret));
    say(&turn, 1).expect("shown");
    assert!(!turn.journal().is_kept() && turn.take_undurable().is_none());
    assert_eq!(before.len(), 1);
}

#[test]
fn an_effect_that_may_have_been_done_is_not_done_again() {
    const ONCE: EffectKind = EffectKind { name: "once", idempotent: false, urgent: false };
    let turn = TestTurn::with(|spec| spec.journal = JournalStart::New);
    let call = |turn: &TestTurn| {
        let call = turn.call(ONCE, &"pay").expect("made");
        let key = call.idempotency_key();
        (key, call.waits_for(std::future::pending::<Result<(), WireError>>(), |_| Recorded::Again, Err))
    };
    let (key, first) = call(&turn);
    assert!(turn.journal().is_urgent(), "its intent is durable before it leaves");
    assert_eq!(first.unknown(), None);
    let rows = turn.take_undurable().expect("the intent").rows;
    assert!(!turn.journal().is_urgent() && !rows[0].idempotent);
    let (same, lost) = call(&again(rows.clone()));
    assert_eq!((same.len(), &same), (64, &key), "whoever it reaches can tell a repetition");
    assert_eq!(lost.unknown().and_then(|error| error.known_code()), Some(ErrorCode::OutcomeUnknown));
    // One whose answer is durable is answered, and one that may be repeated is repeated.
    let given = JournalRow { place: 2, what: GIVEN.to_owned(), answer: Some(Vec::new()), ..rows[0].clone() };
    let calls = JournalRow { calls: Vec::new(), ..given };
    assert_eq!(call(&again(vec![rows[0].clone(), calls])).1.unknown(), None);
    let turn = again(record(&[Did::Call(1)]));
    let read = turn.call(KIND, &1_u8).expect("the same");
    assert!(read.is_again());
    assert_eq!(read.waits_for(std::future::ready(Ok::<(), WireError>(())), |_| Recorded::Again, Err).unknown(), None);
    assert_ne!(turn.call(KIND, &1_u8).expect("new").idempotency_key(), key);
}
