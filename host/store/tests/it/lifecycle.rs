//! Create, accept, turn, cut, list, delete: what each promises.

use podium_store::{
    AcceptError, CutKind, CutRequest, FirstCut, HistoryQuery, LogQuery, NewInstance, NewLogLine, RowKind, RowStatus,
    StoreError,
};
use podium_wire::message::Role;
use podium_wire::rest::LogLevel;
use podium_wire::{ErrorCode, WireError};
use serde_json::json;

use crate::common::*;

#[tokio::test]
async fn a_turn_from_accept_to_outcome() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    let accepted = instance.accept(row("m1", "\"hi\"", Some(start(1, 1)))).await.expect("accepted");
    assert_eq!((accepted.inbox_seq, accepted.duplicate, accepted.outcome), (1, false, None));
    let running = instance.recover().await.expect("recovers").unfinished;
    assert_eq!((running[0].status, running[0].attempts), (RowStatus::Running, 1));
    assert_eq!(running[0].turn.as_ref().map(|turn| (turn.turn, turn.attempt, turn.seed)), Some((1, 1, [7; 32])));

    let cut = CutRequest {
        messages: vec![(Role::User, "hi".into()), (Role::Assistant, "hello".into())],
        updates: vec![stream_end(4, "hello")],
        ..request(1, Some(1), Some(1))
    };
    let made = instance.cut(cut.clone()).await.expect("cut");
    assert_eq!((made.cut, made.first_seq, made.last_seq, made.last_message_seq), (2, Some(1), Some(1), 2));
    let outcome = instance.outcome(1).await.expect("reads").expect("answered");
    assert_eq!((outcome.cut, outcome.text.as_deref(), outcome.error), (2, Some("hello"), None));

    let again = instance.accept(row("m1", "\"hi\"", None)).await.expect("accepted");
    assert!(again.duplicate && again.outcome.is_some_and(|outcome| outcome.cut == 2));
    let other = instance.accept(row("m1", "\"ho\"", None)).await;
    assert!(matches!(other, Err(AcceptError::Conflict(1))));
    // A second cut for the same row is refused, and the instance goes on.
    assert!(matches!(instance.cut(CutRequest { parent: 2, ..cut }).await, Err(StoreError::Refused(_))));
    let update = &instance.updates_after(0, 10).await.expect("reads")[0];
    assert_eq!((update.seq, update.n, update.attempt), (Some(1), Some(4), Some(1)));
    assert_eq!((update.turn_id.as_deref(), update.message_id.as_deref()), (Some("turn-1"), Some("m1")));
    let last = instance.history(HistoryQuery::Before { before: None, limit: 1, bytes: 1 }).await.expect("reads");
    let entry = &last.entries[0];
    assert_eq!((entry.seq, entry.text.as_str(), entry.role, last.more), (2, "hello", Role::Assistant, true));
    let first = instance.history(HistoryQuery::After { after: 0, limit: 1 }).await.expect("reads");
    assert_eq!((first.entries[0].seq, first.entries[0].cut, first.more), (1, 2, true));
    let rest = instance.history(HistoryQuery::After { after: 1, limit: 1 }).await.expect("reads");
    assert_eq!((rest.entries.len(), rest.more), (1, false));
}

#[tokio::test]
async fn a_page_of_the_history_ends_at_its_bytes_and_one_larger_message_comes_alone() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m1", "\"hi\"", Some(start(1, 1)))).await.expect("accepted");
    let said = |bytes: usize| (Role::Assistant, "x".repeat(bytes));
    let cut = CutRequest {
        messages: vec![(Role::User, "hi".into()), said(10), said(500), said(10), said(10)],
        updates: vec![stream_end(4, "hello")],
        ..request(1, Some(1), Some(1))
    };
    instance.cut(cut).await.expect("cut");
    let mut pages = Vec::new();
    let mut before = None;
    loop {
        let query = HistoryQuery::Before { before, limit: 10, bytes: 20 };
        let page = instance.history(query).await.expect("reads");
        pages.push(page.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>());
        before = page.entries.first().map(|first| first.seq);
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, [vec![4, 5], vec![3], vec![1, 2]]);
}

#[tokio::test]
async fn failed_attempts_are_counted_parked_and_retried() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.accept(row("m1", "1", None)).await.expect("accepted");
    instance.begin(1, start(1, 1), 1, false).await.expect("begins");
    instance.begin(1, podium_store::TurnStart { attempt: 2, ..start(1, 1) }, 2, false).await.expect("begins again");
    let unfinished = instance.recover().await.expect("recovers").unfinished;
    assert_eq!((unfinished[0].attempts, unfinished[0].turn.as_ref().map(|turn| turn.attempt)), (2, Some(2)));
    instance.park(1).await.expect("parks");
    assert_eq!(instance.find("m1").await.expect("finds")[0].status, RowStatus::Parked);
    instance.unpark(1).await.expect("unparks");
    // A row that could not be written as parked is run again all the same.
    instance.unpark(1).await.expect("unparks what is not parked");
    let found = &instance.find("m1").await.expect("finds")[0];
    assert_eq!((found.status, found.attempts), (RowStatus::Waiting, 0));
    let error = WireError::new(ErrorCode::Discarded, "somebody discarded it");
    let cut = CutRequest { kind: CutKind::Error, error: Some(error.clone()), ..request(1, Some(1), Some(1)) };
    instance.cut(cut).await.expect("cut");
    assert_eq!(instance.outcome(1).await.expect("reads").expect("answered").error, Some(error));
    assert!(matches!(instance.park(1).await, Err(StoreError::Refused(_))), "a consumed row was parked");
    assert!(matches!(instance.unpark(1).await, Err(StoreError::Refused(_))), "a consumed row was unparked");
}

#[tokio::test]
async fn an_instance_without_a_first_cut_was_never_created() {
    let folder = folder();
    let store = open(folder.path());
    let init =
        podium_store::NewRow { kind: RowKind::Init, sender: "podium".into(), ..row("init", "{}", Some(start(1, 0))) };
    let new = NewInstance { first: FirstCut::Row(init), ..new_instance(id(1)) };
    store.create(new).await.expect("is created");
    let instance = store.instance(id(1));
    assert!(matches!(instance.recover().await, Err(StoreError::NeverCreated(_))));
    instance.cut(CutRequest { kind: CutKind::Init, ..request(0, Some(1), Some(1)) }).await.expect("cut");
    let recovered = instance.recover().await.expect("recovers");
    assert_eq!((recovered.cut, recovered.cut_kind, recovered.last_turn), (1, CutKind::Init, 1));
    assert_eq!(recovered.config.get("a"), Some(&json!(1)));
    assert!(matches!(store.instance(id(9)).recover().await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn listing_and_deletion() {
    let folder = folder();
    let store = open(folder.path());
    for number in [3, 1, 2] {
        created(&store, number).await;
    }
    let ids = |rows: Vec<podium_store::InstanceRow>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(store.list(None, 2).await.expect("lists")), [id(1), id(2)]);
    assert_eq!(ids(store.list(Some(id(2)), 2).await.expect("lists")), [id(3)]);
    assert!(matches!(store.create(new_instance(id(2))).await, Err(StoreError::Exists(_))));
    store.delete(id(2)).await.expect("is deleted");
    assert!(matches!(store.delete(id(2)).await, Err(StoreError::NotFound(_))));
    assert!(matches!(
        store.instance(id(2)).accept(row("m", "1", None)).await,
        Err(AcceptError::Store(StoreError::NotFound(_)))
    ));
    assert_eq!((store.count().await.expect("counts"), store.exists(id(2)).await.expect("asks")), (2, false));
    assert!(!folder.path().join("instances").join(id(2).to_string()).exists());
    assert_eq!(std::fs::read_dir(folder.path().join("deleted")).expect("a folder").count(), 0);
    // What is at rest is not opened at the next start.
    store.instance(id(1)).mark_resting().await.expect("rests");
    store.instance(id(3)).accept(row("m", "1", None)).await.expect("accepted");
    store.instance(id(3)).mark_resting().await.expect("rests");
    assert_eq!(store.unfinished().await.expect("lists"), [id(3)], "a row waits there");
    store.instance(id(1)).set_stopped(true).await.expect("stops");
    assert!(store.list(None, 1).await.expect("lists")[0].stopped);
    store.close().await;
    assert_eq!(store.count().await.expect_err("closed").code(), ErrorCode::ShuttingDown);
}

#[tokio::test]
async fn a_config_cut_brings_its_revision() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    let cut = CutRequest { kind: CutKind::Config, config: Some((2, r#"{"a":2}"#.into())), ..request(1, None, None) };
    instance.cut(cut.clone()).await.expect("cut");
    assert!(matches!(instance.cut(CutRequest { parent: 2, ..cut }).await, Err(StoreError::Refused(_))));
    let now = instance.config(None).await.expect("reads").expect("is there");
    assert_eq!((now.revision, now.config.get("a")), (2, Some(&json!(2))));
    let before = instance.config(Some(1)).await.expect("reads").expect("is there");
    assert_eq!(before.config.get("a"), Some(&json!(1)));
    assert!(instance.config(Some(3)).await.expect("reads").is_none());
}

#[tokio::test]
async fn logs_are_paged_filtered_and_bounded() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    assert!(instance.logs(LogQuery { limit: 5, ..LogQuery::default() }).await.expect("reads").lines.is_empty());
    let line = |level, message: String| NewLogLine {
        ts: 1,
        level,
        module: "m".into(),
        message,
        turn_id: None,
        fields: Some(json!({"k": 1})),
    };
    let levels = [LogLevel::Debug, LogLevel::Info, LogLevel::Error, LogLevel::Info];
    instance.append_logs(levels.iter().map(|level| line(*level, "x".into())).collect()).await.expect("writes");
    let seqs = |page: podium_wire::rest::LogPage| page.lines.iter().map(|line| line.seq).collect::<Vec<_>>();
    let query = async |query| seqs(instance.logs(query).await.expect("reads"));
    assert_eq!(query(LogQuery { limit: 2, ..LogQuery::default() }).await, [3, 4]);
    assert_eq!(query(LogQuery { limit: 2, offset: 1, ..LogQuery::default() }).await, [2, 3]);
    assert_eq!(query(LogQuery { limit: 9, level: Some(LogLevel::Warn), ..LogQuery::default() }).await, [3]);
    assert_eq!(query(LogQuery { after: Some(1), limit: 2, ..LogQuery::default() }).await, [2, 3]);
    let big: Vec<_> = (0..40).map(|_| line(LogLevel::Info, "y".repeat(256 * 1024))).collect();
    instance.append_logs(big).await.expect("writes");
    let page = instance.logs(LogQuery { limit: 100, after: Some(0), level: None, offset: 0 }).await.expect("reads");
    assert!(page.dropped >= 8 && page.lines[0].seq == page.dropped + 1, "dropped {}", page.dropped);
    let file = folder.path().join("instances").join(id(1).to_string()).join("logs/agent.db");
    instance.mark_resting().await.expect("rests");
    let bytes = file.metadata().expect("is there").len();
    assert!(bytes < podium_store::LOG_BYTES_MAX * 3 / 2, "{bytes}");
}

#[tokio::test]
async fn an_unused_agent_takes_40_kib_of_disk_at_most() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    instance.mark_resting().await.expect("rests");
    let root = folder.path().join("instances").join(id(1).to_string());
    let (mut folders, mut bytes, mut names) = (vec![root], 0, Vec::new());
    while let Some(folder) = folders.pop() {
        // Each folder is a block, each file as many as it fills.
        bytes += 4096;
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            let metadata = entry.metadata().expect("is there");
            if metadata.is_dir() {
                folders.push(entry.path());
            } else {
                bytes += metadata.len().div_ceil(4096) * 4096;
                names.push(entry.file_name());
            }
        }
    }
    assert_eq!(names, ["messages.db"]);
    assert!(bytes <= 40 * 1024, "{bytes} bytes");
}
