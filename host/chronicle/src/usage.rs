//! How much a workspace has: at the last cut, and right now.
//!
//! For those who keep a writer within its limits while it writes. Counts as a snapshot does, so that what fits here fits there. Must never read content.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::beneath::{self, NamesBuffer};
use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::limits::Limits;
use crate::node::{Kind, Meta, SkipReason};
use crate::path::WorkPath;
use crate::rows;
use crate::tree::Totals;
use crate::trees::Trees;

/// More than any limit: of a workspace that has what cannot be counted by its path.
const FULL: Totals = Totals { bytes: u64::MAX, entries: u64::MAX, path_bytes: u64::MAX };

/// Bytes of the workspace's limit that an entry takes.
fn counted(meta: &Meta, limits: &Limits) -> u64 {
    match meta.kind {
        Ok(Kind::File) if meta.size <= limits.file_bytes => meta.size,
        Ok(Kind::Folder | Kind::Link) => 0,
        // Left out of versions.
        Ok(Kind::File) | Err(_) => meta.disk,
    }
}

impl Chronicle {
    /// How large the workspace and its history may be.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What the workspace has at the last cut, what versions leave out included. While something in it is too deep, or has too long a
    /// path, it counts as full: what is in there is not looked at.
    pub fn usage(&self) -> Result<Totals, ChronicleError> {
        let left_out = rows::skipped::now(self.database.connection())?;
        if left_out.iter().any(|it| matches!(it.reason, SkipReason::TooDeep | SkipReason::PathTooLong)) {
            return self.usage_now();
        }
        let mut totals = Trees::new(&self.database).totals(self.head().1)?;
        left_out.iter().for_each(|it| totals.add_left_out(it));
        Ok(totals)
    }

    /// What the workspace has now: a look at each name. Ends early when that is twice what it may have.
    pub fn usage_now(&self) -> Result<Totals, ChronicleError> {
        let mut totals = Totals::default();
        let enough = self.limits.workspace_entries.saturating_mul(2);
        let mut folders = vec![WorkPath::root()];
        let mut buffer = NamesBuffer::new();
        let mut is_full = false;
        while let Some(path) = folders.pop() {
            let folder = match self.work.folder(&path) {
                Ok(folder) => folder,
                Err(error) if beneath::is_gone(error) => continue,
                // Nobody who is kept within limits writes there.
                Err(Errno::ACCESS | Errno::PERM | Errno::XDEV) => continue,
                Err(error) => return Err(ChronicleError::work(&path, error)),
            };
            beneath::each_name::<Errno>(folder.as_fd(), &mut buffer, |name| {
                let meta = match beneath::meta_in(folder.as_fd(), name) {
                    Ok(meta) => meta,
                    Err(error) if beneath::is_gone(error) => return Ok(true),
                    Err(error) => return Err(error),
                };
                let Ok(path) = path.join(name) else {
                    is_full = true;
                    return Ok(false);
                };
                totals.add(&path, counted(&meta, &self.limits));
                if meta.kind == Ok(Kind::Folder) {
                    folders.push(path);
                }
                Ok(totals.entries <= enough)
            })
            .map_err(|error| ChronicleError::work(&path, error))?;
            if is_full || totals.entries > enough {
                return Ok(FULL);
            }
        }
        Ok(totals)
    }
}
