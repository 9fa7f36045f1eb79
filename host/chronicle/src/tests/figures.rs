//! How long things take, printed; nothing is asserted. Not run by itself:
//! `cargo test --release -p podium-chronicle figures -- --ignored --nocapture`, with a quiet machine for figures that count.

use std::time::Duration;

use podium_kit::Clock;

use super::{Bench, SCAN, path};

/// A workspace of this many files, six to a folder, of the size of sources.
fn filled(files: u32) -> (Bench, Duration) {
    let mut bench = Bench::new();
    bench.clock = Clock::system();
    bench.chronicle = None;
    for n in 0..files {
        let folder = bench.work().join(format!("d{}/e{}", n / 600, n / 6 % 100));
        std::fs::create_dir_all(&folder).unwrap();
        let text: String = (0..200 + n % 97).map(|line| format!("line {} of {n}\n", line * (n % 13 + 1))).collect();
        std::fs::write(folder.join(format!("f{n}.rs")), text).unwrap();
    }
    std::fs::remove_dir_all(bench.metadata()).unwrap();
    bench.open();
    let start = bench.clock.monotonic();
    bench.cut_with(SCAN);
    let first = bench.clock.monotonic() - start;
    (bench, first)
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
    println!("{what}: min {:?}, p50 {:?}, p90 {:?}, max {:?} ({} runs)", at(0), at(50), at(90), at(100), times.len());
}

#[test]
#[ignore = "figures, not a check"]
fn of_ten_thousand_and_a_hundred_thousand_files() {
    for files in sizes() {
        let (mut bench, first) = filled(files);
        println!("{files} files: first snapshot {first:?}, {:?}", bench.get().stats().unwrap());
        let clock = bench.clock.clone();
        let timed = |work: &mut dyn FnMut()| {
            let start = clock.monotonic();
            work();
            clock.monotonic() - start
        };
        let (mut snapshots, mut commits, mut scans, mut clean, mut diffs, mut restores) =
            (vec![], vec![], vec![], vec![], vec![], vec![]);
        let mut roots = Vec::new();
        for round in 0..60_u32 {
            for n in 0..10 {
                let n = (n * 977 + round * 31) % files;
                let name = format!("d{}/e{}/f{n}.rs", n / 600, n / 6 % 100);
                let mut text = std::fs::read(bench.work().join(&name)).unwrap();
                text.extend_from_slice(format!("round {round}\n").as_bytes());
                std::fs::write(bench.work().join(&name), text).unwrap();
                bench.dirty.touched(&path(&name));
            }
            let cut = bench.named.cut + 1;
            let mut prepared = None;
            let request = if round % 4 == 3 { SCAN } else { super::TURN };
            let chronicle = bench.chronicle.as_mut().unwrap();
            let time = timed(&mut || prepared = Some(chronicle.prepare(request).unwrap()));
            if round % 4 == 3 {
                scans.push(time);
            } else {
                snapshots.push(time);
            }
            let prepared = prepared.unwrap();
            bench.name(&prepared);
            let chronicle = bench.chronicle.as_mut().unwrap();
            commits.push(timed(&mut || chronicle.commit(prepared.version, cut).unwrap()));
            clean.push(timed(&mut || drop(chronicle.prepare(super::TURN).unwrap())));
            if let Some(before) = roots.last() {
                diffs.push(timed(&mut || drop(chronicle.diff(*before, prepared.root).unwrap())));
            }
            roots.push(prepared.root);
        }
        for _ in 0..20 {
            let before = bench.named.version - 1;
            let chronicle = bench.chronicle.as_mut().unwrap();
            restores.push(timed(&mut || drop(chronicle.restore(before, None).unwrap())));
            bench.cut();
        }
        print("  snapshot of 10 files", snapshots);
        print("  commit", commits);
        print("  snapshot of 10 files with a scan", scans);
        print("  snapshot of nothing", clean);
        print("  diff of 10 files", diffs);
        print("  restore of 10 files", restores);
        let mut opens = vec![];
        for _ in 0..5 {
            let start = clock.monotonic();
            bench.open();
            opens.push(clock.monotonic() - start);
        }
        print("  opening after a kill", opens);
        let start = clock.monotonic();
        let keep = crate::Retention { all_ms: 0, newest: 40, hourly_ms: 0, daily_ms: 0, recovered: 0 };
        let collected = bench.get().collect(&keep, u64::MAX).unwrap();
        println!("  collection {:?}: {collected:?}", clock.monotonic() - start);
    }
}

/// `FIGURES_FILES=10000` measures one size.
fn sizes() -> Vec<u32> {
    let asked = std::env::var("FIGURES_FILES").ok().and_then(|files| files.parse().ok());
    asked.map_or_else(|| vec![10_000, 100_000], |files| vec![files])
}
