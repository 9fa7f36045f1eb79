//! The workspace of an earlier cut, as a version that the next cut may name.
//!
//! Only what differs is rewritten. Must never leave half a restore behind: what fails is undone before the error is told.

use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::restore::Brought;
use crate::rows;
use crate::snapshot::SnapshotRequest;
use crate::tree::empty_root;
use crate::version::{Prepared, VersionKind};

/// A workspace that was brought to an earlier cut's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WentBack {
    /// The version of what is there now. Durable, and true when a cut names it.
    pub prepared: Prepared,
    /// What was done to the files.
    pub brought: Brought,
}

impl Chronicle {
    /// Whether the files of a tree can be read: all of a tree's content is there as long as its first node is.
    pub fn keeps(&self, root: ContentHash) -> Result<bool, ChronicleError> {
        Ok(root == empty_root() || rows::tree::has(self.database.connection(), root)?)
    }

    /// Brings `work/` to a tree and makes a version of it, for `cut` to name. What was there and in no version is kept in one first.
    /// After an error everything is as it was.
    pub fn go_back(&mut self, root: ContentHash, cut: u64) -> Result<WentBack, ChronicleError> {
        let went = self.restored_version(root, cut);
        if went.is_err()
            && let Err(error) = self.roll_back()
        {
            tracing::error!(%error, "a workspace cannot be brought back; the next opening does it");
        }
        went
    }

    fn restored_version(&mut self, root: ContentHash, cut: u64) -> Result<WentBack, ChronicleError> {
        let brought = self.restore_root(root, None)?.brought;
        if let Some((path, what)) = brought.damaged.first() {
            // A cut has all its content, or is not made.
            return Err(ChronicleError::damaged(root, what.clone()).at(path));
        }
        self.hit("rewind.restored")?;
        let request = SnapshotRequest { kind: VersionKind::Restore, cut: Some(cut), turn: None, scan: false };
        let prepared = self.prepare(request)?;
        self.hit("rewind.prepared")?;
        Ok(WentBack { prepared, brought })
    }
}
