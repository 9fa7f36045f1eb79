//! Back to the last cut: after a crash, and when a turn failed (TURN.md §3 and §6).
//!
//! What the workspace holds and no cut knows of is kept as a `recovered` version first. The store, not `work/`, is the truth of a cut.

use podium_sqlite::Synchronous;

use crate::chronicle::Chronicle;
use crate::dirty::Generation;
use crate::error::{ChronicleError, Limited};
use crate::limits::{DIFFERENCES_MAX, Limits};
use crate::node::Kind;
use crate::path::WorkPath;
use crate::restore::Brought;
use crate::rows;
use crate::snapshot::{Found, SnapshotRequest, Towards};
use crate::tree::{Totals, empty_root};
use crate::trees::{Difference, OnDamage, Trees};
use crate::version::VersionKind;

/// What a restore of the last cut's content is called among the `op` rows.
pub(crate) const RECOVER: &str = "recover";

/// What bringing the workspace back came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BroughtBack {
    /// The recovered version that keeps what was there; none when it was the last cut's content already.
    pub kept: Option<u64>,
    /// Versions that no cut names and that are recovered ones now.
    pub past: Vec<u64>,
    /// What was done to the files.
    pub brought: Brought,
    /// True when there was too much to be kept.
    pub too_large_to_keep: bool,
}

impl Chronicle {
    /// Undoes everything since the last cut: a turn failed. What it wrote is kept as a recovered version.
    pub fn roll_back(&mut self) -> Result<BroughtBack, ChronicleError> {
        self.check_adopted()?;
        self.note_commit()?;
        let mut generation = self.dirty.take();
        generation.scan |= self.unsettled;
        let mut back = self.bring_back(&generation);
        if let Err(ChronicleError::Damaged { hash, .. }) = back
            && !generation.scan
        {
            // What is there is not known by what it was: everything is looked at.
            self.forget_pending();
            self.cas.note_damaged(hash);
            generation.scan = true;
            back = self.bring_back(&generation);
        }
        if back.is_err() {
            self.unsettled = true;
            self.dirty.put_back(&generation);
            self.dirty.scan_needed();
            self.forget_pending();
        }
        back
    }

    /// Brings `work/` to the head. `generation` is what may differ from the tip; what is prepared becomes recovered.
    pub(crate) fn bring_back(&mut self, generation: &Generation) -> Result<BroughtBack, ChronicleError> {
        let mut back = BroughtBack::default();
        let limits = self.limits_beside_the_head()?;
        let found = match self.look(generation, limits, Towards::Head) {
            Err(ChronicleError::OverLimit { what, limit }) if what != Limited::IgnoreTime => {
                tracing::warn!(%what, limit, "a workspace is too large to be kept before it is brought back");
                back.too_large_to_keep = true;
                self.look_after_pruning(&mut back)?
            }
            found => found?,
        };
        back.past = self.database.transaction_at(Synchronous::Normal, rows::version::recover_prepared)?;
        let from = found.root;
        let cut_short = rows::op::started(self.database.connection())?;
        // On the way back already: what there was then is kept, and what is there now is only part of the way.
        let begun = cut_short.iter().find(|op| op.kind == RECOVER && op.to_root == self.head.root);
        let kept = begun.map_or(from, |begun| begun.from_root);
        let mut unknown = Vec::new();
        let differences = Trees::with(&self.database, &found.nodes).diff_despite(
            &WorkPath::root(),
            (from, self.head.root),
            DIFFERENCES_MAX,
            OnDamage::NewIsUnknown(&mut unknown),
        )?;
        let known = if kept == self.head.root {
            None
        } else {
            rows::version::recovered_with(self.database.connection(), kept)?
        };
        self.tip = self.head;
        self.prepared = false;
        let differs = differences.iter().any(says_something) || !unknown.is_empty();
        if known.is_none() && begun.is_none() && differs {
            self.cas.packs.sync()?;
            let request = SnapshotRequest { kind: VersionKind::Recovered, cut: None, turn: None, scan: true };
            match self.write_version(&request, found) {
                Err(ChronicleError::OverLimit { what, limit }) => {
                    tracing::warn!(%what, limit, "a workspace is not kept before it is brought back");
                    back.too_large_to_keep = true;
                    self.forget_pending();
                }
                written => back.kept = Some(written?.version),
            }
        } else {
            back.kept = known;
            self.note_unchanged(found)?;
        }
        self.hit("recover.kept")?;
        let brought = self.bring(RECOVER, from, self.head.root, &differences)?;
        let replaced = back.brought.replaced_skipped + brought.replaced_skipped;
        back.brought = Brought { replaced_skipped: replaced, ..brought };
        self.leave_unknown(unknown, &mut back.brought);
        if !cut_short.is_empty() {
            let now = self.clock.now_ms();
            self.database.transaction_at(Synchronous::Normal, |connection| rows::op::end_started(connection, now))?;
        }
        self.unsettled = false;
        Ok(back)
    }

    /// Limits of what is kept before the workspace is brought back: as much as one may have, beside the last cut, which may be of
    /// a time with larger limits. Nothing that an owner allowed once may keep a workspace from being opened.
    pub(crate) fn limits_beside_the_head(&self) -> Result<Limits, ChronicleError> {
        let head = match Trees::new(&self.database).totals(self.head.root) {
            // Whoever needs more of it than its size will say so.
            Err(ChronicleError::Damaged { .. }) => Totals::default(),
            totals => totals?,
        };
        Ok(Limits {
            workspace_bytes: self.limits.workspace_bytes.saturating_add(head.bytes),
            workspace_entries: self.limits.workspace_entries.saturating_add(head.entries),
            workspace_path_bytes: self.limits.workspace_path_bytes.saturating_add(head.path_bytes),
            ..self.limits
        })
    }

    /// Removes what makes the workspace too large, and looks again.
    fn look_after_pruning(&mut self, back: &mut BroughtBack) -> Result<Found, ChronicleError> {
        // Pruned: no more is left than the head has, and what no version ever had.
        let limits = Limits {
            workspace_bytes: u64::MAX,
            workspace_entries: u64::MAX,
            workspace_path_bytes: u64::MAX,
            ..self.limits
        };
        let mut last = None;
        // What is left has the head's entries and sizes, and may still have content that the store has no room for.
        for root in [self.head.root, empty_root()] {
            self.forget_pending();
            back.brought.replaced_skipped += self.prune(root)?;
            match self.look(&Generation { scan: true, ..Generation::default() }, limits, Towards::Head) {
                Err(error @ ChronicleError::OverLimit { .. }) => last = Some(error),
                found => return found,
            }
        }
        Err(last.unwrap_or(ChronicleError::Refused("a workspace is too large to be looked at")))
    }
}

/// Whether somebody could miss it: a folder that is only there, because something that no version has keeps it, says nothing.
fn says_something(difference: &Difference) -> bool {
    !matches!(difference, Difference { old: Some(old), new: None, .. } if old.kind == Kind::Folder)
}
