//! Where data lies and what its fsync costs.

use std::path::PathBuf;

use tempfile::TempDir;

/// A place for data.
#[derive(Debug, Clone)]
pub struct Storage {
    /// `free` or `real`.
    pub name: &'static str,
    folder: PathBuf,
}

impl Storage {
    /// Both: a file system in memory, whose fsync costs nothing, and the disk below `target/` or `PODIUM_BENCH_DISK`.
    pub fn both() -> [Self; 2] {
        [Self::free(), Self::real()]
    }

    /// In memory.
    pub fn free() -> Self {
        Self { name: "free", folder: "/dev/shm".into() }
    }

    /// On the disk.
    pub fn real() -> Self {
        let folder = std::env::var_os("PODIUM_BENCH_DISK").map_or_else(
            || podium_it::host::binary().ancestors().nth(2).map_or_else(std::env::temp_dir, PathBuf::from),
            PathBuf::from,
        );
        Self { name: "real", folder }
    }

    /// True for the disk.
    pub fn is_real(&self) -> bool {
        self.name == "real"
    }

    /// Where its folders are made.
    pub fn path(&self) -> &std::path::Path {
        &self.folder
    }

    /// A new folder that goes away when dropped.
    pub fn folder(&self) -> TempDir {
        let made = tempfile::Builder::new().prefix("podium-bench-").tempdir_in(&self.folder);
        made.unwrap_or_else(|error| panic!("{}: {error}", self.folder.display()))
    }
}
