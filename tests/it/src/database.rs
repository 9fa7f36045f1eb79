//! An instance's databases, opened read-only from outside, and the invariants that always hold (TURN §9).
//!
//! Knows the tables that TURN §1 names. Must never write, but in `writable`: a host may run on them.

use std::path::{Path, PathBuf};

use podium_wire::InstanceId;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::Host;

/// One row of `cuts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// Its number.
    pub cut: u64,
    /// The cut before it.
    pub parent: u64,
    /// The turn that it ended.
    pub turn: Option<u64>,
    /// `init`, `turn`, `error` and so on.
    pub kind: String,
    /// Patches applied so far.
    pub state_version: u64,
    /// The first update that it made durable.
    pub first_seq: Option<u64>,
    /// The last one.
    pub last_seq: Option<u64>,
    /// The version of its workspace.
    pub workspace: Option<u64>,
}

/// One row of `inbox`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place.
    pub seq: u64,
    /// Who sent it.
    pub sender: String,
    /// The message's id.
    pub id: String,
    /// `message`, `init` and so on.
    pub kind: String,
    /// Deaths of the host that count against it.
    pub attempts: u32,
    /// `done` when a cut consumed it.
    pub status: String,
    /// The last turn that ran for it.
    pub turn: Option<u64>,
    /// The cut that consumed it.
    pub cut: Option<u64>,
}

/// One row of `turns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Its number.
    pub turn: u64,
    /// The row of the inbox that it ran for; a hook that the host calls of its own accord has none.
    pub inbox_seq: Option<u64>,
    /// `message`, `init`, `idle` and so on.
    pub kind: String,
    /// The last attempt.
    pub attempt: u32,
    /// `fresh` or `warm`.
    pub began: String,
    /// `running`, `done`, `error`, or `dropped` for a hook without a cut.
    pub status: String,
}

/// One row of `updates`.
#[derive(Debug, Clone, PartialEq)]
pub struct Durable {
    /// Its number.
    pub seq: u64,
    /// The turn that made it.
    pub turn: Option<u64>,
    /// The public id of that turn.
    pub turn_id: Option<String>,
    /// The attempt.
    pub attempt: Option<u32>,
    /// Its place in the attempt.
    pub n: Option<u64>,
    /// Its kind.
    pub event_type: String,
    /// Its content.
    pub body: Value,
}

impl Durable {
    /// True when its turn began anew behind it: one that had waited, behind other code that was wanted at once.
    fn is_void(&self, updates: &[Self]) -> bool {
        let again = |later: &&Self| later.turn == self.turn && later.attempt > self.attempt && later.seq > self.seq;
        self.turn.is_some() && updates.iter().any(|later| again(&later))
    }
}

/// The databases of one instance.
pub struct Databases {
    folder: PathBuf,
    messages: Connection,
}

fn open(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(path, flags).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    connection.busy_timeout(crate::PATIENCE).expect("a busy timeout");
    connection
}

fn messages_path(data: &Path, id: InstanceId) -> PathBuf {
    data.join("instances").join(id.to_string()).join("messages/messages.db")
}

/// The database that an instance's cuts are written to, for a story that puts something in the way.
pub fn writable(host: &Host, id: InstanceId) -> Connection {
    let connection = Connection::open(messages_path(&host.data().path(), id)).expect("the database opens");
    connection.busy_timeout(crate::PATIENCE).expect("a busy timeout");
    connection
}

/// Keeps the host from writing to `messages.db` until it is dropped, as a person with a shell would.
pub async fn held(host: &Host, id: InstanceId) -> Connection {
    let other = Connection::open(messages_path(&host.data().path(), id)).expect("the database opens");
    crate::eventually("the other's transaction", async || other.execute_batch("BEGIN IMMEDIATE").ok()).await;
    other
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

impl Databases {
    /// Opens those of an instance in this data folder.
    pub fn open(data: &Path, id: InstanceId) -> Self {
        let folder = data.join("instances").join(id.to_string());
        let messages = open(&messages_path(data, id));
        Self { folder, messages }
    }

    fn rows<T>(&self, sql: &str, read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>) -> Vec<T> {
        let mut statement = self.messages.prepare(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        let rows = statement.query_map([], read).expect("the query runs");
        rows.collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// All cuts, in order.
    pub fn cuts(&self) -> Vec<Cut> {
        self.rows("SELECT cut, parent, turn, kind, state_version, first_seq, last_seq, workspace_version FROM cuts ORDER BY cut", |row| {
            Ok(Cut {
                cut: row.get(0)?,
                parent: row.get(1)?,
                turn: row.get(2)?,
                kind: row.get(3)?,
                state_version: row.get(4)?,
                first_seq: row.get(5)?,
                last_seq: row.get(6)?,
                workspace: row.get(7)?,
            })
        })
    }

    /// Records of journals that are kept.
    pub fn journal(&self) -> u64 {
        self.messages.query_row("SELECT count(*) FROM effects", [], |row| row.get(0)).expect("a count")
    }

    /// Contents that journals name.
    pub fn objects(&self) -> u64 {
        self.messages.query_row("SELECT count(*) FROM objects", [], |row| row.get(0)).expect("a count")
    }

    /// Changes rows of a host that does not run, as a damaged disk would; answers how many.
    pub fn change(data: &Path, id: InstanceId, sql: &str) -> usize {
        let connection = Connection::open(messages_path(data, id)).expect("the database opens");
        connection.execute(sql, []).expect("the rows are changed")
    }

    /// The inbox, in order.
    pub fn inbox(&self) -> Vec<Row> {
        self.rows("SELECT seq, sender, id, kind, attempts, status, turn, cut FROM inbox ORDER BY seq", |row| {
            Ok(Row {
                seq: row.get(0)?,
                sender: row.get(1)?,
                id: row.get(2)?,
                kind: row.get(3)?,
                attempts: row.get(4)?,
                status: row.get(5)?,
                turn: row.get(6)?,
                cut: row.get(7)?,
            })
        })
    }

    /// All turns, in order.
    pub fn turns(&self) -> Vec<Turn> {
        self.rows("SELECT turn, inbox_seq, kind, attempt, began, status FROM turns ORDER BY turn", |row| {
            Ok(Turn {
                turn: row.get(0)?,
                inbox_seq: row.get(1)?,
                kind: row.get(2)?,
                attempt: row.get(3)?,
                began: row.get(4)?,
                status: row.get(5)?,
            })
        })
    }

    /// All durable updates, in order.
    pub fn updates(&self) -> Vec<Durable> {
        let sql = "SELECT u.seq, u.turn, t.turn_id, u.attempt, u.n, u.event_type, u.body \
                   FROM updates u LEFT JOIN turns t ON t.turn = u.turn ORDER BY u.seq";
        self.rows(sql, |row| {
            Ok(Durable {
                seq: row.get(0)?,
                turn: row.get(1)?,
                turn_id: row.get(2)?,
                attempt: row.get(3)?,
                n: row.get(4)?,
                event_type: row.get(5)?,
                body: json(&row.get::<_, String>(6)?),
            })
        })
    }

    /// The state at a cut: the last snapshot at or before it and the deltas up to it.
    pub fn state_at(&self, cut: u64) -> Value {
        let path = self.folder.join("db/state.db");
        let mut state = Value::Object(serde_json::Map::new());
        let mut from = 0;
        let mut applied = 0;
        if path.exists() {
            let database = open(&path);
            let snapshot = database.query_row(
                "SELECT cut, doc FROM snapshots WHERE cut <= ?1 ORDER BY cut DESC LIMIT 1",
                [cut],
                |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)),
            );
            if let Ok((at, document)) = snapshot {
                (from, state) = (at, json(&document));
            }
            let mut statement = database
                .prepare("SELECT cut, patch FROM deltas WHERE cut > ?1 AND cut <= ?2 ORDER BY cut")
                .expect("deltas can be read");
            let deltas = statement
                .query_map([from, cut], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))
                .expect("deltas can be read");
            for delta in deltas {
                let (at, patch) = delta.expect("a delta");
                apply(&mut state, &json(&patch));
                applied = at;
            }
        }
        // What state.db does not have yet stands in `ops`, as after a crash that lost its last writes.
        let from = from.max(applied);
        let redo = self.rows("SELECT cut, patch FROM ops ORDER BY cut", |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?))
        });
        for (_, patch) in redo.into_iter().filter(|(at, _)| *at > from && *at <= cut) {
            apply(&mut state, &json(&patch));
        }
        state
    }

    /// Checks every invariant that holds at rest, whatever happened before; answers the number of cuts.
    pub fn check(&self) -> usize {
        let cuts = self.cuts();
        let inbox = self.inbox();
        let updates = self.updates();
        let integrity: String =
            self.messages.query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("the check runs");
        assert_eq!(integrity, "ok");
        // Numbers rise without a gap; each cut stands on an earlier one.
        for (place, cut) in cuts.iter().enumerate() {
            assert_eq!(cut.cut, place as u64 + 1, "cuts are dense");
            let follows =
                cut.parent == place as u64 || (cut.kind == "rewind" && (1..=place as u64).contains(&cut.parent));
            assert!(follows, "each cut's parent is the one before, but a rewind's an earlier one: {cut:?}");
        }
        for (place, update) in updates.iter().enumerate() {
            assert_eq!(update.seq, place as u64 + 1, "seq is dense");
        }
        // Each durable update belongs to exactly one cut, and the cuts name all of them in order.
        let mut next = 1;
        for cut in &cuts {
            if let (Some(first), Some(last)) = (cut.first_seq, cut.last_seq) {
                assert_eq!(first, next, "{cut:?} begins where the one before ended");
                assert!(last >= first, "{cut:?}");
                next = last + 1;
            }
        }
        assert_eq!(next, updates.len() as u64 + 1, "every durable update is of a cut");
        // Exactly one cut per consumed row, and no cut of a turn without a row.
        let mut consuming = std::collections::BTreeMap::new();
        let (steers, rows): (Vec<&Row>, Vec<&Row>) = inbox.iter().partition(|row| row.kind == "steer");
        for row in rows.iter().filter(|row| row.status == "done") {
            let cut = row.cut.unwrap_or_else(|| panic!("{row:?} was consumed by no cut"));
            let earlier = consuming.insert(cut, row.seq);
            assert_eq!(earlier, None, "cut {cut} consumed two rows");
        }
        let hooks: Vec<u64> =
            self.turns().into_iter().filter(|turn| turn.inbox_seq.is_none()).map(|turn| turn.turn).collect();
        for cut in cuts.iter().filter(|cut| cut.turn.is_some_and(|turn| !hooks.contains(&turn))) {
            let row = consuming.get(&cut.cut).unwrap_or_else(|| panic!("{cut:?} consumed nothing"));
            let row = inbox.iter().find(|inbox| inbox.seq == *row).expect("a row");
            assert_eq!(row.turn, cut.turn, "{row:?} was run by the turn of its cut");
        }
        // A steer is consumed by the cut of its turn, and waits as long as that one has none.
        for row in steers {
            let cut = cuts.iter().find(|cut| cut.turn == row.turn);
            assert!(row.turn.is_some(), "{row:?} belongs to no turn");
            assert_eq!(row.cut, cut.map(|cut| cut.cut), "{row:?}");
            assert_eq!(row.status == "done", cut.is_some(), "{row:?}");
        }
        // Every durable update of a turn was made by the attempt that its cut ended.
        for cut in &cuts {
            let (Some(first), Some(last)) = (cut.first_seq, cut.last_seq) else { continue };
            let in_cut = || updates.iter().filter(|update| (first..=last).contains(&update.seq));
            let of_cut = || in_cut().filter(|update| !update.is_void(&updates));
            assert!(of_cut().all(|update| update.turn == cut.turn), "{cut:?} has updates of another turn");
            let mut attempts: Vec<_> = of_cut().filter_map(|update| update.attempt).collect();
            attempts.dedup();
            assert!(attempts.len() <= 1, "{cut:?} has updates of attempts {attempts:?}");
            let places: Vec<_> = of_cut().filter_map(|update| update.n).collect();
            assert!(places.is_sorted_by(|a, b| a < b), "{cut:?} has n {places:?}");
        }
        self.check_state(&cuts, &updates);
        cuts.len()
    }

    /// state_version counts patches, and the patches that clients saw fold to the state of each cut.
    fn check_state(&self, cuts: &[Cut], updates: &[Durable]) {
        let mut folded = Value::Object(serde_json::Map::new());
        let mut version = 0;
        for cut in cuts {
            if cut.kind == "fork" {
                // What came before is told by the instance that it was copied from.
                folded = self.state_at(cut.cut);
                version = cut.state_version;
            }
            if let (Some(first), Some(last)) = (cut.first_seq, cut.last_seq) {
                // A turn that failed takes back what it had told of the state when it waited.
                let is_true = cut.kind != "error";
                for update in updates.iter().filter(|update| (first..=last).contains(&update.seq)) {
                    if update.event_type == "state.delta" && is_true && !update.is_void(updates) {
                        apply(&mut folded, &update.body["patch"]);
                        version += 1;
                        assert_eq!(update.body["version"], version, "{update:?}");
                    }
                }
            }
            assert_eq!(cut.state_version, version, "{cut:?}");
        }
        if let Some(last) = cuts.last() {
            assert_eq!(self.state_at(last.cut), folded, "the state at cut {}", last.cut);
        }
    }
}

fn apply(state: &mut Value, patch: &Value) {
    // A stored delta is one patch, or a list of the patches of its cut.
    if patch.as_array().is_some_and(|patches| patches.iter().all(Value::is_array)) {
        for patch in patch.as_array().into_iter().flatten() {
            apply(state, patch);
        }
        return;
    }
    let patch: json_patch::Patch =
        serde_json::from_value(patch.clone()).unwrap_or_else(|error| panic!("{error}: {patch}"));
    json_patch::patch(state, &patch).unwrap_or_else(|error| panic!("{error}: {patch:?} on {state}"));
}
