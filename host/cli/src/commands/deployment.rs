//! `podium deployment`: what is deployed.

use podium_wire::DeploymentRef;
use podium_wire::rest::{Deployment as Record, DeploymentDetail, DeploymentPage};

use super::Context;
use crate::client::block_on;
use crate::exit::Failure;
use crate::output::{Output, moment, size};

/// What is deployed.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Deployment {
    /// List all deployments
    #[command(after_help = "Examples:
  podium deployment list
  podium deployment list --json | jq -r '.deployments[].deployment_id'")]
    List,
    /// Show one deployment
    #[command(after_help = "Examples:
  podium deployment show librarian
  podium deployment show librarian:1.0.0
  podium deployment show librarian:1.0.0@2b795103")]
    Show {
        /// The deployment; a bare type is its newest release
        #[arg(value_name = "TYPE[:VERSION[@HEX]]")]
        deployment: DeploymentRef,
    },
}

impl Deployment {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let (client, output) = (context.client()?, context.output);
        block_on(async {
            match self {
                Self::List => {
                    let page: DeploymentPage = client.get(&["deployments"]).await?;
                    if output.is_json() { output.json(&page) } else { list(output, &page.deployments) }
                }
                Self::Show { deployment } => {
                    let detail: DeploymentDetail = client.get(&["deployments", &deployment.to_string()]).await?;
                    if output.is_json() { output.json(&detail) } else { show(output, &detail) }
                }
            }
        })
    }
}

fn list(output: &Output, deployments: &[Record]) -> Result<(), Failure> {
    let row = |record: &Record| {
        let capabilities = record.capabilities.join(" ");
        [record.deployment_id.to_string(), size(record.size_bytes), moment(record.created_at), capabilities]
    };
    let rows: Vec<_> = deployments.iter().map(row).collect();
    output.table(
        ["deployment", "size", "deployed", "capabilities"],
        &rows,
        "nothing is deployed; `podium deploy` does it",
    )
}

/// Prints one deployment, and each of its limits by the name that agent.toml has for it.
fn show(output: &Output, detail: &DeploymentDetail) -> Result<(), Failure> {
    let record = &detail.deployment;
    let hooks = serde_json::to_value(&record.description.hooks).unwrap_or_default();
    let hooks: Vec<_> = hooks.as_array().into_iter().flatten().filter_map(|hook| hook.as_str()).collect();
    output.fields(&[
        ("deployment", record.deployment_id.to_string()),
        ("sha-256", record.checksum.to_string()),
        ("size", size(record.size_bytes)),
        ("deployed", moment(record.created_at)),
        ("capabilities", capabilities(record)),
        ("hooks", hooks.join(" ")),
        ("keep_warm", record.manifest.keep_warm.to_string()),
    ])?;
    let limits = serde_json::to_value(&detail.limits).unwrap_or_default();
    let limits: Vec<_> =
        limits.as_object().into_iter().flatten().map(|(name, value)| [name.clone(), value.to_string()]).collect();
    output.table(["limit", "value"], &limits, "it has no limits")
}

/// What it imports, as a line.
pub(crate) fn capabilities(record: &Record) -> String {
    if record.capabilities.is_empty() { "none".to_owned() } else { record.capabilities.join(" ") }
}
