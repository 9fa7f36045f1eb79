//! Agents that all wait in a turn at once: how many there can be, what memory each takes, and what is left of it when they
//! rest.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use podium_wire::rest::AdminStatus;

use super::{TURN, each};
use crate::memory;
use crate::report::{Bar, Figure, Line, count, ms};
use crate::stats::Times;
use crate::storage::Storage;
use crate::systems::{Agent, Ask, Door, Running, System};
use crate::talk::{Talk, new_talk};

/// What is asked of one system.
#[derive(Debug, Clone, Copy)]
struct Plan {
    agents: usize,
    clients: usize,
    /// How long each waits: longer than it takes to make them all wait.
    wait: Duration,
}

/// After this an agent without a client rests; the owner of an idle instance stays for 10 s.
const REST: Duration = Duration::from_secs(14);

/// When the number of waiting agents has not grown for so long, no more come.
const STILL: Duration = Duration::from_secs(5);

/// Messages that are posted at a time.
const AT_ONCE: usize = 16;

const KIB: f64 = 1024.0;

#[derive(Debug, Default)]
struct Found {
    /// Agents that waited in a turn at once.
    waiting: usize,
    /// Why there were not more.
    why: Option<String>,
    /// Clients that were connected meanwhile.
    clients: usize,
    /// KiB an agent while they waited and while they rested.
    waiting_kib: Option<f64>,
    resting_kib: Option<f64>,
    /// Descriptors and mappings while they waited.
    descriptors: usize,
    mappings: usize,
    /// Another agent's turns meanwhile.
    turn: Option<Times>,
    /// Turns that then ended well.
    ended: usize,
}

pub(super) async fn run() -> Vec<Line> {
    let most = super::agents_max();
    let small = Plan { agents: 1_000, clients: 1_000, wait: Duration::from_secs(15) };
    let large = Plan { agents: 10_000, clients: 1_000, wait: Duration::from_secs(60) };
    let mut lines = Vec::new();
    for plan in [small, large].into_iter().filter(|plan| plan.agents <= most) {
        let all = each(&[System::Podium, System::Workerd], &Storage::free(), async |running, _| {
            // A peer's turn begins with a connection and needs it.
            let peer = running.system() != System::Podium;
            load(running, if peer { Plan { clients: plan.agents, ..plan } } else { plan }).await
        })
        .await;
        lines.extend(lines_of(plan, &all));
    }
    lines
}

fn lines_of(plan: Plan, all: &[(System, Result<Found, String>)]) -> Vec<Line> {
    let found = |wanted: System| all.iter().find(|(system, _)| *system == wanted).map(|(_, found)| found);
    let figure = |system: System, value: fn(&Found) -> Option<f64>| match found(system) {
        Some(Ok(found)) => value(found).map_or_else(|| Figure::Missing(why(found)), Figure::Value),
        Some(Err(why)) => Figure::Missing(why.clone()),
        None => Figure::Missing("not measured".to_owned()),
    };
    let line = |what: &str, value: fn(&Found) -> Option<f64>, bar: Bar| {
        let name = format!("{what}, {} agents asked to wait", count(plan.agents));
        Line::new(name, "free", figure(System::Podium, value))
            .bar(bar)
            .beside("workerd", figure(System::Workerd, value))
    };
    let mut note = String::new();
    if let Some(Ok(podium)) = found(System::Podium) {
        note = format!(
            "{} clients connected, {} descriptors, {} mappings; {} turns then ended well{}",
            count(podium.clients),
            count(podium.descriptors),
            count(podium.mappings),
            count(podium.ended),
            podium.why.as_ref().map_or_else(String::new, |why| format!("; not more because: {why}"))
        );
    }
    if let Some(Ok(Found { waiting, why: Some(why), .. })) = found(System::Workerd) {
        note.push_str(&format!("; workerd at {waiting}: {why}"));
    }
    let most = Bar::AtLeast(plan.agents as f64);
    vec![
        line("agents waiting in a turn at once", |found| Some(found.waiting as f64), most).note(note),
        line("memory an agent that waits in a turn, KiB", |found| found.waiting_kib, Bar::AtMost(130.0)),
        // What the allocator and the guests' pool keep for the next; `wake` has what an agent at rest costs.
        line("memory kept an agent, 14 s after their turns, KiB", |found| found.resting_kib, Bar::None),
        line("another agent's turn meanwhile, p50 ms", |found| found.turn.as_ref().map(|t| ms(t.p50())), Bar::None),
    ]
}

fn why(found: &Found) -> String {
    found.why.clone().unwrap_or_else(|| "it could not be measured".to_owned())
}

async fn load(running: Running, plan: Plan) -> Result<Found, String> {
    new_talk(&running.door).await.turn(TURN).await;
    let base = memory::pss(running.pid());
    let mut found = Found::default();
    let wait = Ask::wait(u64::try_from(plan.wait.as_millis()).unwrap_or(u64::MAX));
    let agents = make(&running.door, plan.agents).await?;
    let before = match running.client() {
        Some(_) => status(&running).await?.turns_ended,
        None => 0,
    };
    let mut talks = Vec::new();
    for agent in agents.iter().take(plan.clients) {
        match connect(&running.door, agent, wait).await {
            Ok(talk) => talks.push(talk),
            Err(why) => {
                found.why = Some(why);
                break;
            }
        }
    }
    if found.why.is_none() {
        found.why = post(&running.door, &agents[plan.clients.min(agents.len())..], wait).await.err();
    }
    found.clients = talks.len();
    found.waiting = waiting(&running, plan, &mut talks).await?;
    let used = memory::pss(running.pid());
    (found.descriptors, found.mappings) = (memory::descriptors(running.pid()), memory::mappings(running.pid()));
    // A process that is gone uses nothing.
    found.waiting_kib = (used > 0).then(|| per_agent(base, used, found.waiting));
    found.turn = meanwhile(&running.door).await;
    found.ended = ended(&running, plan, before, &mut talks).await;
    drop(talks);
    if used > 0 {
        tokio::time::sleep(REST).await;
        let rest = memory::pss(running.pid());
        found.resting_kib = (rest > 0).then(|| per_agent(base, rest, found.waiting));
    }
    Ok(found)
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn per_agent(base: u64, used: u64, agents: usize) -> f64 {
    (used as f64 - base as f64) / KIB / agents.max(1) as f64
}

/// Agents that have not had a turn; a peer's begin to exist when they are connected to.
async fn make(door: &Door, count: usize) -> Result<Vec<Agent>, String> {
    let made = futures_util::stream::iter(0..count).map(|_| door.create()).buffer_unordered(AT_ONCE);
    made.collect::<Vec<_>>().await.into_iter().collect()
}

async fn connect(door: &Door, agent: &Agent, wait: Ask) -> Result<Talk, String> {
    let mut talk = Talk::open(door, agent).await?;
    talk.say(wait).await?;
    Ok(talk)
}

/// Messages without a connection.
async fn post(door: &Door, agents: &[Agent], wait: Ask) -> Result<(), String> {
    let Door::Podium { client, .. } = door else { return Ok(()) };
    let posts = futures_util::stream::iter(agents).map(async |Agent(id)| {
        let body = serde_json::json!({"id": "wait", "content": {"text": door.text(wait)}});
        let answer = client.post_json(&format!("/api/v1/instances/{id}/messages"), &body).await;
        if answer.status == 202 { Ok(()) } else { Err(format!("{}: {}", answer.status, answer.text())) }
    });
    posts.buffer_unordered(AT_ONCE).collect::<Vec<_>>().await.into_iter().collect()
}

async fn status(running: &Running) -> Result<AdminStatus, String> {
    let client = running.client().ok_or("a peer has no status")?;
    let answer = client.get("/admin/status").await;
    serde_json::from_slice(&answer.bytes).map_err(|error| format!("{error}: {}", answer.text()))
}

/// How many wait, once there come no more.
async fn waiting(running: &Running, plan: Plan, talks: &mut [Talk]) -> Result<usize, String> {
    if running.client().is_none() {
        let mut waiting = 0;
        for talk in talks {
            let Ok(frame) = talk.frame().await else { break };
            waiting += usize::from(frame.contains(r#""type":"waiting""#));
        }
        return Ok(waiting);
    }
    let (mut most, mut since) = (0, Instant::now());
    loop {
        let now = usize::try_from(status(running).await?.running_turns).unwrap_or(usize::MAX);
        if now > most {
            (most, since) = (now, Instant::now());
        }
        if most >= plan.agents || since.elapsed() > STILL {
            return Ok(most);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Turns of one more agent.
async fn meanwhile(door: &Door) -> Option<Times> {
    let agent = door.create().await.ok()?;
    let mut talk = Talk::open(door, &agent).await.ok()?;
    let mut times = Vec::new();
    for _ in 0..200 {
        times.push(talk.turn_from(TURN, Instant::now()).await.ok()?.end);
    }
    Some(Times::new(times))
}

/// How many of the waiting turns end well.
async fn ended(running: &Running, plan: Plan, before: u64, talks: &mut [Talk]) -> usize {
    let deadline = Instant::now() + plan.wait + Duration::from_secs(30);
    if running.client().is_none() {
        let mut ended = 0;
        for talk in talks {
            ended += usize::from(talk.seen(Instant::now()).await.is_ok());
        }
        return ended;
    }
    // Clients read along, as clients do; what counts is the host's own count.
    for talk in talks {
        if talk.seen(Instant::now()).await.is_err() {
            break;
        }
    }
    loop {
        let Ok(status) = status(running).await else { return 0 };
        let ended = usize::try_from(status.turns_ended.saturating_sub(before)).unwrap_or(usize::MAX);
        if status.running_turns == 0 || Instant::now() > deadline {
            // Those of the agent that was measured meanwhile are not theirs.
            return ended.min(plan.agents);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
