//! The start: `host.db` made, mended or believed, deletions finished.
//!
//! `host.db` is written without waiting for the disk, so it is believed only within one boot of the machine. Must never
//! remove an instance's folder that was not renamed away by a deletion.

use std::collections::BTreeSet;
use std::path::Path;

use podium_sqlite::Failure;
use podium_wire::InstanceId;

use crate::delete::remove_folder;
use crate::error::StoreError;
use crate::host_db::{HostDb, InstanceRow};
use crate::paths::{self, Paths, beside};
use crate::schema::Templates;
use crate::slot::InstanceSlot;
use crate::snapshots::remove_beside;

/// Where Linux says which boot this is.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Makes `host.db` agree with the folders; how many instances had to be looked at.
pub(crate) fn start(root: &Path, templates: &Templates) -> Result<usize, StoreError> {
    let path = paths::host_db(root);
    let boot_id = std::fs::read_to_string(BOOT_ID).map(|text| text.trim().to_owned()).unwrap_or_default();
    let (host, known_boot) = match open(&path) {
        Ok((host, boot)) => (host, boot),
        Err(error) => {
            match error.failure() {
                Some(Failure::Missing) => {}
                Some(Failure::Damaged | Failure::Other) => {
                    tracing::warn!(%error, "host.db is unreadable; it is made again");
                    let aside = beside(&path, ".damaged");
                    std::fs::rename(&path, aside).map_err(|error| StoreError::file(&path, error))?;
                }
                _ => return Err(error),
            }
            remove_beside(&path)?;
            templates.host.write(&path, false)?;
            (HostDb::open(&path)?, None)
        }
    };
    finish_deletions(root, &host)?;
    let mut scanned = 0;
    // Without a boot id nothing can be believed.
    if boot_id.is_empty() || known_boot.as_ref() != Some(&boot_id) {
        scanned = rebuild(root, &host, known_boot.is_some())?;
        host.set_boot_id(&boot_id)?;
        // What follows is believed at the next start, so it has to be there then.
        host.database.checkpoint()?;
    }
    forget_unfinished_creations(root, &host)?;
    Ok(scanned)
}

fn open(path: &Path) -> Result<(HostDb, Option<String>), StoreError> {
    let host = HostDb::open(path)?;
    let boot = host.boot_id()?;
    host.read_all()?;
    Ok((host, boot))
}

/// Removes folders that were renamed away, after their rows.
fn finish_deletions(root: &Path, host: &HostDb) -> Result<(), StoreError> {
    for name in names(&paths::deleted(root))? {
        if let Ok(id) = name.parse() {
            host.remove(id)?;
        }
        remove_folder(&paths::deleted(root).join(name))?;
    }
    Ok(())
}

/// Makes the list agree with the folders. An instance that is listed as resting and has no WAL was put to rest and is
/// believed; every other one is opened.
fn rebuild(root: &Path, host: &HostDb, listed_is_known: bool) -> Result<usize, StoreError> {
    let listed: BTreeSet<InstanceId> = host.ids()?.into_iter().collect();
    let active: BTreeSet<InstanceId> = host.unfinished()?.into_iter().collect();
    let found: BTreeSet<InstanceId> =
        names(&paths::instances(root))?.iter().filter_map(|name| name.parse().ok()).collect();
    host.database.transaction::<_, StoreError>(|_| {
        for gone in listed.difference(&found) {
            host.remove(*gone)?;
        }
        for id in &found {
            let wal = beside(&Paths::new(root, *id).messages_db(), "-wal");
            let listed_as_resting = listed_is_known && listed.contains(id) && !active.contains(id);
            if !(listed_as_resting && wal.symlink_metadata().is_err()) {
                look_into(root, host, *id)?;
            }
        }
        Ok(())
    })?;
    Ok(found.len())
}

/// Reads an instance's own files. One that cannot be read stays as it is listed, and as active, so that its owner says
/// what is wrong with it.
fn look_into(root: &Path, host: &HostDb, id: InstanceId) -> Result<(), StoreError> {
    let mut slot = InstanceSlot::default();
    let read = slot.open(root, id).and_then(|open| {
        let created_at = open.meta_number("created_at")?.unwrap_or(0);
        let stopped = open.meta_number("stopped")?.unwrap_or(0) != 0;
        let component = open.head.component.parse().map_err(|error| open.damaged(format!("component: {error}")))?;
        Ok((InstanceRow { id, component, created_at, stopped }, open.head.cut == 0 || open.work_left()?))
    });
    match read {
        Ok((row, active)) => {
            host.remove(id)?;
            host.insert(&row, active)
        }
        Err(error) => {
            tracing::warn!(instance = %id, %error, "the instance cannot be read");
            host.set_active(id, true)
        }
    }
}

/// Removes rows of instances whose folders were never made: the creation ended before its first file.
fn forget_unfinished_creations(root: &Path, host: &HostDb) -> Result<(), StoreError> {
    for id in host.unfinished()? {
        let folder = Paths::new(root, id).folder;
        if matches!(folder.symlink_metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound) {
            host.remove(id)?;
        }
    }
    Ok(())
}

/// The names in a folder; one that is not UTF-8 is none of ours.
fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let read = || -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    read().map_err(|error| StoreError::file(folder, error))
}
