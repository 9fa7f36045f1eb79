//! `host.db`: the list of instances and which of them were at work. A convenience: everything in it can be read from the
//! instances' own files again.

use std::cell::Cell;
use std::path::Path;

use podium_sqlite::{CHECKPOINT_BYTES, Database, Slot, Synchronous, Upkeep};
use podium_wire::{DeploymentId, InstanceId};
use rusqlite::{OptionalExtension, params};

use crate::error::StoreError;

/// An instance as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRow {
    /// Its id.
    pub id: InstanceId,
    /// The code it runs.
    pub component: DeploymentId,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at: u64,
    /// True when it takes no messages.
    pub stopped: bool,
}

/// The open database.
#[derive(Debug)]
pub(crate) struct HostDb {
    pub(crate) database: Database,
    /// How many instances there are, once it was asked: counting rows takes longer the more there are.
    count: Cell<Option<u64>>,
}

/// The slot.
#[derive(Debug, Default)]
pub(crate) struct HostSlot {
    open: Option<HostDb>,
}

impl HostSlot {
    pub(crate) fn open(&mut self, path: &Path) -> Result<&HostDb, StoreError> {
        match &mut self.open {
            Some(db) => Ok(db),
            closed => Ok(closed.insert(HostDb::open(path)?)),
        }
    }

    pub(crate) fn close(&mut self) {
        self.open = None;
    }
}

impl Slot for HostSlot {
    fn upkeep(&self) -> Upkeep {
        let grown = self.open.as_ref().is_some_and(|db| db.database.wal_bytes() >= CHECKPOINT_BYTES);
        if grown { Upkeep::Due } else { Upkeep::Done }
    }

    fn tidy(&mut self) {
        if let Some(db) = &self.open
            && let Err(error) = db.database.checkpoint()
        {
            tracing::warn!(%error, "checkpoint of host.db failed");
        }
    }
}

/// A column that holds an id or a name; what cannot be parsed is damage that a rebuild mends.
fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &rusqlite::Row<'_>,
    index: usize,
) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    text.parse()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error)))
}

/// `id, component, created_at, stopped` of a list.
fn instance_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<InstanceRow> {
    Ok(InstanceRow { id: parsed(row, 0)?, component: parsed(row, 1)?, created_at: row.get(2)?, stopped: row.get(3)? })
}

impl HostDb {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(path, Synchronous::Normal)?, count: Cell::new(None) })
    }

    fn write(&self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        Ok(self.database.connection().prepare_cached(sql)?.execute(values)?)
    }

    /// The id of the machine's boot in which the list was last known to be whole.
    pub(crate) fn boot_id(&self) -> Result<Option<String>, StoreError> {
        let connection = self.database.connection();
        Ok(connection.query_row("SELECT v FROM meta WHERE k = 'boot_id'", [], |row| row.get(0)).optional()?)
    }

    pub(crate) fn set_boot_id(&self, boot_id: &str) -> Result<(), StoreError> {
        self.write("INSERT OR REPLACE INTO meta(k, v) VALUES ('boot_id', ?1)", [boot_id]).map(drop)
    }

    pub(crate) fn insert(&self, row: &InstanceRow, active: bool) -> Result<(), StoreError> {
        let inserted = self.write(
            "INSERT INTO instances(id, component, created_at, stopped, active) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT(id) DO NOTHING",
            params![row.id.to_string(), row.component.to_string(), row.created_at, row.stopped, active],
        )?;
        if inserted != 1 {
            return Err(StoreError::Exists(row.id));
        }
        self.count.set(self.count.get().map(|count| count + 1));
        Ok(())
    }

    /// False when it was not listed.
    pub(crate) fn remove(&self, id: InstanceId) -> Result<bool, StoreError> {
        let removed = self.write("DELETE FROM instances WHERE id = ?1", [id.to_string()])? == 1;
        if removed {
            self.count.set(self.count.get().map(|count| count.saturating_sub(1)));
        }
        Ok(removed)
    }

    pub(crate) fn set_component(&self, id: InstanceId, component: &str) -> Result<(), StoreError> {
        self.write("UPDATE instances SET component = ?2 WHERE id = ?1", params![id.to_string(), component]).map(drop)
    }

    pub(crate) fn set_stopped(&self, id: InstanceId, stopped: bool) -> Result<(), StoreError> {
        self.write("UPDATE instances SET stopped = ?2 WHERE id = ?1", params![id.to_string(), stopped]).map(drop)
    }

    pub(crate) fn set_active(&self, id: InstanceId, active: bool) -> Result<(), StoreError> {
        self.write("UPDATE instances SET active = ?2 WHERE id = ?1 AND active <> ?2", params![id.to_string(), active])
            .map(drop)
    }

    pub(crate) fn exists(&self, id: InstanceId) -> Result<bool, StoreError> {
        let mut select =
            self.database.connection().prepare_cached("SELECT EXISTS (SELECT 1 FROM instances WHERE id = ?1)")?;
        Ok(select.query_row([id.to_string()], |row| row.get(0))?)
    }

    pub(crate) fn count(&self) -> Result<u64, StoreError> {
        if let Some(count) = self.count.get() {
            return Ok(count);
        }
        let mut select = self.database.connection().prepare_cached("SELECT count(*) FROM instances")?;
        let count = select.query_row([], |row| row.get(0))?;
        self.count.set(Some(count));
        Ok(count)
    }

    /// Reads every row once, so that a damaged page shows now; a fifth of a microsecond for each.
    pub(crate) fn read_all(&self) -> Result<(), StoreError> {
        let lengths =
            "SELECT sum(length(id)), sum(length(component)), sum(created_at), sum(stopped + active) FROM instances";
        Ok(self.database.connection().query_row(lengths, [], |_| Ok(()))?)
    }

    /// Those of `ids` that are listed, in their order.
    pub(crate) fn find(&self, ids: &[InstanceId]) -> Result<Vec<InstanceRow>, StoreError> {
        let mut select = self
            .database
            .connection()
            .prepare_cached("SELECT id, component, created_at, stopped FROM instances WHERE id = ?1")?;
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            rows.extend(select.query_row([id.to_string()], instance_row).optional()?);
        }
        Ok(rows)
    }

    pub(crate) fn list(&self, after: Option<InstanceId>, limit: usize) -> Result<Vec<InstanceRow>, StoreError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut select = self.database.connection().prepare_cached(
            "SELECT id, component, created_at, stopped FROM instances WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let rows = select.query_map(params![after, limit], instance_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(crate) fn ids(&self) -> Result<Vec<InstanceId>, StoreError> {
        self.id_column("SELECT id FROM instances ORDER BY id")
    }

    pub(crate) fn unfinished(&self) -> Result<Vec<InstanceId>, StoreError> {
        self.id_column("SELECT id FROM instances WHERE active ORDER BY id")
    }

    fn id_column(&self, sql: &str) -> Result<Vec<InstanceId>, StoreError> {
        let mut select = self.database.connection().prepare_cached(sql)?;
        let rows = select.query_map([], |row| parsed(row, 0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
