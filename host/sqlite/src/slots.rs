//! Open slots: what is kept open for each key, and the rule that one job of a key runs at a time.
//!
//! A job runs where it is asked for when that thread may block; from elsewhere one job of a key at a time is sent to a
//! blocking thread. What no caller need wait for (checkpoints) is done by threads of their own, in moments without jobs.
//! Must never open a second slot for a key that is in use, and never fail a job for what comes after it.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, mpsc};
use std::time::Duration;

use lru::LruCache;
use podium_kit::{spawn, threads};
use tokio::sync::Semaphore;

/// Threads that tidy: one that waits for a slow disk does not hold up the others' keys.
const TIDY_THREADS: usize = 4;
/// How often a tidying thread finds a key at work before it leaves it to the key's next job.
const TIDY_TRIES: u32 = 100;
/// Time between two rounds of these tries: longer than a commit without a disk, so that most find the slot free.
const TIDY_PAUSE: Duration = Duration::from_millis(1);

/// A slot that no job has used for this long, and at most twice as long, is closed: it costs descriptors and some hundred
/// kilobytes, and opening it again takes a fraction of a millisecond. An agent that rests has closed its own by then.
const IDLE_PERIOD: Duration = Duration::from_secs(10);

/// Whether something was put off that no caller need wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// Nothing.
    Done,
    /// Something, to be done in a moment without jobs.
    Due,
    /// So much that the next job has to wait for it.
    Overdue,
}

/// What is kept open for a key. One job uses it at a time.
pub trait Slot: Default + Send + 'static {
    /// Asked after each job.
    fn upkeep(&self) -> Upkeep;
    /// Does what was put off. What fails is tried again after the next job.
    fn tidy(&mut self);
}

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The slots are closed.
    #[error("the databases are closed")]
    Closed,
    /// The job panicked; what its slot held was closed.
    #[error("a database job panicked")]
    Panicked,
}

/// The open slots; clones are the same ones.
pub struct Slots<S: Slot> {
    shared: Arc<Shared<S>>,
}

impl<S: Slot> Clone for Slots<S> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<S: Slot> std::fmt::Debug for Slots<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slots").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

/// One key's slot.
struct Entry<S> {
    slot: Mutex<S>,
    /// Lets one caller at a time come from threads that may not block, first come first served, so that many of them
    /// hold one blocking thread and not all.
    door: Arc<Semaphore>,
    /// True while a tidying thread is to look at it.
    queued: AtomicBool,
    /// True when a job has used it since idle ones were last closed.
    used: AtomicBool,
}

struct Shared<S> {
    name: &'static str,
    // A clone of an entry is made under this lock only, so one that nobody else holds is unused.
    entries: Mutex<LruCache<u128, Arc<Entry<S>>>>,
    closed: AtomicBool,
    open_max: usize,
    /// Idle ones are closed by a thread, which is started with the first job.
    closes_idle: bool,
    sweeper: OnceLock<()>,
    tidiers: [OnceLock<mpsc::Sender<u128>>; TIDY_THREADS],
}

impl<S: Slot> Slots<S> {
    /// Slots of which about `open_max` stay open; one that a job uses is never closed for another.
    pub fn new(name: &'static str, open_max: usize) -> Self {
        let shared = Shared {
            name,
            entries: Mutex::new(LruCache::unbounded()),
            closed: AtomicBool::new(false),
            open_max,
            closes_idle: false,
            sweeper: OnceLock::new(),
            tidiers: [const { OnceLock::new() }; TIDY_THREADS],
        };
        Self { shared: Arc::new(shared) }
    }

    /// The same, of which those that no job uses for a while are closed, ten to twenty seconds after the last one.
    #[must_use]
    pub fn close_idle_ones(mut self) -> Self {
        // Nobody has a clone yet, or they keep theirs as they are.
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.closes_idle = true;
        }
        self
    }

    /// Closes those that no job has used since the last call; how many.
    pub fn close_idle(&self) -> usize {
        self.shared.close_idle()
    }

    /// Runs `job` with the slot of `key`. On a thread that may block it runs whole in the first poll. Elsewhere it waits for
    /// its turn and then runs on a blocking thread of the current tokio runtime, even when the future is dropped.
    pub fn run<R, F>(&self, key: u128, job: F) -> impl Future<Output = Result<R, SlotError>> + Send + use<R, F, S>
    where
        R: Send + 'static,
        F: FnOnce(&mut S) -> R + Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        async move {
            if threads::may_block() {
                return shared.run(key, job);
            }
            let door = Arc::clone(&shared.entry(key)?.door);
            let inside = door.acquire_owned().await.map_err(|_| SlotError::Closed)?;
            let job = move || {
                let done = shared.run(key, job);
                drop(inside);
                done
            };
            // An error: the runtime ends.
            spawn::blocking(job).await.unwrap_or(Err(SlotError::Closed))
        }
    }

    /// Closes what `key` holds; a job that waits for the slot opens it again.
    pub async fn forget(&self, key: u128) -> Result<(), SlotError> {
        self.run(key, |slot| *slot = S::default()).await?;
        self.shared.remove_unused(key);
        Ok(())
    }

    /// Slots that are open now.
    pub fn open_slots(&self) -> usize {
        locked(&self.shared.entries).len()
    }

    /// Lets running jobs end and closes all slots; later jobs are refused.
    pub async fn close(&self) {
        let shared = Arc::clone(&self.shared);
        let close = move || shared.close();
        if threads::may_block() {
            close();
        } else {
            // An error: the runtime ends, and with it the process.
            drop(spawn::blocking(close).await);
        }
    }
}

impl<S: Slot> Shared<S> {
    fn entry(&self, key: u128) -> Result<Arc<Entry<S>>, SlotError> {
        let mut entries = locked(&self.entries);
        if self.closed.load(Ordering::SeqCst) {
            return Err(SlotError::Closed);
        }
        let new = || {
            let door = Arc::new(Semaphore::new(1));
            let (queued, used) = (AtomicBool::new(false), AtomicBool::new(true));
            Arc::new(Entry { slot: Mutex::default(), door, queued, used })
        };
        Ok(Arc::clone(entries.get_or_insert(key, new)))
    }

    fn run<R>(self: &Arc<Self>, key: u128, job: impl FnOnce(&mut S) -> R) -> Result<R, SlotError> {
        let entry = self.entry(key)?;
        entry.used.store(true, Ordering::Release);
        if self.closes_idle {
            self.sweeper.get_or_init(|| self.start_sweeper());
        }
        let mut slot = waited_for(&entry.slot);
        // What was closed stays closed, also for a job that waited meanwhile.
        if self.closed.load(Ordering::SeqCst) {
            return Err(SlotError::Closed);
        }
        if slot.upkeep() == Upkeep::Overdue {
            tidy(&mut *slot);
        }
        let Ok(result) = std::panic::catch_unwind(AssertUnwindSafe(|| job(&mut slot))) else {
            // What the slot believes of its files is unknown now.
            tracing::error!("a database job panicked; its files are closed");
            *slot = S::default();
            return Err(SlotError::Panicked);
        };
        let upkeep = slot.upkeep();
        drop(slot);
        if upkeep != Upkeep::Done && !entry.queued.swap(true, Ordering::AcqRel) && !self.tell_tidier(key) {
            entry.queued.store(false, Ordering::Release);
        }
        drop(entry);
        self.close_oldest();
        Ok(result)
    }

    /// With too many open, closes the unused one that was used longest ago.
    fn close_oldest(&self) {
        let oldest = {
            let entries = locked(&self.entries);
            if entries.len() <= self.open_max {
                return;
            }
            let unused = entries.iter().rev().find(|(_, entry)| Arc::strong_count(entry) == 1);
            // The clone marks it as used: nobody else closes it.
            let Some((key, entry)) = unused else { return };
            (*key, Arc::clone(entry))
        };
        let (key, entry) = oldest;
        *locked(&entry.slot) = S::default();
        drop(entry);
        self.remove_unused(key);
    }

    /// Closes what no job has used since the last call, and is not used now.
    fn close_idle(&self) -> usize {
        let idle: Vec<(u128, Arc<Entry<S>>)> = {
            let entries = locked(&self.entries);
            let unused = entries.iter().filter(|(_, entry)| !entry.used.swap(false, Ordering::AcqRel));
            // The clone marks it as used: nobody else closes it.
            unused
                .filter(|(_, entry)| Arc::strong_count(entry) == 1)
                .map(|(key, entry)| (*key, Arc::clone(entry)))
                .collect()
        };
        let count = idle.len();
        for (key, entry) in idle {
            // A job that came meanwhile keeps its slot.
            if let Ok(mut slot) = entry.slot.try_lock()
                && !entry.used.load(Ordering::Acquire)
            {
                *slot = S::default();
            }
            drop(entry);
            self.remove_unused(key);
        }
        count
    }

    fn start_sweeper(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let started = spawn::thread(&format!("{}-idle", self.name), move || {
            loop {
                std::thread::sleep(IDLE_PERIOD);
                let Some(shared) = weak.upgrade() else { return };
                shared.close_idle();
            }
        });
        if let Err(error) = started {
            tracing::warn!(%error, "the thread that closes idle databases cannot be started");
        }
    }

    fn remove_unused(&self, key: u128) {
        let mut entries = locked(&self.entries);
        if entries.peek(&key).is_some_and(|entry| Arc::strong_count(entry) == 1) {
            entries.pop(&key);
        }
    }

    fn close(&self) {
        let entries = {
            let mut entries = locked(&self.entries);
            self.closed.store(true, Ordering::SeqCst);
            std::mem::replace(&mut *entries, LruCache::unbounded())
        };
        for (_, entry) in &entries {
            *locked(&entry.slot) = S::default();
        }
    }

    /// Hands a key to its tidying thread, which is started for the first one. False when the system has no thread left: the
    /// key's next job tries again.
    fn tell_tidier(self: &Arc<Self>, key: u128) -> bool {
        let number = usize::try_from(key % TIDY_THREADS as u128).unwrap_or(0);
        let tidier = &self.tidiers[number];
        if let Some(sender) = tidier.get() {
            return sender.send(key).is_ok();
        }
        // A key is in it once, so it holds no more than there are open slots.
        let (sender, keys) = mpsc::channel();
        let weak = Arc::downgrade(self);
        // Two callers may both come here; the thread whose sender is not kept ends at once.
        let started = spawn::thread(&format!("{}-tidy-{number}", self.name), move || {
            let mut busy = VecDeque::new();
            // Ends when the slots, which hold the sender, are gone.
            while let Some(key) = next(&keys, &mut busy) {
                let Some(shared) = weak.upgrade() else { return };
                shared.try_tidy(key, &mut busy);
            }
        });
        match started {
            Ok(_) => tidier.get_or_init(|| sender).send(key).is_ok(),
            Err(error) => {
                tracing::warn!(%error, "the tidying thread of the databases cannot be started");
                false
            }
        }
    }

    fn try_tidy(&self, (key, tries): (u128, u32), busy: &mut VecDeque<(u128, u32)>) {
        let Some(entry) = locked(&self.entries).peek(&key).map(Arc::clone) else { return };
        let mut slot = match entry.slot.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if tries < TIDY_TRIES => return busy.push_back((key, tries + 1)),
            // Always at work: its next job tells of it again, and one that is overdue waits for it.
            Err(TryLockError::WouldBlock) => return entry.queued.store(false, Ordering::Release),
        };
        // What becomes due from here on is told anew.
        entry.queued.store(false, Ordering::Release);
        if slot.upkeep() != Upkeep::Done {
            tidy(&mut *slot);
        }
    }
}

/// The next key to look at: a new one, else one that was at work when it was looked at, after a pause.
fn next(keys: &mpsc::Receiver<u128>, busy: &mut VecDeque<(u128, u32)>) -> Option<(u128, u32)> {
    if busy.is_empty() {
        return keys.recv().ok().map(|key| (key, 0));
    }
    if let Ok(key) = keys.try_recv() {
        return Some((key, 0));
    }
    std::thread::sleep(TIDY_PAUSE);
    busy.pop_front()
}

fn tidy<S: Slot>(slot: &mut S) {
    if std::panic::catch_unwind(AssertUnwindSafe(|| slot.tidy())).is_err() {
        tracing::error!("tidying a database panicked; its files are closed");
        *slot = S::default();
    }
}

/// The slot. Who has to wait for it gives the thread's other tasks away meanwhile.
fn waited_for<S>(slot: &Mutex<S>) -> MutexGuard<'_, S> {
    match slot.try_lock() {
        Ok(slot) => slot,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => tokio::task::block_in_place(|| locked(slot)),
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Panics of jobs are caught inside; nothing else under these locks can panic half way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
