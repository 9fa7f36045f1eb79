//! Listening sockets. Refuses every address beyond loopback: there is no authentication for it yet.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

/// Why a listener was not opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Not a loopback address.
    #[error("{0} is reachable from other machines; Podium listens on loopback only until it has API keys")]
    BeyondLoopback(SocketAddr),
    /// The system refused.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Opens a listener on a loopback address; port 0 takes a free one.
#[expect(clippy::disallowed_methods, reason = "kit is the door to listening")]
pub async fn loopback(address: SocketAddr) -> Result<TcpListener, ListenError> {
    if !address.ip().is_loopback() {
        return Err(ListenError::BeyondLoopback(address));
    }
    TcpListener::bind(address).await.map_err(|source| ListenError::Bind { address, source })
}
