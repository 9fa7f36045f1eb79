//! Other code for a living instance: at the turn boundary, with the conversation, the state and the socket kept.

use podium_it::database::Databases;
use podium_it::{Answer, Client, Host, agents, component, eventually};
use podium_wire::rest::{InstanceInfo, InstanceStatus, UpgradeReceipt, UpgradeStatus};
use podium_wire::updates::{DeploymentChanged, DeploymentReason, EventType, Update, UpdateBody};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

/// Deploys the probe's successor as this version.
async fn successor(client: &Client, version: &str) -> String {
    deployed(client, agents::component("successor"), version).await
}

async fn deployed(client: &Client, bytes: Vec<u8>, version: &str) -> String {
    let body: Value = client.deploy(bytes, Some("probe"), Some(version)).await.with(201);
    body["deployment_id"].as_str().expect("an id").to_owned()
}

/// Asks for an upgrade and waits for its end.
async fn upgrade(client: &Client, id: InstanceId, body: &Value) -> Answer {
    client.post_json(&format!("/api/v1/instances/{id}/upgrade?wait=60s"), body).await
}

async fn upgraded(client: &Client, id: InstanceId, version: &str) -> UpgradeReceipt {
    let receipt: UpgradeReceipt = upgrade(client, id, &json!({"version": version})).await.with(200);
    assert_eq!(receipt.status, UpgradeStatus::Done, "{receipt:?}");
    receipt
}

/// Asks for an upgrade that waits for the running turn.
async fn queued(client: &Client, id: InstanceId, version: &str) {
    let path = format!("/agent/{id}/upgrade");
    let receipt: UpgradeReceipt = client.post_json(&path, &json!({"version": version})).await.with(202);
    assert_eq!((receipt.status, receipt.cut), (UpgradeStatus::Accepted, None));
}

fn is_running(info: &InstanceInfo) -> bool {
    info.status == InstanceStatus::Running
}

fn changes(updates: &[Update]) -> Vec<DeploymentChanged> {
    let changed = |update: &Update| match update.body() {
        Ok(UpdateBody::DeploymentChanged(changed)) => {
            assert!(update.seq.is_some(), "it is durable: {update:?}");
            Some(*changed)
        }
        _ => None,
    };
    updates.iter().filter_map(changed).collect()
}

/// The kinds of the cuts, after a check of everything that always holds.
fn cut_kinds(host: &Host, id: InstanceId) -> Vec<String> {
    let databases = Databases::open(&host.data().path(), id);
    databases.check();
    databases.cuts().into_iter().map(|cut| cut.kind).collect()
}

#[tokio::test]
async fn under_load_nothing_is_lost_and_the_socket_stays_open() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let new = successor(&client, "2.0.0").await;
    let mut socket = client.socket(id).await;
    let mut ids = Vec::new();
    let mut upgrading = None;
    for n in 0..40 {
        ids.push(socket.say(&format!("echo {n}")).await);
        if n == 20 {
            let client = client.clone();
            upgrading = Some(tokio::spawn(async move { upgraded(&client, id, "2.0.0").await }));
        }
    }
    let mut answers = Vec::new();
    let mut seen = Vec::new();
    while answers.len() < ids.len() {
        let update = socket.update().await;
        if let Ok(UpdateBody::StreamEnd(end)) = update.body()
            && update.message_id.is_some()
        {
            answers.push(end.text);
        }
        seen.push(update);
    }
    let receipt = upgrading.expect("it was asked for").await.expect("the upgrade");
    let first_new = answers.iter().position(|text| text.starts_with("two: "));
    for (n, text) in answers.iter().enumerate() {
        let is_new = first_new.is_some_and(|first| n >= first);
        assert_eq!(*text, if is_new { format!("two: {n}") } else { n.to_string() });
    }
    // It may have come behind the last of them; then the next one is the new version's.
    assert_eq!(socket.turn("echo last").await.text.as_deref(), Some("two: last"));
    if first_new.is_some() {
        let told = changes(&seen);
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].deployment_id.to_string(), told[0].reason), (new.clone(), DeploymentReason::Upgrade));
        assert_eq!(told[0].previous_deployment_id, receipt.previous_deployment_id);
    }
    assert_eq!(client.info(id).await.deployment_id.to_string(), new);
    let listed: Value = client.get("/instances").await.with(200);
    assert_eq!(listed["instances"][0]["deployment_id"], json!(new));
    assert_eq!(cut_kinds(&host, id).iter().filter(|kind| *kind == "upgrade").count(), 1);
}

#[tokio::test]
async fn migrate_brings_the_state_to_its_new_shape_in_the_same_cut() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    successor(&client, "2.0.0").await;
    client.reply(id, "set colour blue").await;
    let receipt = upgraded(&client, id, "2.0.0").await;
    let state = client.state(id).await;
    assert_eq!(state.state["facts"], json!({"colour": "blue"}));
    assert_eq!((state.state.get("values"), Some(state.cut)), (None, receipt.cut));
    assert_eq!(client.reply(id, "from").await, "1");
    // Kill -9 right after: the new one, whole.
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.info(id).await.deployment_id, receipt.deployment_id);
    assert_eq!(client.reply(id, "get colour").await, "blue");
    // The same again is nothing to do, and another version of the same shape needs no migration.
    let again: UpgradeReceipt = upgrade(&client, id, &json!({"version": "2.0.0"})).await.with(200);
    assert_eq!((again.status, again.cut), (UpgradeStatus::Unchanged, None));
    deployed(&client, component::other_bytes(&agents::component("successor")), "2.0.1").await;
    upgraded(&client, id, "2.0.1").await;
    assert_eq!(client.reply(id, "from").await, "1", "migrated once");
    // Down again is the same operation.
    upgraded(&client, id, "2.0.0").await;
    assert_eq!(client.reply(id, "get colour").await, "blue");
    let kinds = cut_kinds(&host, id);
    assert_eq!(kinds.iter().filter(|kind| *kind == "upgrade").count(), 3, "{kinds:?}");
}

#[tokio::test]
async fn a_failing_migration_leaves_the_old_version_serving_and_the_messages_to_it() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let old = client.info(id).await.deployment_id;
    let bytes = agents::with_limits("successor", &json!({"cpu_ms": 1000}));
    deployed(&client, bytes, "2.0.0").await;
    for (how, cause) in [("fail", "migration_refused"), ("boom", "POD-4001"), ("spin", "POD-4004")] {
        client.reply(id, &format!("set migrate {how}")).await;
        let mut socket = client.socket(id).await;
        let asking = tokio::spawn({
            let client = client.clone();
            async move { upgrade(&client, id, &json!({"version": "2.0.0"})).await }
        });
        if how == "spin" {
            client.until(id, "it migrates", is_running).await;
        }
        // Behind the migration where that takes a while, and answered by the old version in any case.
        assert_eq!(client.reply(id, "echo still here").await, "still here");
        let error = asking.await.expect("an answer").refused(ErrorCode::MigrationFailed);
        assert!(error.message.contains(cause), "{how}: {error:?}");
        let told = socket.until(EventType::Error).await;
        match told.last().map(Update::body) {
            Some(Ok(UpdateBody::Error(error))) => {
                assert_eq!(error.known_code(), Some(ErrorCode::MigrationFailed), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(client.info(id).await.deployment_id, old);
        assert_eq!(client.state(id).await.state["values"]["migrate"], json!(how), "the state is as it was");
    }
    assert!(!cut_kinds(&host, id).iter().any(|kind| kind == "upgrade"));
    // Mended, it goes through.
    client.reply(id, "set migrate well").await;
    upgraded(&client, id, "2.0.0").await;
    assert_eq!(client.reply(id, "get migrate").await, "well");
}

#[tokio::test]
async fn an_acknowledged_upgrade_survives_kill_9() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let new = successor(&client, "2.0.0").await;
    client.post_message(id, "m-1", "sleep 1500").await;
    client.post_message(id, "m-2", "echo behind").await;
    queued(&client, id, "2.0.0").await;
    let host = host.crash().await;
    let client = host.client();
    // The turn that had begun ends on the code that it began on; then the upgrade, then what waited.
    assert_eq!(client.ask_as(id, "m-1", "sleep 1500").await.text.as_deref(), Some("slept 1500"));
    assert_eq!(client.ask_as(id, "m-2", "echo behind").await.text.as_deref(), Some("two: behind"));
    assert_eq!(client.info(id).await.deployment_id.to_string(), new);
    assert_eq!(cut_kinds(&host, id), ["init", "turn", "upgrade", "turn"]);
}

#[tokio::test]
async fn kill_9_during_a_migration_leaves_it_undone_or_done() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let bytes = agents::with_limits("successor", &json!({"cpu_ms": 2000}));
    deployed(&client, bytes, "2.0.0").await;
    client.reply(id, "set migrate spin").await;
    let before = client.info(id).await;
    queued(&client, id, "2.0.0").await;
    client.until(id, "it migrates", is_running).await;
    let host = host.crash().await;
    let client = host.client();
    // It is tried again, reaches its limit, and the old version answers.
    assert_eq!(client.reply(id, "echo old").await, "old");
    let info = client.info(id).await;
    assert_eq!(info.deployment_id, before.deployment_id);
    let kinds = cut_kinds(&host, id);
    assert_eq!(kinds[kinds.len() - 2..], ["error", "turn"], "{kinds:?}");
}

#[tokio::test]
async fn a_migration_that_takes_the_host_down_is_given_up() {
    let mut host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let bytes = component::with_manifest(&agents::component("successor"), |manifest| {
        manifest["retry"] = 1.into();
        manifest["limits"] = json!({"cpu_ms": 600_000});
    });
    deployed(&client, bytes, "2.0.0").await;
    client.reply(id, "set migrate spin").await;
    queued(&client, id, "2.0.0").await;
    client.until(id, "it migrates", is_running).await;
    host = host.crash().await;
    let client = host.client();
    assert_eq!(client.reply(id, "echo old").await, "old");
    assert!(!cut_kinds(&host, id).iter().any(|kind| kind == "upgrade"));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_and_changes_nothing() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.deployed("counter").await;
    let before = client.info(id).await;
    let refused = [
        (json!({"version": "9.9.9"}), ErrorCode::DeploymentNotFound),
        (json!({"deployment_id": "probe:9.9.9"}), ErrorCode::DeploymentNotFound),
        (json!({"deployment_id": "counter:0.1.0"}), ErrorCode::OtherAgentType),
        (json!({"deployment": "nobody"}), ErrorCode::OtherAgentType),
        (json!({}), ErrorCode::BadRequest),
        (json!({"version": "0.1.0", "deployment_id": "probe"}), ErrorCode::BadRequest),
        (json!({"version": "one"}), ErrorCode::InvalidJson),
        (json!({"version": "0.1.0", "colour": 1}), ErrorCode::InvalidJson),
    ];
    for (body, code) in refused {
        upgrade(&client, id, &body).await.refused(code);
    }
    let nobody = "0198c0de-0000-7000-8000-00000000dead";
    let path = format!("/api/v1/instances/{nobody}/upgrade");
    client.post_json(&path, &json!({"version": "0.1.0"})).await.refused(ErrorCode::InstanceNotFound);
    assert_eq!(client.info(id).await, before);
    // What it runs already, by any name.
    for body in [json!({"version": "0.1.0"}), json!({"deployment_id": "probe"})] {
        let receipt: UpgradeReceipt = upgrade(&client, id, &body).await.with(200);
        assert_eq!(receipt.status, UpgradeStatus::Unchanged);
    }
    assert_eq!(client.info(id).await.cut, before.cut);
}

#[tokio::test]
async fn it_goes_behind_the_running_turn_and_before_the_messages_that_wait() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    successor(&client, "2.0.0").await;
    client.post_message(id, "m-1", "sleep 800").await;
    client.post_message(id, "m-2", "echo waited").await;
    queued(&client, id, "2.0.0").await;
    queued(&client, id, "2.0.0").await;
    assert_eq!(client.info(id).await.inbox, 3, "the same one waits once");
    assert_eq!(client.ask_as(id, "m-1", "sleep 800").await.text.as_deref(), Some("slept 800"));
    assert_eq!(client.ask_as(id, "m-2", "echo waited").await.text.as_deref(), Some("two: waited"));
    assert_eq!(cut_kinds(&host, id), ["init", "turn", "upgrade", "turn"]);
}

#[tokio::test]
async fn a_parked_message_is_mended_by_an_upgrade_and_a_retry() {
    let host = Host::start().await;
    let bytes = agents::with_retry("probe", 1);
    assert_eq!(host.client().deploy(bytes, None, None).await.status, 201);
    let client = host.client();
    let id = client.instance("probe").await;
    client.post_message(id, "deadly", "spin").await;
    client.post_message(id, "behind", "echo behind").await;
    client.until(id, "it runs", is_running).await;
    let host = host.crash().await;
    let client = host.client();
    client.until(id, "it is parked", |info| info.status == InstanceStatus::Parked).await;
    successor(&client, "2.0.0").await;
    upgraded(&client, id, "2.0.0").await;
    // Nobody has decided about the message yet.
    let info = client.info(id).await;
    assert_eq!((info.status, info.inbox), (InstanceStatus::Parked, 2));
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/messages/deadly/retry")).await.status, 202);
    assert_eq!(client.ask_as(id, "deadly", "spin").await.text.as_deref(), Some("two: spin"));
    assert_eq!(client.ask_as(id, "behind", "echo behind").await.text.as_deref(), Some("two: behind"));
}

#[tokio::test]
async fn a_stopped_instance_is_upgraded_before_it_starts_again() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let new = successor(&client, "2.0.0").await;
    client.reply(id, "set colour blue").await;
    client.post_message(id, "m-1", "sleep 60000").await;
    client.until(id, "it runs", |info| info.status != InstanceStatus::Resting).await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/stop")).await.status, 200);
    upgraded(&client, id, "2.0.0").await;
    let info = client.info(id).await;
    assert_eq!((info.status, info.deployment_id.to_string()), (InstanceStatus::Stopped, new));
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/start")).await.status, 200);
    // The turn that was set aside begins again on the new code.
    assert_eq!(client.ask_as(id, "m-1", "sleep 60000").await.text.as_deref(), Some("two: sleep"));
    assert_eq!(client.reply(id, "get colour").await, "blue");
}

#[tokio::test]
async fn the_new_version_s_limits_are_in_force() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    deployed(&client, agents::with_limits("successor", &json!({"updates": 50})), "2.0.0").await;
    upgraded(&client, id, "2.0.0").await;
    let error = client.failure(id, "flood", ErrorCode::UpdatesLimit).await;
    assert!(error.message.contains("50"), "{error:?}");
}

/// An instance whose new version is on trial, and fails every message.
async fn on_trial(client: &Client) -> (InstanceId, InstanceInfo) {
    let id = client.deployed_instance("probe").await;
    successor(client, "2.0.0").await;
    client.reply(id, "set first boom").await;
    let before = client.info(id).await;
    let receipt: UpgradeReceipt = upgrade(client, id, &json!({"version": "2.0.0", "on_trial": true})).await.with(200);
    assert_eq!(receipt.status, UpgradeStatus::Done);
    assert_eq!(client.state(id).await.state["facts"]["first"], json!("boom"), "it is migrated");
    (id, before)
}

#[tokio::test]
async fn a_version_on_trial_that_fails_is_put_back_and_the_message_answered() {
    let host = Host::start().await;
    let client = host.client();
    let (id, before) = on_trial(&client).await;
    let mut socket = client.socket(id).await;
    let message = socket.say("echo hello").await;
    let mut seen = socket.until(EventType::DeploymentChanged).await;
    seen.extend(socket.until(EventType::TurnRestarted).await);
    let turn = socket.rest_of_turn(message.clone()).await;
    assert_eq!((turn.text.as_deref(), turn.cut.attempt), (Some("hello"), Some(2)));
    let told = changes(&seen);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].reason, &told[0].deployment_id), (DeploymentReason::PutBack, &before.deployment_id));
    let error = told[0].error.as_ref().expect("why");
    assert_eq!(error.known_code(), Some(ErrorCode::GuestTrap));
    // Code and state are those from before; the message has one cut, and the failed version left none.
    assert_eq!(client.info(id).await.deployment_id, before.deployment_id);
    assert_eq!(client.state(id).await.state["values"]["first"], json!("boom"));
    let kinds = cut_kinds(&host, id);
    assert_eq!(kinds, ["init", "turn", "upgrade", "upgrade", "turn"]);
    assert_eq!(client.ask_as(id, &message, "echo hello").await.text.as_deref(), Some("hello"));
    let host = host.crash().await;
    assert_eq!(host.client().reply(id, "echo again").await, "again");
    assert_eq!(host.client().info(id).await.deployment_id, before.deployment_id);
}

#[tokio::test]
async fn a_trial_survives_kill_9_and_a_file_that_is_written_meanwhile() {
    let host = Host::start().await;
    let (id, before) = on_trial(&host.client()).await;
    host.client().file_put(id, "note.txt", b"kept").await;
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.reply(id, "echo hello").await, "hello");
    assert_eq!(client.info(id).await.deployment_id, before.deployment_id);
    assert_eq!(client.file(id, "note.txt").await.text(), "kept");
}

#[tokio::test]
async fn a_version_that_has_proved_itself_is_on_trial_no_more() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let new = successor(&client, "2.0.0").await;
    let body = json!({"version": "2.0.0", "on_trial": true});
    let _: UpgradeReceipt = upgrade(&client, id, &body).await.with(200);
    assert_eq!(client.reply(id, "echo fine").await, "two: fine");
    client.failure(id, "boom now", ErrorCode::GuestTrap).await;
    assert_eq!(client.info(id).await.deployment_id.to_string(), new);
    let host = host.crash().await;
    host.client().failure(id, "boom again", ErrorCode::GuestTrap).await;
    assert_eq!(host.client().info(id).await.deployment_id.to_string(), new);
}

#[tokio::test]
async fn two_versions_on_trial_lead_back_to_the_last_that_was_not() {
    let host = Host::start().await;
    let client = host.client();
    let (id, before) = on_trial(&client).await;
    deployed(&client, component::other_bytes(&agents::component("successor")), "2.0.1").await;
    let body = json!({"version": "2.0.1", "on_trial": true});
    let _: UpgradeReceipt = upgrade(&client, id, &body).await.with(200);
    assert_eq!(client.reply(id, "echo hello").await, "hello");
    assert_eq!(client.info(id).await.deployment_id, before.deployment_id);
    assert_eq!(client.state(id).await.state["values"]["first"], json!("boom"));
}

#[tokio::test]
async fn the_command_says_what_became_of_it() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    successor(&client, "2.0.0").await;
    let (cli, text) = (host.cli(), id.to_string());
    cli.run(&["instance", "upgrade", &text, "9.9.9"]).await.failed(3, ErrorCode::DeploymentNotFound);
    cli.run(&["instance", "upgrade", &text, "counter:0.1.0"]).await.failed(5, ErrorCode::OtherAgentType);
    cli.run(&["instance", "upgrade", &text, "1.0"]).await.failed(2, ErrorCode::Usage);
    client.reply(id, "set migrate fail").await;
    let failed = cli.run(&["instance", "upgrade", &text, "2.0.0"]).await;
    failed.failed(5, ErrorCode::MigrationFailed);
    client.reply(id, "set migrate well").await;
    let done = cli.run(&["instance", "upgrade", &text, "probe:2.0.0"]).await;
    assert!(done.ok().starts_with("upgraded probe:2.0.0@"), "{done:?}");
    let again = cli.run(&["instance", "upgrade", &text, "2.0.0", "--json"]).await.json();
    assert_eq!(again["status"], "unchanged", "{again}");
    eventually("it is shown", async || {
        let info = cli.run(&["instance", "info", &text]).await;
        info.ok().contains("probe:2.0.0@").then_some(())
    })
    .await;
}

/// Asks for an upgrade that waits for nothing.
async fn at_once(client: &Client, id: InstanceId) {
    let receipt: UpgradeReceipt = upgrade(client, id, &json!({"version": "2.0.0", "now": true})).await.with(200);
    assert_eq!(receipt.status, UpgradeStatus::Done, "{receipt:?}");
}

#[tokio::test]
async fn at_once_it_goes_before_a_turn_which_begins_again() {
    for (text, answer) in [("sleep 600000", "two: sleep"), ("ask env", "two: ask"), ("spin", "two: spin")] {
        let host = Host::start().await;
        let client = host.client();
        let bytes = agents::with_limits("probe", &json!({"cpu_ms": 600_000}));
        assert_eq!(client.deploy(bytes, None, None).await.status, 201);
        let id = client.instance("probe").await;
        successor(&client, "2.0.0").await;
        let mut socket = client.socket(id).await;
        client.post_message(id, "m-1", text).await;
        client.post_message(id, "m-2", "echo behind").await;
        client.until(id, "it runs", |info| info.status != InstanceStatus::Resting).await;
        at_once(&client, id).await;
        assert_eq!(client.ask_as(id, "m-1", text).await.text.as_deref(), Some(answer));
        assert_eq!(client.ask_as(id, "m-2", "echo behind").await.text.as_deref(), Some("two: behind"));
        assert_eq!(cut_kinds(&host, id), ["init", "upgrade", "turn", "turn"]);
        // Clients are told of the code, then to forget what they saw of the turn.
        let seen = socket.until(EventType::TurnRestarted).await;
        assert_eq!(changes(&seen).len(), 1, "{seen:?}");
        let turns = Databases::open(&host.data().path(), id).turns();
        assert_eq!(turns.iter().filter(|turn| turn.kind == "message").map(|turn| turn.attempt).max(), Some(2));
    }
}

#[tokio::test]
async fn one_that_waits_is_made_at_once_when_it_is_asked_for_so() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    successor(&client, "2.0.0").await;
    let mut socket = client.socket(id).await;
    client.post_message(id, "m-1", "sleep 600000").await;
    queued(&client, id, "2.0.0").await;
    client.until(id, "it waits", |info| info.status == InstanceStatus::Waiting).await;
    let said = host.cli().run(&["instance", "upgrade", &id.to_string(), "2.0.0", "--now"]).await;
    assert!(said.ok().starts_with("upgraded probe:2.0.0@"), "{said:?}");
    assert_eq!(client.ask_as(id, "m-1", "sleep 600000").await.text.as_deref(), Some("two: sleep"));
    assert_eq!(cut_kinds(&host, id), ["init", "upgrade", "upgrade", "turn"]);
    let seen = socket.until(EventType::TurnRestarted).await;
    assert_eq!(changes(&seen).len(), 1, "it is told once: {seen:?}");
    // Where nothing is to be changed, nothing is ended.
    client.post_message(id, "m-2", "echo on").await;
    let same: UpgradeReceipt = upgrade(&client, id, &json!({"version": "2.0.0", "now": true})).await.with(200);
    assert_eq!(same.status, UpgradeStatus::Unchanged);
    assert_eq!(client.ask_as(id, "m-2", "echo on").await.text.as_deref(), Some("two: on"));
}

#[tokio::test]
async fn at_once_stays_at_once_after_kill_9() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    successor(&client, "2.0.0").await;
    client.post_message(id, "m-1", "sleep 600000").await;
    client.until(id, "it waits", |info| info.status == InstanceStatus::Waiting).await;
    let path = format!("/agent/{id}/upgrade");
    let _: UpgradeReceipt = client.post_json(&path, &json!({"version": "2.0.0", "now": true})).await.with(202);
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.ask_as(id, "m-1", "sleep 600000").await.text.as_deref(), Some("two: sleep"));
    assert_eq!(cut_kinds(&host, id), ["init", "upgrade", "turn"]);
}

#[tokio::test]
async fn an_interrupt_ends_a_migration_and_the_old_version_serves() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    deployed(&client, agents::with_limits("successor", &json!({"cpu_ms": 600_000})), "2.0.0").await;
    client.reply(id, "set migrate spin").await;
    let before = client.info(id).await;
    let asking = tokio::spawn({
        let client = client.clone();
        async move { upgrade(&client, id, &json!({"version": "2.0.0"})).await }
    });
    client.until(id, "it migrates", is_running).await;
    client.post_message(id, "m-1", "echo behind").await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
    let error = asking.await.expect("an answer").refused(ErrorCode::MigrationFailed);
    assert!(error.message.contains(&ErrorCode::Interrupted.to_string()), "{error:?}");
    assert_eq!(client.ask_as(id, "m-1", "echo behind").await.text.as_deref(), Some("behind"));
    assert_eq!(client.info(id).await.deployment_id, before.deployment_id);
    assert_eq!(client.state(id).await.state["values"]["migrate"], json!("spin"));
    assert_eq!(cut_kinds(&host, id), ["init", "turn", "error", "turn"]);
}

#[tokio::test]
async fn a_version_on_trial_cannot_pass_its_failure_off_as_another_s() {
    for code in [ErrorCode::Interrupted, ErrorCode::Discarded, ErrorCode::Internal, ErrorCode::StorageFull] {
        let host = Host::start().await;
        let client = host.client();
        let id = client.deployed_instance("probe").await;
        successor(&client, "2.0.0").await;
        client.reply(id, &format!("set first {code}")).await;
        let before = client.info(id).await;
        let body = json!({"version": "2.0.0", "on_trial": true});
        let _: UpgradeReceipt = upgrade(&client, id, &body).await.with(200);
        assert_eq!(client.reply(id, "echo hello").await, "hello", "{code}");
        assert_eq!(client.info(id).await.deployment_id, before.deployment_id, "{code}");
    }
}
