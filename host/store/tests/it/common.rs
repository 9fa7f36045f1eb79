//! What the tests share: a store in a temporary folder, and short ways to build its requests.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use podium_kit::Clock;
use podium_store::state::fold;
use podium_store::{
    Began, CutKind, CutRequest, FirstCut, InstanceStore, NewInstance, NewRow, NewUpdate, RowKind, Store, TurnStart,
};
use podium_wire::InstanceId;
use podium_wire::updates::{StreamEnd, UpdateBody};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder in memory where there is one: durability is not what these tests measure.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder")
}

pub(crate) fn open(root: &Path) -> Store {
    Store::open(root, &Clock::manual(1_000)).expect("opens")
}

pub(crate) fn id(number: u32) -> InstanceId {
    format!("0198c0de-0000-7000-8000-{number:012x}").parse().expect("an id")
}

pub(crate) fn new_instance(id: InstanceId) -> NewInstance {
    NewInstance {
        id,
        created_at: 1_000,
        component: "hello:1.0.0@2b795103".parse().expect("a deployment"),
        config: r#"{"a":1}"#.to_owned(),
        first: FirstCut::Now,
    }
}

pub(crate) async fn created(store: &Store, number: u32) -> InstanceStore {
    store.create(new_instance(id(number))).await.expect("is created");
    store.instance(id(number))
}

pub(crate) fn start(turn: u64, base_cut: u64) -> TurnStart {
    TurnStart {
        turn,
        turn_id: format!("turn-{turn}"),
        kind: RowKind::Message,
        attempt: 1,
        base_cut,
        began: Began::Fresh,
        seed: [7; 32],
        started: 2_000,
    }
}

pub(crate) fn row(id: &str, body: &str, start: Option<TurnStart>) -> NewRow {
    NewRow {
        sender: "local".into(),
        id: id.into(),
        kind: RowKind::Message,
        body: body.into(),
        hashed: body.into(),
        at: 2_000,
        start,
    }
}

/// A cut of a turn that has no effects yet.
pub(crate) fn request(parent: u64, turn: Option<u64>, inbox_seq: Option<u64>) -> CutRequest {
    CutRequest {
        kind: CutKind::Turn,
        parent,
        turn,
        attempt: 1,
        inbox_seq,
        patches: Vec::new(),
        state_after: Arc::new(json!({})),
        state_version: 0,
        messages: Vec::new(),
        updates: Vec::new(),
        config: None,
        component: None,
        workspace: None,
        error: None,
        stopped: None,
        trial: podium_store::TrialNote::Keep,
        at: 3_000,
    }
}

pub(crate) fn stream_end(n: u64, text: &str) -> NewUpdate {
    let (event_type, content) = UpdateBody::StreamEnd(StreamEnd { text: text.into() }).encode();
    NewUpdate { n: Some(n), event_type, content, at: 3_000 }
}

/// The state that a test expects, and the requests that lead there.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) cut: u64,
    pub(crate) state: Value,
    pub(crate) version: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { cut: 1, state: json!({}), version: 0 }
    }

    /// The request for the next cut with these patches; the model is then past it.
    pub(crate) fn cut(&mut self, patches: Vec<Value>) -> CutRequest {
        fold(&mut self.state, &patches).expect("applies");
        self.version += patches.len() as u64;
        let request = CutRequest {
            patches,
            state_after: Arc::new(self.state.clone()),
            state_version: self.version,
            ..request(self.cut, None, None)
        };
        self.cut += 1;
        request
    }

    pub(crate) async fn check(&self, instance: &InstanceStore) {
        let recovered = instance.recover().await.expect("recovers");
        assert_eq!(*recovered.state, self.state);
        assert_eq!((recovered.cut, recovered.state_version), (self.cut, self.version));
    }
}

/// A patch that sets a member to a text of this length.
pub(crate) fn set(member: u32, length: usize) -> Value {
    json!([{"op": "add", "path": format!("/m{member}"), "value": "x".repeat(length)}])
}

/// Copies a data folder as a crash would leave it: everything but the shared memory.
pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else if !entry.file_name().to_string_lossy().ends_with("-shm") {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

pub(crate) fn state_db(root: &Path, number: u32) -> PathBuf {
    root.join("instances").join(id(number).to_string()).join("db/state.db")
}

pub(crate) fn messages_db(root: &Path, number: u32) -> PathBuf {
    root.join("instances").join(id(number).to_string()).join("messages/messages.db")
}
