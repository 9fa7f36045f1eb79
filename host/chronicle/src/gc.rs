//! Collection: what no kept version needs goes, and the store stays within its bytes.
//!
//! Nothing is counted while versions are made; what is needed is found by walking the kept versions. A segment of which less than half is
//! needed is written anew, and more of them before a version has to go for want of room; one at a time, so that a collection needs at most
//! one segment beside. Its file goes when no row names it any more. Must never drop the head, what is prepared, what is leased, or what the stat cache vouches for.

use std::collections::{BTreeMap, HashSet};

use podium_sqlite::Synchronous;

use crate::beneath;
use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::OBJECT_BYTES_MAX;
use crate::pack::ObjectKind;
use crate::path::WorkPath;
use crate::rows;
use crate::rows::meta;
use crate::snapshot::write_objects;
use crate::tree::empty_root;
use crate::trees::Trees;
use crate::version::{Version, VersionStatus};

/// Milliseconds of an hour and of a day.
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Versions that one transaction drops, each with its changes.
const VERSIONS_A_TRANSACTION: usize = 1000;
/// Free pages of the database that stay: the next versions use them.
const FREE_PAGES_KEPT: u64 = 256;
/// Pages that one transaction gives back: it moves others into their place, and each goes through the log.
const PAGES_A_TRANSACTION: u64 = 512;
/// Versions after which the next collection at rest finds something: what is newer is kept in any case.
const VERSIONS_AT_REST: u64 = 200;
/// Versions after which the next collection of a store that is nearly full is worth a walk over all of it.
const VERSIONS_WHEN_NEAR: u64 = 16;
/// Versions read at once.
const VERSIONS_A_PAGE: usize = 1000;

/// Which versions are kept; the head, prepared and leased ones always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// All that are younger than this, in milliseconds.
    pub all_ms: u64,
    /// The newest ones, whatever their age.
    pub newest: usize,
    /// The last one of each hour, of versions younger than this.
    pub hourly_ms: u64,
    /// The last one of each day, of versions younger than this.
    pub daily_ms: u64,
    /// Of recovered versions, the newest.
    pub recovered: usize,
}

impl Default for Retention {
    fn default() -> Self {
        Self { all_ms: DAY_MS, newest: 200, hourly_ms: 7 * DAY_MS, daily_ms: 90 * DAY_MS, recovered: 20 }
    }
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Collected {
    /// Versions that were dropped.
    pub versions: u64,
    /// Contents that were dropped.
    pub objects: u64,
    /// Nodes of trees that were dropped.
    pub trees: u64,
    /// Segments that were written anew or removed.
    pub segments: u64,
    /// Bytes of the store before.
    pub bytes_before: u64,
    /// Bytes of the store after.
    pub bytes_after: u64,
    /// True when it made way before it was through; the next one goes on.
    pub made_way: bool,
}

/// How soon a collection is worth its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Due {
    /// Not yet.
    #[default]
    No,
    /// When nothing else is to be done.
    AtRest,
    /// Before the next turn, if that does not wait for it: else that may have to make room itself.
    Soon,
}

/// What kept versions need.
#[derive(Default)]
struct Needed {
    trees: HashSet<ContentHash>,
    objects: HashSet<ContentHash>,
    /// Trees and lists that cannot be read: what they name is needed, and not known.
    damaged: Vec<ContentHash>,
}

impl Needed {
    fn note(&mut self, error: ChronicleError) -> Result<(), ChronicleError> {
        let ChronicleError::Damaged { hash, .. } = error else { return Err(error) };
        tracing::error!(%error, "nothing is collected while this is needed");
        self.damaged.push(hash);
        Ok(())
    }
}

impl Chronicle {
    /// Drops what `retention` does not keep and what nothing needs then. While the store has more than `bytes_wanted`, older
    /// versions go too, the oldest first. While a kept version is damaged, versions go, but nothing else.
    pub fn collect(&mut self, retention: &Retention, bytes_wanted: u64) -> Result<Collected, ChronicleError> {
        self.collect_unless(retention, bytes_wanted, &|| false)
    }

    /// As [`Chronicle::collect`], but ends early, at a step's end, once `make_way` says so.
    pub fn collect_unless(
        &mut self,
        retention: &Retention,
        bytes_wanted: u64,
        make_way: &dyn Fn() -> bool,
    ) -> Result<Collected, ChronicleError> {
        self.end_needless_leases()?;
        let mut done = Collected { bytes_before: self.store_bytes()?, ..Collected::default() };
        let now = self.clock.now_ms();
        let versions = self.all_versions()?;
        let is_pinned = self.pinned(now)?;
        let mut kept: BTreeMap<u64, &Version> = kept(&versions, retention, now, &is_pinned);
        let dropped: Vec<&Version> = versions.iter().filter(|version| !kept.contains_key(&version.id)).collect();
        self.drop_versions(&dropped)?;
        done.versions += count(dropped.len());
        let mut swept = self.sweep(&mut done, bytes_wanted, make_way)?;
        // An eighth of what is left and may go, at a time: each round is a walk over what stays.
        while self.store_bytes()? > bytes_wanted && !done.made_way {
            if !swept && self.is_hidden(versions.iter().filter(|version| is_pinned(version)))? {
                // What has to stay is damaged itself, so nothing is known to be free, whatever goes.
                break;
            }
            let loose: Vec<&Version> = kept.values().copied().filter(|version| !is_pinned(version)).collect();
            let oldest = loose.len().div_ceil(8);
            if oldest == 0 {
                break;
            }
            let dropped = &loose[..oldest];
            self.drop_versions(dropped)?;
            for version in dropped {
                kept.remove(&version.id);
            }
            done.versions += count(dropped.len());
            swept = self.sweep(&mut done, bytes_wanted, make_way)?;
        }
        self.shrink(&mut done, make_way)?;
        if !done.made_way {
            self.note_collection()?;
        }
        done.bytes_after = self.store_bytes()?;
        Ok(done)
    }

    /// Whether a collection is worth its time now. Cheap.
    pub fn collection_due(&self) -> Result<Due, ChronicleError> {
        let connection = self.database.connection();
        let next = meta::number(connection, meta::NEXT_VERSION)?.unwrap_or(1);
        let since = next.saturating_sub(meta::number(connection, meta::COLLECTED)?.unwrap_or(1));
        let is_near = self.store_bytes()? >= self.limits.store_bytes / 4 * 3;
        Ok(match since {
            VERSIONS_WHEN_NEAR.. if is_near => Due::Soon,
            VERSIONS_AT_REST.. => Due::AtRest,
            _ => Due::No,
        })
    }

    /// Collects what the retention does not keep, and as much more as brings the history to three quarters of its limit.
    pub fn collect_due(&mut self, make_way: &dyn Fn() -> bool) -> Result<Collected, ChronicleError> {
        let retention = self.retention;
        self.collect_unless(&retention, self.limits.store_bytes / 4 * 3, make_way)
    }

    fn note_collection(&self) -> Result<(), ChronicleError> {
        self.database.transaction_at(Synchronous::Normal, |connection| {
            let next = meta::number(connection, meta::NEXT_VERSION)?.unwrap_or(1);
            meta::set_number(connection, meta::COLLECTED, next)
        })
    }

    /// The versions that may not be dropped.
    fn pinned(&self, now: u64) -> Result<impl Fn(&Version) -> bool + use<>, ChronicleError> {
        let leased: HashSet<u64> =
            self.database.transaction(|connection| rows::lease::current(connection, now))?.into_iter().collect();
        let ends = [self.head.version, self.tip.version];
        Ok(move |version: &Version| {
            ends.contains(&version.id) || version.status == VersionStatus::Prepared || leased.contains(&version.id)
        })
    }

    /// Whether damage hides what these versions need.
    fn is_hidden<'v>(&self, versions: impl Iterator<Item = &'v Version>) -> Result<bool, ChronicleError> {
        Ok(!self.mark(versions.map(|version| version.root).collect())?.damaged.is_empty())
    }

    /// Bytes of the content that no collection may drop.
    pub(crate) fn bytes_that_stay(&self) -> Result<u64, ChronicleError> {
        let is_pinned = self.pinned(self.clock.now_ms())?;
        let versions = self.all_versions()?;
        let needed =
            self.mark(versions.iter().filter(|version| is_pinned(version)).map(|version| version.root).collect())?;
        let mut bytes = 0_u64;
        rows::object::each(self.database.connection(), |hash, place| {
            if let Some(place) = place.filter(|_| needed.objects.contains(&hash)) {
                bytes = bytes.saturating_add(place.taken());
            }
        })?;
        Ok(bytes)
    }

    fn all_versions(&self) -> Result<Vec<Version>, ChronicleError> {
        let mut versions: Vec<Version> = Vec::new();
        loop {
            let after = versions.last().map_or(0, |version| version.id);
            let page = rows::version::list(self.database.connection(), after, VERSIONS_A_PAGE)?;
            if page.is_empty() {
                return Ok(versions);
            }
            versions.extend(page);
        }
    }

    fn drop_versions(&self, dropped: &[&Version]) -> Result<(), ChronicleError> {
        self.hit("gc.drop")?;
        for some in dropped.chunks(VERSIONS_A_TRANSACTION) {
            self.database.transaction(|connection| {
                for version in some {
                    rows::change::drop_version(connection, version)?;
                    rows::version::remove(connection, version.id)?;
                }
                Ok::<_, ChronicleError>(())
            })?;
        }
        self.database.transaction(|connection| {
            rows::change::drop_gone(connection)?;
            rows::skipped::prune(connection)
        })?;
        self.hit("gc.dropped")
    }

    /// Marks from all versions that are there, and removes the rest; false when damage hides what they need. Segments of which less
    /// than half is needed are written anew, and as many others as make the store small enough, where that can be.
    fn sweep(
        &mut self,
        done: &mut Collected,
        bytes_wanted: u64,
        make_way: &dyn Fn() -> bool,
    ) -> Result<bool, ChronicleError> {
        if make_way() {
            done.made_way = true;
            return Ok(true);
        }
        self.forget_gone_folders()?;
        let needed = self.mark(self.all_versions()?.iter().map(|version| version.root).collect())?;
        self.hit("gc.marked")?;
        if !needed.damaged.is_empty() {
            needed.damaged.into_iter().for_each(|hash| self.note_damaged(hash));
            return Ok(false);
        }
        let trees = rows::tree::names(self.database.connection())?;
        let trees: Vec<ContentHash> = trees.into_iter().filter(|hash| !needed.trees.contains(hash)).collect();
        let mut objects = Vec::new();
        let mut live: BTreeMap<u64, u64> = BTreeMap::new();
        rows::object::each(self.database.connection(), |hash, place| match place {
            Some(place) if needed.objects.contains(&hash) => *live.entry(place.segment).or_default() += place.taken(),
            _ => objects.push(hash),
        })?;
        // All or nothing: a snapshot that finds a node stored takes it for granted that everything beneath is.
        self.database.transaction(|connection| {
            for hash in &trees {
                rows::tree::remove(connection, *hash)?;
                self.hit("gc.removing")?;
            }
            rows::object::remove_nameless(connection)?;
            objects.iter().try_for_each(|hash| rows::object::remove(connection, *hash))
        })?;
        done.trees += count(trees.len());
        done.objects += count(objects.len());
        self.hit("gc.rows")?;
        let live_of = |id: u64| live.get(&id).copied().unwrap_or(0);
        let live_bytes: u64 = live.values().sum();
        let mut segments = rows::segment::all(self.database.connection())?;
        // Those with the most to gain first, in thousandths: not all may have to be written anew.
        segments.sort_by_key(|segment| live_of(segment.id).saturating_mul(1000) / segment.len.max(1));
        for segment in segments {
            if make_way() {
                done.made_way = true;
                break;
            }
            let live = live_of(segment.id);
            self.database.transaction_at(Synchronous::Normal, |connection| {
                rows::segment::set_live(connection, segment.id, live)
            })?;
            // No version has to go for what the segments have of others that are gone.
            let enough = live_bytes.saturating_add(rows::bytes(self.database.connection())?) <= bytes_wanted;
            let wanted = enough && live < segment.len && self.store_bytes()? > bytes_wanted;
            if live < segment.len.div_ceil(2) || wanted {
                done.segments += u64::from(self.rewrite(segment.id, segment.len)?);
            }
        }
        Ok(true)
    }

    /// Gives the database's free pages back to the disk, where they are many: a few are used again soon.
    fn shrink(&self, done: &mut Collected, make_way: &dyn Fn() -> bool) -> Result<(), ChronicleError> {
        let (pages, free) = rows::pages(self.database.connection())?;
        if free <= FREE_PAGES_KEPT || free < pages / 4 {
            return Ok(());
        }
        let mut left = free - FREE_PAGES_KEPT;
        while left > 0 {
            if make_way() {
                done.made_way = true;
                return Ok(());
            }
            let now = left.min(PAGES_A_TRANSACTION);
            self.database.transaction_at(Synchronous::Normal, |connection| rows::give_back(connection, now))?;
            self.hit("gc.shrinking")?;
            // The log must not grow by what the file loses.
            if self.checkpoint_due() {
                self.checkpoint()?;
            }
            left -= now;
        }
        self.checkpoint()
    }

    /// Rows of the stat cache of folders that are not there any more vouch for nothing.
    fn forget_gone_folders(&self) -> Result<(), ChronicleError> {
        let folders = rows::stat::folders(self.database.connection())?;
        let is_gone = |path: &&WorkPath| self.work.folder(path).is_err_and(beneath::is_gone);
        let gone: Vec<&WorkPath> = folders.iter().filter(is_gone).collect();
        self.database.transaction_at(Synchronous::Normal, |connection| {
            gone.into_iter().try_for_each(|path| rows::stat::remove(connection, path))
        })
    }

    /// What these trees need, and those of the head and of the tip.
    fn mark(&self, mut nodes: Vec<ContentHash>) -> Result<Needed, ChronicleError> {
        let trees = Trees::new(&self.database);
        let mut needed = Needed::default();
        // A row that vouches for a file spares the next snapshot to read it, so the store must have what it vouches for: also what a
        // restore brought back and no version has yet.
        rows::stat::each_content(self.database.connection(), |hash| {
            needed.objects.insert(hash);
        })?;
        nodes.extend([self.head.root, self.tip.root]);
        while let Some(hash) = nodes.pop() {
            if hash == empty_root() || !needed.trees.insert(hash) {
                continue;
            }
            match trees.named_by(hash) {
                Ok((beneath, contents)) => {
                    nodes.extend(beneath);
                    needed.objects.extend(contents);
                }
                Err(error) => needed.note(error)?,
            }
        }
        let mut lists = Vec::new();
        let mut damaged = Vec::new();
        rows::object::each(self.database.connection(), |hash, place| {
            if needed.objects.contains(&hash) {
                match place {
                    Some(place) if place.kind == ObjectKind::ChunkList => lists.push(hash),
                    Some(_) => {}
                    // It may be a list.
                    None => damaged.push(hash),
                }
            }
        })?;
        for hash in damaged {
            needed.note(ChronicleError::damaged(hash, "its row says what cannot be"))?;
        }
        for list in lists {
            match self.cas.parts(&self.database, list) {
                Ok(parts) => needed.objects.extend(parts.iter().filter_map(|part| match part {
                    crate::cas::Part::Data(_, hash) => Some(*hash),
                    crate::cas::Part::Zeros(_) => None,
                })),
                Err(error) => needed.note(error)?,
            }
        }
        Ok(needed)
    }

    /// Copies what is needed of a segment behind the others, flips the rows in one transaction, and removes the file. One with
    /// something that cannot be read stays: true when it is gone.
    fn rewrite(&mut self, segment: u64, len: u64) -> Result<bool, ChronicleError> {
        let objects = rows::object::of_segment(self.database.connection(), segment)?;
        // Never into itself.
        if self.cas.packs.is_writing(segment) {
            self.cas.packs.seal()?;
        }
        let mut moved = Vec::with_capacity(objects.len());
        let mut lost = false;
        for (hash, place) in objects {
            let Some(place) = place else {
                lost = true;
                continue;
            };
            match self.cas.packs.read(hash, &place, OBJECT_BYTES_MAX) {
                Ok(stored) => {
                    let to = self.cas.packs.append(hash, place.kind, place.encoding, place.raw_len, &stored)?;
                    moved.push((hash, to));
                }
                Err(error @ ChronicleError::Damaged { .. }) => {
                    tracing::error!(%error, "a segment is kept with what cannot be read of it");
                    self.note_damaged(hash);
                    lost = true;
                }
                Err(error) => {
                    self.forget_pending();
                    return Err(error);
                }
            }
        }
        let written = self.cas.packs.sync().and_then(|()| self.hit("gc.copied")).and_then(|()| {
            let cas = &self.cas;
            self.database.transaction(|connection| {
                for (hash, place) in &moved {
                    rows::object::write(connection, *hash, place)?;
                }
                if !lost {
                    rows::segment::remove(connection, segment)?;
                }
                write_objects(connection, cas, (!lost).then_some(segment))
            })
        });
        if let Err(error) = written {
            self.forget_pending();
            return Err(error);
        }
        let added: u64 = moved.iter().map(|(_, place)| place.taken()).sum();
        self.cas.moved(added, if lost { 0 } else { len });
        self.hit("gc.flipped")?;
        if !lost {
            self.cas.packs.remove(segment)?;
            self.hit("gc.removed")?;
        }
        Ok(!lost)
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// The versions that stay.
fn kept<'v>(
    versions: &'v [Version],
    retention: &Retention,
    now: u64,
    is_pinned: impl Fn(&Version) -> bool,
) -> BTreeMap<u64, &'v Version> {
    let mut kept = BTreeMap::new();
    let (mut hours, mut days) = (HashSet::new(), HashSet::new());
    let (mut newest, mut recovered) = (0, 0);
    // From the newest: the last one of an hour is the first that is met.
    for version in versions.iter().rev() {
        let age = now.saturating_sub(version.at);
        let keep = if version.status == VersionStatus::Recovered {
            recovered += 1;
            recovered <= retention.recovered
        } else {
            newest += 1;
            let hourly = age < retention.hourly_ms && hours.insert(version.at / HOUR_MS);
            let daily = age < retention.daily_ms && days.insert(version.at / DAY_MS);
            newest <= retention.newest || age < retention.all_ms || hourly || daily
        };
        if keep || is_pinned(version) {
            kept.insert(version.id, version);
        }
    }
    kept
}
