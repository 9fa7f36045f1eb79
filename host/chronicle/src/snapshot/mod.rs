//! The snapshot: what the workspace holds now becomes a version, durable before anybody names it (TURN.md §3, steps 2 and 3).
//!
//! Content is on the disk before the rows that name it. A version is prepared first, and true when a cut in `messages.db` names it.
//! Must never lose a dirty path: what a failed snapshot took is dirty again.

mod collect;
mod content;
mod left_out;
mod look;
mod room;

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use podium_sqlite::{Database, Synchronous};

use self::collect::{Collected, collect};
use self::left_out::{LeftOut, LookedAt};
pub(crate) use self::look::check_totals;
use self::look::{Look, StatUpdate};
use crate::cas::Cas;
use crate::chronicle::{Chronicle, Tip};
use crate::dirty::Generation;
use crate::error::{ChronicleError, Limited};
use crate::failpoint;
use crate::hash::ContentHash;
use crate::ignored::Ignoring;
use crate::limits::{DIFFERENCES_MAX, IGNORE_BACK_MS, IGNORE_MS, Limits};
use crate::node::{Kind, Skipped};
use crate::path::WorkPath;
use crate::rows;
use crate::rows::meta;
use crate::trees::{Difference, Folders, OnDamage, Trees};
use crate::version::{Iteration, Op, Prepared, Version, VersionKind, VersionStatus};

/// Two ticks of the slowest kernel clock: a file that was written within them may be written again with the same times.
const SETTLED_NS: i64 = 20_000_000;

/// What a snapshot is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// Why it is made.
    pub kind: VersionKind,
    /// The cut that will name it, where that is known.
    pub cut: Option<u64>,
    /// The turn that it belongs to.
    pub turn: Option<u64>,
    /// Looks at everything, not only at what is dirty.
    pub scan: bool,
}

/// What a look at the workspace is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Towards {
    /// A version is made of it.
    Version,
    /// It is brought back to the last cut.
    Head,
}

/// What a look at the workspace found, to be written.
pub(crate) struct Found {
    pub(crate) root: ContentHash,
    pub(crate) nodes: crate::tree::Nodes,
    folders: Folders,
    stats: HashMap<WorkPath, StatUpdate>,
    skipped: Vec<Skipped>,
    left_out: LeftOut,
    refused_patterns: Option<String>,
    unstable: Vec<WorkPath>,
    hard_links: Option<bool>,
    scanned: bool,
}

impl Chronicle {
    /// Makes a version of what the workspace holds now, durable and not yet true: [`Chronicle::commit`] follows when a cut names
    /// it. Where nothing changed, it is the version before. Until one is committed or rolled back, further ones may be
    /// prepared after it. An error leaves everything as it was.
    pub fn prepare(&mut self, request: SnapshotRequest) -> Result<Prepared, ChronicleError> {
        if self.unsettled {
            return Err(ChronicleError::Refused("a restore failed; the workspace must be rolled back or opened again"));
        }
        if request.kind == VersionKind::Recovered {
            return Err(ChronicleError::Refused("recovered versions are made by going back"));
        }
        if !request.scan && !self.dirty.is_dirty() {
            return Ok(unchanged(&self.tip));
        }
        self.note_commit()?;
        let mut generation = self.dirty.take();
        generation.scan |= request.scan;
        if generation.is_empty() {
            return Ok(unchanged(&self.tip));
        }
        let mut made = self.prepare_from(&request, &generation);
        if let Err(ChronicleError::Damaged { hash, .. }) = made {
            // What it builds on cannot be read: with everything looked at, it needs nothing of that.
            self.forget_pending();
            self.cas.note_damaged(hash);
            generation.scan = true;
            made = self.prepare_from(&request, &generation);
        }
        if let Err(ChronicleError::OverLimit { what: Limited::StoreBytes, .. }) = made {
            self.forget_pending();
            made = self
                .limits_of(&request)
                .and_then(|limits| self.make_room(&generation, limits))
                .and_then(|()| self.prepare_from(&request, &generation));
        }
        match made {
            Ok(prepared) => {
                prepared.unstable.iter().for_each(|path| self.dirty.touched(path));
                Ok(prepared)
            }
            Err(error) => {
                self.dirty.put_back(&generation);
                self.forget_pending();
                if let ChronicleError::Damaged { hash, .. } = error {
                    self.note_damaged(hash);
                }
                Err(error)
            }
        }
    }

    /// What is kept only before something else takes its place is in nobody's way.
    fn limits_of(&self, request: &SnapshotRequest) -> Result<Limits, ChronicleError> {
        if request.kind == VersionKind::BeforeRestore { self.limits_beside_the_head() } else { Ok(self.limits) }
    }

    fn prepare_from(&mut self, request: &SnapshotRequest, generation: &Generation) -> Result<Prepared, ChronicleError> {
        let limits = self.limits_of(request)?;
        let found = self.look(generation, limits, Towards::Version)?;
        if found.root == self.tip.root {
            return self.note_unchanged(found);
        }
        self.cas.packs.sync()?;
        self.hit("snapshot.packed")?;
        let prepared = self.write_version(request, found)?;
        self.hit("snapshot.prepared")?;
        Ok(prepared)
    }

    /// Looks at what a generation names, or at everything. What is larger than `limits` is an error.
    pub(crate) fn look(
        &mut self,
        generation: &Generation,
        limits: Limits,
        towards: Towards,
    ) -> Result<Found, ChronicleError> {
        // One view of the database for all questions: without it each one locks and unlocks the file.
        self.database.connection().execute_batch("BEGIN")?;
        let found = self.look_within(generation, limits, towards);
        let ended = self.database.connection().execute_batch("COMMIT");
        let found = found?;
        ended?;
        Ok(found)
    }

    fn look_within(
        &mut self,
        generation: &Generation,
        limits: Limits,
        towards: Towards,
    ) -> Result<Found, ChronicleError> {
        let settled = if self.sure_times {
            None
        } else {
            Some(i64::try_from(self.clock.now_ns()).unwrap_or(i64::MAX).saturating_sub(SETTLED_NS))
        };
        let trees = Trees::new(&self.database);
        let patterns = match towards {
            Towards::Version => self.patterns_now(&trees, generation)?,
            // Theirs hold again when it is brought back: what they leave out is not to be taken away.
            Towards::Head => self.patterns_of(&trees, self.head.root)?,
        };
        // What was left out may not be any more, and the reverse.
        let other_patterns = !patterns.are_as(self.patterns_of(&trees, self.tip.root)?.as_ref());
        let may_take_ms = if towards == Towards::Version { IGNORE_MS } else { IGNORE_BACK_MS };
        let ignoring = Ignoring::new(Arc::clone(&patterns), &self.clock, may_take_ms, towards == Towards::Head);
        let mut look = Look::new(&self.work, &self.database, &mut self.cas, &self.dirty, limits, &ignoring, generation);
        look.settled_before_ns = settled;
        look.scanning |= other_patterns;
        let root = root_of(&mut look, &trees, self.tip.root);
        let given_back = look.give_back();
        let (root, looked_at) = root?;
        given_back?;
        let Look { nodes, stats, skipped, unstable, several_names, scanning: scanned, .. } = look;
        let left_out = LeftOut::find(self.database.connection(), &looked_at, &skipped)?;
        let folders = trees.folders();
        let totals = Trees::with_folders(&self.database, &nodes, Rc::clone(&folders)).totals(root)?;
        let mut all = totals.and(left_out.totals);
        if towards == Towards::Version {
            all = all.and(left_out.ignored);
        }
        check_totals(all, &limits)?;
        failpoint::hit("snapshot.looked").map_err(|error| ChronicleError::work(&WorkPath::root(), error))?;
        let hard_links = if scanned {
            self.dirty.learned_all(&several_names);
            Some(!several_names.is_empty())
        } else if several_names.is_empty() {
            None
        } else {
            Some(true)
        };
        let skipped = skipped.into_values().collect();
        let refused_patterns = patterns.refusal().filter(|_| towards == Towards::Version).map(str::to_owned);
        Ok(Found { root, nodes, folders, stats, skipped, left_out, refused_patterns, unstable, hard_links, scanned })
    }

    /// No version comes of it, but what was learned is kept.
    pub(crate) fn note_unchanged(&mut self, found: Found) -> Result<Prepared, ChronicleError> {
        let version = self.tip.version;
        // The content may have been stored all the same, for a file that changed and changed back.
        self.cas.packs.sync()?;
        let database = &self.database;
        let cas = &self.cas;
        let worth = cas.pending_bytes() > 0
            || found.stats.values().any(is_change)
            || found.scanned
            || !found.left_out.is_same()
            || found.hard_links.is_some();
        if worth {
            // Nothing that counts rests on these rows, so they need not be on the disk yet.
            let durability = if cas.pending_bytes() > 0 { Synchronous::Full } else { Synchronous::Normal };
            database.transaction_at(durability, |connection| {
                write_objects(connection, cas, None)?;
                write_trees(database, cas, &found)?;
                write_stats(connection, &found, &[])?;
                found.left_out.write(connection, version)
            })?;
            self.cas.recorded(&found.nodes);
        }
        let prepared = unchanged(&self.tip);
        Ok(Prepared {
            skipped: found.skipped,
            left_out: found.left_out.news,
            refused_patterns: found.refused_patterns,
            unstable: found.unstable,
            scanned: found.scanned,
            ..prepared
        })
    }

    pub(crate) fn write_version(
        &mut self,
        request: &SnapshotRequest,
        found: Found,
    ) -> Result<Prepared, ChronicleError> {
        let recovered = request.kind == VersionKind::Recovered;
        let at = self.clock.now_ms();
        let cas = &self.cas;
        // One view of the database for all questions, here too.
        let (version, changes) = self.database.transaction(|connection| {
            let trees = Trees::with_folders(&self.database, &found.nodes, Rc::clone(&found.folders));
            // Where the last version's tree is damaged, its files count as new: they must not keep a workspace from being kept.
            let roots = (self.tip.root, found.root);
            let differences = trees.diff_despite(&WorkPath::root(), roots, DIFFERENCES_MAX, OnDamage::OldIsEmpty)?;
            let number = |key| Ok::<_, ChronicleError>(meta::number(connection, key)?.unwrap_or(1));
            let (id, first_n) = (number(meta::NEXT_VERSION)?, number(meta::NEXT_N)?);
            let mut changes = Vec::with_capacity(differences.len());
            for (n, difference) in (first_n..).zip(differences) {
                let index = rows::change::last_index(connection, &difference.path)? + 1;
                changes.push(iteration(difference, n, index, id, at));
            }
            let version = self.version_of(request, &found, &changes, (id, first_n, at));
            write_objects(connection, cas, None)?;
            write_trees(&self.database, cas, &found)?;
            rows::version::insert(connection, &version)?;
            if !recovered {
                for change in &changes {
                    rows::change::insert(connection, change)?;
                }
                meta::set_number(connection, meta::NEXT_N, version.last_n + 1)?;
            }
            meta::set_number(connection, meta::NEXT_VERSION, id + 1)?;
            write_stats(connection, &found, &changes)?;
            found.left_out.write(connection, id)?;
            if request.kind == VersionKind::Step {
                // An effect of a turn that waits may name it for days, and must find it again.
                rows::lease::write(connection, id, rows::lease::TURN, None)?;
            }
            // Trees, changes and the stat cache can take more than content.
            if self.store_bytes()?.saturating_add(cas.pending_bytes()) > self.limits.store_bytes {
                return Err(ChronicleError::OverLimit { what: Limited::StoreBytes, limit: self.limits.store_bytes });
            }
            failpoint::hit("snapshot.writing").map_err(|error| ChronicleError::file(self.place.metadata(), error))?;
            Ok((version, changes))
        })?;
        let id = version.id;
        self.cas.recorded(&found.nodes);
        if !recovered {
            self.tip = Tip { version: id, root: found.root };
            self.prepared = true;
        }
        Ok(Prepared {
            version: id,
            root: found.root,
            changed: true,
            added: version.added,
            modified: version.modified,
            deleted: version.deleted,
            changes,
            skipped: found.skipped,
            left_out: found.left_out.news,
            refused_patterns: found.refused_patterns,
            unstable: found.unstable,
            new_bytes: version.new_bytes,
            scanned: found.scanned,
        })
    }

    fn version_of(
        &self,
        request: &SnapshotRequest,
        found: &Found,
        changes: &[Iteration],
        (id, first_n, at): (u64, u64, u64),
    ) -> Version {
        let recovered = request.kind == VersionKind::Recovered;
        let count = |wanted: &[Op]| {
            u64::try_from(changes.iter().filter(|change| wanted.contains(&change.op)).count()).unwrap_or(u64::MAX)
        };
        let last_n = first_n + u64::try_from(changes.len()).unwrap_or(0) - 1;
        Version {
            id,
            cut: request.cut,
            parent: self.tip.version,
            root: found.root,
            kind: request.kind,
            status: if recovered { VersionStatus::Recovered } else { VersionStatus::Prepared },
            turn: request.turn,
            at,
            first_n: if recovered { 1 } else { first_n },
            last_n: if recovered { 0 } else { last_n },
            added: count(&[Op::Added]),
            modified: count(&[Op::Modified, Op::Touched]),
            deleted: count(&[Op::Deleted]),
            new_bytes: self.cas.pending_bytes(),
            unstable: u64::try_from(found.unstable.len()).unwrap_or(u64::MAX),
        }
    }

    /// A cut names `version` now, and so it and what was prepared before it are true, even where this fails: then the next step
    /// writes the rows first. Costs no fsync: should the rows be lost, the next opening is told by `messages.db` (TURN.md §3).
    pub fn commit(&mut self, version: u64, cut: u64) -> Result<(), ChronicleError> {
        if !self.prepared && !self.unadopted {
            return self.note_commit();
        }
        if version != self.tip.version {
            return Err(ChronicleError::Refused("a cut names another version than the one prepared last"));
        }
        // The cut is true, whether or not it can be noted here.
        self.head = self.tip;
        self.prepared = false;
        self.unadopted = false;
        self.owed = Some((version, cut));
        self.note_commit()?;
        self.hit("snapshot.committed")
    }

    /// Writes the rows of the last commit, unless they are written: nothing that rests on them may come first.
    pub(crate) fn note_commit(&mut self) -> Result<(), ChronicleError> {
        let Some((version, cut)) = self.owed else { return Ok(()) };
        self.database.transaction_at(Synchronous::Normal, |connection| {
            self.hit("snapshot.committing")?;
            rows::version::commit(connection, version, cut)?;
            rows::lease::end_turns(connection, cut)?;
            meta::set_number(connection, meta::HEAD, version)?;
            meta::set_number(connection, meta::UNADOPTED, 0)
        })?;
        self.owed = None;
        Ok(())
    }
}

/// The tree of what the workspace holds now, and what was looked at for it; `base` is what it held before.
fn root_of<'a>(
    look: &mut Look<'a>,
    trees: &Trees<'a>,
    base: ContentHash,
) -> Result<(ContentHash, LookedAt), ChronicleError> {
    if !look.scanning {
        match collect(look, trees, base)? {
            Collected::Root(root, looked_at) => return Ok((root, looked_at)),
            Collected::ScanNeeded => look.start_over()?,
        }
    }
    let walked = look.walk(&WorkPath::root(), 0o700)?;
    let walked = walked.ok_or_else(|| ChronicleError::work(&WorkPath::root(), std::io::ErrorKind::NotFound))?;
    Ok((walked.hash, LookedAt::All))
}

fn unchanged(tip: &Tip) -> Prepared {
    Prepared {
        version: tip.version,
        root: tip.root,
        changed: false,
        added: 0,
        modified: 0,
        deleted: 0,
        changes: Vec::new(),
        skipped: Vec::new(),
        left_out: Vec::new(),
        refused_patterns: None,
        unstable: Vec::new(),
        new_bytes: 0,
        scanned: false,
    }
}

pub(crate) fn iteration(difference: Difference, n: u64, index: u64, version: u64, at: u64) -> Iteration {
    let Difference { path, old, new } = difference;
    let op = Op::between(old.as_ref(), new.as_ref());
    let kind = new.as_ref().or(old.as_ref()).map_or(Kind::File, |entry| entry.kind);
    let content = |entry: Option<&crate::tree::Entry>| entry.filter(|it| it.kind != Kind::Folder).map(|it| it.hash);
    Iteration {
        n,
        index,
        version,
        path,
        op,
        kind,
        old: content(old.as_ref()),
        new: content(new.as_ref()),
        old_mode: old.as_ref().map(|entry| entry.mode),
        new_mode: new.as_ref().map(|entry| entry.mode),
        size: new.as_ref().filter(|entry| entry.kind != Kind::Folder).map_or(0, |entry| entry.size),
        at,
    }
}

fn is_change(update: &StatUpdate) -> bool {
    match update {
        StatUpdate::Some(_, changes) => !changes.is_empty(),
        StatUpdate::All(_) => true,
    }
}

/// Records what was appended to the segments, but nothing of a segment that is removed.
pub(crate) fn write_objects(
    connection: &rusqlite::Connection,
    cas: &Cas,
    removed: Option<u64>,
) -> Result<(), ChronicleError> {
    for (hash, place) in cas.pending() {
        rows::object::write(connection, hash, &place)?;
    }
    let mut last = 0;
    for segment in cas.packs.to_record().into_iter().filter(|segment| Some(segment.id) != removed) {
        rows::segment::write(connection, &segment)?;
        last = last.max(segment.id);
    }
    if last > 0 {
        meta::set_number(connection, meta::LAST_SEGMENT, last)?;
    }
    Ok(())
}

/// Writes the nodes that are not stored, and those that are damaged.
fn write_trees(database: &Database, cas: &Cas, found: &Found) -> Result<(), ChronicleError> {
    let connection = database.connection();
    let trees = Trees::with(database, &found.nodes);
    let write = |hash| match found.nodes.get(&hash) {
        Some(node) => rows::tree::write(connection, hash, node),
        None => Err(ChronicleError::damaged(hash, "a tree is not stored")),
    };
    trees.missing(found.root, |hash| rows::tree::has(connection, hash), write)?;
    let is_sound = |hash| Ok(matches!(rows::tree::find(connection, hash), Ok(Some(_))));
    // What lies beneath a damaged one was never looked at.
    let damaged = cas.damaged().iter().filter(|hash| found.nodes.contains_key(*hash));
    damaged.copied().try_for_each(|hash| trees.missing(hash, is_sound, write))
}

fn write_stats(connection: &rusqlite::Connection, found: &Found, changes: &[Iteration]) -> Result<(), ChronicleError> {
    for gone in changes.iter().filter(|change| change.op == Op::Deleted && change.kind == Kind::Folder) {
        rows::stat::remove(connection, &gone.path)?;
    }
    // In the order in which a scan asks for them: rows of neighbours share pages.
    let mut stats: Vec<_> = found.stats.iter().collect();
    stats.sort_unstable_by_key(|(path, _)| *path);
    for (path, update) in stats {
        match update {
            StatUpdate::Some(files, changes) => rows::stat::change(connection, path, *files, changes)?,
            StatUpdate::All(rows) => rows::stat::replace(connection, path, rows)?,
        }
    }
    match found.hard_links {
        Some(some) => meta::set_number(connection, meta::HARD_LINKS, u64::from(some)),
        None => Ok(()),
    }
}
