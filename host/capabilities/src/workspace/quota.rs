//! How much a guest's workspace has while the guest writes, and whether one more byte or entry fits.
//!
//! What grows is counted at once, what goes is not: so the count is never too low, and costs no look at the disk. From half of a limit on
//! everything is looked at once, and then what goes counts too. What a guest has removed and holds open still is on the disk, and
//! counts until it is closed. Must never let a guest go past a limit, but for the ends of a file's blocks: at most a page for each entry.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use podium_chronicle::{Chronicle, Limits, Totals};
use podium_wire::{ErrorCode, WireError};
use rustix::fs::{FileType, Stat};

use super::Workspace;

/// What file systems give a file at a time.
const PAGE_BYTES: u64 = 4096;

/// What the system counts a file's blocks in.
const BLOCK_BYTES: u64 = 512;

/// Of a limit: after so many bytes that may have been counted twice everything may be looked at again.
const UNSURE_PART: u64 = 16;

/// Open files at which those that were closed are looked for first.
const OPEN_SWEPT_AT: usize = 16;

type Inode = (u64, u64);

/// A write, or a new entry, that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the workspace is full")]
pub struct OverQuota;

/// The count of one guest's workspace; clones are the same one.
#[derive(Debug, Clone)]
pub struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Workspace,
    bytes: AtomicU64,
    entries: AtomicU64,
    bytes_max: AtomicU64,
    entries_max: AtomicU64,
    /// The largest file that a version has.
    file_bytes: AtomicU64,
    /// What goes is counted, too.
    exact: AtomicBool,
    /// Bytes that may have been counted twice since everything was looked at.
    unsure: AtomicU64,
    open: Mutex<Open>,
}

/// What is open, or was when it was looked at last.
#[derive(Debug)]
struct Open {
    files: Vec<Weak<File>>,
    swept_at: usize,
    /// What has no name any more and is open still.
    lingering: Vec<Lingering>,
    /// Files that are open for writing.
    extents: HashMap<Inode, Weak<Extent>>,
}

#[derive(Debug)]
struct Lingering {
    holders: Vec<Weak<File>>,
    bytes: u64,
}

impl Lingering {
    fn is_held(&self) -> bool {
        self.holders.iter().any(|holder| holder.strong_count() > 0)
    }
}

/// Bytes that a file takes of the limit: a large one is in no version, and takes what it has of the disk.
#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the widths differ between machines")]
fn counted(stat: &Stat, file_bytes: u64) -> u64 {
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return 0;
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if size <= file_bytes { size } else { u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES) }
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the widths differ between machines")]
fn inode(stat: &Stat) -> Inode {
    (stat.st_dev as u64, stat.st_ino as u64)
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the widths differ between machines")]
fn names(stat: &Stat) -> u64 {
    (stat.st_nlink as u64).max(1)
}

impl Quota {
    /// Of a workspace that has `usage` now.
    pub fn new(shared: Workspace, usage: Totals, limits: &Limits) -> Self {
        let open = Open { files: Vec::new(), swept_at: OPEN_SWEPT_AT, lingering: Vec::new(), extents: HashMap::new() };
        let quota = Self(Arc::new(Inner {
            shared,
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            bytes_max: AtomicU64::new(0),
            entries_max: AtomicU64::new(0),
            file_bytes: AtomicU64::new(0),
            exact: AtomicBool::new(false),
            unsure: AtomicU64::new(0),
            open: Mutex::new(open),
        }));
        quota.begin(usage, limits);
        quota
    }

    /// Another turn begins, of a guest that may hold files from before.
    pub fn begin(&self, usage: Totals, limits: &Limits) {
        let lingering: u64 = {
            let mut open = self.open();
            open.lingering.retain(Lingering::is_held);
            open.lingering.iter().map(|it| it.bytes).sum()
        };
        let inner = &self.0;
        inner.bytes.store(usage.bytes.saturating_add(lingering), Ordering::Relaxed);
        inner.entries.store(usage.entries, Ordering::Relaxed);
        inner.bytes_max.store(limits.workspace_bytes, Ordering::Relaxed);
        inner.entries_max.store(limits.workspace_entries, Ordering::Relaxed);
        inner.file_bytes.store(limits.file_bytes, Ordering::Relaxed);
        inner.unsure.store(0, Ordering::Relaxed);
        // What the last cut has is known to the byte.
        inner.exact.store(!self.is_within(2), Ordering::Relaxed);
    }

    /// The largest file that a version has, bytes.
    fn file_bytes(&self) -> u64 {
        self.0.file_bytes.load(Ordering::Relaxed)
    }

    fn counted(&self, stat: &Stat) -> u64 {
        counted(stat, self.file_bytes())
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything is within a part of its limit.
    fn is_within(&self, part: u64) -> bool {
        let at_most =
            |count: &AtomicU64, max: &AtomicU64| count.load(Ordering::Relaxed) <= max.load(Ordering::Relaxed) / part;
        at_most(&self.0.bytes, &self.0.bytes_max) && at_most(&self.0.entries, &self.0.entries_max)
    }

    /// Whether what goes is to be told.
    pub fn is_exact(&self) -> bool {
        self.0.exact.load(Ordering::Relaxed)
    }

    /// Takes room for so many bytes and entries; false when there is none, and then nothing is taken.
    pub fn take(&self, bytes: u64, entries: u64) -> bool {
        let add = |count: &AtomicU64, more: u64| {
            // Cannot fail: it always gives a value.
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_add(more)));
        };
        add(&self.0.bytes, bytes);
        add(&self.0.entries, entries);
        if self.is_within(if self.is_exact() { 1 } else { 2 }) {
            return true;
        }
        let unsure = self.0.unsure.load(Ordering::Relaxed) > self.0.bytes_max.load(Ordering::Relaxed) / UNSURE_PART;
        if !self.is_exact() || unsure {
            if self.look() {
                // What is to come is not there yet.
                add(&self.0.bytes, bytes);
                add(&self.0.entries, entries);
            }
        } else {
            self.let_go();
        }
        let fits = self.is_within(1);
        if !fits {
            self.give_back(bytes, entries);
        }
        fits
    }

    /// Counts everything anew after something else than the guest's own calls on files has changed them, or says that it is more than there may
    /// be.
    ///
    /// # Errors
    /// [`OverQuota`]; what there is stays.
    pub fn recount(&self) -> Result<(), OverQuota> {
        self.look();
        if self.is_within(1) { Ok(()) } else { Err(OverQuota) }
    }

    /// A refusal as a guest is told of it.
    pub(super) fn refusal(&self) -> WireError {
        let [bytes, entries] = [&self.0.bytes_max, &self.0.entries_max].map(|max| max.load(Ordering::Relaxed));
        let message = format!("the workspace is full: it holds {bytes} bytes and {entries} entries at most");
        WireError::new(ErrorCode::WorkspaceLimit, message)
    }

    /// Gives room back that was taken, or that is free again.
    pub fn give_back(&self, bytes: u64, entries: u64) {
        for (count, less) in [(&self.0.bytes, bytes), (&self.0.entries, entries)] {
            let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some(now.saturating_sub(less)));
        }
    }

    /// Gives back what was held open without a name and is closed now.
    fn let_go(&self) {
        let mut closed = 0;
        self.open().lingering.retain(|it| {
            let is_held = it.is_held();
            closed += if is_held { 0 } else { it.bytes };
            is_held
        });
        self.give_back(closed, 0);
    }

    /// Counts everything anew; false when that failed, and then the count is as it was.
    fn look(&self) -> bool {
        self.0.exact.store(true, Ordering::Relaxed);
        self.0.unsure.store(0, Ordering::Relaxed);
        let measured = match self.0.shared.read(Chronicle::usage_now) {
            Ok(measured) => measured.unwrap_or_default(),
            Err(error) => {
                // What was counted is never too low.
                tracing::warn!(%error, "a workspace cannot be measured");
                return false;
            }
        };
        let mut open = self.open();
        let mut nameless: HashMap<Inode, Lingering> = HashMap::new();
        for holder in &open.files {
            let Some(file) = holder.upgrade() else { continue };
            let Ok(stat) = rustix::fs::fstat(file.as_fd()) else { continue };
            if stat.st_nlink == 0 {
                let none = Lingering { holders: Vec::new(), bytes: self.counted(&stat) };
                nameless.entry(inode(&stat)).or_insert(none).holders.push(Weak::clone(holder));
            }
        }
        open.lingering = nameless.into_values().collect();
        let lingering: u64 = open.lingering.iter().map(|it| it.bytes).sum();
        self.0.bytes.store(measured.bytes.saturating_add(lingering), Ordering::Relaxed);
        self.0.entries.store(measured.entries, Ordering::Relaxed);
        true
    }

    /// A file was opened; it may outlive its name.
    pub fn opened(&self, file: &Arc<File>) {
        let mut open = self.open();
        if open.files.len() >= open.swept_at {
            open.files.retain(|file| file.strong_count() > 0);
            open.extents.retain(|_, extent| extent.strong_count() > 0);
            open.swept_at = OPEN_SWEPT_AT.max(open.files.len() * 2);
        }
        open.files.push(Arc::downgrade(file));
    }

    /// The size of a file that was opened for writing, which all its handles share.
    pub fn extent(&self, stat: &Stat) -> Arc<Extent> {
        let mut open = self.open();
        if let Some(extent) = open.extents.get(&inode(stat)).and_then(Weak::upgrade) {
            return extent;
        }
        let extent = Arc::new(Extent {
            size: AtomicU64::new(u64::try_from(stat.st_size).unwrap_or(0)),
            names: AtomicU64::new(names(stat)),
            last_page: AtomicU64::new(u64::MAX),
            quota: self.clone(),
        });
        open.extents.insert(inode(stat), Arc::downgrade(&extent));
        extent
    }

    /// Takes room for another name of a file, which is to come: each name is a file to a version.
    pub fn take_name(&self, stat: &Stat) -> bool {
        let fits = self.take(self.counted(stat), 1);
        if fits && let Some(extent) = self.open().extents.get(&inode(stat)).and_then(Weak::upgrade) {
            extent.names.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// Gives back what was taken for a name that did not come.
    pub fn give_name_back(&self, stat: &Stat) {
        self.give_back(self.counted(stat), 1);
        self.one_name_less(stat);
    }

    fn one_name_less(&self, stat: &Stat) {
        if let Some(extent) = self.open().extents.get(&inode(stat)).and_then(Weak::upgrade) {
            extent.names.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// An entry is gone that was so before.
    pub fn removed(&self, stat: &Stat) {
        let bytes = self.counted(stat);
        self.give_back(0, 1);
        if stat.st_nlink > 1 {
            self.one_name_less(stat);
            return self.give_back(bytes, 0);
        }
        if bytes == 0 {
            return;
        }
        let mut open = self.open();
        let is_same = |file: &Weak<File>| {
            let file = file.upgrade()?;
            rustix::fs::fstat(file.as_fd()).ok().filter(|open| inode(open) == inode(stat))
        };
        let holders: Vec<_> = open.files.iter().filter(|file| is_same(file).is_some()).cloned().collect();
        if holders.is_empty() {
            drop(open);
            self.give_back(bytes, 0);
        } else {
            open.lingering.push(Lingering { holders, bytes });
        }
    }
}

/// The size of a file that is open for writing, as its writes make it.
#[derive(Debug)]
pub struct Extent {
    size: AtomicU64,
    /// Each of them is a file to a version.
    names: AtomicU64,
    /// The last page of a large file that was counted.
    last_page: AtomicU64,
    quota: Quota,
}

impl Extent {
    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// Bytes that a size takes of the limit, where what it has of the disk is counted apart.
    fn takes(&self, size: u64) -> u64 {
        if size <= self.quota.file_bytes() { size } else { 0 }
    }

    fn for_all_names(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.names.load(Ordering::Relaxed))
    }

    /// Takes room for a write, which is to come.
    pub fn write(&self, offset: u64, len: usize) -> Result<(), OverQuota> {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let (size, end, file_bytes) = (self.size(), offset.saturating_add(len), self.quota.file_bytes());
        if len == 0 || (end <= size && size <= file_bytes) {
            return Ok(());
        }
        if end.max(size) <= file_bytes {
            if !self.quota.take(self.for_all_names(end - size), 0) {
                return Err(OverQuota);
            }
        } else {
            // Nobody knows which of its pages a large file has already.
            let (first, last) = (offset / PAGE_BYTES, (end - 1) / PAGE_BYTES);
            let is_counted = self.last_page.load(Ordering::Relaxed) == first;
            let bytes = (last - first).saturating_add(u64::from(!is_counted)).saturating_mul(PAGE_BYTES);
            if !self.quota.take(bytes, 0) {
                return Err(OverQuota);
            }
            self.quota.0.unsure.fetch_add(bytes, Ordering::Relaxed);
            self.last_page.store(last, Ordering::Relaxed);
        }
        self.size.fetch_max(end, Ordering::Relaxed);
        Ok(())
    }

    /// Takes or gives back room for another size, which is to come.
    pub fn resize(&self, size: u64) -> Result<(), OverQuota> {
        let (before, after) = (self.takes(self.size()), self.takes(size));
        if after > before {
            if !self.quota.take(self.for_all_names(after - before), 0) {
                return Err(OverQuota);
            }
        } else if self.quota.is_exact() && size < self.size() {
            self.quota.give_back(self.for_all_names(before - after), 0);
        }
        self.size.store(size, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use podium_chronicle::{Named, Place};
    use podium_kit::Clock;

    use super::*;
    use crate::workspace::Workspaces;

    const LIMITS: Limits = Limits {
        workspace_bytes: 1000,
        workspace_entries: 20,
        workspace_path_bytes: 1 << 20,
        store_bytes: 1 << 20,
        depth: 256,
        file_bytes: 1 << 29,
    };

    struct Bench {
        folder: tempfile::TempDir,
        quota: Quota,
    }

    impl Bench {
        fn new(used: u64) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let shared = Workspaces::new(Clock::manual(1_000), 100)
                .closed(Place::new(folder.path().join("chronicle")), Named::default());
            shared.open().expect("opens");
            let usage = Totals { bytes: used, entries: 1, path_bytes: 0 };
            Self { quota: Quota::new(shared, usage, &LIMITS), folder }
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join("chronicle/work").join(name)
        }

        /// A new file as a guest has it, of so many bytes.
        fn file(&self, name: &str, size: usize) -> (Arc<File>, Arc<Extent>) {
            assert!(self.quota.take(0, 1));
            let file = Arc::new(File::create_new(self.path(name)).expect("is made"));
            self.quota.opened(&file);
            let extent = self.quota.extent(&rustix::fs::fstat(&file).expect("answers"));
            extent.write(0, size).expect("there is room");
            std::os::unix::fs::FileExt::write_all_at(&*file, &vec![7; size], 0).expect("writes");
            (file, extent)
        }

        fn remove(&self, name: &str) {
            let stat = rustix::fs::lstat(self.path(name)).expect("is there");
            std::fs::remove_file(self.path(name)).expect("is removed");
            if self.quota.is_exact() {
                self.quota.removed(&stat);
            }
        }
    }

    #[test]
    fn what_was_removed_far_from_the_limit_is_found_at_half_of_it() {
        let bench = Bench::new(0);
        for n in 0..8 {
            drop(bench.file("again", 100));
            bench.remove("again");
            assert_eq!(bench.quota.is_exact(), n >= 5, "{n}");
        }
        let (_file, extent) = bench.file("a", 900);
        assert_eq!(extent.write(900, 101), Err(OverQuota));
        assert_eq!(extent.write(900, 100), Ok(()), "to the byte");
        assert_eq!(extent.write(0, 1000), Ok(()), "what is there is written over");
        assert_eq!(extent.write(1000, 1), Err(OverQuota));
        assert_eq!(extent.resize(500), Ok(()));
        assert_eq!(extent.write(999, 1), Ok(()), "a hole counts");
        assert_eq!(extent.resize(1001), Err(OverQuota));
    }

    #[test]
    fn what_is_open_without_a_name_counts_until_it_is_closed() {
        let bench = Bench::new(0);
        // Once removed before anybody counted what goes, once after.
        let (first, _) = bench.file("first", 300);
        bench.remove("first");
        let (second, extent) = bench.file("second", 300);
        assert!(bench.quota.is_exact());
        drop(extent);
        bench.remove("second");
        assert!(!bench.quota.take(500, 0));
        drop(first);
        assert!(bench.quota.take(500, 0));
        assert!(!bench.quota.take(300, 0));
        drop(second);
        assert!(bench.quota.take(300, 0));
    }

    #[test]
    fn entries_have_a_limit_too() {
        let bench = Bench::new(0);
        (1..=18).for_each(|n| drop(bench.file(&n.to_string(), 0)));
        assert!(!bench.quota.take(0, 3), "eighteen of twenty");
        assert!(bench.quota.take(0, 2) && !bench.quota.take(0, 1));
        bench.remove("1");
        assert!(bench.quota.take(0, 1));
    }

    #[test]
    fn a_large_file_takes_what_it_has_of_the_disk() {
        let bench = Bench::new(600);
        assert!(bench.quota.is_exact());
        let (_file, extent) = bench.file("sparse", 0);
        assert_eq!(extent.resize(1 << 40), Ok(()), "it is in no version");
        assert_eq!(extent.write(1 << 39, 1), Err(OverQuota), "a page");
        assert_eq!(extent.resize(500), Err(OverQuota), "but this would be");
    }
}
