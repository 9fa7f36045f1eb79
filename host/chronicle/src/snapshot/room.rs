//! Room in the store for a snapshot that did not fit: older versions give way, as few as will do, and none for what can never fit.

use crate::chronicle::Chronicle;
use crate::dirty::Generation;
use crate::error::{ChronicleError, Limited};
use crate::limits::{DIFFERENCES_MAX, Limits};
use crate::path::WorkPath;
use crate::trees::{OnDamage, Trees};

use super::{Found, Towards};

/// About the bytes that a change's row and its entries in indexes take beside its path, which is in two of them.
const CHANGE_BYTES: u64 = 256;
/// What pages that are not full may take besides.
const PAGES_BYTES: u64 = 64 * 1024;

impl Chronicle {
    /// Collects what the owner's retention does not keep, and as many more of the oldest versions as the snapshot needs.
    pub(super) fn make_room(&mut self, generation: &Generation, limits: Limits) -> Result<(), ChronicleError> {
        let limit = self.limits.store_bytes;
        let (content, rows) = self.measure(generation, limits)?;
        // Rows are guessed: only content is sure to be too much.
        if self.bytes_that_stay()?.saturating_add(content) > limit {
            return Err(ChronicleError::OverLimit { what: Limited::StoreBytes, limit });
        }
        let retention = self.retention;
        self.collect(&retention, limit.saturating_sub(content).saturating_sub(rows))?;
        Ok(())
    }

    /// Bytes of content and, about, of rows that a snapshot would add. Nothing is stored.
    fn measure(&mut self, generation: &Generation, limits: Limits) -> Result<(u64, u64), ChronicleError> {
        self.cas.measure(true);
        let found = self.look(generation, limits, Towards::Version);
        let content = self.cas.pending_bytes();
        self.cas.measure(false);
        self.forget_pending();
        Ok((content, self.rows_of(&found?)?))
    }

    fn rows_of(&self, found: &Found) -> Result<u64, ChronicleError> {
        let differences = Trees::with(&self.database, &found.nodes).diff_despite(
            &WorkPath::root(),
            (self.tip.root, found.root),
            DIFFERENCES_MAX,
            OnDamage::OldIsEmpty,
        )?;
        let bytes = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        let changes: u64 = differences.iter().map(|it| CHANGE_BYTES + 2 * bytes(it.path.as_bytes().len())).sum();
        let trees: u64 = found.nodes.values().map(|node| bytes(node.len())).sum();
        Ok(PAGES_BYTES.saturating_add(changes).saturating_add(trees.saturating_mul(2)))
    }
}
