//! Checking the whole history: every node and every object that a kept version needs is read and hashed.
//!
//! Writes nothing. What is damaged is told with the path of a version that has it, and stored anew by the next snapshot if the
//! workspace still has it; everything else stays readable.

use std::collections::{HashMap, HashSet};

use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::node::Kind;
use crate::path::WorkPath;
use crate::rows;
use crate::tree::empty_root;
use crate::trees::Trees;

/// Faults that are told; more are only counted.
pub const FAULTS_MAX: usize = 1000;

/// Something that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// A version that has it.
    pub version: u64,
    /// Where, in that version.
    pub path: WorkPath,
    /// The content or the tree that is damaged.
    pub hash: ContentHash,
    /// What is wrong.
    pub what: String,
}

/// What was checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Versions.
    pub versions: u64,
    /// Nodes of trees.
    pub trees: u64,
    /// Contents of files and links.
    pub contents: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What is damaged, the first [`FAULTS_MAX`].
    pub faults: Vec<Fault>,
    /// All that is damaged.
    pub faults_count: u64,
    /// What the database itself says of its pages, when that is not "ok".
    pub database: Option<String>,
}

/// What was looked at so far.
#[derive(Default)]
struct Seen {
    trees: HashSet<ContentHash>,
    /// Contents, with what is wrong with the damaged ones.
    contents: HashMap<ContentHash, Option<String>>,
    /// Paths of which damage was told.
    told: HashSet<(WorkPath, ContentHash)>,
}

impl Chronicle {
    /// Reads and hashes everything. Takes as long as that takes.
    pub fn fsck(&mut self) -> Result<Checked, ChronicleError> {
        let checked = self.check()?;
        checked.faults.iter().for_each(|fault| self.note_damaged(fault.hash));
        Ok(checked)
    }

    fn check(&self) -> Result<Checked, ChronicleError> {
        let connection = self.database.connection();
        let mut checked = Checked::default();
        let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        checked.database = (verdict != "ok").then_some(verdict);
        let mut seen = Seen { trees: HashSet::from([empty_root()]), ..Seen::default() };
        let mut after = 0;
        loop {
            let versions = rows::version::list(connection, after, 1000)?;
            let Some(last) = versions.last() else { return Ok(checked) };
            after = last.id;
            for version in &versions {
                checked.versions += 1;
                self.check_tree(version.id, version.root, &mut seen, &mut checked)?;
            }
        }
    }

    fn check_tree(
        &self,
        version: u64,
        root: ContentHash,
        seen: &mut Seen,
        checked: &mut Checked,
    ) -> Result<(), ChronicleError> {
        let trees = Trees::new(&self.database);
        let mut folders = vec![(WorkPath::root(), root)];
        while let Some((path, hash)) = folders.pop() {
            if !seen.trees.insert(hash) {
                continue;
            }
            checked.trees += 1;
            let entries = match trees.folder(hash) {
                Ok(entries) => entries,
                Err(ChronicleError::Damaged { hash, what, .. }) => {
                    checked.fault(version, &path, hash, what);
                    continue;
                }
                Err(error) => return Err(error),
            };
            for entry in entries.iter() {
                let path = path.join(&entry.name)?;
                if entry.kind == Kind::Folder {
                    folders.push((path, entry.hash));
                } else if let Some(known) = seen.contents.get(&entry.hash) {
                    // Damaged content is told with every path that has it, and once with each.
                    if let Some(what) = known
                        && seen.told.insert((path.clone(), entry.hash))
                    {
                        checked.fault(version, &path, entry.hash, what.clone());
                    }
                } else {
                    checked.contents += 1;
                    let mut len = 0_u64;
                    let read = self.cas.read(&self.database, entry.hash, |part| {
                        len += part.map_or_else(|hole| hole, |bytes| u64::try_from(bytes.len()).unwrap_or(0));
                        Ok(())
                    });
                    checked.bytes += len;
                    let fault = match read {
                        Ok(()) if len == entry.size => None,
                        Ok(()) => Some("it has another length than its entry says".to_owned()),
                        Err(ChronicleError::Damaged { what, .. }) => Some(what),
                        Err(error) => return Err(error),
                    };
                    if let Some(what) = &fault {
                        seen.told.insert((path.clone(), entry.hash));
                        checked.fault(version, &path, entry.hash, what.clone());
                    }
                    seen.contents.insert(entry.hash, fault);
                }
            }
        }
        Ok(())
    }
}

impl Checked {
    fn fault(&mut self, version: u64, path: &WorkPath, hash: ContentHash, what: String) {
        self.faults_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { version, path: path.clone(), hash, what });
        }
    }
}
