//! Disk that an unused agent takes, and how long a disk needs to make one.

use std::time::Instant;

use crate::memory;
use crate::report::{Bar, Figure, Line, ms};
use crate::storage::Storage;
use crate::systems::System;
use crate::talk::make_agents;

/// Agents that are made.
const AGENTS: usize = 1_000;

pub(super) async fn run() -> Vec<Line> {
    let folder = Storage::real().folder();
    let running = System::Podium.start(folder.path()).await;
    let start = Instant::now();
    let what = "disk of an unused agent, KiB";
    if let Err(why) = make_agents(&running.door, AGENTS).await {
        return vec![Line::new(what, "real", Figure::Missing(why))];
    }
    let took = start.elapsed() / u32::try_from(AGENTS).unwrap_or(u32::MAX);
    // Stopped in order: what is left is what a resting agent takes.
    let running = running.restart(folder.path()).await;
    let bytes = memory::disk_bytes(&System::Podium.folder(folder.path()).join("instances"));
    drop(running);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let kib = bytes as f64 / 1024.0 / AGENTS as f64;
    vec![
        Line::new(what, "real", Figure::Value(kib)).bar(Bar::AtMost(40.0)).note("1,000 agents, blocks of the disk"),
        Line::new("agents made one after another by 16 callers: ms each", "real", Figure::Value(ms(took))),
    ]
}
