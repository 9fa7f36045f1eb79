//! The journal of a turn: in its order, with the updates that it makes durable, until its cut.

use std::sync::{Arc, Mutex};

use podium_store::{
    ANSWER_INLINE_MAX, JournalBatch, JournalRow, JournalSource, NewSteer, NewUpdate, StoreError, TurnStart,
};
use podium_wire::updates::{SteerDelivered, StreamEnd, UpdateBody};

use crate::common::{created, folder, open, request, row, start, stream_end};

fn record(place: u64, answer: Option<Vec<u8>>) -> JournalRow {
    JournalRow {
        place,
        what: "call".to_owned(),
        kind: "test".to_owned(),
        n: Some(place),
        request_hash: Some([7; 32]),
        idempotent: place.is_multiple_of(2),
        answer,
        at_ns: 1_760_000_000_000_000_000 + place,
        yields: -3,
        calls: vec![1, 2, 3],
    }
}

fn update(n: u64) -> NewUpdate {
    let (event_type, content) = UpdateBody::StreamEnd(StreamEnd { text: n.to_string() }).encode();
    NewUpdate { n: Some(n), event_type, content, at: 2_500 }
}

/// What is to be written, and what came back.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<Option<JournalBatch>>>);

impl Source {
    fn of(turn: u64, rows: Vec<JournalRow>, updates: Vec<NewUpdate>) -> Self {
        Self(Arc::new(Mutex::new(Some(JournalBatch { turn, attempt: 1, rows, updates }))))
    }
}

impl JournalSource for Source {
    fn take(&mut self) -> Option<JournalBatch> {
        self.0.lock().expect("not poisoned").take()
    }

    fn put_back(&mut self, batch: JournalBatch) {
        *self.0.lock().expect("not poisoned") = Some(batch);
    }
}

#[tokio::test]
async fn a_journal_is_read_as_it_was_written_and_ends_with_its_turn() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m", "{}", Some(start(1, 1)))).await.expect("accepted");
    let large = vec![9; ANSWER_INLINE_MAX + 1];
    let rows = vec![record(1, None), record(2, Some(vec![5; ANSWER_INLINE_MAX])), record(3, Some(large.clone()))];
    let written = instance.write_journal(Source::of(1, rows.clone(), vec![update(1), update(4)])).await;
    let written = written.expect("written").expect("something");
    assert_eq!((written.last_seq, written.through_n), (2, Some(4)));
    assert_eq!(instance.write_journal(Source::default()).await.expect("nothing"), None);
    // The same content twice is kept once, and the next records follow.
    let more = vec![record(4, Some(large))];
    let written = instance.write_journal(Source::of(1, more.clone(), Vec::new())).await.expect("written");
    assert_eq!(written.expect("something").through_n, None);
    store.close().await;
    let store = open(folder.path());
    let instance = store.instance(instance.id());
    let recovered = instance.recover().await.expect("recovers");
    assert_eq!((recovered.last_seq, recovered.cut), (2, 1));
    let kept = instance.journal(1).await.expect("reads");
    assert_eq!(kept.rows, [rows, more].concat());
    assert_eq!(kept.kept_n, 4);
    let count = |table: &str| -> u64 {
        let file = folder.path().join("instances").join(instance.id().to_string()).join("messages/messages.db");
        let connection = rusqlite::Connection::open(file).expect("opens");
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).expect("counts")
    };
    assert_eq!((count("effects"), count("objects")), (4, 1));
    // The cut has them all, and nothing is left.
    let mut cut = request(1, Some(1), Some(1));
    cut.updates = vec![stream_end(7, "done")];
    let made = instance.cut(cut).await.expect("is cut");
    assert_eq!((made.first_seq, made.last_seq), (Some(1), Some(3)));
    assert_eq!((count("effects"), count("objects")), (0, 0));
    assert_eq!(instance.outcome(1).await.expect("reads").and_then(|outcome| outcome.text).as_deref(), Some("done"));
    // Nothing is written for a turn that is over, and what was to be is not lost.
    let late = Source::of(1, vec![record(1, None)], vec![update(9)]);
    let refused = instance.write_journal(late.clone()).await.expect_err("is over");
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
    assert!(late.0.lock().expect("not poisoned").is_some());
    assert_eq!(instance.updates_after(0, 10).await.expect("reads").len(), 3);
}

#[tokio::test]
async fn an_attempt_goes_on_with_a_journal_or_forgets_it() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m", "{}", Some(start(1, 1)))).await.expect("accepted");
    let source = || Source::of(1, vec![record(1, Some(vec![1; 9_000]))], vec![update(1)]);
    instance.write_journal(source()).await.expect("written");
    let attempt = |attempt| TurnStart { attempt, ..start(1, 1) };
    instance.begin(1, attempt(2), 1, true).await.expect("begins");
    let updates = instance.updates_after(0, 10).await.expect("reads");
    assert_eq!(updates.iter().map(|update| update.attempt).collect::<Vec<_>>(), [Some(2)], "it is this attempt's now");
    assert_eq!(instance.journal(1).await.expect("reads").rows.len(), 1);
    // One that begins at the cut leaves what was told where it was, and no record.
    instance.begin(1, attempt(3), 1, false).await.expect("begins");
    let kept = instance.journal(1).await.expect("reads");
    assert_eq!((kept.rows.len(), kept.kept_n), (0, 1));
    assert_eq!(instance.updates_after(0, 10).await.expect("reads")[0].attempt, Some(2));
    instance.write_journal(source()).await.expect("the first place is free again");
}

#[tokio::test]
async fn a_journal_that_led_elsewhere_goes_when_its_message_is_retried() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m", "{}", Some(start(1, 1)))).await.expect("accepted");
    instance.write_journal(Source::of(1, vec![record(1, None)], Vec::new())).await.expect("written");
    // A message that is parked for another reason keeps what its people have said.
    instance.park(1).await.expect("parked");
    instance.unpark(1).await.expect("unparked");
    assert_eq!(instance.journal(1).await.expect("reads").rows.len(), 1);
    instance.set_diverged(1).await.expect("noted");
    instance.park(1).await.expect("parked");
    let refused = instance.write_journal(Source::of(1, vec![record(2, None)], Vec::new())).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))));
    instance.unpark(1).await.expect("unparked");
    assert_eq!(instance.journal(1).await.expect("reads").rows.len(), 0);
    instance.begin(1, TurnStart { attempt: 2, ..start(1, 1) }, 1, false).await.expect("begins");
    instance.write_journal(Source::of(1, vec![record(1, None)], Vec::new())).await.expect("it runs again");
}

#[tokio::test]
async fn a_journal_with_a_hole_is_damaged() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m", "{}", Some(start(1, 1)))).await.expect("accepted");
    instance.write_journal(Source::of(1, vec![record(1, None), record(3, None)], Vec::new())).await.expect("written");
    let damaged = instance.journal(1).await.expect_err("a hole");
    assert!(matches!(damaged, StoreError::Damaged { .. }), "{damaged}");
}

/// A database as it was before there were journals gets its tables when it is opened.
#[tokio::test]
async fn a_database_of_the_first_version_is_brought_along() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    store.close().await;
    let file = folder.path().join("instances").join(instance.id().to_string()).join("messages/messages.db");
    let connection = rusqlite::Connection::open(file).expect("opens");
    let old = "DROP TABLE objects; DROP TABLE effects;
        CREATE TABLE effects(turn INT NOT NULL, n INT NOT NULL, PRIMARY KEY(turn, n)) WITHOUT ROWID;
        UPDATE meta SET v = 1 WHERE k = 'schema'";
    connection.execute_batch(old).expect("is as it was");
    drop(connection);
    let store = open(folder.path());
    let instance = store.instance(instance.id());
    instance.recover().await.expect("recovers");
    instance.accept(row("m", "{}", Some(start(1, 1)))).await.expect("accepted");
    instance.write_journal(Source::of(1, vec![record(1, None)], Vec::new())).await.expect("written");
    store.close().await;
    let store = open(folder.path());
    assert_eq!(store.instance(instance.id()).journal(1).await.expect("reads").rows.len(), 1, "once");
}

#[tokio::test]
async fn a_steer_whose_delivery_is_durable_is_known_to_be_told() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m", "{}", Some(start(1, 1)))).await.expect("accepted");
    for id in ["heard", "waiting"] {
        let steer = NewSteer {
            sender: "local".to_owned(),
            id: id.to_owned(),
            body: format!("{{\"id\":\"{id}\"}}"),
            hashed: id.to_owned(),
            at: 2_000,
            turn: Some(1),
        };
        assert!(instance.accept_steer(steer).await.expect("accepted").is_some());
    }
    let delivered = SteerDelivered { id: "heard".to_owned(), text: "a word".to_owned() };
    let (event_type, content) = UpdateBody::SteerDelivered(delivered).encode();
    let update = NewUpdate { n: Some(1), event_type, content, at: 2_500 };
    instance.write_journal(Source::of(1, vec![record(1, None)], vec![update])).await.expect("written");
    let told: Vec<_> =
        instance.steers(1).await.expect("reads").into_iter().map(|steer| (steer.id, steer.is_told)).collect();
    assert_eq!(told, [("heard".to_owned(), true), ("waiting".to_owned(), false)]);
}
