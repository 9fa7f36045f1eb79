//! Five hundred deaths while people work with an agent: messages that ask and wait, answers, steers and interrupts.
//!
//! `PODIUM_CRASH_PEOPLE_ROUNDS` sets another number of rounds, `PODIUM_CRASH_SEED` repeats a run's moments. A question outlives
//! its host. What was acknowledged of messages, steers and answers is never lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use podium_it::client::Answer;
use podium_it::database::{Cut, Databases, Durable, Row};
use podium_it::socket::{End, Socket};
use podium_it::{Client, Host, PATIENCE, agents, message_id};
use podium_wire::asks::AskList;
use podium_wire::frames::{ClientFrame, ServerFrame, Subscribe};
use podium_wire::rest::{InstanceInfo, InstanceStatus};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::crash::{Known, Moments, judge_seen, lock, variable};

/// Rounds unless told otherwise.
const ROUNDS: u64 = 500;

/// Instances that people work with, each with a person and a spectator.
const INSTANCES: usize = 3;

/// Messages that wait for an instance, at most: enough that the next one is there when a turn ends.
const INBOX: u64 = 4;

/// The longest that a host lives, in milliseconds.
const LIFE_MS_MAX: u64 = 150;

/// The longest that an agent waits for a word, in milliseconds.
const WAIT_MS_MAX: u64 = 30;

/// What one person said and was promised.
#[derive(Default)]
struct Person {
    /// Messages sent, not acknowledged yet, with their texts: sent again after a crash.
    pending: BTreeMap<String, String>,
    /// Messages that were acknowledged, with their texts.
    messages: BTreeMap<String, String>,
    /// Steers that were acknowledged.
    steers: BTreeSet<String>,
    /// Steers of which nothing is known: the host died before it answered.
    unknown: BTreeSet<String>,
    /// Interrupts that were sent, acknowledged or not.
    interrupts: u64,
    /// Answers that were acknowledged.
    answers: u64,
}

fn person(of: &Mutex<Person>) -> MutexGuard<'_, Person> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends a request; none when the host died.
async fn post(client: &Client, path: &str, body: &Value) -> Option<Answer> {
    let response = client.request(reqwest::Method::POST, path).json(body).send().await.ok()?;
    // The status is sent when all is durable, whatever becomes of the body.
    Some(Answer::read(response).await)
}

async fn get<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Option<T> {
    client.request(reqwest::Method::GET, path).send().await.ok()?.json().await.ok()
}

fn path(id: InstanceId, what: &str) -> String {
    format!("/api/v1/instances/{id}/{what}")
}

/// Works with one instance until the host dies.
async fn work(client: Client, id: InstanceId, of: Arc<Mutex<Person>>, mut moments: Moments) {
    while act(&client, id, &of, &mut moments).await.is_some() {
        tokio::time::sleep(Duration::from_micros(moments.next() % 6_000)).await;
    }
}

async fn act(client: &Client, id: InstanceId, of: &Mutex<Person>, moments: &mut Moments) -> Option<()> {
    let unsaid = person(of).pending.first_key_value().map(|(id, text)| (id.clone(), text.clone()));
    if let Some((message, text)) = unsaid {
        return say(client, id, of, &message, &text).await;
    }
    match moments.next() % 10 {
        0..=2 => {
            if get::<InstanceInfo>(client, &path(id, "info")).await?.inbox >= INBOX {
                return Some(());
            }
            let text = match moments.next() % 2 {
                0 => "ask".to_owned(),
                _ => format!("wait {}", moments.next() % WAIT_MS_MAX),
            };
            let message = message_id();
            person(of).pending.insert(message.clone(), text.clone());
            say(client, id, of, &message, &text).await
        }
        3..=5 => steer(client, id, of).await,
        6..=8 => answer(client, id, of, moments).await,
        _ => interrupt(client, id, of).await,
    }
}

async fn say(client: &Client, id: InstanceId, of: &Mutex<Person>, message: &str, text: &str) -> Option<()> {
    let body = json!({"id": message, "content": {"text": text}});
    let said = post(client, &path(id, "messages"), &body).await?;
    if said.status != 202 {
        return retryable(&said);
    }
    let mut person = person(of);
    person.pending.remove(message);
    person.messages.insert(message.to_owned(), text.to_owned());
    Some(())
}

async fn steer(client: &Client, id: InstanceId, of: &Mutex<Person>) -> Option<()> {
    let steer = message_id();
    person(of).unknown.insert(steer.clone());
    let body = json!({"id": steer, "content": {"text": "a word"}});
    let said = post(client, &path(id, "steer"), &body).await?;
    let refused = [ErrorCode::NoActiveTurn, ErrorCode::TooManySteers];
    if said.status == 202 {
        person(of).unknown.remove(&steer);
        person(of).steers.insert(steer);
    } else if refused.iter().any(|code| is(&said, *code)) {
        person(of).unknown.remove(&steer);
    } else {
        return retryable(&said);
    }
    Some(())
}

async fn answer(client: &Client, id: InstanceId, of: &Mutex<Person>, moments: &mut Moments) -> Option<()> {
    let open: AskList = get(client, &path(id, "asks")).await?;
    for ask in open.asks {
        let option = if moments.next().is_multiple_of(2) { "yes" } else { "no" };
        let body = json!({"request_id": ask.request_id, "answer": {"option": option}});
        let given = post(client, &path(id, "answer"), &body).await?;
        match given.status {
            200..=204 => person(of).answers += 1,
            // The turn ended meanwhile, or was interrupted.
            _ if is(&given, ErrorCode::AskResolved) || is(&given, ErrorCode::AskNotFound) => {}
            _ => return retryable(&given),
        }
    }
    Some(())
}

async fn interrupt(client: &Client, id: InstanceId, of: &Mutex<Person>) -> Option<()> {
    person(of).interrupts += 1;
    let done = post(client, &path(id, "interrupt"), &json!({})).await?;
    if done.status / 100 == 2 || is(&done, ErrorCode::NoActiveTurn) { Some(()) } else { retryable(&done) }
}

fn is(answer: &Answer, code: ErrorCode) -> bool {
    answer.status == code.status() && answer.text().contains(&code.to_string())
}

/// What may be refused for a moment only.
fn retryable(answer: &Answer) -> Option<()> {
    // A body that is not whole was cut off by the host's death.
    let body: Value = serde_json::from_slice(&answer.bytes).ok()?;
    assert_eq!(body["error"]["retryable"], json!(true), "{}", answer.text());
    Some(())
}

/// Watches one instance until the host dies or everything is settled.
async fn spectate(client: Client, id: InstanceId, known: Arc<Mutex<Known>>, mut stop: watch::Receiver<bool>) {
    let Ok(mut socket) = Socket::try_open(&client, id).await else { return };
    let after_seq = lock(&known).after_seq();
    let subscribe = ClientFrame::Subscribe(Subscribe { after_seq, ..Subscribe::default() });
    if socket.send(&subscribe).await.is_err() {
        return;
    }
    let (mut live, mut subscribed) = (Vec::new(), false);
    loop {
        let frame = tokio::select! {
            frame = socket.try_next() => frame,
            _ = stop.changed() => return,
        };
        match frame {
            Ok(ServerFrame::Subscribed(_)) => subscribed = true,
            // What comes before is repeated behind it.
            Ok(ServerFrame::Update(_)) if !subscribed => {}
            Ok(ServerFrame::Update(update)) => lock(&known).take(&update, &mut live),
            Ok(other) => panic!("{other:?}"),
            Err(End::Closed(_) | End::Broken(_)) => return,
        }
    }
}

/// Says what was not acknowledged, and answers until nothing is left to do.
async fn settle(client: &Client, id: InstanceId, of: &Mutex<Person>) {
    let began = Instant::now();
    let mut moments = Moments::new(1);
    loop {
        let unsaid = person(of).pending.clone();
        for (message, text) in unsaid {
            say(client, id, of, &message, &text).await.expect("the host lives");
        }
        answer(client, id, of, &mut moments).await.expect("the host lives");
        let info = client.info(id).await;
        if info.status == InstanceStatus::Parked {
            panic!("a message was parked: {:?}", client.failures_in_log(id).await);
        }
        if info.inbox == 0 && info.status == InstanceStatus::Resting && person(of).pending.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE * 4, "{id} is never done: {info:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_people_were_promised_is_lost() {
    let rounds = variable("PODIUM_CRASH_PEOPLE_ROUNDS", ROUNDS);
    let seed = variable("PODIUM_CRASH_SEED", std::process::id().into());
    eprintln!("crash: {rounds} rounds with people, PODIUM_CRASH_SEED={seed}");
    let mut moments = Moments::new(seed);
    let began = Instant::now();
    let mut host = Host::start().await;
    // Deaths come faster than a loaded machine runs turns: it must not be parked for them.
    let answer = host.client().deploy(agents::with_retry("desk", 10), None, None).await;
    assert_eq!(answer.status, 201);
    let mut desks = Vec::new();
    for _ in 0..INSTANCES {
        let (person, known): (Arc<Mutex<Person>>, Arc<Mutex<Known>>) = Default::default();
        desks.push((host.client().instance("desk").await, person, known));
    }
    for _ in 0..rounds {
        let (stop, stopping) = watch::channel(false);
        let mut tasks = Vec::new();
        for (id, of, known) in &desks {
            let own = Moments::new(moments.next());
            tasks.push(tokio::spawn(work(host.client(), *id, Arc::clone(of), own)));
            tasks.push(tokio::spawn(spectate(host.client(), *id, Arc::clone(known), stopping.clone())));
        }
        tokio::time::sleep(Duration::from_micros(moments.next() % (LIFE_MS_MAX * 1000))).await;
        host = host.crash().await;
        drop(stop);
        for task in tasks {
            task.await.expect("nobody saw anything wrong");
        }
    }
    let client = host.client();
    let mut states = Vec::new();
    for (id, of, _) in &desks {
        settle(&client, *id, of).await;
        states.push(client.state(*id).await.state);
    }
    let data = host.kill();
    let mut sums = Sums::default();
    for ((id, of, known), state) in desks.iter().zip(&states) {
        let databases = Databases::open(&data.path(), *id);
        databases.check();
        judge_seen(&databases, &lock(known));
        judge(&databases, &person(of), state, &mut sums);
    }
    println!("crash: {rounds} rounds with people in {:.0?}: {sums:?}; 0 lost", began.elapsed());
    assert!(sums.turns >= rounds / 4 && sums.heard > 0 && sums.answered > 0, "the load was none: {sums:?}");
    assert!(sums.interrupted > 0 && sums.steers > 0, "the load was none: {sums:?}");
}

/// What happened in all.
#[derive(Debug, Default)]
struct Sums {
    messages: u64,
    turns: u64,
    interrupted: u64,
    answered: u64,
    steers: u64,
    heard: u64,
    undelivered: u64,
}

/// Durable updates of one kind in a turn.
fn of_kind<'a>(updates: &'a [Durable], turn: Option<u64>, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    updates.iter().filter(move |update| update.turn == turn && update.event_type == kind).map(|update| &update.body)
}

/// Compares what a person was promised with what is there.
fn judge(databases: &Databases, person: &Person, state: &Value, sums: &mut Sums) {
    let (inbox, cuts, updates) = (databases.inbox(), databases.cuts(), databases.updates());
    let cut_of = |row: &Row| -> &Cut {
        let mut of = cuts.iter().filter(|cut| Some(cut.cut) == row.cut);
        let cut = of.next().unwrap_or_else(|| panic!("{row:?} was consumed by no cut"));
        assert!(of.next().is_none(), "{row:?} was consumed twice");
        cut
    };
    let one = |id: &String, kind: &str| -> &Row {
        let rows: Vec<_> = inbox.iter().filter(|row| row.id == *id).collect();
        assert_eq!(rows.len(), 1, "{id} is there {} times", rows.len());
        assert_eq!((rows[0].kind.as_str(), rows[0].status.as_str()), (kind, "done"), "{id}");
        rows[0]
    };
    let mut answered = BTreeMap::new();
    for (id, text) in &person.messages {
        let row = one(id, "message");
        sums.messages += 1;
        let cut = cut_of(row);
        let resolved: Vec<_> = of_kind(&updates, row.turn, "tool.question_resolved").collect();
        if cut.kind == "error" {
            let errors: Vec<_> = of_kind(&updates, row.turn, "error").collect();
            assert_eq!(errors.len(), 1, "{id}");
            assert_eq!(errors[0]["code"], json!(ErrorCode::Interrupted.to_string()), "{id}: {}", errors[0]);
            sums.interrupted += 1;
            continue;
        }
        assert_eq!(cut.kind, "turn", "{id}");
        sums.turns += 1;
        let said = if text == "ask" {
            assert_eq!(of_kind(&updates, row.turn, "tool.question_requested").count(), 1, "{id}");
            assert_eq!((resolved.len(), &resolved[0]["outcome"]), (1, &json!("answered")), "{id}");
            sums.answered += 1;
            resolved[0]["answer"]["option"].clone()
        } else {
            assert!(resolved.is_empty(), "{id}");
            json!("waited")
        };
        answered.insert(id.clone(), said);
    }
    assert_eq!(
        state.get("answered").cloned().unwrap_or(json!({})),
        json!(answered),
        "each answered turn is in the state, once"
    );
    // A steer of which nothing was known may be there or not; if it is, it is like the others.
    let unknown = person.unknown.iter().filter(|id| inbox.iter().any(|row| row.id == **id));
    let mut heard = BTreeMap::new();
    for id in person.steers.iter().chain(unknown) {
        let row = one(id, "steer");
        sums.steers += 1;
        let cut = cuts.iter().find(|cut| cut.turn == row.turn).expect("a steer's turn has a cut");
        assert_eq!(row.cut, Some(cut.cut), "{id} is consumed by its turn's cut");
        let told = |kind| of_kind(&updates, row.turn, kind).filter(|body| body["id"] == json!(id)).count() as u64;
        let (delivered, undelivered) = (told("steer.delivered"), told("steer.undelivered"));
        if cut.kind == "turn" {
            let of_turn: Vec<_> = updates.iter().filter(|update| update.turn == row.turn).collect();
            assert_eq!(delivered + undelivered, 1, "{id}: {delivered} delivered, {row:?}, {of_turn:?}");
        } else {
            // What was delivered in a turn that failed went with it, and may be told still where the turn had waited.
            assert!(delivered + undelivered <= 1, "{id}");
        }
        if delivered == 1 && cut.kind == "turn" {
            heard.insert(id.clone(), 1);
        }
        sums.heard += delivered;
        sums.undelivered += undelivered;
    }
    assert_eq!(state.get("heard").cloned().unwrap_or(json!({})), json!(heard), "each word was heard once");
}
