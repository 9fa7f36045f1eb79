//! `podium status`: how the host is.

use podium_wire::rest::AdminStatus;
use reqwest::Method;

use super::Context;
use crate::client::{QUICK, block_on};
use crate::exit::Failure;
use crate::output::size;

/// How the host is
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium status
  podium status --json --url http://127.0.0.1:8091")]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let client = context.client()?;
        let status: AdminStatus =
            block_on(async { client.fetch(client.request(Method::GET, &["admin", "status"])?, QUICK).await })?;
        if context.output.is_json() {
            return context.output.json(&status);
        }
        context.output.fields(&[
            ("server", client.address().to_owned()),
            ("version", status.version),
            ("data folder", status.data),
            ("up", uptime(status.uptime_ms)),
            ("instances", status.instances.to_string()),
            ("active", format!("{} of {}", status.active_agents, status.capacity)),
            ("deployments", status.deployments.to_string()),
            ("turns", format!("{} running, {} ended", status.running_turns, status.turns_ended)),
            ("clients", status.clients.to_string()),
            ("memory", size(status.memory_bytes)),
            ("descriptors", format!("{} of {}", status.open_descriptors, status.descriptor_limit)),
        ])
    }
}

fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptimes() {
        assert_eq!(uptime(59_999), "59 s");
        assert_eq!(uptime(61_000), "1 min 1 s");
        assert_eq!(uptime(3_660_000), "1 h 1 min");
        assert_eq!(uptime(90_000_000), "1 d 1 h");
    }
}
