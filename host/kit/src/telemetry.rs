//! The host's own log: one line an event on stderr, filtered by `PODIUM_LOG`: levels by target, as in
//! `warn,podium_store=debug`.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Starts logging for the process; a second call does nothing. A filter that cannot be read is as if it were not set.
pub fn start(default_filter: &str) {
    let wanted = std::env::var("PODIUM_LOG").ok().and_then(|filter| filter.parse::<Targets>().ok());
    let filter = wanted.or_else(|| default_filter.parse().ok()).unwrap_or_default();
    let lines =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    // Already started, by a test in the same process.
    drop(tracing_subscriber::registry().with(lines).with(filter).try_init());
}
