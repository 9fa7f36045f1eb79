//! Fork and rewind of an agent with a gigabyte of files: the commands, what they take of the disk, and what the first use of the
//! fork's files takes.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::memory;
use crate::report::{Bar, Figure, Line, ms, number};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::{Door, System};

/// Files of the workspace, and bytes of each: a gigabyte, less what the limit of a workspace leaves.
const FILES: u32 = 60;
const FILE_BYTES: usize = 16 << 20;
/// Forks and rewinds.
const ROUNDS: usize = 20;

/// What was found on one storage.
struct Found {
    forks: Times,
    fork_bytes: u64,
    rewinds: Times,
    first_use: Duration,
    used_bytes: u64,
}

pub(super) async fn run() -> Vec<Line> {
    let mut lines = Vec::new();
    for storage in [Storage::free(), Storage::real()] {
        let folder = storage.folder();
        let what = "fork of a workspace of 1 GB, p50 ms";
        let found = match measure(folder.path()).await {
            Ok(found) => found,
            Err(why) => {
                lines.push(Line::new(what, storage.name, Figure::Missing(why)).bar(Bar::AtMost(10.0)));
                continue;
            }
        };
        let value = |time: Duration| Figure::Value(ms(time));
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let kib = |bytes: u64| bytes as f64 / 1024.0;
        let note =
            format!("{} KiB of disk each, p99 {} ms", number(kib(found.fork_bytes)), number(ms(found.forks.p99())));
        lines.push(Line::new(what, storage.name, value(found.forks.p50())).bar(Bar::AtMost(10.0)).note(note));
        lines.push(
            Line::new("rewind of a workspace of 1 GB, p50 ms", storage.name, value(found.rewinds.p50()))
                .bar(Bar::AtMost(10.0))
                .note(format!("a small file differs; p99 {} ms", number(ms(found.rewinds.p99())))),
        );
        let note = format!("{} MiB of disk, the files themselves", number(kib(found.used_bytes) / 1024.0));
        lines
            .push(Line::new("first use of a file in such a fork, ms", storage.name, value(found.first_use)).note(note));
    }
    lines
}

async fn measure(folder: &Path) -> Result<Found, String> {
    let running = System::Podium.start(folder).await;
    let Door::Podium { client, .. } = &running.door else { return Err("not the host".to_owned()) };
    let agent = running.door.create().await?.0;
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for n in 0..FILES {
        // Nothing packs it, so that a gigabyte is one.
        let mut bytes = Vec::with_capacity(FILE_BYTES);
        while bytes.len() < FILE_BYTES {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        put(client, &agent, &format!("f{n}"), bytes).await?;
    }
    let before = cut(client, &agent).await;
    put(client, &agent, "small", b"one".to_vec()).await?;
    let after = cut(client, &agent).await;
    let instances = System::Podium.folder(folder).join("instances");
    let bytes_before = memory::disk_bytes(&instances);
    let (mut forks, mut last) = (Vec::new(), String::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let answer = client.post_json(&format!("/agent/{agent}/fork"), &json!({})).await;
        forks.push(start.elapsed());
        if answer.status != 201 {
            return Err(answer.text());
        }
        last = answer.json()["instance_id"].as_str().unwrap_or_default().to_owned();
    }
    let bytes_after = memory::disk_bytes(&instances);
    let mut rewinds = Vec::new();
    for round in 0..ROUNDS {
        let to = if round % 2 == 0 { before } else { after };
        let start = Instant::now();
        let answer = client.post_json(&format!("/agent/{agent}/rewind"), &json!({ "to": to })).await;
        rewinds.push(start.elapsed());
        if answer.status != 200 {
            return Err(answer.text());
        }
    }
    let start = Instant::now();
    let answer = client.get(&format!("/agent/{last}/files/small")).await;
    let first_use = start.elapsed();
    if answer.text() != "one" {
        return Err(answer.text());
    }
    let used = memory::disk_bytes(&instances.join(&last).join("chronicle/work"));
    let fork_bytes = bytes_after.saturating_sub(bytes_before) / u64::try_from(ROUNDS).unwrap_or(1);
    Ok(Found { forks: Times::new(forks), fork_bytes, rewinds: Times::new(rewinds), first_use, used_bytes: used })
}

async fn put(client: &podium_it::Client, agent: &str, path: &str, bytes: Vec<u8>) -> Result<(), String> {
    let request = client.request(reqwest::Method::PUT, &format!("/agent/{agent}/files/{path}")).body(bytes);
    let answer = client.send(request).await;
    if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
}

async fn cut(client: &podium_it::Client, agent: &str) -> u64 {
    let info: Value = client.get(&format!("/agent/{agent}/info")).await.json();
    info["cut"].as_u64().unwrap_or(0)
}
