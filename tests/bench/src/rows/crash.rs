//! Acknowledged and lost after `kill -9`: a short form of the story `crash` of tests/it, which also compares every table.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::{CONNECTIONS, each};
use crate::report::{Bar, Line, line};
use crate::storage::Storage;
use crate::systems::{Agent, Ask, Door, Running, System};
use crate::talk::Talk;

/// Deaths.
const ROUNDS: u64 = 5;

/// What one client was promised.
#[derive(Default)]
struct Promised {
    agent: String,
    acknowledged: Vec<String>,
    ended: u64,
}

pub(super) async fn run() -> Vec<Line> {
    let all = each(&[System::Podium], &Storage::real(), async |running, folder| {
        let mut running = running;
        let (mut promised, mut lost) = (0, 0);
        for round in 0..ROUNDS {
            let (some, gone);
            (running, some, gone) = round_of(running, folder, round).await?;
            promised += some;
            lost += gone;
        }
        Ok((promised, lost))
    })
    .await;
    let promised = all.first().and_then(|(_, found)| found.as_ref().ok()).map_or(0, |found| found.0);
    let lost = super::pick(&all, |(_, lost)| *lost as f64);
    let what = "acknowledged and lost after kill -9";
    let note = format!(
        "{ROUNDS} deaths under {CONNECTIONS} connections, {promised} acknowledgements and ended turns looked for; hundreds of \
         deaths: `crash` in tests/it"
    );
    vec![line(what, "real", &lost).bar(Bar::AtMost(0.0)).note(note)]
}

/// One death; answers how many promises there were and how many were broken.
async fn round_of(running: Running, folder: &Path, round: u64) -> Result<(Running, u64, u64), String> {
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let agent = running.door.create().await?;
        tasks.push(tokio::spawn(talk(running.door.clone(), agent)));
    }
    tokio::time::sleep(Duration::from_millis(300 + 130 * round)).await;
    let running = running.crash(folder).await;
    let (mut promised, mut lost) = (0, 0);
    for task in tasks {
        let Promised { agent, acknowledged, ended } = task.await.map_err(|error| error.to_string())?;
        promised += acknowledged.len() as u64 + ended;
        lost += missing(&running, &agent, &acknowledged, ended).await?;
    }
    Ok((running, promised, lost))
}

/// Turns until the host dies.
async fn talk(door: Door, agent: Agent) -> Promised {
    let mut promised = Promised { agent: agent.0.clone(), ..Promised::default() };
    let Ok(mut talk) = Talk::open(&door, &agent).await else { return promised };
    while talk.say(Ask::stream(1)).await.is_ok() {
        loop {
            let Ok(frame) = talk.frame().await else { return promised };
            if frame.contains(r#""event_type":"message.accepted""#) {
                let frame: Value = serde_json::from_str(&frame).expect("a frame is JSON");
                promised.acknowledged.push(frame["content"]["id"].as_str().expect("an id").to_owned());
            }
            if frame.contains(door.end()) {
                promised.ended += 1;
                break;
            }
        }
    }
    promised
}

/// How many promises were broken: an acknowledged message is known when it is sent again, an ended turn is counted.
async fn missing(running: &Running, agent: &str, acknowledged: &[String], ended: u64) -> Result<u64, String> {
    let client = running.client().ok_or("this host")?;
    let mut lost = 0;
    for id in acknowledged {
        let body = json!({"id": id, "content": {"text": running.door.text(Ask::stream(1))}});
        let receipt: Value = client.post_json(&format!("/api/v1/instances/{agent}/messages"), &body).await.with(202);
        lost += u64::from(receipt["duplicate"] != true);
    }
    let state: Value = client.get(&format!("/api/v1/instances/{agent}/state")).await.with(200);
    let count = state["state"]["count"].as_u64().unwrap_or(0);
    Ok(lost + ended.saturating_sub(count))
}
