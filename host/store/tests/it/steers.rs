//! Steers: bound to a turn, found again by sender and id, consumed by the cut of that turn and by no other.

use podium_store::{AcceptError, CutKind, CutRequest, NewSteer};

use crate::common::*;

fn steer(id: &str, text: &str, turn: Option<u64>) -> NewSteer {
    let body = format!("{text:?}");
    NewSteer { sender: "local".into(), id: id.into(), body: body.clone(), hashed: body, at: 2_500, turn }
}

#[tokio::test]
async fn a_steer_waits_for_its_turn_s_cut_whatever_happens_before() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m1", "1", Some(start(1, 1)))).await.expect("accepted");
    instance.accept(row("m2", "2", None)).await.expect("accepted");
    for (id, seq) in [("s1", 3), ("s2", 4)] {
        let accepted = instance.accept_steer(steer(id, "shorter", Some(1))).await.expect("accepted").expect("new");
        assert_eq!((accepted.inbox_seq, accepted.duplicate), (seq, false));
    }
    // It is no row of the queue, and no message.
    let queue = instance.recover().await.expect("recovers").unfinished;
    assert_eq!(queue.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["m1", "m2"]);
    assert_eq!(instance.find("s1").await.expect("looks"), []);
    // A cut outside the turn, another attempt, a stop of the host: it is still there, in its order.
    let external = CutRequest { kind: CutKind::External, ..request(1, None, None) };
    instance.cut(external).await.expect("cut");
    store.close().await;
    let store = open(folder.path());
    let instance = store.instance(instance.id());
    let ids = |rows: Vec<podium_store::SteerRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(instance.steers(1).await.expect("reads")), ["s1", "s2"]);
    assert_eq!(ids(instance.steers(2).await.expect("reads")), Vec::<String>::new());

    instance.cut(request(2, Some(1), Some(1))).await.expect("cut");
    assert_eq!(ids(instance.steers(1).await.expect("reads")), Vec::<String>::new());
    let queue = instance.recover().await.expect("recovers").unfinished;
    assert_eq!(queue.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["m2"]);
    // The numbers go on behind the steers.
    assert_eq!(instance.accept(row("m3", "3", None)).await.expect("accepted").inbox_seq, 5);
}

#[tokio::test]
async fn the_same_steer_is_taken_once_and_another_under_its_id_never() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    assert_eq!(instance.accept_steer(steer("s1", "a", None)).await.expect("looks"), None);
    instance.accept(row("m1", "1", Some(start(1, 1)))).await.expect("accepted");
    instance.accept_steer(steer("s1", "a", Some(1))).await.expect("accepted").expect("new");
    instance.cut(request(1, Some(1), Some(1))).await.expect("cut");
    // Known for ever, with a turn or without one.
    for turn in [None, Some(2)] {
        let again = instance.accept_steer(steer("s1", "a", turn)).await.expect("accepted").expect("known");
        assert_eq!((again.inbox_seq, again.duplicate), (2, true));
        let other = instance.accept_steer(steer("s1", "b", turn)).await;
        assert!(matches!(other, Err(AcceptError::Conflict(2))), "{other:?}");
    }
    // A message is no repetition of a steer, nor the other way round.
    assert!(matches!(instance.accept(row("s1", "\"a\"", None)).await, Err(AcceptError::Conflict(2))));
    assert!(matches!(instance.accept_steer(steer("m1", "1", Some(2))).await, Err(AcceptError::Conflict(1))));
}

#[tokio::test]
async fn a_turn_that_was_set_aside_keeps_its_steers_while_another_has_its_cut() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m1", "1", Some(start(1, 1)))).await.expect("accepted");
    instance.accept(row("m2", "2", None)).await.expect("accepted");
    instance.accept_steer(steer("s1", "shorter", Some(1))).await.expect("accepted").expect("new");
    instance.begin(2, start(2, 1), 1, false).await.expect("begins");
    instance.cut(request(1, Some(2), Some(2))).await.expect("cut");
    assert_eq!(instance.steers(1).await.expect("reads").len(), 1);
    instance.begin(1, start(1, 2), 1, false).await.expect("begins");
    instance.cut(request(2, Some(1), Some(1))).await.expect("cut");
    assert_eq!(instance.steers(1).await.expect("reads"), []);
}
