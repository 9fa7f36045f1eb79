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
    /// The names of all, in order: a rename asks for those beneath one folder, and must not look at all others for it.
    by_name: BTreeSet<(WorkPath, Inode)>,
    bytes: usize,
}

impl<T: Default> Followed<T> {
    /// The file with this name among its names, and whether the name is new; none when there is no room for it.
    pub(crate) fn with_name(&mut self, inode: Inode, path: &WorkPath) -> Option<(&mut File<T>, bool)> {
        let known = self.files.get(&inode).is_some_and(|file| file.names.contains(path));
        if !known {
            let full = self.files.len() >= FOLLOWED_INODES_MAX && !self.files.contains_key(&inode);
            if full || self.bytes + cost(path) > FOLLOWED_BYTES_MAX {
                return None;
            }
            self.bytes += cost(path);
            self.by_name.insert((path.clone(), inode));
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
        let mut gone = Vec::new();
        for (inode, file) in &mut self.files {
            if !keep(inode, file) {
                gone.push(*inode);
            }
        }
        gone.into_iter().for_each(|inode| self.remove(inode));
    }

    pub(crate) fn remove(&mut self, inode: Inode) {
        let Some(file) = self.files.remove(&inode) else { return };
        for name in file.names {
            self.bytes -= cost(&name);
            self.by_name.remove(&(name, inode));
        }
    }

    /// Gives names beneath `from` their place beneath `to`; false when there is no room for those.
    pub(crate) fn rename(&mut self, from: &WorkPath, to: &WorkPath) -> bool {
        let moving = self.beneath(from);
        self.move_names(moving, |name| name.moved(from, to))
    }

    /// Gives names others; false when there is no room for those. One without a new one would be too long, and is told as left
    /// out by the folder above it.
    fn move_names(&mut self, moving: Vec<(WorkPath, Inode)>, new: impl Fn(&WorkPath) -> Option<WorkPath>) -> bool {
        for (old, inode) in &moving {
            if let Some(file) = self.files.get_mut(inode) {
                self.bytes -= cost(old);
                file.names.remove(old);
            }
        }
        for key in &moving {
            self.by_name.remove(key);
        }
        for (old, inode) in moving {
            if let (Some(file), Some(new)) = (self.files.get_mut(&inode), new(&old))
                && file.names.insert(new.clone())
            {
                self.bytes += cost(&new);
                self.by_name.insert((new, inode));
            }
            if self.bytes > FOLLOWED_BYTES_MAX {
                return false;
            }
        }
        true
    }

    /// The names that are `folder` or lie in it.
    fn beneath(&self, folder: &WorkPath) -> Vec<(WorkPath, Inode)> {
        let itself = (folder.clone(), Inode::default())..=(folder.clone(), (u64::MAX, u64::MAX));
        let within = (folder.before_all_within(), Inode::default())..;
        let within = self.by_name.range(within).take_while(|(name, _)| name.is_within(folder));
        self.by_name.range(itself).chain(within.filter(|(name, _)| name != folder)).cloned().collect()
    }

    /// Lets names beneath two paths, neither of which lies in the other, change places; false when there is no room for them.
    pub(crate) fn exchange(&mut self, one: &WorkPath, other: &WorkPath) -> bool {
        let mut moving = self.beneath(one);
        moving.extend(self.beneath(other));
        self.move_names(moving, |name| name.moved(one, other).or_else(|| name.moved(other, one)))
    }

    /// Follows nothing any more; gives what was known.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = T> {
        self.bytes = 0;
        self.by_name.clear();
        std::mem::take(&mut self.files).into_values().map(|file| file.about)
    }
}

/// What a name takes: it is kept with its file and in the order of all names.
fn cost(name: &WorkPath) -> usize {
    2 * name.cost()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_rename_finds_the_names_beneath_a_folder_and_no_others() {
        let mut followed = Followed::<()>::default();
        let names = ["a", "a b", "a-x/f", "a/b", "a/b/c", "a/z", "a0", "b/a"];
        for (ino, name) in (1..).zip(names) {
            followed.with_name((1, ino), &path(name)).unwrap();
        }
        followed.with_name((1, 5), &path("other")).unwrap();
        let found = |followed: &Followed<()>, folder: &str| -> Vec<String> {
            followed.beneath(&path(folder)).into_iter().map(|(name, _)| name.to_string()).collect()
        };
        assert_eq!(found(&followed, "a"), ["a", "a/b", "a/b/c", "a/z"]);
        assert_eq!(found(&followed, ".x"), [""; 0]);
        assert_eq!(followed.beneath(&WorkPath::root()).len(), 9);
        assert!(followed.rename(&path("a"), &path("new/a")));
        assert_eq!(found(&followed, "a"), [""; 0]);
        assert_eq!(found(&followed, "new"), ["new/a", "new/a/b", "new/a/b/c", "new/a/z"]);
        assert_eq!(followed.get((1, 5)).unwrap().names, BTreeSet::from([path("new/a/b/c"), path("other")]));
        for ino in 1..=8 {
            followed.remove((1, ino));
        }
        assert_eq!((followed.bytes, followed.by_name.len()), (0, 0));
    }
}
