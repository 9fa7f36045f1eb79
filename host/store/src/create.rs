//! Creation: the folder and `messages.db` with its first rows, all on the disk before it returns.
//!
//! The host's list learns of the instance first, as active, so that a crash in between leaves nothing unseen.

use std::os::unix::fs::DirBuilderExt;

use podium_sqlite::{create_file, sync_folder};
use podium_wire::{DeploymentId, InstanceId};
use rusqlite::{Connection, params};

use crate::accept::{NewRow, insert};
use crate::error::StoreError;
use crate::host_db::InstanceRow;
use crate::paths::{self, Paths};
use crate::rows::CutKind;
use crate::schema::SCHEMA_VERSION;
use crate::slot::{Head, InstanceSlot};
use crate::store::{Shared, Store};

/// An instance to create.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// A new UUIDv7.
    pub id: InstanceId,
    /// When, in milliseconds since the Unix epoch.
    pub created_at: u64,
    /// The code it runs.
    pub component: DeploymentId,
    /// The configuration of revision 1: a JSON object as text.
    pub config: String,
    /// How its first cut comes about.
    pub first: FirstCut,
}

/// How the first cut comes about.
#[derive(Debug, Clone)]
pub enum FirstCut {
    /// With the creation itself: the agent has no `on-init`.
    Now,
    /// By the turn of this row, an `on-init`; until then the instance is not created ([`StoreError::NeverCreated`]).
    Row(NewRow),
}

impl Store {
    /// Makes an instance durable. After an error nothing of it is left, or the next start removes it.
    pub async fn create(&self, new: NewInstance) -> Result<(), StoreError> {
        let row =
            InstanceRow { id: new.id, component: new.component.clone(), created_at: new.created_at, stopped: false };
        self.shared.host(move |host| host.insert(&row, true)).await?;
        let id = new.id;
        match self.shared.slot(id, move |shared, slot| create(shared, slot, &new)).await {
            Ok(()) => Ok(()),
            // Its data is somebody else's.
            Err(error @ StoreError::Exists(_)) => {
                self.shared.host(move |host| host.remove(id)).await?;
                Err(error)
            }
            Err(error) => {
                // The first error is the one that counts; what this cannot remove the next start does.
                if let Err(error) = self.delete(id).await {
                    tracing::warn!(instance = %id, %error, "a failed creation was not cleaned up");
                }
                Err(error)
            }
        }
    }
}

fn create(shared: &Shared, slot: &mut InstanceSlot, new: &NewInstance) -> Result<(), StoreError> {
    let paths = Paths::new(&shared.root, new.id);
    let folder = |path: &std::path::Path| {
        std::fs::DirBuilder::new().mode(0o700).create(path).map_err(|error| StoreError::file(path, error))
    };
    match folder(&paths.folder) {
        Err(error) if paths.folder.symlink_metadata().is_ok() => {
            tracing::debug!(%error, "the folder of a new instance is there");
            return Err(StoreError::Exists(new.id));
        }
        made => made?,
    }
    folder(&paths.messages_folder())?;
    // The file begins with its first rows: one fsync makes all of it durable.
    let image = shared.templates.messages.filled(|connection| write_first_rows(connection, new))?;
    let file = paths.messages_db();
    create_file(&file, &image, true).map_err(|error| StoreError::file(file, error))?;
    for path in [paths.messages_folder(), paths.folder, paths::instances(&shared.root)] {
        sync_folder(&path)?;
    }
    let mut head = Head { component: new.component.to_string(), config_rev: 1, ..Head::default() };
    match &new.first {
        FirstCut::Now => head.cut = 1,
        FirstCut::Row(row) => {
            head.last_inbox_seq = 1;
            head.last_turn = row.start.as_ref().map_or(0, |start| start.turn);
        }
    }
    slot.expect_fresh(head);
    Ok(())
}

fn write_first_rows(connection: &Connection, new: &NewInstance) -> Result<(), StoreError> {
    let mut meta = connection.prepare_cached("INSERT INTO meta(k, v) VALUES (?1, ?2)")?;
    meta.execute(params!["instance", new.id.to_string()])?;
    meta.execute(params!["epoch", 0])?;
    meta.execute(params!["schema", SCHEMA_VERSION])?;
    meta.execute(params!["created_at", new.created_at])?;
    meta.execute(params!["component", new.component.to_string()])?;
    connection
        .prepare_cached("INSERT INTO config(rev, doc, at) VALUES (1, ?1, ?2)")?
        .execute(params![new.config, new.created_at])?;
    match &new.first {
        FirstCut::Now => {
            connection
                .prepare_cached(
                    "INSERT INTO cuts(cut, parent, kind, state_version, last_message_seq, component, config_rev, at)
                     VALUES (1, 0, ?1, 0, 0, ?2, 1, ?3)",
                )?
                .execute(params![CutKind::Init, new.component.to_string(), new.created_at])?;
        }
        FirstCut::Row(row) => {
            insert(connection, 1, row)?;
        }
    }
    Ok(())
}
