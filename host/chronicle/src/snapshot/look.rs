//! Looking at entries of the workspace: what each becomes in the new tree, and what is noted on the way.
//!
//! Must never open anything but files and folders, and never believe a name: the system is asked of each.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::BorrowedFd;

use podium_sqlite::Database;
use rustix::io::Errno;

use super::content::{Content, store_file, store_link};
use crate::beneath::{self, Beneath, NamesBuffer};
use crate::cas::Cas;
use crate::dirty::{DirtySet, Generation};
use crate::error::{ChronicleError, Limited};
use crate::followed::Inode;
use crate::ignored::Ignoring;
use crate::limits::{FOLLOWED_INODES_MAX, Limits};
use crate::node::{FileTime, Kind, Meta, SkipReason, Skipped};
use crate::path::{PathError, WorkPath};
use crate::rights::Rights;
use crate::rows;
use crate::rows::stat::{FolderStats, StatChanges, StatRow};
use crate::tree::{Entry, Nodes, Totals, write_folder};

/// How a folder's rows of the stat cache change with the snapshot.
#[derive(Debug)]
pub(super) enum StatUpdate {
    /// Some of them, in a folder of about so many files.
    Some(usize, StatChanges),
    /// All of them.
    All(FolderStats),
}

/// What one snapshot has to do with, and what it found so far.
pub(super) struct Look<'a> {
    pub(super) work: &'a Beneath,
    pub(super) database: &'a Database,
    pub(super) cas: &'a mut Cas,
    pub(super) dirty: &'a DirtySet,
    pub(super) limits: Limits,
    /// What the owner does not want.
    pub(super) ignoring: &'a Ignoring<'a>,
    /// A file whose times are not before this may change again without a trace; none where the system leaves no such gap.
    pub(super) settled_before_ns: Option<i64>,
    /// What it looks for: of some files the system's word is not enough, and some may be written right now.
    pub(super) generation: &'a Generation,
    /// Everything is looked at, and of what is found on the way nobody told who writes it.
    pub(super) scanning: bool,
    pub(super) nodes: Nodes,
    pub(super) stats: HashMap<WorkPath, StatUpdate>,
    pub(super) skipped: BTreeMap<WorkPath, Skipped>,
    pub(super) unstable: Vec<WorkPath>,
    pub(super) several_names: HashMap<Inode, u64>,
    /// Rights that folders were given to be looked into; they get their own back when all is looked at.
    pub(super) rights: Rights,
    seen: Totals,
    buffer: NamesBuffer,
}

/// What an entry is now.
#[derive(Debug)]
pub(super) enum Seen {
    /// A file or a link, with the row that vouches for it.
    Entry(Entry, Option<StatRow>),
    /// A folder, not looked into yet.
    Folder(Meta),
    /// Nothing that a version holds.
    Nothing,
}

/// A folder whose entries are being collected.
struct Frame {
    path: WorkPath,
    name: Box<[u8]>,
    mode: u16,
    entries: Vec<Entry>,
    folders: Vec<(Box<[u8]>, Meta)>,
}

impl<'a> Look<'a> {
    pub(super) fn new(
        work: &'a Beneath,
        database: &'a Database,
        cas: &'a mut Cas,
        dirty: &'a DirtySet,
        limits: Limits,
        ignoring: &'a Ignoring<'a>,
        generation: &'a Generation,
    ) -> Self {
        Self {
            work,
            database,
            cas,
            dirty,
            limits,
            ignoring,
            generation,
            settled_before_ns: None,
            scanning: generation.scan,
            nodes: Nodes::new(),
            stats: HashMap::new(),
            skipped: BTreeMap::new(),
            unstable: Vec::new(),
            several_names: HashMap::new(),
            rights: Rights::to_look(),
            seen: Totals::default(),
            buffer: NamesBuffer::new(),
        }
    }

    /// Forgets what it found, to look at everything instead.
    pub(super) fn start_over(&mut self) -> Result<(), ChronicleError> {
        self.give_back()?;
        self.scanning = true;
        self.nodes.clear();
        self.stats.clear();
        self.skipped.clear();
        self.unstable.clear();
        self.several_names.clear();
        self.seen = Totals::default();
        Ok(())
    }

    /// Gives folders their own rights back.
    pub(super) fn give_back(&mut self) -> Result<(), ChronicleError> {
        self.rights.give_back(self.work).map_err(|(path, error)| ChronicleError::work(&path, error))
    }

    /// Leaves something out. Several entries of one folder may be told as that folder, and are one then.
    fn skip(&mut self, path: &WorkPath, reason: SkipReason, meta: Option<&Meta>) -> Result<(), ChronicleError> {
        let (size, disk, mtime) = meta.map_or((0, 0, FileTime::default()), |meta| (meta.size, meta.disk, meta.mtime));
        self.leave_out(Skipped { path: path.clone(), reason, size, disk, mtime, entries: 1 })
    }

    fn leave_out(&mut self, skipped: Skipped) -> Result<(), ChronicleError> {
        if skipped.reason == SkipReason::Ignored && self.ignoring.is_lenient {
            self.skipped.insert(skipped.path.clone(), skipped);
            return Ok(());
        }
        self.seen.add_left_out(&skipped);
        if let Some(before) = self.skipped.insert(skipped.path.clone(), skipped) {
            self.seen.take_left_out_back(&before);
        }
        check_totals(self.seen, &self.limits)
    }

    /// Leaves out what the owner does not want: a folder with everything in it, which is counted and not read.
    fn ignore(&mut self, path: &WorkPath, meta: &Meta) -> Result<(), ChronicleError> {
        let mut skipped = Skipped {
            path: path.clone(),
            reason: SkipReason::Ignored,
            size: meta.size,
            disk: meta.disk,
            mtime: meta.mtime,
            entries: 1,
        };
        if meta.kind == Ok(Kind::Folder) {
            // A folder's own size and time say nothing, and change with what is in it.
            skipped = Skipped { size: 0, disk: 0, mtime: FileTime::default(), ..skipped };
            self.measure(&mut skipped)?;
        }
        self.leave_out(skipped)
    }

    /// Counts everything beneath a folder that is left out; what cannot be looked into counts for nothing.
    fn measure(&mut self, skipped: &mut Skipped) -> Result<(), ChronicleError> {
        let mut folders = vec![skipped.path.clone()];
        while let Some(path) = folders.pop() {
            let Ok(folder) = self.work.folder(&path) else { continue };
            let counted = beneath::each_name(std::os::fd::AsFd::as_fd(&folder), &mut self.buffer, |name| {
                let Ok(meta) = beneath::meta_in(std::os::fd::AsFd::as_fd(&folder), name) else { return Ok(true) };
                skipped.entries = skipped.entries.saturating_add(1);
                skipped.disk = skipped.disk.saturating_add(if meta.kind == Ok(Kind::Folder) { 0 } else { meta.disk });
                if meta.kind == Ok(Kind::Folder) {
                    folders.extend(path.join(name).ok());
                }
                let within = skipped.entries <= self.limits.workspace_entries;
                if within { Ok::<_, Errno>(true) } else { Ok(false) }
            });
            counted.map_err(|error| ChronicleError::work(&path, error))?;
            if skipped.entries > self.limits.workspace_entries {
                // It is more than there may be in all, and how much more says nothing.
                break;
            }
        }
        Ok(())
    }

    /// Counts what a walk meets, so that one over a workspace that is too large ends. Never more than what is found counts in the end.
    fn count(&mut self, path: &WorkPath, bytes: u64) -> Result<(), ChronicleError> {
        self.seen.add(path, bytes);
        check_totals(self.seen, &self.limits)
    }

    /// Whether a file still has the content of its row, and the store has that.
    fn believes(&self, row: &StatRow, meta: &Meta) -> bool {
        !self.generation.read_all
            && row.vouches_for(meta)
            && !self.generation.mapped.contains(&(meta.dev, meta.ino))
            && !self.cas.damaged().contains(&row.hash)
    }

    /// Looks at one name. `known` is what the stat cache says of it.
    pub(super) fn entry(
        &mut self,
        folder: BorrowedFd<'_>,
        path: &WorkPath,
        name: &[u8],
        meta: &Meta,
        known: Option<&StatRow>,
    ) -> Result<Seen, ChronicleError> {
        if path.is_reserved() {
            self.skip(path, SkipReason::Reserved, Some(meta))?;
            return Ok(Seen::Nothing);
        }
        if self.ignoring.names(path, meta.kind == Ok(Kind::Folder))? {
            self.ignore(path, meta)?;
            return Ok(Seen::Nothing);
        }
        if path.depth() > self.limits.depth {
            let above = path.split().map_or_else(WorkPath::root, |(above, _)| above);
            self.skip(&above, SkipReason::TooDeep, Some(meta))?;
            return Ok(Seen::Nothing);
        }
        let kind = match meta.kind {
            Ok(Kind::Folder) => return Ok(Seen::Folder(*meta)),
            Ok(kind) => kind,
            Err(reason) => {
                self.skip(path, reason, Some(meta))?;
                return Ok(Seen::Nothing);
            }
        };
        if kind == Kind::File && meta.size > self.limits.file_bytes {
            self.skip(path, SkipReason::TooBig, Some(meta))?;
            return Ok(Seen::Nothing);
        }
        if meta.nlink > 1 && kind == Kind::File {
            self.dirty.learn_name((meta.dev, meta.ino), path);
            if self.several_names.len() <= FOLLOWED_INODES_MAX {
                self.several_names.insert((meta.dev, meta.ino), meta.nlink);
            }
        }
        let entry = |hash, size, meta: &Meta| Entry {
            name: name.into(),
            kind,
            mode: if kind == Kind::Link { 0o777 } else { meta.mode },
            size,
            entries: 0,
            path_bytes: 0,
            mtime: if kind == Kind::Link { FileTime::default() } else { meta.mtime },
            hash,
        };
        if let Some(row) = known.filter(|row| self.believes(row, meta)) {
            return Ok(Seen::Entry(entry(row.hash, meta.size, meta), Some(*row)));
        }
        let content = match kind {
            Kind::Link => store_link(self.cas, self.database, folder, path, name, meta)?,
            _ => {
                let held = self.scanning || self.generation.held.contains(&(meta.dev, meta.ino));
                store_file(self.cas, self.database, folder, (path, name), meta, held, self.limits.file_bytes)?
            }
        };
        match content {
            Content::Stored { hash, size, meta, stable } => {
                if !stable {
                    self.unstable.push(path.clone());
                }
                let settled = self
                    .settled_before_ns
                    .is_none_or(|before| meta.ctime.as_ns() < before && meta.mtime.as_ns() < before);
                let row = (stable && settled).then(|| StatRow::new(&meta, hash));
                Ok(Seen::Entry(entry(hash, size, &meta), row))
            }
            Content::Gone => Ok(Seen::Nothing),
            Content::Skipped(reason, meta) => {
                self.skip(path, reason, Some(&meta))?;
                Ok(Seen::Nothing)
            }
        }
    }

    /// Walks everything beneath a folder, one descriptor at a time, and writes its tree. None when it is no folder any more, or
    /// cannot be read, which is noted.
    pub(super) fn walk(&mut self, path: &WorkPath, mode: u16) -> Result<Option<Entry>, ChronicleError> {
        let mut frames = Vec::new();
        let Some(first) = self.list(path.clone(), Box::from(&b""[..]), mode)? else { return Ok(None) };
        frames.push(first);
        loop {
            let Some(frame) = frames.last_mut() else { return Ok(None) };
            if let Some((name, meta)) = frame.folders.pop() {
                let path = frame.path.join(&name);
                let above = frame.path.clone();
                match path {
                    Ok(path) => frames.extend(self.list(path, name, meta.mode)?),
                    Err(error) => self.skip(&above, too(error), Some(&meta))?,
                }
                continue;
            }
            let Some(mut done) = frames.pop() else { return Ok(None) };
            done.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            let hash = write_folder(&done.entries, &mut self.nodes)?;
            let entry = Entry::folder(done.name, done.mode, Totals::of(&done.entries), hash);
            match frames.last_mut() {
                Some(above) => above.entries.push(entry),
                None => return Ok(Some(entry)),
            }
        }
    }

    /// Leaves out a folder that was met as one already.
    fn leave_out_folder(&mut self, path: &WorkPath, reason: SkipReason) -> Result<(), ChronicleError> {
        self.seen.take_back(path, 0);
        self.skip(path, reason, None)
    }

    fn list(&mut self, path: WorkPath, name: Box<[u8]>, mode: u16) -> Result<Option<Frame>, ChronicleError> {
        let opened = match if self.rights.lacks(mode) { Err(Errno::ACCESS) } else { self.work.folder(&path) } {
            Err(Errno::ACCESS) => self.rights.open(self.work, &path),
            other => other,
        };
        let folder = match opened {
            Ok(folder) => folder,
            Err(error) if beneath::is_gone(error) => return Ok(None),
            // Another user's.
            Err(Errno::ACCESS | Errno::PERM) => {
                self.leave_out_folder(&path, SkipReason::Unreadable)?;
                return Ok(None);
            }
            Err(Errno::XDEV) => {
                self.leave_out_folder(&path, SkipReason::OtherFileSystem)?;
                return Ok(None);
            }
            Err(error) => return Err(ChronicleError::work(&path, error)),
        };
        let mut names: Vec<Box<[u8]>> = Vec::new();
        let room = self.limits.workspace_entries.saturating_sub(self.seen.entries);
        let limit = self.limits.workspace_entries;
        let failed = path.clone();
        beneath::each_name(std::os::fd::AsFd::as_fd(&folder), &mut self.buffer, |name| {
            names.push(name.into());
            if u64::try_from(names.len()).unwrap_or(u64::MAX) > room {
                return Err(ListError::TooMany);
            }
            Ok(true)
        })
        .map_err(|error| match error {
            ListError::TooMany => ChronicleError::OverLimit { what: Limited::WorkspaceEntries, limit },
            ListError::System(error) => ChronicleError::work(&failed, error),
        })?;
        // In order, so that two looks at the same files do the same.
        names.sort_unstable();
        let old = rows::stat::folder(self.database.connection(), &path)?;
        let mut new = FolderStats::with_capacity(names.len());
        let mut frame = Frame { path, name, mode, entries: Vec::with_capacity(names.len()), folders: Vec::new() };
        for name in names {
            let meta = match beneath::meta_in(std::os::fd::AsFd::as_fd(&folder), &name) {
                Ok(meta) => meta,
                Err(error) if beneath::is_gone(error) => continue,
                Err(error) => return Err(ChronicleError::work(&frame.path, error)),
            };
            let path = match frame.path.join(&name) {
                Ok(path) => path,
                Err(error) => {
                    self.skip(&frame.path, too(error), Some(&meta))?;
                    continue;
                }
            };
            // Before it is read: what is too much is not.
            let bytes = if meta.kind == Ok(Kind::File) { meta.size } else { 0 };
            let counts = meta.kind.is_ok() && bytes <= self.limits.file_bytes;
            if counts {
                self.count(&path, bytes)?;
            }
            match self.entry(std::os::fd::AsFd::as_fd(&folder), &path, &name, &meta, old.get(&name))? {
                Seen::Entry(entry, row) => {
                    frame.entries.push(entry);
                    if let Some(row) = row {
                        new.insert(name, row);
                    }
                }
                Seen::Folder(meta) => frame.folders.push((name, meta)),
                Seen::Nothing if counts => self.seen.take_back(&path, bytes),
                Seen::Nothing => {}
            }
        }
        if new != old {
            self.stats.insert(frame.path.clone(), StatUpdate::All(new));
        }
        Ok(Some(frame))
    }
}

/// Refuses a workspace that is too large.
pub(crate) fn check_totals(totals: Totals, limits: &Limits) -> Result<(), ChronicleError> {
    if totals.entries > limits.workspace_entries {
        return Err(ChronicleError::OverLimit { what: Limited::WorkspaceEntries, limit: limits.workspace_entries });
    }
    if totals.bytes > limits.workspace_bytes {
        return Err(ChronicleError::OverLimit { what: Limited::WorkspaceBytes, limit: limits.workspace_bytes });
    }
    if totals.path_bytes > limits.workspace_path_bytes {
        let limit = limits.workspace_path_bytes;
        return Err(ChronicleError::OverLimit { what: Limited::WorkspacePathBytes, limit });
    }
    Ok(())
}

fn too(error: PathError) -> SkipReason {
    match error {
        PathError::TooDeep => SkipReason::TooDeep,
        _ => SkipReason::PathTooLong,
    }
}

enum ListError {
    TooMany,
    System(Errno),
}

impl From<Errno> for ListError {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}
