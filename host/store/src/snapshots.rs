//! `state.db`: the state's history as snapshots and deltas, always at or behind `messages.db` once it was cleaned.
//!
//! Written at NORMAL before each commit; `ops` in `messages.db` make good what a power cut takes. Must never be
//! believed past the last cut.

use std::path::Path;

use podium_sqlite::{Database, Synchronous, create_file};
use podium_wire::InstanceId;
use rusqlite::{OptionalExtension, params};
use serde_json::Value;

use crate::error::StoreError;
use crate::paths::beside;
use crate::schema::{SCHEMA_VERSION, Templates};
use crate::slot::{Open, StateSide};
use crate::state;

/// Deltas after which a snapshot is written: recovery folds at most so many.
pub const SNAPSHOT_DELTAS: u64 = 64;

/// Bytes of deltas after which a snapshot is written: recovery parses at most so much, one cut's patches apart.
pub const SNAPSHOT_DELTA_BYTES: u64 = 256 * 1024;

/// An open `state.db`.
#[derive(Debug)]
pub(crate) struct StateDb {
    pub(crate) database: Database,
    /// Since the last snapshot.
    deltas: u64,
    delta_bytes: u64,
}

impl StateDb {
    /// Opens the file and removes what stands past `cut`.
    fn open(path: &Path, cut: u64) -> Result<Self, StoreError> {
        let database = Database::open(path, Synchronous::Normal)?;
        let mut db = Self { database, deltas: 0, delta_bytes: 0 };
        db.remove_past(cut)?;
        db.count()?;
        Ok(db)
    }

    /// Makes the file, with the delta of its first cut if there is one. It is opened when a second one comes.
    fn create(
        open_paths: &crate::paths::Paths,
        id: InstanceId,
        templates: &Templates,
        first: Option<(u64, &str)>,
    ) -> Result<(), StoreError> {
        let (folder, path) = (open_paths.state_folder(), open_paths.state_db());
        podium_kit::data::create_private_dir(&folder).map_err(|error| StoreError::file(&folder, error))?;
        remove_beside(&path)?;
        let image = templates.state.filled::<StoreError>(|connection| {
            let mut insert = connection.prepare_cached("INSERT INTO meta(k, v) VALUES (?1, ?2)")?;
            insert.execute(params!["instance", id.to_string()])?;
            insert.execute(params!["epoch", 0])?;
            insert.execute(params!["schema", SCHEMA_VERSION])?;
            if let Some((cut, patch)) = first {
                connection
                    .prepare_cached("INSERT INTO deltas(cut, patch) VALUES (?1, ?2)")?
                    .execute(params![cut, patch])?;
            }
            Ok(())
        })?;
        create_file(&path, &image, false).map_err(|error| StoreError::file(path, error))
    }

    fn remove_past(&mut self, cut: u64) -> Result<(), StoreError> {
        let connection = self.database.connection();
        let past: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM deltas WHERE cut > ?1) OR EXISTS (SELECT 1 FROM snapshots WHERE cut > ?1)",
            [cut],
            |row| row.get(0),
        )?;
        if past {
            // On the disk before another attempt writes its own delta under the same number: a power cut must not bring
            // this one back in its place.
            self.database.transaction_at::<_, StoreError>(Synchronous::Full, |connection| {
                connection.execute("DELETE FROM deltas WHERE cut > ?1", [cut])?;
                connection.execute("DELETE FROM snapshots WHERE cut > ?1", [cut])?;
                Ok(())
            })?;
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), StoreError> {
        (self.deltas, self.delta_bytes) = self.database.connection().query_row(
            "SELECT count(*), coalesce(sum(length(patch)), 0) FROM deltas
             WHERE cut > (SELECT coalesce(max(cut), 0) FROM snapshots)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?;
        Ok(())
    }

    /// Writes the delta of a cut, and a snapshot when one is due; true when it was.
    pub(crate) fn write(&mut self, cut: u64, patch: &str, after: &Value) -> Result<bool, StoreError> {
        let bytes = u64::try_from(patch.len()).unwrap_or(u64::MAX);
        let due = self.deltas + 1 >= SNAPSHOT_DELTAS || self.delta_bytes.saturating_add(bytes) >= SNAPSHOT_DELTA_BYTES;
        let doc = if due { Some(serde_json::to_string(after)?) } else { None };
        self.database.transaction::<_, StoreError>(|connection| {
            connection
                .prepare_cached("INSERT OR REPLACE INTO deltas(cut, patch) VALUES (?1, ?2)")?
                .execute(params![cut, patch])?;
            if let Some(doc) = &doc {
                connection
                    .prepare_cached("INSERT OR REPLACE INTO snapshots(cut, doc) VALUES (?1, ?2)")?
                    .execute(params![cut, doc])?;
            }
            Ok(())
        })?;
        (self.deltas, self.delta_bytes) = if due { (0, 0) } else { (self.deltas + 1, self.delta_bytes + bytes) };
        Ok(due)
    }

    /// Writes deltas that are missing, or that an attempt left which never became true.
    fn redo(&mut self, ops: &[(u64, String)]) -> Result<(), StoreError> {
        let connection = self.database.connection();
        let mut find = connection.prepare("SELECT patch FROM deltas WHERE cut = ?1")?;
        let mut wrong = Vec::new();
        for (cut, patch) in ops {
            let found: Option<String> = find.query_row([cut], |row| row.get(0)).optional()?;
            if found.as_ref() != Some(patch) {
                wrong.push((cut, patch));
            }
        }
        drop(find);
        if let Some((first, _)) = wrong.first() {
            self.database.transaction::<_, StoreError>(|connection| {
                // A snapshot is written with its delta: from here on each one is of what never became true.
                connection.execute("DELETE FROM snapshots WHERE cut >= ?1", [first])?;
                let mut write = connection.prepare("INSERT OR REPLACE INTO deltas(cut, patch) VALUES (?1, ?2)")?;
                for (cut, patch) in &wrong {
                    write.execute(params![cut, patch])?;
                }
                Ok(())
            })?;
            self.count()?;
        }
        Ok(())
    }

    /// The state at `cut`: the last snapshot at or before it and its deltas. Also how many patches were folded, and
    /// the snapshot's cut, by which the caller checks that none is missing.
    pub(crate) fn fold(&self, cut: u64) -> Result<Folded, StoreError> {
        let connection = self.database.connection();
        let snapshot: Option<(u64, String)> = connection
            .prepare_cached("SELECT cut, doc FROM snapshots WHERE cut <= ?1 ORDER BY cut DESC LIMIT 1")?
            .query_row([cut], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (from, mut doc) = match snapshot {
            Some((from, text)) => (from, serde_json::from_str(&text)?),
            None => (0, state::empty()),
        };
        let mut deltas =
            connection.prepare_cached("SELECT patch FROM deltas WHERE cut > ?1 AND cut <= ?2 ORDER BY cut")?;
        let mut rows = deltas.query([from, cut])?;
        let mut patches = 0;
        let mut fits = true;
        while let Some(row) = rows.next()? {
            let batch: Vec<Value> = serde_json::from_str(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
            patches += u64::try_from(batch.len()).unwrap_or(u64::MAX);
            fits = fits && state::fold(&mut doc, &batch).is_ok();
        }
        Ok(Folded { from, patches, fits, doc })
    }
}

/// A state with what is needed to check it.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) from: u64,
    pub(crate) patches: u64,
    pub(crate) fits: bool,
    pub(crate) doc: Value,
}

impl Open {
    /// `state.db`, clean, if there is one.
    pub(crate) fn state_db(&mut self) -> Result<Option<&mut StateDb>, StoreError> {
        if matches!(self.state, StateSide::Unknown) {
            let path = self.paths.state_db();
            self.state = match path.symlink_metadata() {
                Ok(_) => StateSide::Open(StateDb::open(&path, self.head.cut)?),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => StateSide::Absent,
                Err(error) => return Err(StoreError::file(path, error)),
            };
        }
        match &mut self.state {
            StateSide::Open(db) => Ok(Some(db)),
            StateSide::Absent | StateSide::Unknown => Ok(None),
        }
    }

    /// `state.db`, made when there is none.
    pub(crate) fn state_db_made(&mut self, templates: &Templates) -> Result<&mut StateDb, StoreError> {
        if self.state_db()?.is_none() {
            StateDb::create(&self.paths, self.id, templates, None)?;
            self.state = StateSide::Open(StateDb::open(&self.paths.state_db(), 0)?);
        }
        match &mut self.state {
            StateSide::Open(db) => Ok(db),
            StateSide::Absent | StateSide::Unknown => Err(StoreError::Refused("state.db is not open")),
        }
    }

    /// Writes the delta of a cut that is about to be made; true when a snapshot was due and is written too.
    pub(crate) fn write_delta(
        &mut self,
        templates: &Templates,
        cut: u64,
        patch: &str,
        after: &Value,
    ) -> Result<bool, StoreError> {
        let small = u64::try_from(patch.len()).unwrap_or(u64::MAX) < SNAPSHOT_DELTA_BYTES;
        if small && self.state_db()?.is_none() {
            StateDb::create(&self.paths, self.id, templates, Some((cut, patch)))?;
            // Should the cut fail, the next opening finds its delta and removes it.
            self.state = StateSide::Unknown;
            return Ok(false);
        }
        self.state_db_made(templates)?.write(cut, patch, after)
    }

    /// Brings `state.db` to the last cut from the redo operations and gives the state.
    pub(crate) fn recover_state(&mut self, templates: &Templates) -> Result<Value, StoreError> {
        match self.redo_state(templates) {
            Err(error) if can_be_made_again(&error) => {
                tracing::warn!(instance = %self.id, %error, "state.db is unreadable; it is made again");
                self.set_state_aside()?;
                self.redo_state(templates)
            }
            done => done,
        }
    }

    fn redo_state(&mut self, templates: &Templates) -> Result<Value, StoreError> {
        self.state_of(templates, self.head.cut, self.head.state_version)
    }

    /// The state at a cut whose version is known.
    pub(crate) fn state_of(&mut self, templates: &Templates, cut: u64, version: u64) -> Result<Value, StoreError> {
        let ops = self.ops()?;
        if !ops.is_empty() {
            self.state_db_made(templates)?.redo(&ops)?;
        }
        let Some(db) = self.state_db()? else {
            return if version == 0 { Ok(state::empty()) } else { Err(self.damaged("state.db is gone")) };
        };
        let folded = db.fold(cut)?;
        let before: u64 = self
            .messages
            .connection()
            .prepare_cached("SELECT state_version FROM cuts WHERE cut = ?1")?
            .query_row([folded.from], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        if !folded.fits {
            return Err(self.damaged("a committed patch does not apply"));
        }
        if before + folded.patches != version {
            return Err(self.damaged("committed patches are missing in state.db"));
        }
        Ok(folded.doc)
    }

    fn ops(&self) -> Result<Vec<(u64, String)>, StoreError> {
        let mut select = self.messages.connection().prepare_cached("SELECT cut, patch FROM ops ORDER BY cut")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn set_state_aside(&mut self) -> Result<(), StoreError> {
        self.state = StateSide::Absent;
        set_aside(&self.paths.state_db())
    }

    pub(crate) fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Damaged { id: self.id, what: what.into() }
    }
}

/// True when the file is at fault and another one in its place may do: `state.db` from the redo operations, an empty log.
pub(crate) fn can_be_made_again(error: &StoreError) -> bool {
    use podium_sqlite::Failure;
    match error {
        StoreError::Sqlite(error) => matches!(error.failure(), Failure::Damaged | Failure::Other),
        StoreError::Json(_) => true,
        _ => false,
    }
}

/// Keeps an unreadable database for a person to look at, once.
pub(crate) fn set_aside(database: &Path) -> Result<(), StoreError> {
    let aside = beside(database, ".damaged");
    std::fs::rename(database, &aside).map_err(|error| StoreError::file(database, error))?;
    remove_beside(database)
}

/// Removes a WAL and shared memory whose database is gone: SQLite would play the old WAL into a new file.
pub(crate) fn remove_beside(database: &Path) -> Result<(), StoreError> {
    for suffix in ["-wal", "-shm"] {
        let path = beside(database, suffix);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(StoreError::file(path, error)),
            _ => {}
        }
    }
    Ok(())
}
