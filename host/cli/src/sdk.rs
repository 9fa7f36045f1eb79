//! The SDK that this binary carries: the guest SDK for Rust and the WIT, as they were when it was built.
//!
//! Owns where an agent's folder keeps it and how it gets there: whole, by a rename, or not at all. Must never touch
//! one that is there: it belongs to the agent's source (docs/decisions/0008).

use std::fs;
use std::io;
use std::path::Path;

use include_dir::{Dir, include_dir};

use crate::exit::Failure;

static RUST: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../guest-sdk/rust");
static WIT: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../wit/podium");

/// The embedded folders, laid out as in the repository: the SDK finds the WIT by a path of its own.
const PARTS: [(&str, &Dir<'_>); 2] = [("guest-sdk/rust", &RUST), ("wit/podium", &WIT)];

/// The kinds of files that are source; an editor's leftovers are not.
const SOURCES: [&str; 3] = ["rs", "toml", "wit"];

/// Where an agent's folder keeps it.
const HOME: &str = ".podium";
const NAME: &str = "sdk";

/// How an agent's Cargo.toml names it.
const REFERENCE: &str = ".podium/sdk/";

const README: &str = include_str!("../template/sdk-readme.in");

/// Unpacks it into an agent's folder that has none.
pub(crate) fn unpack(agent: &Path) -> io::Result<()> {
    let home = agent.join(HOME);
    fs::create_dir_all(&home)?;
    let scratch = tempfile::tempdir_in(&home)?;
    let made = scratch.path().join(NAME);
    for (place, part) in PARTS {
        write(part, &made.join(place))?;
    }
    fs::write(made.join("README.md"), README.replace("{version}", env!("CARGO_PKG_VERSION")))?;
    match fs::rename(&made, home.join(NAME)) {
        // Another build was quicker, with the same content.
        Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => Ok(()),
        renamed => renamed,
    }
}

/// Unpacks it into an agent's folder whose Cargo.toml names it and that lacks it: somebody deleted it to renew it.
pub(crate) fn restore(agent: &Path) -> Result<(), Failure> {
    let is_named = fs::read_to_string(agent.join("Cargo.toml")).is_ok_and(|text| text.contains(REFERENCE));
    let home = agent.join(HOME).join(NAME);
    if !is_named || home.exists() {
        return Ok(());
    }
    unpack(agent).map_err(|error| {
        let message = format!("cannot unpack the SDK into {}: {error}", home.display());
        Failure::new(crate::exit::storage_code(&error), message)
    })
}

fn write(part: &Dir<'_>, folder: &Path) -> io::Result<()> {
    for file in part.files() {
        let (Some(name), Some(kind)) = (file.path().file_name(), file.path().extension()) else { continue };
        if SOURCES.iter().any(|source| kind == *source) {
            fs::create_dir_all(folder)?;
            fs::write(folder.join(name), file.contents())?;
        }
    }
    for below in part.dirs() {
        if let Some(name) = below.path().file_name() {
            write(below, &folder.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_unpacked_as_it_is_here() {
        let folder = tempfile::tempdir().unwrap();
        unpack(folder.path()).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in ["guest-sdk/rust/Cargo.toml", "guest-sdk/rust/derive/src/lib.rs", "wit/podium/world.wit"] {
            let unpacked = fs::read(folder.path().join(".podium/sdk").join(file)).unwrap();
            assert!(unpacked == fs::read(root.join(file)).unwrap(), "{file} differs");
        }
        let left: Vec<_> = fs::read_dir(folder.path().join(HOME)).unwrap().map(|entry| entry.unwrap()).collect();
        assert_eq!(left.len(), 1, "{left:?}");
        unpack(folder.path()).unwrap();
    }

    #[test]
    fn only_an_agent_that_lacks_it_gets_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join(".podium/sdk");
        restore(folder.path()).unwrap();
        fs::write(folder.path().join("Cargo.toml"), "[package]\n").unwrap();
        restore(folder.path()).unwrap();
        assert!(!home.exists());
        fs::write(folder.path().join("Cargo.toml"), "podium-sdk = { path = \".podium/sdk/guest-sdk/rust\" }").unwrap();
        restore(folder.path()).unwrap();
        assert!(home.join("wit/podium/world.wit").exists());
        fs::remove_file(home.join("wit/podium/world.wit")).unwrap();
        restore(folder.path()).unwrap();
        assert!(!home.join("wit/podium/world.wit").exists(), "what is there is the author's");
    }
}
