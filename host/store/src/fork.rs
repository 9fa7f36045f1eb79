//! A fork: an instance that begins as a copy of another one's cut.
//!
//! Its folder is filled first and `messages.db` comes last, whole: before that there is no instance, and the next start removes what is
//! there. Must never leave a fork without a message, a state or a configuration that its cut has.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use podium_sqlite::{Database, Synchronous, create_file, sync_folder};
use podium_wire::message::HistoryEntry;
use podium_wire::{DeploymentId, InstanceId};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::cut::WorkspaceAt;
use crate::error::StoreError;
use crate::history::HistoryQuery;
use crate::host_db::InstanceRow;
use crate::instance::InstanceStore;
use crate::paths::{self, Paths};
use crate::rows::{CutKind, Word};
use crate::schema::SCHEMA_VERSION;
use crate::slot::Open;
use crate::store::{Shared, Store};

/// The only cut of a new fork.
const FIRST_CUT: u64 = 1;

/// Messages that are copied at once.
const MESSAGES_A_PAGE: usize = 1000;

/// A fork to make.
#[derive(Debug, Clone)]
pub struct NewFork {
    /// A new UUIDv7.
    pub id: InstanceId,
    /// When, in milliseconds since the Unix epoch.
    pub created_at: u64,
    /// The code it runs.
    pub component: DeploymentId,
    /// The configuration: its revision and its JSON text.
    pub config: (u64, String),
    /// The state.
    pub state: Value,
    /// Patches in its life, those of the other instance included.
    pub state_version: u64,
    /// The workspace.
    pub workspace: Option<WorkspaceAt>,
    /// What it is a copy of: a text that the store keeps and does not read.
    pub forked_from: String,
}

impl Store {
    /// Makes the folder of a fork; gives the folder that its workspace belongs into, which is not there yet. Follow it with
    /// [`Store::fork`], or the three steps of that, or with [`Store::delete`].
    pub async fn begin_fork(&self, id: InstanceId, component: DeploymentId, at: u64) -> Result<PathBuf, StoreError> {
        let row = InstanceRow { id, component, created_at: at, stopped: false };
        self.shared.host(move |host| host.insert(&row, true)).await?;
        self.shared
            .slot(id, move |shared, _| {
                let paths = Paths::new(&shared.root, id);
                for folder in [&paths.folder, &paths.messages_folder()] {
                    std::fs::DirBuilder::new()
                        .mode(0o700)
                        .create(folder)
                        .map_err(|error| StoreError::file(folder, error))?;
                }
                Ok(paths.chronicle())
            })
            .await
    }

    /// Makes a begun fork true: an instance whose first cut has this state, and the messages that `origin` has at `cut`.
    pub async fn fork(&self, new: NewFork, origin: &InstanceStore, cut: u64) -> Result<(), StoreError> {
        let (id, mut seq) = (new.id, 0);
        self.write_fork(new).await?;
        let mut after = 0;
        loop {
            let page = origin.history_at(cut, HistoryQuery::After { after, limit: MESSAGES_A_PAGE }).await?;
            after = page.entries.last().map_or(after, |entry| entry.seq);
            seq = self.add_to_fork(id, seq, page.entries).await?;
            if !page.more {
                break;
            }
        }
        self.finish_fork(id).await
    }

    /// Writes everything of a begun fork but its messages.
    pub async fn write_fork(&self, new: NewFork) -> Result<(), StoreError> {
        self.shared.slot(new.id, move |shared, _| begin(shared, &new)).await
    }

    /// Writes messages of a fork, which has so many already; answers how many it has then. Where they stood before does not count.
    pub async fn add_to_fork(
        &self,
        id: InstanceId,
        there: u64,
        messages: Vec<HistoryEntry>,
    ) -> Result<u64, StoreError> {
        let count = there.saturating_add(u64::try_from(messages.len()).unwrap_or(0));
        if count > there {
            self.shared.slot(id, move |shared, _| copy(shared, id, &messages, there + 1)).await?;
        }
        Ok(count)
    }

    /// Makes a fork true, with what was written of it.
    pub async fn finish_fork(&self, id: InstanceId) -> Result<(), StoreError> {
        self.shared.slot(id, move |shared, _| finish(shared, id)).await?;
        // It has nothing to do.
        self.shared.host(move |host| host.set_active(id, false)).await
    }
}

impl InstanceStore {
    /// What a fork is a copy of; none for an instance that is none.
    pub async fn forked_from(&self) -> Result<Option<String>, StoreError> {
        self.run(|_, open| open.forked_from()).await
    }
}

impl Open {
    fn forked_from(&mut self) -> Result<Option<String>, StoreError> {
        let mut select = self.messages.connection().prepare_cached("SELECT v FROM meta WHERE k = 'forked_from'")?;
        Ok(select.query_row([], |row| row.get(0)).optional()?)
    }
}

/// Where `messages.db` grows until it is whole.
fn growing(paths: &Paths) -> PathBuf {
    paths.messages_folder().join("messages.forked")
}

/// Writes the state, and everything of `messages.db` but the messages.
fn begin(shared: &Shared, new: &NewFork) -> Result<(), StoreError> {
    let paths = Paths::new(&shared.root, new.id);
    if new.state_version > 0 {
        let (folder, file) = (paths.state_folder(), paths.state_db());
        podium_kit::data::create_private_dir(&folder).map_err(|error| StoreError::file(&folder, error))?;
        let image = shared.templates.state.filled::<StoreError>(|connection| {
            let mut insert = connection.prepare_cached("INSERT INTO meta(k, v) VALUES (?1, ?2)")?;
            insert.execute(params!["instance", new.id.to_string()])?;
            insert.execute(params!["epoch", 0])?;
            insert.execute(params!["schema", SCHEMA_VERSION])?;
            connection
                .prepare_cached("INSERT INTO snapshots(cut, doc) VALUES (?1, ?2)")?
                .execute(params![FIRST_CUT, serde_json::to_string(&new.state)?])?;
            Ok(())
        })?;
        // No operation of `messages.db` could make it again.
        create_file(&file, &image, true).map_err(|error| StoreError::file(file, error))?;
        sync_folder(&folder)?;
    }
    let image = shared.templates.messages.filled(|connection| write_first_rows(connection, new))?;
    let file = growing(&paths);
    create_file(&file, &image, false).map_err(|error| StoreError::file(file, error))
}

fn write_first_rows(connection: &Connection, new: &NewFork) -> Result<(), StoreError> {
    let mut meta = connection.prepare_cached("INSERT INTO meta(k, v) VALUES (?1, ?2)")?;
    meta.execute(params!["instance", new.id.to_string()])?;
    meta.execute(params!["epoch", 0])?;
    meta.execute(params!["schema", SCHEMA_VERSION])?;
    meta.execute(params!["created_at", new.created_at])?;
    meta.execute(params!["component", new.component.to_string()])?;
    meta.execute(params!["forked_from", new.forked_from])?;
    connection.prepare_cached("INSERT INTO config(rev, doc, at) VALUES (?1, ?2, ?3)")?.execute(params![
        new.config.0,
        new.config.1,
        new.created_at
    ])?;
    connection
        .prepare_cached(
            "INSERT INTO cuts(cut, parent, kind, state_version, last_message_seq, workspace_version, workspace_root,
                 component, config_rev, at)
             VALUES (?1, 0, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            FIRST_CUT,
            CutKind::Fork,
            new.state_version,
            new.workspace.as_ref().map(|workspace| workspace.version),
            new.workspace.as_ref().map(|workspace| &workspace.root),
            new.component.to_string(),
            new.config.0,
            new.created_at
        ])?;
    Ok(())
}

/// Copies messages, numbered from `first` on.
fn copy(shared: &Shared, id: InstanceId, messages: &[HistoryEntry], first: u64) -> Result<(), StoreError> {
    let file = growing(&Paths::new(&shared.root, id));
    let database = Database::open(&file, Synchronous::Normal)?;
    database.transaction::<_, StoreError>(|connection| {
        let mut insert =
            connection.prepare_cached("INSERT INTO messages(seq, cut, role, body, at) VALUES (?1, ?2, ?3, ?4, ?5)")?;
        for (seq, message) in (first..).zip(messages) {
            insert.execute(params![seq, FIRST_CUT, Word(message.role), message.text, message.at])?;
        }
        let last = first + u64::try_from(messages.len()).unwrap_or(0) - 1;
        connection.prepare_cached("UPDATE cuts SET last_message_seq = ?1")?.execute([last])?;
        Ok(())
    })?;
    database.rest()?;
    Ok(())
}

/// The moment from which on the fork is there.
fn finish(shared: &Shared, id: InstanceId) -> Result<(), StoreError> {
    let paths = Paths::new(&shared.root, id);
    let file = growing(&paths);
    let whole = || -> std::io::Result<()> {
        std::fs::File::open(&file)?.sync_all()?;
        std::fs::rename(&file, paths.messages_db())
    };
    whole().map_err(|error| StoreError::file(&file, error))?;
    for folder in [paths.messages_folder(), paths.folder.clone(), paths::instances(&shared.root)] {
        sync_folder(&folder)?;
    }
    Ok(())
}
