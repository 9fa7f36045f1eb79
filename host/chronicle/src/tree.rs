//! The tree of a workspace as bytes: one node for a small folder, a list of nodes for a large one.
//!
//! The same entries always give the same bytes, and so the same name: where a large folder is divided depends on its names alone,
//! so that one changed entry changes one part. Reading trusts nothing: a node that is not exactly what writing gives is damaged.

use std::collections::HashMap;

use crate::error::{ChronicleError, Limited};
use crate::hash::ContentHash;
use crate::limits::{FOLDER_ENTRIES_MAX, NAME_BYTES_MAX, TREE_BYTES_MAX};
use crate::node::{FileTime, Kind, Skipped};
use crate::path::{WorkPath, check_name};

/// One name of a folder in a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Box<[u8]>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, at most 0o777.
    pub mode: u16,
    /// A file's bytes, a link's target's bytes, or all bytes of the files beneath a folder.
    pub size: u64,
    /// Entries beneath a folder, at every depth; 0 for others.
    pub entries: u64,
    /// Bytes of the paths of those, from the folder on, with a slash each; 0 for others.
    pub path_bytes: u64,
    /// When a file was last written; the epoch for others.
    pub mtime: FileTime,
    /// The content: a file's, a link's target, or a folder's tree.
    pub hash: ContentHash,
}

/// First byte of a node that holds entries.
const LEAF: u8 = 1;
/// First byte of a node that lists leaves.
const LIST: u8 = 2;
/// A folder of this many entries is divided.
const DIVIDED_FROM: usize = 256;
/// A leaf ends after a name whose hash has none of these bits: 128 names later on average.
const BOUNDARY_MASK: u8 = 0x7f;
/// But has this many names at least, if they are not the folder's last: a guest can choose names that all end one.
const LEAF_ENTRIES_MIN: usize = 32;
/// And this many at most.
const LEAF_ENTRIES_MAX: usize = 1024;

/// Kind, length and name, mode, size, a folder's other two numbers or a time, hash.
const ENTRY_BYTES_MAX: usize = 2 + NAME_BYTES_MAX + 2 + 10 + 20 + 32;

// Whatever the names are, what is written can be read: with the byte that says what it is.
const _: () = assert!(LEAF_ENTRIES_MAX * ENTRY_BYTES_MAX < TREE_BYTES_MAX);
const _: () = assert!(FOLDER_ENTRIES_MAX.div_ceil(LEAF_ENTRIES_MIN) * 32 < TREE_BYTES_MAX);

/// The name of a folder without entries, which is stored nowhere.
pub fn empty_root() -> ContentHash {
    ContentHash::of_tree(&[LEAF])
}

/// Nodes that were made and are not stored yet, by name.
pub(crate) type Nodes = HashMap<ContentHash, Vec<u8>>;

/// A node that does not mean anything.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// What a node is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A folder, or a part of a large one.
    Leaf(Vec<Entry>),
    /// The parts of a large folder, in order.
    List(Vec<ContentHash>),
}

/// Bytes and entries of a whole folder, itself not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Bytes of its files.
    pub bytes: u64,
    /// Entries at every depth.
    pub entries: u64,
    /// Bytes of their paths, with a slash each: what a list of them takes.
    pub path_bytes: u64,
}

impl Totals {
    /// Counted as a walk counts them: a link has none of a workspace's bytes.
    pub(crate) fn of(entries: &[Entry]) -> Self {
        entries.iter().fold(Self::default(), |sum, entry| Self {
            bytes: sum.bytes.saturating_add(if entry.kind == Kind::Link { 0 } else { entry.size }),
            entries: sum.entries.saturating_add(entry.entries).saturating_add(1),
            path_bytes: sum
                .path_bytes
                .saturating_add(entry.path_bytes)
                .saturating_add(entry.entries.saturating_add(1).saturating_mul(slashed(entry.name.len()))),
        })
    }

    /// With one more entry, of which nothing else is known.
    pub(crate) fn add(&mut self, path: &WorkPath, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.entries = self.entries.saturating_add(1);
        self.path_bytes = self.path_bytes.saturating_add(slashed(path.as_bytes().len()));
    }

    /// With what is left out.
    pub(crate) fn add_left_out(&mut self, skipped: &Skipped) {
        self.add(&skipped.path, skipped.disk);
        self.entries = self.entries.saturating_add(skipped.entries.saturating_sub(1));
    }

    /// Without what is left out and was added.
    pub(crate) fn take_left_out_back(&mut self, skipped: &Skipped) {
        self.take_back(&skipped.path, skipped.disk);
        self.entries = self.entries.saturating_sub(skipped.entries.saturating_sub(1));
    }

    /// Without an entry that was added.
    pub(crate) fn take_back(&mut self, path: &WorkPath, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.entries = self.entries.saturating_sub(1);
        self.path_bytes = self.path_bytes.saturating_sub(slashed(path.as_bytes().len()));
    }

    /// Both together.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            entries: self.entries.saturating_add(other.entries),
            path_bytes: self.path_bytes.saturating_add(other.path_bytes),
        }
    }
}

fn slashed(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1)
}

impl Entry {
    /// A folder with a tree of these totals.
    pub(crate) fn folder(name: Box<[u8]>, mode: u16, totals: Totals, hash: ContentHash) -> Self {
        let Totals { bytes, entries, path_bytes } = totals;
        Self { name, kind: Kind::Folder, mode, size: bytes, entries, path_bytes, mtime: FileTime::default(), hash }
    }
}

/// Writes a folder, whose entries are sorted by name, into `nodes`; gives the name of its tree.
pub(crate) fn write_folder(entries: &[Entry], nodes: &mut Nodes) -> Result<ContentHash, ChronicleError> {
    if entries.len() < DIVIDED_FROM {
        return Ok(write_leaf(entries, nodes));
    }
    if entries.len() > FOLDER_ENTRIES_MAX {
        let limit = u64::try_from(FOLDER_ENTRIES_MAX).unwrap_or(u64::MAX);
        return Err(ChronicleError::OverLimit { what: Limited::FolderEntries, limit });
    }
    let mut list = vec![LIST];
    let mut rest = entries;
    while !rest.is_empty() {
        let ends = rest.iter().take(LEAF_ENTRIES_MAX).skip(LEAF_ENTRIES_MIN - 1).position(is_boundary);
        let len = ends.map_or(LEAF_ENTRIES_MAX, |after| LEAF_ENTRIES_MIN + after);
        let (leaf, after) = rest.split_at(len.min(rest.len()));
        list.extend_from_slice(write_leaf(leaf, nodes).as_bytes());
        rest = after;
    }
    Ok(insert(list, nodes))
}

fn is_boundary(entry: &Entry) -> bool {
    blake3::hash(&entry.name).as_bytes()[0] & BOUNDARY_MASK == 0
}

fn write_leaf(entries: &[Entry], nodes: &mut Nodes) -> ContentHash {
    let mut node = Vec::with_capacity(1 + entries.len() * 64);
    node.push(LEAF);
    for entry in entries {
        write_entry(entry, &mut node);
    }
    insert(node, nodes)
}

fn insert(node: Vec<u8>, nodes: &mut Nodes) -> ContentHash {
    let hash = ContentHash::of_tree(&node);
    if node != [LEAF] {
        nodes.insert(hash, node);
    }
    hash
}

fn write_entry(entry: &Entry, node: &mut Vec<u8>) {
    node.push(match entry.kind {
        Kind::File => 0,
        Kind::Folder => 1,
        Kind::Link => 2,
    });
    // A name has at most 255 bytes; `check_name` saw it.
    node.push(u8::try_from(entry.name.len()).unwrap_or(u8::MAX));
    node.extend_from_slice(&entry.name[..entry.name.len().min(NAME_BYTES_MAX)]);
    node.extend_from_slice(&entry.mode.to_le_bytes());
    write_number(entry.size, node);
    match entry.kind {
        Kind::Folder => {
            write_number(entry.entries, node);
            write_number(entry.path_bytes, node);
        }
        Kind::File => {
            node.extend_from_slice(&entry.mtime.seconds.to_le_bytes());
            node.extend_from_slice(&entry.mtime.nanoseconds.to_le_bytes());
        }
        Kind::Link => {}
    }
    node.extend_from_slice(entry.hash.as_bytes());
}

/// Seven bits a byte, the lowest first.
fn write_number(mut number: u64, node: &mut Vec<u8>) {
    while number >= 0x80 {
        node.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    node.push(number as u8);
}

/// Reads a node.
pub(crate) fn read_node(node: &[u8]) -> Result<Node, Malformed> {
    let (first, mut rest) = node.split_first().ok_or(Malformed("it is empty"))?;
    match *first {
        LEAF => {
            let mut entries: Vec<Entry> = Vec::new();
            while !rest.is_empty() {
                let entry = read_entry(&mut rest)?;
                if entries.last().is_some_and(|before| before.name >= entry.name) {
                    return Err(Malformed("its names are not in order"));
                }
                entries.push(entry);
            }
            Ok(Node::Leaf(entries))
        }
        LIST => {
            let (hashes, tail) = rest.as_chunks::<32>();
            if !tail.is_empty() || hashes.is_empty() {
                return Err(Malformed("its list has a wrong length"));
            }
            Ok(Node::List(hashes.iter().copied().map(ContentHash::from_bytes).collect()))
        }
        _ => Err(Malformed("it is of an unknown kind")),
    }
}

fn read_entry(rest: &mut &[u8]) -> Result<Entry, Malformed> {
    let [kind, length] = *take::<2>(rest)?;
    let kind = match kind {
        0 => Kind::File,
        1 => Kind::Folder,
        2 => Kind::Link,
        _ => return Err(Malformed("an entry is of an unknown kind")),
    };
    let (name, after) = rest.split_at_checked(usize::from(length)).ok_or(Malformed("a name is cut off"))?;
    *rest = after;
    check_name(name).map_err(|_| Malformed("a name is no name"))?;
    let mode = u16::from_le_bytes(*take::<2>(rest)?);
    let size = read_number(rest)?;
    let mut entry = Entry {
        name: name.into(),
        kind,
        mode: mode & 0o777,
        size,
        entries: 0,
        path_bytes: 0,
        mtime: FileTime::default(),
        hash: ContentHash::from_bytes([0; 32]),
    };
    match kind {
        Kind::Folder => {
            entry.entries = read_number(rest)?;
            entry.path_bytes = read_number(rest)?;
        }
        Kind::File => {
            entry.mtime.seconds = i64::from_le_bytes(*take::<8>(rest)?);
            entry.mtime.nanoseconds = u32::from_le_bytes(*take::<4>(rest)?).min(999_999_999);
        }
        Kind::Link => {}
    }
    entry.hash = ContentHash::from_bytes(*take::<32>(rest)?);
    Ok(entry)
}

fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], Malformed> {
    let (first, after) = rest.split_first_chunk::<N>().ok_or(Malformed("it is cut off"))?;
    *rest = after;
    Ok(first)
}

fn read_number(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = *take::<1>(rest)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Malformed("a number does not end"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &[u8], kind: Kind, size: u64) -> Entry {
        Entry {
            name: name.into(),
            kind,
            mode: 0o644,
            size,
            entries: if kind == Kind::Folder { size / 2 } else { 0 },
            path_bytes: if kind == Kind::Folder { size / 3 } else { 0 },
            mtime: if kind == Kind::File { FileTime { seconds: -5, nanoseconds: 7 } } else { FileTime::default() },
            hash: ContentHash::of(name),
        }
    }

    fn read_folder(hash: ContentHash, nodes: &Nodes) -> Vec<Entry> {
        if hash == empty_root() {
            return Vec::new();
        }
        match read_node(&nodes[&hash]).unwrap() {
            Node::Leaf(entries) => entries,
            Node::List(parts) => parts.into_iter().flat_map(|part| read_folder(part, nodes)).collect(),
        }
    }

    #[test]
    fn a_large_folder_changes_in_parts() {
        let mut entries: Vec<Entry> =
            (0..20_000).map(|n| entry(format!("file-{n:06}").as_bytes(), Kind::File, n)).collect();
        let mut first = Nodes::new();
        let before = write_folder(&entries, &mut first).unwrap();
        assert_eq!(read_folder(before, &first), entries);
        entries[7777].size = 1;
        let mut second = Nodes::new();
        let after = write_folder(&entries, &mut second).unwrap();
        assert_eq!(read_folder(after, &second), entries);
        assert_eq!(second.keys().filter(|hash| !first.contains_key(*hash)).count(), 2);
    }

    #[test]
    fn names_that_were_chosen_to_divide_a_folder_divide_it_no_smaller() {
        let hostile =
            (0_u32..).map(|n| format!("{n:x}")).filter(|name| blake3::hash(name.as_bytes()).as_bytes()[0] < 2);
        let mut entries: Vec<Entry> = hostile.take(3000).map(|name| entry(name.as_bytes(), Kind::File, 1)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let mut nodes = Nodes::new();
        let root = write_folder(&entries, &mut nodes).unwrap();
        assert!(nodes.len() <= 2 + 3000 / 32, "{}", nodes.len());
        assert_eq!(read_folder(root, &nodes), entries);
    }

    #[test]
    fn a_folder_with_more_entries_than_can_be_listed_is_refused() {
        let entries = vec![entry(b"x", Kind::File, 1); FOLDER_ENTRIES_MAX + 1];
        let refused = write_folder(&entries, &mut Nodes::new());
        assert!(matches!(refused, Err(ChronicleError::OverLimit { what: Limited::FolderEntries, .. })));
    }

    proptest! {
        #[test]
        fn folders_are_read_back(names in prop::collection::btree_set(prop::collection::vec(1_u8..=255, 1..20), 0..600), sizes: u64) {
            let kinds = [Kind::File, Kind::Folder, Kind::Link];
            let names = names.into_iter().filter(|name| check_name(name).is_ok());
            let entries: Vec<Entry> = names.enumerate().map(|(n, name)| entry(&name, kinds[n % 3], sizes >> (n % 64))).collect();
            let mut nodes = Nodes::new();
            let root = write_folder(&entries, &mut nodes).unwrap();
            prop_assert_eq!(read_folder(root, &nodes), entries);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_node(&bytes);
            let mut leaf = vec![LEAF];
            leaf.extend_from_slice(&bytes);
            let _ = read_node(&leaf);
        }
    }
}
