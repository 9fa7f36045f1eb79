//! The workspace of an instance, as its turns and its owner share it.
//!
//! Closed until somebody uses a file; opening brings the folder to the last cut. Must never let a guest near the folder while
//! it is closed: after a crash, what it wrote would be taken for the cut's.

#[cfg(test)]
mod bench;
mod calls;
mod files;
mod quota;
mod time;
mod told;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use lru::LruCache;
use podium_chronicle::limits::DESCRIPTORS_MAX;
use podium_chronicle::{
    Brought, BroughtBack, Chronicle, ChronicleError, ContentHash, DirtySet, Due, Limits, Named, Opened, Place,
    Prepared, Restored, Retention, Sight, SnapshotRequest, Surroundings, Suspended, VersionKind, WorkPath, empty_root,
};
use podium_kit::Clock;

pub use calls::Changes;
pub use files::{Listed, Listing};
pub use quota::{Extent, OverQuota, Quota};
pub use told::{FILE_CHANGES_MAX, Told};

/// What all workspaces of a host have in common.
#[derive(Debug, Clone)]
pub struct Workspaces(Arc<Common>);

#[derive(Debug)]
struct Common {
    clock: Clock,
    boot_id: String,
    /// Histories that are open, by their use; what is in use may be one too many until it is not.
    open: Mutex<LruCache<PathBuf, Weak<Inner>>>,
    open_max: usize,
}

impl Workspaces {
    /// Those of a host, which may hold so many descriptors for their histories.
    pub fn new(clock: Clock, descriptors: usize) -> Self {
        let open_max = (descriptors / DESCRIPTORS_MAX).max(1);
        let open = Mutex::new(LruCache::unbounded());
        Self(Arc::new(Common { clock, boot_id: podium_chronicle::boot_id(), open, open_max }))
    }

    /// The workspace in a folder, closed, as the last cut names it.
    pub fn closed(&self, place: Place, named: Named) -> Workspace {
        Workspace(Arc::new(Inner {
            place,
            common: Arc::clone(&self.0),
            dirty: DirtySet::new(),
            state: Mutex::new(State {
                named,
                prepared: None,
                told: Told::default(),
                limits: Limits::default(),
                history: History::Closed,
                due: Due::No,
            }),
        }))
    }
}

impl Common {
    /// A history is open and in use now; others give their descriptors back where there are too many.
    fn used(&self, workspace: &Arc<Inner>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.put(workspace.place.metadata(), Arc::downgrade(workspace));
        for _ in self.open_max..open.len() {
            let Some((place, other)) = open.pop_lru() else { return };
            // One that cannot give way is in use.
            if other.upgrade().is_some_and(|inner| !inner.suspend()) {
                open.put(place, other);
            }
        }
    }

    fn closes(&self, workspace: &Inner) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).pop(&workspace.place.metadata());
    }
}

/// One instance's workspace; clones are the same one. Every method may block.
#[derive(Debug, Clone)]
pub struct Workspace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    place: Place,
    common: Arc<Common>,
    dirty: DirtySet,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    named: Named,
    /// The version that the next cut may name.
    prepared: Option<(u64, ContentHash)>,
    /// What is to be told with it.
    told: Told,
    /// How large it may be.
    limits: Limits,
    history: History,
    /// How soon its history is worth a collection.
    due: Due,
}

#[derive(Debug)]
enum History {
    Closed,
    /// Open, without a descriptor.
    Suspended(Suspended),
    Open(Box<Chronicle>),
}

impl Inner {
    /// Gives its descriptors back; false when it is in use.
    fn suspend(&self) -> bool {
        let Ok(mut state) = self.state.try_lock() else { return false };
        match std::mem::replace(&mut state.history, History::Closed) {
            History::Open(chronicle) => match chronicle.suspend() {
                Ok(suspended) => state.history = History::Suspended(suspended),
                Err(chronicle) => {
                    state.history = History::Open(chronicle);
                    return false;
                }
            },
            other => state.history = other,
        }
        true
    }
}

impl Workspace {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in the history leaves what the next opening mends.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens it where it is closed, and gives the folder that its guests see.
    pub fn open(&self) -> Result<PathBuf, ChronicleError> {
        self.opened(&mut self.state())?;
        Ok(self.0.place.work())
    }

    /// As [`Workspace::open`]; none while nobody ever used a file, and then nothing is made.
    pub fn open_if_used(&self) -> Result<Option<PathBuf>, ChronicleError> {
        let state = &mut *self.state();
        if !self.is_used(state) {
            return Ok(None);
        }
        self.opened(state)?;
        Ok(Some(self.0.place.work()))
    }

    /// Reads the history of what cuts have; none while nobody ever used a file. The owner and its turn wait meanwhile, so what is
    /// read at once is bounded.
    pub fn read<T>(
        &self,
        read: impl FnOnce(&Chronicle) -> Result<T, ChronicleError>,
    ) -> Result<Option<T>, ChronicleError> {
        let state = &mut *self.state();
        if !self.is_used(state) {
            return Ok(None);
        }
        read(self.opened(state)?).map(Some)
    }

    /// Brings a path, with what is beneath it, to what it was at iteration `n`; gone, if it was not there. What is there now is in the
    /// history first. The next cut makes it true, and rolling back undoes it.
    pub fn restore(&self, path: &WorkPath, n: u64, sight: Sight) -> Result<Brought, ChronicleError> {
        let state = &mut *self.state();
        if !self.is_used(state) {
            return Err(ChronicleError::NoIteration(n));
        }
        let named = state.named;
        let Restored { before, brought } = self.opened(state)?.restore_to(path, n, sight)?;
        if before.version != named.version {
            // Nothing may be left to look at, and the cut has to name it all the same.
            state.prepared = Some((before.version, before.root));
        }
        Ok(brought)
    }

    /// Works on the history, not on the files; none while nobody ever used one. The turn waits meanwhile when it uses a file.
    pub fn maintain<T>(
        &self,
        work: impl FnOnce(&mut Chronicle) -> Result<T, ChronicleError>,
    ) -> Result<Option<T>, ChronicleError> {
        let state = &mut *self.state();
        if !self.is_used(state) {
            return Ok(None);
        }
        let chronicle = self.opened(state)?;
        let done = work(chronicle)?;
        let due = chronicle.collection_due()?;
        state.due = due;
        Ok(Some(done))
    }

    /// How soon its history is worth a collection. Does not block for long.
    pub fn collection_due(&self) -> Due {
        self.state().due
    }

    fn is_used(&self, state: &State) -> bool {
        !matches!(state.history, History::Closed)
            || state.named.root.is_some()
            || self.0.place.work().symlink_metadata().is_ok()
    }

    fn opened<'a>(&self, state: &'a mut State) -> Result<&'a mut Chronicle, ChronicleError> {
        let mut chronicle = match std::mem::replace(&mut state.history, History::Closed) {
            History::Open(chronicle) => chronicle,
            History::Suspended(suspended) => Box::new(suspended.resume()?),
            History::Closed => Box::new(self.begin(state.named, state.limits)?),
        };
        chronicle.set_limits(state.limits);
        self.0.common.used(&self.0);
        state.history = History::Open(chronicle);
        match &mut state.history {
            History::Open(chronicle) => Ok(chronicle),
            History::Suspended(_) | History::Closed => Err(ChronicleError::Refused("the history is closed")),
        }
    }

    /// As [`Workspace::opened`], where it was open and may have changed since.
    fn changed<'a>(&self, state: &'a mut State) -> Result<Option<&'a mut Chronicle>, ChronicleError> {
        match state.history {
            // Closed, it was not written to.
            History::Closed => Ok(None),
            History::Suspended(_) if !self.0.dirty.is_dirty() => Ok(None),
            History::Suspended(_) | History::Open(_) => self.opened(state).map(Some),
        }
    }

    fn begin(&self, named: Named, limits: Limits) -> Result<Chronicle, ChronicleError> {
        let common = &self.0.common;
        let surroundings = Surroundings {
            clock: common.clock.clone(),
            boot_id: common.boot_id.clone(),
            limits,
            retention: Retention::default(),
        };
        let (chronicle, opened) = Chronicle::open(self.0.place.clone(), named, surroundings, self.0.dirty.clone())?;
        self.say(&opened);
        Ok(chronicle)
    }

    fn say(&self, opened: &Opened) {
        let place = self.0.place.metadata();
        for segment in &opened.damaged_segments {
            tracing::error!(place = %place.display(), segment, "a segment of a workspace's history is damaged");
        }
        if let Some(version) = opened.recovered {
            tracing::warn!(place = %place.display(), version, "what no cut knows of is kept as a recovered version");
        }
        if opened.too_large_to_keep {
            tracing::warn!(place = %place.display(), "what no cut knows of was too large to be kept");
        }
    }

    /// True when files lie there of which no cut knows. Does not block for long.
    pub fn has_strangers(&self) -> bool {
        let is_named = self.state().named.root.is_some();
        !is_named && std::fs::read_dir(self.0.place.work()).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Opens it; true when its files are from before there was a history, and a cut has to name them before a turn may change them.
    pub fn open_unadopted(&self) -> Result<bool, ChronicleError> {
        Ok(self.opened(&mut self.state())?.is_unadopted())
    }

    /// Where writes are told.
    pub fn dirty(&self) -> &DirtySet {
        &self.0.dirty
    }

    /// What it holds now becomes a version, durable and not yet true (TURN.md §3, steps 2 and 3); none when it is the last
    /// cut's still.
    pub fn prepare(&self, kind: VersionKind, cut: u64, turn: Option<u64>) -> Result<Option<Prepared>, ChronicleError> {
        self.prepare_in(&mut self.state(), SnapshotRequest { kind, cut: Some(cut), turn, scan: false })
    }

    /// A version of what a running turn has done so far, true with its cut; gives its moment, the number of its last iteration. That of the
    /// version before, when nothing was done since; 0 while nobody ever used a file, and then nothing is made.
    pub(crate) fn step(&self, turn: u64) -> Result<u64, ChronicleError> {
        let state = &mut *self.state();
        if !self.is_used(state) {
            return Ok(0);
        }
        let request = SnapshotRequest { kind: VersionKind::Step, cut: None, turn: Some(turn), scan: false };
        self.prepare_in(state, request)?;
        self.opened(state)?.moment()
    }

    fn prepare_in(&self, state: &mut State, request: SnapshotRequest) -> Result<Option<Prepared>, ChronicleError> {
        let (named, kind, cut) = (state.named, request.kind, request.cut);
        let Some(chronicle) = self.changed(state)? else { return Ok(None) };
        let prepared = chronicle.prepare(request)?;
        let left_out = told::left_out(&prepared.left_out, prepared.refused_patterns.as_deref());
        for line in &left_out {
            tracing::warn!(place = %self.0.place.metadata().display(), cut, line);
        }
        let is_another = prepared.version != named.version;
        let changes = if is_another && kind != VersionKind::Step {
            match chronicle.diff(named.root.unwrap_or_else(empty_root), prepared.root) {
                Ok(differences) => told::changes(&differences, FILE_CHANGES_MAX),
                Err(error) => {
                    // The version stands all the same.
                    tracing::warn!(place = %self.0.place.metadata().display(), cut, %error, "what changed cannot be told");
                    Vec::new()
                }
            }
        } else {
            Vec::new()
        };
        state.told.changes = changes;
        state.told.left_out.extend(left_out);
        if !is_another {
            return Ok(None);
        }
        state.prepared = Some((prepared.version, prepared.root));
        Ok(Some(prepared))
    }

    /// What is to be told of what was prepared last, once.
    pub fn take_told(&self) -> Told {
        std::mem::take(&mut self.state().told)
    }

    /// Sets how large it may be, from the next version on.
    pub fn set_limits(&self, limits: Limits) {
        self.state().limits = limits;
    }

    /// A cut names the version that was prepared last.
    pub fn committed(&self, cut: u64, version: u64) {
        let state = &mut *self.state();
        let Some((_, root)) = state.prepared.take().filter(|prepared| prepared.0 == version) else { return };
        state.named = Named { cut, version, root: Some(root) };
        let History::Open(chronicle) = &mut state.history else { return };
        let place = self.0.place.metadata();
        if let Err(error) = chronicle.commit(version, cut) {
            // The cut is true; the history notes it before it does anything that rests on it.
            tracing::warn!(place = %place.display(), %error, "a version cannot be marked as committed");
        }
        match chronicle.collection_due() {
            Ok(due) => state.due = due,
            Err(error) => tracing::warn!(place = %place.display(), %error, "how full a history is cannot be known"),
        }
        // Nobody waits for it now, and an agent may never rest.
        if chronicle.checkpoint_due()
            && let Err(error) = chronicle.checkpoint()
        {
            tracing::warn!(place = %place.display(), %error, "the log of a workspace's history cannot be written back");
        }
    }

    /// True when a snapshot would look at something. Does not block for long.
    pub fn is_dirty(&self) -> bool {
        let state = self.state();
        !matches!(state.history, History::Closed) && (state.prepared.is_some() || self.0.dirty.is_dirty())
    }

    /// Brings the folder back to the last cut, where it was used since.
    pub fn roll_back(&self) -> Result<Option<BroughtBack>, ChronicleError> {
        let state = &mut *self.state();
        state.prepared = None;
        state.told = Told::default();
        let Some(chronicle) = self.changed(state)? else { return Ok(None) };
        match chronicle.roll_back() {
            Ok(back) => Ok(Some(back)),
            Err(error) => {
                // The next opening looks at everything.
                state.history = History::Closed;
                Err(error)
            }
        }
    }

    /// Writes what is left to write, and closes. It may be opened again.
    pub fn close(&self) -> Result<(), ChronicleError> {
        let state = &mut *self.state();
        if let History::Closed = state.history {
            return Ok(());
        }
        self.opened(state)?;
        self.0.common.closes(&self.0);
        match std::mem::replace(&mut state.history, History::Closed) {
            History::Open(chronicle) => chronicle.rest(),
            History::Suspended(_) | History::Closed => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspaces(descriptors: usize) -> Workspaces {
        Workspaces::new(Clock::manual(1_000), descriptors)
    }

    fn cut(workspace: &Workspace, cut: u64) -> Prepared {
        let prepared = workspace.prepare(VersionKind::Turn, cut, Some(cut)).expect("prepares").expect("has changed");
        workspace.committed(cut, prepared.version);
        prepared
    }

    #[test]
    fn nothing_is_made_until_a_file_is_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path().join("chronicle"));
        let workspace = workspaces(100).closed(place, Named::default());
        assert_eq!(workspace.open_if_used().expect("looks"), None);
        assert_eq!(workspace.prepare(VersionKind::Turn, 1, None).expect("nothing"), None);
        assert_eq!(workspace.roll_back().expect("nothing"), None);
        assert_eq!(workspace.read(Chronicle::stats).expect("nothing"), None);
        assert!(!folder.path().join("chronicle").exists());
    }

    #[test]
    fn what_a_failed_turn_wrote_goes_and_what_a_cut_has_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path().join("chronicle"));
        let workspace = workspaces(100).closed(place.clone(), Named::default());
        let work = workspace.open().expect("opens");
        std::fs::write(work.join("a"), "one").expect("writes");
        workspace.dirty().touched(&"a".parse().expect("a path"));
        let first = cut(&workspace, 1);
        std::fs::write(work.join("a"), "two").expect("writes");
        workspace.dirty().touched(&"a".parse().expect("a path"));
        let back = workspace.roll_back().expect("goes back").expect("it was used");
        assert!(back.kept.is_some(), "what it wrote is kept");
        assert_eq!(std::fs::read(work.join("a")).expect("is there"), b"one");
        assert_eq!(workspace.prepare(VersionKind::Turn, 2, None).expect("nothing"), None);
        workspace.dirty().touched(&"a".parse().expect("a path"));
        assert_eq!(workspace.prepare(VersionKind::Turn, 2, None).expect("looks"), None, "it is as it was");
        assert!(!workspace.is_dirty(), "and nothing is left to look at");
        workspace.close().expect("closes");

        // Another process of the host finds the same.
        let named = Named { cut: 1, version: first.version, root: Some(first.root) };
        let again = workspaces(100).closed(place, named);
        let kept = again.read(|chronicle| chronicle.versions(0, 10)).expect("reads").expect("it was used");
        assert_eq!(kept.iter().map(|version| version.id).collect::<Vec<_>>(), [first.version, back.kept.unwrap_or(0)]);
        assert_eq!(again.open_if_used().expect("opens"), Some(work.clone()));
        assert_eq!(std::fs::read(work.join("a")).expect("is there"), b"one");
    }

    #[test]
    fn what_a_restore_found_is_in_the_next_cut_though_nothing_is_left_to_look_at() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = workspaces(100).closed(Place::new(folder.path().join("chronicle")), Named::default());
        let a: WorkPath = "a".parse().expect("a path");
        assert!(matches!(workspace.restore(&a, 1, Sight::Cuts), Err(ChronicleError::NoIteration(1))));
        assert!(!folder.path().join("chronicle").exists());
        let work = workspace.open().expect("opens");
        let write = |content: &str| {
            std::fs::write(work.join("a"), content).expect("writes");
            workspace.dirty().touched(&a);
        };
        write("one");
        cut(&workspace, 1);
        write("two");
        // What was not cut yet is kept first, and is told of to nobody but its turn.
        assert_eq!(workspace.restore(&a, 1, Sight::Cuts).expect("restores").written, 1);
        let told = |sight| {
            let page = workspace.read(|chronicle| chronicle.told(&a, 0, 10, sight)).expect("reads").expect("is used");
            page.iterations.iter().map(|it| (it.n, it.cut)).collect::<Vec<_>>()
        };
        assert_eq!(told(Sight::Cuts), [(1, Some(1))]);
        assert_eq!(told(Sight::Turn), [(1, Some(1)), (2, None)]);
        assert!(matches!(workspace.restore(&a, 2, Sight::Cuts), Err(ChronicleError::NoIteration(2))));
        workspace.restore(&a, 2, Sight::Turn).expect("restores");
        assert_eq!(std::fs::read(work.join("a")).expect("is there"), b"two");
        cut(&workspace, 2);
        assert_eq!(told(Sight::Cuts).iter().map(|(_, cut)| *cut).collect::<Vec<_>>()[1..], [Some(2); 3]);
        let gone: WorkPath = "gone".parse().expect("a path");
        assert!(matches!(workspace.restore(&gone, 1, Sight::Cuts), Err(ChronicleError::NotThere { .. })));
    }

    #[test]
    fn the_history_used_longest_ago_gives_its_descriptors_to_another_and_misses_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let common = workspaces(DESCRIPTORS_MAX);
        let [one, two] =
            ["one", "two"].map(|name| common.closed(Place::new(folder.path().join(name)), Named::default()));
        let is_open = |workspace: &Workspace| matches!(workspace.state().history, History::Open(_));
        let work = one.open().expect("opens");
        two.open().expect("opens");
        assert!(!is_open(&one) && is_open(&two));
        assert!(!one.is_dirty());
        std::fs::write(work.join("a"), "meanwhile").expect("writes");
        one.dirty().touched(&"a".parse().expect("a path"));
        assert_eq!(cut(&one, 1).added, 1);
        assert!(is_open(&one) && !is_open(&two));
        two.open().expect("opens again");
        std::fs::write(work.join("a"), "of a turn that failed").expect("writes");
        one.dirty().touched(&"a".parse().expect("a path"));
        one.roll_back().expect("goes back");
        assert_eq!(std::fs::read(work.join("a")).expect("is there"), b"meanwhile");
        [one, two].iter().for_each(|workspace| workspace.close().expect("closes"));
    }

    #[test]
    fn the_log_of_a_history_is_written_back_while_its_agent_works() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::new(folder.path().join("chronicle"));
        let workspace = workspaces(100).closed(place.clone(), Named::default());
        let work = workspace.open().expect("opens");
        let bytes = |name: &str| place.metadata().join(name).metadata().map_or(0, |found| found.len());
        let mut longest = 0;
        // About half a megabyte of rows each, so some fifteen of the log in all: it is used again from its start.
        for number in 1..=30 {
            for n in 0..500 {
                let name = format!("{n}-{}", "x".repeat(100));
                std::fs::write(work.join(&name), format!("{number} {n}")).expect("writes");
                workspace.dirty().touched(&name.parse().expect("a path"));
            }
            cut(&workspace, number);
            longest = longest.max(bytes("chronicle.db-wal"));
        }
        assert!(longest < 10 << 20, "{longest} bytes of log");
        assert!(bytes("chronicle.db") > 4 << 20, "{} bytes written back", bytes("chronicle.db"));
    }
}
