//! `podium instance upgrade`: other code for an instance.

use std::time::Duration;

use podium_wire::rest::{UpgradeInstance, UpgradeReceipt, UpgradeStatus};
use podium_wire::{AgentVersion, DeploymentRef, InstanceId};
use reqwest::Method;

use crate::client::{Client, SLOW};
use crate::exit::Failure;
use crate::output::{GOOD, Output, note};
use crate::progress::Progress;

/// The longest that one request waits for the running turn; the host allows no more.
const WAIT: Duration = Duration::from_secs(300);

/// Run other code of the same agent type from the next turn on
///
/// State, conversation, files and open connections stay. The new version's `migrate` brings the state to its shape first; if that
/// fails, the old version goes on answering. An older version is named the same way.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium instance upgrade 0198c0de-0000-7000-8000-000000000001 1.3.0
  podium instance upgrade 0198c0de-0000-7000-8000-000000000001 librarian:1.3.0@2b795103
  podium instance upgrade 0198c0de-0000-7000-8000-000000000001 1.3.0 --on-trial
  podium instance upgrade 0198c0de-0000-7000-8000-000000000001 1.3.0 --now")]
pub(crate) struct Upgrade {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// The version; a bare type is its newest release
    #[arg(value_name = "VERSION|TYPE[:VERSION[@HEX]]")]
    target: Target,
    /// Put the old version back when the new one fails in its first turn, and let it run that message
    #[arg(long)]
    on_trial: bool,
    /// Do not wait for the running turn: it is set aside and begins again on the new code
    #[arg(long)]
    now: bool,
}

/// What to run, as it is typed.
#[derive(Debug, Clone)]
enum Target {
    Version(AgentVersion),
    Reference(DeploymentRef),
}

impl std::str::FromStr for Target {
    type Err = podium_wire::ids::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(version) => Ok(Self::Version(version)),
            Err(error) => text.parse().map(Self::Reference).map_err(|other| {
                // Digits are no type: whoever begins with one meant a version.
                if text.starts_with(|c: char| c.is_ascii_digit()) { error } else { other }
            }),
        }
    }
}

impl Upgrade {
    pub(crate) async fn run(self, client: &Client, output: &Output) -> Result<(), Failure> {
        let mut request = UpgradeInstance { on_trial: self.on_trial, now: self.now, ..UpgradeInstance::default() };
        match self.target {
            Target::Version(version) => request.version = Some(version),
            Target::Reference(reference) => request.deployment_id = Some(reference),
        }
        let progress = Progress::spinner("waiting for the turn's end");
        let receipt = ask(client, self.instance, &request, WAIT).await?;
        drop(progress);
        if output.is_json() {
            return output.json(&receipt);
        }
        match receipt.status {
            UpgradeStatus::Done => {
                let from = format!("{} (was {})", receipt.deployment_id, receipt.previous_deployment_id);
                output.marked(GOOD, "upgraded", &from)
            }
            UpgradeStatus::Unchanged => output.marked(GOOD, "unchanged", &receipt.deployment_id.to_string()),
            UpgradeStatus::Accepted => {
                note("a turn runs; the upgrade is kept and takes effect when it is over");
                output.marked(GOOD, "accepted", &receipt.deployment_id.to_string())
            }
        }
    }
}

/// Asks for an upgrade and waits so long for its effect.
pub(crate) async fn ask(
    client: &Client,
    instance: InstanceId,
    request: &UpgradeInstance,
    wait: Duration,
) -> Result<UpgradeReceipt, Failure> {
    let path = ["instances", &instance.to_string(), "upgrade"];
    let wait = format!("{}ms", wait.as_millis());
    let request = client.api(Method::POST, &path)?.query(&[("wait", wait)]).json(request);
    client.fetch(request, SLOW).await
}
