//! Wake of a resting agent: connect, one turn, with more and more agents on disk and nothing of them in memory.
//!
//! Every agent that is woken has had a turn before; the others were made and never used. The system is restarted before
//! each measurement, so that all rest.

use std::path::Path;
use std::time::Instant;

use super::TURN;
use crate::memory;
use crate::report::{Bar, Figure, Line, count as count_of, ms};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::{Agent, Ask, Running, System};
use crate::talk::{Talk, make_agents, new_talk};

/// Agents on disk.
const AGENTS: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// The same where an fsync takes its time: making 100,000 agents on a disk says nothing more about a wake.
const AGENTS_ON_A_DISK: [usize; 2] = [100, 1_000];

/// Agents that are woken, spread over all that there are.
const WOKEN: usize = 300;

/// workerd holds every agent that it made and ends at 20,000 descriptors: it is started again after so many.
const WORKERD_AT_ONCE: usize = 2_000;

/// Fewer agents than this cost less than two starts of one process differ by.
const MANY: usize = 10_000;

struct Found {
    first: Times,
    end: Times,
    /// Memory of the restarted system, bytes, when one agent had had a turn.
    used: u64,
}

/// What is said of it, its value, its bar.
type Cell = (&'static str, fn(&Found) -> f64, Bar);

pub(super) async fn run(storages: &[Storage]) -> Vec<Line> {
    let mut lines = Vec::new();
    for storage in storages {
        lines.extend(on(storage).await);
    }
    lines
}

async fn on(storage: &Storage) -> Vec<Line> {
    let most = super::agents_max();
    let agents = if storage.is_real() { AGENTS_ON_A_DISK.as_slice() } else { &AGENTS };
    let counts: Vec<usize> = agents.iter().copied().filter(|count| *count <= most).collect();
    let podium = steps(System::Podium, storage, &counts).await;
    let fewer: Vec<usize> = counts.iter().copied().filter(|count| *count <= 10_000).collect();
    let workerd = steps(System::Workerd, storage, &fewer).await;
    // The bars are of a wake; on a disk the turn behind it waits for its fsyncs, which others' rows measure.
    let bar_of = |bar| if storage.is_real() { Bar::None } else { bar };
    let mut lines = Vec::new();
    for (place, count) in counts.iter().copied().enumerate() {
        let (podium, peer) = (podium.get(place), workerd.get(place));
        let figure = |found: Option<&Result<Found, String>>, value: fn(&Found) -> f64| match found {
            Some(Ok(found)) => Figure::Value(value(found)),
            Some(Err(why)) => Figure::Missing(why.clone()),
            // Few systems hold as many: it is not tried where one in 25 of them is too many.
            None => Figure::Missing("not tried".to_owned()),
        };
        let name = count_of(count);
        let cells: [Cell; 3] = [
            ("connect to the first piece of its reply, p50 ms", |found| ms(found.first.p50()), Bar::AtMost(1.0)),
            ("the same, p99 ms", |found| ms(found.first.p99()), Bar::AtMost(5.0)),
            ("connect to the durable end of its turn, p50 ms", |found| ms(found.end.p50()), Bar::None),
        ];
        for (what, value, bar) in cells {
            let line = Line::new(format!("wake among {name} agents: {what}"), storage.name, figure(podium, value));
            lines.push(line.bar(bar_of(bar)).beside(System::Workerd.name(), figure(peer, value)));
        }
    }
    // Memory is the same wherever the files lie.
    if !storage.is_real() {
        lines.extend(resting(&counts, &podium, &workerd));
    }
    lines
}

/// What an agent at rest costs in memory: a system with many beside the same with few.
fn resting(counts: &[usize], podium: &[Result<Found, String>], workerd: &[Result<Found, String>]) -> Vec<Line> {
    let cost = |all: &[Result<Found, String>], place: usize| {
        let (Some(Ok(few)), Some(Ok(many))) = (all.first(), all.get(place)) else {
            return Figure::Missing("not tried".to_owned());
        };
        Figure::Value((many.used as f64 - few.used as f64) / 1024.0 / (counts[place] - counts[0]) as f64)
    };
    let line = |(place, count): (usize, &usize)| {
        let what = format!("memory an agent at rest, {} agents, KiB", count_of(*count));
        // The bar is 0: less than 100 bytes is no figure of an agent but the noise of a process.
        let line = Line::new(what, "free", cost(podium, place)).bar(Bar::AtMost(0.1));
        line.beside(System::Workerd.name(), cost(workerd, place)).note("bar: 0, told apart from noise")
    };
    counts.iter().enumerate().filter(|(_, count)| **count >= MANY).map(line).collect()
}

async fn steps(system: System, storage: &Storage, counts: &[usize]) -> Vec<Result<Found, String>> {
    if let Some(why) = system.missing() {
        return counts.iter().map(|_| Err(why.clone())).collect();
    }
    let folder = storage.folder();
    let mut running = system.start(folder.path()).await;
    let mut agents = Vec::new();
    let mut all = Vec::new();
    for count in counts {
        let found;
        (running, found) = step(running, folder.path(), &mut agents, *count).await;
        all.push(found);
    }
    all
}

async fn step(
    mut running: Running,
    folder: &Path,
    agents: &mut Vec<Agent>,
    count: usize,
) -> (Running, Result<Found, String>) {
    while agents.len() < count {
        let missing = count - agents.len();
        let some = if running.system() == System::Workerd { missing.min(WORKERD_AT_ONCE) } else { missing };
        match make_agents(&running.door, some).await {
            Ok(made) => agents.extend(made),
            Err(why) => return (running, Err(format!("{} agents were made: {why}", agents.len()))),
        }
        if agents.len() < count {
            running = running.restart(folder).await;
        }
    }
    let stride = (agents.len() / WOKEN).max(1);
    let sample: Vec<Agent> = agents.iter().step_by(stride).take(WOKEN).cloned().collect();
    for agent in &sample {
        if let Err(why) = turn(&running, agent, Ask::stream(1)).await {
            return (running, Err(why));
        }
    }
    running = running.restart(folder).await;
    // What a process makes once is nobody's wake.
    new_talk(&running.door).await.turn(TURN).await;
    let used = memory::pss(running.pid());
    let (mut first, mut end) = (Vec::new(), Vec::new());
    for agent in &sample {
        match turn(&running, agent, TURN).await {
            Ok((piece, over)) => {
                first.push(piece);
                end.push(over);
            }
            Err(why) => return (running, Err(why)),
        }
    }
    (running, Ok(Found { first: Times::new(first), end: Times::new(end), used }))
}

async fn turn(
    running: &Running,
    agent: &Agent,
    ask: Ask,
) -> Result<(std::time::Duration, std::time::Duration), String> {
    let start = Instant::now();
    let mut talk = Talk::open(&running.door, agent).await?;
    let seen = talk.turn_from(ask, start).await?;
    Ok((seen.first, seen.end))
}
