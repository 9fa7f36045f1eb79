//! Recovery of an agent after `kill -9`: from the first connection to a restarted host until the agent shows its last cut,
//! with short and long histories; half of the agents were in a turn when the host died.

use std::time::{Duration, Instant};

use super::{TURN, each};
use crate::report::{Bar, Figure, Line, count, ms, number};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::{Agent, Ask, Running, System};
use crate::talk::Talk;

/// Turns that an agent has behind it, and how many such agents there are.
const HISTORIES: [(usize, usize); 3] = [(10, 20), (1_000, 20), (10_000, 4)];

struct Found {
    up: Duration,
    hello: Times,
    end: Times,
}

pub(super) async fn run() -> Vec<Line> {
    let mut lines = Vec::new();
    for storage in [Storage::free(), Storage::real()] {
        // A long history takes as many syncs to make.
        let histories = HISTORIES.iter().filter(|(turns, _)| !storage.is_real() || *turns <= 1_000);
        for (turns, agents) in histories {
            let mut all = each(&[System::Podium], &storage, async |running, folder| {
                let agents = history(&running, *agents, *turns).await?;
                let running = running.crash(folder).await;
                measure(&running, &agents).await
            })
            .await;
            let found = all.remove(0).1;
            let what = format!("after kill -9, an agent with {} turns", count(*turns));
            match found {
                Ok(Found { up, hello, end }) => {
                    let figure = |time: Duration| Figure::Value(ms(time));
                    let note = format!("the host listens {} ms after its start", number(ms(up)));
                    let line = Line::new(
                        format!("{what}: connect to its last cut, slowest, ms"),
                        storage.name,
                        figure(hello.max()),
                    );
                    lines.push(line.bar(Bar::AtMost(20.0)).note(note));
                    lines.push(Line::new(format!("{what}: the same, p50 ms"), storage.name, figure(hello.p50())));
                    let what = format!("{what}: connect to the durable end of a new turn, p50 ms");
                    lines.push(Line::new(what, storage.name, figure(end.p50())));
                }
                Err(why) => lines.push(Line::new(what, storage.name, Figure::Missing(why)).bar(Bar::AtMost(20.0))),
            }
        }
    }
    lines
}

/// Agents with this many turns; every second one is left in a turn.
async fn history(running: &Running, agents: usize, turns: usize) -> Result<Vec<Agent>, String> {
    let mut tasks = Vec::new();
    for number in 0..agents {
        let door = running.door.clone();
        tasks.push(tokio::spawn(async move {
            let agent = door.create().await?;
            let mut talk = Talk::open(&door, &agent).await?;
            for _ in 0..turns {
                talk.turn_from(Ask::stream(1), Instant::now()).await?;
            }
            if number % 2 == 0 {
                talk.say(Ask::wait(60_000)).await?;
                // Acknowledged, and so durable.
                while !talk.frame().await?.contains("message.accepted") {}
            }
            Ok::<_, String>(agent)
        }));
    }
    let mut made = Vec::new();
    for task in tasks {
        made.push(task.await.map_err(|error| error.to_string())??);
    }
    Ok(made)
}

async fn measure(running: &Running, agents: &[Agent]) -> Result<Found, String> {
    let (mut hello, mut end) = (Vec::new(), Vec::new());
    for (number, agent) in agents.iter().enumerate() {
        let start = Instant::now();
        let mut talk = Talk::open(&running.door, agent).await?;
        let first = talk.frame().await?;
        hello.push(start.elapsed());
        assert!(first.contains(r#""type":"hello""#) && !first.contains(r#""cut":0"#), "{first}");
        if number % 2 == 1 {
            end.push(talk.turn_from(TURN, start).await?.end);
        }
    }
    Ok(Found { up: running.up, hello: Times::new(hello), end: Times::new(end) })
}
