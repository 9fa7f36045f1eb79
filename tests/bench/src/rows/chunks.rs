//! Pieces of text that reach clients a second: long turns, every piece counted where it arrives.

use std::time::{Duration, Instant};

use futures_util::StreamExt;

use super::{CONNECTIONS, DURABLE, each, pick};
use crate::report::{Bar, Figure, Line, line};
use crate::stats::per_second;
use crate::storage::Storage;
use crate::systems::{Ask, Door, serve};
use crate::talk::new_talk;
use crate::tools;

/// Pieces of a turn.
const PIECES: u32 = 1000;

/// How long it lasts.
const LOAD: Duration = Duration::from_secs(4);

/// Bytes of a piece and of the last line as `wasmtime serve` sends them.
const SERVED_PIECE_BYTES: u64 = 38;
const SERVED_END_BYTES: u64 = 20;

pub(super) async fn run() -> Vec<Line> {
    let mut lines = Vec::new();
    for (clients, bar) in [(1, 200_000.0), (CONNECTIONS, 300_000.0)] {
        let all = each(&DURABLE, &Storage::free(), async |running, _| Ok(streamed(&running.door, clients).await)).await;
        let served = match tools::wasmtime() {
            Ok(program) => Figure::Value(served(&serve::start(&program).await.url, clients).await),
            Err(why) => Figure::Missing(why),
        };
        let what =
            format!("pieces of text a second delivered to {clients} client{}", if clients == 1 { "" } else { "s" });
        let row = line(&what, "free", &pick(&all, |rate| *rate)).bar(Bar::AtLeast(bar));
        lines.push(row.beside("wasmtime serve", served).note(format!("turns of {PIECES} pieces")));
    }
    lines
}

async fn streamed(door: &Door, clients: usize) -> f64 {
    let mut talks = Vec::new();
    for _ in 0..clients {
        let mut talk = new_talk(door).await;
        talk.turn(Ask::stream(PIECES)).await;
        talks.push(talk);
    }
    let start = Instant::now();
    let tasks: Vec<_> = talks
        .into_iter()
        .map(|mut talk| {
            tokio::spawn(async move {
                let mut pieces = 0;
                while start.elapsed() < LOAD {
                    let seen = talk.turn(Ask::stream(PIECES)).await;
                    assert_eq!(seen.pieces, PIECES, "every piece is a frame");
                    pieces += u64::from(seen.pieces);
                }
                pieces
            })
        })
        .collect();
    let mut pieces = 0;
    for task in tasks {
        pieces += task.await.expect("a connection ends");
    }
    per_second(pieces, start.elapsed())
}

async fn served(url: &str, clients: usize) -> f64 {
    let client = reqwest::Client::builder().no_proxy().tcp_nodelay(true).build().expect("an HTTP client");
    let start = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let request = client.get(format!("{url}/{PIECES}"));
            tokio::spawn(async move {
                let mut pieces = 0;
                while start.elapsed() < LOAD {
                    let response = request.try_clone().expect("no body").send().await.expect("an answer");
                    let mut body = response.bytes_stream();
                    let mut bytes = 0;
                    while let Some(part) = body.next().await {
                        bytes += part.expect("a part of the body").len() as u64;
                    }
                    assert_eq!(bytes, u64::from(PIECES) * SERVED_PIECE_BYTES + SERVED_END_BYTES, "every piece came");
                    pieces += u64::from(PIECES);
                }
                pieces
            })
        })
        .collect();
    let mut pieces = 0;
    for task in tasks {
        pieces += task.await.expect("a connection ends");
    }
    per_second(pieces, start.elapsed())
}
