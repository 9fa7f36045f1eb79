//! `podium chronicle`: the store behind an instance's workspace.

use podium_wire::InstanceId;
use podium_wire::chronicle::{ChronicleChecked, ChronicleCollected, ChronicleStats};
use reqwest::Method;
use serde_json::Value;

use super::Context;
use crate::client::{Client, block_on};
use crate::exit::{Exit, Failure};
use crate::output::{Output, note, size};
use crate::progress::Progress;

/// Bytes of a content's name that a table shows: enough to find it by.
const HASH_SHOWN: usize = 16;

/// The history of an instance's workspace.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Chronicle {
    /// Show how large the history is
    #[command(after_help = "Examples:
  podium chronicle stats 0198c0de-0000-7000-8000-000000000001")]
    Stats {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
    },
    /// Read and check everything that is stored; ends with 1 when something is damaged
    #[command(after_help = "Examples:
  podium chronicle fsck 0198c0de-0000-7000-8000-000000000001
  podium chronicle fsck 0198c0de-0000-7000-8000-000000000001 --json | jq .damaged")]
    Fsck {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
    },
    /// Give back what no kept version needs; the host does so itself when an instance rests
    #[command(after_help = "Examples:
  podium chronicle gc 0198c0de-0000-7000-8000-000000000001")]
    Gc {
        /// The instance
        #[arg(value_name = "ID")]
        instance: InstanceId,
    },
}

impl Chronicle {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let (client, output) = (context.client()?, context.output);
        match self {
            Self::Stats { instance } => stats(&client, output, instance),
            Self::Fsck { instance } => fsck(&client, output, instance),
            Self::Gc { instance } => gc(&client, output, instance),
        }
    }
}

fn stats(client: &Client, output: &Output, instance: InstanceId) -> Result<(), Failure> {
    let stats: ChronicleStats = block_on(client.get(&["instances", &instance.to_string(), "chronicle"]))?;
    if output.is_json() {
        return output.json(&stats);
    }
    output.fields(&[
        ("versions", format!("{}, the oldest {}", stats.versions, stats.oldest_version)),
        ("store", format!("{} of {}", size(stats.store_bytes), size(stats.store_bytes_max))),
        ("content", format!("{} in {} segments", size(stats.segment_bytes), stats.segments)),
        ("needed", size(stats.live_bytes)),
        ("database", format!("{}, {} tree nodes", size(stats.database_bytes), stats.trees)),
        ("workspace", format!("{} in {} entries", size(stats.workspace_bytes), stats.entries)),
    ])
}

fn fsck(client: &Client, output: &Output, instance: InstanceId) -> Result<(), Failure> {
    let checked: ChronicleChecked = work(client, instance, "fsck", "reading everything that is stored")?;
    if output.is_json() {
        output.json(&checked)?;
    } else {
        let rows: Vec<[String; 4]> = checked
            .damaged
            .iter()
            .map(|it| {
                let hash = it.hash.get(..HASH_SHOWN).unwrap_or(&it.hash).to_owned();
                [it.path.clone(), it.version.to_string(), hash, it.what.clone()]
            })
            .collect();
        if !rows.is_empty() {
            output.table(["path", "version", "hash", "what"], &rows, "")?;
        }
        if let Some(verdict) = &checked.database {
            output.line(&format!("database: {verdict}"))?;
        }
        let more = checked.damaged_count.saturating_sub(u64::try_from(rows.len()).unwrap_or(u64::MAX));
        if more > 0 {
            note(&format!("and {more} more"));
        }
        note(&format!(
            "{} versions, {} trees, {} contents with {}: {}",
            checked.versions,
            checked.trees,
            checked.contents,
            size(checked.bytes),
            if checked.sound { "sound".to_owned() } else { format!("{} damaged", checked.damaged_count) }
        ));
    }
    if checked.sound { Ok(()) } else { Err(Failure::Said(Exit::Failed)) }
}

fn gc(client: &Client, output: &Output, instance: InstanceId) -> Result<(), Failure> {
    let done: ChronicleCollected = work(client, instance, "gc", "collecting")?;
    if output.is_json() {
        return output.json(&done);
    }
    note(&format!(
        "{} versions, {} contents and {} tree nodes are gone: {} were {}",
        done.versions,
        done.contents,
        done.trees,
        size(done.bytes_after),
        size(done.bytes_before)
    ));
    if !done.complete {
        note("it made way for a turn; another one goes on");
    }
    Ok(())
}

fn work<T: serde::de::DeserializeOwned>(
    client: &Client,
    instance: InstanceId,
    what: &str,
    said: &'static str,
) -> Result<T, Failure> {
    let progress = Progress::spinner(said);
    let done =
        block_on(client.call(Method::POST, &["instances", &instance.to_string(), "chronicle", what], None::<&Value>));
    drop(progress);
    done
}
