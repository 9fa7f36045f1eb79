//! The workspace as people reach it over HTTP: listing, reading, and changes that the owner makes.
//!
//! Everything is opened beneath the workspace's directory handle (cap-std), never by a joined path. Must never block on
//! a FIFO or read a device. Blocking: callers run it on kit's blocking threads.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use podium_chronicle::{ChronicleError, DirtySet, VIEW_NAME, WorkPath};
use podium_wire::ErrorCode;
use podium_wire::rest::{FileEntry, FileKind, FilePage};
use rustix::io::Errno;

use crate::error::Error;
use crate::transfers::StagedFile;

/// Bytes of one file that a request may write: what a person uploads, with room.
pub(crate) const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Bytes of a path: the system's own bound.
const PATH_BYTES_MAX: usize = 4095;

/// Entries of one listing page.
pub(crate) const LIST_LIMIT_MAX: usize = 10_000;

/// Entries that a listing looks at: the workspace's own default bound.
const LIST_SCAN_MAX: usize = 200_000;

/// Folders within folders that a listing enters.
const LIST_DEPTH_MAX: usize = 64;

/// A path within the workspace: relative, without `..`, `.`, empty parts or NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspacePath(PathBuf);

impl WorkspacePath {
    /// Checks a path as it stands in a URL, decoded.
    pub fn new(path: &str) -> Result<Self, Error> {
        let sound = !path.is_empty()
            && path.len() <= PATH_BYTES_MAX
            && !path.contains('\0')
            && path.split('/').all(|part| !part.is_empty() && part != "." && part != ".." && part.len() <= 255);
        if path.split('/').next() == Some(VIEW_NAME) {
            let message = format!("`{VIEW_NAME}` is where the history is shown, and holds nothing else");
            Err(Error::coded(ErrorCode::InvalidPath, message))
        } else if sound {
            Ok(Self(PathBuf::from(path)))
        } else {
            let shown: String = path.chars().take(80).collect();
            Err(Error::coded(ErrorCode::InvalidPath, format!("`{}` is no path in the workspace", shown.escape_debug())))
        }
    }

    /// The path as the history knows it: links are not followed.
    pub(crate) fn in_history(&self) -> Result<WorkPath, Error> {
        Ok(WorkPath::new(self.0.as_os_str().as_bytes()).map_err(ChronicleError::from)?)
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

/// A change of one file from outside a turn.
#[derive(Debug)]
pub enum FileChange {
    /// The file gets the content of a staged one, which is in the same file system.
    Put {
        /// Where.
        path: WorkspacePath,
        /// The staged content; removed with the value when it was not moved.
        content: StagedFile,
    },
    /// The file goes away.
    Remove(WorkspacePath),
}

/// An instance's workspace.
#[derive(Debug)]
pub(crate) struct Workspace {
    dir: Dir,
    path: PathBuf,
}

impl Workspace {
    /// Opens the folder.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        Ok(Self { dir: Dir::open_ambient_dir(path, ambient_authority())?, path: path.to_owned() })
    }

    /// True when something is at this path itself.
    pub(crate) fn has(&self, path: &WorkspacePath) -> bool {
        self.dir.symlink_metadata(path.as_path()).is_ok()
    }

    /// A file's content, opened for reading, and its size.
    pub(crate) fn read(&self, path: &WorkspacePath) -> Result<(std::fs::File, u64), Error> {
        let mut options = OpenOptions::new();
        // A FIFO without a writer would block the open.
        options.read(true).custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0));
        let file = self.dir.open_with(path.as_path(), &options).map_err(|error| path_error(path, error))?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(not_a_file(path));
        }
        Ok((file.into_std(), metadata.len()))
    }

    /// Makes a change, of which `dirty` is told whether or not it worked.
    pub(crate) fn apply(&self, change: FileChange, dirty: &DirtySet) -> Result<(), Error> {
        let (FileChange::Put { path, .. } | FileChange::Remove(path)) = &change;
        let path = path.as_path().to_owned();
        let done = self.applied(change);
        // The path may lead through symbolic links, which the dirty set does not follow.
        let is_plain = |path: &Path| self.dir.canonicalize(path).is_ok_and(|real| real == path);
        let folder = path.parent().unwrap_or(Path::new(""));
        let plain = folder.as_os_str().is_empty() || is_plain(folder);
        match WorkPath::new(path.as_os_str().as_bytes()) {
            Ok(path) if plain => {
                let mut above = Some(path);
                // Folders on the way may be new.
                while let Some(path) = above.filter(|path| !path.is_root()) {
                    dirty.touched(&path);
                    above = path.split().map(|(folder, _)| folder);
                }
            }
            _ => dirty.scan_needed(),
        }
        done
    }

    fn applied(&self, change: FileChange) -> Result<(), Error> {
        match change {
            FileChange::Put { path, mut content } => {
                if let Some(parent) = path.as_path().parent() {
                    self.dir.create_dir_all(parent).map_err(|error| path_error(&path, error))?;
                }
                if self.dir.symlink_metadata(path.as_path()).is_ok_and(|there| there.is_dir()) {
                    return Err(not_a_file(&path));
                }
                content.file().sync_all()?;
                // The staged file lies in the same file system; moving it in replaces the old content whole or not at all.
                let staging = content.path().parent().unwrap_or(&self.path);
                let name = content.path().file_name().unwrap_or_default().to_owned();
                let staging = Dir::open_ambient_dir(staging, ambient_authority())?;
                staging.rename(name, &self.dir, path.as_path()).map_err(|error| path_error(&path, error))
            }
            FileChange::Remove(path) => {
                let there = self.dir.symlink_metadata(path.as_path()).map_err(|error| path_error(&path, error))?;
                if there.is_dir() {
                    return Err(not_a_file(&path));
                }
                self.dir.remove_file(path.as_path()).map_err(|error| path_error(&path, error))
            }
        }
    }

    /// Everything in the workspace after `after`, in the order of the paths.
    pub(crate) fn list(&self, after: Option<&str>, limit: usize) -> Result<FilePage, Error> {
        let mut entries = Vec::new();
        self.walk(&self.dir.try_clone()?, "", 0, &mut entries)?;
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let start = after.map_or(0, |after| entries.partition_point(|entry| entry.path.as_str() <= after));
        let more = entries.len() > start.saturating_add(limit);
        let files: Vec<_> = entries.into_iter().skip(start).take(limit).collect();
        let next = if more { files.last().map(|entry| entry.path.clone()) } else { None };
        Ok(FilePage { files, next })
    }

    fn walk(&self, dir: &Dir, prefix: &str, depth: usize, entries: &mut Vec<FileEntry>) -> Result<(), Error> {
        for entry in dir.entries()? {
            if entries.len() >= LIST_SCAN_MAX {
                return Ok(());
            }
            let entry = entry?;
            let name = entry.file_name();
            // An entry may vanish between the listing and the look at it.
            let Ok(metadata) = dir.symlink_metadata(&name) else { continue };
            let path = format!("{prefix}{}", name.to_string_lossy());
            let kind = match metadata.file_type() {
                kind if kind.is_file() => FileKind::File,
                kind if kind.is_dir() => FileKind::Folder,
                kind if kind.is_symlink() => FileKind::Symlink,
                _ => FileKind::Other,
            };
            let modified_at = metadata
                .modified()
                .ok()
                .and_then(|at| at.into_std().duration_since(std::time::UNIX_EPOCH).ok())
                .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            let size_bytes = if kind == FileKind::File { metadata.len() } else { 0 };
            let folder = kind == FileKind::Folder;
            entries.push(FileEntry { path: path.clone(), kind, size_bytes, modified_at });
            if folder
                && depth < LIST_DEPTH_MAX
                && let Ok(inner) = dir.open_dir(&name)
            {
                self.walk(&inner, &format!("{path}/"), depth + 1, entries)?;
            }
        }
        Ok(())
    }
}

/// There is something without content.
pub(crate) fn not_a_file(path: &WorkspacePath) -> Error {
    Error::coded(ErrorCode::NotAFile, format!("`{}` is not a file", path.as_path().display()))
}

/// There is no such file.
pub(crate) fn no_file(path: &WorkspacePath) -> Error {
    Error::coded(ErrorCode::FileNotFound, format!("there is no file `{}`", path.as_path().display()))
}

fn path_error(path: &WorkspacePath, error: io::Error) -> Error {
    let shown = path.as_path().display();
    match error.kind() {
        io::ErrorKind::NotFound => no_file(path),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => not_a_file(path),
        // cap-std's word for a path that leads out of the workspace.
        io::ErrorKind::PermissionDenied => {
            Error::coded(ErrorCode::InvalidPath, format!("`{shown}` leads out of the workspace"))
        }
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            // What nobody serves.
            Some(Errno::NXIO) => not_a_file(path),
            // A folder is to be made where a link leads out.
            Some(Errno::LOOP | Errno::NAMETOOLONG | Errno::EXIST) => {
                Error::coded(ErrorCode::InvalidPath, format!("`{shown}` leads nowhere"))
            }
            _ => Error::Io(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sound_paths_are_taken() {
        for path in ["a", "a/b.md", "späße.txt", "a b"] {
            assert!(WorkspacePath::new(path).is_ok(), "{path}");
        }
        for path in ["", "/a", "a/", "..", "a/../b", "./a", "a//b", "a\0b"] {
            assert!(WorkspacePath::new(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn links_out_of_the_workspace_and_pipes_are_refused() {
        let home = tempfile::tempdir().expect("temp folder");
        let root = home.path().join("work");
        std::fs::create_dir(&root).expect("makes");
        let workspace = Workspace::open(&root).expect("opens");
        std::fs::write(home.path().join("secret"), "s").expect("writes");
        std::os::unix::fs::symlink("../secret", root.join("out")).expect("links");
        rustix::fs::mknodat(rustix::fs::CWD, root.join("pipe"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
            .expect("makes a pipe");
        std::os::unix::fs::symlink("loop", root.join("loop")).expect("links");
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).expect("makes a socket");
        for (path, code) in [
            ("out", ErrorCode::InvalidPath),
            ("loop", ErrorCode::InvalidPath),
            ("pipe", ErrorCode::NotAFile),
            ("socket", ErrorCode::NotAFile),
            ("none", ErrorCode::FileNotFound),
        ] {
            let path = WorkspacePath::new(path).expect("sound");
            assert_eq!(workspace.read(&path).expect_err("refused").code(), code, "{path:?}");
        }
        let listed = workspace.list(None, 10).expect("lists");
        assert_eq!(
            listed.files.iter().map(|entry| entry.kind).collect::<Vec<_>>(),
            [FileKind::Symlink, FileKind::Symlink, FileKind::Other, FileKind::Other]
        );
    }
}
