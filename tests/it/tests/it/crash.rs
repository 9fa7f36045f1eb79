//! Two hundred deaths: `kill -9` at random moments under load, and nothing that was promised is lost.
//!
//! `PODIUM_CRASH_ROUNDS` sets another number of rounds, `PODIUM_CRASH_SEED` repeats a run's moments.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use podium_it::database::{Databases, Durable};
use podium_it::socket::{End, Socket};
use podium_it::{Client, Host, agents, message_id};
use podium_wire::InstanceId;
use podium_wire::frames::{ServerFrame, Subscribe};
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{Update, UpdateBody};
use serde_json::json;
use tokio::sync::watch;

/// Rounds unless told otherwise.
const ROUNDS: u64 = 200;

/// Instances under load, each with a client of its own.
const INSTANCES: usize = 3;

/// Messages that a client has under way at once.
const WINDOW: usize = 4;

/// The longest that a host lives, in milliseconds.
const LIFE_MS_MAX: u64 = 180;

/// Small, fast and repeatable: the moments need no better randomness (xorshift64*).
pub(crate) struct Moments(u64);

impl Moments {
    /// The moments of a run with this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

pub(crate) fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// What one client was promised and shown.
#[derive(Default)]
pub(crate) struct Known {
    /// Messages that were acknowledged, with their place in the inbox.
    acknowledged: BTreeMap<String, u64>,
    /// Messages sent and not acknowledged yet: sent again after a crash, with the same id.
    pending: Vec<String>,
    /// Durable updates that were shown with a number.
    numbered: BTreeMap<u64, (String, String)>,
    /// Durable updates that were shown live and then made true by a cut: turn, attempt, place → number and kind.
    made_true: Vec<(String, u32, u64, String)>,
    /// Cuts that were shown, with the numbers that they gave.
    cuts: BTreeMap<u64, (Option<u64>, Option<u64>)>,
    /// Messages that were sent again and found to be known already.
    duplicates: u64,
}

impl Known {
    /// Takes an update of the connection whose live updates are kept beside it.
    pub(crate) fn take(&mut self, update: &Update, live: &mut Vec<(String, u32, u64, String)>) {
        let kind = update.event_type.name().to_owned();
        if let Some(seq) = update.seq {
            let content = update.content.get().to_owned();
            let before = self.numbered.insert(seq, (kind, content.clone()));
            if let Some((_, before)) = before {
                assert_eq!(before, content, "update {seq} changed its content");
            }
            return;
        }
        if update.event_type.is_durable() {
            let turn = update.turn_id.clone().expect("a live update has a turn");
            let attempt = update.attempt.expect("a live update has an attempt");
            live.push((turn, attempt, update.n.expect("a live update has a place"), kind));
            return;
        }
        match update.body().expect("an update has its shape") {
            UpdateBody::MessageAccepted(accepted) => {
                self.pending.retain(|id| *id != accepted.id);
                self.duplicates += u64::from(accepted.duplicate);
                let before = self.acknowledged.insert(accepted.id.clone(), accepted.inbox_seq);
                assert!(before.is_none_or(|before| before == accepted.inbox_seq), "{} moved in the inbox", accepted.id);
            }
            UpdateBody::Cut(cut) => {
                let before = self.cuts.insert(cut.cut, (cut.first_seq, cut.last_seq));
                assert!(before.is_none_or(|before| before == (cut.first_seq, cut.last_seq)), "cut {} changed", cut.cut);
                let (Some(turn), Some(attempt)) = (&cut.turn_id, cut.attempt) else { return };
                let (ours, others): (Vec<_>, Vec<_>) = live
                    .drain(..)
                    .partition(|(of, tried, n, _)| of == turn && *tried == attempt && *n <= cut.through_n);
                let numbers = cut.first_seq.unwrap_or(1)..=cut.last_seq.unwrap_or(0);
                let failed = self.numbered.iter().any(|(seq, (kind, _))| numbers.contains(seq) && kind == "error");
                // Of a turn that failed nothing becomes true but that it did, and that is told with its number.
                if !failed {
                    self.made_true.extend(ours);
                }
                *live = others;
            }
            UpdateBody::TurnRestarted(restarted) => live.retain(|(turn, ..)| *turn != restarted.turn_id),
            _ => {}
        }
    }

    pub(crate) fn after_seq(&self) -> u64 {
        // Only what was shown with a number counts: the rest is asked for again.
        let mut last = 0;
        while self.numbered.contains_key(&(last + 1)) {
            last += 1;
        }
        last
    }
}

/// Talks to one instance until the host dies.
async fn talk(client: Client, id: InstanceId, known: Arc<Mutex<Known>>, mut stop: watch::Receiver<bool>) {
    let Ok(mut socket) = Socket::try_open(&client, id).await else { return };
    let after_seq = lock(&known).after_seq();
    let subscribe = podium_wire::frames::ClientFrame::Subscribe(Subscribe { after_seq, ..Subscribe::default() });
    if socket.send(&subscribe).await.is_err() {
        return;
    }
    // What was not acknowledged is said again with its own id.
    let again = lock(&known).pending.clone();
    for message in again {
        if socket.say_as(&message, "add").await.is_err() {
            return;
        }
    }
    let mut live = Vec::new();
    let mut subscribed = false;
    loop {
        while !*stop.borrow() && lock(&known).pending.len() < WINDOW {
            let message = message_id();
            lock(&known).pending.push(message.clone());
            if socket.say_as(&message, "add").await.is_err() {
                return;
            }
        }
        let frame = tokio::select! {
            frame = socket.try_next() => frame,
            _ = stop.changed() => {
                if lock(&known).pending.is_empty() { return; }
                continue;
            }
        };
        match frame {
            Ok(ServerFrame::Subscribed(_)) => subscribed = true,
            // What comes before is repeated behind it.
            Ok(ServerFrame::Update(_)) if !subscribed => {}
            Ok(ServerFrame::Update(update)) => lock(&known).take(&update, &mut live),
            Ok(ServerFrame::Error(error)) => assert!(error.retryable, "{error:?}"),
            Ok(other) => panic!("{other:?}"),
            Err(End::Closed(_) | End::Broken(_)) => return,
        }
        if *stop.borrow() && lock(&known).pending.is_empty() {
            return;
        }
    }
}

pub(crate) fn lock(known: &Mutex<Known>) -> std::sync::MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes instances and writes files while the host lives; answers what was promised.
async fn build_things(client: Client, files: InstanceId, round: u64) -> (Vec<InstanceId>, Vec<String>) {
    let (mut instances, mut written) = (Vec::new(), Vec::new());
    for n in 0.. {
        let request = client.request(reqwest::Method::POST, "/api/v1/instances");
        let Ok(response) = request.json(&json!({"deployment_id": "counter"})).send().await else { break };
        let Ok(made) = response.json::<serde_json::Value>().await else { break };
        if let Some(id) = made["instance_id"].as_str() {
            instances.push(id.parse().expect("an id"));
        }
        let name = format!("{round}-{n}");
        let path = format!("/api/v1/instances/{files}/files/{name}");
        let Ok(response) = client.request(reqwest::Method::PUT, &path).body(name.clone()).send().await else { break };
        if response.status().as_u16() == 200 && response.bytes().await.is_ok() {
            written.push(name);
        }
        if n >= 2 {
            break;
        }
    }
    (instances, written)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_promised_is_lost() {
    let rounds = variable("PODIUM_CRASH_ROUNDS", ROUNDS);
    let seed = variable("PODIUM_CRASH_SEED", std::process::id().into());
    eprintln!("crash: {rounds} rounds, PODIUM_CRASH_SEED={seed}");
    let mut moments = Moments::new(seed);
    let began = Instant::now();
    let mut host = Host::start().await;
    // A turn can be killed many times over here; what is tested is that it is answered, not that it is parked.
    let answer = host.client().deploy(agents::with_retry("counter", 10), None, None).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let mut clients: Vec<(InstanceId, Arc<Mutex<Known>>)> = Vec::new();
    for _ in 0..INSTANCES {
        clients.push((host.client().instance("counter").await, Arc::default()));
    }
    let files = host.client().instance("counter").await;
    let (mut made, mut written) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (stop, stopping) = watch::channel(false);
        let mut talking = Vec::new();
        for (id, known) in &clients {
            talking.push(tokio::spawn(talk(host.client(), *id, Arc::clone(known), stopping.clone())));
        }
        let building = tokio::spawn(build_things(host.client(), files, round));
        tokio::time::sleep(Duration::from_micros(moments.next() % (LIFE_MS_MAX * 1000))).await;
        host = host.crash().await;
        for task in talking {
            task.await.expect("a client saw nothing wrong");
        }
        let (instances, files) = building.await.expect("a builder saw nothing wrong");
        made.extend(instances);
        written.extend(files);
        drop(stop);
    }
    // The last host lives: everything is answered, parked messages are run again.
    let (stop, stopping) = watch::channel(true);
    for (id, known) in &clients {
        talk(host.client(), *id, Arc::clone(known), stopping.clone()).await;
        settle(&host.client(), *id).await;
    }
    drop(stop);
    let client = host.client();
    for id in &made {
        assert_eq!(client.reply(*id, "add").await, "1", "{id} was promised");
    }
    for name in &written {
        assert_eq!(client.file(files, name).await.text(), *name, "the file {name} was promised");
    }
    let mut counts = Vec::new();
    for (id, _) in &clients {
        counts.push(client.state(*id).await);
    }
    let data = host.kill();
    let (mut messages, mut updates, mut duplicates) = (0, 0, 0);
    for ((id, known), state) in clients.iter().zip(counts) {
        let databases = Databases::open(&data.path(), *id);
        databases.check();
        let known = lock(known);
        messages += judge(&databases, &known, &state.state);
        updates += known.numbered.len() + known.made_true.len();
        duplicates += known.duplicates;
    }
    let took = began.elapsed();
    println!(
        "crash: {rounds} rounds in {took:.0?}: {messages} acknowledged messages ({duplicates} said twice), {updates} durable \
         updates seen, {} instances and {} files promised; 0 lost",
        made.len(),
        written.len()
    );
    assert!(messages as u64 >= rounds / 2, "only {messages} messages were acknowledged: the load was none");
}

/// Waits until an instance has answered everything; a parked message is run again.
async fn settle(client: &Client, id: InstanceId) {
    podium_it::eventually("everything is answered", async || {
        let info = client.info(id).await;
        if info.status == InstanceStatus::Parked {
            let page = client.get(&format!("/api/v1/instances/{id}/logs?limit=1")).await;
            panic!("a message was parked after ten deaths in one turn: {}", page.text());
        }
        (info.inbox == 0 && info.status == InstanceStatus::Resting).then_some(())
    })
    .await;
}

/// Compares what a client was promised and shown with what is there; answers the number of acknowledged messages.
fn judge(databases: &Databases, known: &Known, state: &serde_json::Value) -> usize {
    let inbox = databases.inbox();
    let cuts = databases.cuts();
    for (message, place) in &known.acknowledged {
        let rows: Vec<_> = inbox.iter().filter(|row| row.id == *message).collect();
        assert_eq!(rows.len(), 1, "{message} is there {} times", rows.len());
        assert_eq!((rows[0].seq, rows[0].status.as_str()), (*place, "done"), "{message}");
        let answered: Vec<_> = cuts.iter().filter(|cut| Some(cut.cut) == rows[0].cut).collect();
        assert_eq!(answered.len(), 1, "{message} was answered by {} cuts", answered.len());
        assert_eq!(answered[0].kind, "turn", "{message} ended badly");
    }
    // The counter is the number of messages that were consumed: nothing twice, nothing never.
    let consumed = inbox.iter().filter(|row| row.kind == "message" && row.status == "done").count();
    assert_eq!(state["count"].as_u64().unwrap_or(0), consumed as u64);
    let turns = cuts.iter().filter(|cut| cut.kind == "turn").count();
    assert_eq!(turns, consumed, "each message has its cut");
    judge_seen(databases, known);
    known.acknowledged.len()
}

/// Compares the durable updates and the cuts that a client was shown with what is there.
pub(crate) fn judge_seen(databases: &Databases, known: &Known) {
    let cuts = databases.cuts();
    let updates = databases.updates();
    // Every durable update that the client saw is there, where it saw it.
    for (seq, (kind, content)) in &known.numbered {
        let found = updates.iter().find(|update| update.seq == *seq);
        let found = found.unwrap_or_else(|| panic!("update {seq} was shown and is gone"));
        assert_eq!(found.event_type, *kind, "update {seq}");
        let content: serde_json::Value = serde_json::from_str(content).expect("content is JSON");
        assert_eq!(found.body, content, "update {seq}");
    }
    let by_place: BTreeMap<_, &Durable> = updates
        .iter()
        .filter_map(|update| Some(((update.turn_id.clone()?, update.attempt?, update.n?), update)))
        .collect();
    for (turn, attempt, n, kind) in &known.made_true {
        let found = by_place.get(&(turn.clone(), *attempt, *n));
        let found = found.unwrap_or_else(|| panic!("{kind} of {turn}/{attempt}/{n} was made true and is gone"));
        assert_eq!(found.event_type, *kind);
    }
    for (cut, numbers) in &known.cuts {
        let found = cuts.iter().find(|found| found.cut == *cut);
        let found = found.unwrap_or_else(|| panic!("cut {cut} was shown and is gone"));
        assert_eq!((found.first_seq, found.last_seq), *numbers, "cut {cut}");
    }
}
