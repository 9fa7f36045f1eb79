//! Deletion: the folder is renamed away, durably, before anything of it is removed; a crash is finished at the next open.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use podium_kit::spawn;
use podium_sqlite::sync_folder;
use podium_wire::InstanceId;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::error::StoreError;
use crate::paths::{self, Paths};
use crate::store::Store;

impl Store {
    /// Removes an instance and its data. A second call is [`StoreError::NotFound`]. The caller has ended its turn.
    pub async fn delete(&self, id: InstanceId) -> Result<(), StoreError> {
        let key = id.as_uuid().as_u128();
        // As a job of the instance: no other can be between two files.
        let moved = self
            .shared
            .slot(id, move |shared, slot| {
                slot.close();
                move_away(&shared.root, id)
            })
            .await?;
        self.shared.slots.forget(key).await?;
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
    match remove_tree(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StoreError::file(path, error)),
        _ => Ok(()),
    }
}

/// Without recursion, and with two open folders: an agent makes folders deeper than a stack, a path or the host's
/// descriptors reach. What lies within a folder is moved up to the top first.
fn remove_tree(path: &Path) -> io::Result<()> {
    let top = open_folder(CWD, path)?;
    let mut left = clear(&top)?;
    let mut moved: u64 = 0;
    while let Some(name) = left.pop() {
        let folder = match open_folder(&top, &name) {
            // A removal that a crash cut short had moved another folder to this name, and it was removed with it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for inner in clear(&folder)? {
            loop {
                let place = OsString::from(format!("moved-{moved}"));
                moved += 1;
                match renameat(&folder, &inner, &top, &place) {
                    Ok(()) => {
                        left.push(place);
                        break;
                    }
                    // Left there by a removal that a crash cut short.
                    Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
    }
    std::fs::remove_dir(path)
}

fn open_folder(at: impl AsFd, path: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

/// Removes everything of a folder but folders, of which it answers the names.
fn clear(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut folders = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        match unlinkat(folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            // Linux says the first of a folder, POSIX the second.
            Err(Errno::ISDIR | Errno::PERM) => folders.push(OsStr::from_bytes(name.to_bytes()).to_owned()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_deeper_than_a_path_go_and_links_are_not_followed() {
        let home = tempfile::tempdir().expect("temp folder");
        let kept = home.path().join("kept");
        std::fs::create_dir(&kept).expect("makes");
        std::fs::write(kept.join("file"), "x").expect("writes");
        let top = home.path().join("top");
        std::fs::create_dir_all(top.join("moved-1/inner")).expect("makes");
        std::os::unix::fs::symlink(&kept, top.join("link")).expect("links");
        let mut at = open_folder(CWD, &top).expect("opens");
        // A path has at most 4,096 bytes.
        let name = "d".repeat(200);
        for depth in 0..100 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("makes");
            at = open_folder(&at, &name).expect("opens");
            if depth % 20 == 0 {
                drop(openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).expect("writes"));
            }
        }
        remove_folder(&top).expect("removes");
        assert!(!top.exists() && kept.join("file").exists());
        remove_folder(&top).expect("is gone already");
    }
}
