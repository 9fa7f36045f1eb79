//! `podium instance`: make, look at and steer instances.

use std::path::PathBuf;

use podium_wire::ids::check_message_id;
use podium_wire::message::MessageContent;
use podium_wire::rest::{
    CreateInstance, ExternalCut, InstanceInfo, InstancePage, InstanceSummary, MessageReceipt, PostMessage,
    StateDocument,
};
use podium_wire::{DeploymentRef, InstanceId};
use reqwest::Method;
use serde_json::json;

use super::{Context, asks, bisect, cuts, input, portable, upgrade};
use crate::client::{Client, block_on};
use crate::exit::Failure;
use crate::output::{Output, moment, note};
use crate::progress::Progress;

/// Instances that are asked for at once.
const PAGE: usize = 500;

/// Make, look at and steer instances.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Instance {
    /// Make an instance and print its id
    #[command(after_help = "Examples:
  podium instance create librarian
  podium instance create hello:1.0.0 --config config.json
  echo '{\"greeting\":\"Ahoy\"}' | podium instance create hello --config -")]
    Create {
        /// What it runs; a bare type is its newest release
        #[arg(value_name = "TYPE[:VERSION[@HEX]]")]
        deployment: DeploymentRef,
        /// A file with its configuration, a JSON object; `-` is stdin
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// List all instances
    #[command(after_help = "Examples:
  podium instance list
  podium instance list --json | jq -r '.instances[].instance_id'")]
    List,
    /// Show one instance
    #[command(after_help = "Examples:
  podium instance info 0198c0de-0000-7000-8000-000000000001")]
    Info(Named),
    /// Print its state, or the part at a JSON Pointer
    #[command(after_help = "Examples:
  podium instance state 0198c0de-0000-7000-8000-000000000001
  podium instance state 0198c0de-0000-7000-8000-000000000001 /count")]
    State {
        #[command(flatten)]
        named: Named,
        /// A JSON Pointer (RFC 6901)
        #[arg(default_value = "")]
        pointer: String,
    },
    /// End the running turn; nothing of it stays, and the next message goes on
    #[command(after_help = "Examples:
  podium instance interrupt 0198c0de-0000-7000-8000-000000000001")]
    Interrupt(Named),
    /// Take no more messages; everything is kept
    #[command(after_help = "Examples:
  podium instance stop 0198c0de-0000-7000-8000-000000000001")]
    Stop(Named),
    /// Take messages again
    #[command(after_help = "Examples:
  podium instance start 0198c0de-0000-7000-8000-000000000001")]
    Start(Named),
    Upgrade(upgrade::Upgrade),
    /// List its cuts: every state that it was ever in
    #[command(after_help = "Examples:
  podium instance cuts 0198c0de-0000-7000-8000-000000000001
  podium instance cuts 0198c0de-0000-7000-8000-000000000001 --json | jq '.cuts[-1].cut'")]
    Cuts(Named),
    Rewind(cuts::Rewind),
    Fork(cuts::Fork),
    Diff(cuts::Diff),
    Bisect(bisect::Bisect),
    Export(portable::Export),
    Import(portable::Import),
    /// Remove the instance with all its data
    #[command(after_help = "Examples:
  podium instance delete 0198c0de-0000-7000-8000-000000000001")]
    Delete(Named),
    /// Say a word into the running turn
    #[command(after_help = "Examples:
  podium instance steer 0198c0de-0000-7000-8000-000000000001 'only the first two'
  podium instance steer 0198c0de-0000-7000-8000-000000000001 stop --message-id stop-1")]
    Steer {
        #[command(flatten)]
        named: Named,
        /// What to say
        text: String,
        /// Its id, so that saying it again is safe: the same id and text are said once
        #[arg(long, value_name = "MESSAGE_ID", value_parser = message_id)]
        message_id: Option<String>,
    },
    /// Show what its running turn asks people
    #[command(after_help = "Examples:
  podium instance asks 0198c0de-0000-7000-8000-000000000001
  podium instance asks 0198c0de-0000-7000-8000-000000000001 --json | jq -r '.asks[].request_id'")]
    Asks(Named),
    /// Answer a question, or decide on a permission; the first answer counts
    #[command(after_help = "Examples:
  podium instance answer 0198c0de-0000-7000-8000-000000000001 7:env staging
  podium instance answer 0198c0de-0000-7000-8000-000000000001 7#1 decline
  podium instance answer 0198c0de-0000-7000-8000-000000000001 7:key - < key.txt")]
    Answer(asks::Given),
    /// Run a parked or failed message again
    #[command(after_help = "Examples:
  podium instance retry 0198c0de-0000-7000-8000-000000000001 01995d3e")]
    Retry(Message),
    /// Give a parked message up
    #[command(after_help = "Examples:
  podium instance discard 0198c0de-0000-7000-8000-000000000001 01995d3e")]
    Discard(Message),
}

/// An instance on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
}

/// A message on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct Message {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// The message's id
    #[arg(value_name = "MESSAGE", value_parser = message_id)]
    message: String,
}

/// Reads a message id.
pub(crate) fn message_id(text: &str) -> Result<String, String> {
    check_message_id(text).map_err(|error| error.to_string())?;
    // A URL drops such segments silently.
    if matches!(text, "." | "..") { Err("not an id that a URL can hold".to_owned()) } else { Ok(text.to_owned()) }
}

impl Instance {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let (client, output) = (context.client()?, context.output);
        block_on(async {
            match self {
                Self::Create { deployment, config } => {
                    let config = config.map(|path| input::json_object(&path)).transpose()?;
                    let body = CreateInstance { deployment_id: deployment, config };
                    let progress = Progress::spinner("the agent initialises");
                    let info: InstanceInfo = client.call(Method::POST, &["instances"], Some(&body)).await?;
                    drop(progress);
                    if output.is_json() { output.json(&info) } else { output.line(&info.instance_id.to_string()) }
                }
                Self::List => list(&client, output).await,
                Self::Info(Named { instance }) => {
                    let info: InstanceInfo = client.get(&["instances", &instance.to_string(), "info"]).await?;
                    if output.is_json() { output.json(&info) } else { show(output, &info) }
                }
                Self::State { named, pointer } => {
                    let path = ["instances", &named.instance.to_string(), "state"];
                    let state: StateDocument = client.get_with(&path, &[("pointer", pointer)]).await?;
                    if output.is_json() { output.json(&state) } else { output.pretty(&state.state) }
                }
                Self::Interrupt(Named { instance }) => {
                    client.order(Method::POST, &["instances", &instance.to_string(), "interrupt"]).await?;
                    done(output, instance, "interrupted")
                }
                Self::Stop(Named { instance }) => {
                    client.order(Method::POST, &["instances", &instance.to_string(), "stop"]).await?;
                    done(output, instance, "stopped")
                }
                Self::Start(Named { instance }) => {
                    client.order(Method::POST, &["instances", &instance.to_string(), "start"]).await?;
                    done(output, instance, "started")
                }
                Self::Upgrade(upgrade) => upgrade.run(&client, output).await,
                Self::Cuts(Named { instance }) => cuts::list(&client, output, instance).await,
                Self::Rewind(rewind) => rewind.run(&client, output).await,
                Self::Fork(fork) => fork.run(&client, output).await,
                Self::Bisect(bisect) => bisect.run(&client, output).await,
                Self::Export(export) => export.run(&client, output).await,
                Self::Import(import) => import.run(&client, output).await,
                Self::Diff(diff) => diff.run(&client, output).await,
                Self::Delete(Named { instance }) => {
                    client.order(Method::DELETE, &["instances", &instance.to_string()]).await?;
                    done(output, instance, "deleted")
                }
                Self::Steer { named, text, message_id } => {
                    let content = MessageContent { text, attachments: Vec::new() };
                    let path = ["instances", &named.instance.to_string(), "steer"];
                    let body = PostMessage { id: message_id, content };
                    let receipt: MessageReceipt = client.call(Method::POST, &path, Some(&body)).await?;
                    if output.is_json() {
                        return output.json(&receipt);
                    }
                    note(&format!("{} is on its way to the agent", receipt.message_id));
                    Ok(())
                }
                Self::Asks(Named { instance }) => asks::list(&client, output, instance).await,
                Self::Answer(given) => given.run(&client, output).await,
                Self::Retry(Message { instance, message }) => {
                    let path = ["instances", &instance.to_string(), "messages", &message, "retry"];
                    let receipt: MessageReceipt = client.call(Method::POST, &path, None::<&()>).await?;
                    if output.is_json() {
                        return output.json(&receipt);
                    }
                    note(&format!("{} runs again", receipt.message_id));
                    Ok(())
                }
                Self::Discard(Message { instance, message }) => {
                    let path = ["instances", &instance.to_string(), "messages", &message, "discard"];
                    let cut: ExternalCut = client.call(Method::POST, &path, None::<&()>).await?;
                    if output.is_json() {
                        return output.json(&cut);
                    }
                    note(&format!("{message} is discarded"));
                    Ok(())
                }
            }
        })
    }
}

fn done(output: &Output, instance: InstanceId, what: &str) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(&json!({ "instance_id": instance, "done": what }));
    }
    note(&format!("{what} {instance}"));
    Ok(())
}

async fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let mut instances: Vec<InstanceSummary> = Vec::new();
    let mut after: Option<InstanceId> = None;
    loop {
        let mut query = vec![("limit", PAGE.to_string())];
        query.extend(after.map(|after| ("after", after.to_string())));
        let page: InstancePage = client.get_with(&["instances"], &query).await?;
        let more = page.next.is_some() && !page.instances.is_empty();
        instances.extend(page.instances);
        after = page.next;
        if !more {
            break;
        }
    }
    if output.is_json() {
        return output.json(&InstancePage { instances, next: None });
    }
    let row = |instance: &InstanceSummary| {
        let status = instance.status.as_str().to_owned();
        [instance.instance_id.to_string(), status, instance.deployment_id.to_string(), moment(instance.created_at)]
    };
    let rows: Vec<_> = instances.iter().map(row).collect();
    output.table(["instance", "status", "deployment", "created"], &rows, "there are no instances")
}

fn show(output: &Output, info: &InstanceInfo) -> Result<(), Failure> {
    output.fields(&[
        ("instance", info.instance_id.to_string()),
        ("deployment", info.deployment_id.to_string()),
        ("status", info.status.as_str().to_owned()),
        ("created", moment(info.created_at)),
        ("cut", info.cut.to_string()),
        ("state version", info.state_version.to_string()),
        ("last update", info.last_seq.to_string()),
        ("inbox", info.inbox.to_string()),
        ("config", format!("revision {}: {}", info.config_rev, serde_json::Value::from(info.config.clone()))),
        ("updates", info.ws_url.clone()),
    ])
}
