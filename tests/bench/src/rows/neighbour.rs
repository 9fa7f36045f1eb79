//! A neighbour of guests that mean harm: its turns and `/health` while twice as many guests as cores loop for ever, and while a
//! guest a core commits each abuse of `agents/hostile` that a neighbour could feel, again and again.

use std::time::{Duration, Instant};

use futures_util::future::{Either, join_all, select};
use podium_it::{Client, agents, root};
use podium_wire::InstanceId;
use serde_json::json;

use super::{TURN, each};
use crate::report::{Bar, Figure, Line, ms};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::System;
use crate::talk::{Talk, new_talk};

/// Turns and questions that are timed; they are over long before the guests reach their processor limit.
const ASKED: usize = 100;

/// How long an abuse is committed: long enough for some hundreds of questions, short enough for all of them.
const ABUSED: Duration = Duration::from_millis(800);

/// What is done, by which hostile agent, and at which command of it.
const ABUSES: &[(&str, &str, &str)] = &[
    ("recurse", "greedy", "recurse"),
    ("grow memory", "greedy", "memory"),
    ("pass lists of 4 GiB", "greedy", "list"),
    ("return lists of 4 GiB", "greedy", "return"),
    ("say 3 MB at once", "greedy", "say 3000000"),
    ("flood the log", "greedy", "log 20000"),
    ("flood standard output", "greedy", "print 20000"),
    ("double the state by patches", "greedy", "patch double"),
    ("nest the state by patches", "greedy", "patch deep"),
    ("send patches of 100,000 operations", "greedy", "patch many"),
    ("patch without end", "greedy", "patches"),
    ("draw randomness without end", "greedy", "randoms"),
    ("make pollables", "idler", "pollables"),
    ("make timers", "idler", "timers"),
    ("poll 5,000 pollables", "idler", "poll 5000"),
    ("yield without end", "idler", "yield"),
    ("leave spinning tasks", "idler", "outlive-spinning"),
    ("drop 100,000 futures", "idler", "drop 100000"),
    ("hoard futures", "idler", "hoard 1000000"),
    ("open files", "files", "handles"),
    ("open folders", "files", "folders"),
    ("open streams of files", "files", "streams"),
    ("flood clients with updates", "probe", "flood"),
];

/// The neighbour's turns and the answers of `/health`.
struct Asked {
    turns: Times,
    health: Times,
}

impl Asked {
    /// Asks both in turn until it is enough.
    async fn of(talk: &mut Talk, client: &Client, is_enough: impl Fn(usize) -> bool) -> Self {
        let (mut turns, mut health) = (Vec::new(), Vec::new());
        while !is_enough(turns.len()) {
            turns.push(talk.turn(TURN).await.end);
            let start = Instant::now();
            assert_eq!(client.get("/health").await.status, 200);
            health.push(start.elapsed());
        }
        Self { turns: Times::new(turns), health: Times::new(health) }
    }
}

/// One abuse by this many guests at once, while the neighbour is asked.
async fn abused(client: &Client, talk: &mut Talk, ids: &[InstanceId], command: &str) -> Asked {
    let commit = join_all(ids.iter().map(async |id| {
        loop {
            client.ask(*id, command).await;
        }
    }));
    let start = Instant::now();
    let asked = Asked::of(talk, client, |count| count > 0 && start.elapsed() >= ABUSED);
    let asked = match select(Box::pin(commit), Box::pin(asked)).await {
        Either::Left(_) => unreachable!("it is committed without end"),
        Either::Right((asked, _)) => asked,
    };
    // What still runs must not be felt in the next line. Some have ended by themselves.
    for id in ids {
        client.post(&format!("/api/v1/instances/{id}/interrupt")).await;
    }
    for id in ids {
        client.reply(*id, "echo over").await;
    }
    asked
}

async fn abuses(cores: usize) -> Vec<Line> {
    let mut all = each(&[System::Podium], &Storage::free(), async |running, _| {
        let client = running.client().ok_or("this host")?;
        let mut talk = new_talk(&running.door).await;
        talk.turn(TURN).await;
        for agent in ["greedy", "idler", "files"] {
            let file = agents::built(&root().join("agents/hostile").join(agent), &format!("hostile-{agent}"));
            let bytes = std::fs::read(file).map_err(|error| error.to_string())?;
            assert_eq!(client.deploy(bytes, Some(agent), Some("1.0.0")).await.status, 201);
        }
        client.deployed("probe").await;
        let mut found = Vec::new();
        for (_, agent, command) in ABUSES {
            let mut ids = Vec::new();
            for _ in 0..cores {
                ids.push(client.instance(agent).await);
            }
            found.push(abused(client, &mut talk, &ids, command).await);
        }
        Ok(found)
    })
    .await;
    let line = |what: &str, figure| {
        let what = format!("while {cores} guests {what}: a neighbour's turn or /health, slowest, ms");
        Line::new(what, "free", figure).bar(Bar::AtMost(50.0))
    };
    let of = |name: &str, times: &Times| {
        let number = |time| crate::report::number(ms(time));
        format!("{name}: p50 {}, slowest {}", number(times.p50()), number(times.max()))
    };
    match all.remove(0).1 {
        Ok(found) => {
            let lines = ABUSES.iter().zip(&found).map(|((what, ..), asked)| {
                let slowest = Figure::Value(ms(asked.turns.max().max(asked.health.max())));
                line(what, slowest).note(format!("{}; {}", of("turn", &asked.turns), of("/health", &asked.health)))
            });
            lines.collect()
        }
        Err(why) => vec![line("commit each abuse", Figure::Missing(why))],
    }
}

pub(super) async fn run() -> Vec<Line> {
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut lines = spinning(cores).await;
    lines.extend(abuses(cores).await);
    lines
}

async fn spinning(cores: usize) -> Vec<Line> {
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
        Ok(Asked::of(&mut talk, client, |count| count >= ASKED).await)
    })
    .await;
    let what = format!("while {} guests spin on {cores} cores", 2 * cores);
    match all.remove(0).1 {
        Ok(asked) => {
            let line = |name: &str, times: &Times| {
                let slowest = Figure::Value(ms(times.max()));
                let note = format!("p50 {}", crate::report::number(ms(times.p50())));
                Line::new(format!("{what}: {name}, slowest of {ASKED}, ms"), "free", slowest)
                    .bar(Bar::AtMost(50.0))
                    .note(note)
            };
            vec![line("a neighbour's turn", &asked.turns), line("/health", &asked.health)]
        }
        Err(why) => vec![Line::new(what, "free", Figure::Missing(why)).bar(Bar::AtMost(50.0))],
    }
}
