//! File calls of a guest in a turn, beside the same guest on the engine's own WASI with calls that may block, in one process by turns.

use std::process::Command;

use podium_it::{agents, root};

use crate::report::{Bar, Figure, Line};
use crate::storage::Storage;

/// What the peer is called.
const PLAIN: &str = "plain wasmtime-wasi";

/// Rounds of which the best counts.
const ROUNDS: &str = "12";

pub(super) async fn run(storages: &[Storage]) -> Vec<Line> {
    storages.iter().flat_map(lines).collect()
}

fn lines(storage: &Storage) -> Vec<Line> {
    let component = agents::built(&root().join("tests/bench/agents/filer"), "filer");
    let example = podium_it::host::binary().with_file_name("examples").join("file_calls");
    let folder = storage.folder();
    let output = Command::new(&example).arg(component).arg(folder.path()).arg(ROUNDS).output();
    let said = match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).into_owned(),
        Ok(output) => return vec![missing(storage, &String::from_utf8_lossy(&output.stderr))],
        Err(error) => return vec![missing(storage, &format!("{}: {error}", example.display()))],
    };
    read(&said)
        .into_iter()
        .map(|(operation, ours, plain)| {
            let what = format!("file calls of a guest, {operation}, % of {PLAIN}");
            Line::new(what, storage.name, Figure::Value(100.0 * ours / plain))
                .bar(Bar::AtLeast(95.0))
                .beside(format!("{PLAIN}, calls/s"), Figure::Value(plain))
                .beside("in a turn, calls/s", Figure::Value(ours))
        })
        .collect()
}

fn missing(storage: &Storage, why: &str) -> Line {
    let why = why.lines().next().unwrap_or("it failed").to_owned();
    Line::new("file calls of a guest", storage.name, Figure::Missing(why)).bar(Bar::AtLeast(95.0))
}

/// `create: 81000 80000`, a line each.
fn read(said: &str) -> Vec<(String, f64, f64)> {
    let line = |line: &str| {
        let (operation, rates) = line.split_once(": ")?;
        let (ours, plain) = rates.split_once(' ')?;
        Some((operation.to_owned(), ours.parse().ok()?, plain.parse().ok()?))
    };
    said.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_s_words_are_read() {
        let said = "create: 81000 80000\nnothing\nstat: 5 4\n";
        assert_eq!(super::read(said), [("create".to_owned(), 81000.0, 80000.0), ("stat".to_owned(), 5.0, 4.0)]);
    }
}
