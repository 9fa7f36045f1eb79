//! Reading the history: versions, iterations of a path, files as they were.
//!
//! Must never read `work/`: what was is in the store, and everything read from there is checked.

use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::{HISTORY_ROWS_MAX, OBJECT_BYTES_MAX};
use crate::node::{Kind, Skipped};
use crate::path::WorkPath;
use crate::rows;
use crate::tree::{Entry, Totals};
use crate::trees::Trees;
use crate::version::{Iteration, Version};

/// An entry of a folder in a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub path: WorkPath,
    /// What it is.
    pub entry: Entry,
}

/// How large the history is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Versions that are kept.
    pub versions: u64,
    /// The oldest of them; 0 for none.
    pub oldest: u64,
    /// Segments of content.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Those that were needed when it was last looked, or are newer.
    pub live_bytes: u64,
    /// Bytes of the database's rows, trees among them.
    pub database_bytes: u64,
    /// Nodes of trees.
    pub trees: u64,
    /// Their bytes.
    pub tree_bytes: u64,
    /// The workspace at the head.
    pub head: Totals,
    /// Bytes that count towards the history's limit.
    pub store_bytes: u64,
    /// That limit.
    pub store_bytes_max: u64,
}

impl Chronicle {
    /// A version.
    pub fn version(&self, id: u64) -> Result<Version, ChronicleError> {
        rows::version::find(self.database.connection(), id)?.ok_or(ChronicleError::NoVersion(id))
    }

    /// Versions after `after`, oldest first; at most [`HISTORY_ROWS_MAX`].
    pub fn versions(&self, after: u64, limit: usize) -> Result<Vec<Version>, ChronicleError> {
        rows::version::list(self.database.connection(), after, limit.min(HISTORY_ROWS_MAX))
    }

    /// The tree of a version; of version 0 the empty one.
    pub(crate) fn root_of(&self, version: u64) -> Result<ContentHash, ChronicleError> {
        if version == 0 {
            return Ok(crate::tree::empty_root());
        }
        Ok(self.version(version)?.root)
    }

    /// The iterations of a path with an index above `after`, oldest first; at most [`HISTORY_ROWS_MAX`].
    pub fn iterations(&self, path: &WorkPath, after: u64, limit: usize) -> Result<Vec<Iteration>, ChronicleError> {
        rows::change::of_path(self.database.connection(), path, after, limit.min(HISTORY_ROWS_MAX))
    }

    /// All iterations with a number above `after`, oldest first; at most [`HISTORY_ROWS_MAX`].
    pub fn changes(&self, after: u64, limit: usize) -> Result<Vec<Iteration>, ChronicleError> {
        rows::change::list(self.database.connection(), after, limit.min(HISTORY_ROWS_MAX))
    }

    /// One iteration.
    pub fn iteration(&self, n: u64) -> Result<Iteration, ChronicleError> {
        // SQLite has no larger numbers.
        let n = n.min(i64::MAX.unsigned_abs());
        rows::change::find(self.database.connection(), n)?.ok_or(ChronicleError::NoIteration(n))
    }

    /// At most `len` bytes of what an iteration left, from `offset` on; fewer at its end. A deletion left nothing.
    pub fn read_at(&self, n: u64, offset: u64, len: usize) -> Result<Vec<u8>, ChronicleError> {
        let iteration = self.iteration(n)?;
        let Some(hash) = iteration.new else {
            return Err(ChronicleError::NotThere { path: iteration.path, what: "file" });
        };
        self.read_content(hash, offset, len).map_err(|error| error.at(&iteration.path))
    }

    /// At most `len` bytes of content that a version names; at most [`OBJECT_BYTES_MAX`] a call.
    pub fn read_content(&self, hash: ContentHash, offset: u64, len: usize) -> Result<Vec<u8>, ChronicleError> {
        self.cas.read_range(&self.database, hash, offset, len.min(OBJECT_BYTES_MAX))
    }

    /// The entry at a path of a version.
    pub fn entry(&self, root: ContentHash, path: &WorkPath) -> Result<Option<Entry>, ChronicleError> {
        Trees::new(&self.database).find(root, path).map_err(|error| error.at(path))
    }

    /// At most `len` bytes of a file of a version, from `offset` on.
    pub fn read(&self, root: ContentHash, path: &WorkPath, offset: u64, len: usize) -> Result<Vec<u8>, ChronicleError> {
        match self.entry(root, path)? {
            Some(entry) if entry.kind == Kind::File => {
                self.read_content(entry.hash, offset, len).map_err(|error| error.at(path))
            }
            _ => Err(ChronicleError::NotThere { path: path.clone(), what: "file" }),
        }
    }

    /// The entries of a folder of a version with a name after `after`, by name; at most [`HISTORY_ROWS_MAX`].
    pub fn list(
        &self,
        root: ContentHash,
        folder: &WorkPath,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Listed>, ChronicleError> {
        let trees = Trees::new(&self.database);
        let tree = if folder.is_root() {
            root
        } else {
            match trees.find(root, folder).map_err(|error| error.at(folder))? {
                Some(entry) if entry.kind == Kind::Folder => entry.hash,
                _ => return Err(ChronicleError::NotThere { path: folder.clone(), what: "folder" }),
            }
        };
        let entries = trees.folder(tree).map_err(|error| error.at(folder))?;
        let wanted = entries.iter().filter(|entry| after.is_none_or(|after| *entry.name > *after));
        wanted
            .take(limit.min(HISTORY_ROWS_MAX))
            .map(|entry| Ok(Listed { path: folder.join(&entry.name)?, entry: entry.clone() }))
            .collect()
    }

    /// What a version left out.
    pub fn skipped(&self, version: u64) -> Result<Vec<Skipped>, ChronicleError> {
        rows::skipped::at(self.database.connection(), version)
    }

    /// Keeps a version for a reason until a time, or until [`Chronicle::release`]; again with another time to change it.
    pub fn lease(&self, version: u64, why: &str, until_ms: Option<u64>) -> Result<(), ChronicleError> {
        self.version(version)?;
        self.database.transaction(|connection| rows::lease::write(connection, version, why, until_ms))
    }

    /// Ends the leases of a reason.
    pub fn release(&self, why: &str) -> Result<(), ChronicleError> {
        self.database.transaction(|connection| rows::lease::remove(connection, why))
    }

    /// How large the history is.
    pub fn stats(&self) -> Result<Stats, ChronicleError> {
        let connection = self.database.connection();
        let (versions, oldest) = rows::version::sums(connection)?;
        let (segments, segment_bytes, live_bytes) = rows::segment::sums(connection)?;
        let (trees, tree_bytes) = rows::tree::sums(connection)?;
        let database_bytes = rows::bytes(connection)?;
        let head = match Trees::new(&self.database).totals(self.head.root) {
            // Who counts what there is can be told of the rest.
            Err(ChronicleError::Damaged { .. }) => Totals::default(),
            totals => totals?,
        };
        let (store_bytes, store_bytes_max) = (self.store_bytes()?, self.limits.store_bytes);
        Ok(Stats {
            versions,
            oldest,
            segments,
            segment_bytes,
            live_bytes,
            database_bytes,
            trees,
            tree_bytes,
            head,
            store_bytes,
            store_bytes_max,
        })
    }
}
