//! The host's own log: one line an event on stderr, filtered by `PODIUM_LOG` (tracing's filter syntax).

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging for the process; a second call does nothing.
pub fn start(default_filter: &str) {
    let filter = EnvFilter::try_from_env("PODIUM_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let started = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    // Already started, by a test in the same process.
    drop(started);
}
