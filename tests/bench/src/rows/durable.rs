//! A turn that waits for a person is brought back to its wait: after `stop` and `start` in a host that runs, and after a restart
//! of the host; by a journal of a hundred effects.

use std::path::Path;
use std::time::{Duration, Instant};

use podium_it::{Client, PATIENCE, agents};
use podium_wire::InstanceId;
use podium_wire::asks::AskList;

use super::each;
use crate::report::{Bar, Figure, Line, ms, number};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::{Door, Running, System};

/// Effects that were recorded, besides the question.
const EFFECTS: usize = 100;
/// How often one agent is stopped and started.
const ROUNDS: usize = 100;
/// How often the host is killed and started.
const RESTARTS: usize = 10;
/// A turn that is brought back at once, DESIGN §11.
const BAR_MS: f64 = 5.0;

struct Found {
    started: Times,
    restarted: Times,
}

pub(super) async fn run() -> Vec<Line> {
    let mut lines = Vec::new();
    for storage in [Storage::free(), Storage::real()] {
        let mut all = each(&[System::Podium], &storage, measure).await;
        let what = format!("a turn with {EFFECTS} recorded effects, back to its wait");
        match all.remove(0).1 {
            Ok(Found { started, restarted }) => {
                let figure = |time: Duration| Figure::Value(ms(time));
                let note = format!("p99 {} ms; `start` and `asks` over HTTP", number(ms(started.p99())));
                let line = Line::new(format!("{what}: in a running host, p50 ms"), storage.name, figure(started.p50()));
                lines.push(line.bar(Bar::AtMost(BAR_MS)).note(note));
                let line = Line::new(format!("{what}: after kill -9, p50 ms"), storage.name, figure(restarted.p50()));
                lines.push(
                    line.note("from the host's first answer, with the databases and the code to open".to_owned()),
                );
            }
            Err(why) => lines.push(Line::new(what, storage.name, Figure::Missing(why)).bar(Bar::AtMost(BAR_MS))),
        }
    }
    lines
}

async fn measure(mut running: Running, folder: &Path) -> Result<Found, String> {
    let client = client(&running)?;
    let deployed = client.deploy(agents::component("juggler"), None, None).await;
    if deployed.status != 201 {
        return Err(deployed.text());
    }
    let id = client.instance("juggler").await;
    client.post_message(id, "m", &format!("effects {EFFECTS}")).await;
    waits(&client, id).await?;
    let mut started = Vec::new();
    for _ in 0..ROUNDS {
        accepted(&client.post(&format!("/agent/{id}/stop")).await)?;
        let begun = Instant::now();
        accepted(&client.post(&format!("/agent/{id}/start")).await)?;
        waits(&client, id).await?;
        started.push(begun.elapsed());
    }
    let mut restarted = Vec::new();
    for _ in 0..RESTARTS {
        running = running.crash(folder).await;
        let client = self::client(&running)?;
        let begun = Instant::now();
        waits(&client, id).await?;
        restarted.push(begun.elapsed());
    }
    Ok(Found { started: Times::new(started), restarted: Times::new(restarted) })
}

fn client(running: &Running) -> Result<Client, String> {
    match &running.door {
        Door::Podium { client, .. } => Ok(client.clone()),
        _ => Err("another system".to_owned()),
    }
}

fn accepted(answer: &podium_it::client::Answer) -> Result<(), String> {
    if answer.status / 100 == 2 { Ok(()) } else { Err(answer.text()) }
}

/// Until the question is open. While a turn is on its way back the host answers when it is there.
async fn waits(client: &Client, id: InstanceId) -> Result<(), String> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if client.get(&format!("/agent/{id}/asks")).await.with::<AskList>(200).asks.len() == 1 {
            return Ok(());
        }
    }
    Err("the turn does not wait".to_owned())
}
