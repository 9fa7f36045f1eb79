//! What a version leaves out: how the list of it changes with a snapshot, and how much of the workspace it is.
//!
//! Must never end a row of an entry that nobody looked at.

use std::collections::{BTreeMap, HashMap};

use rusqlite::Connection;

use crate::dirty::Scope;
use crate::error::ChronicleError;
use crate::node::Skipped;
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
    /// All that is left out now.
    pub(crate) totals: Totals,
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
        for old in rows::skipped::now(connection)? {
            match found.get(&old.path) {
                Some(new) if *new == old => drop(begun.remove(&old.path)),
                // Written anew, which ends the row of before.
                Some(_) => {}
                None if looked_at.has(&old.path) => left_out.ended.push(old.path),
                None => left_out.totals.add(&old.path, old.disk),
            }
        }
        found.values().for_each(|new| left_out.totals.add(&new.path, new.disk));
        left_out.begun = begun.into_values().cloned().collect();
        Ok(left_out)
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
