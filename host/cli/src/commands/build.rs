//! `podium build`: an agent's folder becomes one component. The work is in `build/`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Context;
use crate::build::{self, BuildError, BuildRequest, Built, Environment};
use crate::exit::Failure;
use crate::output::{GOOD, size};
use crate::progress::Progress;
use crate::sdk;

/// Build an agent into a component
///
/// The manifest goes inside. Uses rustup's wasm32-wasip2 target where it is installed, else Debian's packages; PODIUM_WASM_TOOLCHAIN=rustup|debian
/// forces one. Nothing is downloaded without --install-toolchain.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium build
  podium build agents/librarian -o librarian.wasm
  podium build --install-toolchain")]
pub(crate) struct Build {
    /// The agent's folder, with agent.toml and Cargo.toml
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Where the component goes [default: TYPE-VERSION.wasm in cargo's target folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Install the wasm32-wasip2 target with rustup where it is missing
    #[arg(long)]
    install_toolchain: bool,
}

impl Build {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let built = built(&BuildRequest {
            folder: self.folder,
            output: self.output,
            install_toolchain: self.install_toolchain,
        })?;
        let (path, toolchain) = (built.path.display().to_string(), built.toolchain.to_string());
        if context.output.is_json() {
            let manifest = &built.manifest;
            return context.output.json(&json!({
                "path": path,
                "size_bytes": built.bytes,
                "type": manifest.agent_type,
                "version": manifest.version,
                "toolchain": toolchain,
            }));
        }
        context.output.marked(GOOD, "built", &format!("{path} ({}, {toolchain})", size(built.bytes)))
    }
}

/// Builds a folder for `deploy` and gives the component's path.
pub(crate) fn for_deploy(folder: &Path) -> Result<PathBuf, Failure> {
    let request = BuildRequest { folder: folder.to_owned(), output: None, install_toolchain: false };
    built(&request).map(|built| built.path)
}

fn built(request: &BuildRequest) -> Result<Built, Failure> {
    sdk::restore(&request.folder)?;
    let progress = Progress::spinner("building");
    build::build(request, &Environment::of_process(), &mut |line| progress.say(line)).map_err(|error| failure(&error))
}

/// The failure that a build's error is, with its causes in the message.
pub(crate) fn failure(error: &BuildError) -> Failure {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        message = format!("{message}: {source}");
        cause = source.source();
    }
    let failure = Failure::new(error.code(), message);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
