//! Reading trees: folders by name, entries by path, and what differs between two trees.
//!
//! A stored tree is not trusted: each node is checked, and what does not fit is damaged content, reported with its path.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use podium_sqlite::Database;

use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::DEPTH_MAX;
use crate::node::Kind;
use crate::path::WorkPath;
use crate::rows;
use crate::tree::{Entry, Node, Nodes, Totals, empty_root, read_node};

/// Folders that are kept read, as a snapshot asks for the same few again and again.
const CACHED_FOLDERS: usize = 256;

/// The trees that the database and `nodes` hold together.
pub(crate) struct Trees<'a> {
    database: &'a Database,
    nodes: Option<&'a Nodes>,
    cache: Folders,
}

/// Folders that were read, by the name of their tree; clones are the same ones.
pub(crate) type Folders = Rc<RefCell<HashMap<ContentHash, Rc<Vec<Entry>>>>>;

/// What a comparison does with a folder of which one of the two trees is damaged.
#[derive(Debug)]
pub(crate) enum OnDamage<'d> {
    /// It fails.
    Fail,
    /// Where that is the old tree, everything is new: what was there is not known.
    OldIsEmpty,
    /// Where that is the new tree, nothing is told of what is beneath; the folder is noted here, with what is wrong.
    NewIsUnknown(&'d mut Vec<(WorkPath, ChronicleError)>),
}

/// A path with what stands there in two trees; at least one of them has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) path: WorkPath,
    pub(crate) old: Option<Entry>,
    pub(crate) new: Option<Entry>,
}

impl<'a> Trees<'a> {
    pub(crate) fn new(database: &'a Database) -> Self {
        Self { database, nodes: None, cache: Folders::default() }
    }

    /// With nodes that are not stored yet.
    pub(crate) fn with(database: &'a Database, nodes: &'a Nodes) -> Self {
        Self::with_folders(database, nodes, Folders::default())
    }

    /// With folders that were read before, too: one snapshot asks for the same ones again and again.
    pub(crate) fn with_folders(database: &'a Database, nodes: &'a Nodes, cache: Folders) -> Self {
        Self { database, nodes: Some(nodes), cache }
    }

    /// The folders that were read so far.
    pub(crate) fn folders(&self) -> Folders {
        Rc::clone(&self.cache)
    }

    /// Keeps a folder that was just made.
    pub(crate) fn remember(&self, hash: ContentHash, entries: Vec<Entry>) {
        self.keep(hash, &Rc::new(entries));
    }

    fn keep(&self, hash: ContentHash, entries: &Rc<Vec<Entry>>) {
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= CACHED_FOLDERS {
            cache.clear();
        }
        cache.insert(hash, Rc::clone(entries));
    }

    pub(crate) fn node(&self, hash: ContentHash) -> Result<Node, ChronicleError> {
        let malformed = |error: crate::tree::Malformed| ChronicleError::damaged(hash, error.0);
        if let Some(node) = self.nodes.and_then(|nodes| nodes.get(&hash)) {
            return read_node(node).map_err(malformed);
        }
        if hash == empty_root() {
            return Ok(Node::Leaf(Vec::new()));
        }
        let data = rows::tree::find(self.database.connection(), hash)?;
        read_node(&data.ok_or_else(|| ChronicleError::damaged(hash, "a tree is not stored"))?).map_err(malformed)
    }

    /// The entries of a folder's tree, by name.
    pub(crate) fn folder(&self, hash: ContentHash) -> Result<Rc<Vec<Entry>>, ChronicleError> {
        if let Some(entries) = self.cache.borrow().get(&hash) {
            return Ok(Rc::clone(entries));
        }
        let entries = match self.node(hash)? {
            Node::Leaf(entries) => entries,
            Node::List(parts) => {
                let mut entries: Vec<Entry> = Vec::new();
                for part in parts {
                    let Node::Leaf(more) = self.node(part)? else {
                        return Err(ChronicleError::damaged(hash, "a list is in a list"));
                    };
                    entries.extend(more);
                }
                if !entries.is_sorted_by(|a, b| a.name < b.name) {
                    return Err(ChronicleError::damaged(hash, "its parts are not in order"));
                }
                entries
            }
        };
        let entries = Rc::new(entries);
        self.keep(hash, &entries);
        Ok(entries)
    }

    /// The entry at a path; none for the root, which is no entry.
    pub(crate) fn find(&self, root: ContentHash, path: &WorkPath) -> Result<Option<Entry>, ChronicleError> {
        let mut folder = root;
        let mut names = path.names().peekable();
        while let Some(name) = names.next() {
            let entries = self.folder(folder)?;
            let Ok(index) = entries.binary_search_by(|entry| (*entry.name).cmp(name)) else { return Ok(None) };
            let entry = &entries[index];
            if names.peek().is_none() {
                return Ok(Some(entry.clone()));
            }
            if entry.kind != Kind::Folder {
                return Ok(None);
            }
            folder = entry.hash;
        }
        Ok(None)
    }

    /// Bytes and entries of a tree.
    pub(crate) fn totals(&self, root: ContentHash) -> Result<Totals, ChronicleError> {
        Ok(Totals::of(&self.folder(root)?))
    }

    /// What differs beneath `at`, whose two trees these are, by path; a folder only where it is new, gone, or has other
    /// permissions. At most `limit` differences, else an error.
    pub(crate) fn diff(
        &self,
        at: &WorkPath,
        old: ContentHash,
        new: ContentHash,
        limit: usize,
    ) -> Result<Vec<Difference>, ChronicleError> {
        self.diff_despite(at, (old, new), limit, OnDamage::Fail)
    }

    /// As [`Trees::diff`], of the trees `old` and `new`, where one of them may be damaged.
    pub(crate) fn diff_despite(
        &self,
        at: &WorkPath,
        (old, new): (ContentHash, ContentHash),
        limit: usize,
        mut on_damage: OnDamage<'_>,
    ) -> Result<Vec<Difference>, ChronicleError> {
        let mut found = Vec::new();
        let mut folders = vec![(at.clone(), old, new)];
        while let Some((path, old, new)) = folders.pop() {
            if old == new {
                continue;
            }
            // A tree within itself would be a hash found by chance; bounded all the same.
            if path.depth() >= DEPTH_MAX {
                return Err(ChronicleError::damaged(new, "a tree is too deep"));
            }
            let olds = match (self.folder(old), &on_damage) {
                (Err(ChronicleError::Damaged { .. }), OnDamage::OldIsEmpty) => Rc::default(),
                (olds, _) => olds.map_err(|error| error.at(&path))?,
            };
            let news = match (self.folder(new), &mut on_damage) {
                (Err(error @ ChronicleError::Damaged { .. }), OnDamage::NewIsUnknown(unknown)) => {
                    unknown.push((path, error));
                    continue;
                }
                (news, _) => news.map_err(|error| error.at(&path))?,
            };
            let (mut a, mut b) = (olds.iter().peekable(), news.iter().peekable());
            loop {
                let order = match (a.peek(), b.peek()) {
                    (None, None) => break,
                    (Some(_), None) => std::cmp::Ordering::Less,
                    (None, Some(_)) => std::cmp::Ordering::Greater,
                    (Some(x), Some(y)) => x.name.cmp(&y.name),
                };
                let old = if order.is_le() { a.next() } else { None };
                let new = if order.is_ge() { b.next() } else { None };
                if old == new {
                    continue;
                }
                let Some(name) = old.or(new).map(|entry| &entry.name) else { break };
                let path = path.join(name).map_err(ChronicleError::Path)?;
                let folder = |entry: Option<&Entry>| entry.filter(|entry| entry.kind == Kind::Folder).map(|it| it.hash);
                let (old_folder, new_folder) = (folder(old), folder(new));
                if old_folder.is_some() || new_folder.is_some() {
                    let (from, to) = (old_folder.unwrap_or(empty_root()), new_folder.unwrap_or(empty_root()));
                    folders.push((path.clone(), from, to));
                }
                let same_folder = old_folder.is_some()
                    && new_folder.is_some()
                    && old.map(|entry| entry.mode) == new.map(|entry| entry.mode);
                if !same_folder {
                    if found.len() >= limit {
                        return Err(ChronicleError::Refused("two versions differ in too many entries"));
                    }
                    found.push(Difference { path, old: old.cloned(), new: new.cloned() });
                }
            }
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Calls `each` with every entry beneath a tree, folders before what is in them.
    #[cfg(test)]
    pub(crate) fn each(
        &self,
        root: ContentHash,
        mut each: impl FnMut(&WorkPath, &Entry) -> Result<(), ChronicleError>,
    ) -> Result<(), ChronicleError> {
        let mut folders = vec![(WorkPath::root(), root)];
        while let Some((path, hash)) = folders.pop() {
            for entry in self.folder(hash)?.iter() {
                let path = path.join(&entry.name)?;
                each(&path, entry)?;
                if entry.kind == Kind::Folder {
                    folders.push((path, entry.hash));
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with every node that `root` needs and `known` does not say to be there, parents first.
    pub(crate) fn missing(
        &self,
        root: ContentHash,
        mut known: impl FnMut(ContentHash) -> Result<bool, ChronicleError>,
        mut each: impl FnMut(ContentHash) -> Result<(), ChronicleError>,
    ) -> Result<(), ChronicleError> {
        let mut nodes = vec![root];
        while let Some(hash) = nodes.pop() {
            if hash == empty_root() || known(hash)? {
                continue;
            }
            each(hash)?;
            match self.node(hash)? {
                Node::List(parts) => nodes.extend(parts),
                Node::Leaf(entries) => {
                    nodes.extend(entries.iter().filter(|entry| entry.kind == Kind::Folder).map(|entry| entry.hash));
                }
            }
        }
        Ok(())
    }

    /// What a node names itself: other nodes, and contents of files and links.
    pub(crate) fn named_by(&self, hash: ContentHash) -> Result<(Vec<ContentHash>, Vec<ContentHash>), ChronicleError> {
        Ok(match self.node(hash)? {
            Node::List(parts) => (parts, Vec::new()),
            Node::Leaf(entries) => {
                let (folders, others): (Vec<Entry>, Vec<Entry>) =
                    entries.into_iter().partition(|entry| entry.kind == Kind::Folder);
                let hashes = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.hash).collect();
                (hashes(folders), hashes(others))
            }
        })
    }
}
