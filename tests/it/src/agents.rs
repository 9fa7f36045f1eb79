//! The components of this repository's agents, built once by `podium build`.
//!
//! `PODIUM_AGENTS` names a folder with ready components instead. Otherwise they are built into
//! `target/agents-built/`, again only when a source is newer; several test processes share one build.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::host::binary;
use crate::root;

/// What an agent is built from.
const SOURCES: &[&str] = &["agents", "guest-sdk/rust", "wit/podium"];

/// The bytes of an agent's component.
pub fn component(agent: &str) -> Vec<u8> {
    let path = component_file(agent);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The file of an agent's component.
pub fn component_file(agent: &str) -> PathBuf {
    if let Some(folder) = std::env::var_os("PODIUM_AGENTS") {
        return PathBuf::from(folder).join(format!("{agent}.wasm"));
    }
    built(&root().join("agents").join(agent), agent)
}

/// The component of an agent's folder, built when a source is newer than the last one.
pub fn built(source: &Path, name: &str) -> PathBuf {
    let target = binary().ancestors().nth(2).map_or_else(|| root().join("target"), Path::to_owned);
    let folder = target.join("agents-built");
    std::fs::create_dir_all(&folder).expect("a folder for components");
    let path = folder.join(format!("{name}.wasm"));
    // One build at a time: by thread here, by file lock among processes.
    static BUILDING: Mutex<()> = Mutex::new(());
    let _building = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let lock = File::create(folder.join("lock")).expect("a lock file");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("the lock");
    let newest = SOURCES.iter().map(|source| root().join(source)).chain([source.to_owned()]);
    let newest = newest.filter_map(|source| newest_in(&source)).max();
    if modified(&path) < newest {
        build(source, &path);
    }
    path
}

fn build(source: &Path, path: &Path) {
    let output = Command::new(binary())
        .arg("build")
        .arg(source)
        .arg("-o")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("podium build starts");
    assert!(
        output.status.success(),
        "podium build {}: {}\n{}",
        source.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// When a source below a folder was last changed; build output does not count.
fn newest_in(folder: &Path) -> Option<SystemTime> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            if entry.file_type().ok()?.is_dir() {
                if name == "target" { None } else { newest_in(&entry.path()) }
            } else {
                modified(&entry.path())
            }
        })
        .max()
}

/// The component with these limits in its manifest.
pub fn with_limits(agent: &str, limits: &serde_json::Value) -> Vec<u8> {
    crate::component::with_manifest(&component(agent), |manifest| manifest["limits"] = limits.clone())
}

/// The component with this number of attempts in its manifest.
pub fn with_retry(agent: &str, retry: u32) -> Vec<u8> {
    crate::component::with_manifest(&component(agent), |manifest| manifest["retry"] = retry.into())
}
