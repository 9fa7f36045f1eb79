//! What may have changed since the last snapshot: told by those who see the writes, taken by the snapshot.
//!
//! Writers never wait for a snapshot: it takes one generation, they fill the next. An inode that is open for writing or mapped is in every
//! generation, because its content can change without a call. Must never grow without bound: past a limit it says "scan".

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{DIRTY_PATHS_MAX, FOLLOWED_INODES_MAX};
use crate::path::WorkPath;

/// How much of a path is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The entry itself.
    Entry,
    /// Everything beneath, too.
    Beneath,
}

/// Device and inode number: a file whatever its names are.
pub(crate) type Inode = (u64, u64);

/// One generation: what one snapshot has to look at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) paths: HashMap<WorkPath, Scope>,
    pub(crate) scan: bool,
    /// Paths whose content may differ though the system says the same of them.
    pub(crate) mapped: BTreeSet<WorkPath>,
    /// Paths that are open for writing, and so may be written while they are looked at.
    pub(crate) held: BTreeSet<WorkPath>,
}

impl Generation {
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.scan
    }

    fn add(&mut self, path: WorkPath, scope: Scope) {
        if self.scan {
            return;
        }
        if self.paths.len() >= DIRTY_PATHS_MAX && !self.paths.contains_key(&path) {
            self.scan_all();
            return;
        }
        let known = self.paths.entry(path).or_insert(scope);
        *known = scope.max(*known);
    }

    fn scan_all(&mut self) {
        self.scan = true;
        self.paths = HashMap::new();
    }
}

/// A file that is open for writing.
#[derive(Debug, Default)]
struct Writer {
    names: BTreeSet<WorkPath>,
    handles: usize,
    mappings: usize,
}

/// A file with several names.
#[derive(Debug, Default)]
struct Linked {
    names: BTreeSet<WorkPath>,
    /// How many names the system counted when these were all of the workspace's.
    complete_at: u64,
}

#[derive(Debug, Default)]
struct Inner {
    generation: Generation,
    writers: HashMap<Inode, Writer>,
    linked: HashMap<Inode, Linked>,
    /// Too many inodes were to be followed; only scans are sure.
    overflown: bool,
}

/// The dirty set of one workspace; clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct DirtySet(Arc<Mutex<Inner>>);

impl DirtySet {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry was made, written, removed or had its attributes changed. Tell it after the change, and of a folder that is removed
    /// with what was in it tell each entry: the folder may be there again before anybody looks.
    pub fn touched(&self, path: &WorkPath) {
        self.inner().generation.add(path.clone(), Scope::Entry);
    }

    /// Nothing is known of what changed: the next snapshot looks at everything.
    pub fn scan_needed(&self) {
        self.inner().generation.scan_all();
    }

    /// A file was opened for writing by this name; the inode is of the open descriptor. Until it is closed as often, it is dirty
    /// in every generation.
    pub fn opened_for_writing(&self, dev: u64, ino: u64, path: &WorkPath) {
        self.inner().hold((dev, ino), path, |writer| writer.handles += 1);
    }

    /// A writable handle of a file was closed.
    pub fn closed(&self, dev: u64, ino: u64) {
        self.inner().let_go((dev, ino), |writer| writer.handles = writer.handles.saturating_sub(1));
    }

    /// A file was mapped for writing by this name.
    pub fn mapped(&self, dev: u64, ino: u64, path: &WorkPath) {
        self.inner().hold((dev, ino), path, |writer| writer.mappings += 1);
    }

    /// A writable mapping of a file ended.
    pub fn unmapped(&self, dev: u64, ino: u64) {
        self.inner().let_go((dev, ino), |writer| writer.mappings = writer.mappings.saturating_sub(1));
    }

    /// A file got a second name.
    pub fn linked(&self, dev: u64, ino: u64, old: &WorkPath, new: &WorkPath) {
        let inner = &mut *self.inner();
        inner.generation.add(old.clone(), Scope::Entry);
        inner.generation.add(new.clone(), Scope::Entry);
        inner.learn((dev, ino), new);
        inner.learn((dev, ino), old);
    }

    /// A file was renamed; what is open under the old name is dirty under the new one.
    pub fn renamed(&self, from: &WorkPath, to: &WorkPath) {
        self.inner().rename(from, to, Scope::Entry);
    }

    /// A folder was renamed: everything beneath both names may have changed, and what is open beneath the old one is beneath the
    /// new one now.
    pub fn renamed_folder(&self, from: &WorkPath, to: &WorkPath) {
        self.inner().rename(from, to, Scope::Beneath);
    }

    /// True when a snapshot would look at something.
    pub fn is_dirty(&self) -> bool {
        let inner = self.inner();
        !inner.generation.is_empty() || !inner.writers.is_empty() || inner.overflown
    }

    /// Takes the generation, and begins the next one.
    pub(crate) fn take(&self) -> Generation {
        let inner = &mut *self.inner();
        let mut taken = std::mem::take(&mut inner.generation);
        if inner.overflown {
            taken.scan_all();
        }
        for writer in inner.writers.values() {
            for name in &writer.names {
                taken.add(name.clone(), Scope::Entry);
                taken.held.insert(name.clone());
                if writer.mappings > 0 {
                    taken.mapped.insert(name.clone());
                }
            }
        }
        taken
    }

    /// Puts a generation back that no version has recorded.
    pub(crate) fn put_back(&self, generation: Generation) {
        let inner = &mut *self.inner();
        if generation.scan {
            inner.generation.scan_all();
        }
        for (path, scope) in generation.paths {
            inner.generation.add(path, scope);
        }
        inner.generation.mapped.extend(generation.mapped);
    }

    /// A snapshot saw this name of a file with several.
    pub(crate) fn learn_name(&self, inode: Inode, path: &WorkPath) {
        self.inner().learn(inode, path);
    }

    /// A scan saw every file: the names that are known are all, for the numbers of names that `counts` gives. Files that
    /// it does not name have one name now.
    pub(crate) fn learned_all(&self, counts: &HashMap<Inode, u64>) {
        let inner = &mut *self.inner();
        inner.linked.retain(|inode, linked| {
            linked.complete_at = counts.get(inode).copied().unwrap_or(0);
            linked.complete_at > 0
        });
        inner.overflown = counts.len() > FOLLOWED_INODES_MAX;
    }

    /// All names of a file of which the system counts `count`; none when some may be unknown.
    pub(crate) fn names_of(&self, inode: Inode, count: u64) -> Option<BTreeSet<WorkPath>> {
        let inner = self.inner();
        let linked = inner.linked.get(&inode)?;
        let known = u64::try_from(linked.names.len()).unwrap_or(u64::MAX);
        (linked.complete_at == count || known >= count).then(|| linked.names.clone())
    }
}

impl Inner {
    fn hold(&mut self, inode: Inode, path: &WorkPath, count: impl FnOnce(&mut Writer)) {
        self.generation.add(path.clone(), Scope::Entry);
        if self.writers.len() >= FOLLOWED_INODES_MAX && !self.writers.contains_key(&inode) {
            self.overflown = true;
            return;
        }
        let writer = self.writers.entry(inode).or_default();
        writer.names.insert(path.clone());
        count(writer);
        self.touch_names(inode);
    }

    fn let_go(&mut self, inode: Inode, count: impl FnOnce(&mut Writer)) {
        self.touch_names(inode);
        let Some(writer) = self.writers.get_mut(&inode) else { return };
        count(writer);
        let names = writer.names.clone();
        if writer.handles == 0 && writer.mappings == 0 {
            self.writers.remove(&inode);
        }
        // What was written between the last snapshot and now.
        for name in names {
            self.generation.add(name, Scope::Entry);
        }
    }

    /// A write through one name is a write of all.
    fn touch_names(&mut self, inode: Inode) {
        let Some(linked) = self.linked.get(&inode) else { return };
        for name in &linked.names {
            self.generation.add(name.clone(), Scope::Entry);
        }
    }

    fn learn(&mut self, inode: Inode, path: &WorkPath) {
        if self.linked.len() >= FOLLOWED_INODES_MAX && !self.linked.contains_key(&inode) {
            self.overflown = true;
            return;
        }
        let linked = self.linked.entry(inode).or_default();
        // A new name is one more than a scan counted; one that is seen again changes nothing.
        if linked.names.insert(path.clone()) {
            linked.complete_at = 0;
        }
    }

    fn rename(&mut self, from: &WorkPath, to: &WorkPath, scope: Scope) {
        self.generation.add(from.clone(), scope);
        self.generation.add(to.clone(), scope);
        let move_names = |names: &mut BTreeSet<WorkPath>| {
            let moved: Vec<(WorkPath, Option<WorkPath>)> = names
                .iter()
                .filter(|name| name.is_within(from))
                .map(|name| (name.clone(), name.moved(from, to)))
                .collect();
            for (old, new) in moved {
                names.remove(&old);
                names.extend(new);
            }
        };
        self.writers.values_mut().for_each(|writer| move_names(&mut writer.names));
        self.linked.values_mut().for_each(|linked| move_names(&mut linked.names));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkPath {
        text.parse().unwrap()
    }

    fn taken(dirty: &DirtySet) -> Vec<String> {
        let mut paths: Vec<String> = dirty.take().paths.keys().map(ToString::to_string).collect();
        paths.sort();
        paths
    }

    #[test]
    fn an_open_file_is_in_every_generation_until_it_is_closed() {
        let dirty = DirtySet::new();
        dirty.opened_for_writing(1, 2, &path("a"));
        dirty.opened_for_writing(1, 2, &path("a"));
        assert_eq!(taken(&dirty), ["a"]);
        assert_eq!(taken(&dirty), ["a"]);
        dirty.closed(1, 2);
        assert!(dirty.is_dirty());
        dirty.closed(1, 2);
        // Once more: it may have been written after the last snapshot.
        assert_eq!(taken(&dirty), ["a"]);
        assert_eq!(taken(&dirty), [""; 0]);
        assert!(!dirty.is_dirty());
    }

    #[test]
    fn a_file_that_is_open_goes_with_its_folder() {
        let dirty = DirtySet::new();
        dirty.opened_for_writing(1, 2, &path("d/a"));
        taken(&dirty);
        dirty.renamed_folder(&path("d"), &path("e"));
        assert_eq!(taken(&dirty), ["d", "e", "e/a"]);
        dirty.mapped(1, 2, &path("e/a"));
        dirty.closed(1, 2);
        let generation = dirty.take();
        assert!(generation.mapped.contains(&path("e/a")));
    }

    #[test]
    fn a_write_through_one_name_is_a_write_of_all() {
        let dirty = DirtySet::new();
        dirty.linked(1, 2, &path("a"), &path("b"));
        taken(&dirty);
        dirty.opened_for_writing(1, 2, &path("b"));
        assert_eq!(taken(&dirty), ["a", "b"]);
        assert_eq!(dirty.names_of((1, 2), 2).unwrap().len(), 2);
        // Somebody made a name that nobody told of.
        assert_eq!(dirty.names_of((1, 2), 3), None);
        dirty.learned_all(&HashMap::from([((1, 2), 3)]));
        assert_eq!(dirty.names_of((1, 2), 3).unwrap().len(), 2);
        dirty.learned_all(&HashMap::new());
        assert_eq!(dirty.names_of((1, 2), 2), None);
    }

    #[test]
    fn a_name_outside_is_known_to_be_there_after_a_scan() {
        let dirty = DirtySet::new();
        dirty.learn_name((1, 2), &path("a"));
        assert_eq!(dirty.names_of((1, 2), 2), None);
        dirty.learned_all(&HashMap::from([((1, 2), 2)]));
        // Seen again by the next snapshot.
        dirty.learn_name((1, 2), &path("a"));
        assert_eq!(dirty.names_of((1, 2), 2).unwrap().len(), 1);
        dirty.learn_name((1, 2), &path("b"));
        assert_eq!(dirty.names_of((1, 2), 3), None);
    }

    #[test]
    fn past_the_limit_everything_is_scanned() {
        let dirty = DirtySet::new();
        for n in 0..=DIRTY_PATHS_MAX {
            dirty.touched(&path(&format!("f{n}")));
        }
        let generation = dirty.take();
        assert!(generation.scan && generation.paths.is_empty());
        assert!(dirty.take().is_empty());
        dirty.put_back(generation);
        assert!(dirty.take().scan);
    }
}
