//! What may have changed since the last snapshot: told by those who see the writes, taken by the snapshot.
//!
//! Writers never wait for a snapshot: it takes one generation, they fill the next. An inode that is open for writing or mapped is in every
//! generation, because its content can change without a call. Must never grow without bound: past a limit it says "scan".

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::followed::{Followed, Inode};
use crate::limits::{DIRTY_BYTES_MAX, DIRTY_PATHS_MAX, FOLLOWED_INODES_MAX};
use crate::path::WorkPath;

/// How much of a path is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// The entry itself.
    Entry,
    /// Everything beneath, too.
    Beneath,
}

/// One generation: what one snapshot has to look at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Generation {
    pub(crate) paths: HashMap<WorkPath, Scope>,
    pub(crate) scan: bool,
    /// Files whose content may differ though the system says the same of them.
    pub(crate) mapped: HashSet<Inode>,
    /// There are more such files than are listed: whatever the system says, everything is read.
    pub(crate) read_all: bool,
    /// Files that are open for writing, and so may be written while they are looked at.
    pub(crate) held: HashSet<Inode>,
    /// What `paths` take.
    pub(crate) path_bytes: usize,
}

impl Generation {
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.scan
    }

    fn add(&mut self, path: &WorkPath, scope: Scope) {
        if self.scan {
            return;
        }
        if let Some(known) = self.paths.get_mut(path) {
            *known = scope.max(*known);
        } else if self.paths.len() >= DIRTY_PATHS_MAX || self.path_bytes + path.cost() > DIRTY_BYTES_MAX {
            self.scan_all();
        } else {
            self.path_bytes += path.cost();
            self.paths.insert(path.clone(), scope);
        }
    }

    fn add_mapped(&mut self, inode: Inode) {
        if self.read_all {
            return;
        }
        self.mapped.insert(inode);
        if self.mapped.len() > FOLLOWED_INODES_MAX {
            self.read_all();
        }
    }

    fn scan_all(&mut self) {
        self.scan = true;
        self.paths = HashMap::new();
        self.path_bytes = 0;
    }

    fn read_all(&mut self) {
        self.scan_all();
        self.read_all = true;
        self.mapped = HashSet::new();
    }
}

/// How a file is open for writing.
#[derive(Debug, Default)]
struct Uses {
    handles: usize,
    mappings: usize,
}

/// How many names the system counted when the known ones were all of the workspace's; 0 when some may be unknown.
#[derive(Debug, Default)]
struct CompleteAt(u64);

#[derive(Debug, Default)]
struct Inner {
    generation: Generation,
    writers: Followed<Uses>,
    /// Handles and mappings of files that there was no room to follow.
    unfollowed: usize,
    /// Files with several names.
    linked: Followed<CompleteAt>,
    /// Names were not kept, for want of room; only scans are sure.
    links_lost: bool,
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
        self.inner().generation.add(path, Scope::Entry);
    }

    /// Nothing is known of what changed: the next snapshot looks at everything.
    pub fn scan_needed(&self) {
        self.inner().generation.scan_all();
    }

    /// A file was opened for writing by this name; the inode is of the open descriptor. Until it is closed as often, it is dirty
    /// in every generation.
    pub fn opened_for_writing(&self, dev: u64, ino: u64, path: &WorkPath) {
        self.inner().hold((dev, ino), path, |uses| uses.handles += 1);
    }

    /// A writable handle of a file was closed.
    pub fn closed(&self, dev: u64, ino: u64) {
        self.inner().let_go((dev, ino), |uses| uses.handles = uses.handles.saturating_sub(1));
    }

    /// A file was mapped for writing by this name.
    pub fn mapped(&self, dev: u64, ino: u64, path: &WorkPath) {
        self.inner().hold((dev, ino), path, |uses| uses.mappings += 1);
    }

    /// A writable mapping of a file ended.
    pub fn unmapped(&self, dev: u64, ino: u64) {
        self.inner().let_go((dev, ino), |uses| uses.mappings = uses.mappings.saturating_sub(1));
    }

    /// A file got a second name.
    pub fn linked(&self, dev: u64, ino: u64, old: &WorkPath, new: &WorkPath) {
        let inner = &mut *self.inner();
        for name in [old, new] {
            inner.generation.add(name, Scope::Entry);
            inner.learn((dev, ino), name);
        }
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

    /// Two entries changed places, with everything beneath them.
    pub fn exchanged(&self, one: &WorkPath, other: &WorkPath) {
        let inner = &mut *self.inner();
        inner.generation.add(one, Scope::Beneath);
        inner.generation.add(other, Scope::Beneath);
        let writers = inner.writers.exchange(one, other);
        let linked = inner.linked.exchange(one, other);
        inner.keep_or_scan(writers, linked);
    }

    /// True when a snapshot would look at something.
    pub fn is_dirty(&self) -> bool {
        let inner = self.inner();
        !inner.generation.is_empty() || !inner.writers.is_empty() || inner.unfollowed > 0 || inner.links_lost
    }

    /// Takes the generation, and begins the next one.
    pub(crate) fn take(&self) -> Generation {
        let inner = &mut *self.inner();
        let mut taken = std::mem::take(&mut inner.generation);
        if inner.links_lost {
            taken.scan_all();
        }
        if inner.unfollowed > 0 {
            taken.read_all();
        }
        for (inode, writer) in inner.writers.iter() {
            for name in names_of(&writer.names, &inner.linked, *inode) {
                taken.add(name, Scope::Entry);
            }
            taken.held.insert(*inode);
            if writer.about.mappings > 0 {
                taken.add_mapped(*inode);
            }
        }
        taken
    }

    /// Puts a generation back that no version has recorded.
    pub(crate) fn put_back(&self, generation: &Generation) {
        let inner = &mut *self.inner();
        if generation.scan {
            inner.generation.scan_all();
        }
        if generation.read_all {
            inner.generation.read_all();
        }
        for (path, scope) in &generation.paths {
            inner.generation.add(path, *scope);
        }
        for inode in &generation.mapped {
            inner.generation.add_mapped(*inode);
        }
    }

    /// A snapshot saw this name of a file with several.
    pub(crate) fn learn_name(&self, inode: Inode, path: &WorkPath) {
        self.inner().learn(inode, path);
    }

    /// A scan saw every file: the names that are known are all, for the numbers of names that `counts` gives. Files that
    /// it does not name have one name now.
    pub(crate) fn learned_all(&self, counts: &HashMap<Inode, u64>) {
        let inner = &mut *self.inner();
        inner.linked.retain(|inode, file| {
            file.about = CompleteAt(counts.get(inode).copied().unwrap_or(0));
            file.about.0 > 0
        });
        // Of a file whose names had no room, nothing is known.
        let known = counts.keys().all(|inode| inner.linked.get(*inode).is_some());
        inner.links_lost = counts.len() > FOLLOWED_INODES_MAX || !known;
    }

    /// All names of a file of which the system counts `count`; none when some may be unknown.
    pub(crate) fn names_of(&self, inode: Inode, count: u64) -> Option<BTreeSet<WorkPath>> {
        let inner = self.inner();
        let linked = inner.linked.get(inode)?;
        let known = u64::try_from(linked.names.len()).unwrap_or(u64::MAX);
        (linked.about.0 == count || known >= count).then(|| linked.names.clone())
    }
}

/// All names under which a writer's content shows.
fn names_of<'a>(
    opened_as: &'a BTreeSet<WorkPath>,
    linked: &'a Followed<CompleteAt>,
    inode: Inode,
) -> impl Iterator<Item = &'a WorkPath> {
    opened_as.iter().chain(linked.get(inode).into_iter().flat_map(|file| &file.names))
}

impl Inner {
    fn hold(&mut self, inode: Inode, path: &WorkPath, count: impl FnOnce(&mut Uses)) {
        self.generation.add(path, Scope::Entry);
        match self.writers.with_name(inode, path) {
            Some((writer, _)) => count(&mut writer.about),
            None => self.unfollowed += 1,
        }
        if let Some(linked) = self.linked.get(inode) {
            // A write through one name is a write of all.
            linked.names.iter().for_each(|name| self.generation.add(name, Scope::Entry));
        }
    }

    fn let_go(&mut self, inode: Inode, count: impl FnOnce(&mut Uses)) {
        let Some(writer) = self.writers.get_mut(inode) else {
            if self.unfollowed > 0 {
                self.unfollowed -= 1;
                // It may have been written since the last snapshot.
                self.generation.read_all();
            }
            return;
        };
        if writer.about.mappings > 0 {
            // What was written through it may have left no trace in the file's times.
            self.generation.add_mapped(inode);
        }
        count(&mut writer.about);
        let ended = writer.about.handles == 0 && writer.about.mappings == 0;
        // What was written between the last snapshot and now.
        for name in names_of(&writer.names, &self.linked, inode) {
            self.generation.add(name, Scope::Entry);
        }
        if ended {
            self.writers.remove(inode);
        }
    }

    fn learn(&mut self, inode: Inode, path: &WorkPath) {
        match self.linked.with_name(inode, path) {
            // With a new name, others may be new.
            Some((file, true)) => file.about = CompleteAt(0),
            Some(_) => {}
            None => {
                // The names that are known are not all, and must not pass for that.
                self.linked.remove(inode);
                self.links_lost = true;
            }
        }
    }

    fn rename(&mut self, from: &WorkPath, to: &WorkPath, scope: Scope) {
        self.generation.add(from, scope);
        self.generation.add(to, scope);
        let writers = self.writers.rename(from, to);
        let linked = self.linked.rename(from, to);
        self.keep_or_scan(writers, linked);
    }

    /// Follows no names any more of which there was not room for all.
    fn keep_or_scan(&mut self, writers: bool, linked: bool) {
        if !writers {
            self.unfollowed += self.writers.clear().map(|uses| uses.handles + uses.mappings).sum::<usize>();
        }
        if !linked {
            drop(self.linked.clear());
            self.links_lost = true;
        }
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
        assert!(generation.mapped.contains(&(1, 2)));
    }

    #[test]
    fn what_is_open_goes_with_an_exchange_both_ways() {
        let dirty = DirtySet::new();
        dirty.opened_for_writing(1, 2, &path("d/a"));
        dirty.opened_for_writing(1, 3, &path("f"));
        taken(&dirty);
        dirty.exchanged(&path("d"), &path("f"));
        assert_eq!(dirty.take().paths[&path("d")], Scope::Beneath);
        assert_eq!(taken(&dirty), ["d", "f/a"]);
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

    /// Paths as long as they may be.
    fn long(n: usize) -> WorkPath {
        path(&format!("{}{n:08}", format!("{}/", "x".repeat(254)).repeat(15)))
    }

    #[test]
    fn paths_take_no_more_than_their_bytes() {
        let dirty = DirtySet::new();
        for n in 0..20_000 {
            dirty.touched(&long(n));
        }
        assert!(dirty.inner().generation.path_bytes <= DIRTY_BYTES_MAX);
        assert!(dirty.take().scan);
        for n in 0..=u64::try_from(FOLLOWED_INODES_MAX).unwrap() {
            dirty.mapped(1, n, &path("a"));
            dirty.unmapped(1, n);
        }
        let generation = dirty.take();
        assert!(generation.read_all && generation.scan && generation.mapped.is_empty());
        dirty.put_back(&generation);
        assert!(dirty.take().read_all);
        assert!(!dirty.is_dirty());
    }

    #[test]
    fn names_of_followed_files_take_no_more_than_their_bytes() {
        let dirty = DirtySet::new();
        for n in 0..20_000 {
            dirty.mapped(1, u64::try_from(n).unwrap(), &long(n));
            dirty.linked(2, 7, &path("a"), &long(n));
        }
        // Every opening is known of, and of the names it is known that they are not.
        assert!(dirty.inner().unfollowed > 10_000 && dirty.inner().links_lost);
        assert_eq!(dirty.names_of((2, 7), 20_001), None);
        dirty.learned_all(&HashMap::new());
        assert!(dirty.take().read_all);
        for n in 0..20_000 {
            dirty.unmapped(1, n);
        }
        assert!(dirty.take().read_all);
        assert!(!dirty.is_dirty());
        // Short names that become long ones.
        for n in 0..20_000 {
            dirty.opened_for_writing(1, n, &path(&format!("d/{n}")));
            dirty.linked(2, n, &path(&format!("d/{n}")), &path("b"));
        }
        assert!(!dirty.take().scan);
        dirty.renamed_folder(&path("d"), &long(0));
        assert!(dirty.take().read_all);
        assert_eq!(dirty.names_of((2, 7), 2), None);
        (0..20_000).for_each(|n| dirty.closed(1, n));
        dirty.learned_all(&HashMap::new());
        dirty.take();
        assert!(!dirty.is_dirty());
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
        dirty.put_back(&generation);
        assert!(dirty.take().scan);
    }
}
