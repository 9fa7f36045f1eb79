//! Durable turns a second over many connections, each to its own agent, beside bare SQLite commits.

use std::time::{Duration, Instant};

use super::{CONNECTIONS, DURABLE, LOAD, TURN, each, of, pick};
use crate::floors;
use crate::report::{Bar, Figure, Line, line, ms};
use crate::stats::{Times, per_second};
use crate::storage::Storage;
use crate::systems::{Door, System};
use crate::talk::new_talk;

struct Found {
    per_second: f64,
    turn: Times,
}

pub(super) async fn run(storages: &[Storage]) -> Vec<Line> {
    let mut lines = Vec::new();
    for storage in storages {
        let commits = floors::commits_per_second(storage.folder().path());
        let all = each(&DURABLE, storage, async |running, _| {
            let (turn, took) = turns(&running.door, CONNECTIONS, LOAD).await;
            Ok(Found { per_second: per_second(turn.count(), took), turn })
        })
        .await;
        let rates = pick(&all, |found| found.per_second);
        let bar = if storage.is_real() {
            let bun = of(&rates, System::Bun).map_or(0.0, |rate| 1.3 * rate);
            let workerd = of(&rates, System::Workerd).map_or(0.0, |rate| 1.5 * rate);
            4000.0_f64.max(bun).max(workerd)
        } else {
            6000.0
        };
        let row = line(&format!("durable turns a second, c={CONNECTIONS}"), storage.name, &rates);
        let row = row.bar(Bar::AtLeast(bar)).beside("bare SQLite commits", Figure::Value(commits));
        let why = "bar: the highest of 4,000, 1.3 × Bun and 1.5 × workerd";
        lines.push(if storage.is_real() { row.note(why) } else { row });
        let p50 = pick(&all, |found| ms(found.turn.p50()));
        lines.push(line("one of those turns, p50 ms", storage.name, &p50));
        let p99 = pick(&all, |found| ms(found.turn.p99()));
        lines.push(line("one of those turns, p99 ms", storage.name, &p99));
    }
    lines
}

/// Turns over this many connections for this long; answers their times and how long it took.
pub(super) async fn turns(door: &Door, connections: usize, load: Duration) -> (Times, Duration) {
    let mut talks = Vec::new();
    for _ in 0..connections {
        let mut talk = new_talk(door).await;
        talk.turn(TURN).await;
        talks.push(talk);
    }
    let start = Instant::now();
    let tasks: Vec<_> = talks
        .into_iter()
        .map(|mut talk| {
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < load {
                    times.push(talk.turn(TURN).await.end);
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a connection ends"));
    }
    (Times::new(times), start.elapsed())
}
