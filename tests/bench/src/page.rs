//! The page: rows are run one after another, and what they found becomes docs/benchmarks.md.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures_util::FutureExt;

use crate::report::{self, Figure, Line};
use crate::rows::{CONNECTIONS, Outcome, PIECES, Row};
use crate::storage::Storage;
use crate::{machine, systems};

/// What is kept by hand beside the figures: where bars are missed, why, and what was tried.
const NOTES: &str = "tests/bench/notes.md";

/// Runs these rows and answers the page.
pub async fn measure(rows: &[Row], only: Option<&str>) -> String {
    let begun = Instant::now();
    let load = machine::load();
    let storages: Vec<Storage> =
        Storage::both().into_iter().filter(|storage| only.is_none_or(|only| storage.name == only)).collect();
    let component_kib = systems::component().len() / 1024;
    let mut all = Outcome::default();
    for row in rows {
        let start = Instant::now();
        eprintln!("{}…", row.name());
        // A row that cannot go on is said in the table; the others are still worth having.
        let outcome = AssertUnwindSafe(row.run(&storages)).catch_unwind().await;
        let Outcome { lines, details } = outcome.unwrap_or_else(|panic| {
            let line = Line::new(row.name(), "", Figure::Missing(crate::rows::said(&*panic)));
            Outcome { lines: vec![line], details: String::new() }
        });
        eprint!("{}", report::table(&lines).lines().skip(2).map(|line| format!("  {line}\n")).collect::<String>());
        eprintln!("  {:.0} s", start.elapsed().as_secs_f64());
        all.lines.extend(lines);
        all.details.push_str(&details);
    }
    let mut page = head(&load, component_kib);
    write!(page, "## Figures\n\n{}\n", report::table(&all.lines)).expect("a string takes everything");
    write!(page, "## Missed\n\n{}\n", report::missed(&all.lines)).expect("a string takes everything");
    page.push_str(&all.details);
    page.push_str(&std::fs::read_to_string(podium_it::root().join(NOTES)).unwrap_or_default());
    write!(page, "\nMeasured in {:.0} s; load at the end: {}.\n", begun.elapsed().as_secs_f64(), machine::load())
        .expect("a string takes everything");
    page
}

fn head(load: &str, component_kib: usize) -> String {
    format!(
        "# Benchmarks\n\n\
         Written by `make bench` (`podium-bench --write`); the part \"Notes\" comes from `{NOTES}`.\n\n\
         - when: {}, commit {}\n\
         - machine: {}\n\
         - load before: {load} (a quiet machine has less than 0.2; with more, read ratios and not absolutes)\n\
         - a turn: a message comes in over a WebSocket, the agent streams {PIECES} pieces of text, each its own frame, adds 1 \
         to its counter, message and reply are stored; it is over when the frame came that says it is durable\n\
         - every peer stores the same: Podium makes the message durable before it acknowledges it and the turn when it ends (2 \
         syncs a turn); the processes commit once (SQLite, WAL, synchronous=FULL); workerd commits once (its SQLite \
         storage, the reply held back until it is durable); `wasmtime serve` stores nothing\n\
         - peers: Bun 1.4.5, the machine's CPython, workerd 1.20261117.1, wasmtime 49.0.3, each a process of its own; a process \
         peer is one process an agent behind a small Rust front\n\
         - client, server and agents share the cores; c={CONNECTIONS} means that many connections, each to its own agent; \
         the agent's component has {component_kib} KiB\n\n",
        machine::day(),
        machine::commit(),
        machine::describe(Storage::real().path()),
    )
}
