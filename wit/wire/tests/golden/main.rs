//! Golden JSON of every message: what is in `fixtures/` is what goes over the wire.
//!
//! Each sample is a typed value. The test writes it and compares it with its file, then reads the file and writes
//! it again. `UPDATE_GOLDEN=1` rewrites the files and the generated guide; a change there is a change of the
//! protocol and needs a line in the changelog.

mod asks;
mod catalogue;
mod chronicle;
mod cuts;
mod portable;
mod rest;
mod updates;
mod ws;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One sample, ready to be compared.
pub(crate) struct Sample {
    /// Path below `fixtures/`, without the extension.
    name: String,
    /// What it is on the wire.
    json: Value,
    /// Reads the wire form and writes it again.
    again: fn(&str) -> Result<Value, serde_json::Error>,
}

impl Sample {
    /// A sample of a type that serde both writes and reads.
    pub(crate) fn of<T: Serialize + DeserializeOwned>(folder: &str, name: &str, value: &T) -> Self {
        fn again<T: Serialize + DeserializeOwned>(text: &str) -> Result<Value, serde_json::Error> {
            serde_json::to_value(serde_json::from_str::<T>(text)?)
        }
        Self {
            name: format!("{folder}/{name}"),
            json: serde_json::to_value(value).expect("a sample can be written"),
            again: again::<T>,
        }
    }

    /// The name within its folder.
    pub(crate) fn stem(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// What it is on the wire.
    pub(crate) fn json(&self) -> &Value {
        &self.json
    }
}

pub(crate) fn updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn all() -> Vec<Sample> {
    let mut samples = updates::samples();
    samples.extend(ws::server());
    samples.extend(ws::client());
    samples.extend(rest::samples());
    samples.extend(asks::samples());
    samples.extend(chronicle::samples());
    samples.extend(cuts::samples());
    samples.extend(portable::samples());
    samples
}

#[test]
fn every_message_is_as_its_golden_file() {
    let mut faults = Vec::new();
    for sample in all() {
        let path = fixtures().join(format!("{}.json", sample.name));
        let text = format!("{}\n", serde_json::to_string_pretty(&sample.json).expect("JSON can be written"));
        if updating() {
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("fixtures can be made");
            std::fs::write(&path, &text).expect("fixtures can be written");
        }
        let Ok(golden) = std::fs::read_to_string(&path) else {
            faults.push(format!("{} has no golden file", sample.name));
            continue;
        };
        if golden != text {
            faults.push(format!("{} changed on the wire; it was\n{golden}and is\n{text}", sample.name));
        }
        match (sample.again)(&golden) {
            Ok(again) if again == sample.json => {}
            Ok(again) => faults.push(format!("{} is read and written as {again}", sample.name)),
            Err(error) => faults.push(format!("{} cannot be read: {error}", sample.name)),
        }
    }
    assert!(faults.is_empty(), "{}\nUPDATE_GOLDEN=1 accepts this", faults.join("\n"));
}

#[test]
fn every_golden_file_is_of_a_message() {
    let names: BTreeSet<String> = all().into_iter().map(|sample| sample.name).collect();
    for folder in std::fs::read_dir(fixtures()).expect("fixtures").flatten() {
        for file in std::fs::read_dir(folder.path()).expect("a folder of fixtures").flatten() {
            let path = file.path();
            let name = path.strip_prefix(fixtures()).expect("below fixtures").with_extension("").display().to_string();
            if !names.contains(&name) {
                assert!(updating(), "fixtures/{name}.json is of no message");
                std::fs::remove_file(&path).expect("a fixture can be removed");
            }
        }
    }
}
