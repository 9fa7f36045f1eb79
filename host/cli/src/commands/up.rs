//! `podium up`: a host in this process, until SIGINT or SIGTERM.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use podium_coordinator::{HostError, ServeError};
use podium_kit::listen::ListenError;
use podium_wire::ErrorCode;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};

/// What the host logs unless `PODIUM_LOG` says otherwise.
const LOG_FILTER: &str = "warn,podium=info,podium_coordinator=info,podium_runtime=info,podium_store=info";

/// Start a host: everything in one process
///
/// No other service is needed. Ctrl-C stops it; nothing is lost, not even by `kill -9`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium up
  podium up --data /srv/podium --listen 127.0.0.1:9000
  podium up --data \"$(mktemp -d)\" --listen 127.0.0.1:0

The first line on stdout is the address in use. PODIUM_LOG filters the log on stderr, as in PODIUM_LOG=debug.")]
pub(crate) struct Up {
    /// Where to listen: a loopback address; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
}

impl Up {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        podium_kit::telemetry::start(LOG_FILTER);
        let data = context.global.data_folder()?;
        raise_descriptor_limit();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot start: {error}")))?;
        let output = *context.output;
        let served = runtime.block_on(async {
            let signals = |error| Failure::new(ErrorCode::Internal, format!("cannot wait for signals: {error}"));
            let interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
            let terminate = signal(SignalKind::terminate()).map_err(signals)?;
            let ready = |address| said(&output, address, &data);
            match podium_coordinator::serve(&data, self.listen, stopped(interrupt, terminate), ready).await {
                Ok(true) => Ok(()),
                Ok(false) => {
                    note("some turns did not end in time; they run again at the next start");
                    Ok(())
                }
                Err(error) => Err(failure(&error)),
            }
        });
        // What still waits for a disk does not hold up the end: nothing of it was acknowledged.
        runtime.shutdown_background();
        served
    }
}

/// Says where the host is. Whoever started it and does not read stdout does not stop it.
fn said(output: &Output, address: SocketAddr, data: &Path) {
    let url = format!("http://{address}");
    let printed = if output.is_json() {
        output.json_line(&json!({ "url": url, "data": data.display().to_string() }))
    } else {
        output.line(&format!("listening on {url}"))
    };
    if printed.is_err() {
        tracing::debug!("nobody reads stdout");
    }
    note(&format!("data folder: {0}\ntoken: podium token --data {0}", data.display()));
}

/// Resolves at the first signal; a second one does not wait for the stop to end.
async fn stopped(mut interrupt: Signal, mut terminate: Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    note("stopping; running turns get 10 seconds (a second signal does not wait)");
    podium_kit::spawn::task("second signal", async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Safe at any moment: what was promised is on disk.
        std::process::exit(Exit::Failed as i32);
    });
}

/// Takes as many descriptors as the system lets this process have: databases and connections need them.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of descriptors stays as it is");
    }
}

fn failure(error: &ServeError) -> Failure {
    let code = match error {
        ServeError::Host(HostError::Data(podium_kit::data::DataError::InUse(_))) => ErrorCode::DataFolderInUse,
        ServeError::Host(HostError::Data(podium_kit::data::DataError::Io { source, .. })) => {
            crate::exit::storage_code(source)
        }
        ServeError::Host(HostError::Data(podium_kit::data::DataError::Unknown)) => ErrorCode::Usage,
        ServeError::Host(HostError::Store(error)) => error.code(),
        ServeError::Host(HostError::Registry(error)) => error.code(),
        ServeError::Host(HostError::Runtime(_) | HostError::Threads(_)) | ServeError::Server(_) => ErrorCode::Internal,
        ServeError::Listen(_) => ErrorCode::ListenRefused,
    };
    let failure = Failure::new(code, error.to_string());
    match error {
        ServeError::Listen(ListenError::Bind { source, .. }) if source.kind() == ErrorKind::AddrInUse => failure
            .hint("Another program listens there, perhaps another host; `--listen 127.0.0.1:0` takes a free port."),
        ServeError::Listen(ListenError::Bind { .. }) => failure.hint("Choose another address with --listen."),
        _ => failure,
    }
}
