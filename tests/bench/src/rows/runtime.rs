//! The runtime's part of a turn: a fresh guest, one call, the drop; beside a process that is started for one message.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use podium_it::{agents, root};

use crate::report::{Bar, Figure, Line};
use crate::stats::Times;
use crate::tools;

/// Processes that are started one after another.
const PROCESSES: usize = 50;

/// The one message, as the processes get it.
const MESSAGE: &str = r#"{"id":"m","pieces":1}"#;

pub(super) async fn run() -> Vec<Line> {
    let rust = Ok(agents::built(&root().join("tests/bench/agents/rust"), "streamer"));
    let processes: Vec<(&str, Figure)> = vec![
        ("Bun process", process(tools::bun(), "bun/once.js")),
        ("CPython process", process(tools::python(), "cpython/once.py")),
    ];
    let guests = [("Rust", rust, 20_000, 60.0), ("JavaScript", tools::component("javascript"), 5_000, 200.0)];
    let python = ("Python", tools::component("python"), 1_000, 2000.0);
    let mut lines = Vec::new();
    for (language, component, turns, bar) in guests.into_iter().chain([python]) {
        let (p50, p99) = match component.and_then(|component| fresh_turn(&component, turns)) {
            Ok((p50, p99)) => (Figure::Value(p50), Figure::Value(p99)),
            Err(why) => (Figure::Missing(why.clone()), Figure::Missing(why)),
        };
        let what = format!("{language}: fresh guest, one call, drop");
        let mut line = Line::new(format!("{what}, p50 us"), "", p50).bar(Bar::AtMost(bar));
        for (peer, figure) in &processes {
            line = line.beside(*peer, figure.clone());
        }
        lines.push(line);
        lines.push(Line::new("the same, p99 us", "", p99));
    }
    lines
}

/// What the runtime's own example says of a component: p50 and p99 in microseconds.
fn fresh_turn(component: &Path, turns: usize) -> Result<(f64, f64), String> {
    let example = podium_it::host::binary().with_file_name("examples").join("fresh_turn");
    let output = Command::new(&example).arg(component).arg("1").arg(turns.to_string()).output();
    let output = output.map_err(|error| format!("{}: {error}", example.display()))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or("it failed").to_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    read(&said).ok_or(said)
}

/// `one at a time: p50 41.0 us, p99 80.2 us, …`
fn read(said: &str) -> Option<(f64, f64)> {
    let line = said.lines().find_map(|line| line.strip_prefix("one at a time: p50 "))?;
    let (p50, rest) = line.split_once(" us, p99 ")?;
    let (p99, _) = rest.split_once(" us")?;
    Some((p50.parse().ok()?, p99.parse().ok()?))
}

/// From a process's start to its end, median in microseconds.
fn process(program: Result<std::path::PathBuf, String>, script: &str) -> Figure {
    let program = match program {
        Ok(program) => program,
        Err(why) => return Figure::Missing(why),
    };
    let script = tools::peers().join(script);
    let times = (0..PROCESSES)
        .map(|_| {
            let start = Instant::now();
            let output = Command::new(&program).arg(&script).arg(MESSAGE).stdin(Stdio::null()).output();
            let output = output.expect("a process starts");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("complete"), "{}: {said}", script.display());
            start.elapsed()
        })
        .collect();
    Figure::Value(Times::new(times).p50().as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_s_words_are_read() {
        let said =
            "one at a time: p50 139.1 us, p99 244.5 us, 6790 turns/s\neight at once: p50 1.0 us, p99 2.0 us, 3 turns/s";
        assert_eq!(super::read(said), Some((139.1, 244.5)));
        assert_eq!(super::read("no such agent"), None);
    }
}
