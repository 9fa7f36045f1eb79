//! When a source of an agent changes: the folder is looked at a few times a second, and a burst of writes is one change.
//!
//! A look costs a few hundred `stat` calls, works on every file system and misses nothing. Must never take what a build
//! writes for a change, or walk a target folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use podium_wire::ErrorCode;
use walkdir::{DirEntry, WalkDir};

use crate::exit::Failure;

/// Time between two looks: less than a person notices between saving and asking.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Files that are looked at: far more than an agent has, little enough to look at each time.
const FILES_MAX: usize = 20_000;

/// Each file with its time of change and its length.
type Look = BTreeMap<PathBuf, (Option<SystemTime>, u64)>;

/// True for what a build reads. Folders at the top that begin with a dot or are cargo's hold no source; Cargo.lock is written
/// by the build itself.
fn is_source(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    entry.depth() != 1 || !(name == "target" || name == "Cargo.lock" || name.starts_with('.'))
}

fn look(root: &Path) -> Look {
    let entries = WalkDir::new(root).into_iter().filter_entry(is_source);
    // What vanishes while it is looked at is gone in the next look too.
    let files = entries.filter_map(Result::ok).filter(|entry| !entry.file_type().is_dir()).take(FILES_MAX);
    let seen = |entry: DirEntry| {
        let metadata = entry.metadata().ok();
        let changed = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        (entry.into_path(), (changed, metadata.map_or(0, |metadata| metadata.len())))
    };
    files.map(seen).collect()
}

/// The sources of an agent.
#[derive(Debug)]
pub(super) struct Sources {
    root: PathBuf,
    /// As they were when the last change was told.
    known: Look,
}

impl Sources {
    /// Begins to watch a folder as it is now.
    pub(super) fn watch(root: &Path) -> Self {
        Self { root: root.to_owned(), known: look(root) }
    }

    /// Resolves when something differs from the last time, and it is quiet again. May be dropped at any time.
    pub(super) async fn changed(&mut self) -> Result<(), Failure> {
        let mut last = self.look().await?;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.look().await?;
            if now == last && now != self.known {
                self.known = now;
                return Ok(());
            }
            last = now;
        }
    }

    async fn look(&self) -> Result<Look, Failure> {
        let root = self.root.clone();
        let looked = podium_kit::spawn::blocking(move || look(&root)).await;
        looked.map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot look at the sources: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_quiet(sources: &mut Sources) -> bool {
        tokio::time::timeout(LOOK_EVERY * 4, sources.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_burst_is_one_change_and_a_build_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        };
        write("src/lib.rs", "1");
        let mut sources = Sources::watch(root);
        for path in ["target/release/out", ".podium/data/host.db", ".git/index", "Cargo.lock"] {
            write(path, "x");
        }
        std::fs::read(root.join("src/lib.rs")).expect("read");
        assert!(is_quiet(&mut sources).await, "building and reading are no changes");
        for text in ["2", "33", "444"] {
            write("src/lib.rs", text);
        }
        sources.changed().await.expect("a change");
        assert!(is_quiet(&mut sources).await, "one change");
        for path in ["prompts/one.md", "agent.toml", "src/target/deep.rs", "src/.hidden"] {
            write(path, "x");
            sources.changed().await.expect(path);
        }
        std::fs::remove_file(root.join("prompts/one.md")).expect("removed");
        sources.changed().await.expect("a change");
    }
}
