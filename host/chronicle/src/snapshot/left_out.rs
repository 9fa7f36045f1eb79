//! What a version leaves out: how the list of it changes with a snapshot, and how much of the workspace it is.
//!
//! Must never end a row of an entry that nobody looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::Connection;

use crate::dirty::Scope;
use crate::error::ChronicleError;
use crate::node::{SkipReason, Skipped};
use crate::path::WorkPath;
use crate::rows;
use crate::tree::Totals;

/// What was looked at.
#[derive(Debug)]
pub(crate) enum LookedAt {
    /// Everything.
    All,
    /// These, themselves or with everything beneath.
    Some(HashMap<WorkPath, Scope>),
}

impl LookedAt {
    fn has(&self, path: &WorkPath) -> bool {
        let Self::Some(paths) = self else { return true };
        paths.contains_key(path) || path.folders_above().any(|above| paths.get(&above) == Some(&Scope::Beneath))
    }
}

/// How the list of what is left out changes.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    /// What is not left out any more, or not as it was.
    ended: Vec<WorkPath>,
    /// What is left out now, and was not before, or not so.
    begun: Vec<Skipped>,
    /// All that is left out now, but for what its owner wants so.
    pub(crate) totals: Totals,
    /// What its owner wants so.
    pub(crate) ignored: Totals,
    /// What is to be told: what its owner wants so only when that is new.
    pub(crate) news: Vec<Skipped>,
}

impl LeftOut {
    /// From what a look found.
    pub(super) fn find(
        connection: &Connection,
        looked_at: &LookedAt,
        found: &BTreeMap<WorkPath, Skipped>,
    ) -> Result<Self, ChronicleError> {
        let mut left_out = Self::default();
        let mut begun: BTreeMap<&WorkPath, &Skipped> = found.iter().collect();
        let mut known = BTreeSet::new();
        for old in rows::skipped::now(connection)? {
            match found.get(&old.path) {
                Some(new) if *new == old => drop(begun.remove(&old.path)),
                // Written anew, which ends the row of before.
                Some(new) if new.reason == SkipReason::Ignored && old.reason == SkipReason::Ignored => {
                    known.insert(old.path);
                }
                Some(_) => {}
                None if looked_at.has(&old.path) => left_out.ended.push(old.path),
                None => left_out.count(&old),
            }
        }
        found.values().for_each(|new| left_out.count(new));
        left_out.news = begun.values().filter(|new| !known.contains(&new.path)).copied().cloned().collect();
        left_out.begun = begun.into_values().cloned().collect();
        Ok(left_out)
    }

    fn count(&mut self, skipped: &Skipped) {
        let totals = if skipped.reason == SkipReason::Ignored { &mut self.ignored } else { &mut self.totals };
        totals.add_left_out(skipped);
    }

    /// True when there is nothing to write.
    pub(super) fn is_same(&self) -> bool {
        self.ended.is_empty() && self.begun.is_empty()
    }

    /// Writes it with `version`.
    pub(super) fn write(&self, connection: &Connection, version: u64) -> Result<(), ChronicleError> {
        for path in &self.ended {
            rows::skipped::end(connection, path, version)?;
        }
        for skipped in &self.begun {
            rows::skipped::end(connection, &skipped.path, version)?;
            rows::skipped::write(connection, skipped, version)?;
        }
        Ok(())
    }
}
