//! `podium dev`: build, deploy, talk, and again at each save. The work is in `dev/`.

use std::path::PathBuf;

use podium_wire::ErrorCode;

use super::Context;
use crate::dev;
use crate::exit::Failure;

/// What the host of `podium dev` logs unless `PODIUM_LOG` says otherwise: the screen is the author's.
const LOG_FILTER: &str = "error";

/// Work on an agent: build it, talk to it, and have each saved change running
///
/// Starts a host of its own with its data in DIR/.podium, unless --url names one. Builds the agent, deploys it as VERSION-dev.N and makes
/// an instance, which lives on with its conversation: each time a source changes, it is built again and takes over between two turns. A build that
/// fails, or a version that crashes in its first turn, leaves the last good one answering.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium dev
  podium dev agents/librarian
  podium dev --json < /dev/null
  podium dev --url http://127.0.0.1:8090

On a terminal it opens a chat, and Ctrl-D ends it. Otherwise it says how to reach the instance, and Ctrl-C ends it.")]
pub(crate) struct Dev {
    /// The agent's folder, with agent.toml and Cargo.toml
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

impl Dev {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        podium_kit::telemetry::start(LOG_FILTER, podium_kit::telemetry::LogFormat::Text);
        // A host runs in this process: more threads than the other commands need.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot start: {error}")))?;
        let ended = runtime.block_on(dev::run(self.folder, context));
        // A prompt that still waits for a key does not hold up the end.
        runtime.shutdown_background();
        ended
    }
}
