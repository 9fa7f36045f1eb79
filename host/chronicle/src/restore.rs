//! Bringing `work/` to a version: what differs is staged in `metadata/tmp/`, moved into place, and what is too much goes last.
//!
//! Every step can be done again: a restore that was cut short is found by its `op` row and by the unclean end, and the next opening does
//! it over. Must never write through a link that a guest put in the way, and never bring set-id bits back.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};

use podium_sqlite::Synchronous;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::beneath::{self, Beneath};
use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::{DIFFERENCES_MAX, PLACE_TRIES};
use crate::node::{Kind, Meta};
use crate::path::WorkPath;
use crate::rights::{Rights, mode_of};
use crate::rows;
use crate::rows::stat::{StatChanges, StatRow};
use crate::trash::Trash;
use crate::tree::Entry;
use crate::trees::{Difference, OnDamage, Trees};
use crate::version::{Prepared, VersionKind};

/// Restores that are remembered after they ended.
const OPS_KEPT: u64 = 100;

/// What a restore did to the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brought {
    /// Entries that were written.
    pub written: u64,
    /// Entries that were removed.
    pub removed: u64,
    /// Folders that should be gone but hold something that no version has, which stays.
    pub left: Vec<WorkPath>,
    /// Entries that no version has and that stood where an entry of the version had to be; they are gone.
    pub replaced_skipped: u64,
    /// Files whose stored content is damaged, and folders whose tree is, with what is wrong; they are as they were.
    pub damaged: Vec<(WorkPath, String)>,
}

impl Brought {
    /// Refuses what is not whole, with the first file whose content is damaged.
    pub fn all_readable(&self) -> Result<(), ChronicleError> {
        match self.damaged.first() {
            None => Ok(()),
            Some((path, what)) => {
                Err(ChronicleError::Unreadable { path: path.clone(), what: what.clone(), count: self.damaged.len() })
            }
        }
    }
}

/// What a restore did, and what was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The version of what was there, made first where nothing else kept it.
    pub before: Prepared,
    /// What was done. The paths are dirty now: the next snapshot makes a version of them.
    pub brought: Brought,
}

impl Chronicle {
    /// Brings the workspace, or only these paths and what is beneath them, to what `version` has. What was there is kept in a version
    /// first. Follow it with [`Chronicle::prepare`] and [`Chronicle::commit`]: until a cut names the result, a crash undoes it.
    pub fn restore(&mut self, version: u64, paths: Option<&[WorkPath]>) -> Result<Restored, ChronicleError> {
        let target = self.root_of(version)?;
        self.restore_root(target, paths)
    }

    /// As [`Chronicle::restore`], to a tree that is known by name.
    pub fn restore_root(
        &mut self,
        target: ContentHash,
        paths: Option<&[WorkPath]>,
    ) -> Result<Restored, ChronicleError> {
        if self.unsettled {
            return Err(ChronicleError::Refused("a restore failed; the workspace must be opened again"));
        }
        self.check_adopted()?;
        let before = self.prepare(crate::snapshot::SnapshotRequest {
            kind: VersionKind::BeforeRestore,
            cut: None,
            turn: None,
            scan: false,
        })?;
        let mut unknown = Vec::new();
        let trees = Trees::new(&self.database);
        let mut differences = match paths {
            None => trees.diff_despite(
                &WorkPath::root(),
                (self.tip.root, target),
                DIFFERENCES_MAX,
                OnDamage::NewIsUnknown(&mut unknown),
            )?,
            Some(paths) => differences_at(&trees, self.tip.root, target, paths)?,
        };
        // That version has not what its owner did not want then, which is no reason to take it away.
        let patterns = self.patterns_of(&trees, target)?;
        let is_folder = |entry: &Entry| entry.kind == Kind::Folder;
        differences.retain(|Difference { path, old, new }| {
            new.is_some() || !patterns.leave_out(path, old.as_ref().is_some_and(is_folder))
        });
        let touched: Vec<WorkPath> = differences.iter().map(|difference| difference.path.clone()).collect();
        let mut brought = self.bring("restore", self.tip.root, target, &differences)?;
        self.leave_unknown(unknown, &mut brought);
        touched.iter().for_each(|path| self.dirty.touched(path));
        Ok(Restored { before, brought })
    }

    /// Folders whose tree is damaged are as they were. The next snapshot looks at everything, and its tree of them is sound.
    pub(crate) fn leave_unknown(&mut self, unknown: Vec<(WorkPath, ChronicleError)>, brought: &mut Brought) {
        for (path, error) in unknown {
            let error = error.at(&path);
            tracing::error!(%error, "a folder cannot be restored");
            if let ChronicleError::Damaged { hash, .. } = error {
                self.note_damaged(hash);
            }
            brought.damaged.push((path, error.to_string()));
            self.dirty.scan_needed();
        }
    }

    /// Makes `work/` what these differences say; each has what stands there now, and what should.
    pub(crate) fn bring(
        &mut self,
        kind: &str,
        from: ContentHash,
        to: ContentHash,
        differences: &[Difference],
    ) -> Result<Brought, ChronicleError> {
        if differences.is_empty() {
            return Ok(Brought::default());
        }
        let now = self.clock.now_ms();
        // A kill keeps this row, and a power cut is known by the boot's id.
        let op = self
            .database
            .transaction_at(Synchronous::Normal, |connection| rows::op::start(connection, kind, from, to, now))?;
        self.unsettled = true;
        self.hit("restore.started")?;
        // A restore that failed before may have left something staged.
        self.tmp.empty()?;
        let placed = self.place_all(differences)?;
        self.hit("restore.placed")?;
        let now = self.clock.now_ms();
        let Placed { brought, stats, skipped_gone } = placed;
        let version = self.tip.version;
        self.database.transaction_at(Synchronous::Normal, |connection| {
            for (folder, changes) in &stats {
                rows::stat::change(connection, folder, changes.len(), changes)?;
            }
            for path in &skipped_gone {
                rows::skipped::end(connection, path, version)?;
            }
            rows::op::end(connection, op, now)?;
            rows::op::prune(connection, OPS_KEPT)
        })?;
        self.unsettled = false;
        self.hit("restore.done")?;
        Ok(brought)
    }

    fn place_all(&mut self, differences: &[Difference]) -> Result<Placed, ChronicleError> {
        let skipped: BTreeSet<WorkPath> =
            rows::skipped::now(self.database.connection())?.into_iter().map(|skipped| skipped.path).collect();
        let mut placed = Placed::default();
        let mut hand = Hand { work: &self.work, tmp: &self.tmp, open: None, staged: 0, rights: Rights::to_change() };
        let mut modes = Vec::new();
        for Difference { path, old: _, new } in differences {
            let Some(entry) = new else { continue };
            if entry.kind != Kind::Folder && skipped.contains(path) {
                placed.brought.replaced_skipped += 1;
                placed.skipped_gone.push(path.clone());
            }
            let written = match entry.kind {
                Kind::Folder => {
                    modes.push((path, entry.mode));
                    hand.folder(path).map(|()| None)
                }
                Kind::Link => self.place_link(&mut hand, path, entry).map(|()| None),
                Kind::File => self.place_file(&mut hand, path, entry),
            };
            match written {
                Ok(row) => {
                    placed.brought.written += 1;
                    placed.note(path, row);
                }
                Err(error @ ChronicleError::Damaged { .. }) => {
                    tracing::error!(%error, "a file cannot be restored");
                    placed.brought.damaged.push((path.clone(), error.to_string()));
                    self.dirty.touched(path);
                }
                Err(error) => return Err(error),
            }
            self.tmp.tidy().map_err(|error| ChronicleError::work(path, error))?;
            self.hit("restore.placing")?;
        }
        for Difference { path, old, new } in differences.iter().rev() {
            let (Some(old), None) = (old, new) else { continue };
            match hand.remove(path, old.kind)? {
                Gone::Removed => placed.brought.removed += 1,
                Gone::Left => placed.brought.left.push(path.clone()),
            }
            placed.note(path, None);
            self.tmp.tidy().map_err(|error| ChronicleError::work(path, error))?;
            self.hit("restore.removing")?;
        }
        // Last, because a folder may take away the right to write in it.
        let Hand { mut rights, .. } = hand;
        modes.into_iter().for_each(|(path, mode)| rights.set(path, mode));
        rights.give_back(&self.work).map_err(|(path, error)| ChronicleError::work(&path, error))?;
        self.tmp.empty()?;
        placed.brought.replaced_skipped += self.tmp.left_out();
        Ok(placed)
    }

    fn place_file(
        &self,
        hand: &mut Hand<'_>,
        path: &WorkPath,
        entry: &Entry,
    ) -> Result<Option<StatRow>, ChronicleError> {
        let failed = |error: io::Error| ChronicleError::work(path, error);
        let (name, staged) = hand.stage().map_err(failed)?;
        let mut file = File::from(staged);
        let written = self.cas.read(&self.database, entry.hash, |part| {
            match part {
                Ok(bytes) => file.write_all(bytes),
                Err(hole) => file.seek(SeekFrom::Current(i64::try_from(hole).unwrap_or(0))).map(drop),
            }
            .map_err(failed)
        });
        if let Err(error) = written {
            // The first error is the one that counts.
            let _ = rustix::fs::unlinkat(hand.tmp.root(), name.as_str(), AtFlags::empty());
            return Err(error.at(path));
        }
        let finish = || -> io::Result<()> {
            // A hole at the end has no bytes yet.
            file.set_len(entry.size)?;
            rustix::fs::fchmod(&file, mode_of(entry.mode))?;
            let time = Timespec { tv_sec: entry.mtime.seconds, tv_nsec: entry.mtime.nanoseconds.into() };
            rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })?;
            Ok(())
        };
        finish().map_err(failed)?;
        hand.put(&name, path)?;
        let meta = beneath::meta_of(file.as_fd()).map_err(|error| ChronicleError::work(path, error))?;
        Ok(vouched(&meta, entry))
    }

    fn place_link(&self, hand: &mut Hand<'_>, path: &WorkPath, entry: &Entry) -> Result<(), ChronicleError> {
        let target = self.cas.blob(&self.database, entry.hash).map_err(|error| error.at(path))?;
        let name = hand.next_name().map_err(|error| ChronicleError::work(path, error))?;
        rustix::fs::symlinkat(&target[..], hand.tmp.root(), name.as_str())
            .map_err(|error| ChronicleError::work(path, error))?;
        hand.put(&name, path)
    }
}

/// A row that vouches for a file just placed, unless somebody has written to it since: they would have changed its time.
fn vouched(meta: &Meta, entry: &Entry) -> Option<StatRow> {
    (meta.size == entry.size && meta.mtime == entry.mtime).then(|| StatRow::new(meta, entry.hash))
}

/// What differs between two trees at these paths and beneath them.
fn differences_at(
    trees: &Trees<'_>,
    from: ContentHash,
    to: ContentHash,
    paths: &[WorkPath],
) -> Result<Vec<Difference>, ChronicleError> {
    let mut found = std::collections::BTreeMap::new();
    for path in paths {
        if path.is_root() {
            return trees.diff(path, from, to, DIFFERENCES_MAX);
        }
        let (old, new) = (trees.find(from, path)?, trees.find(to, path)?);
        if old.is_none() && new.is_none() {
            return Err(ChronicleError::NotThere { path: path.clone(), what: "entry" });
        }
        if old == new {
            continue;
        }
        let tree = |entry: &Option<Entry>| {
            let folder = entry.as_ref().filter(|entry| entry.kind == Kind::Folder);
            folder.map_or_else(crate::tree::empty_root, |entry| entry.hash)
        };
        for difference in trees.diff(path, tree(&old), tree(&new), DIFFERENCES_MAX)? {
            found.insert(difference.path.clone(), difference);
        }
        found.insert(path.clone(), Difference { path: path.clone(), old, new });
    }
    Ok(found.into_values().collect())
}

#[derive(Debug, Default)]
struct Placed {
    brought: Brought,
    stats: HashMap<WorkPath, StatChanges>,
    skipped_gone: Vec<WorkPath>,
}

impl Placed {
    fn note(&mut self, path: &WorkPath, row: Option<StatRow>) {
        if let Some((folder, name)) = path.split() {
            self.stats.entry(folder).or_default().insert(name.into(), row);
        }
    }
}

enum Gone {
    Removed,
    Left,
}

/// Puts entries into the workspace and takes them out.
struct Hand<'a> {
    work: &'a Beneath,
    tmp: &'a Trash,
    /// The folder that was used last.
    open: Option<(WorkPath, OwnedFd)>,
    staged: u64,
    rights: Rights,
}

impl Hand<'_> {
    fn next_name(&mut self) -> io::Result<String> {
        self.staged += 1;
        Ok(format!("stage-{}", self.staged))
    }

    /// A new file in `tmp/`, which is empty when a restore begins.
    fn stage(&mut self) -> io::Result<(String, OwnedFd)> {
        let name = self.next_name()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(self.tmp.root(), name.as_str(), flags, Mode::RUSR | Mode::WUSR)?;
        Ok((name, file))
    }

    /// Makes a folder and all above it; what stands in the way goes.
    fn folder(&mut self, path: &WorkPath) -> Result<(), ChronicleError> {
        let folder = self.reach(path).map_err(|error| ChronicleError::work(path, error))?;
        self.open = Some((path.clone(), folder));
        Ok(())
    }

    /// Opens a folder, and where it is not there, makes it and all above it.
    fn reach(&mut self, path: &WorkPath) -> Result<OwnedFd, Errno> {
        match self.rights.open(self.work, path) {
            Err(error) if beneath::is_gone(error) => {}
            other => return other,
        }
        let mut at = self.rights.root(self.work)?;
        let mut reached = WorkPath::root();
        for name in path.names() {
            reached = reached.join(name).map_err(|_| Errno::NAMETOOLONG)?;
            at = self.enter(&at, name, &reached)?;
        }
        Ok(at)
    }

    fn enter(&mut self, folder: &OwnedFd, name: &[u8], path: &WorkPath) -> Result<OwnedFd, Errno> {
        for _ in 0..PLACE_TRIES {
            match self.rights.enter(folder.as_fd(), name, path) {
                Err(Errno::NOENT) => match rustix::fs::mkdirat(folder, name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                },
                Err(Errno::NOTDIR | Errno::LOOP) => self.tmp.throw(folder.as_fd(), name)?,
                other => return other,
            }
        }
        // Somebody undoes it as fast as we do it.
        Err(Errno::AGAIN)
    }

    fn parent<'p>(&mut self, path: &'p WorkPath) -> Result<(OwnedFd, &'p [u8]), Errno> {
        let Some((parent, name)) = path.split() else { return Err(Errno::INVAL) };
        let folder = match self.open.take() {
            Some((open, folder)) if open == parent => folder,
            _ => self.reach(&parent)?,
        };
        let kept = folder.try_clone().map_err(|_| Errno::MFILE)?;
        self.open = Some((parent, kept));
        Ok((folder, name))
    }

    /// Moves a staged entry to its path; a folder that stands there goes.
    fn put(&mut self, staged: &str, path: &WorkPath) -> Result<(), ChronicleError> {
        let failed = |error| ChronicleError::work(path, error);
        let (folder, name) = self.parent(path).map_err(failed)?;
        for _ in 0..PLACE_TRIES {
            match rustix::fs::renameat(self.tmp.root(), staged, &folder, name) {
                Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {
                    self.tmp.throw(folder.as_fd(), name).map_err(failed)?;
                }
                other => return other.map_err(failed),
            }
        }
        Err(failed(Errno::AGAIN))
    }

    /// Removes an entry; a folder only when it is empty.
    fn remove(&mut self, path: &WorkPath, kind: Kind) -> Result<Gone, ChronicleError> {
        let failed = |error| ChronicleError::work(path, error);
        let Some((parent, name)) = path.split() else { return Ok(Gone::Left) };
        let folder = match self.rights.open(self.work, &parent) {
            Ok(folder) => folder,
            Err(error) if beneath::is_gone(error) => return Ok(Gone::Removed),
            Err(error) => return Err(failed(error)),
        };
        self.open = None;
        let flags = if kind == Kind::Folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match rustix::fs::unlinkat(&folder, name, flags) {
            Ok(()) => Ok(Gone::Removed),
            Err(error) if beneath::is_gone(error) => Ok(Gone::Removed),
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY) => Ok(Gone::Left),
            // Something else has the name now; what should be gone is gone when that is.
            Err(Errno::ISDIR | Errno::PERM) => {
                self.tmp.throw(folder.as_fd(), name).map_err(failed)?;
                Ok(Gone::Removed)
            }
            Err(error) => Err(failed(error)),
        }
    }
}
