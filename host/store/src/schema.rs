//! The schemas of the four databases and the template of each.
//!
//! A change of a table raises [`SCHEMA_VERSION`] and brings an upgrade.

use podium_sqlite::{SqliteError, Template};

/// Stands in every `meta` as `schema`.
pub(crate) const SCHEMA_VERSION: i64 = 2;

/// `inbox.id` leads its key because clients ask by it; `inbox.cut` is the cut that consumed the row;
/// `turns.message_id` outlives the inbox row, which is pruned one day. `INT` and not `INTEGER`, which means the same here: the text
/// stands in every instance's file, and this one fits into a page less.
const MESSAGES: &str = "
CREATE TABLE meta(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
CREATE TABLE inbox(seq INTEGER PRIMARY KEY, sender TEXT NOT NULL, id TEXT NOT NULL, body_hash BLOB NOT NULL,
    kind TEXT NOT NULL, body TEXT NOT NULL, at INT NOT NULL, attempts INT NOT NULL, status TEXT NOT NULL,
    turn INT, cut INT, UNIQUE(id, sender));
CREATE INDEX inbox_unfinished ON inbox(status) WHERE status <> 'done';
CREATE TABLE turns(turn INTEGER PRIMARY KEY, turn_id TEXT NOT NULL, inbox_seq INT, message_id TEXT,
    kind TEXT NOT NULL, attempt INT NOT NULL, base_cut INT NOT NULL, began TEXT NOT NULL, seed BLOB NOT NULL,
    status TEXT NOT NULL, error TEXT, started INT NOT NULL, ended INT);
CREATE TABLE cuts(cut INTEGER PRIMARY KEY, parent INT NOT NULL, turn INT, kind TEXT NOT NULL,
    state_version INT NOT NULL, last_message_seq INT NOT NULL, first_seq INT, last_seq INT,
    workspace_version INT, workspace_root BLOB, component TEXT NOT NULL, config_rev INT NOT NULL,
    at INT NOT NULL);
CREATE TABLE messages(seq INTEGER PRIMARY KEY, cut INT NOT NULL, role TEXT NOT NULL, body TEXT NOT NULL,
    at INT NOT NULL);
CREATE TABLE updates(seq INTEGER PRIMARY KEY, turn INT, attempt INT, n INT, event_type TEXT NOT NULL,
    body TEXT NOT NULL, at INT NOT NULL);
CREATE TABLE ops(cut INTEGER PRIMARY KEY, patch TEXT NOT NULL);
CREATE TABLE effects(turn INT NOT NULL, place INT NOT NULL, what TEXT NOT NULL, kind TEXT NOT NULL, n INT,
    request_hash BLOB, idempotent INT NOT NULL, answer BLOB, object BLOB, at INT NOT NULL, yields INT NOT NULL,
    calls BLOB NOT NULL, PRIMARY KEY(turn, place)) WITHOUT ROWID;
CREATE TABLE objects(hash BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE timers(id TEXT PRIMARY KEY, due INT NOT NULL, kind TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE config(rev INTEGER PRIMARY KEY, doc TEXT NOT NULL, at INT NOT NULL);
";

/// From version 1 on, in which no journal was ever written.
pub(crate) const UPGRADE_TO_2: &str = "
DROP TABLE effects;
CREATE TABLE effects(turn INT NOT NULL, place INT NOT NULL, what TEXT NOT NULL, kind TEXT NOT NULL, n INT,
    request_hash BLOB, idempotent INT NOT NULL, answer BLOB, object BLOB, at INT NOT NULL, yields INT NOT NULL,
    calls BLOB NOT NULL, PRIMARY KEY(turn, place)) WITHOUT ROWID;
CREATE TABLE objects(hash BLOB PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
UPDATE meta SET v = 2 WHERE k = 'schema';
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
