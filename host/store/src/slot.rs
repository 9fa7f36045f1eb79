//! What is kept open of an instance: its databases and the numbers that the next cut continues.
//!
//! Any failed write closes it, so that memory never runs ahead of the disk. Must never be used by two jobs at once.

use std::path::Path;

use podium_sqlite::{CHECKPOINT_BYTES, Database, Slot, SqliteError, Synchronous, Upkeep, sync_folder};
use podium_wire::InstanceId;
use rusqlite::OptionalExtension;

use crate::cut::WorkspaceAt;
use crate::error::StoreError;
use crate::logs::AgentLog;
use crate::paths::Paths;
use crate::schema::UPGRADE_TO_2;
use crate::snapshots::StateDb;

/// A WAL of this many times [`CHECKPOINT_BYTES`] is written back before anything else is written.
const OVERDUE_FACTOR: u64 = 8;

/// Bytes of a `messages.db` at least: a page for each of its tables (`schema.rs`), of which this asks for half.
const FILE_BYTES_MIN: u64 = 8 * 2048;

/// The slot: closed until the first job.
#[derive(Debug, Default)]
pub(crate) struct InstanceSlot {
    open: Option<Open>,
    /// The numbers of an instance that was just created; its file need not be asked for them.
    fresh: Option<Head>,
}

/// The last of everything that is numbered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    pub(crate) cut: u64,
    pub(crate) state_version: u64,
    pub(crate) last_message_seq: u64,
    pub(crate) last_seq: u64,
    /// The last update of the last cut: what is past it is of the turn that has none yet.
    pub(crate) cut_seq: u64,
    pub(crate) last_turn: u64,
    pub(crate) last_inbox_seq: u64,
    pub(crate) component: String,
    pub(crate) config_rev: u64,
    /// The workspace of the last cut; none while no cut had one.
    pub(crate) workspace: Option<WorkspaceAt>,
}

/// The open databases of an instance.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) id: InstanceId,
    pub(crate) paths: Paths,
    pub(crate) messages: Database,
    pub(crate) head: Head,
    pub(crate) state: StateSide,
    pub(crate) agent: Option<AgentLog>,
    /// A snapshot at this cut is written, but not yet known to be on the disk.
    pub(crate) snapshot_unsynced: Option<u64>,
    /// Redo operations up to this cut are no longer needed.
    pub(crate) ops_needless: Option<u64>,
    /// Turns without a cut may have steers, which theirs has to consume.
    pub(crate) steers_wait: bool,
    /// Turns without a cut may have journals, which theirs has to remove.
    pub(crate) journal_waits: bool,
}

/// What is known of `state.db`.
#[derive(Debug)]
pub(crate) enum StateSide {
    /// Nothing yet: rows of a cut that never became true may stand in it.
    Unknown,
    /// There is none.
    Absent,
    /// Open, and nothing in it is past the last cut.
    Open(StateDb),
}

impl InstanceSlot {
    /// The open instance; opens it when needed.
    pub(crate) fn open(&mut self, root: &Path, id: InstanceId) -> Result<&mut Open, StoreError> {
        if self.open.is_none() {
            let paths = Paths::new(root, id);
            let database = paths.messages_db();
            let length = match std::fs::symlink_metadata(&database) {
                Ok(found) => found.len(),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    let created = paths.folder.symlink_metadata().is_ok();
                    return Err(if created { StoreError::NeverCreated(id) } else { StoreError::NotFound(id) });
                }
                Err(error) => return Err(StoreError::file(database, error)),
            };
            // A file that was acknowledged was never shorter; SQLite would take a shorter one for an empty database.
            if length < FILE_BYTES_MIN {
                return Err(StoreError::NeverCreated(id));
            }
            self.open = Some(Open::new(id, paths, self.fresh.take())?);
        }
        self.open.as_mut().ok_or(StoreError::NotFound(id))
    }

    /// Notes that an instance was just created with these numbers. Nothing is opened: many are made before they are used.
    pub(crate) fn expect_fresh(&mut self, head: Head) {
        *self = Self { open: None, fresh: Some(head) };
    }

    /// Closes without writing anything back.
    pub(crate) fn close(&mut self) {
        *self = Self::default();
    }

    /// Writes everything back and closes: only the main files stay.
    pub(crate) fn rest(&mut self) -> Result<(), StoreError> {
        let Some(open) = self.open.take() else { return Ok(()) };
        if let StateSide::Open(state) = open.state {
            state.database.rest()?;
        }
        if let Some(agent) = open.agent {
            agent.database.rest()?;
        }
        open.messages.rest()?;
        Ok(())
    }
}

impl Open {
    /// Opens `messages.db`; its numbers are read unless they are known.
    fn new(id: InstanceId, paths: Paths, head: Option<Head>) -> Result<Self, StoreError> {
        let messages = Database::open(&paths.messages_db(), Synchronous::Full)?;
        let head = match head {
            Some(head) => head,
            None => {
                upgrade(&messages)?;
                load_head(&messages)?
            }
        };
        Ok(Self {
            id,
            paths,
            messages,
            head,
            state: StateSide::Unknown,
            agent: None,
            snapshot_unsynced: None,
            ops_needless: None,
            steers_wait: true,
            journal_waits: true,
        })
    }

    /// One value of `meta`.
    pub(crate) fn meta_number(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let connection = self.messages.connection();
        let mut statement = connection.prepare_cached("SELECT v FROM meta WHERE k = ?1")?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }

    /// Writes back what has grown, and syncs a snapshot so that its redo can go.
    fn write_back(&mut self) -> Result<(), SqliteError> {
        if self.messages.wal_bytes() >= CHECKPOINT_BYTES {
            self.messages.checkpoint()?;
        }
        if let Some(agent) = &self.agent
            && agent.database.wal_bytes() >= CHECKPOINT_BYTES
        {
            agent.database.checkpoint()?;
        }
        if let StateSide::Open(state) = &self.state
            && (self.snapshot_unsynced.is_some() || state.database.wal_bytes() >= CHECKPOINT_BYTES)
        {
            let whole = state.database.checkpoint()?;
            if let (Some(cut), true) = (self.snapshot_unsynced, whole) {
                // The file's own entry must be on the disk too before its redo goes.
                sync_folder(&self.paths.state_folder())?;
                sync_folder(&self.paths.folder)?;
                self.ops_needless = Some(cut);
                self.snapshot_unsynced = None;
            }
        }
        Ok(())
    }

    fn wal_bytes_max(&self) -> u64 {
        let state = if let StateSide::Open(state) = &self.state { state.database.wal_bytes() } else { 0 };
        let agent = self.agent.as_ref().map_or(0, |agent| agent.database.wal_bytes());
        self.messages.wal_bytes().max(state).max(agent)
    }
}

impl Slot for InstanceSlot {
    fn upkeep(&self) -> Upkeep {
        let Some(open) = &self.open else { return Upkeep::Done };
        match open.wal_bytes_max() {
            bytes if bytes >= OVERDUE_FACTOR * CHECKPOINT_BYTES => Upkeep::Overdue,
            bytes if bytes >= CHECKPOINT_BYTES || open.snapshot_unsynced.is_some() => Upkeep::Due,
            _ => Upkeep::Done,
        }
    }

    fn tidy(&mut self) {
        let Some(open) = &mut self.open else { return };
        if let Err(error) = open.write_back() {
            tracing::warn!(instance = %open.id, %error, "checkpoint failed");
        }
    }
}

/// Brings a database of an earlier version to this one.
fn upgrade(messages: &Database) -> Result<(), StoreError> {
    let version = messages.connection().query_row("SELECT v FROM meta WHERE k = 'schema'", [], |row| row.get(0));
    if version.optional()? == Some(1) {
        messages.transaction(|connection| Ok::<_, StoreError>(connection.execute_batch(UPGRADE_TO_2)?))?;
    }
    Ok(())
}

/// Reads the last numbers from the tables that give them.
fn load_head(messages: &Database) -> Result<Head, StoreError> {
    let connection = messages.connection();
    let mut head = connection.query_row(
        "SELECT (SELECT coalesce(max(seq), 0) FROM updates), (SELECT coalesce(max(turn), 0) FROM turns),
             (SELECT coalesce(max(seq), 0) FROM inbox), (SELECT coalesce(max(rev), 0) FROM config),
             (SELECT coalesce(max(seq), 0) FROM messages),
             coalesce((SELECT last_seq FROM cuts WHERE last_seq IS NOT NULL ORDER BY cut DESC LIMIT 1), 0)",
        [],
        |row| {
            Ok(Head {
                last_seq: row.get(0)?,
                last_turn: row.get(1)?,
                last_inbox_seq: row.get(2)?,
                config_rev: row.get(3)?,
                last_message_seq: row.get(4)?,
                cut_seq: row.get(5)?,
                ..Head::default()
            })
        },
    )?;
    let cut = connection
        .query_row(
            "SELECT cut, state_version, component, config_rev, workspace_version, workspace_root
             FROM cuts ORDER BY cut DESC LIMIT 1",
            [],
            |row| {
                let workspace = match (row.get(4)?, row.get(5)?) {
                    (Some(version), Some(root)) => Some(WorkspaceAt { version, root }),
                    _ => None,
                };
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, workspace))
            },
        )
        .optional()?;
    match cut {
        Some((cut, state_version, component, config_rev, workspace)) => {
            head = Head { cut, state_version, component, config_rev, workspace, ..head };
        }
        None => {
            // A crash may have come before the first rows; without a cut the instance was never created either way.
            let component = connection.query_row("SELECT v FROM meta WHERE k = 'component'", [], |row| row.get(0));
            head.component = component.optional()?.unwrap_or_default();
        }
    }
    Ok(head)
}
