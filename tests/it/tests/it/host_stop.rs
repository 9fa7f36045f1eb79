//! A graceful stop: quick, tells its clients, loses nothing, and counts no attempt (TURN §6).

use std::time::Duration;

use podium_it::Host;
use podium_it::agents;
use podium_it::socket::End;
use podium_wire::ErrorCode;
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::EventType;
use serde_json::json;

/// How long a running turn gets after the stop began.
const GRACE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn an_idle_host_stops_at_once() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("counter").await;
    host.client().reply(id, "add").await;
    let mut socket = host.client().socket(id).await;
    let data = host.data().clone();
    let (status, took) = host.stop().await;
    assert!(status.success(), "{status}");
    assert!(took < Duration::from_secs(3), "it took {took:?}");
    match socket.end().await {
        End::Closed(code) => assert_eq!(code, 1001),
        End::Broken(why) => panic!("closed without a word: {why}"),
    }
    let host = Host::start_on(&data).await;
    assert_eq!(host.client().reply(id, "add").await, "2");
}

#[tokio::test]
async fn a_turn_that_can_end_in_time_ends() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("probe").await;
    let mut socket = host.client().socket(id).await;
    // It computes, so it is no pure wait.
    let message = socket.say("stream 20000").await;
    socket.accepted().await;
    let data = host.data().clone();
    let (status, _) = host.stop().await;
    assert!(status.success(), "{status}");
    let host = Host::start_on(&data).await;
    let outcome = host.client().ask_as(id, &message, "stream 20000").await;
    assert_eq!((outcome.duplicate, outcome.error, outcome.cut), (true, None, 2));
}

#[tokio::test]
async fn a_turn_that_does_not_end_is_run_again_by_the_next_host() {
    let host = Host::start().await;
    let bytes = agents::with_limits("probe", &json!({"cpu_ms": 60_000}));
    assert_eq!(host.client().deploy(bytes, None, None).await.status, 201);
    let id = host.client().instance("probe").await;
    let mut socket = host.client().socket(id).await;
    let message = socket.say("spin").await;
    socket.until(EventType::StreamStart).await;
    let data = host.data().clone();
    let (status, took) = host.stop().await;
    assert!(status.success(), "{status}");
    assert!(took >= GRACE - Duration::from_secs(1) && took < GRACE + Duration::from_secs(5), "it took {took:?}");
    let host = Host::start_on(&data).await;
    let client = host.client();
    client.until(id, "it runs again", |info| info.status == InstanceStatus::Running).await;
    assert_eq!(client.info(id).await.cut, 1, "the stop made no cut");
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
    let outcome = client.ask_as(id, &message, "spin").await;
    assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::Interrupted));
}

#[tokio::test]
async fn stops_count_as_no_attempts() {
    let mut host = Host::start().await;
    // One death would park it.
    let bytes = agents::with_retry("probe", 1);
    assert_eq!(host.client().deploy(bytes, None, None).await.status, 201);
    let id = host.client().instance("probe").await;
    host.client().post_message(id, "m-1", "sleep 14000").await;
    let under_way = |info: &podium_wire::rest::InstanceInfo| {
        [InstanceStatus::Running, InstanceStatus::Waiting].contains(&info.status)
    };
    for _ in 0..2 {
        host.client().until(id, "the turn runs", under_way).await;
        let data = host.data().clone();
        let (status, took) = host.stop().await;
        assert!(status.success(), "{status}");
        assert!(took < GRACE + Duration::from_secs(5), "a wait held the host for {took:?}");
        host = Host::start_on(&data).await;
    }
    host.client().until(id, "the turn runs", under_way).await;
    let outcome = host.client().ask_as(id, "m-1", "sleep 14000").await;
    assert_eq!((outcome.error, outcome.text.as_deref()), (None, Some("slept 14000")));
}
