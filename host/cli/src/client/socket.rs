//! The WebSocket of an instance: frames of podium-wire in both directions.
//!
//! Says of every end whether another try makes sense. Must never wait for a peer without a bound.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use podium_wire::frames::{ClientFrame, CloseCode, ServerFrame};
use podium_wire::{ErrorCode, InstanceId};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{CONNECT_WAIT, Client, body};
use crate::exit::Failure;

/// Most bytes of a frame from a server: the whole output of a turn, 64 MiB at most, grows at most sixfold by escapes,
/// and nobody writes only escapes.
const FRAME_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How long a frame may take to leave.
const SEND_WAIT: Duration = Duration::from_secs(10);

/// An open connection to an instance.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// Why there is no connection, or none any more.
#[derive(Debug)]
pub(crate) enum Gone {
    /// Another try may succeed.
    Lost(Failure),
    /// The server will not have us.
    Refused(Failure),
}

impl Client {
    /// Connects to an instance.
    pub(crate) async fn socket(&self, instance: InstanceId) -> Result<Socket, Gone> {
        let mut url = self.url(&["agent", &instance.to_string()]).map_err(Gone::Refused)?;
        if url.set_scheme("ws").is_err() {
            return Err(Gone::Refused(Failure::usage(format!("`{url}` is not a server's address"))));
        }
        let bad =
            |error: &dyn std::fmt::Display| Gone::Refused(Failure::usage(format!("cannot ask for {url}: {error}")));
        let mut request = url.as_str().into_client_request().map_err(|error| bad(&error))?;
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| bad(&error))?;
            value.set_sensitive(true);
            request.headers_mut().insert(AUTHORIZATION, value);
        }
        let limits =
            WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX)).max_frame_size(Some(FRAME_BYTES_MAX));
        let connecting = tokio_tungstenite::connect_async_with_config(request, Some(limits), true);
        match tokio::time::timeout(CONNECT_WAIT, connecting).await {
            Ok(Ok((stream, _))) => Ok(Socket { stream }),
            Ok(Err(Error::Http(answer))) => {
                let status = answer.status().as_u16();
                let failure = body::refusal(status, answer.body().as_deref().unwrap_or_default());
                if status >= 500 { Err(Gone::Lost(failure)) } else { Err(Gone::Refused(failure)) }
            }
            Ok(Err(error)) => Err(Gone::Lost(Failure::new(
                ErrorCode::Unreachable,
                format!("no server answers at {}: {error}", self.address()),
            ))),
            Err(_) => Err(Gone::Lost(Failure::new(
                ErrorCode::Unreachable,
                format!("the server at {} did not answer in time", self.address()),
            ))),
        }
    }
}

impl Socket {
    /// Sends a frame.
    pub(crate) async fn send(&mut self, frame: &ClientFrame) -> Result<(), Gone> {
        let text = serde_json::to_string(frame).map_err(|error| {
            Gone::Refused(Failure::new(ErrorCode::Internal, format!("cannot write a frame: {error}")))
        })?;
        match tokio::time::timeout(SEND_WAIT, self.stream.send(Message::text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(lost(&error)),
            Err(_) => Err(Gone::Lost(Failure::new(ErrorCode::ConnectionLost, "the server takes no more frames"))),
        }
    }

    /// The next frame. Frames of a kind that this version does not know are passed over. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Result<ServerFrame, Gone> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => match ServerFrame::read(text.as_str()) {
                    Ok(frame) => return Ok(frame),
                    Err(error) => tracing::debug!(%error, "a frame of an unknown shape"),
                },
                Some(Ok(Message::Close(close))) => return Err(closed(close.map(|close| close.code.into()))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(lost(&error)),
                None => return Err(closed(None)),
            }
        }
    }
}

fn lost(error: &Error) -> Gone {
    Gone::Lost(Failure::new(ErrorCode::ConnectionLost, format!("the connection was lost: {error}")))
}

fn closed(code: Option<u16>) -> Gone {
    let is = |close: CloseCode| code == Some(close.number());
    if is(CloseCode::Unauthorized) {
        Gone::Refused(Failure::new(ErrorCode::Unauthorized, "the server does not take the token any more"))
    } else if is(CloseCode::TooBig) {
        Gone::Refused(Failure::new(ErrorCode::FrameTooBig, "the message is too big for one frame"))
    } else if is(CloseCode::NotText) {
        Gone::Refused(Failure::new(ErrorCode::BinaryFrame, "the server took a frame for binary"))
    } else {
        Gone::Lost(Failure::new(ErrorCode::ConnectionLost, "the server closed the connection"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_codes_say_whether_to_come_back() {
        for code in [None, Some(1000), Some(1006), Some(CloseCode::Shutdown.number()), Some(CloseCode::Slow.number())] {
            assert!(matches!(closed(code), Gone::Lost(_)), "{code:?}");
        }
        // After `moved` the next connection finds the instance, or a 404.
        assert!(matches!(closed(Some(CloseCode::Moved.number())), Gone::Lost(_)));
        for code in [CloseCode::Unauthorized, CloseCode::TooBig, CloseCode::NotText] {
            assert!(matches!(closed(Some(code.number())), Gone::Refused(_)), "{code:?}");
        }
    }
}
