//! One warm connection: durable turns, one after another, beside the disk's own floor.

use std::time::Duration;

use super::{DURABLE, TURN, each, pick};
use crate::floors::{self, Floors};
use crate::report::{Bar, Figure, Line, line, ms};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::Running;
use crate::talk::new_talk;

/// Turns to warm up, then those that are timed.
const WARM_UP: usize = 200;
const TURNS: usize = 2000;

/// What a turn may cost beyond its two commits.
const BEYOND_COMMITS: Duration = Duration::from_micros(150);

pub(super) async fn run(storages: &[Storage]) -> Vec<Line> {
    let mut lines = Vec::new();
    for storage in storages {
        let Floors { fdatasync, commit } = floors::serial(storage.folder().path());
        let all = each(&DURABLE, storage, async |running, _| Ok(load(&running).await)).await;
        let bar = if storage.is_real() { ms(commit.p50() * 2 + BEYOND_COMMITS) } else { 0.23 };
        let p50 = pick(&all, |times| ms(times.p50()));
        let row = line("warm connection, durable turn, c=1, p50 ms", storage.name, &p50).bar(Bar::AtMost(bar));
        let sync = Figure::Value(ms(fdatasync.p50()));
        lines.push(row.beside("SQLite commit", Figure::Value(ms(commit.p50()))).beside("fdatasync of 4 KiB", sync));
        let p99 = pick(&all, |times| ms(times.p99()));
        lines.push(
            line("the same, p99 ms", storage.name, &p99).beside("SQLite commit", Figure::Value(ms(commit.p99()))),
        );
    }
    lines
}

async fn load(running: &Running) -> Times {
    let mut talk = new_talk(&running.door).await;
    let mut times = Vec::with_capacity(TURNS);
    for number in 0..WARM_UP + TURNS {
        let seen = talk.turn(TURN).await;
        if number >= WARM_UP {
            times.push(seen.end);
        }
    }
    Times::new(times)
}
