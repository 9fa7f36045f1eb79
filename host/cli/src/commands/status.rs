//! `podium status`: how the host is.

use podium_wire::rest::AdminStatus;
use reqwest::Method;

use super::{Context, top};
use crate::client::{QUICK, block_on};
use crate::exit::Failure;
use crate::output::{duration, note, size};
use crate::top::{Figures, milliseconds};

/// How the host is
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium status
  podium status --json --url http://127.0.0.1:8091")]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let client = context.client()?;
        let output = context.output;
        let asked =
            async { client.fetch::<AdminStatus>(client.request(Method::GET, &["admin", "status"])?, QUICK).await };
        if output.is_json() {
            return output.json(&block_on(asked)?);
        }
        let (status, figures) = block_on(async { tokio::try_join!(asked, top::figures(&client)) })?;
        output.fields(&[
            ("server", client.address().to_owned()),
            ("version", status.version),
            ("data folder", status.data),
            ("up", duration(status.uptime_ms)),
            ("deployments", status.deployments.to_string()),
            (
                "instances",
                format!("{} in all, {} active of at most {}", status.instances, status.active_agents, status.capacity),
            ),
            ("turns", turns(status.running_turns, status.turns_ended, &figures)),
            ("clients", format!("{} connected", status.clients)),
            ("memory", size(status.memory_bytes)),
            ("descriptors", format!("{} of {}", status.open_descriptors, status.descriptor_limit)),
        ])?;
        // Nine tenths: what comes on top in a moment, connections first, is refused.
        if status.open_descriptors > status.descriptor_limit / 10 * 9 {
            note("the descriptors are nearly used up: `podium doctor` says how to raise their limit");
        }
        Ok(())
    }
}

/// How many there were since the start, and how long they took.
fn turns(running: u64, ended: u64, figures: &Figures) -> String {
    let failed = figures.value("podium_turns_ended_total{outcome=\"failed\"}");
    let counts = format!("{running} running, {ended} ended, {failed} of them failed");
    let took = |share| figures.percentile(&Figures::default(), "podium_turn_duration_seconds", share);
    match (took(0.5), took(0.99)) {
        (Some(half), Some(most)) => {
            format!("{counts}; half took less than {}, 99 of 100 less than {}", milliseconds(half), milliseconds(most))
        }
        _ => counts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_told_in_words() {
        assert_eq!(turns(0, 0, &Figures::default()), "0 running, 0 ended, 0 of them failed");
        let figures = Figures::read(
            "podium_turns_ended_total{outcome=\"failed\"} 1\npodium_turn_duration_seconds_bucket{le=\"0.002\"} 4\n\
             podium_turn_duration_seconds_bucket{le=\"+Inf\"} 4\n",
        );
        let told = "1 running, 4 ended, 1 of them failed; half took less than 1.00 ms, 99 of 100 less than 1.98 ms";
        assert_eq!(turns(1, 4, &figures), told);
    }
}
