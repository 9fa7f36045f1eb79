//! Files that are followed by inode, with the names they go by.
//!
//! Must never grow without bound: past its number of files or bytes of names it takes no more, and says so.

use std::collections::{BTreeSet, HashMap};

use crate::limits::{FOLLOWED_BYTES_MAX, FOLLOWED_INODES_MAX};
use crate::path::WorkPath;

/// Device and inode number: a file whatever its names are.
pub(crate) type Inode = (u64, u64);

/// A file that is followed.
#[derive(Debug, Default)]
pub(crate) struct File<T> {
    pub(crate) names: BTreeSet<WorkPath>,
    pub(crate) about: T,
}

/// Files by inode, with what is known about each.
#[derive(Debug, Default)]
pub(crate) struct Followed<T> {
    files: HashMap<Inode, File<T>>,
    bytes: usize,
}

impl<T: Default> Followed<T> {
    /// The file with this name among its names, and whether the name is new; none when there is no room for it.
    pub(crate) fn with_name(&mut self, inode: Inode, path: &WorkPath) -> Option<(&mut File<T>, bool)> {
        let known = self.files.get(&inode).is_some_and(|file| file.names.contains(path));
        if !known {
            let full = self.files.len() >= FOLLOWED_INODES_MAX && !self.files.contains_key(&inode);
            if full || self.bytes + path.cost() > FOLLOWED_BYTES_MAX {
                return None;
            }
            self.bytes += path.cost();
        }
        let file = self.files.entry(inode).or_default();
        file.names.insert(path.clone());
        Some((file, !known))
    }

    pub(crate) fn get(&self, inode: Inode) -> Option<&File<T>> {
        self.files.get(&inode)
    }

    pub(crate) fn get_mut(&mut self, inode: Inode) -> Option<&mut File<T>> {
        self.files.get_mut(&inode)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Inode, &File<T>)> {
        self.files.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Follows only files of which `keep` says so.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Inode, &mut File<T>) -> bool) {
        let bytes = &mut self.bytes;
        self.files.retain(|inode, file| {
            let kept = keep(inode, file);
            if !kept {
                *bytes -= cost(&file.names);
            }
            kept
        });
    }

    pub(crate) fn remove(&mut self, inode: Inode) {
        if let Some(file) = self.files.remove(&inode) {
            self.bytes -= cost(&file.names);
        }
    }

    /// Gives names beneath `from` their place beneath `to`; false when there is no room for those.
    pub(crate) fn rename(&mut self, from: &WorkPath, to: &WorkPath) -> bool {
        for file in self.files.values_mut() {
            let moved: Vec<WorkPath> = file.names.iter().filter(|name| name.is_within(from)).cloned().collect();
            for old in moved {
                self.bytes -= old.cost();
                file.names.remove(&old);
                // One that would be too long is told as left out by the folder above it.
                if let Some(new) = old.moved(from, to)
                    && !file.names.contains(&new)
                {
                    self.bytes += new.cost();
                    file.names.insert(new);
                }
            }
            if self.bytes > FOLLOWED_BYTES_MAX {
                return false;
            }
        }
        true
    }

    /// Follows nothing any more; gives what was known.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> {
        self.bytes = 0;
        std::mem::take(&mut self.files).into_values().map(|file| file.about)
    }
}

fn cost(names: &BTreeSet<WorkPath>) -> usize {
    names.iter().map(WorkPath::cost).sum()
}
