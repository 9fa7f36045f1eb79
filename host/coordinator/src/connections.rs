//! The listener's connections, bounded by their part of the descriptors.
//!
//! A connection beyond it is answered with 503 and closed, so that clients hear why, and the listener never runs into the
//! system's own limit. Must never wait for a client that is refused, nor hold more than a few of them.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use podium_kit::descriptors::{Held, Part};
use podium_wire::ErrorCode;
use podium_wire::error::{ErrorBody, WireError};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Refused connections that are answered at once; beyond it they are closed without a word. They are of the host's own
/// descriptors.
const REFUSALS_MAX: usize = 64;

/// How long a refused client may take to read its answer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);

/// Bytes of a refused request that are read: what stays unread makes the system throw the answer away.
const REFUSED_BYTES_MAX: u64 = 16 * 1024;

/// A listener that accepts no more connections than its part has.
#[derive(Debug)]
pub(crate) struct Bounded {
    listener: TcpListener,
    connections: Part,
    refusals: Part,
}

impl Bounded {
    /// Bounds a listener.
    pub(crate) fn new(listener: TcpListener, connections: Part) -> Self {
        Self { listener, connections, refusals: Part::new(REFUSALS_MAX) }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            // The trait's own accept waits out a failing system.
            let (stream, address) = Listener::accept(&mut self.listener).await;
            if let Some(held) = self.connections.take() {
                // Small frames go out at once: with Nagle's algorithm each turn would wait for the client's delayed
                // acknowledgement.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection keeps its delay");
                }
                return (Connection { stream, _held: held }, address);
            }
            let Some(held) = self.refusals.take() else { continue };
            tracing::warn!(most = self.connections.max(), "a connection is refused: there are too many");
            podium_kit::spawn::task("refused connection", async move {
                // Whether or not the client read it: it is refused.
                drop(tokio::time::timeout(REFUSAL_TIME, refuse(stream)).await);
                drop(held);
            });
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let error = WireError::new(ErrorCode::TooManyConnections, "the host has as many connections as it may");
    let body = serde_json::to_string(&ErrorBody { error }).unwrap_or_default();
    let status = ErrorCode::TooManyConnections.status();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut unread = stream.take(REFUSED_BYTES_MAX);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await.map(drop)
}

/// An accepted connection; its descriptor is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    _held: Held,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
