//! Where the host's processor time goes under the three loads whose bars are tight, sampled by perf.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{CONNECTIONS, Outcome, TURN, throughput};
use crate::report::number;
use crate::storage::Storage;
use crate::systems::{Running, System};
use crate::talk::{Talk, new_talk};
use crate::tools;

/// How long each load is sampled.
const SAMPLED: Duration = Duration::from_secs(5);

/// Symbols that are shown.
const SHOWN: usize = 14;

pub(super) async fn run() -> Outcome {
    let mut details =
        "## Profile\n\nThe host alone, free fsync, `perf record -e cpu-clock -F 999`; share of its samples.\n\n"
            .to_owned();
    if let Err(why) = tools::perf() {
        writeln!(details, "None: {why}.\n").expect("a string takes everything");
        return Outcome { lines: Vec::new(), details };
    }
    for name in ["create", "c=1", "c=32"] {
        let folder = Storage::free().folder();
        let running = System::Podium.start(folder.path()).await;
        new_talk(&running.door).await.turn(TURN).await;
        let mut perf = Command::new(tools::perf().expect("perf"));
        let data = folder.path().join("perf.data");
        perf.args(["record", "-q", "-e", "cpu-clock", "-F", "999", "-o"]).arg(&data);
        perf.args(["-p", &running.pid().to_string(), "--", "sleep", &SAMPLED.as_secs().to_string()]);
        let mut perf = perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("perf starts");
        let turns = load(&running, name).await;
        let _ = perf.wait();
        let said = [threads(&data), symbols(&data)].join("\n");
        writeln!(details, "{name}, {} turns a second:\n\n{said}", number(turns)).expect("a string takes everything");
    }
    Outcome { lines: Vec::new(), details }
}

/// Turns a second.
async fn load(running: &Running, name: &str) -> f64 {
    // perf needs a moment to begin; the load lasts a little longer than it.
    let lasts = SAMPLED + Duration::from_millis(500);
    if name == "c=32" {
        let (times, took) = throughput::turns(&running.door, CONNECTIONS, lasts).await;
        return crate::stats::per_second(times.count(), took);
    }
    let start = Instant::now();
    let mut turns = 0;
    let mut warm = new_talk(&running.door).await;
    while start.elapsed() < lasts {
        if name == "create" {
            let agent = running.door.create().await.unwrap_or_else(|why| panic!("{why}"));
            let mut talk = Talk::open(&running.door, &agent).await.unwrap_or_else(|why| panic!("{why}"));
            talk.turn(TURN).await;
        } else {
            warm.turn(TURN).await;
        }
        turns += 1;
    }
    crate::stats::per_second(turns, start.elapsed())
}

fn report(data: &std::path::Path, sort: &str) -> Vec<(f64, String)> {
    let output = Command::new(tools::perf().expect("perf"))
        .args(["report", "--stdio", "-q", "--no-children", "--percent-limit", "0", "--sort", sort, "-i"])
        .arg(data)
        .stderr(Stdio::null())
        .output()
        .expect("perf starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter_map(share).collect()
}

/// `  12.34%  name` as perf prints it.
fn share(line: &str) -> Option<(f64, String)> {
    let (share, name) = line.trim().split_once('%')?;
    Some((share.parse().ok()?, name.trim().to_owned()))
}

/// Samples by kind of thread.
fn threads(data: &std::path::Path) -> String {
    let mut kinds: BTreeMap<String, f64> = BTreeMap::new();
    for (share, name) in report(data, "comm") {
        // Threads of one pool differ by a number.
        let kind = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
        *kinds.entry(kind).or_default() += share;
    }
    let mut kinds: Vec<_> = kinds.into_iter().filter(|(_, share)| *share >= 1.0).collect();
    kinds.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shares: Vec<String> = kinds.into_iter().map(|(kind, share)| format!("{kind} {share:.0} %")).collect();
    format!("Threads: {}.\n", shares.join(", "))
}

/// The symbols that took most.
fn symbols(data: &std::path::Path) -> String {
    let mut page = "| share | symbol |\n|---|---|\n".to_owned();
    let mut shown = report(data, "symbol");
    shown.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (share, symbol) in shown.into_iter().take(SHOWN) {
        let symbol: String = symbol.replace('|', "/").chars().take(110).collect();
        writeln!(page, "| {share:.1} % | `{symbol}` |").expect("a string takes everything");
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn perf_s_lines_are_read() {
        assert_eq!(
            super::share("  12.34%  [k] finish_task_switch"),
            Some((12.34, "[k] finish_task_switch".to_owned()))
        );
        assert_eq!(super::share("# Samples"), None);
    }
}
