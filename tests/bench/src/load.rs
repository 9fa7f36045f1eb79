//! The loads, the same for every peer: brand-new agents, one warm connection, many connections.
//!
//! A peer is told apart only by how an agent is reached, how a message looks and which frame ends a turn. The client
//! looks for that frame's mark in the text and parses nothing, so that it costs the same for both.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::disk::per_second;
use crate::stats::Times;

/// Connections of the throughput measurement.
pub const CONNECTIONS: usize = 32;

/// How long it lasts.
pub const LOAD: Duration = Duration::from_secs(5);

/// Brand-new agents, one after another.
const NEW_AGENTS: usize = 100;

/// Turns over one warm connection: some to warm up, then those that are timed.
const WARM_UP: usize = 200;
const WARM_TURNS: usize = 2000;

/// Pieces of text that a turn streams, each its own frame.
pub const PIECES: usize = 20;

/// How one peer is talked to.
pub trait Peer: Clone + Send + Sync + 'static {
    /// Makes a brand-new agent and answers the request that opens its WebSocket.
    fn new_agent(&self) -> impl Future<Output = Request> + Send;

    /// A message that asks for a turn.
    fn message(&self, number: usize) -> String;

    /// What stands in the first frame that shows the agent's answer.
    fn first(&self) -> &'static str;

    /// What stands in the frame that says that the turn is durable and over.
    fn end(&self) -> &'static str;
}

/// What was measured of a peer.
#[derive(Debug, Clone)]
pub struct Loads {
    /// From nothing to the first piece of a reply.
    pub create_first: Times,
    /// From nothing to a durable end of the first turn.
    pub create_complete: Times,
    /// One turn on a warm connection.
    pub turn: Times,
    /// Turns a second over many connections, each to its own agent.
    pub turns_per_second: f64,
    /// One of those turns.
    pub loaded_turn: Times,
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn connect(request: Request) -> Stream {
    let (stream, _) = tokio_tungstenite::connect_async(request).await.expect("a WebSocket");
    if let MaybeTlsStream::Plain(tcp) = stream.get_ref() {
        tcp.set_nodelay(true).expect("no delay");
    }
    stream
}

/// One turn; answers when its first piece and its end came.
async fn turn<P: Peer>(peer: &P, stream: &mut Stream, number: usize, start: Instant) -> (Duration, Duration) {
    stream.send(Message::text(peer.message(number))).await.expect("a message is sent");
    let mut first = None;
    loop {
        let frame = stream.next().await.expect("the connection stays").expect("a frame");
        let Message::Text(text) = frame else { continue };
        if first.is_none() && text.contains(peer.first()) {
            first = Some(start.elapsed());
        }
        if text.contains(peer.end()) {
            let end = start.elapsed();
            return (first.unwrap_or(end), end);
        }
        assert!(!text.contains("\"event_type\":\"error\"") && !text.contains("\"type\":\"error\""), "{text}");
    }
}

/// Measures a peer.
pub async fn measure<P: Peer>(peer: P) -> Loads {
    let (mut first, mut complete) = (Vec::new(), Vec::new());
    // The first agent pays for what is made once: compiled code, caches. It is not counted for anybody.
    for number in 0..=NEW_AGENTS {
        let start = Instant::now();
        let mut stream = connect(peer.new_agent().await).await;
        let (piece, end) = turn(&peer, &mut stream, number, start).await;
        if number > 0 {
            first.push(piece);
            complete.push(end);
        }
        drop(stream);
    }
    let mut stream = connect(peer.new_agent().await).await;
    let mut times = Vec::with_capacity(WARM_TURNS);
    for number in 0..WARM_UP + WARM_TURNS {
        let (_, end) = turn(&peer, &mut stream, number, Instant::now()).await;
        if number >= WARM_UP {
            times.push(end);
        }
    }
    drop(stream);
    let (turns_per_second, loaded_turn) = many(&peer).await;
    Loads {
        create_first: Times::new(first),
        create_complete: Times::new(complete),
        turn: Times::new(times),
        turns_per_second,
        loaded_turn,
    }
}

async fn many<P: Peer>(peer: &P) -> (f64, Times) {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = connect(peer.new_agent().await).await;
        turn(peer, &mut stream, 0, Instant::now()).await;
        streams.push(stream);
    }
    let start = Instant::now();
    let tasks: Vec<_> = streams
        .into_iter()
        .map(|mut stream| {
            let peer = peer.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                let mut number = 1;
                while start.elapsed() < LOAD {
                    let (_, end) = turn(&peer, &mut stream, number, Instant::now()).await;
                    times.push(end);
                    number += 1;
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.expect("a connection ends"));
    }
    (per_second(times.len() as u64, start.elapsed()), Times::new(times))
}
