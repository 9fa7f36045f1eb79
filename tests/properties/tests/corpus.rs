//! What the fuzzer has kept, once more: each input goes through its property, without the fuzzer, on any toolchain.

use std::path::{Path, PathBuf};

/// Fewest inputs of a corpus: a folder that got lost is no test that passes.
const INPUTS_MIN: usize = 50;

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a corpus can be listed").path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_input_that_was_kept_holds() {
    for (target, property) in podium_properties::ALL {
        let inputs = inputs(target);
        assert!(inputs.len() >= INPUTS_MIN, "{target}: only {} inputs", inputs.len());
        for path in inputs {
            let bytes = std::fs::read(&path).expect("an input can be read");
            if std::panic::catch_unwind(|| property(&bytes)).is_err() {
                panic!("{} does not hold for {}", target, path.display());
            }
        }
    }
}
