//! Deletion: the folder is renamed away, durably, before anything of it is removed; a crash is finished at the next open.

use std::io;
use std::path::Path;

use podium_kit::spawn;
use podium_sqlite::sync_folder;
use podium_wire::InstanceId;

use crate::error::StoreError;
use crate::paths::{self, Paths};
use crate::store::Store;

impl Store {
    /// Removes an instance and its data. A second call is [`StoreError::NotFound`]. The caller has ended its turn.
    pub async fn delete(&self, id: InstanceId) -> Result<(), StoreError> {
        let key = id.as_uuid().as_u128();
        // On the instance's own thread: no job of it can be between two files.
        let moved = self
            .shared
            .slot(id, move |shared, slot| {
                slot.close();
                move_away(&shared.root, id)
            })
            .await?;
        self.shared.pool.forget(key).await?;
        let listed = self.shared.host(move |host| host.remove(id)).await?;
        if !moved && !listed {
            return Err(StoreError::NotFound(id));
        }
        let away = paths::deleted(&self.shared.root).join(id.to_string());
        let removed = spawn::blocking(move || remove_folder(&away)).await;
        match removed {
            Ok(done) => done,
            // The runtime is ending: the next start removes it.
            Err(_) => Ok(()),
        }
    }
}

/// Renames the instance's folder; false when there is none.
fn move_away(root: &Path, id: InstanceId) -> Result<bool, StoreError> {
    let folder = Paths::new(root, id).folder;
    let away = paths::deleted(root).join(id.to_string());
    match std::fs::rename(&folder, &away) {
        Ok(()) => {
            sync_folder(&paths::instances(root))?;
            sync_folder(&paths::deleted(root))?;
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::file(folder, error)),
    }
}

/// Removes a folder and all in it, following no link; one that is gone already is fine.
pub(crate) fn remove_folder(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file(path, error)),
        _ => Ok(()),
    }
}
