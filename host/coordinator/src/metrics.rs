//! The host's figures: counts and times that `/metrics` and `/admin/status` tell. Nothing decides by them.
//!
//! Owns the names; `docs/guide/operating.md` explains each, and a story compares the two. What other parts know already
//! (open databases, guests, memory) is read when somebody asks, not counted twice.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// Buckets of a turn, seconds: from 0.1 ms, a tenth of the fastest durable turn, doubling to 1.8 hours, beyond the longest
/// a turn may run (DESIGN §4). A percentile that is read from them is right within a factor of two.
fn turn_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.0001, 2.0, 27)
}

/// Buckets of a commit, seconds: from 0.02 ms, a commit without a disk, doubling to 0.65 s, a disk in trouble.
fn commit_buckets() -> impl Iterator<Item = f64> {
    exponential_buckets(0.000_02, 2.0, 16)
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnOutcome {
    /// Its cut made its work true.
    Completed,
    /// An error cut consumed its message.
    Failed,
    /// It was set aside and runs again, because the host stops or its warm guest was full; or its instance was deleted.
    SetAside,
    /// Its cut could not be made; it runs again.
    NotCut,
}

impl TurnOutcome {
    const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::SetAside, Self::NotCut];

    fn label(self) -> Label {
        let outcome = match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::SetAside => "set_aside",
            Self::NotCut => "not_cut",
        };
        [("outcome", outcome)]
    }
}

/// A FULL transaction of messages.db that somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// The one that accepts a message.
    Accept,
    /// The cut.
    Cut,
}

impl Commit {
    fn label(self) -> Label {
        let kind = match self {
            Self::Accept => "accept",
            Self::Cut => "cut",
        };
        [("kind", kind)]
    }
}

/// The one label of a series that has one.
type Label = [(&'static str, &'static str); 1];

/// What is read when somebody asks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Readings {
    /// Instances with an owner.
    pub active_instances: u64,
    /// Instances in all.
    pub instances: u64,
    /// Slots of open databases.
    pub open_databases: u64,
    /// Guests that live.
    pub guests: u64,
    /// Those of them that are kept between turns.
    pub warm_guests: u64,
    /// Memory and descriptors.
    pub process: podium_kit::process::Usage,
    /// Since the start.
    pub uptime: Duration,
}

/// Gauges that are set from [`Readings`].
#[derive(Debug, Default)]
struct Read {
    active_instances: Gauge,
    instances: Gauge,
    open_databases: Gauge,
    guests: Gauge,
    warm_guests: Gauge,
    memory: Gauge,
    descriptors: Gauge,
    descriptor_limit: Gauge,
    uptime: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// The host's figures since its start.
pub struct Metrics {
    registry: Registry,
    turns_started: Counter,
    warm_turns: Counter,
    turns: Family<Label, Counter>,
    running_turns: Gauge,
    turn_seconds: Histogram,
    commit_seconds: Family<Label, Histogram>,
    clients: Gauge,
    clients_lagged: Counter,
    log_dropped: Counter,
    read: Read,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// An open WebSocket; it is counted until it is dropped.
#[derive(Debug)]
pub struct ClientCount<'a>(&'a Metrics);

impl Drop for ClientCount<'_> {
    fn drop(&mut self) {
        self.0.clients.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            turns_started: Counter::default(),
            warm_turns: Counter::default(),
            turns: Family::default(),
            running_turns: Gauge::default(),
            turn_seconds: Histogram::new(turn_buckets()),
            commit_seconds: Family::new_with_constructor(|| Histogram::new(commit_buckets())),
            clients: Gauge::default(),
            clients_lagged: Counter::default(),
            log_dropped: Counter::default(),
            read: Read::default(),
        };
        // All labels are there from the start: a rate over a series that appears later misses its first step.
        for outcome in TurnOutcome::ALL {
            drop(metrics.turns.get_or_create(&outcome.label()));
        }
        for kind in [Commit::Accept, Commit::Cut] {
            drop(metrics.commit_seconds.get_or_create(&kind.label()));
        }
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("podium_build", "The version of podium", version);
        registry.register("podium_turns_started", "Turns that began", self.turns_started.clone());
        let warm = "Turns that began in a warm guest";
        registry.register("podium_warm_turns", warm, self.warm_turns.clone());
        registry.register("podium_turns_ended", "Turns that ended, by outcome", self.turns.clone());
        registry.register("podium_running_turns", "Turns that run now", self.running_turns.clone());
        let turns = "Time of a turn from its start to its committed cut";
        registry.register("podium_turn_duration_seconds", turns, self.turn_seconds.clone());
        let commits = "Time of a transaction that somebody waits for, by kind";
        registry.register("podium_commit_duration_seconds", commits, self.commit_seconds.clone());
        registry.register("podium_clients", "WebSockets that are open", self.clients.clone());
        let lagged = "Times that a client was too slow and lost its queue";
        registry.register("podium_clients_lagged", lagged, self.clients_lagged.clone());
        let dropped = "Bytes that agents logged and no log kept";
        registry.register("podium_log_dropped_bytes", dropped, self.log_dropped.clone());
        let read = &self.read;
        let active = "Instances in a turn or with a client, or just after";
        registry.register("podium_active_instances", active, read.active_instances.clone());
        registry.register("podium_instances", "Instances in all", read.instances.clone());
        let databases = "Instances whose databases are open";
        registry.register("podium_open_databases", databases, read.open_databases.clone());
        registry.register("podium_guests", "Guests that live now", read.guests.clone());
        let warm = "Guests that are kept between turns";
        registry.register("podium_warm_guests", warm, read.warm_guests.clone());
        registry.register("podium_uptime_seconds", "Time since the host started", read.uptime.clone());
        // The names that every Prometheus client gives these.
        registry.register("process_resident_memory_bytes", "Resident memory", read.memory.clone());
        registry.register("process_open_fds", "Open descriptors", read.descriptors.clone());
        registry.register("process_max_fds", "Most descriptors there may be", read.descriptor_limit.clone());
    }

    /// Everything as OpenMetrics text.
    pub fn text(&self, readings: &Readings) -> Result<String, fmt::Error> {
        let set = |gauge: &Gauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        let read = &self.read;
        set(&read.active_instances, readings.active_instances);
        set(&read.instances, readings.instances);
        set(&read.open_databases, readings.open_databases);
        set(&read.guests, readings.guests);
        set(&read.warm_guests, readings.warm_guests);
        set(&read.memory, readings.process.memory_bytes);
        set(&read.descriptors, readings.process.open_descriptors);
        set(&read.descriptor_limit, readings.process.descriptor_limit);
        read.uptime.set(readings.uptime.as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A turn began.
    pub fn turn_started(&self) {
        self.turns_started.inc();
        self.running_turns.inc();
    }

    /// A turn began in a warm guest.
    pub fn warm_turn(&self) {
        self.warm_turns.inc();
    }

    /// A turn ended, however.
    pub fn turn_ended(&self, outcome: TurnOutcome, took: Duration) {
        self.running_turns.dec();
        self.turns.get_or_create(&outcome.label()).inc();
        self.turn_seconds.observe(took.as_secs_f64());
    }

    /// A transaction was made.
    pub fn committed(&self, kind: Commit, took: Duration) {
        self.commit_seconds.get_or_create(&kind.label()).observe(took.as_secs_f64());
    }

    /// Counts a WebSocket.
    pub fn client(&self) -> ClientCount<'_> {
        self.clients.inc();
        ClientCount(self)
    }

    /// A client was too slow.
    pub fn client_lagged(&self) {
        self.clients_lagged.inc();
    }

    /// Where bytes are counted that a log dropped.
    pub fn log_dropped(&self) -> Counter {
        self.log_dropped.clone()
    }

    /// Turns that run.
    pub fn running_turns(&self) -> u64 {
        u64::try_from(self.running_turns.get()).unwrap_or(0)
    }

    /// Turns that have ended.
    pub fn turns_ended(&self) -> u64 {
        TurnOutcome::ALL.map(|outcome| self.turns.get_or_create(&outcome.label()).get()).iter().sum()
    }

    /// Open WebSockets.
    pub fn clients(&self) -> u64 {
        u64::try_from(self.clients.get()).unwrap_or(0)
    }
}
