//! Turns that wait: for people, for a timer, through deaths and restarts of the host, without a guest, and on from where they were.

use std::time::Duration;

use podium_it::client::Answer as Response;
use podium_it::database::Databases;
use podium_it::{Client, Data, Host, Socket, agents, eventually};
use podium_wire::asks::{Answer, AskList, AskOutcome, GivenAnswer, OpenAsk, QuestionResolved};
use podium_wire::frames::{ServerFrame, Subscribe};
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{EventType, Update, UpdateBody};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

/// Hosts that drop a guest soon: after the shortest time that there is.
pub(super) const SOON: &[&str] = &["--waiting-idle", "1"];

async fn open(client: &Client, id: InstanceId) -> Vec<OpenAsk> {
    client.get(&format!("/agent/{id}/asks")).await.with::<AskList>(200).asks
}

/// What is asked, once there is so much of it.
pub(super) async fn asked(client: &Client, id: InstanceId, count: usize) -> Vec<OpenAsk> {
    eventually("questions", async || Some(open(client, id).await).filter(|asks| asks.len() == count)).await
}

pub(super) async fn answer(client: &Client, id: InstanceId, request_id: &str, label: &str) -> Response {
    let given = GivenAnswer { request_id: request_id.to_owned(), answer: Answer::Option(label.to_owned()) };
    client.post_json(&format!("/agent/{id}/answer"), &given).await
}

/// Waits until the instance has no guest any more: nobody holds a place of the host's.
pub(super) async fn dropped(client: &Client) {
    eventually("the guest to be dropped", async || {
        let metrics = client.get("/metrics").await.text();
        let live = metrics.lines().find_map(|line| line.strip_prefix("podium_guests "))?;
        (live.trim() == "0").then_some(())
    })
    .await;
}

pub(super) async fn waits(client: &Client, id: InstanceId) {
    eventually("the turn to wait", async || (client.info(id).await.status == InstanceStatus::Waiting).then_some(()))
        .await;
}

/// A graceful stop and a new host on the same data.
pub(super) async fn restarted(host: Host, arguments: &[&str]) -> Host {
    let data = host.data().clone();
    let (status, took) = host.stop().await;
    assert!(status.success() && took < Duration::from_secs(8), "a turn that waits is not waited for: {took:?}");
    Host::try_start_with(&data, arguments, &[]).await.expect("the host starts")
}

fn resolutions(updates: &[Update]) -> Vec<QuestionResolved> {
    let of = |update: &Update| match update.body() {
        Ok(UpdateBody::QuestionResolved(resolved)) => Some(resolved),
        _ => None,
    };
    updates.iter().filter_map(of).collect()
}

/// The databases fit together, and nothing of a journal is left.
pub(super) fn check(data: &Data, id: InstanceId) -> Databases {
    let databases = Databases::open(&data.path(), id);
    databases.check();
    assert_eq!(databases.journal(), 0, "a journal ends with its turn");
    databases
}

#[tokio::test]
async fn an_answer_comes_long_after_the_guest_is_gone() {
    let host = Host::start_with(SOON, &[]).await;
    let client = host.client();
    let id = client.deployed_instance("juggler").await;
    let mut socket = client.socket(id).await;
    client.post_message(id, "m", "file first words").await;
    let ask = asked(&client, id, 1).await.remove(0);
    let before = socket.until(EventType::QuestionRequested).await;
    dropped(&client).await;
    assert_eq!(client.info(id).await.status, InstanceStatus::Waiting);
    assert_eq!(open(&client, id).await, std::slice::from_ref(&ask), "it is the same question still");
    // Nothing may change files meanwhile, as in any turn.
    client.put_file(id, "notes.txt", b"mine").await.refused(ErrorCode::TurnActive);
    assert_eq!(answer(&client, id, &ask.request_id, "left").await.status, 204);
    assert_eq!(client.ask_as(id, "m", "file first words").await.text.as_deref(), Some("left first words"));
    answer(&client, id, &ask.request_id, "right").await.refused(ErrorCode::AskResolved);
    // The connection saw each update once, in one attempt.
    let mut all = before;
    all.extend(socket.until(EventType::Cut).await);
    let turn: Vec<_> = all.iter().filter(|update| update.n.is_some()).collect();
    let places: Vec<_> = turn.iter().filter_map(|update| update.n).collect();
    assert_eq!(places, (1..=places.len() as u64).collect::<Vec<_>>(), "{all:?}");
    assert!(turn.iter().all(|update| update.attempt == Some(1)));
    assert!(!all.iter().any(|update| update.event_type == EventType::TurnRestarted));
    assert_eq!(resolutions(&all).len(), 1);
    check(&host.kill(), id);
}

#[tokio::test]
async fn a_question_outlives_stops_and_deaths_of_its_host() {
    let mut host = Host::start().await;
    let id = host.client().deployed_instance("juggler").await;
    host.client().post_message(id, "m", "file kept words").await;
    let first = asked(&host.client(), id, 1).await.remove(0);
    assert!(!first.again);
    for round in 0..6 {
        host = if round % 3 == 2 { restarted(host, &[]).await } else { host.crash().await };
        let client = host.client();
        assert_eq!(asked(&client, id, 1).await, std::slice::from_ref(&first), "round {round}");
        waits(&client, id).await;
    }
    let client = host.client();
    assert_eq!(answer(&client, id, &first.request_id, "right").await.status, 204);
    // The answer is acknowledged, so it is true whatever happens now.
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.ask_as(id, "m", "file kept words").await.text.as_deref(), Some("right kept words"));
    answer(&client, id, &first.request_id, "left").await.refused(ErrorCode::AskResolved);
    let databases = check(&host.kill(), id);
    let asked = databases.updates().iter().filter(|update| update.event_type == "tool.question_requested").count();
    assert_eq!(asked, 1, "it was asked once");
    // The last death may have come after the answer, when the agent ran.
    let attempts = databases.inbox().iter().find(|row| row.kind == "message").map(|row| row.attempts);
    assert!(attempts.is_some_and(|attempts| attempts <= 2), "deaths at a wait do not count: {attempts:?}");
}

#[tokio::test]
async fn an_answer_that_was_acknowledged_is_the_answer() {
    let mut host = Host::start().await;
    let id = host.client().deployed_instance("juggler").await;
    for round in 0..10 {
        let (message, label) = (format!("m-{round}"), ["left", "right"][round % 2]);
        host.client().post_message(id, &message, "file x").await;
        let ask = asked(&host.client(), id, 1).await.remove(0);
        assert_eq!(answer(&host.client(), id, &ask.request_id, label).await.status, 204);
        host = host.crash().await;
        let text = host.client().ask_as(id, &message, "file x").await.text;
        assert_eq!(text, Some(format!("{label} x")), "round {round}");
    }
    check(&host.kill(), id);
}

#[tokio::test]
async fn two_questions_are_answered_in_two_lives() {
    let host = Host::start_with(SOON, &[]).await;
    let id = host.client().deployed_instance("juggler").await;
    host.client().post_message(id, "m", "both").await;
    let asks = asked(&host.client(), id, 2).await;
    dropped(&host.client()).await;
    // The second one first.
    assert_eq!(answer(&host.client(), id, &asks[1].request_id, "right").await.status, 204);
    assert_eq!(asked(&host.client(), id, 1).await, asks[..1]);
    let host = host.crash().await;
    assert_eq!(asked(&host.client(), id, 1).await, asks[..1]);
    answer(&host.client(), id, &asks[1].request_id, "left").await.refused(ErrorCode::AskResolved);
    assert_eq!(answer(&host.client(), id, &asks[0].request_id, "left").await.status, 204);
    assert_eq!(host.client().ask_as(id, "m", "both").await.text.as_deref(), Some("left right"));
    check(&host.kill(), id);
}

#[tokio::test]
async fn raced_questions_end_in_the_order_in_which_they_were_answered() {
    let mut host = Host::start().await;
    let deployed = host.client().deploy(agents::with_retry("juggler", 10), None, None).await;
    assert_eq!(deployed.status, 201, "{}", deployed.text());
    let id = host.client().instance("juggler").await;
    let body = json!({"id": "m", "content": {"text": "juggle 6"}});
    let mut lives = 0;
    // The timer of a round is a few milliseconds and mostly wins, so questions come and go while hosts die.
    let text = loop {
        let said: Value = host.client().post_json(&format!("/agent/{id}/messages?wait=1s"), &body).await.json();
        if let Some(text) = said["text"].as_str() {
            break text.to_owned();
        }
        for ask in open(&host.client(), id).await {
            drop(answer(&host.client(), id, &ask.request_id, "left").await);
        }
        host = host.crash().await;
        lives += 1;
        assert!(lives < 100, "it never ends: {said}");
    };
    assert_eq!(text.matches("won by").count(), 6, "{text}");
    check(&host.kill(), id);
}

#[tokio::test]
async fn a_timer_fires_without_a_guest_and_in_another_life() {
    let host = Host::start_with(SOON, &[]).await;
    let id = host.client().deployed_instance("juggler").await;
    host.client().post_message(id, "m", "remind 3000").await;
    dropped(&host.client()).await;
    assert_eq!(host.client().info(id).await.status, InstanceStatus::Waiting);
    let reminded = |text: Option<String>, least: u64| {
        let text = text.expect("it ends well");
        let after: u64 = text.strip_prefix("reminded after ").and_then(|ms| ms.parse().ok()).expect("a time");
        assert!((least..60_000).contains(&after), "{text}");
    };
    reminded(host.client().ask_as(id, "m", "remind 3000").await.text, 3_000);
    // Through a stop and a death.
    host.client().post_message(id, "n", "remind 4000").await;
    dropped(&host.client()).await;
    let host = restarted(host, SOON).await.crash().await;
    reminded(host.client().ask_as(id, "n", "remind 4000").await.text, 4_000);
    check(&host.kill(), id);
}

#[tokio::test]
async fn words_into_a_waiting_turn_come_again_in_their_places() {
    let host = Host::start_with(SOON, &[]).await;
    let id = host.client().deployed_instance("juggler").await;
    host.client().post_message(id, "m", "file x").await;
    let ask = asked(&host.client(), id, 1).await.remove(0);
    let steer = async |host: &Host, word: &str| {
        let body = json!({"id": word, "content": {"text": word}});
        let accepted = host.client().post_json(&format!("/agent/{id}/steer"), &body).await;
        assert_eq!(accepted.status, 202, "{}", accepted.text());
    };
    steer(&host, "one").await;
    dropped(&host.client()).await;
    // It is brought back for a word as well.
    let mut socket = host.client().socket(id).await;
    steer(&host, "two").await;
    socket.until(EventType::SteerDelivered).await;
    dropped(&host.client()).await;
    let host = host.crash().await;
    asked(&host.client(), id, 1).await;
    steer(&host, "three").await;
    assert_eq!(answer(&host.client(), id, &ask.request_id, "left").await.status, 204);
    assert_eq!(host.client().ask_as(id, "m", "file x").await.error, None);
    let seen = host.client().state(id).await.state["seen"].clone();
    assert_eq!(seen, json!(["heard one", "heard two", "heard three"]));
    check(&host.kill(), id);
}

#[tokio::test]
async fn a_waiting_turn_ends_by_interrupt_and_by_its_limit() {
    let host = Host::start_with(SOON, &[]).await;
    let client = host.client();
    let id = client.deployed_instance("juggler").await;
    client.post_message(id, "m", "file gone").await;
    let ask = asked(&client, id, 1).await.remove(0);
    dropped(&client).await;
    let mut socket = client.socket(id).await;
    assert_eq!(client.post(&format!("/agent/{id}/interrupt")).await.status, 202);
    let told = resolutions(&socket.until(EventType::QuestionResolved).await);
    assert_eq!(told[0].outcome, AskOutcome::Cancelled);
    let error = client.ask_as(id, "m", "file gone").await.error.expect("it failed");
    assert_eq!(error.known_code(), Some(ErrorCode::Interrupted));
    answer(&client, id, &ask.request_id, "left").await.refused(ErrorCode::AskResolved);
    assert_eq!(client.file(id, "notes.txt").await.status, 404, "what it wrote is gone");
    // The limit counts from the turn's beginning, through a death.
    let limits = json!({"wait_ms": 4_000});
    let deployed = client.deploy(agents::with_limits("juggler", &limits), None, Some("0.2.0")).await;
    assert_eq!(deployed.status, 201, "{}", deployed.text());
    let short = client.instance("juggler:0.2.0").await;
    client.post_message(short, "n", "file late").await;
    asked(&client, short, 1).await;
    dropped(&client).await;
    let host = host.crash().await;
    let error = host.client().ask_as(short, "n", "file late").await.error.expect("it failed");
    assert_eq!(error.known_code(), Some(ErrorCode::WaitLimit));
    let data = host.kill();
    check(&data, id);
    check(&data, short);
}

#[tokio::test]
async fn a_stopped_instance_waits_on_after_its_start() {
    let host = Host::start_with(SOON, &[]).await;
    let client = host.client();
    let id = client.deployed_instance("juggler").await;
    client.post_message(id, "m", "file x").await;
    let ask = asked(&client, id, 1).await.remove(0);
    dropped(&client).await;
    assert_eq!(client.post(&format!("/agent/{id}/stop")).await.status, 200);
    answer(&client, id, &ask.request_id, "left").await.refused(ErrorCode::AskNotFound);
    assert_eq!(client.post(&format!("/agent/{id}/start")).await.status, 200);
    assert_eq!(asked(&client, id, 1).await, std::slice::from_ref(&ask));
    assert_eq!(answer(&client, id, &ask.request_id, "left").await.status, 204);
    assert_eq!(client.ask_as(id, "m", "file x").await.text.as_deref(), Some("left x"));
    check(&host.kill(), id);
}

#[tokio::test]
async fn a_client_that_comes_back_sees_nothing_twice_and_misses_nothing() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let mut socket = host.client().socket(id).await;
    socket.say_as("m", "flood-then-ask 3").await.expect("sent");
    let before = socket.until(EventType::QuestionRequested).await;
    let last = before.last().expect("the question").clone();
    let ask = asked(&host.client(), id, 1).await.remove(0);
    let host = host.crash().await;
    waits(&host.client(), id).await;
    // It says how far it saw: the durable part is told as rows of the attempt that goes on, then what is open.
    let mut socket = host.client().socket(id).await;
    let from = Subscribe { after_seq: 0, turn_id: last.turn_id.clone(), attempt: last.attempt, n: last.n };
    socket.subscribe(from).await;
    let rows = socket.until(EventType::TurnSnapshot).await;
    assert_eq!(rows[0].event_type, EventType::TurnRestarted);
    let ours = |update: &&Update| update.seq.is_some() && update.turn_id == last.turn_id;
    let durable: Vec<_> = rows.iter().filter(ours).collect();
    let kinds: Vec<_> = durable.iter().map(|update| update.event_type).collect();
    let asked_again = kinds.iter().filter(|kind| **kind == EventType::QuestionRequested).count();
    assert_eq!((asked_again, kinds.first()), (1, Some(&EventType::StreamStart)), "{kinds:?}");
    assert!(durable.iter().all(|update| update.attempt == Some(2)));
    let Some(Ok(UpdateBody::TurnSnapshot(snapshot))) = rows.last().map(Update::body) else { panic!("{rows:?}") };
    assert_eq!(snapshot.items[0].text.len(), 3 * 1024, "the text so far");
    assert_eq!(snapshot.asks, std::slice::from_ref(&ask));
    // A second connection that has everything is told nothing again.
    let mut other = host.client().socket(id).await;
    let turn_id = Some(snapshot.turn_id.clone());
    let through = durable.iter().filter_map(|update| update.seq).max().expect("a row");
    other.subscribe(Subscribe { after_seq: through, turn_id, attempt: Some(2), n: Some(snapshot.n) }).await;
    assert_eq!(answer(&host.client(), id, &ask.request_id, "staging").await.status, 204);
    for socket in [&mut socket, &mut other] {
        let rest = socket.until(EventType::Cut).await;
        let places: Vec<_> = rest.iter().filter_map(|update| update.n).collect();
        assert_eq!(places, (snapshot.n + 1..=snapshot.n + places.len() as u64).collect::<Vec<_>>(), "{rest:?}");
        assert_eq!(resolutions(&rest).len(), 1);
    }
    // Whoever comes late reads the whole turn once.
    let mut late = host.client().socket(id).await;
    late.subscribe(Subscribe::default()).await;
    let mut rows = Vec::new();
    let is_end = |row: &Update| row.event_type == EventType::StreamEnd && row.turn_id == last.turn_id;
    while !rows.iter().any(is_end) {
        rows.extend(late.until(EventType::StreamEnd).await);
    }
    let places: Vec<_> = rows.iter().filter(|row| row.turn_id == last.turn_id).filter_map(|row| row.n).collect();
    assert!(places.is_sorted_by(|a, b| a < b) && places[0] == 1, "{places:?}");
    drop((socket, other, late));
    check(&host.kill(), id);
}

#[tokio::test]
async fn an_agent_that_goes_another_way_is_parked_and_nothing_of_it_is_true() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("juggler").await;
    host.client().post_message(id, "m", "effects 5").await;
    asked(&host.client(), id, 1).await;
    let cut = host.client().info(id).await.cut;
    let data = host.kill();
    // As if the agent had slept for another time: what it asks for now is something else.
    let changed = Databases::change(
        &data.path(),
        id,
        "UPDATE effects SET request_hash = zeroblob(32) WHERE what = 'call' AND n = 3",
    );
    assert_eq!(changed, 1);
    let host = Host::start_on(&data).await;
    let client = host.client();
    eventually("the message to be parked", async || {
        (client.info(id).await.status == InstanceStatus::Parked).then_some(())
    })
    .await;
    assert_eq!(client.info(id).await.cut, cut, "nothing of it became true");
    assert!(open(&client, id).await.is_empty());
    let said = client.failures_in_log(id).await.join("\n");
    assert!(said.contains("POD-4030") && said.contains("call 3, `timer`"), "{said}");
    // Parked it stays, until somebody has it run again: from its cut, without what was recorded.
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.info(id).await.status, InstanceStatus::Parked);
    assert_eq!(client.post(&format!("/agent/{id}/messages/m/retry")).await.status, 202);
    let again = asked(&client, id, 1).await.remove(0);
    assert!(again.again, "a question of an attempt that was lost");
    assert_eq!(answer(&client, id, &again.request_id, "left").await.status, 204);
    assert_eq!(client.ask_as(id, "m", "effects 5").await.text.as_deref(), Some("left"));
    let databases = Databases::open(&host.kill().path(), id);
    assert_eq!(databases.journal(), 0);
}

#[tokio::test]
async fn large_answers_lie_beside_the_journal_and_go_with_it() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    host.client().post_message(id, "m", "ask env").await;
    let ask = asked(&host.client(), id, 1).await.remove(0);
    let words = "long ".repeat(8_000);
    let given = GivenAnswer { request_id: ask.request_id.clone(), answer: Answer::Text(words.clone()) };
    // The guest is frozen out: the host dies with the answer.
    assert_eq!(host.client().post_json(&format!("/agent/{id}/answer"), &given).await.status, 204);
    let host = host.crash().await;
    let text = host.client().ask_as(id, "m", "ask env").await.text;
    assert_eq!(text, Some(format!("text {words}")));
    let databases = check(&host.kill(), id);
    assert_eq!(databases.objects(), 0);
}

#[tokio::test]
async fn an_upgrade_waits_behind_and_at_once_begins_anew() {
    let host = Host::start_with(SOON, &[]).await;
    let client = host.client();
    let id = client.deployed_instance("juggler").await;
    let next = client.deploy(agents::component("juggler"), None, Some("0.2.0")).await;
    assert_eq!(next.status, 201, "{}", next.text());
    client.post_message(id, "m", "file x").await;
    let ask = asked(&client, id, 1).await.remove(0);
    dropped(&client).await;
    let upgrade = |now: bool| json!({"deployment": "juggler:0.2.0", "now": now});
    let queued = client.post_json(&format!("/agent/{id}/upgrade"), &upgrade(false)).await;
    assert!(queued.status < 300, "{}", queued.text());
    assert!(client.info(id).await.deployment_id.to_string().starts_with("juggler:0.1.0"), "it waits");
    assert_eq!(answer(&client, id, &ask.request_id, "left").await.status, 204);
    assert_eq!(client.ask_as(id, "m", "file x").await.text.as_deref(), Some("left x"));
    eventually("the upgrade", async || {
        client.info(id).await.deployment_id.to_string().starts_with("juggler:0.2.0").then_some(())
    })
    .await;
    check(&host.kill(), id);
}

#[tokio::test]
async fn a_connection_is_told_that_its_host_stops_and_the_turn_goes_on_elsewhere() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("juggler").await;
    let mut socket: Socket = host.client().socket(id).await;
    socket.say_as("m", "file x").await.expect("sent");
    socket.until(EventType::QuestionRequested).await;
    let ask = asked(&host.client(), id, 1).await.remove(0);
    let data = host.data().clone();
    let (stopped, seen) = tokio::join!(host.stop(), async {
        let mut seen = Vec::new();
        loop {
            match socket.try_next().await {
                Ok(ServerFrame::Update(update)) => seen.push(update),
                Ok(_) => {}
                Err(_) => return seen,
            }
        }
    });
    assert!(stopped.0.success());
    assert!(resolutions(&seen).is_empty(), "the question stays open: {seen:?}");
    let host = Host::start_on(&data).await;
    assert_eq!(asked(&host.client(), id, 1).await, std::slice::from_ref(&ask));
    assert_eq!(answer(&host.client(), id, &ask.request_id, "right").await.status, 204);
    assert_eq!(host.client().ask_as(id, "m", "file x").await.text.as_deref(), Some("right x"));
    check(&host.kill(), id);
}
