//! `keep_warm`: what a guest keeps between turns, and everything that drops it (TURN §5 to §7).
//!
//! What is special to a warm guest is told by the keeper, which counts the messages that its guest has answered.

use std::time::Duration;

use podium_it::database::Databases;
use podium_it::{Client, Host, Socket, agents, component, eventually, within};
use podium_wire::frames::ClientFrame;
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{EventType, TurnKind, UpdateBody};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

/// A keeper of this configuration.
async fn keeper(client: &Client, config: Value) -> InstanceId {
    client.deployed("keeper").await;
    client.instance_with("keeper", config).await
}

/// A figure of the host.
async fn figure(client: &Client, name: &str) -> u64 {
    let text = client.get("/metrics").await.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test]
async fn what_a_guest_has_cached_is_there_in_the_next_turn_and_gone_after_a_crash() {
    let host = Host::start().await;
    let id = keeper(&host.client(), json!({})).await;
    for n in 1..=3 {
        assert_eq!(host.client().reply(id, "count").await, n.to_string());
    }
    assert_eq!(figure(&host.client(), "podium_warm_guests").await, 1);
    assert_eq!(figure(&host.client(), "podium_warm_turns_total").await, 3);
    let shown = host.cli().run(&["deployment", "show", "keeper"]).await;
    assert!(shown.ok().lines().any(|line| line.starts_with("keep_warm") && line.ends_with("true")), "{shown:?}");
    let host = host.crash().await;
    assert_eq!(host.client().reply(id, "count").await, "1");
    let data = host.kill();
    let databases = Databases::open(&data.path(), id);
    databases.check();
    let began: Vec<String> =
        databases.turns().into_iter().map(|turn| format!("{} {}", turn.kind, turn.began)).collect();
    assert_eq!(began, ["init fresh", "message warm", "message warm", "message warm", "message fresh"]);
}

#[tokio::test]
async fn whatever_else_happens_to_the_instance_drops_it() {
    let host = Host::start().await;
    let client = host.client();
    let id = keeper(&client, json!({})).await;
    let path = |tail: &str| format!("/api/v1/instances/{id}/{tail}");
    let warm = async || {
        client.reply(id, "count").await;
        assert_ne!(client.reply(id, "count").await, "1", "it is warm to begin with");
    };
    warm().await;
    client.failure(id, "boom", ErrorCode::GuestTrap).await;
    assert_eq!(client.reply(id, "count").await, "1", "after a trap");
    warm().await;
    client.failure(id, "fail", ErrorCode::GuestError).await;
    assert_eq!(client.reply(id, "count").await, "1", "after an error");
    warm().await;
    client.post_message(id, "m-1", "sleep 1900000").await;
    client.until_waiting(id).await;
    client.post(&path("interrupt")).await;
    client.ask_as(id, "m-1", "sleep 1900000").await;
    assert_eq!(client.reply(id, "count").await, "1", "after an interrupt");
    warm().await;
    client.file_put(id, "a.txt", b"from outside").await;
    assert_eq!(client.reply(id, "count").await, "1", "after a file from outside");
    warm().await;
    let _: Value = client.put_json(&path("config"), &json!({"config": {"defers": true}})).await.with(200);
    assert_eq!(client.reply(id, "count").await, "1", "after a configuration that it was not told of");
    warm().await;
    client.post(&path("stop")).await;
    eventually("no warm guest", async || (figure(&client, "podium_warm_guests").await == 0).then_some(())).await;
    client.post(&path("start")).await;
    assert_eq!(client.reply(id, "count").await, "1", "after a stop");
    warm().await;
    client.reply(id, "outlive").await;
    assert_eq!(client.reply(id, "count").await, "1", "after a turn that left a task behind");
}

#[tokio::test]
async fn other_code_never_runs_in_it() {
    let host = Host::start().await;
    let client = host.client();
    let warm = |agent: &str, version: &str| {
        component::with_manifest(&agents::component(agent), |manifest| {
            manifest["keep_warm"] = true.into();
            manifest["version"] = version.into();
        })
    };
    for (agent, name, version) in [
        ("keeper", "keeper", "1.0.0"),
        ("keeper", "keeper", "2.0.0"),
        ("probe", "probe", "1.0.0"),
        ("successor", "probe", "2.0.0"),
    ] {
        assert_eq!(client.deploy(warm(agent, version), Some(name), Some(version)).await.status, 201);
    }
    let upgrade = async |id: InstanceId| {
        let path = format!("/api/v1/instances/{id}/upgrade?wait=60s");
        let _: Value = client.post_json(&path, &json!({"version": "2.0.0"})).await.with(200);
    };
    // Without `migrate`: the cut is not the guest's own.
    let id = client.instance("keeper:1.0.0").await;
    assert_eq!([client.reply(id, "count").await, client.reply(id, "count").await], ["1", "2"]);
    upgrade(id).await;
    assert_eq!([client.reply(id, "count").await, client.reply(id, "count").await], ["1", "2"]);
    // With it: `migrate` runs in a guest of the new code, which is kept.
    let id = client.instance("probe:1.0.0").await;
    client.reply(id, "set a 1").await;
    upgrade(id).await;
    assert_eq!(client.reply(id, "get a").await, "1");
    let data = host.kill();
    let databases = Databases::open(&data.path(), id);
    databases.check();
    let began: Vec<String> =
        databases.turns().into_iter().map(|turn| format!("{} {}", turn.kind, turn.began)).collect();
    assert_eq!(began, ["init fresh", "message warm", "upgrade fresh", "message warm"]);
}

#[tokio::test]
async fn a_warm_guest_is_steered_like_a_fresh_one() {
    let host = Host::start().await;
    let client = host.client();
    let warm = component::with_manifest(&agents::component("steered"), |manifest| manifest["keep_warm"] = true.into());
    assert_eq!(client.deploy(warm, None, None).await.status, 201);
    let id = client.instance("steered").await;
    for n in 0..4 {
        let message = format!("m-{n}");
        client.post_message(id, &message, "one").await;
        client.until_waiting(id).await;
        let steer = json!({"id": format!("s-{n}"), "content": {"text": format!("hand {n}")}});
        assert_eq!(client.post_json(&format!("/api/v1/instances/{id}/steer"), &steer).await.status, 202);
        assert_eq!(client.ask_as(id, &message, "one").await.text, Some(format!("one: hand {n}")));
    }
    assert!(figure(&client, "podium_warm_turns_total").await >= 3);
}

#[tokio::test]
async fn a_turn_in_a_warm_guest_has_its_own_time_randomness_and_output() {
    let host = Host::start().await;
    let client = host.client();
    let id = keeper(&client, json!({})).await;
    let mut drawn = std::collections::BTreeSet::new();
    let mut last = [0_u64; 2];
    for _ in 0..20 {
        assert!(drawn.insert(client.reply(id, "entropy").await), "the same number twice");
        let now: [u64; 2] = serde_json::from_str(&client.reply(id, "clocks").await).expect("two clocks");
        assert!(now[0] > last[0] && now[1] > last[1], "a clock went back from {last:?} to {now:?}");
        last = now;
    }
    let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    assert!(u128::from(last[1]) <= wall && wall - u128::from(last[1]) < 60_000_000_000, "{last:?} is not now");
    // Each half of a line belongs to its own turn.
    client.reply(id, "print first half").await;
    client.reply(id, "print second half").await;
    assert_eq!(client.reply(id, "count").await, "43", "all of it in one guest");
    let lines = client.logs(id).await.lines;
    let printed: Vec<_> = lines.iter().filter(|line| line.module == "stdout").collect();
    assert_eq!(printed.iter().map(|line| line.message.as_str()).collect::<Vec<_>>(), ["first half", "second half"]);
    assert_ne!(printed[0].turn_id, printed[1].turn_id);
}

#[tokio::test]
async fn what_a_guest_leaves_behind_over_turns_never_fails_a_message() {
    let host = Host::start().await;
    let client = host.client();
    for (command, alone, code) in [
        ("hold 2000", "hold 12000", ErrorCode::TableLimit),
        ("open 100", "open 300", ErrorCode::HandleLimit),
        ("grow 20", "grow 80", ErrorCode::MemoryLimit),
    ] {
        let id = keeper(&client, json!({})).await;
        let answers = [
            client.reply(id, command).await,
            client.reply(id, command).await,
            client.reply(id, command).await,
            client.reply(id, command).await,
        ];
        assert_eq!(answers[..2], ["1", "2"], "`{command}`");
        // The guest was full, and the message that found it so was answered by a fresh one.
        assert!(answers[2..].contains(&"1".to_owned()), "`{command}`: {answers:?}");
        // What is too much for any guest fails as it does in a fresh one.
        client.failure(id, alone, code).await;
        assert_eq!(client.reply(id, "count").await, "1");
    }
}

#[tokio::test]
async fn over_the_budget_the_one_longest_at_rest_is_told_and_dropped() {
    let host = Host::start_with(&["--warm-guests", "1"], &[]).await;
    let client = host.client();
    let (first, second) = (keeper(&client, json!({})).await, keeper(&client, json!({})).await);
    client.reply(first, "count").await;
    client.reply(second, "count").await;
    let told = async || {
        let state = client.state(first).await.state;
        state["shut_down"].as_str().filter(|said| said.starts_with("pressure")).map(str::to_owned)
    };
    eventually("the first one to be told", told).await;
    eventually("one warm guest", async || (figure(&client, "podium_warm_guests").await == 1).then_some(())).await;
    assert_eq!(client.reply(second, "count").await, "2", "the other one stays");
    assert_eq!(client.reply(first, "count").await, "1");
}

#[tokio::test]
async fn over_the_budget_of_memory_the_one_longest_at_rest_is_told_and_dropped() {
    let host = Host::start_with(&["--warm-memory", "72"], &[]).await;
    let client = host.client();
    let (first, second) = (keeper(&client, json!({})).await, keeper(&client, json!({})).await);
    // Each fits, and both together do not; they are not so far over it that one goes untold.
    assert_eq!(client.reply(first, "grow 40").await, "1");
    assert_eq!(client.reply(first, "count").await, "2", "it alone is within the budget");
    assert_eq!(client.reply(second, "grow 40").await, "1");
    let told = async || {
        let state = client.state(first).await.state;
        state["shut_down"].as_str().filter(|said| said.starts_with("pressure")).map(str::to_owned)
    };
    assert_eq!(eventually("the first one to be told", told).await, "pressure after 2");
    eventually("one warm guest", async || (figure(&client, "podium_warm_guests").await == 1).then_some(())).await;
    assert_eq!(client.reply(second, "count").await, "2", "the other one stays");
    // Small ones have room beside it.
    assert_eq!(client.reply(first, "count").await, "1");
    assert_eq!(client.reply(first, "count").await, "2");
    assert_eq!(client.reply(second, "count").await, "3");
}

#[tokio::test]
async fn instances_never_share_a_guest() {
    let host = Host::start_with(&["--warm-guests", "3"], &[]).await;
    let client = host.client();
    let mut answered = Vec::new();
    for _ in 0..6 {
        answered.push((keeper(&client, json!({})).await, 0_u64));
    }
    // More instances than may be kept, in an order that makes guests come and go.
    for round in 0..40_usize {
        let (id, count) = &mut answered[(round * round + round / 3) % 6];
        let now: u64 = client.reply(*id, "count").await.parse().expect("a number");
        assert!(now == 1 || now == *count + 1, "it has answered {count}, and its guest says {now}");
        *count = now;
    }
    assert!(figure(&client, "podium_warm_turns_total").await > 0);
}

#[tokio::test]
async fn a_host_that_may_keep_none_keeps_none() {
    for budget in [["--warm-guests", "0"], ["--warm-memory", "0"]] {
        let host = Host::start_with(&budget, &[]).await;
        let client = host.client();
        let id = keeper(&client, json!({})).await;
        for _ in 0..3 {
            assert_eq!(client.reply(id, "count").await, "1");
        }
        assert_eq!(figure(&client, "podium_warm_turns_total").await, 0);
    }
}

#[tokio::test]
async fn after_a_while_it_is_asked_told_and_dropped_and_rests() {
    let host = Host::start_with(&["--warm-idle", "1"], &[]).await;
    let client = host.client();
    let id = keeper(&client, json!({})).await;
    client.reply(id, "count").await;
    let state = eventually("it was shut down", async || {
        let state = client.state(id).await.state;
        (state["shut_down"] != json!("") && state["shut_down"] != Value::Null).then_some(state)
    })
    .await;
    assert_eq!((&state["asked"], &state["shut_down"]), (&json!(1), &json!("idle-timeout after 1")));
    eventually("no guest", async || (figure(&client, "podium_guests").await == 0).then_some(())).await;
    assert_eq!(client.reply(id, "count").await, "1");
    let data = host.kill();
    let databases = Databases::open(&data.path(), id);
    databases.check();
    let hooks: Vec<_> = databases.turns().into_iter().filter(|turn| turn.inbox_seq.is_none()).collect();
    let hooks: Vec<_> = hooks.iter().map(|turn| (turn.kind.as_str(), turn.began.as_str())).collect();
    assert_eq!(hooks[..2], [("idle", "warm"), ("shutdown", "warm")]);
}

#[tokio::test]
async fn deferring_keeps_it_warm_ten_times() {
    let host = Host::start_with(&["--warm-idle", "1"], &[]).await;
    let client = host.client();
    let id = keeper(&client, json!({"defers": true})).await;
    client.reply(id, "count").await;
    let asked = async || client.state(id).await.state["asked"].as_u64().filter(|asked| *asked >= 2);
    eventually("it was asked", asked).await;
    assert_eq!(client.reply(id, "count").await, "2", "it has stayed warm");
    let gone = async || (client.state(id).await.state["shut_down"] == "idle-timeout after 2").then_some(());
    within(Duration::from_secs(60), "it was dropped all the same", gone).await;
    let data = host.kill();
    let databases = Databases::open(&data.path(), id);
    databases.check();
    let kinds: Vec<String> = databases.turns().into_iter().map(|turn| turn.kind).collect();
    let last = kinds.iter().rposition(|kind| kind == "message").expect("a message");
    // A message begins the count anew.
    let mut expected = vec!["idle"; 10];
    expected.push("shutdown");
    assert_eq!(kinds[last + 1..], expected);
}

#[tokio::test]
async fn a_client_that_only_looks_on_does_not_keep_it() {
    let host = Host::start_with(&["--warm-idle", "1"], &[]).await;
    let client = host.client();
    let id = keeper(&client, json!({})).await;
    let mut socket = client.socket(id).await;
    socket.turn("count").await;
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        if let Ok(UpdateBody::StreamStart(start)) = socket.update().await.body() {
            kinds.push(start.kind);
        }
    }
    assert_eq!(kinds, [TurnKind::Idle, TurnKind::Shutdown]);
}

/// Reads until the connection ends; answers the last turn's kind, texts and error.
async fn last_words(socket: &mut Socket) -> (Option<TurnKind>, Option<String>, Option<ErrorCode>) {
    let (mut kind, mut text, mut error) = (None, None, None);
    while let Ok(frame) = socket.try_next().await {
        let podium_wire::frames::ServerFrame::Update(update) = frame else { continue };
        match update.body() {
            Ok(UpdateBody::StreamStart(start)) => kind = Some(start.kind),
            Ok(UpdateBody::StreamEnd(end)) => text = Some(end.text),
            Ok(UpdateBody::Error(failed)) => error = failed.known_code(),
            _ => {}
        }
    }
    (kind, text, error)
}

#[tokio::test]
async fn a_deleted_instance_has_the_last_word_and_is_gone_however_that_ends() {
    let host = Host::start().await;
    let client = host.client();
    client.deployed("keeper").await;
    let fresh = component::with_manifest(&agents::component("keeper"), |manifest| {
        manifest["keep_warm"] = false.into();
        manifest["version"] = "0.2.0".into();
    });
    assert_eq!(client.deploy(fresh, None, None).await.status, 201);
    let goodbye = Some("goodbye: deleted".to_owned());
    for (does, text, error) in [
        ("work", goodbye, None),
        ("error", None, Some(ErrorCode::GuestError)),
        ("trap", None, Some(ErrorCode::GuestTrap)),
        // It has as long as somebody waits for the deletion: whichever of the two notices first.
        ("never", None, Some(ErrorCode::Interrupted)),
    ] {
        for version in ["keeper:0.1.0", "keeper:0.2.0"] {
            let id = client.instance_with(version, json!({"shutdown": does})).await;
            client.reply(id, "count").await;
            let mut socket = client.socket(id).await;
            let path = format!("/api/v1/instances/{id}");
            let (answer, said) = tokio::join!(client.delete(&path), last_words(&mut socket));
            assert_eq!(answer.status, 204, "`{does}` of {version}");
            let (kind, last_text, last_error) = said;
            assert_eq!((kind, last_text), (Some(TurnKind::Shutdown), text.clone()), "`{does}` of {version}");
            let last_error =
                last_error.map(|code| if code == ErrorCode::WaitLimit { ErrorCode::Interrupted } else { code });
            assert_eq!(last_error, error, "`{does}` of {version}");
            client.get(&format!("{path}/info")).await.refused(ErrorCode::InstanceNotFound);
            assert!(!host.data().path().join("instances").join(id.to_string()).exists());
        }
    }
    eventually("no guest", async || (figure(&client, "podium_guests").await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_delete_in_the_middle_of_a_turn_and_one_of_an_instance_that_never_lived() {
    let host = Host::start().await;
    let client = host.client();
    let id = keeper(&client, json!({})).await;
    let mut socket = client.socket(id).await;
    socket.say("sleep 1900000").await;
    client.until_waiting(id).await;
    let path = format!("/api/v1/instances/{id}");
    let (answer, said) = tokio::join!(client.delete(&path), last_words(&mut socket));
    assert_eq!((answer.status, said.0), (204, Some(TurnKind::Shutdown)));
    let before = figure(&client, "podium_turns_started_total").await;
    client
        .create(&json!({"deployment_id": "keeper", "config": {"refuses": true}}))
        .await
        .refused(ErrorCode::InitFailed);
    // `on-init` alone ran.
    assert_eq!(figure(&client, "podium_turns_started_total").await, before + 1);
}

#[tokio::test]
async fn a_hook_that_never_returns_keeps_nothing() {
    let host = Host::start_with(&["--warm-idle", "1"], &[]).await;
    let client = host.client();
    let id = keeper(&client, json!({"shutdown": "never"})).await;
    client.reply(id, "count").await;
    eventually("the hook waits", async || (client.info(id).await.status == InstanceStatus::Waiting).then_some(()))
        .await;
    eventually("no guest", async || (figure(&client, "podium_guests").await == 0).then_some(())).await;
    assert_eq!(client.reply(id, "count").await, "1");
}

#[tokio::test]
async fn a_hook_that_died_with_the_host_is_never_run_again() {
    for (config, kind) in [(json!({"shutdown": "never"}), "shutdown"), (json!({"idle": "never"}), "idle")] {
        for dies in [true, false] {
            let mut host = Host::start_with(&["--warm-idle", "1"], &[]).await;
            let id = keeper(&host.client(), config.clone()).await;
            host.client().reply(id, "push x").await;
            host.client().until_waiting(id).await;
            if dies {
                host = host.crash().await;
            } else {
                let client = host.client();
                for verb in ["stop", "start"] {
                    assert_eq!(client.post(&format!("/api/v1/instances/{id}/{verb}")).await.status, 200, "{verb}");
                }
            }
            // Nothing of it is left, and the next message is answered.
            assert_eq!(host.client().reply(id, "push y").await, "2", "{kind}");
            let data = host.kill();
            let databases = Databases::open(&data.path(), id);
            databases.check();
            let hooks: Vec<_> = databases.turns().into_iter().filter(|turn| turn.inbox_seq.is_none()).collect();
            let died: Vec<_> = hooks.iter().filter(|turn| turn.status != "done").collect();
            assert_eq!(died.len(), 1, "{hooks:?}");
            assert_eq!((died[0].kind.as_str(), died[0].status.as_str()), (kind, "dropped"));
            assert_eq!(databases.cuts().iter().filter(|cut| cut.turn == Some(died[0].turn)).count(), 0);
        }
    }
}

#[tokio::test]
async fn a_hook_can_be_interrupted_and_a_message_behind_it_is_answered() {
    let host = Host::start_with(&["--warm-idle", "1"], &[]).await;
    let client = host.client();
    let id = keeper(&client, json!({"shutdown": "never"})).await;
    let mut socket = client.socket(id).await;
    socket.turn("count").await;
    loop {
        let update = socket.update().await;
        if matches!(update.body(), Ok(UpdateBody::StreamStart(start)) if start.kind == TurnKind::Shutdown) {
            break;
        }
    }
    client.post_message(id, "m-1", "push x").await;
    socket.send(&ClientFrame::Interrupt {}).await.expect("sent");
    let updates = socket.until(EventType::Cut).await;
    assert!(updates.iter().any(|update| update.event_type == EventType::Error), "{updates:?}");
    assert_eq!(client.ask_as(id, "m-1", "push x").await.text.as_deref(), Some("1"));
    assert_eq!(client.reply(id, "count").await, "2", "in the guest that answered the message before");
}
