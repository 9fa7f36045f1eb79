//! `podium up`: a host in this process, until SIGINT or SIGTERM.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use podium_coordinator::{
    COMPILE_CPU_DEFAULT, HostError, Options, ServeError, WAITING_IDLE_DEFAULT, WARM_BYTES_DEFAULT, WARM_GUESTS_DEFAULT,
    WARM_IDLE_DEFAULT, WarmBudget, room,
};
use podium_kit::listen::ListenError;
use podium_kit::otlp::{self, Exporting};
use podium_kit::telemetry::LogFormat;
use podium_wire::ErrorCode;
use podium_wire::error::ErrorBody;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Context;
use crate::compiler;
use crate::exit::{Exit, Failure};
use crate::output::{Output, note};

/// What the host logs unless `PODIUM_LOG` says otherwise.
const LOG_FILTER: &str = concat!(
    "warn,podium=info,podium_coordinator=info,podium_kit=info,podium_runtime=info,podium_store=info,",
    // What the exporter says with each batch, podium_kit says once.
    "opentelemetry-otlp=off"
);

/// Start a host: everything in one process
///
/// No other service is needed. Ctrl-C stops it; nothing is lost, not even by `kill -9`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium up
  podium up --data /srv/podium --listen 127.0.0.1:9000
  podium up --data \"$(mktemp -d)\" --listen 127.0.0.1:0

  podium up --log-format json --otlp-endpoint http://127.0.0.1:4318

The first line on stdout is the address in use. PODIUM_LOG filters the log on stderr, as in PODIUM_LOG=debug.
Traces are set by the OTEL_* variables too; they are off unless one of them or --otlp-endpoint says where to send them.")]
pub(crate) struct Up {
    /// Where to listen: a loopback address; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// How the log on stderr looks
    #[arg(long, value_name = "FORMAT", env = "PODIUM_LOG_FORMAT", hide_env_values = true, default_value = "text")]
    log_format: Format,
    /// Send traces to this collector, as OTLP over HTTP
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    #[command(flatten)]
    warm: Warm,
    /// Most agents in a turn at once; further ones wait for a place
    #[arg(long, value_name = "COUNT", default_value_t = GUESTS_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..=i64::from(GUESTS_DEFAULT)))]
    guests: u32,
    /// How long an agent waits for people or a timer before its guest is dropped, seconds; what it asked stays open
    #[arg(long, value_name = "SECONDS", default_value_t = WAITING_IDLE_DEFAULT.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    waiting_idle: u64,
    /// Processor time that compiling one component may take
    #[arg(long, value_name = "SECONDS", default_value_t = COMPILE_CPU_DEFAULT.as_secs(),
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    compile_limit: u64,
}

/// How much of agents with `keep_warm` stays in memory between turns.
#[derive(Debug, clap::Args)]
struct Warm {
    /// How long a warm guest rests before it is asked to go, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = WARM_IDLE_DEFAULT.as_secs(), value_parser = clap::value_parser!(u64).range(1..=86_400))]
    warm_idle: u64,

    /// Most warm guests; 0 keeps none
    #[arg(long, value_name = "COUNT", default_value_t = WARM_GUESTS_DEFAULT)]
    warm_guests: usize,

    /// Most memory of all warm guests, MiB
    #[arg(long, value_name = "MIB", default_value_t = WARM_BYTES_DEFAULT / MIB)]
    warm_memory: u64,
}

const MIB: u64 = 1024 * 1024;

/// As many as a host may have anyway.
const GUESTS_DEFAULT: u32 = room::GUESTS_MAX as u32;

impl Warm {
    fn options(&self, guests: usize) -> Options {
        let budget = WarmBudget { guests: self.warm_guests, bytes: self.warm_memory.saturating_mul(MIB) };
        Options { warm: budget, warm_idle: Duration::from_secs(self.warm_idle), guests, ..Options::default() }
    }
}

/// What `--log-format` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

impl Up {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let format = match self.log_format {
            Format::Text => LogFormat::Text,
            Format::Json => LogFormat::Json,
        };
        podium_kit::telemetry::start(LOG_FILTER, format);
        let output = *context.output;
        self.serve(context).map_err(|failure| match format {
            LogFormat::Text => failure,
            LogFormat::Json => logged(failure, &output),
        })
    }

    fn serve(self, context: Context<'_>) -> Result<(), Failure> {
        let collector = otlp::endpoint(self.otlp_endpoint.as_deref(), |name| std::env::var(name).ok());
        let collector = collector.map_err(|error| {
            Failure::usage(error.to_string()).hint("A collector on this machine takes http://127.0.0.1:4318.")
        })?;
        let exporting = collector.as_ref().map(Exporting::start).transpose();
        let exporting = exporting.map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))?;
        let format = self.log_format;
        let data = context.global.data_folder()?;
        // Databases and connections need them.
        if let Err(error) = podium_kit::descriptors::raise_limit() {
            tracing::warn!(%error, "the limit of descriptors stays as it is");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot start: {error}")))?;
        let output = *context.output;
        let served = runtime.block_on(async {
            let signals = |error| Failure::new(ErrorCode::Internal, format!("cannot wait for signals: {error}"));
            let interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
            let terminate = signal(SignalKind::terminate()).map_err(signals)?;
            let ready = |address| said(&output, format, address, &data);
            let stop = stopped(format, interrupt, terminate);
            let guests = usize::try_from(self.guests).unwrap_or(room::GUESTS_MAX);
            let (options, compiler) = (
                Options { waiting_idle: Duration::from_secs(self.waiting_idle), ..self.warm.options(guests) },
                compiler::own(Duration::from_secs(self.compile_limit)),
            );
            match podium_coordinator::serve(&data, self.listen, compiler, stop, ready, options).await {
                Ok(true) => Ok(()),
                Ok(false) => {
                    tell(format, "some turns did not end in time; they run again at the next start");
                    Ok(())
                }
                Err(error) => Err(failure(&error)),
            }
        });
        // What still waits for a disk does not hold up the end: nothing of it was acknowledged.
        runtime.shutdown_background();
        if let Some(exporting) = exporting {
            exporting.finish();
        }
        served
    }
}

/// Says something about the host to whoever reads stderr; where that is JSON, as a line of it.
fn tell(format: Format, text: &str) {
    match format {
        Format::Text => note(text),
        Format::Json => tracing::info!("{text}"),
    }
}

/// Says a failure as a line of the log.
fn logged(failure: Failure, output: &Output) -> Failure {
    let Failure::Error { error, exit } = failure else { return failure };
    tracing::error!(code = error.code, hint = error.hint, "{}", error.message);
    if output.is_json() {
        // There is nowhere left to say that stdout is gone.
        drop(output.json(&ErrorBody { error: *error }));
    }
    Failure::Said(exit)
}

/// Says where the host is. Whoever started it and does not read stdout does not stop it.
fn said(output: &Output, format: Format, address: SocketAddr, data: &Path) {
    let url = format!("http://{address}");
    let printed = if output.is_json() {
        output.json_line(&json!({ "url": url, "data": data.display().to_string() }))
    } else {
        output.line(&format!("listening on {url}"))
    };
    if printed.is_err() {
        tracing::debug!("nobody reads stdout");
    }
    let data = data.display();
    match format {
        Format::Text => note(&format!("data folder: {data}\ntoken: podium token --data {data}")),
        Format::Json => tracing::info!(%data, %url, "listening"),
    }
}

/// Resolves at the first signal; a second one does not wait for the stop to end.
async fn stopped(format: Format, mut interrupt: Signal, mut terminate: Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tell(format, "stopping; running turns get 10 seconds (a second signal does not wait)");
    podium_kit::spawn::task("second signal", async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        // Safe at any moment: what was promised is on disk.
        std::process::exit(Exit::Failed as i32);
    });
}

/// What is said of a host that does not serve.
pub(crate) fn failure(error: &ServeError) -> Failure {
    let code = match error {
        ServeError::Host(HostError::Data(podium_kit::data::DataError::InUse(_))) => ErrorCode::DataFolderInUse,
        ServeError::Host(HostError::Data(podium_kit::data::DataError::Io { source, .. })) => {
            crate::exit::storage_code(source)
        }
        ServeError::Host(HostError::Data(podium_kit::data::DataError::Unknown)) => ErrorCode::Usage,
        ServeError::Host(HostError::Staging(source) | HostError::Mounts(source)) => crate::exit::storage_code(source),
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
