//! The workspace taken to another cut's content, and forks of it.
//!
//! Owns no decision: which cut, and what becomes of it, is the owner's.

use podium_chronicle::{Chronicle, ChronicleError, ContentHash, Place, Skipped, WentBack, empty_root};

use super::{History, Workspace};

impl Workspace {
    /// Brings the folder to another cut's content, for `cut` to name; none when it has that already. `version` is the one that the
    /// other cut names, 0 and no root where it has no files. [`ChronicleError::NoVersion`] when its content was not kept. After an error the
    /// folder is as it was.
    pub fn go_back(
        &self,
        version: u64,
        root: Option<ContentHash>,
        cut: u64,
    ) -> Result<Option<WentBack>, ChronicleError> {
        let state = &mut *self.state();
        let root = root.unwrap_or_else(empty_root);
        let named = state.named;
        if named.root.unwrap_or_else(empty_root) == root && (!self.is_used(state) || !self.0.dirty.is_dirty()) {
            return Ok(None);
        }
        let chronicle = self.opened(state)?;
        if !chronicle.keeps(root)? {
            return Err(ChronicleError::NoVersion(version));
        }
        match chronicle.go_back(root, cut) {
            Ok(went) if went.prepared.version == named.version => Ok(None),
            Ok(went) => {
                state.prepared = Some((went.prepared.version, went.prepared.root));
                Ok(Some(went))
            }
            Err(error) => {
                // What could not be undone is when it is opened again.
                state.history = History::Closed;
                Err(error)
            }
        }
    }

    /// Makes a fork of a version, in a folder that is not there yet; what it lacks. O(1), and no file is opened for it.
    /// [`ChronicleError::NoVersion`] when its content was not kept.
    pub fn plant(&self, version: u64, root: ContentHash, fork: &Place) -> Result<Vec<Skipped>, ChronicleError> {
        // Held for as long as it takes: no collection may come between.
        let state = self.state();
        match &state.history {
            History::Open(chronicle) => chronicle.plant(version, root, fork),
            History::Closed | History::Suspended(_) => {
                let now = self.0.common.clock.now_ms();
                Chronicle::plant_from(&self.0.place, version, root, fork, now)
            }
        }
    }

    /// Closes it for good, and leaves its history to those of its forks that still need it; how many.
    pub fn leave_to_forks(&self) -> Result<u64, ChronicleError> {
        if let Err(error) = self.close() {
            // What cannot be closed in order can be read all the same.
            tracing::warn!(place = %self.0.place.metadata().display(), %error, "a deleted workspace is not closed in order");
        }
        Chronicle::leave_to_forks(&self.0.place)
    }
}
