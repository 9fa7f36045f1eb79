//! The schema of `chronicle.db` and its template.
//!
//! A change of a table raises [`SCHEMA_VERSION`] and brings an upgrade; there is none to bring yet.

use std::sync::OnceLock;

use podium_sqlite::{SqliteError, Template};

/// Stands in `meta` as `schema`.
pub(crate) const SCHEMA_VERSION: i64 = 1;

/// `change.n` numbers the changes of all files for ever, `change.idx` those of one path; `version.first_n` to `last_n` are its
/// changes. `skipped` rows say from which version on and until which one an entry was left out. Pages that a collection frees can be
/// given back, which has to be said before the first table.
const SCHEMA: &str = "
PRAGMA auto_vacuum = INCREMENTAL;
CREATE TABLE meta(k TEXT PRIMARY KEY, v ANY NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE segment(id INTEGER PRIMARY KEY, len INT NOT NULL, live INT NOT NULL, sealed INT NOT NULL) STRICT;
CREATE TABLE object(hash BLOB PRIMARY KEY, kind INT NOT NULL, raw_len INT NOT NULL, seg INT NOT NULL, off INT NOT NULL,
    len INT NOT NULL, enc INT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE tree(hash BLOB PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE version(id INTEGER PRIMARY KEY, cut INT, parent INT NOT NULL, root BLOB NOT NULL, kind TEXT NOT NULL,
    status TEXT NOT NULL, turn INT, at INT NOT NULL, first_n INT NOT NULL, last_n INT NOT NULL, added INT NOT NULL,
    modified INT NOT NULL, deleted INT NOT NULL, new_bytes INT NOT NULL, unstable INT NOT NULL) STRICT;
CREATE TABLE change(n INTEGER PRIMARY KEY, version INT NOT NULL, path BLOB NOT NULL, idx INT NOT NULL, op TEXT NOT NULL,
    kind TEXT NOT NULL, old BLOB, new BLOB, old_mode INT, new_mode INT, size INT NOT NULL, at INT NOT NULL,
    UNIQUE(path, idx)) STRICT;
CREATE TABLE stat(dir BLOB NOT NULL, part INT NOT NULL, data BLOB NOT NULL, PRIMARY KEY(dir, part)) STRICT;
CREATE TABLE skipped(path BLOB NOT NULL, since INT NOT NULL, until INT, reason TEXT NOT NULL, size INT NOT NULL,
    disk INT NOT NULL, mtime_s INT NOT NULL, mtime_ns INT NOT NULL, entries INT NOT NULL, PRIMARY KEY(path, since)) STRICT, WITHOUT ROWID;
CREATE INDEX skipped_now ON skipped(path) WHERE until IS NULL;
CREATE TABLE op(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, from_root BLOB NOT NULL, to_root BLOB NOT NULL,
    state TEXT NOT NULL, at INT NOT NULL, ended INT) STRICT;
CREATE INDEX op_started ON op(id) WHERE state = 'started';
CREATE TABLE lease(version INT NOT NULL, why TEXT NOT NULL, until INT, PRIMARY KEY(version, why)) STRICT, WITHOUT ROWID;
";

/// The template, built once a process.
pub(crate) fn template() -> Result<&'static Template, SqliteError> {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    if let Some(template) = TEMPLATE.get() {
        return Ok(template);
    }
    // Two threads may both build one; the first is kept.
    let built = Template::build(SCHEMA)?;
    Ok(TEMPLATE.get_or_init(|| built))
}
