//! From an agent's source folder to one deployable component.
//!
//! Owns the order: manifest, toolchain, compile, manifest into the component. Must never download
//! a toolchain unless asked to, and never let the settings of an outer cargo run reach the guest's
//! build. Knows nothing of the command line.

mod component;
mod debian;
mod environment;
mod install;
mod manifest;
mod run;
mod toolchain;

use std::path::PathBuf;

use podium_wire::codes::ErrorCode;
use podium_wire::manifest::Manifest;

pub(crate) use environment::Environment;
pub(crate) use manifest::ManifestError;
pub(crate) use toolchain::{Kind, Missing, survey};

/// The target that agents are compiled for.
const TARGET: &str = "wasm32-wasip2";

/// What is to be built.
#[derive(Debug, Clone)]
pub(crate) struct BuildRequest {
    /// The folder with `agent.toml` and `Cargo.toml`.
    pub(crate) folder: PathBuf,
    /// Where the component goes; `{type}-{version}.wasm` in cargo's target folder when none.
    pub(crate) output: Option<PathBuf>,
    /// May `rustup target add wasm32-wasip2` where the target is missing.
    pub(crate) install_toolchain: bool,
}

/// What was built.
#[derive(Debug, Clone)]
pub(crate) struct Built {
    /// The component, its manifest inside.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: u64,
    /// What `agent.toml` said.
    pub(crate) manifest: Manifest,
    /// What compiled it.
    pub(crate) toolchain: Kind,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// `agent.toml` is missing or wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// There is no way to compile for wasm32-wasip2 here.
    #[error("no toolchain can build agents here: {}", list(.0))]
    NoToolchain(Vec<Missing>),
    /// `PODIUM_WASM_TOOLCHAIN` holds something else.
    #[error("PODIUM_WASM_TOOLCHAIN is `{0}`; it can be `rustup` or `debian`")]
    UnknownToolchain(String),
    /// A step of a toolchain's set-up failed.
    #[error("{step} failed{}", tail(.output))]
    Step {
        /// What was being done.
        step: String,
        /// The end of what it printed.
        output: String,
    },
    /// Another build is setting the toolchain up and does not come to an end.
    #[error("another build has been preparing {0} for too long")]
    Busy(PathBuf),
    /// The compiler refused the source.
    #[error("cargo could not build the agent{}", tail(.0))]
    Compile(String),
    /// The package has nothing to deploy.
    #[error("{0} has no library of type cdylib")]
    NoCdylib(PathBuf),
    /// What came out cannot be deployed.
    #[error("{path} is not a WebAssembly component")]
    NotAComponent {
        /// The file.
        path: PathBuf,
    },
    /// A program or file could not be used.
    #[error("{doing} failed")]
    Io {
        /// What was being done, with the path.
        doing: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Cargo's messages or the manifest could not be read or written as JSON.
    #[error("{doing} failed")]
    Json {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: serde_json::Error,
    },
}

impl BuildError {
    /// The stable code of the failure.
    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::Manifest(_) => ErrorCode::InvalidManifest,
            Self::NoToolchain(_) | Self::Step { .. } | Self::Busy(_) => ErrorCode::ToolchainMissing,
            Self::UnknownToolchain(_) => ErrorCode::Usage,
            Self::Compile(_) | Self::NoCdylib(_) | Self::NotAComponent { .. } | Self::Io { .. } | Self::Json { .. } => {
                ErrorCode::BuildFailed
            }
        }
    }

    /// What to do about it, where more is known than the code's own hint.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::NoToolchain(missing) => missing.first().map(|missing| format!("Run: {}", missing.mend)),
            Self::NoCdylib(_) => Some("Add `[lib]` with `crate-type = [\"cdylib\"]` to Cargo.toml.".to_owned()),
            Self::NotAComponent { .. } => Some("Use `#[podium_sdk::agent]` on `impl Agent for …`.".to_owned()),
            _ => None,
        }
    }

    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let doing = doing.into();
        |source| Self::Io { doing, source }
    }
}

fn list(missing: &[Missing]) -> String {
    missing.iter().map(|missing| missing.what.as_str()).collect::<Vec<_>>().join("; ")
}

fn tail(output: &str) -> String {
    if output.is_empty() { String::new() } else { format!(":\n{}", output.trim_end()) }
}

/// Builds the agent in a folder. `progress` gets a line for each step and each line of cargo's.
///
/// Runs child processes and waits for them: call it where blocking is allowed.
pub(crate) fn build(
    request: &BuildRequest,
    environment: &Environment,
    progress: &mut dyn FnMut(&str),
) -> Result<Built, BuildError> {
    let folder = &request.folder;
    let manifest = manifest::read(folder)?;
    let mut survey = survey(folder, environment)?;
    if request.install_toolchain && survey.wants_install() {
        install::add_target(folder, environment, progress)?;
        survey = toolchain::survey(folder, environment)?;
    }
    let toolchain = survey.choose()?;
    progress(&format!("building {}:{} with {toolchain}", manifest.agent_type, manifest.version));
    let cdylib = component::compile(folder, &toolchain, environment, progress)?;
    let output = match &request.output {
        Some(path) => path.clone(),
        None => cdylib.target_folder.join(format!("{}-{}.wasm", manifest.agent_type, manifest.version)),
    };
    let bytes = component::finish(&cdylib.path, &manifest, &output)?;
    Ok(Built { path: output, bytes, manifest, toolchain: toolchain.kind() })
}
