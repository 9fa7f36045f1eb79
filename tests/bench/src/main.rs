//! `podium-bench [ROW…] [free|real] [--write]`: the numbers of this host beside its peers, in one run, as a Markdown table.
//!
//! Drives the real binary over its public API. Owns the loads, the floors of the disk and the table; asserts no time.
//! `--write` puts the page into docs/benchmarks.md. `podium-bench front DATA PROGRAM SCRIPT` is the process peers' small
//! server, started by the benchmark itself.

mod floors;
mod machine;
mod memory;
mod page;
mod report;
mod rows;
mod stats;
mod storage;
mod systems;
mod talk;
mod tools;

use std::path::Path;

use rows::Row;

/// What the command line asks for.
#[derive(Debug, Default)]
struct Asked {
    rows: Vec<Row>,
    storage: Option<String>,
    write: bool,
}

fn usage() -> ! {
    let names: Vec<&str> = Row::ALL.iter().map(|row| row.name()).collect();
    eprintln!("usage: podium-bench [ROW…] [free|real] [--write]\nrows: {}", names.join(", "));
    std::process::exit(2);
}

fn asked(arguments: &[String]) -> Asked {
    let mut asked = Asked::default();
    for argument in arguments {
        match argument.as_str() {
            "--write" => asked.write = true,
            "free" | "real" => asked.storage = Some(argument.clone()),
            name => match Row::ALL.into_iter().find(|row| row.name() == name) {
                Some(row) => asked.rows.push(row),
                None => usage(),
            },
        }
    }
    if asked.rows.is_empty() {
        asked.rows = Row::ALL.to_vec();
    }
    asked
}

/// Ctrl-C and SIGTERM end the measurement in order: what it started and its folders go with it.
async fn unless_stopped<T>(measurement: impl Future<Output = T>) -> Option<T> {
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("signals can be waited for");
    tokio::select! {
        done = measurement => Some(done),
        _ = tokio::signal::ctrl_c() => None,
        _ = terminate.recv() => None,
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.as_slice() {
        [command, data, program, script] if command == "front" => {
            runtime.block_on(systems::front::serve(Path::new(data), Path::new(program), Path::new(script)));
        }
        arguments => {
            let Asked { rows, storage, write } = asked(arguments);
            let Some(page) = runtime.block_on(unless_stopped(page::measure(&rows, storage.as_deref()))) else {
                eprintln!("stopped");
                std::process::exit(1);
            };
            println!("{page}");
            if write {
                let path = podium_it::root().join("docs/benchmarks.md");
                std::fs::write(&path, page).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                eprintln!("written: {}", path.display());
            }
        }
    }
}
