//! Where the host's processor time goes under the three loads whose bars are tight, sampled by perf.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
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
const SHOWN: usize = 12;

/// What is counted.
const COUNTED: &str = "task-clock,context-switches,page-faults";

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
        let data = folder.path().join("perf.data");
        let counted = folder.path().join("perf.stat");
        let mut sampling = perf(&["record", "-q", "-e", "cpu-clock", "-F", "999"], &data, running.pid());
        let mut counting = perf(&["stat", "-x", ";", "-e", COUNTED], &counted, running.pid());
        let turns = load(&running, name).await;
        let _ = (sampling.wait(), counting.wait());
        let counts = counts(&std::fs::read_to_string(&counted).unwrap_or_default(), turns * SAMPLED.as_secs_f64());
        let said = [counts, threads(&data), groups(&data), symbols(&data)].join("\n");
        writeln!(details, "### {name}, {} turns a second\n\n{said}", number(turns)).expect("a string takes everything");
    }
    Outcome { lines: Vec::new(), details }
}

/// A perf that watches a process for a while and writes there.
fn perf(arguments: &[&str], output: &Path, pid: u32) -> Child {
    let mut perf = Command::new(tools::perf().expect("perf"));
    perf.args(arguments).arg("-o").arg(output);
    perf.args(["-p", &pid.to_string(), "--", "sleep", &SAMPLED.as_secs().to_string()]);
    perf.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("perf starts")
}

/// What one turn cost: these do not depend on how busy the machine is.
fn counts(said: &str, turns: f64) -> String {
    let count = |event: &str| {
        let line = said.lines().find(|line| line.split(';').nth(2) == Some(event))?;
        line.split(';').next()?.parse::<f64>().ok()
    };
    let a_turn = |event: &str, what: &str, scale: f64| {
        count(event).map_or_else(String::new, |count| format!(" {} {what},", number(count * scale / turns)))
    };
    // perf counts processor time in milliseconds.
    let said = [
        a_turn("task-clock", "us of processor time", 1e3),
        a_turn("context-switches", "context switches", 1.0),
        a_turn("page-faults", "page faults", 1.0),
    ];
    format!("A turn:{}.\n", said.concat().trim_end_matches(','))
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

fn report(data: &Path, sort: &str) -> Vec<(f64, String)> {
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
fn threads(data: &Path) -> String {
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

/// What part of the program a symbol belongs to.
fn group(symbol: &str) -> &'static str {
    let name = symbol.trim_start_matches("[.]").trim();
    let has = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if symbol.starts_with("[k]") {
        "kernel"
    } else if has(&["mi_", "operator new", "operator delete", "malloc"]) {
        "allocator"
    } else if has(&["wasmtime", "cranelift", "pulley", "wasm"]) {
        "wasmtime"
    } else if has(&["serde"]) {
        "JSON"
    } else if has(&["tokio", "hyper", "axum", "tower", "tungstenite", "futures", "reqwest", "h2::", "http"]) {
        "tokio, HTTP, WebSocket"
    } else if has(&["podium"]) {
        "podium"
    } else if has(&["mem", "str", "pthread", "syscall", "clock"]) && !name.contains("::") {
        "libc"
    } else if name.contains("::") || name.contains('<') {
        "other Rust"
    } else if name.starts_with("0x") {
        "guests"
    } else {
        "SQLite"
    }
}

/// Samples by part of the program.
fn groups(data: &Path) -> String {
    let mut groups: BTreeMap<&'static str, f64> = BTreeMap::new();
    for (share, symbol) in report(data, "symbol") {
        *groups.entry(group(&symbol)).or_default() += share;
    }
    let mut groups: Vec<_> = groups.into_iter().filter(|(_, share)| *share >= 0.5).collect();
    groups.sort_by(|a, b| b.1.total_cmp(&a.1));
    let shares: Vec<String> = groups.into_iter().map(|(group, share)| format!("{group} {share:.0} %")).collect();
    format!("Parts: {}.\n", shares.join(", "))
}

/// The symbols that took most.
fn symbols(data: &Path) -> String {
    let mut page = "| share | symbol |\n|---|---|\n".to_owned();
    let mut shown = report(data, "symbol");
    shown.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (share, symbol) in shown.into_iter().take(SHOWN) {
        let symbol: String = symbol.replace('|', "/").chars().take(100).collect();
        writeln!(page, "| {share:.1} % | `{symbol}` |").expect("a string takes everything");
    }
    page
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_turn_s_costs_are_shares_of_the_counts() {
        let said = "# started\n\n5000.00;msec;task-clock;1;100.00\n40000;;context-switches;1;100.00\n";
        assert_eq!(super::counts(said, 10_000.0), "A turn: 500 us of processor time, 4.00 context switches.\n");
    }

    #[test]
    fn symbols_have_their_parts() {
        let cases = [
            ("[k] do_syscall_64", "kernel"),
            ("[.] _mi_page_malloc_zero", "allocator"),
            ("[.] sqlite3VdbeExec", "SQLite"),
            ("[.] <wasmtime::runtime::store::StoreOpaque>::gc", "wasmtime"),
            ("[.] podium_store::commit::cut", "podium"),
            ("[.] __memmove_avx_unaligned_erms", "libc"),
        ];
        for (symbol, part) in cases {
            assert_eq!(super::group(symbol), part, "{symbol}");
        }
    }

    #[test]
    fn perf_s_lines_are_read() {
        assert_eq!(
            super::share("  12.34%  [k] finish_task_switch"),
            Some((12.34, "[k] finish_task_switch".to_owned()))
        );
        assert_eq!(super::share("# Samples"), None);
    }
}
