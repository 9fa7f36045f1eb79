//! A new agent to its first reply: brand-new agents, one after another, everything included that a client waits for.

use std::time::Instant;

use super::{DURABLE, TURN, each, pick};
use crate::report::{Bar, Line, line, ms};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::Running;
use crate::talk::Talk;

/// Agents that are timed.
const AGENTS: usize = 150;

struct Found {
    first: Times,
    end: Times,
}

pub(super) async fn run(storages: &[Storage]) -> Vec<Line> {
    let mut lines = Vec::new();
    for storage in storages {
        let all = each(&DURABLE, storage, async |running, _| load(&running).await).await;
        let bar = if storage.is_real() { Bar::None } else { Bar::AtMost(0.7) };
        let first = pick(&all, |found| ms(found.first.p50()));
        lines.push(line("new agent to the first piece of its reply, p50 ms", storage.name, &first).bar(bar));
        let end = pick(&all, |found| ms(found.end.p50()));
        lines.push(line("new agent to the durable end of its first turn, p50 ms", storage.name, &end));
    }
    lines
}

async fn load(running: &Running) -> Result<Found, String> {
    let (mut first, mut end) = (Vec::new(), Vec::new());
    // The first agents pay for what is made once: compiled code, caches. They are not counted for anybody.
    for number in 0..AGENTS + 3 {
        let start = Instant::now();
        let agent = running.door.create().await?;
        let mut talk = Talk::open(&running.door, &agent).await?;
        let seen = talk.turn_from(TURN, start).await?;
        if number >= 3 {
            first.push(seen.first);
            end.push(seen.end);
        }
    }
    Ok(Found { first: Times::new(first), end: Times::new(end) })
}
