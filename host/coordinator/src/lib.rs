//! podium-coordinator: runs agents. One owner task an instance, the cut at the end of a turn, the hub that tells
//! clients, and the HTTP and WebSocket routes.
//!
//! It composes the store, the registry, the runtime and the capabilities, which do not know each other. It must
//! never tell a client as durable what is not committed, and never run two turns of an instance at once.

mod agents;
mod auth;
mod connections;
mod content;
mod create;
mod cuts;
mod deploy;
mod diff;
mod error;
mod files;
mod host;
mod hub;
mod instances;
mod logs;
mod metrics;
mod options;
mod owner;
mod portable;
mod ports;
mod routes;
mod spans;
mod transfers;
mod upgrade;

use std::net::SocketAddr;
use std::path::Path;

use podium_kit::data::DataFolder;
use podium_kit::listen::{self, ListenError};

pub use host::{Host, HostError};
pub use options::{Options, WAITING_IDLE_DEFAULT, WARM_IDLE_DEFAULT};
pub use podium_runtime::{
    COMPILE_CPU_DEFAULT, Compiler, CompilerProcess, WARM_BYTES_DEFAULT, WARM_GUESTS_DEFAULT, WarmBudget, compile_stdin,
    room,
};

/// Why a host does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The host does not open.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The server failed.
    #[error("the server failed: {0}")]
    Server(#[source] std::io::Error),
}

/// Opens a host on a data folder and serves it until `stop` resolves, then stops it gracefully. `ready` is told the address in
/// use. False when something did not end in time.
pub async fn serve(
    data: &Path,
    address: SocketAddr,
    compiler: Compiler,
    stop: impl Future<Output = ()> + Send,
    ready: impl FnOnce(SocketAddr),
    options: Options,
) -> Result<bool, ServeError> {
    // The folder first: who starts a second host on it is told so, and not that the port is taken.
    let data = DataFolder::open(data).map_err(HostError::Data)?;
    let listener = listen::loopback(address).await?;
    let bound = listener.local_addr().map_err(|source| ListenError::Bind { address, source })?;
    let host = Host::open(data, compiler, options).await?;
    let router = routes::router(host.parts());
    let shutdown = host.parts().shutdown.clone();
    ready(bound);
    let listener = connections::Bounded::new(listener, host.parts().connections.clone());
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { shutdown.begun().await });
    let serving = podium_kit::spawn::task("http server", async move { served.await });
    stop.await;
    let ended = host.stop().await;
    // Requests that still hang on a client do not keep the process.
    serving.abort();
    match serving.await {
        Ok(result) => result.map_err(ServeError::Server)?,
        Err(error) => tracing::debug!(%error, "the http server was cut off"),
    }
    Ok(ended)
}
