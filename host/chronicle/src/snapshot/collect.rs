//! A snapshot of dirty paths: only they are looked at, and only the folders above them are written anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;

use super::left_out::LookedAt;
use super::look::{Look, Seen, StatUpdate};
use crate::beneath;
use crate::dirty::Scope;
use crate::error::ChronicleError;
use crate::failpoint;
use crate::hash::ContentHash;
use crate::node::Kind;
use crate::path::WorkPath;
use crate::rows;
use crate::rows::stat::{StatChanges, StatRow};
use crate::tree::{Entry, Nodes, Totals, empty_root, write_folder};
use crate::trees::Trees;

/// What looking at the dirty paths came to.
pub(super) enum Collected {
    /// The new tree, and what was looked at for it.
    Root(ContentHash, LookedAt),
    /// Some file has names that nobody told of: everything must be looked at.
    ScanNeeded,
}

/// What is to change in a tree, as a tree.
#[derive(Debug, Default)]
struct Patch {
    now: Option<Now>,
    children: BTreeMap<Box<[u8]>, Patch>,
}

/// What stands at a path now.
#[derive(Debug)]
enum Now {
    Nothing,
    /// A file, a link, or a folder that was walked.
    Entry(Entry),
    /// A folder that was one before; only its permissions may differ.
    Folder(u16),
}

impl Patch {
    fn at(&mut self, path: &WorkPath) -> &mut Self {
        path.names().fold(self, |patch, name| patch.children.entry(name.into()).or_default())
    }
}

struct Collector<'l, 'a> {
    look: &'l mut Look<'a>,
    trees: &'l Trees<'a>,
    base: ContentHash,
    patch: Patch,
    todo: BTreeMap<WorkPath, Scope>,
    /// What was looked at, and how much of it: of what is no folder, or was walked, everything beneath is decided.
    done: HashMap<WorkPath, Scope>,
    /// The folder that was used last: dirty paths come in order.
    open: Option<(WorkPath, OwnedFd)>,
    scan_needed: bool,
}

/// Looks at the paths of the generation and gives the tree that `base` becomes.
pub(super) fn collect<'a>(
    look: &mut Look<'a>,
    trees: &Trees<'a>,
    base: ContentHash,
) -> Result<Collected, ChronicleError> {
    let todo = look.generation.paths.iter().map(|(path, scope)| (path.clone(), *scope)).collect();
    let mut collector = Collector {
        look,
        trees,
        base,
        patch: Patch::default(),
        todo,
        done: HashMap::new(),
        open: None,
        scan_needed: false,
    };
    while let Some((path, scope)) = collector.todo.pop_first() {
        if path.is_root() {
            // Its entries tell of themselves; everything beneath is a scan.
            collector.scan_needed |= scope == Scope::Beneath;
            continue;
        }
        collector.visit(&path, scope)?;
        if collector.scan_needed {
            return Ok(Collected::ScanNeeded);
        }
    }
    let Collector { look, patch, done, .. } = collector;
    let (root, _) = apply(trees, &mut look.nodes, base, patch)?;
    Ok(Collected::Root(root, LookedAt::Some(done)))
}

impl Collector<'_, '_> {
    fn visit(&mut self, path: &WorkPath, scope: Scope) -> Result<(), ChronicleError> {
        for above in path.folders_above() {
            if self.is_settled(&above) {
                return Ok(());
            }
            // A folder that nobody told of is new as a whole.
            if self.base_folder(&above)?.is_none() {
                return self.look_at(&above, Scope::Beneath);
            }
        }
        self.look_at(path, scope)
    }

    fn is_settled(&self, path: &WorkPath) -> bool {
        self.done.get(path) == Some(&Scope::Beneath)
    }

    fn base_folder(&self, path: &WorkPath) -> Result<Option<Rc<Vec<Entry>>>, ChronicleError> {
        if path.is_root() {
            return Ok(Some(self.trees.folder(self.base)?));
        }
        match self.trees.find(self.base, path)? {
            Some(entry) if entry.kind == Kind::Folder => Ok(Some(self.trees.folder(entry.hash)?)),
            _ => Ok(None),
        }
    }

    fn look_at(&mut self, path: &WorkPath, scope: Scope) -> Result<(), ChronicleError> {
        let Some((parent, name)) = path.split() else { return Ok(()) };
        if self.done.get(path).is_some_and(|done| *done >= scope) {
            return Ok(());
        }
        let folder = match self.open.take() {
            Some((open, folder)) if open == parent => folder,
            _ => match self.folder(&parent)? {
                Some(folder) => folder,
                None => return self.without_parent(path),
            },
        };
        let seen = match beneath::meta_in(folder.as_fd(), name) {
            Ok(meta) => {
                let known = rows::stat::find(self.look.database.connection(), &parent, name)?;
                let seen = self.look.entry(folder.as_fd(), path, name, &meta, known.as_ref())?;
                if meta.nlink > 1 && meta.kind == Ok(Kind::File) {
                    self.other_names((meta.dev, meta.ino), meta.nlink);
                }
                seen
            }
            Err(error) if beneath::is_gone(error) => Seen::Nothing,
            Err(error) => return Err(ChronicleError::work(path, error)),
        };
        self.open = Some((parent.clone(), folder));
        let mut looked_at = Scope::Beneath;
        let (now, row) = match seen {
            Seen::Entry(entry, row) => (Now::Entry(entry), row),
            Seen::Nothing => (Now::Nothing, None),
            Seen::Folder(meta) if scope == Scope::Entry && self.base_folder(path)?.is_some() => {
                looked_at = Scope::Entry;
                (Now::Folder(meta.mode), None)
            }
            Seen::Folder(meta) => {
                let walked = self.look.walk(path, meta.mode)?;
                // What was walked came without a name.
                (walked.map_or(Now::Nothing, |entry| Now::Entry(Entry { name: name.into(), ..entry })), None)
            }
        };
        self.done.insert(path.clone(), looked_at);
        self.note_row(&parent, name, row)?;
        self.patch.at(path).now = Some(now);
        Ok(())
    }

    /// Opens a folder; none when there is none to look into: it is gone, or it is left out as a whole. Any other failure is one
    /// of the host's, which says nothing of the folder.
    fn folder(&mut self, path: &WorkPath) -> Result<Option<OwnedFd>, ChronicleError> {
        let failed = |error| ChronicleError::work(path, error);
        failpoint::hit("collect.folder").map_err(failed)?;
        match self.look.rights.open(self.look.work, path) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if beneath::is_gone(error) => Ok(None),
            // Another user's, or another file system's.
            Err(Errno::ACCESS | Errno::PERM | Errno::XDEV) => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// The folder of a dirty path cannot be looked into: the outermost one that cannot is looked at instead.
    fn without_parent(&mut self, path: &WorkPath) -> Result<(), ChronicleError> {
        for above in path.folders_above() {
            if self.folder(&above)?.is_none() {
                return self.look_at(&above, Scope::Beneath);
            }
        }
        // It is there again, and the next snapshot looks at it.
        self.look.dirty.touched(path);
        Ok(())
    }

    fn note_row(&mut self, parent: &WorkPath, name: &[u8], row: Option<StatRow>) -> Result<(), ChronicleError> {
        if !self.look.stats.contains_key(parent) {
            let files = self.base_folder(parent)?.map_or(0, |entries| entries.len());
            self.look.stats.insert(parent.clone(), StatUpdate::Some(files, StatChanges::new()));
        }
        match self.look.stats.get_mut(parent) {
            Some(StatUpdate::Some(_, changes)) => {
                changes.insert(name.into(), row);
            }
            Some(StatUpdate::All(rows)) => {
                match row {
                    Some(row) => rows.insert(name.into(), row),
                    None => rows.remove(name),
                };
            }
            None => {}
        }
        Ok(())
    }

    fn other_names(&mut self, inode: (u64, u64), count: u64) {
        match self.look.dirty.names_of(inode, count) {
            Some(names) => {
                let new: BTreeSet<WorkPath> = names.into_iter().filter(|name| !self.done.contains_key(name)).collect();
                for name in new {
                    self.todo.entry(name).or_insert(Scope::Entry);
                }
            }
            None => self.scan_needed = true,
        }
    }
}

/// The tree that `base` becomes; as deep as paths are, which is bounded.
fn apply(
    trees: &Trees<'_>,
    nodes: &mut Nodes,
    base: ContentHash,
    patch: Patch,
) -> Result<(ContentHash, Totals), ChronicleError> {
    let mut entries: BTreeMap<Box<[u8]>, Entry> =
        trees.folder(base)?.iter().map(|entry| (entry.name.clone(), entry.clone())).collect();
    for (name, mut child) in patch.children {
        let before = entries.get(&name).filter(|entry| entry.kind == Kind::Folder);
        match child.now.take() {
            Some(Now::Nothing) => {
                entries.remove(&name);
            }
            Some(Now::Entry(entry)) => {
                entries.insert(name, entry);
            }
            now => {
                // A folder that was not one before was walked, unless it came and went meanwhile.
                let Some((hash, mode)) = before.map(|entry| (entry.hash, entry.mode)) else { continue };
                let mode = if let Some(Now::Folder(mode)) = now { mode } else { mode };
                let (hash, totals) = apply(trees, nodes, hash, child)?;
                entries.insert(name.clone(), Entry::folder(name, mode, totals, hash));
            }
        }
    }
    let entries: Vec<Entry> = entries.into_values().collect();
    if entries.is_empty() {
        return Ok((empty_root(), Totals::default()));
    }
    let (hash, totals) = (write_folder(&entries, nodes)?, Totals::of(&entries));
    trees.remember(hash, entries);
    Ok((hash, totals))
}
