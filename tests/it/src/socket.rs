//! The WebSocket of an instance as a client sees it: frames with a deadline, and whole turns.

use futures_util::{SinkExt, StreamExt};
use podium_wire::InstanceId;
use podium_wire::error::WireError;
use podium_wire::frames::{ClientFrame, Hello, ServerFrame, Subscribe};
use podium_wire::message::MessageContent;
use podium_wire::updates::{CutMade, EventType, MessageAccepted, Update, UpdateBody};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::{Client, PATIENCE};

/// An open connection.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The first frame.
    pub hello: Hello,
}

/// What ended a connection.
#[derive(Debug)]
pub enum End {
    /// A close frame with this code.
    Closed(u16),
    /// The connection broke.
    Broken(String),
}

/// One turn, as it was seen.
#[derive(Debug)]
pub struct Turn {
    /// The message's id.
    pub message_id: String,
    /// The updates of the turn, in their order, `cut` included.
    pub updates: Vec<Update>,
    /// The text of `stream_end`, when it ended well.
    pub text: Option<String>,
    /// The error, when it did not.
    pub error: Option<WireError>,
    /// The turn's cut.
    pub cut: CutMade,
}

impl Turn {
    /// The kinds, in order.
    pub fn kinds(&self) -> Vec<EventType> {
        self.updates.iter().map(|update| update.event_type).collect()
    }

    /// The pieces of text that were streamed, joined.
    pub fn streamed(&self) -> String {
        let text = |update: &Update| match update.body() {
            Ok(UpdateBody::TextDelta(delta)) => Some(delta.text),
            _ => None,
        };
        self.updates.iter().filter_map(text).collect()
    }
}

impl Socket {
    /// Connects and reads `hello`.
    pub async fn open(client: &Client, id: InstanceId) -> Self {
        Self::try_open(client, id).await.unwrap_or_else(|error| panic!("no WebSocket: {error:?}"))
    }

    /// The same, where it may be refused.
    pub async fn try_open(client: &Client, id: InstanceId) -> Result<Self, Error> {
        Self::connect(client, id, &[]).await
    }

    /// The same with further headers.
    pub async fn connect(client: &Client, id: InstanceId, headers: &[(&'static str, &str)]) -> Result<Self, Error> {
        let url = format!("{}/agent/{id}", client.url().replacen("http://", "ws://", 1));
        let mut request = url.into_client_request()?;
        if let Some(token) = client.token() {
            let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
            request.headers_mut().insert("authorization", value);
        }
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value).expect("a header"));
        }
        let (mut stream, _) = tokio_tungstenite::connect_async(request).await?;
        match next(&mut stream).await {
            Ok(ServerFrame::Hello(hello)) => Ok(Self { stream, hello }),
            Ok(other) => panic!("the first frame is {other:?}"),
            Err(end) => Err(Error::Io(std::io::Error::other(format!("{end:?}")))),
        }
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &ClientFrame) -> Result<(), Error> {
        let text = serde_json::to_string(frame).expect("a frame can be written");
        self.stream.send(Message::text(text)).await
    }

    /// Sends whatever a story wants.
    pub async fn send_raw(&mut self, message: Message) {
        // The host may close before all of it was written; the answer is what counts.
        let _ = self.stream.send(message).await;
    }

    /// Asks for updates from a place on. What was on its way before comes again, so it is passed over here.
    pub async fn subscribe(&mut self, subscribe: Subscribe) {
        self.send(&ClientFrame::Subscribe(subscribe)).await.expect("a subscription can be sent");
        while !matches!(self.next().await, ServerFrame::Subscribed(_)) {}
    }

    /// Sends a message; answers its id.
    pub async fn say(&mut self, text: &str) -> String {
        let id = crate::message_id();
        self.say_as(&id, text).await.expect("a message can be sent");
        id
    }

    /// Sends a message with this id.
    pub async fn say_as(&mut self, id: &str, text: &str) -> Result<(), Error> {
        let content = MessageContent { text: text.to_owned(), attachments: Vec::new() };
        self.send(&ClientFrame::ProcessMessage { id: Some(id.to_owned()), content }).await
    }

    /// The next frame.
    pub async fn try_next(&mut self) -> Result<ServerFrame, End> {
        next(&mut self.stream).await
    }

    /// The next frame, which must come.
    pub async fn next(&mut self) -> ServerFrame {
        self.try_next().await.unwrap_or_else(|end| panic!("the connection ended: {end:?}"))
    }

    /// The next update; any other frame fails.
    pub async fn update(&mut self) -> Update {
        match self.next().await {
            ServerFrame::Update(update) => update,
            other => panic!("an update was expected, not {other:?}"),
        }
    }

    /// The next error frame; updates before it are passed over.
    pub async fn error(&mut self) -> WireError {
        loop {
            match self.next().await {
                ServerFrame::Error(error) => return error,
                ServerFrame::Update(_) => {}
                other => panic!("an error was expected, not {other:?}"),
            }
        }
    }

    /// Reads until the connection ends.
    pub async fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.try_next().await {
                return end;
            }
        }
    }

    /// Reads updates up to and with the first of this kind.
    pub async fn until(&mut self, kind: EventType) -> Vec<Update> {
        let mut updates = Vec::new();
        loop {
            let update = self.update().await;
            let found = update.event_type == kind;
            updates.push(update);
            if found {
                return updates;
            }
        }
    }

    /// The acknowledgement of a message, which comes before anything of its turn.
    pub async fn accepted(&mut self) -> MessageAccepted {
        let updates = self.until(EventType::MessageAccepted).await;
        match updates.last().map(Update::body) {
            Some(Ok(UpdateBody::MessageAccepted(accepted))) => accepted,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a message and reads its whole turn, to the cut.
    pub async fn turn(&mut self, text: &str) -> Turn {
        let id = self.say(text).await;
        let accepted = self.accepted().await;
        assert_eq!(accepted.id, id);
        self.rest_of_turn(id).await
    }

    /// Reads the turn of a message to its cut.
    pub async fn rest_of_turn(&mut self, message_id: String) -> Turn {
        let mut turn_id = None;
        let mut updates = Vec::new();
        let (mut text, mut error) = (None, None);
        loop {
            let update = self.update().await;
            let body = update.body().expect("an update has its shape");
            if update.message_id.as_ref() == Some(&message_id) {
                turn_id = turn_id.or_else(|| update.turn_id.clone());
            }
            let ours = turn_id.is_some() && update.turn_id == turn_id;
            match body {
                UpdateBody::Cut(cut) if turn_id.is_some() && cut.turn_id == turn_id => {
                    updates.push(update);
                    return Turn { message_id, updates, text, error, cut };
                }
                UpdateBody::StreamEnd(end) if ours => text = Some(end.text),
                UpdateBody::Error(failed) if ours => error = Some(failed),
                _ => {}
            }
            if ours {
                updates.push(update);
            }
        }
    }

    /// Closes the connection in good order.
    pub async fn close(mut self) {
        let _ = self.stream.close(None).await;
    }
}

async fn next(stream: &mut WebSocketStream<MaybeTlsStream<TcpStream>>) -> Result<ServerFrame, End> {
    loop {
        let message = tokio::time::timeout(PATIENCE, stream.next()).await.expect("a frame comes in time");
        match message {
            Some(Ok(Message::Text(text))) => {
                return Ok(ServerFrame::read(text.as_str()).unwrap_or_else(|error| panic!("{error}: {text}")));
            }
            Some(Ok(Message::Close(frame))) => return Err(End::Closed(frame.map_or(1005, |frame| frame.code.into()))),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(other)) => panic!("the host sent {other:?}"),
            Some(Err(error)) => return Err(End::Broken(error.to_string())),
            None => return Err(End::Broken("the stream ended".to_owned())),
        }
    }
}
