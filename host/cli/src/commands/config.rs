//! `podium config`: an instance's configuration.

use std::path::PathBuf;

use podium_wire::InstanceId;
use podium_wire::rest::{ConfigDocument, PutConfig};
use reqwest::Method;

use super::{Context, input};
use crate::client::block_on;
use crate::exit::Failure;
use crate::output::note;
use crate::progress::Progress;

/// An instance's configuration.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Config {
    /// Print the configuration
    #[command(after_help = "Examples:
  podium config get 0198c0de-0000-7000-8000-000000000001 > config.json")]
    Get {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
    },
    /// Set the configuration, whole; the agent may refuse it, and the old one stays
    #[command(after_help = "Examples:
  podium config set 0198c0de-0000-7000-8000-000000000001 config.json
  echo '{\"greeting\":\"Ahoy\"}' | podium config set 0198c0de-0000-7000-8000-000000000001 -")]
    Set {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
        /// A file with a JSON object; `-` is stdin
        #[arg(default_value = "-")]
        file: PathBuf,
        /// Do not wait for the running turn: it is set aside and begins again with the new configuration
        #[arg(long)]
        now: bool,
    },
}

impl Config {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let (client, output) = (context.client()?, context.output);
        match self {
            Self::Get { instance } => {
                let document: ConfigDocument = block_on(client.get(&["instances", &instance.to_string(), "config"]))?;
                if output.is_json() { output.json(&document) } else { output.pretty(&document.config) }
            }
            Self::Set { instance, file, now } => {
                let body = PutConfig { config: input::json_object(&file)?, if_revision: None, now };
                let progress = Progress::spinner("waiting for the agent");
                let path = ["instances", &instance.to_string(), "config"];
                let document: ConfigDocument = block_on(client.call(Method::PUT, &path, Some(&body)))?;
                drop(progress);
                if output.is_json() {
                    return output.json(&document);
                }
                note(&format!("revision {} is in force", document.revision));
                Ok(())
            }
        }
    }
}
