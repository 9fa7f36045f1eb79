//! `/workspace/.chronicle`: the history, as a guest reads it.
//!
//! A folder of it is a handle on the folder that is gone, with its place in a table beside; a file is a file without a name, which holds
//! what the history holds and is open for reading only. It is listed nowhere and found by its name, so that who walks the workspace
//! does not walk its history. Must never show what no cut names, and never let a guest fill the disk with copies.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use podium_capabilities::workspace::Workspace;
use podium_chronicle::limits::{FILE_BYTES_MAX, FOLDER_ENTRIES_MAX, OBJECT_BYTES_MAX};
use podium_chronicle::{Chronicle, ChronicleError, VIEW_NAME, ViewFile, ViewName, ViewPath, Viewed};
use rustix::fs::{Mode, OFlags, Timespec, Timestamps};
use wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode;

/// Bytes of the history that a guest may hold open, as copies: the largest file that there can be.
const OPEN_BYTES_MAX: u64 = FILE_BYTES_MAX;

/// The history as one guest has it open.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Places of the folders that are open, by their handles.
    folders: HashMap<u32, ViewPath>,
    /// Files that are open, with their bytes.
    files: Vec<(Weak<File>, u64)>,
}

/// What stands at a place.
pub(super) enum Found {
    Folder,
    File(File, ViewFile),
}

impl History {
    /// Where a path leads from a folder, which is the workspace's own or the one behind `handle`; none when it does not lead into the history.
    pub(super) fn place(
        &self,
        handle: u32,
        is_root: impl FnOnce() -> bool,
        path: &str,
    ) -> Option<Result<ViewPath, ErrorCode>> {
        if let Some(folder) = self.folders.get(&handle) {
            return Some(walked(folder.clone(), path.split('/')));
        }
        // Before anything that costs.
        if !path.contains(VIEW_NAME) || path.starts_with('/') {
            return None;
        }
        let mut above = Vec::new();
        let mut names = path.split('/');
        for name in names.by_ref() {
            match name {
                "" | "." => {}
                // Through a link `..` leads elsewhere, but what is not there leads nowhere.
                ".." => drop(above.pop()?),
                VIEW_NAME if above.is_empty() => {
                    return is_root().then(|| walked(ViewPath::Root, names));
                }
                name => above.push(name),
            }
        }
        None
    }

    /// The place of an open folder of the history.
    pub(super) fn folder(&self, handle: u32) -> Option<&ViewPath> {
        self.folders.get(&handle)
    }

    /// A folder of the history has this handle.
    pub(super) fn opened(&mut self, handle: u32, place: ViewPath) {
        self.folders.insert(handle, place);
    }

    /// The handle is given back.
    pub(super) fn given_back(&mut self, handle: u32) {
        self.folders.remove(&handle);
    }

    /// Notes a file that is open; what it takes counts until it is closed.
    pub(super) fn holds(&mut self, file: &Arc<File>, size: u64) {
        self.files.push((Arc::downgrade(file), size));
    }

    /// Opens a place.
    pub(super) fn open(&mut self, shared: &Workspace, place: &ViewPath) -> Result<Found, ErrorCode> {
        self.files.retain(|(file, _)| file.strong_count() > 0);
        let held: u64 = self.files.iter().map(|(_, size)| size).sum();
        read(shared, |chronicle| match chronicle.view(place)? {
            Viewed::Folder => Ok(Ok(Found::Folder)),
            Viewed::File(file) if held.saturating_add(file.size()) > OPEN_BYTES_MAX => Ok(Err(ErrorCode::Quota)),
            Viewed::File(file) => {
                let copied = copy(chronicle, &file)?;
                Ok(Ok(Found::File(copied, file)))
            }
        })?
    }
}

/// What stands at a place, without opening it.
pub(super) fn look(shared: &Workspace, place: &ViewPath) -> Result<Viewed, ErrorCode> {
    read(shared, |chronicle| chronicle.view(place))
}

/// The names in a folder.
pub(super) fn names(shared: &Workspace, place: &ViewPath) -> Result<Vec<ViewName>, ErrorCode> {
    read(shared, |chronicle| match chronicle.view(place)? {
        Viewed::Folder => chronicle.view_names(place, None, FOLDER_ENTRIES_MAX).map(Ok),
        Viewed::File(_) => Ok(Err(ErrorCode::NotDirectory)),
    })?
}

fn read<T>(shared: &Workspace, read: impl FnOnce(&Chronicle) -> Result<T, ChronicleError>) -> Result<T, ErrorCode> {
    match shared.read(read) {
        Ok(Some(found)) => Ok(found),
        Ok(None) | Err(ChronicleError::NotThere { .. } | ChronicleError::NoIteration(_) | ChronicleError::Path(_)) => {
            Err(ErrorCode::NoEntry)
        }
        Err(error) => {
            tracing::error!(%error, "a guest cannot read its workspace's history");
            let is_full = error.failure() == Some(podium_chronicle::Failure::Full);
            Err(if is_full { ErrorCode::InsufficientSpace } else { ErrorCode::Io })
        }
    }
}

/// The place that names lead to from another.
fn walked<'n>(from: ViewPath, names: impl Iterator<Item = &'n str>) -> Result<ViewPath, ErrorCode> {
    let mut places = vec![from];
    for name in names {
        match name {
            "" | "." => {}
            // Out of the folder that was opened.
            ".." if places.len() < 2 => return Err(ErrorCode::NotPermitted),
            ".." => drop(places.pop()),
            name => {
                let next = places.last().and_then(|place| place.join(name.as_bytes())).ok_or(ErrorCode::NoEntry)?;
                places.push(next);
            }
        }
    }
    places.pop().ok_or(ErrorCode::NoEntry)
}

/// A file without a name that holds what `file` does, open for reading.
fn copy(chronicle: &Chronicle, file: &ViewFile) -> Result<File, ChronicleError> {
    static COPIES: AtomicU64 = AtomicU64::new(0);
    let name = format!("tmp/view-{}-{}", std::process::id(), COPIES.fetch_add(1, Ordering::Relaxed));
    let path = chronicle.place().metadata().join(name);
    let failed = |source: io::Error| ChronicleError::File { path: path.clone(), source };
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let written =
        File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(|error| failed(error.into()))?);
    let opened = File::open(&path);
    // What remains of a host that dies here is removed when the workspace is opened.
    std::fs::remove_file(&path).map_err(failed)?;
    let opened = opened.map_err(failed)?;
    // A hole stays one.
    written.set_len(file.size()).map_err(failed)?;
    let mut at = 0;
    while at < file.size() {
        let piece = chronicle.view_read(file, at, OBJECT_BYTES_MAX)?;
        if piece.is_empty() {
            break;
        }
        if piece.iter().any(|byte| *byte != 0) {
            written.write_all_at(&piece, at).map_err(failed)?;
        }
        at += u64::try_from(piece.len()).unwrap_or(u64::MAX);
    }
    let time = Timespec {
        tv_sec: i64::try_from(file.at_ms() / 1000).unwrap_or(i64::MAX),
        tv_nsec: (file.at_ms() % 1000 * 1_000_000).try_into().unwrap_or(0),
    };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::futimens(&written, &times).map_err(|error| failed(error.into()))?;
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_at_the_root_leads_into_the_history() {
        let mut history = History::default();
        let place = |history: &History, handle, path: &str| history.place(handle, || handle == 1, path);
        for path in [
            ".chronicle",
            "./.chronicle/",
            "d/../.chronicle",
            "/.chronicle",
            "a/.chronicle",
            "../.chronicle",
            ".chronicles",
            "a",
        ] {
            let found = place(&history, 1, path);
            let leads = matches!(path, ".chronicle" | "./.chronicle/" | "d/../.chronicle");
            assert_eq!(found, leads.then_some(Ok(ViewPath::Root)), "{path}");
            assert_eq!(place(&history, 2, path), None, "of another folder");
        }
        let query = |text: &str| Ok(ViewPath::Query(text.parse().expect("a path")));
        assert_eq!(place(&history, 1, ".chronicle/query/a/../b"), Some(query("b")));
        assert_eq!(place(&history, 1, ".chronicle/x"), Some(Err(ErrorCode::NoEntry)));
        assert_eq!(place(&history, 1, ".chronicle/../a"), Some(Err(ErrorCode::NotPermitted)));
        history.opened(7, ViewPath::Query("d".parse().expect("a path")));
        assert_eq!(place(&history, 7, "a"), Some(query("d/a")));
        assert_eq!(place(&history, 7, "."), Some(query("d")));
        assert_eq!(place(&history, 7, "../../a"), Some(Err(ErrorCode::NotPermitted)));
        history.given_back(7);
        assert_eq!(place(&history, 7, "a"), None);
    }
}
