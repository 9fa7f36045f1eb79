//! The data folder: where it is, its lock and its token.
//!
//! One host per folder (flock). The token is made once, mode 0600. Must never follow a symbolic link to the
//! lock or the token.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::random::Randomness;

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Neither `PODIUM_DATA`, nor `XDG_DATA_HOME`, nor a home folder is known.
    #[error("no data folder is known: set PODIUM_DATA, or pass --data")]
    Unknown,
    /// Another host holds the lock.
    #[error("the data folder {0} is in use by another host")]
    InUse(PathBuf),
    /// The system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataError {
    fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { path: path.to_owned(), source: source.into() }
    }
}

/// The folder that `--data` defaults to: `PODIUM_DATA`, else `$XDG_DATA_HOME/podium`, else `~/.local/share/podium`.
pub fn default_folder() -> Result<PathBuf, DataError> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("PODIUM_DATA")
        .or_else(|| var("XDG_DATA_HOME").map(|home| home.join("podium")))
        .or_else(|| var("HOME").map(|home| home.join(".local/share/podium")))
        .ok_or(DataError::Unknown)
}

/// A locked data folder; the lock goes with the value.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

impl DataFolder {
    /// Makes the folder if needed (0700) and locks it.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        create_private_dir(path).map_err(|error| DataError::io(path, error))?;
        let path = path.canonicalize().map_err(|error| DataError::io(path, error))?;
        let lock_path = path.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&lock_path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|error| DataError::io(&lock_path, error))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path, _lock: File::from(lock) }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(DataError::InUse(path)),
            Err(error) => Err(DataError::io(&lock_path, error)),
        }
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The bearer token, made at first use: 64 hexadecimal digits.
    pub fn token(&self, random: &Randomness) -> Result<String, DataError> {
        let path = self.path.join("token");
        match read_token(&self.path) {
            Ok(token) if !token.is_empty() => return Ok(token),
            Ok(_) => {}
            Err(DataError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let token: String = random.bytes32().iter().map(|byte| format!("{byte:02x}")).collect();
        // Written beside and renamed, so that a crash never leaves half a token.
        let staged = self.path.join("token.new");
        let write = || -> io::Result<()> {
            let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(rustix::fs::open(&staged, flags, Mode::RUSR | Mode::WUSR)?);
            file.write_all(token.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&staged, &path)
        };
        write().map_err(|error| DataError::io(&path, error))?;
        Ok(token)
    }
}

/// Reads the token of a data folder, as a client on the same machine does.
pub fn read_token(folder: &Path) -> Result<String, DataError> {
    let path = folder.join("token");
    let read = || -> io::Result<String> {
        let file =
            File::from(rustix::fs::open(&path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?);
        let mut text = String::new();
        file.take(4096).read_to_string(&mut text)?;
        Ok(text.trim().to_owned())
    };
    read().map_err(|error| DataError::io(&path, error))
}

/// Makes a folder and its parents, the new ones with mode 0700.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}
