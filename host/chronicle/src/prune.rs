//! Making a workspace small enough to be looked at: what a tree does not have is removed unread, however much it is.
//!
//! Must never remove what versions are known to leave out.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::beneath::{self, NamesBuffer};
use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::node::Kind;
use crate::path::WorkPath;
use crate::rights::Rights;
use crate::rows;
use crate::tree::empty_root;
use crate::trees::Trees;

impl Chronicle {
    /// Removes from `work/` whatever the tree does not have, without reading it: there may be any amount. What versions are known to
    /// leave out stays. Gives the number of entries removed that no version ever had.
    pub(crate) fn prune(&mut self, root: ContentHash) -> Result<u64, ChronicleError> {
        let skipped = rows::skipped::now(self.database.connection())?;
        let skipped: BTreeSet<WorkPath> = skipped.into_iter().map(|skipped| skipped.path).collect();
        let trees = Trees::new(&self.database);
        let patterns = self.patterns_of(&trees, self.head.root)?;
        let mut rights = Rights::to_change();
        let mut buffer = NamesBuffer::new();
        let mut folders = vec![(WorkPath::root(), root)];
        while let Some((path, hash)) = folders.pop() {
            let entries = match trees.folder(hash) {
                Ok(entries) => entries,
                Err(error @ ChronicleError::Damaged { .. }) => {
                    tracing::error!(%error, path = %path, "what a folder should have is not known; it stays as it is");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let failed = |error| ChronicleError::work(&path, error);
            let folder = match rights.open(&self.work, &path) {
                Ok(folder) => folder,
                Err(error) if beneath::is_gone(error) => continue,
                Err(error) => return Err(failed(error)),
            };
            let mut spared = BTreeSet::new();
            loop {
                let mut threw = false;
                // Names that are taken out while they are read may hide others: until a look finds none.
                beneath::each_name(folder.as_fd(), &mut buffer, |name| {
                    let entry = entries.binary_search_by(|entry| (*entry.name).cmp(name)).ok().map(|at| &entries[at]);
                    let same = match (entry, beneath::meta_in(folder.as_fd(), name)) {
                        (Some(entry), Ok(meta)) => {
                            meta.kind == Ok(entry.kind) && (entry.kind != Kind::File || meta.size == entry.size)
                        }
                        _ => false,
                    };
                    if same {
                        return Ok(true);
                    }
                    let is_folder =
                        beneath::meta_in(folder.as_fd(), name).is_ok_and(|meta| meta.kind == Ok(Kind::Folder));
                    match path.join(name) {
                        Ok(path) if patterns.leave_out(&path, is_folder) => {}
                        Ok(path) if path.holds_any(&skipped) => {
                            spared.insert(path);
                        }
                        _ => {
                            self.tmp.throw(folder.as_fd(), name)?;
                            self.tmp.tidy()?;
                            threw = true;
                        }
                    }
                    Ok::<_, Errno>(true)
                })
                .map_err(failed)?;
                if !threw {
                    break;
                }
            }
            for entry in entries.iter().filter(|entry| entry.kind == Kind::Folder) {
                folders.push((path.join(&entry.name)?, entry.hash));
            }
            // Folders that only lead to what stays; what is no folder is found gone above.
            folders.extend(spared.into_iter().filter(|path| !skipped.contains(path)).map(|path| (path, empty_root())));
        }
        self.tmp.empty()?;
        rights.give_back(&self.work).map_err(|(path, error)| ChronicleError::work(&path, error))?;
        Ok(self.tmp.left_out())
    }
}
