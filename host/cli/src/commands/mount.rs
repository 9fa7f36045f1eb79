//! `podium mount`: an instance's workspace as a file system of this machine.
//!
//! The host does the mounting; here it is asked for, waited for and ended.

use std::path::{Path, PathBuf};

use podium_wire::rest::{MountInfo, PostMount};
use podium_wire::{ErrorCode, InstanceId};
use reqwest::Method;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::client::{Client, block_on};
use crate::exit::Failure;
use crate::output::{GOOD, Output, note};

/// Show an instance's workspace as a file system, until Ctrl-C
///
/// The host mounts it on its own machine. It is read-only while a turn runs; what is written between turns is in a cut after a second of quiet,
/// or when `fsync` returns.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium mount 0198c0de-0000-7000-8000-000000000001
  podium mount 0198c0de-0000-7000-8000-000000000001 ./agent --detach
  podium mount --unmount 0198c0de-0000-7000-8000-000000000001")]
pub(crate) struct Mount {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// An empty folder; by default one in the host's data folder
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Do not wait: it stays mounted until it is unmounted or the host stops
    #[arg(long)]
    detach: bool,
    /// End a mount
    #[arg(long, conflicts_with_all = ["dir", "detach"])]
    unmount: bool,
}

impl Mount {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let (client, output) = (context.client()?, context.output);
        block_on(async {
            let instance = self.instance.to_string();
            let route = ["instances", instance.as_str(), "mount"];
            if self.unmount {
                client.order(Method::DELETE, &route).await?;
                note("unmounted");
                return Ok(());
            }
            let dir = self.dir.as_deref().map(absolute).transpose()?;
            let info: MountInfo = client.call(Method::POST, &route, Some(&PostMount { dir })).await?;
            say(output, &info)?;
            if self.detach { Ok(()) } else { until_interrupted(&client, &route).await }
        })
    }
}

fn say(output: &Output, info: &MountInfo) -> Result<(), Failure> {
    if output.is_json() { output.json(info) } else { output.marked(GOOD, "mounted", &info.dir) }
}

/// The host may have been started elsewhere: it needs the whole path.
fn absolute(dir: &Path) -> Result<String, Failure> {
    let whole = std::path::absolute(dir)
        .map_err(|error| Failure::usage(format!("{} cannot be a mount's place: {error}", dir.display())))?;
    match whole.to_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(Failure::usage(format!("the name of {} is not UTF-8", whole.display()))),
    }
}

/// Waits for Ctrl-C, then unmounts; what somebody else has unmounted meanwhile is no failure.
async fn until_interrupted(client: &Client, route: &[&str]) -> Result<(), Failure> {
    let failed = |error| Failure::new(ErrorCode::Internal, format!("cannot wait for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    note("Ctrl-C unmounts it");
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    match client.order(Method::DELETE, route).await {
        Err(Failure::Error { error, .. }) if error.known_code() == Some(ErrorCode::NotMounted) => Ok(()),
        Ok(()) => {
            note("unmounted");
            Ok(())
        }
        failed => failed,
    }
}
