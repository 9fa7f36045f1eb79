//! The schemas of the four databases and the template of each.
//!
//! A change of a table raises [`SCHEMA_VERSION`] and brings an upgrade; there is none to bring yet.

use podium_sqlite::{SqliteError, Template};

/// Stands in every `meta` as `schema`.
pub(crate) const SCHEMA_VERSION: i64 = 1;

/// `inbox.id` leads its key because clients ask by it; `inbox.cut` is the cut that consumed the row;
/// `turns.message_id` outlives the inbox row, which is pruned one day.
const MESSAGES: &str = "
CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE inbox(seq INTEGER PRIMARY KEY, sender TEXT NOT NULL, id TEXT NOT NULL, body_hash BLOB NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, at INTEGER NOT NULL, attempts INTEGER NOT NULL, status TEXT NOT NULL,
    turn INTEGER, cut INTEGER, UNIQUE(id, sender));
CREATE INDEX inbox_unfinished ON inbox(status) WHERE status <> 'done';
CREATE TABLE turns(turn INTEGER PRIMARY KEY, turn_id TEXT NOT NULL, inbox_seq INTEGER, message_id TEXT,
    kind TEXT NOT NULL, attempt INTEGER NOT NULL, base_cut INTEGER NOT NULL, began TEXT NOT NULL, seed BLOB NOT NULL,
    status TEXT NOT NULL, error TEXT, started INTEGER NOT NULL, ended INTEGER);
CREATE TABLE cuts(cut INTEGER PRIMARY KEY, parent INTEGER NOT NULL, turn INTEGER, kind TEXT NOT NULL,
    state_version INTEGER NOT NULL, last_message_seq INTEGER NOT NULL, first_seq INTEGER, last_seq INTEGER,
    workspace_version INTEGER, workspace_root BLOB, component TEXT NOT NULL, config_rev INTEGER NOT NULL,
    at INTEGER NOT NULL);
CREATE TABLE messages(seq INTEGER PRIMARY KEY, cut INTEGER NOT NULL, role TEXT NOT NULL, body TEXT NOT NULL,
    at INTEGER NOT NULL);
CREATE TABLE updates(seq INTEGER PRIMARY KEY, turn INTEGER, attempt INTEGER, n INTEGER, event_type TEXT NOT NULL,
    body TEXT NOT NULL, at INTEGER NOT NULL);
CREATE TABLE ops(cut INTEGER PRIMARY KEY, patch TEXT NOT NULL);
CREATE TABLE effects(turn INTEGER NOT NULL, n INTEGER NOT NULL, kind TEXT NOT NULL, request_hash BLOB NOT NULL,
    idempotent INTEGER NOT NULL, outcome TEXT, answer BLOB, issued INTEGER NOT NULL, delivered INTEGER,
    workspace_version INTEGER, PRIMARY KEY(turn, n)) WITHOUT ROWID;
CREATE TABLE timers(id TEXT PRIMARY KEY, due INTEGER NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE config(rev INTEGER PRIMARY KEY, doc TEXT NOT NULL, at INTEGER NOT NULL);
";

const STATE: &str = "
CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE snapshots(cut INTEGER PRIMARY KEY, doc TEXT NOT NULL);
CREATE TABLE deltas(cut INTEGER PRIMARY KEY, patch TEXT NOT NULL);
";

const AGENT: &str = "
CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE logs(seq INTEGER PRIMARY KEY, ts INTEGER NOT NULL, level INTEGER NOT NULL, module TEXT NOT NULL,
    message TEXT NOT NULL, turn_id TEXT, fields TEXT);
";

const HOST: &str = "
CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE instances(id TEXT PRIMARY KEY, component TEXT NOT NULL, created_at INTEGER NOT NULL,
    stopped INTEGER NOT NULL, active INTEGER NOT NULL, due INTEGER) WITHOUT ROWID;
CREATE INDEX instances_active ON instances(id) WHERE active;
";

/// The template of each database.
#[derive(Debug)]
pub(crate) struct Templates {
    pub(crate) messages: Template,
    pub(crate) state: Template,
    pub(crate) agent: Template,
    pub(crate) host: Template,
}

impl Templates {
    pub(crate) fn build() -> Result<Self, SqliteError> {
        Ok(Self {
            messages: Template::build(MESSAGES)?,
            state: Template::build(STATE)?,
            agent: Template::build(AGENT)?,
            host: Template::build(HOST)?,
        })
    }
}
