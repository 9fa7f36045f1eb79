//! `podium deploy`: uploads a component; a folder is built first.

use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use podium_registry::COMPONENT_BYTES_MAX;
use podium_wire::rest::Deployed;
use podium_wire::{AgentType, AgentVersion, ErrorCode};
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use tokio_util::io::ReaderStream;

use super::{Context, build, input};
use crate::client::{Client, SLOW, block_on};
use crate::exit::{Exit, Failure};
use crate::output::{GOOD, note};
use crate::progress::Progress;

/// Bytes of the file that are read at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Deploy a component, or build a folder and deploy it
///
/// A deployment is immutable: other bytes need another version.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium deploy agents/librarian
  podium deploy librarian-1.0.0.wasm
  podium deploy other.wasm --type other --version 0.1.0")]
pub(crate) struct Deploy {
    /// A component, or an agent's folder with its agent.toml
    #[arg(value_name = "FILE|DIR")]
    source: PathBuf,
    /// The agent type [default: the manifest's]
    #[arg(long = "type", value_name = "TYPE")]
    agent_type: Option<AgentType>,
    /// The version [default: the manifest's]
    #[arg(long, value_name = "VERSION")]
    version: Option<AgentVersion>,
}

impl Deploy {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        // A wrong address is better said before a build.
        drop(context.client()?);
        let meta = std::fs::metadata(&self.source).map_err(|error| input::unreadable(&self.source, &error))?;
        let file = if meta.is_dir() { build::for_deploy(&self.source)? } else { self.source.clone() };
        // The token is read here: a host that was started just before the build has written it by now.
        let client = context.client()?;
        let deployed = block_on(async {
            tokio::select! {
                deployed = upload(&client, &file, self.agent_type.as_ref(), self.version.as_ref()) => deployed,
                // The connection closes, and the server gives the deploy up.
                Ok(()) = tokio::signal::ctrl_c() => {
                    note("cancelled");
                    Err(Failure::Said(Exit::Failed))
                }
            }
        })?;
        if context.output.is_json() {
            return context.output.json(&deployed);
        }
        let word = if deployed.created { "deployed" } else { "unchanged" };
        context.output.marked(GOOD, word, &deployed.deployment.deployment_id.to_string())?;
        let capabilities = super::deployment::capabilities(&deployed.deployment);
        context.output.line(&format!("capabilities: {capabilities}"))
    }
}

/// Uploads a component, under another name than the manifest's where one is given.
pub(crate) async fn upload(
    client: &Client,
    path: &Path,
    agent_type: Option<&AgentType>,
    version: Option<&AgentVersion>,
) -> Result<Deployed, Failure> {
    let unreadable = |error: std::io::Error| input::unreadable(path, &error);
    let file = tokio::fs::File::open(path).await.map_err(unreadable)?;
    let size = file.metadata().await.map_err(unreadable)?.len();
    if size > COMPONENT_BYTES_MAX {
        // The server would say so too, but the answer can be lost while so much is still being sent.
        let message = format!("{} has {size} bytes; a component has at most {COMPONENT_BYTES_MAX}", path.display());
        return Err(Failure::new(ErrorCode::ComponentTooLarge, message));
    }
    let progress = Progress::bytes(size, "uploading");
    let count = progress.counter();
    let pieces = ReaderStream::with_capacity(file, PIECE_BYTES).inspect(move |piece| {
        if let Ok(piece) = piece {
            count(piece.len() as u64);
        }
    });
    // The names come first: the server reads the form in order and can refuse early.
    let mut form = Form::new();
    if let Some(agent_type) = agent_type {
        form = form.text("agent_type", agent_type.to_string());
    }
    if let Some(version) = version {
        form = form.text("version", version.to_string());
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    form = form.part("file", Part::stream_with_length(Body::wrap_stream(pieces), size).file_name(name));
    let request = client.api(Method::POST, &["deployments"])?.multipart(form);
    client.fetch(request, SLOW).await
}
