//! A mounted workspace beside the folder that it shows, in the same run: what a person's programs pay for the way through the kernel
//! and back.
//!
//! Client and host are kept on one processor, where a call is answered without waking another one, and then set free.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use podium_wire::rest::MountInfo;
use serde_json::json;

use super::one;
use crate::report::{Bar, Figure, Line, number};
use crate::storage::Storage;
use crate::systems::{Door, Running, System};

/// Small files that are made, looked at, read, renamed and removed.
const FILES: usize = 5_000;

/// Bytes of a small file.
const SMALL: usize = 1024;

/// Bytes of the large file.
const LARGE: usize = 128 * 1024 * 1024;

/// Bytes of a large read or write, and of a random one.
const PIECES: [usize; 2] = [1024 * 1024, 4096];

/// Random reads and writes.
const RANDOM: usize = 20_000;

/// How often each load is run; the best counts, as anything else on the machine only makes it worse.
const ROUNDS: usize = 3;

/// A load, its figure's unit, and the share of the folder's own figure or the count that is to be reached.
struct Load {
    what: &'static str,
    unit: &'static str,
    bar: Option<f64>,
    run: fn(&Path) -> std::io::Result<f64>,
}

/// In this order: one leaves what the next one uses.
const LOADS: &[Load] = &[
    Load { what: "create, write 1 KiB, close", unit: "a second", bar: Some(17_000.0), run: create },
    Load { what: "stat", unit: "a second", bar: Some(80_000.0), run: stat },
    Load { what: "open, read 1 KiB, close", unit: "a second", bar: None, run: read },
    Load { what: "list and stat", unit: "entries a second", bar: None, run: list },
    Load { what: "rename", unit: "a second", bar: None, run: rename },
    Load { what: "unlink", unit: "a second", bar: None, run: unlink },
    Load { what: "write 1 MiB after 1 MiB", unit: "MB/s", bar: None, run: write_large },
    Load { what: "read 1 MiB after 1 MiB, again", unit: "MB/s", bar: None, run: read_large },
    Load { what: "write 4 KiB anywhere", unit: "a second", bar: None, run: write_anywhere },
    Load { what: "read 4 KiB anywhere, again", unit: "a second", bar: None, run: read_anywhere },
];

pub(super) async fn run() -> Vec<Line> {
    let storage = Storage::free();
    let found =
        one(System::Podium, &storage, async |running: Running, folder: &Path| measure(&running, folder).await).await;
    match found {
        Ok(lines) => lines,
        Err(why) => vec![Line::new("a mounted workspace", storage.name, Figure::Missing(why))],
    }
}

async fn measure(running: &Running, folder: &Path) -> Result<Vec<Line>, String> {
    let Door::Podium { client, .. } = &running.door else { return Err("only Podium mounts".to_owned()) };
    let agent = running.door.create().await?;
    let answer = client.post_json(&format!("/api/v1/instances/{}/mount", agent.0), &json!({})).await;
    if answer.status != 200 {
        return Err(answer.text());
    }
    let mount = Taken(PathBuf::from(answer.with::<MountInfo>(200).dir));
    let native = folder.join("native");
    fs::create_dir(&native).map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for is_pinned in [true, false] {
        pin(running.pid(), is_pinned)?;
        let found = figures(&mount.0, &native);
        pin(running.pid(), false)?;
        lines.extend(found.map_err(|error| error.to_string())?.into_iter().map(|(load, through, beside)| {
            let place = if is_pinned { "on one processor" } else { "on two" };
            let line =
                Line::new(format!("mount: {}, {}, {place}", load.what, load.unit), "free", Figure::Value(through))
                    .beside("the folder itself", Figure::Value(beside))
                    .note(format!("{} % of the folder's", number(through / beside * 100.0)));
            match load.bar.filter(|_| is_pinned) {
                Some(bar) => line.bar(Bar::AtLeast(bar)),
                None => line,
            }
        }));
    }
    Ok(lines)
}

/// A mount that is taken away before its folder is removed.
struct Taken(PathBuf);

impl Drop for Taken {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

/// Keeps this process and the host on one processor, or sets them free.
fn pin(host: u32, is_pinned: bool) -> Result<(), String> {
    let processors = if is_pinned { "0" } else { "0-1023" };
    for pid in [host, std::process::id()] {
        let output = Command::new("taskset").args(["-a", "-c", "-p", processors, &pid.to_string()]).output();
        let output = output.map_err(|error| format!("taskset: {error}"))?;
        if !output.status.success() {
            return Err(format!("taskset: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }
    Ok(())
}

type Found = Vec<(&'static Load, f64, f64)>;

fn figures(mount: &Path, native: &Path) -> std::io::Result<Found> {
    let mut best = vec![(0.0_f64, 0.0_f64); LOADS.len()];
    for _ in 0..ROUNDS {
        for (load, best) in LOADS.iter().zip(&mut best) {
            best.0 = best.0.max((load.run)(mount)?);
        }
        for (load, best) in LOADS.iter().zip(&mut best) {
            best.1 = best.1.max((load.run)(native)?);
        }
        for folder in [mount, native] {
            fs::remove_file(folder.join("large"))?;
        }
    }
    Ok(LOADS.iter().zip(best).map(|(load, (through, beside))| (load, through, beside)).collect())
}

fn file(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("f{number}"))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn each(count: usize, mut work: impl FnMut(usize) -> std::io::Result<()>) -> std::io::Result<f64> {
    let start = Instant::now();
    for number in 0..count {
        work(number)?;
    }
    Ok(count as f64 / start.elapsed().max(Duration::from_nanos(1)).as_secs_f64())
}

fn create(folder: &Path) -> std::io::Result<f64> {
    let content = [b'x'; SMALL];
    each(FILES, |number| File::create(file(folder, number))?.write_all(&content))
}

fn stat(folder: &Path) -> std::io::Result<f64> {
    each(FILES, |number| fs::metadata(file(folder, number)).map(drop))
}

fn read(folder: &Path) -> std::io::Result<f64> {
    let mut content = [0; SMALL];
    each(FILES, |number| File::open(file(folder, number))?.read_exact(&mut content))
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn list(folder: &Path) -> std::io::Result<f64> {
    let start = Instant::now();
    let mut count = 0_usize;
    for entry in fs::read_dir(folder)? {
        entry?.metadata()?;
        count += 1;
    }
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn rename(folder: &Path) -> std::io::Result<f64> {
    each(FILES, |number| fs::rename(file(folder, number), folder.join(format!("g{number}"))))
}

fn unlink(folder: &Path) -> std::io::Result<f64> {
    each(FILES, |number| fs::remove_file(folder.join(format!("g{number}"))))
}

/// Pieces a second as megabytes a second.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn megabytes(pieces: f64) -> f64 {
    pieces * PIECES[0] as f64 / 1e6
}

fn write_large(folder: &Path) -> std::io::Result<f64> {
    let piece = vec![b'x'; PIECES[0]];
    let mut large = File::create(folder.join("large"))?;
    each(LARGE / PIECES[0], |_| large.write_all(&piece)).map(megabytes)
}

fn read_large(folder: &Path) -> std::io::Result<f64> {
    let mut piece = vec![0; PIECES[0]];
    let mut best = 0.0_f64;
    for _ in 0..2 {
        let mut large = File::open(folder.join("large"))?;
        best = best.max(each(LARGE / PIECES[0], |_| large.read_exact(&mut piece)).map(megabytes)?);
    }
    Ok(best)
}

/// Places all over a file, the same in each run.
fn place(number: usize) -> u64 {
    let pieces = LARGE / PIECES[1];
    (number.wrapping_mul(40_503) % pieces * PIECES[1]) as u64
}

fn write_anywhere(folder: &Path) -> std::io::Result<f64> {
    let piece = [b'y'; PIECES[1]];
    let large = OpenOptions::new().write(true).open(folder.join("large"))?;
    each(RANDOM, |number| large.write_all_at(&piece, place(number)))
}

fn read_anywhere(folder: &Path) -> std::io::Result<f64> {
    let mut piece = [0; PIECES[1]];
    let large = File::open(folder.join("large"))?;
    for number in 0..RANDOM {
        large.read_exact_at(&mut piece, place(number))?;
    }
    each(RANDOM, |number| large.read_exact_at(&mut piece, place(number)))
}
