//! What the kernel knows of: inodes by number, and the names under which they were seen last.
//!
//! A name is only a hint: who uses it looks whether it still leads to that inode. Must never grow past what the kernel holds, nor past its limits.

use std::collections::HashMap;
use std::time::Duration;

use crate::limits::{MOUNT_CHAIN_MAX, MOUNT_NAMES_MAX, MOUNT_NODES_MAX};

/// The root's number, by the protocol.
pub(crate) const ROOT: u64 = 1;

/// Which inode a number means: numbers are used again, birth times are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) ino: u64,
    pub(crate) generation: u64,
}

/// What a file was when somebody opened it, or was done with writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) size: u64,
    pub(crate) mtime: (i64, u32),
    pub(crate) ctime: (i64, u32),
}

/// A name in a folder.
type Name = (u64, Box<[u8]>);

#[derive(Debug)]
struct Node {
    generation: u64,
    /// How often the kernel was told of it, and has not forgotten it.
    lookups: u64,
    /// The latest last.
    names: Vec<Name>,
    /// Until when the kernel may believe what it was told.
    kept_until: Duration,
    seen: Option<Seen>,
}

/// The inodes that the kernel knows, without the root.
#[derive(Debug, Default)]
pub(crate) struct Table {
    nodes: HashMap<u64, Node>,
    kept_until: Duration,
}

impl Table {
    /// The kernel is told of an inode by this name; false when there is no room for more. With `kept_until`, what it is told may be believed
    /// until then.
    pub(crate) fn learn(
        &mut self,
        parent: u64,
        name: &[u8],
        found: Identity,
        is_folder: bool,
        kept_until: Option<Duration>,
    ) -> bool {
        if self.nodes.len() >= MOUNT_NODES_MAX && !self.nodes.contains_key(&found.ino) {
            return false;
        }
        let fresh = || Node {
            generation: found.generation,
            lookups: 0,
            names: Vec::new(),
            kept_until: Duration::ZERO,
            seen: None,
        };
        let node = self.nodes.entry(found.ino).or_insert_with(fresh);
        if node.generation != found.generation {
            // Another file has this number now; the kernel gives the lookups of both back under it.
            *node = Node { lookups: node.lookups, ..fresh() };
        }
        node.lookups += 1;
        if let Some(until) = kept_until {
            node.kept_until = node.kept_until.max(until);
            self.kept_until = self.kept_until.max(until);
        }
        if node.names.last().is_some_and(|last| last.0 == parent && *last.1 == *name) {
            return true;
        }
        if is_folder {
            // It has one name, whatever it had before.
            node.names.clear();
        }
        node.names.retain(|known| !(known.0 == parent && *known.1 == *name));
        if node.names.len() >= MOUNT_NAMES_MAX {
            node.names.remove(0);
        }
        node.names.push((parent, name.into()));
        true
    }

    /// What the kernel was told of an inode may be believed until then.
    pub(crate) fn keep(&mut self, ino: u64, until: Duration) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.kept_until = node.kept_until.max(until);
        }
        self.kept_until = self.kept_until.max(until);
    }

    /// An inode goes by another name now.
    pub(crate) fn renamed(&mut self, ino: u64, from: (u64, &[u8]), to: (u64, &[u8])) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.names.retain(|known| ![&from, &to].iter().any(|place| known.0 == place.0 && *known.1 == *place.1));
            node.names.push((to.0, to.1.into()));
        }
    }

    /// The kernel forgets some lookups; true when it does not know the inode any more.
    pub(crate) fn forget(&mut self, ino: u64, lookups: u64) -> bool {
        let Some(node) = self.nodes.get_mut(&ino) else { return false };
        node.lookups = node.lookups.saturating_sub(lookups);
        let is_forgotten = node.lookups == 0;
        if is_forgotten {
            self.nodes.remove(&ino);
        }
        is_forgotten
    }

    /// Which inode a number means; none when the kernel was never told of it.
    pub(crate) fn identity(&self, ino: u64) -> Option<Identity> {
        self.nodes.get(&ino).map(|node| Identity { ino, generation: node.generation })
    }

    /// The names of an inode, the latest first.
    pub(crate) fn names(&self, ino: u64) -> Vec<Name> {
        self.nodes.get(&ino).map(|node| node.names.iter().rev().cloned().collect()).unwrap_or_default()
    }

    /// How a folder is reached from the root, or from one of which `is_near` says that it is at hand: that one's number, and the names
    /// from there. None when that is not known.
    pub(crate) fn chain(&self, ino: u64, is_near: impl Fn(u64) -> bool) -> Option<(u64, Vec<Box<[u8]>>)> {
        let mut names = Vec::new();
        let mut at = ino;
        while at != ROOT && !is_near(at) {
            // Names that are out of date may lead in a circle.
            if names.len() >= MOUNT_CHAIN_MAX {
                return None;
            }
            let (parent, name) = self.nodes.get(&at)?.names.last()?;
            names.push(name.clone());
            at = *parent;
        }
        names.reverse();
        Some((at, names))
    }

    /// Notes what a file is now; true when it is what it was at the last note.
    pub(crate) fn is_as_seen(&mut self, ino: u64, seen: Option<Seen>) -> bool {
        let Some(node) = self.nodes.get_mut(&ino) else { return false };
        let is_same = seen.is_some() && node.seen == seen;
        node.seen = seen;
        is_same
    }

    /// Inodes of which the kernel may still believe what it was told, with their names; nothing more may be kept of them from here on.
    pub(crate) fn kept(&mut self, now: Duration) -> Vec<(u64, Vec<Name>)> {
        if self.kept_until <= now {
            return Vec::new();
        }
        let kept = self.nodes.iter_mut().filter(|(_, node)| node.kept_until > now);
        kept.map(|(ino, node)| {
            node.kept_until = Duration::ZERO;
            (*ino, node.names.clone())
        })
        .collect()
    }

    /// How many inodes the kernel knows.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inode(ino: u64) -> Identity {
        Identity { ino, generation: 7 }
    }

    fn name(text: &str) -> Box<[u8]> {
        text.as_bytes().into()
    }

    #[test]
    fn a_file_is_known_until_every_lookup_is_forgotten() {
        let mut table = Table::default();
        assert!(table.learn(ROOT, b"a", inode(5), false, None) && table.learn(ROOT, b"b", inode(5), false, None));
        assert_eq!(table.names(5), [(ROOT, name("b")), (ROOT, name("a"))]);
        assert!(!table.forget(5, 1) && table.identity(5).is_some());
        assert!(table.forget(5, 1) && table.identity(5).is_none());
        assert!(!table.forget(5, 1));
    }

    #[test]
    fn another_file_with_the_same_number_has_none_of_its_names() {
        let mut table = Table::default();
        table.learn(ROOT, b"old", inode(5), false, None);
        table.learn(ROOT, b"new", Identity { ino: 5, generation: 8 }, false, None);
        assert_eq!(table.names(5), [(ROOT, name("new"))]);
        assert!(table.forget(5, 2), "the kernel counts both");
    }

    #[test]
    fn a_folder_is_reached_from_what_is_at_hand_and_never_in_a_circle() {
        let mut table = Table::default();
        table.learn(ROOT, b"a", inode(2), true, None);
        table.learn(2, b"b", inode(3), true, None);
        table.learn(3, b"c", inode(4), true, None);
        assert_eq!(table.chain(4, |_| false), Some((ROOT, vec![name("a"), name("b"), name("c")])));
        assert_eq!(table.chain(4, |ino| ino == 3), Some((3, vec![name("c")])));
        assert_eq!(table.chain(9, |_| false), None);
        table.renamed(2, (ROOT, b"a"), (4, b"x"));
        assert_eq!(table.chain(4, |_| false), None);
    }

    #[test]
    fn only_what_may_still_be_believed_is_taken_back() {
        let mut table = Table::default();
        table.learn(ROOT, b"a", inode(2), false, Some(Duration::from_secs(1)));
        table.learn(ROOT, b"b", inode(3), false, None);
        table.learn(ROOT, b"c", inode(4), false, Some(Duration::from_secs(3)));
        let kept = table.kept(Duration::from_secs(2));
        assert_eq!(kept, [(4, vec![(ROOT, name("c"))])]);
        assert!(table.kept(Duration::from_secs(2)).is_empty(), "once");
    }

    proptest! {
        /// What the kernel gives back is what it was given, and then nothing is left.
        #[test]
        fn nothing_is_left_of_what_the_kernel_has_forgotten(steps in prop::collection::vec((2..9_u64, 0..5_u8), 0..200)) {
            let mut table = Table::default();
            let mut given: HashMap<u64, u64> = HashMap::new();
            for (ino, step) in steps {
                let is_folder = ino % 2 == 0;
                if step == 0 {
                    table.forget(ino, given.remove(&ino).unwrap_or(0));
                } else {
                    let learned = table.learn(ROOT + u64::from(step), &[b'a' + step], inode(ino), is_folder, None);
                    prop_assert!(learned);
                    *given.entry(ino).or_default() += 1;
                }
                prop_assert_eq!(table.len(), given.len());
                prop_assert!(!is_folder || table.names(ino).len() <= 1);
            }
            for (ino, lookups) in given {
                prop_assert!(table.forget(ino, lookups));
            }
            prop_assert_eq!(table.len(), 0);
        }
    }
}
