//! What is open in a turn, without any guest: bounds, ids, who is first, and what everybody is told.

use std::task::Context;

use futures_util::FutureExt;
use futures_util::task::noop_waker_ref;
use podium_wire::asks::QuestionOption;
use podium_wire::updates::EventType;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::TestTurn;

fn question(id: &str) -> Question {
    let option = |label: &str| QuestionOption { label: label.to_owned(), description: String::new() };
    Question {
        id: id.to_owned(),
        header: "Deploy".to_owned(),
        text: "Where to?".to_owned(),
        options: vec![option("staging"), option("production")],
        is_other: true,
        is_secret: false,
    }
}

fn command() -> PermissionAsked {
    PermissionAsked {
        kind: PermissionKind::Command,
        title: "rm -rf build".to_owned(),
        details: json!({"cwd": "/workspace"}).to_string(),
    }
}

fn by(channel: &'static str) -> GivenBy {
    GivenBy { principal: "local".to_owned(), channel }
}

fn text(text: &str) -> Given {
    Given::Answer(Answer::Text(text.to_owned()))
}

fn ask(turn: &Turn, question: Question) -> Asked<Answer> {
    turn.question(question).expect("open")
}

/// Polls a call as a lane does, which says when it releases an answer.
fn poll<T>(asked: &mut Asked<T>) -> Poll<Result<T, WireError>> {
    let answer = asked.0.answer.poll_unpin(&mut Context::from_waker(noop_waker_ref()));
    answer.map(|answer| {
        if let Some(released) = asked.0.released.take() {
            released();
        }
        answer.read()
    })
}

fn refused(result: Result<(), WireError>) -> ErrorCode {
    result.expect_err("is refused").known_code().expect("a code")
}

/// The resolutions that were shown.
fn resolutions(turn: &TestTurn) -> Vec<(String, AskOutcome, Option<Answer>)> {
    let of = |body: UpdateBody| match body {
        UpdateBody::QuestionResolved(resolved) => Some((resolved.request_id, resolved.outcome, resolved.answer)),
        UpdateBody::ApprovalResolved(resolved) => Some((resolved.request_id, resolved.outcome, None)),
        _ => None,
    };
    turn.shown().into_iter().filter_map(of).collect()
}

#[test]
fn a_question_is_shown_answered_once_and_resolved() {
    let turn = TestTurn::new();
    let mut asked = ask(&turn, question("env"));
    assert!(poll(&mut asked).is_pending());
    let open = turn.open_asks();
    assert_eq!((open[0].request_id.as_str(), open[0].again), ("1:env", false));
    assert_eq!(turn.snapshot().asks, open);
    turn.give("1:env", Given::Answer(Answer::Option("staging".to_owned())), by("ws")).expect("the first");
    assert_eq!(turn.open_asks(), [], "what is answered is not open, told or not");
    assert_eq!(refused(turn.give("1:env", text("no"), by("http"))), ErrorCode::AskResolved);
    assert_eq!(poll(&mut asked), Poll::Ready(Ok(Answer::Option("staging".to_owned()))));
    assert_eq!(refused(turn.give("1:env", text("no"), by("http"))), ErrorCode::AskResolved);
    drop(asked);
    let answer = Some(Answer::Option("staging".to_owned()));
    assert_eq!(resolutions(&turn), [("1:env".to_owned(), AskOutcome::Answered, answer)]);
    assert_eq!(turn.resolved_asks(), [("1:env".to_owned(), AskOutcome::Answered)]);
    let kinds: Vec<_> = turn.complete().updates.iter().map(|update| update.event_type).collect();
    use EventType::{QuestionRequested, QuestionResolved, StreamEnd, StreamStart};
    assert_eq!(kinds, [StreamStart, QuestionRequested, QuestionResolved, StreamEnd], "it is part of the record");
}

#[test]
fn a_permission_takes_each_decision() {
    let turn = TestTurn::new();
    for (place, decision) in
        [Decision::Accept, Decision::AcceptForSession, Decision::Decline, Decision::Cancel].into_iter().enumerate()
    {
        let mut asked = turn.permission(command()).expect("open");
        let id = format!("1#{}", place + 1);
        assert_eq!(refused(turn.give(&id, text("yes"), by("ws"))), ErrorCode::InvalidAnswer);
        turn.give(&id, Given::Decision(decision), by("ws")).expect("decided");
        assert_eq!(poll(&mut asked), Poll::Ready(Ok(decision)));
    }
    let wrong = PermissionAsked { details: "{".to_owned(), ..command() };
    let (answer, _guard) = turn.permission(wrong).expect("open");
    let error = answer.answer.now_or_never().expect("refused at once").read().expect_err("no JSON");
    assert_eq!(error.known_code(), Some(ErrorCode::InvalidJson));
}

#[test]
fn what_does_not_fit_leaves_the_question_open() {
    let turn = TestTurn::new();
    let _asked = ask(&turn, Question { is_other: false, ..question("env") });
    for given in [
        text("elsewhere"),
        Given::Answer(Answer::Option("moon".to_owned())),
        Given::Decision(Decision::Accept),
        text(&"x".repeat(ANSWER_BYTES_MAX + 1)),
    ] {
        assert_eq!(refused(turn.give("1:env", given, by("ws"))), ErrorCode::InvalidAnswer);
    }
    assert_eq!(refused(turn.give("1:other", text("x"), by("ws"))), ErrorCode::AskNotFound);
    assert_eq!(turn.open_asks().len(), 1);
    turn.give("1:env", Given::Answer(Answer::Option("production".to_owned())), by("ws")).expect("fits");
}

#[test]
fn a_question_against_the_rules_is_refused_and_not_shown() {
    let turn = TestTurn::new();
    let label = |label: &str| QuestionOption { label: label.to_owned(), description: String::new() };
    let many = (0..=ASK_OPTIONS_MAX).map(|n| label(&n.to_string())).collect();
    for wrong in [
        Question { id: "a b".to_owned(), ..question("") },
        Question { id: "x".repeat(ASK_ID_BYTES_MAX + 1), ..question("") },
        Question { header: "x".repeat(ASK_LINE_BYTES_MAX + 1), ..question("") },
        Question { header: "two\nlines".to_owned(), ..question("") },
        Question { text: " ".to_owned(), ..question("") },
        Question { text: "x".repeat(ASK_BYTES_MAX), ..question("") },
        Question { options: many, ..question("") },
        Question { options: vec![label("a"), label("a")], ..question("") },
        Question { options: vec![label("")], ..question("") },
    ] {
        let (answer, _guard) = turn.question(wrong).expect("the call itself is fine");
        let error = answer.answer.now_or_never().expect("refused at once").read().expect_err("against the rules");
        assert_eq!(error.known_code(), Some(ErrorCode::InvalidAsk), "{error}");
    }
    assert_eq!((turn.shown().len(), turn.open_asks().len()), (1, 0));
}

#[test]
fn one_more_than_the_most_is_refused_until_one_is_resolved() {
    let turn = TestTurn::new();
    let mut asked: Vec<_> = (0..OPEN_ASKS_MAX).map(|_| ask(&turn, question(""))).collect();
    let (answer, guard) = turn.question(question("")).expect("the call itself is fine");
    let error = answer.answer.now_or_never().expect("refused at once").read().expect_err("too many");
    assert_eq!(error.known_code(), Some(ErrorCode::TooManyCalls));
    drop(guard);
    assert_eq!(turn.open_asks().len(), OPEN_ASKS_MAX, "the guard of a refused one takes nothing back");
    drop(asked.pop());
    assert_eq!(resolutions(&turn)[0].1, AskOutcome::Cancelled);
    let _last = ask(&turn, question(""));
    assert_eq!(turn.open_asks().len(), OPEN_ASKS_MAX);
}

#[test]
fn a_secret_is_nowhere_but_with_the_agent() {
    let turn = TestTurn::new();
    let mut asked = ask(&turn, Question { is_secret: true, options: Vec::new(), ..question("key") });
    turn.give("1:key", text("hunter2"), by("ws")).expect("taken");
    assert_eq!(poll(&mut asked), Poll::Ready(Ok(Answer::Text("hunter2".to_owned()))));
    let output = turn.complete();
    assert!(output.updates.iter().all(|update| !update.content.get().contains("hunter2")));
    assert_eq!(resolutions(&turn), [("1:key".to_owned(), AskOutcome::Answered, None)]);
}

#[test]
fn an_answer_that_the_output_has_no_room_for_is_not_repeated() {
    let turn = TestTurn::with(|spec| spec.limits.output_bytes = 1_000);
    let mut asked = ask(&turn, question("env"));
    turn.give("1:env", text(&"x".repeat(2_000)), by("ws")).expect("taken");
    assert!(matches!(poll(&mut asked), Poll::Ready(Ok(_))));
    assert_eq!(resolutions(&turn), [("1:env".to_owned(), AskOutcome::Answered, None)]);
}

#[test]
fn what_is_open_ends_with_its_turn() {
    let interrupted = WireError::new(ErrorCode::Interrupted, "somebody ended the turn");
    let trapped = WireError::new(ErrorCode::GuestTrap, "oops");
    type End = Box<dyn Fn(&Turn)>;
    let ends: [(End, AskOutcome); 4] = [
        (Box::new(|turn| drop(turn.complete())), AskOutcome::TurnEnded),
        (Box::new(move |turn| drop(turn.fail(&interrupted))), AskOutcome::Cancelled),
        (Box::new(move |turn| drop(turn.fail(&trapped))), AskOutcome::TurnEnded),
        (Box::new(|turn| turn.set_aside(true)), AskOutcome::TurnEnded),
    ];
    for (end, outcome) in ends {
        let turn = TestTurn::new();
        let waits = ask(&turn, question("waits"));
        let answered = ask(&turn, question("answered"));
        turn.give("1:answered", text("late"), by("ws")).expect("taken");
        turn.guest_ended();
        drop((waits, answered));
        assert!(resolutions(&turn).is_empty(), "a guest that ends takes nothing back");
        end(&turn);
        let told: Vec<_> = resolutions(&turn).into_iter().map(|(id, outcome, _)| (id, outcome)).collect();
        // Who was told that the answer is taken is not told otherwise later.
        assert_eq!(told, [("1:waits".to_owned(), outcome), ("1:answered".to_owned(), AskOutcome::Answered)]);
        assert_eq!(turn.resolved_asks(), told);
        assert_eq!(refused(turn.give("1:waits", text("x"), by("ws"))), ErrorCode::AskResolved);
    }
}

#[test]
fn the_next_attempt_makes_the_same_ids_and_marks_them() {
    let ids = |attempt| {
        let turn = TestTurn::with(|spec| (spec.turn, spec.attempt) = (7, attempt));
        let asked = ["env", "", "env", "", "1"].map(|id| ask(&turn, question(id)));
        let open: Vec<_> = turn.open_asks().into_iter().map(|ask| (ask.request_id, ask.again)).collect();
        drop(asked);
        open
    };
    let first: Vec<_> = ids(1);
    let made: Vec<&str> = first.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(made, ["7:env", "7#1", "7:env#2", "7#2", "7:1"]);
    assert!(first.iter().all(|(_, again)| !again));
    let again: Vec<_> = first.into_iter().map(|(id, _)| (id, true)).collect();
    assert_eq!(ids(2), again);
}

proptest! {
    /// Whatever people send in whatever order: one resolution a request, by the first answer that fits.
    #[test]
    fn each_request_is_resolved_once_by_the_first_that_fits(
        sent in prop::collection::vec((0usize..4, 0usize..3, any::<bool>()), 0..40),
    ) {
        let turn = TestTurn::new();
        let mut asked: Vec<_> = (0..4).map(|n| ask(&turn, Question { is_other: false, ..question(&format!("q{n}")) })).collect();
        let mut first: [Option<Answer>; 4] = Default::default();
        for (which, label, polled) in sent {
            let answer = Answer::Option(["staging", "production", "moon"][label].to_owned());
            let given = turn.give(&format!("1:q{which}"), Given::Answer(answer.clone()), by("ws"));
            let fits = label < 2;
            match &first[which] {
                Some(_) => prop_assert_eq!(refused(given), ErrorCode::AskResolved),
                None if fits => {
                    prop_assert!(given.is_ok());
                    first[which] = Some(answer);
                }
                None => prop_assert_eq!(refused(given), ErrorCode::InvalidAnswer),
            }
            if polled {
                // Polled after it was ready it would panic, so an answered one is polled once.
                if let Some(answer) = &first[which] {
                    if !turn.resolved_asks().iter().any(|(id, _)| *id == format!("1:q{which}")) {
                        prop_assert_eq!(poll(&mut asked[which]), Poll::Ready(Ok(answer.clone())));
                    }
                } else {
                    prop_assert!(poll(&mut asked[which]).is_pending());
                }
            }
        }
        drop(turn.complete());
        let told = resolutions(&turn);
        prop_assert_eq!(told.len(), 4);
        for (n, answer) in first.into_iter().enumerate() {
            let of: Vec<_> = told.iter().filter(|(id, ..)| *id == format!("1:q{n}")).collect();
            prop_assert_eq!(of.len(), 1);
            prop_assert_eq!(&of[0].2, &answer);
        }
    }
}
