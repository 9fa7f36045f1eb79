//! The history as everybody is told of it: what happened to a path, and what a file was, in the words of `podium-wire`.
//!
//! Must never tell a client of a version that no cut names: a turn that runs may fail.

use podium_wire::rest::{FileIteration, IterationPage};

use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::HISTORY_ROWS_MAX;
use crate::node::Kind;
use crate::path::WorkPath;
use crate::restore::{Brought, Restored};
use crate::rows;
use crate::rows::change::Told;
use crate::tree::Entry;
use crate::trees::Trees;
use crate::version::{Iteration, Version, VersionStatus};

/// Whose history it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// What cuts left behind.
    Cuts,
    /// The running turn's: what it made a version of itself is in it, too.
    Turn,
}

/// What a path was at an iteration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastFile {
    /// What it was.
    pub kind: Kind,
    /// Its content; of a folder its tree.
    pub hash: ContentHash,
    /// Bytes of the content.
    pub size: u64,
}

impl Sight {
    fn has(self, version: &Version) -> bool {
        match version.status {
            VersionStatus::Committed => true,
            VersionStatus::Prepared => self == Self::Turn,
            VersionStatus::Recovered => false,
        }
    }
}

impl Chronicle {
    /// The iterations of a path with an index above `after`, oldest first; at most [`HISTORY_ROWS_MAX`].
    pub fn told(
        &self,
        path: &WorkPath,
        after: u64,
        limit: usize,
        sight: Sight,
    ) -> Result<IterationPage, ChronicleError> {
        let (limit, after) = (limit.clamp(1, HISTORY_ROWS_MAX), after.min(i64::MAX.unsigned_abs()));
        let mut rows = rows::change::told(self.database.connection(), path, after, limit + 1, sight == Sight::Turn)?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let iterations: Vec<FileIteration> = rows.into_iter().map(FileIteration::from).collect();
        let next = iterations.last().filter(|_| more).map(|last| last.index);
        Ok(IterationPage { iterations, next })
    }

    /// What a path was in the version that iteration `n` came with, whether or not it is an iteration of this path; none when it was
    /// not there. Of a version that is not kept, only its own iterations are known.
    pub fn at_iteration(&self, path: &WorkPath, n: u64, sight: Sight) -> Result<Option<PastFile>, ChronicleError> {
        let iteration = self.iteration(n)?;
        match self.kept_version(&iteration, sight)? {
            Some(version) => {
                let entry = Trees::new(&self.database).find(version.root, path).map_err(|error| error.at(path))?;
                Ok(entry.map(|Entry { kind, hash, size, .. }| PastFile { kind, hash, size }))
            }
            None if iteration.path == *path => {
                Ok(iteration.new.map(|hash| PastFile { kind: iteration.kind, hash, size: iteration.size }))
            }
            None => Err(ChronicleError::NoIteration(n)),
        }
    }

    /// The tree of the version that iteration `n` came with.
    pub fn root_at(&self, n: u64, sight: Sight) -> Result<ContentHash, ChronicleError> {
        let version = self.kept_version(&self.iteration(n)?, sight)?;
        version.map(|version| version.root).ok_or(ChronicleError::NoIteration(n))
    }

    /// The last iteration of the version made last, prepared or committed; 0 while there is none.
    pub fn moment(&self) -> Result<u64, ChronicleError> {
        if self.tip.version == 0 { Ok(0) } else { Ok(self.version(self.tip.version)?.last_n) }
    }

    /// Brings a path, with what is beneath it, to what it was in the version that iteration `n` came with: it goes, if it was not there.
    /// As [`Chronicle::restore`], only paths.
    pub fn restore_to(&mut self, path: &WorkPath, n: u64, sight: Sight) -> Result<Restored, ChronicleError> {
        let iteration = self.iteration(n)?;
        let version = self.kept_version(&iteration, sight)?.ok_or(ChronicleError::NoIteration(n))?;
        let restored = self.restore_root(version.root, Some(std::slice::from_ref(path)))?;
        if restored.brought == Brought::default()
            && self.entry(version.root, path)?.is_none()
            && self.entry(self.tip.root, path)?.is_none()
        {
            return Err(ChronicleError::NotThere { path: path.clone(), what: "file or folder, nor was there one" });
        }
        Ok(restored)
    }

    /// The version that an iteration came with; none when it is not kept.
    fn kept_version(&self, iteration: &Iteration, sight: Sight) -> Result<Option<Version>, ChronicleError> {
        let version = rows::version::find(self.database.connection(), iteration.version)?;
        match version {
            Some(version) if !sight.has(&version) => Err(ChronicleError::NoIteration(iteration.n)),
            version => Ok(version),
        }
    }
}

impl From<Told> for FileIteration {
    fn from(told: Told) -> Self {
        let Told { iteration, cut, turn } = told;
        Self { cut, turn, ..iteration.to_wire() }
    }
}
