//! `podium new`: an agent's folder, ready to be tested, built and deployed.
//!
//! Owns what the folder holds at first. It appears whole or not at all, and never over something that is there.

use std::io;
use std::path::{Path, PathBuf};

use podium_wire::{AgentType, ErrorCode};
use serde_json::json;

use super::Context;
use crate::exit::{Failure, storage_code};
use crate::output::GOOD;
use crate::sdk;

/// The files of an agent. `{name}` becomes its type.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../template/Cargo.toml.in")),
    ("agent.toml", include_str!("../../template/agent.toml.in")),
    (".gitignore", include_str!("../../template/gitignore.in")),
    ("README.md", include_str!("../../template/README.md.in")),
    ("src/lib.rs", include_str!("../../template/src/lib.rs")),
];

/// Begin a new agent
///
/// Makes a folder with a small agent, its tests and the SDK: everything but a Rust toolchain that it takes to build it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium new notes
  podium new notes --dir ~/agents/notes")]
pub(crate) struct New {
    /// The agent's type: lowercase letters, digits and `-`
    name: String,
    /// The folder to make [default: NAME in this folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl New {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let agent: AgentType = self.name.parse().map_err(|error| {
            Failure::usage(format!("{error}")).hint(format!("For instance: podium new {}", suggestion(&self.name)))
        })?;
        let folder = self.dir.unwrap_or_else(|| PathBuf::from(agent.as_str()));
        make(&agent, &folder).map_err(|error| failure(&folder, &error))?;
        let path = folder.display().to_string();
        if context.output.is_json() {
            return context.output.json(&json!({ "path": path, "type": agent, "version": "0.1.0" }));
        }
        context.output.marked(GOOD, "made", &path)?;
        context.output.line(&format!("next: cd {path} && cargo test && podium deploy ."))
    }
}

/// Writes the folder beside its place and moves it there.
fn make(agent: &AgentType, folder: &Path) -> io::Result<()> {
    // A dangling link is something that is there, too.
    match folder.symlink_metadata() {
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let folder = std::path::absolute(folder)?;
    let parent = folder.parent().ok_or(io::ErrorKind::AlreadyExists)?;
    std::fs::create_dir_all(parent)?;
    let scratch = tempfile::Builder::new().prefix(".podium-new-").tempdir_in(parent)?;
    // One level deeper: the temporary folder itself is closed to others.
    let made = scratch.path().join("agent");
    for (name, text) in FILES {
        let path = made.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&made))?;
        std::fs::write(path, text.replace("{name}", agent.as_str()))?;
    }
    sdk::unpack(&made)?;
    std::fs::rename(&made, &folder)
}

fn failure(folder: &Path, error: &io::Error) -> Failure {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    let shown = folder.display();
    match error.kind() {
        AlreadyExists | DirectoryNotEmpty => Failure::new(ErrorCode::FolderExists, format!("{shown} is there already")),
        NotADirectory => Failure::usage(format!("cannot make {shown}: a part of the path is no folder"))
            .hint("`--dir` takes another folder."),
        _ => Failure::new(storage_code(error), format!("cannot make {shown}: {error}"))
            .hint("Choose a folder where you may write with `--dir`."),
    }
}

/// A name that would be taken, as close as possible to one that is not.
fn suggestion(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let dashed: String = lower.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = dashed.trim_start_matches(|c: char| !c.is_ascii_lowercase()).trim_end_matches('-');
    let end = name.len().min(63);
    if name.is_empty() { "my-agent".to_owned() } else { name[..end].to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_names() {
        for (given, wanted) in [
            ("Notes", "notes"),
            ("my notes!", "my-notes"),
            ("7up", "up"),
            ("../x", "x"),
            ("", "my-agent"),
            ("ÄÖ", "my-agent"),
            ("--", "my-agent"),
        ] {
            assert_eq!(suggestion(given), wanted);
            assert!(suggestion(given).parse::<AgentType>().is_ok());
        }
        assert!(suggestion(&"X".repeat(200)).parse::<AgentType>().is_ok());
    }

    #[test]
    fn the_folder_appears_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let agent: AgentType = "notes".parse().unwrap();
        let folder = home.path().join("deep/down/notes");
        make(&agent, &folder).unwrap();
        for (name, _) in FILES {
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            assert!(!text.contains("{name}"), "{name}: {text}");
        }
        assert!(folder.join(".podium/sdk/guest-sdk/rust/src/lib.rs").exists());
        let again = make(&agent, &folder).unwrap_err();
        assert_eq!(failure(&folder, &again).code(), Some(ErrorCode::FolderExists));
        let beside: Vec<_> = std::fs::read_dir(home.path().join("deep/down")).unwrap().collect();
        assert_eq!(beside.len(), 1, "{beside:?}");
        let below_a_file = folder.join("agent.toml/x");
        let refused = make(&agent, &below_a_file).unwrap_err();
        assert_eq!(failure(&below_a_file, &refused).code(), Some(ErrorCode::Usage));
    }
}
