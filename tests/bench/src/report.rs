//! The table: what was measured, on which machine, by which commands, beside the bars to reach.

use std::fmt::Write as _;
use std::time::Duration;

use crate::disk::Floors;
use crate::load::{CONNECTIONS, LOAD, Loads, PIECES};
use crate::stats::ms;

/// All of one storage.
#[derive(Debug)]
pub struct Measured {
    /// Its name.
    pub storage: &'static str,
    /// What the disk itself needs.
    pub floors: Floors,
    /// This host.
    pub podium: Loads,
    /// The peer, where it is installed.
    pub bun: Option<Loads>,
}

fn first_line(path: &str, prefix: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(prefix))?;
    Some(line.rsplit(':').next().unwrap_or(line).trim().to_owned())
}

/// What stands above all tables: the machine, the turn, the command.
pub fn header(component_bytes: usize) -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cpu = first_line("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "## Podium beside one Bun process per agent\n\n\
         - machine: {cores} cores, {cpu}, Linux {}; load before: {}\n\
         - a turn: a message comes in over a WebSocket, the agent streams {PIECES} pieces of text, each its own frame, adds 1 \
         to its counter, message and reply are stored; it is over when the frame came that says it is durable\n\
         - Podium makes the message durable before it acknowledges it, and the turn when it ends (2 syncs a turn); the Bun \
         process commits once at the end\n\
         - client, server and agents share the cores; component {} KiB\n\
         - command: `make bench`\n\n",
        kernel.trim(),
        load.trim(),
        component_bytes / 1024
    )
}

/// What the runtime alone needs, in its own words.
pub fn runtime(said: Option<&str>) -> String {
    let said = match said {
        Some(said) => format!("```\n{}\n```", said.trim_end()),
        None => "not measured: build the example `fresh_turn` of podium-runtime".to_owned(),
    };
    format!("### The runtime's part of a turn: fresh guest, call, drop (bar: 60 us for Rust)\n\n{said}\n")
}

impl Measured {
    /// The table of one storage.
    pub fn markdown(&self) -> String {
        let mut page = String::new();
        self.write(&mut page).expect("a string takes everything");
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let Self { storage, floors, podium, bun } = self;
        let real = storage.starts_with("real");
        writeln!(page, "### {storage}\n")?;
        writeln!(
            page,
            "fdatasync of 4 KiB p50 {} ms, p99 {} ms; bare SQLite commit (WAL, FULL) p50 {} ms, {:.0}/s from {CONNECTIONS} databases\n",
            ms(floors.fdatasync.p50()),
            ms(floors.fdatasync.p99()),
            ms(floors.commit.p50()),
            floors.commits_per_second
        )?;
        writeln!(page, "| what | Podium | Bun process per agent | bar |\n|---|---|---|---|")?;
        let bun_ms = |pick: fn(&Loads) -> Duration| bun.as_ref().map_or("–".to_owned(), |bun| ms(pick(bun)));
        let mut row = |what: &str, pick: fn(&Loads) -> Duration, bar: &str| {
            writeln!(page, "| {what} | {} | {} | {bar} |", ms(pick(podium)), bun_ms(pick))
        };
        let new_bar = if real { "–" } else { "≤ 0.7" };
        let turn_bar = if real {
            format!("≤ {}", ms(floors.commit.p50() * 2 + Duration::from_micros(150)))
        } else {
            "≤ 0.23".to_owned()
        };
        row("new agent to first piece of a reply, p50 ms", |loads| loads.create_first.p50(), new_bar)?;
        row("new agent to durable end of its first turn, p50 ms", |loads| loads.create_complete.p50(), "–")?;
        row("warm connection, durable turn, c=1, p50 ms", |loads| loads.turn.p50(), &turn_bar)?;
        row("the same, p99 ms", |loads| loads.turn.p99(), "–")?;
        let rate_bar = match (real, bun) {
            (false, _) => "≥ 6,000".to_owned(),
            (true, Some(bun)) => format!("≥ 4,000 and ≥ {:.0}", 1.3 * bun.turns_per_second),
            (true, None) => "≥ 4,000".to_owned(),
        };
        writeln!(
            page,
            "| durable turns a second, c={CONNECTIONS}, {} s | {:.0} | {} | {rate_bar} |",
            LOAD.as_secs(),
            podium.turns_per_second,
            bun.as_ref().map_or("–".to_owned(), |bun| format!("{:.0}", bun.turns_per_second))
        )?;
        writeln!(
            page,
            "| one of those turns, p50 / p99 ms | {} / {} | {} | – |\n",
            ms(podium.loaded_turn.p50()),
            ms(podium.loaded_turn.p99()),
            bun.as_ref().map_or("–".to_owned(), |bun| format!(
                "{} / {}",
                ms(bun.loaded_turn.p50()),
                ms(bun.loaded_turn.p99())
            ))
        )
    }
}
