//! The WebSocket at `/agent/{id}`: frames in, updates out (DESIGN §7, TURN.md §4).
//!
//! One task a connection: it reads frames, hands them to the owner, and writes what the hub has queued, many frames
//! to a flush. Must never wait for a client longer than [`WRITE_MAX`], nor hold anything of the instance meanwhile.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use futures_util::SinkExt;
use podium_capabilities::ask::Given;
use podium_kit::HttpError;
use podium_kit::descriptors::Held;
use podium_store::InstanceStore;
use podium_wire::asks::{GivenAnswer, GivenDecision};
use podium_wire::frames::{ClientFrame, CloseCode, FRAME_BYTES_MAX, Pong, ServerFrame, Subscribe, Subscribed};
use podium_wire::updates::Update;
use podium_wire::{ErrorCode, InstanceId, WireError};
use tokio::sync::oneshot;

use super::asks;
use super::extract::Instance;
use super::messages::incoming;
use crate::error::Error;
use crate::host::Parts;
use crate::hub::{Client, Drained, Hub, NoPlace, Resume, frame, lagged};
use crate::instances::Shown;
use crate::owner::{Ack, Command, SteerAck};
use crate::spans;

/// How often a connection asks for the instance's hub: an owner rests for seconds before it leaves, so a second time finds the
/// next one's.
const OPEN_TRIES: u32 = 3;

/// How long a client may take to read what was written.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// Rows that a resume reads at once.
const RESUME_ROWS: usize = 500;

/// Bytes that are gathered for one write to the socket.
const WRITE_BUFFER_BYTES: usize = 128 * 1024;

/// Bytes that are read from the socket at once: each connection holds as many, and each read clears them first. A
/// usual message fits; a larger one is read in pieces.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Upgrades the connection.
pub(super) async fn connect(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, HttpError> {
    let upgrade = upgrade.map_err(|error| HttpError::new(ErrorCode::BadRequest, error.body_text()))?;
    let place = parts.websockets.take().ok_or_else(|| {
        HttpError::new(ErrorCode::TooManyConnections, format!("{} WebSockets are open", parts.websockets.max()))
    })?;
    let (shown, client) = join(&parts, id).await?;
    let connection = Connection { store: parts.store.instance(id), parts, id, shown, client, _place: place };
    Ok(upgrade
        // Larger frames are still read, so that they can be answered by an error, but never held whole beyond this.
        .max_message_size(2 * FRAME_BYTES_MAX)
        .max_frame_size(2 * FRAME_BYTES_MAX)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .read_buffer_size(READ_BUFFER_BYTES)
        .on_upgrade(async move |socket| connection.run(socket).await))
}

/// Joins the hub of an instance.
async fn join(parts: &Arc<Parts>, id: InstanceId) -> Result<(Arc<Shown>, Arc<Client>), HttpError> {
    for _ in 0..OPEN_TRIES {
        let shown = parts.instances.ask(parts, id, Command::Open).await?;
        match shown.hub.connect() {
            Ok(client) => return Ok((shown, client)),
            Err(NoPlace::Full) => {
                return Err(HttpError::new(ErrorCode::Busy, "the instance has too many connections"));
            }
            // Its owner went to rest in between, or is being removed: asking again finds out which.
            Err(NoPlace::Closed) => {}
        }
    }
    Err(HttpError::new(ErrorCode::Busy, "the instance is going away"))
}

struct Connection {
    parts: Arc<Parts>,
    id: InstanceId,
    store: InstanceStore,
    shown: Arc<Shown>,
    client: Arc<Client>,
    /// Its share of the descriptors for WebSockets.
    _place: Held,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shown.hub.disconnect(&self.client);
    }
}

/// Why a connection ends.
enum End {
    /// The client went away.
    Gone,
    /// The server closes it.
    Close(CloseCode),
}

impl Connection {
    async fn run(self, mut socket: WebSocket) {
        let counted = Arc::clone(&self.parts);
        let _counted = counted.metrics.client();
        if let Err(End::Close(code)) = self.serve(&mut socket).await {
            let close = CloseFrame { code: code.number(), reason: code.reason().into() };
            let send = socket.send(Message::Close(Some(close)));
            drop(tokio::time::timeout(WRITE_MAX, send).await);
        }
    }

    async fn serve(&self, socket: &mut WebSocket) -> Result<(), End> {
        loop {
            tokio::select! {
                () = self.client.ready() => self.flush(socket).await?,
                message = socket.recv() => match message {
                    Some(Ok(message)) => self.take(socket, message).await?,
                    Some(Err(error)) if is_too_big(&error) => return Err(self.too_big(socket).await),
                    Some(Err(_)) => return Err(End::Gone),
                    None => return Err(End::Gone),
                },
            }
        }
    }

    /// Writes what is queued, in one flush.
    async fn flush(&self, socket: &mut WebSocket) -> Result<(), End> {
        let Drained { mut frames, lagged_from, closed } = self.client.drain();
        if let Some(from_seq) = lagged_from {
            self.parts.metrics.client_lagged();
            frames.push(lagged(from_seq, self.shown.hub.position().last_seq, self.parts.clock.now_ms()));
        }
        write(socket, frames).await?;
        closed.map_or(Ok(()), |code| Err(End::Close(code)))
    }

    /// Does what a frame asks.
    async fn take(&self, socket: &mut WebSocket, message: Message) -> Result<(), End> {
        let text = match message {
            Message::Text(text) => text,
            Message::Binary(_) => {
                self.refuse(WireError::new(ErrorCode::BinaryFrame, "a binary frame came in"));
                self.flush(socket).await?;
                return Err(End::Close(CloseCode::NotText));
            }
            Message::Close(_) => return Err(End::Gone),
            Message::Ping(_) | Message::Pong(_) => return Ok(()),
        };
        if text.len() > FRAME_BYTES_MAX {
            return Err(self.too_big(socket).await);
        }
        match ClientFrame::read(&text) {
            Ok(ClientFrame::ProcessMessage { id, content }) => {
                match incoming(&self.parts, id, content, "ws", spans::accept(None)) {
                    Ok(message) => {
                        let accept = Command::Accept(message, Ack::Client(Arc::clone(&self.client)));
                        self.parts.instances.send(&self.parts, self.id, accept);
                    }
                    Err(error) => self.refuse(error.into()),
                }
            }
            Ok(ClientFrame::Steer { id, content }) => {
                match incoming(&self.parts, id, content, "ws", spans::accept(None)) {
                    Ok(steer) => {
                        let steer = Command::Steer(steer, SteerAck::Client(Arc::clone(&self.client)));
                        self.parts.instances.send(&self.parts, self.id, steer);
                    }
                    Err(error) => self.refuse(error.into()),
                }
            }
            Ok(ClientFrame::Interrupt {}) => self.interrupt(),
            Ok(ClientFrame::Answer(GivenAnswer { request_id, answer })) => {
                asks::from_client(&self.parts, self.id, &self.client, request_id, Given::Answer(answer));
            }
            Ok(ClientFrame::Approve(GivenDecision { request_id, decision })) => {
                asks::from_client(&self.parts, self.id, &self.client, request_id, Given::Decision(decision));
            }
            Ok(ClientFrame::Ping { id }) => Hub::reply(&self.client, &ServerFrame::Pong(Pong { id })),
            Ok(ClientFrame::Subscribe(from)) => self.subscribe(socket, &from).await?,
            Err(error) => self.refuse(error),
        }
        Ok(())
    }

    fn refuse(&self, error: WireError) {
        Hub::reply_error(&self.client, error);
    }

    async fn too_big(&self, socket: &mut WebSocket) -> End {
        let message = format!("a frame of more than {FRAME_BYTES_MAX} bytes came in");
        self.refuse(WireError::new(ErrorCode::FrameTooBig, message));
        match self.flush(socket).await {
            Ok(()) => End::Close(CloseCode::TooBig),
            Err(end) => end,
        }
    }

    fn interrupt(&self) {
        let (reply, answer) = oneshot::channel();
        self.parts.instances.send(&self.parts, self.id, Command::Interrupt(reply));
        let client = Arc::clone(&self.client);
        podium_kit::spawn::task("interrupt answer", async move {
            if let Ok(Err(error)) = answer.await {
                Hub::reply_error(&client, error.into());
            }
        });
    }

    /// Sends everything from a place on: committed rows, the running attempt, then live frames.
    async fn subscribe(&self, socket: &mut WebSocket, from: &Subscribe) -> Result<(), End> {
        self.flush(socket).await?;
        let Resume { after_seq, through_seq, seen, first, then } =
            self.shown.hub.subscribe(&self.client, from, self.parts.clock.now_ms());
        write(socket, vec![frame(&ServerFrame::Subscribed(Subscribed { after_seq, through_seq }))]).await?;
        write(socket, first).await?;
        let mut at = after_seq;
        while at < through_seq {
            let rows = match self.store.updates_after(at, RESUME_ROWS).await {
                Ok(rows) => rows,
                Err(error) => {
                    self.refuse(Error::from(error).into());
                    return Ok(());
                }
            };
            let Some(last) = rows.last().and_then(|row| row.seq) else { break };
            at = last;
            let wanted = rows.into_iter().filter(|row| row.seq.is_some_and(|seq| seq <= through_seq));
            let frames = wanted.filter(|row| !was_seen(row, seen.as_ref())).map(|row| frame(&ServerFrame::Update(row)));
            write(socket, frames.collect()).await?;
        }
        write(socket, then).await
    }
}

/// True for a row that the subscriber has seen live.
fn was_seen(row: &Update, seen: Option<&(String, u32, u64)>) -> bool {
    seen.is_some_and(|(turn_id, attempt, n)| {
        row.turn_id.as_ref() == Some(turn_id) && row.attempt == Some(*attempt) && row.n.is_some_and(|at| at <= *n)
    })
}

async fn write(socket: &mut WebSocket, frames: Vec<Utf8Bytes>) -> Result<(), End> {
    if frames.is_empty() {
        return Ok(());
    }
    let all = async {
        for frame in frames {
            socket.feed(Message::Text(frame)).await?;
        }
        socket.flush().await
    };
    match tokio::time::timeout(WRITE_MAX, all).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Gone),
        Err(_) => Err(End::Close(CloseCode::Slow)),
    }
}

/// True when a frame was larger than is read at all.
fn is_too_big(error: &axum::Error) -> bool {
    // axum hides tungstenite's type; its text tells capacity from the rest.
    error.to_string().contains("too long")
}
