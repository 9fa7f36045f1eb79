//! `kill -9` of the host: what was acknowledged is answered, once, and clients find their way back (TURN §6).

use podium_it::{Host, message_id};
use podium_wire::frames::Subscribe;
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{EventType, UpdateBody};
use serde_json::json;

#[tokio::test]
async fn an_acknowledged_message_is_answered_after_a_crash() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let mut socket = host.client().socket(id).await;
    let message = socket.say("sleep 1000").await;
    socket.accepted().await;
    socket.until(EventType::StreamStart).await;
    let host = host.crash().await;
    let outcome = host.client().ask_as(id, &message, "sleep 1000").await;
    assert!(outcome.duplicate);
    assert_eq!((outcome.error, outcome.text.as_deref(), outcome.cut), (None, Some("slept 1000"), 2));
}

#[tokio::test]
async fn the_whole_queue_is_answered_in_its_order_after_a_crash() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.post_message(id, "first", "sleep 500").await;
    for n in 0..10 {
        client.post_message(id, &format!("m-{n}"), &format!("push {n}")).await;
    }
    let host = host.crash().await;
    // Nobody asks: the host goes on by itself.
    host.client().until(id, "the queue empties", |info| info.cut == 12).await;
    let expected: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(host.client().state(id).await.state["items"], json!(expected));
}

#[tokio::test]
async fn a_client_that_comes_back_sees_the_turn_start_over_and_end() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let mut socket = host.client().socket(id).await;
    let after_seq = socket.hello.last_seq;
    let message = socket.say("sleep 1500").await;
    socket.accepted().await;
    let seen = socket.until(EventType::StreamStart).await;
    let begun = seen.last().expect("a start").clone();
    let host = host.crash().await;
    let mut socket = host.client().socket(id).await;
    socket.subscribe(Subscribe { after_seq, turn_id: begun.turn_id.clone(), attempt: begun.attempt, n: begun.n }).await;
    let mut restarted = false;
    let mut text = None;
    loop {
        let update = socket.update().await;
        match update.body().expect("a body") {
            UpdateBody::TurnRestarted(again) => {
                assert_eq!(Some(&again.turn_id), begun.turn_id.as_ref());
                assert_eq!((again.attempt, again.keep_through_seq), (2, after_seq));
                restarted = true;
            }
            UpdateBody::StreamEnd(end) => {
                assert_eq!(update.message_id.as_ref(), Some(&message));
                assert_eq!(update.attempt, Some(2));
                text = Some(end.text);
            }
            UpdateBody::Cut(cut) => {
                assert_eq!(cut.attempt, Some(2));
                break;
            }
            _ => {}
        }
    }
    assert!(restarted, "nobody said that the turn starts over");
    assert_eq!(text.as_deref(), Some("slept 1500"));
}

#[tokio::test]
async fn state_and_history_are_of_the_same_cut_after_a_crash() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    for _ in 0..20 {
        client.reply(id, "add").await;
    }
    let before = (client.state(id).await, client.history(id).await, client.info(id).await);
    let host = host.crash().await;
    let client = host.client();
    assert_eq!((client.state(id).await, client.history(id).await), (before.0, before.1));
    let info = client.info(id).await;
    assert_eq!(
        (info.cut, info.last_seq, info.state_version),
        (before.2.cut, before.2.last_seq, before.2.state_version)
    );
    assert_eq!(info.status, InstanceStatus::Resting);
    assert_eq!(client.reply(id, "add").await, "21");
}

#[tokio::test]
async fn a_crash_while_an_instance_is_made_leaves_a_whole_one_or_none() {
    let mut host = Host::start().await;
    host.client().deployed("probe").await;
    let mut whole = Vec::new();
    for round in 0..10_u64 {
        let client = host.client();
        let making = tokio::spawn(async move {
            let request = client.request(reqwest::Method::POST, "/api/v1/instances");
            let answer = request.json(&json!({"deployment_id": "probe"})).send().await.ok()?;
            answer.json::<serde_json::Value>().await.ok()
        });
        tokio::time::sleep(std::time::Duration::from_micros(500 * round)).await;
        host = host.crash().await;
        if let Ok(Some(made)) = making.await {
            whole.push(made["instance_id"].as_str().expect("an id").to_owned());
        }
        let listed = host.client().get("/api/v1/instances").await.json();
        let ids: Vec<&str> = listed["instances"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|instance| instance["instance_id"].as_str())
            .collect();
        for id in &whole {
            assert!(ids.contains(&id.as_str()), "{id} was promised and is gone");
        }
        for id in ids {
            let id = id.parse().expect("an id");
            assert_eq!(host.client().reply(id, "echo whole").await, "whole");
            assert_eq!(host.client().state(id).await.state["hooks"]["on_init"], json!(1));
        }
    }
}

#[tokio::test]
async fn a_frozen_host_that_is_killed_loses_nothing_either() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let message = message_id();
    client.post_message(id, &message, "add").await;
    host.freeze();
    let host = host.crash().await;
    assert_eq!(host.client().ask_as(id, &message, "add").await.text.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_frozen_host_that_goes_on_has_forgotten_nothing() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    let message = socket.say("sleep 300").await;
    socket.until(EventType::StreamStart).await;
    host.freeze();
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    host.thaw();
    let turn = socket.rest_of_turn(message).await;
    assert_eq!(turn.text.as_deref(), Some("slept 300"));
}
