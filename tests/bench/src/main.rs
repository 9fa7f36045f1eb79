//! `podium-bench`: the numbers of this host beside one Bun process per agent, in one run, as a Markdown table.
//!
//! Drives the real binary over its public API. Owns the loads, the floors of the disk and the table; asserts no time.
//! `podium-bench front DATA BUN` is the peer's small server, started by the benchmark itself.

mod bun;
mod disk;
mod front;
mod load;
mod podium;
mod report;
mod stats;

use std::path::{Path, PathBuf};

use report::Measured;

/// A place for data and what its fsync costs.
struct Storage {
    name: &'static str,
    folder: PathBuf,
}

fn storages() -> Vec<Storage> {
    let disk = std::env::var_os("PODIUM_BENCH_DISK").map_or_else(|| podium_it::root().join("target"), PathBuf::from);
    vec![
        Storage { name: "free fsync (tmpfs)", folder: "/dev/shm".into() },
        Storage { name: "real fsync (disk)", folder: disk },
    ]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    match arguments.as_slice() {
        [command, data, bun] if command == "front" => runtime.block_on(front::serve(Path::new(data), Path::new(bun))),
        [] => runtime.block_on(measure("")),
        [storage] if ["free", "real"].contains(&storage.as_str()) => runtime.block_on(measure(storage)),
        _ => {
            eprintln!("usage: podium-bench [free|real]");
            std::process::exit(2);
        }
    }
}

/// Measures everything, or on one storage only; each table is printed as soon as it is known.
async fn measure(only: &str) {
    let component = podium::component();
    let bun = bun::program();
    print!("{}", report::header(component.len()));
    for storage in storages().into_iter().filter(|storage| storage.name.starts_with(only)) {
        let folder = tempfile::Builder::new().prefix("podium-bench-").tempdir_in(&storage.folder);
        let folder = folder.unwrap_or_else(|error| panic!("{}: {error}", storage.folder.display()));
        eprintln!("{}: the disk's floors", storage.name);
        let floors = disk::floors(folder.path());
        eprintln!("{}: podium", storage.name);
        let podium = podium::measure(folder.path(), component.clone()).await;
        let bun = match &bun {
            Some(bun) => {
                eprintln!("{}: one Bun process per agent", storage.name);
                Some(bun::measure(folder.path(), bun).await)
            }
            None => None,
        };
        print!("{}", Measured { storage: storage.name, floors, podium, bun }.markdown());
    }
    eprintln!("the runtime's part of a turn");
    print!("{}", report::runtime(podium::runtime_part().as_deref()));
}
