//! Files on their way in or out over HTTP: how many at once, and where those on their way in lie.
//!
//! A client decides how long its request takes, so each holds a descriptor for as long as it likes: they have a part of the
//! budget. Must never leave a staged file behind but when the host is killed, and then only until its next start.

use std::io;
use std::path::{Path, PathBuf};

use podium_kit::descriptors::{Held, Part};
use podium_wire::ErrorCode;
use tempfile::NamedTempFile;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::error::Error;

/// The folder of staged files in the data folder: in the same file system as the workspaces that they are moved to.
const STAGING: &str = "uploads";

/// Imports that are worked on at once: each packs, hashes and writes all the time, and one of its messages may be large.
const IMPORTS_MAX: usize = 2;

/// The files in transfer, and the folder of those that come in.
#[derive(Debug)]
pub struct Transfers {
    part: Part,
    staging: PathBuf,
    imports: Semaphore,
}

impl Transfers {
    /// Opens the staging folder of a data folder, and removes what a host left there that was killed.
    pub(crate) fn open(data: &Path, part: Part) -> io::Result<Self> {
        let staging = data.join(STAGING);
        match std::fs::remove_dir_all(&staging) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        podium_kit::data::create_private_dir(&staging)?;
        Ok(Self { part, staging, imports: Semaphore::new(IMPORTS_MAX) })
    }

    /// Room for one file in transfer, until it is dropped.
    ///
    /// # Errors
    /// `POD-5008` when there are as many as there may be.
    pub(crate) fn begin(&self) -> Result<Held, Error> {
        self.part.take().ok_or_else(|| {
            let message = format!("{} files are on their way in or out", self.part.max());
            Error::coded(ErrorCode::TooManyConnections, message)
        })
    }

    /// Waits until one import more may be worked on.
    pub(crate) async fn turn_to_import(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed.
        self.imports.acquire().await.ok()
    }

    /// A new staged file, which is counted as `held`. Blocking.
    pub(crate) fn stage(&self, held: Held) -> Result<StagedFile, Error> {
        Ok(StagedFile { file: NamedTempFile::new_in(&self.staging)?, _held: held })
    }
}

/// A file that came in, or comes; removed with the value unless it was moved.
#[derive(Debug)]
pub struct StagedFile {
    file: NamedTempFile,
    _held: Held,
}

impl StagedFile {
    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// The open file.
    pub(crate) fn file(&mut self) -> &mut std::fs::File {
        self.file.as_file_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_host_left_is_removed_at_the_next_start() {
        let data = tempfile::tempdir().expect("a folder");
        let staging = data.path().join(STAGING);
        let transfers = Transfers::open(data.path(), Part::new(2)).expect("opens");
        let staged = transfers.begin().and_then(|held| transfers.stage(held)).expect("stages");
        std::fs::create_dir(staging.join("strange")).expect("a folder");
        assert!(staged.path().starts_with(&staging));
        // As if it had been killed: nothing is dropped.
        std::mem::forget(staged);
        Transfers::open(data.path(), Part::new(2)).expect("opens");
        assert_eq!(std::fs::read_dir(&staging).expect("is there").count(), 0);
    }

    #[test]
    fn one_more_than_there_may_be_is_refused_until_one_ends() {
        let data = tempfile::tempdir().expect("a folder");
        let transfers = Transfers::open(data.path(), Part::new(1)).expect("opens");
        let staged = transfers.begin().and_then(|held| transfers.stage(held)).expect("stages");
        let refused = transfers.begin().expect_err("refused");
        assert_eq!(refused.code(), ErrorCode::TooManyConnections);
        let path = staged.path().to_owned();
        drop(staged);
        assert!(!path.exists() && transfers.begin().is_ok());
    }
}
