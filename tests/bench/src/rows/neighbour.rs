//! A neighbour of guests that spin: its turns and `/health` while twice as many guests as cores loop for ever.

use std::time::Instant;

use serde_json::json;

use super::{TURN, each};
use crate::report::{Bar, Figure, Line, ms};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::System;
use crate::talk::new_talk;

/// Turns and questions that are timed; they are over long before the guests reach their processor limit.
const ASKED: usize = 100;

pub(super) async fn run() -> Vec<Line> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut all = each(&[System::Podium], &Storage::free(), async |running, _| {
        let client = running.client().ok_or("this host")?;
        let mut talk = new_talk(&running.door).await;
        talk.turn(TURN).await;
        for _ in 0..2 * cores {
            let agent = running.door.create().await?;
            let body = json!({"content": {"text": "spin"}});
            let answer = client.post_json(&format!("/api/v1/instances/{}/messages", agent.0), &body).await;
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
        let (mut turns, mut health) = (Vec::new(), Vec::new());
        for _ in 0..ASKED {
            turns.push(talk.turn(TURN).await.end);
            let start = Instant::now();
            assert_eq!(client.get("/health").await.status, 200);
            health.push(start.elapsed());
        }
        Ok((Times::new(turns), Times::new(health)))
    })
    .await;
    let what = format!("while {} guests spin on {cores} cores", 2 * cores);
    match all.remove(0).1 {
        Ok((turns, health)) => {
            let line = |name: &str, times: &Times| {
                let slowest = Figure::Value(ms(times.max()));
                let note = format!("p50 {}", crate::report::number(ms(times.p50())));
                Line::new(format!("{what}: {name}, slowest of {ASKED}, ms"), "free", slowest)
                    .bar(Bar::AtMost(50.0))
                    .note(note)
            };
            vec![line("a neighbour's turn", &turns), line("/health", &health)]
        }
        Err(why) => vec![Line::new(what, "free", Figure::Missing(why)).bar(Bar::AtMost(50.0))],
    }
}
