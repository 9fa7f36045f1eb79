//! The client, the same for every system: it looks for marks in the text of frames and parses nothing, so that it costs
//! everybody the same.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::systems::{Agent, Ask, Door};

/// Longest time without a frame that anybody expects.
const SILENCE_MAX: Duration = Duration::from_secs(240);

/// A connection to one agent.
pub struct Talk {
    door: Door,
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// What a turn showed, timed from its start.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// When the first piece of text came.
    pub first: Duration,
    /// When the frame came that says that it is durable and over.
    pub end: Duration,
    /// How many pieces came.
    pub pieces: u32,
}

impl Talk {
    /// Connects.
    pub async fn open(door: &Door, agent: &Agent) -> Result<Self, String> {
        let request = door.request(agent);
        let (stream, _) = tokio_tungstenite::connect_async(request).await.map_err(|error| error.to_string())?;
        if let MaybeTlsStream::Plain(tcp) = stream.get_ref() {
            tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        }
        Ok(Self { door: door.clone(), stream })
    }

    /// Sends a message and waits for nothing.
    pub async fn say(&mut self, ask: Ask) -> Result<(), String> {
        let text = self.door.message(ask);
        self.stream.send(Message::text(text)).await.map_err(|error| error.to_string())
    }

    /// The next text frame.
    pub async fn frame(&mut self) -> Result<String, String> {
        loop {
            let frame = tokio::time::timeout(SILENCE_MAX, self.stream.next()).await;
            match frame.map_err(|_| "no frame came".to_owned())? {
                Some(Ok(Message::Text(text))) => return Ok(text.as_str().to_owned()),
                Some(Ok(Message::Close(close))) => return Err(format!("closed: {close:?}")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("the connection ended".to_owned()),
            }
        }
    }

    /// Waits for a turn's end.
    pub async fn seen(&mut self, start: Instant) -> Result<Seen, String> {
        let (piece, end) = (self.door.piece(), self.door.end());
        let (mut first, mut pieces) = (None, 0);
        loop {
            let text = self.frame().await?;
            if text.contains(piece) {
                first.get_or_insert_with(|| start.elapsed());
                pieces += 1;
            } else if text.contains(end) {
                let end = start.elapsed();
                return Ok(Seen { first: first.unwrap_or(end), end, pieces });
            } else if text.contains(r#""event_type":"error""#) || text.contains(r#""type":"error""#) {
                return Err(text);
            }
        }
    }

    /// One turn, timed from `start`.
    pub async fn turn_from(&mut self, ask: Ask, start: Instant) -> Result<Seen, String> {
        self.say(ask).await?;
        self.seen(start).await
    }

    /// One turn that must go well, timed from now.
    pub async fn turn(&mut self, ask: Ask) -> Seen {
        self.turn_from(ask, Instant::now()).await.unwrap_or_else(|error| panic!("a turn failed: {error}"))
    }
}

/// A new agent's connection.
pub async fn new_talk(door: &Door) -> Talk {
    let agent = door.create().await.unwrap_or_else(|error| panic!("{error}"));
    Talk::open(door, &agent).await.unwrap_or_else(|error| panic!("no WebSocket: {error}"))
}

/// Makes this many agents, several at a time; each exists on disk when this answers.
pub async fn make_agents(door: &Door, count: usize) -> Result<Vec<Agent>, String> {
    /// At a time: more than cores, so that none waits for an answer.
    const AT_ONCE: usize = 16;
    let door = &door;
    futures_util::stream::iter(0..count)
        .map(async |_| {
            let agent = door.create().await?;
            if matches!(door, Door::Peer { .. }) {
                // It begins to exist with its first turn.
                Talk::open(door, &agent).await?.turn_from(Ask::stream(1), Instant::now()).await?;
            }
            Ok::<_, String>(agent)
        })
        .buffer_unordered(AT_ONCE)
        .fold(Ok(Vec::with_capacity(count)), async |all: Result<Vec<_>, String>, agent: Result<_, String>| {
            let mut all = all?;
            all.push(agent?);
            Ok(all)
        })
        .await
}
