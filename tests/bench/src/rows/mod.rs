//! The rows of the table, a file each: a load, and its lines beside their bars.

mod chronicle;
mod chunks;
mod crash;
mod create;
mod density;
mod disk;
mod durable;
mod files;
mod fork;
mod mount;
mod neighbour;
mod profile;
mod recovery;
mod runtime;
mod throughput;
mod wake;
mod warm;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;

use crate::report::Line;
use crate::storage::Storage;
use crate::systems::{Ask, Running, System};

/// Connections of the throughput measurements.
pub const CONNECTIONS: usize = 32;

/// How long a load lasts.
pub const LOAD: Duration = Duration::from_secs(5);

/// Pieces of text that a turn streams, each its own frame.
pub const PIECES: u32 = 20;

/// The turn that is compared.
pub const TURN: Ask = Ask::stream(PIECES);

/// Systems that run durable turns.
const DURABLE: [System; 4] = [System::Podium, System::Bun, System::Cpython, System::Workerd];

/// What a row found.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Its lines of the table.
    pub lines: Vec<Line>,
    /// What else the page says, Markdown.
    pub details: String,
}

impl From<Vec<Line>> for Outcome {
    fn from(lines: Vec<Line>) -> Self {
        Self { lines, details: String::new() }
    }
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// New agent to first reply.
    Create,
    /// One warm connection.
    Warm,
    /// Turns a second.
    Throughput,
    /// Pieces of text a second.
    Chunks,
    /// Wake of a resting agent.
    Wake,
    /// The runtime's part of a turn.
    Runtime,
    /// Agents that wait in a turn, their memory, and their memory at rest.
    Density,
    /// File calls of a guest.
    Files,
    /// Disk of an unused agent.
    Disk,
    /// Acknowledged and lost.
    Crash,
    /// Recovery after a crash.
    Recovery,
    /// Back to a wait.
    Durable,
    /// A neighbour of guests that mean harm.
    Neighbour,
    /// A mounted workspace beside its folder.
    Mount,
    /// The versioned workspace.
    Chronicle,
    /// Fork and rewind with a large workspace.
    Fork,
    /// Where processor time goes.
    Profile,
}

impl Row {
    /// In the order of the table.
    pub const ALL: [Self; 17] = [
        Self::Create,
        Self::Warm,
        Self::Throughput,
        Self::Chunks,
        Self::Wake,
        Self::Runtime,
        Self::Density,
        Self::Files,
        Self::Disk,
        Self::Crash,
        Self::Recovery,
        Self::Durable,
        Self::Neighbour,
        Self::Mount,
        Self::Chronicle,
        Self::Fork,
        Self::Profile,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Warm => "warm",
            Self::Throughput => "throughput",
            Self::Chunks => "chunks",
            Self::Wake => "wake",
            Self::Runtime => "runtime",
            Self::Density => "density",
            Self::Files => "files",
            Self::Disk => "disk",
            Self::Crash => "crash",
            Self::Recovery => "recovery",
            Self::Durable => "durable",
            Self::Neighbour => "neighbour",
            Self::Mount => "mount",
            Self::Chronicle => "chronicle",
            Self::Fork => "fork",
            Self::Profile => "profile",
        }
    }

    /// Measures it on these storages, where it makes a difference.
    pub async fn run(self, storages: &[Storage]) -> Outcome {
        match self {
            Self::Create => create::run(storages).await.into(),
            Self::Warm => warm::run(storages).await.into(),
            Self::Throughput => throughput::run(storages).await.into(),
            Self::Chunks => chunks::run().await.into(),
            Self::Wake => wake::run(storages).await.into(),
            Self::Runtime => runtime::run().await.into(),
            Self::Density => density::run().await.into(),
            Self::Files => files::run(storages).await.into(),
            Self::Disk => disk::run().await.into(),
            Self::Crash => crash::run().await.into(),
            Self::Recovery => recovery::run().await.into(),
            Self::Durable => durable::run().await.into(),
            Self::Neighbour => neighbour::run().await.into(),
            Self::Mount => mount::run().await.into(),
            Self::Chronicle => chronicle::run().into(),
            Self::Fork => fork::run().await.into(),
            Self::Profile => profile::run().await,
        }
    }
}

/// What a panic said.
pub fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it failed").chars().take(300).collect()
}

/// Most agents that a row makes: 100,000, or `PODIUM_BENCH_AGENTS_MAX`.
fn agents_max() -> usize {
    std::env::var("PODIUM_BENCH_AGENTS_MAX").ok().and_then(|most| most.parse().ok()).unwrap_or(100_000)
}

/// Starts each system over a folder of its own and puts the load on it. One that is missing or fails says so in its place.
async fn each<T>(
    systems: &[System],
    storage: &Storage,
    load: impl AsyncFn(Running, &Path) -> Result<T, String>,
) -> Vec<(System, Result<T, String>)> {
    let mut all = Vec::new();
    for system in systems {
        all.push((*system, one(*system, storage, &load).await));
    }
    all
}

async fn one<T>(
    system: System,
    storage: &Storage,
    load: impl AsyncFn(Running, &Path) -> Result<T, String>,
) -> Result<T, String> {
    if let Some(why) = system.missing() {
        return Err(why);
    }
    let folder = storage.folder();
    let run = async { load(system.start(folder.path()).await, folder.path()).await };
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| Err(said(&*panic)))
}

/// One value of each system's measurement.
fn pick<T>(all: &[(System, Result<T, String>)], value: impl Fn(&T) -> f64) -> Vec<(System, Result<f64, String>)> {
    all.iter().map(|(system, found)| (*system, found.as_ref().map(&value).map_err(Clone::clone))).collect()
}

/// A peer's value.
fn of(all: &[(System, Result<f64, String>)], wanted: System) -> Option<f64> {
    all.iter().find(|(system, _)| *system == wanted).and_then(|(_, value)| value.as_ref().ok().copied())
}
