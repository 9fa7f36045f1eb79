//! Back to an earlier cut and forth again: state, conversation, files, configuration and code together (TURN §8).

use podium_it::database::Databases;
use podium_it::moment::{Moment, cuts, files, said};
use podium_it::{Client, Host, agents, eventually};
use podium_wire::asks::{AskOutcome, QuestionResolved};
use podium_wire::cuts::{CutDiff, CutInfo, CutKind, DiffSide, FileDiffOp, RewindReceipt};
use podium_wire::rest::{ConfigDocument, InstanceStatus};
use podium_wire::updates::{DeploymentReason, EventType, UpdateBody};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

async fn rewound(client: &Client, id: InstanceId, to: u64) -> RewindReceipt {
    let receipt: RewindReceipt = client.post_json(&format!("/agent/{id}/rewind"), &json!({"to": to})).await.with(200);
    assert_eq!(receipt.to, to);
    receipt
}

async fn set_config(client: &Client, id: InstanceId, config: &Value) {
    let _: ConfigDocument = client.put_json(&format!("/agent/{id}/config"), &json!({"config": config})).await.with(200);
}

async fn upgrade(client: &Client, id: InstanceId, version: &str) {
    let path = format!("/agent/{id}/upgrade?wait=60s");
    let _: Value = client.post_json(&path, &json!({"version": version})).await.with(200);
}

async fn last_cut(client: &Client, id: InstanceId) -> u64 {
    client.info(id).await.cut
}

/// A life with something of everything, and what it was at some of its cuts.
async fn life(client: &Client) -> (InstanceId, Vec<(u64, Moment)>) {
    let id = client.deployed_instance("probe").await;
    let bytes = agents::component("successor");
    assert!([200, 201].contains(&client.deploy(bytes, Some("probe"), Some("2.0.0")).await.status));
    let mut moments = Vec::new();
    let mut note = async || moments.push((last_cut(client, id).await, Moment::of(client, id).await));
    note().await;
    client.reply(id, "set colour blue").await;
    client.reply(id, "write a.txt one").await;
    note().await;
    set_config(client, id, &json!({"greeting": "Ahoy"})).await;
    client.reply(id, "set colour red").await;
    client.reply(id, "write a.txt two").await;
    client.file_put(id, "docs/b.txt", b"from outside").await;
    note().await;
    client.reply(id, "push later").await;
    upgrade(client, id, "2.0.0").await;
    client.reply(id, "echo new").await;
    note().await;
    (id, moments)
}

#[tokio::test]
async fn everything_of_a_cut_comes_back_and_the_future_stays() {
    let mut host = Host::start().await;
    let (id, moments) = life(&host.client()).await;
    // Back, forth into what was left behind, and to the same one twice; some of it behind a kill.
    for (n, to) in [1, 3, 0, 2, 2, 3, 0, 1].into_iter().enumerate() {
        let client = host.client();
        let before = last_cut(&client, id).await;
        let (cut, moment) = &moments[to];
        let receipt = rewound(&client, id, *cut).await;
        assert_eq!((receipt.from, receipt.cut), (before, before + 1));
        assert_eq!(Moment::of(&client, id).await, *moment, "rewind {n} to cut {cut}");
        if n % 2 == 0 {
            host = host.crash().await;
            assert_eq!(Moment::of(&host.client(), id).await, *moment, "rewind {n} to cut {cut}, after kill -9");
        }
    }
    let client = host.client();
    // It lives on from there, and what it says next belongs to that past.
    let (_, moment) = &moments[1];
    client.reply(id, "set colour green").await;
    assert_eq!(client.reply(id, "history 3").await.lines().count(), 3);
    let mut expected = moment.messages.clone();
    expected.extend([("user".into(), "set colour green".into())]);
    let now = said(&client, id).await;
    assert_eq!(now[..expected.len()], expected, "{now:?}");
    assert_eq!(files(&client, id).await, moment.files);
    let databases = Databases::open(&host.data().path(), id);
    databases.check();
    assert_eq!(databases.cuts().iter().filter(|cut| cut.kind == "rewind").count(), 8);
}

#[tokio::test]
async fn a_rewind_is_undone_by_rewinding_to_the_cut_before() {
    let host = Host::start().await;
    let client = host.client();
    let (id, moments) = life(&client).await;
    let (head, last) = moments.last().expect("a moment");
    let first = rewound(&client, id, moments[1].0).await;
    let undone = rewound(&client, id, first.from).await;
    assert_eq!(first.from, *head);
    assert_eq!(Moment::of(&client, id).await, *last);
    // And that again: a rewind to the rewind.
    rewound(&client, id, undone.from).await;
    assert_eq!(Moment::of(&client, id).await, moments[1].1);
    let listed = cuts(&client, id).await;
    let kinds = |cut: &CutInfo| (cut.cut, cut.parent, cut.kind, cut.on_path);
    let tail: Vec<_> = listed.iter().rev().take(3).rev().map(kinds).collect();
    assert_eq!(
        tail,
        [
            (head + 1, moments[1].0, CutKind::Rewind, true),
            (head + 2, *head, CutKind::Rewind, false),
            (head + 3, head + 1, CutKind::Rewind, true),
        ]
    );
    for cut in &listed[..listed.len() - 3] {
        assert_eq!(cut.on_path, cut.cut <= moments[1].0, "{cut:?}");
    }
    Databases::open(&host.data().path(), id).check();
}

#[tokio::test]
async fn clients_are_told_and_ids_stay_used() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "set colour blue").await;
    let to = last_cut(&client, id).await;
    let outcome = client.ask_as(id, "m-later", "set colour red").await;
    let mut socket = client.socket(id).await;
    let receipt = rewound(&client, id, to).await;
    let told = socket.until(EventType::Rewound).await;
    let Some(Ok(UpdateBody::Rewound(body))) = told.last().map(|update| update.body()) else { panic!("{told:?}") };
    assert_eq!((body.to, body.from), (to, receipt.from));
    assert!(told.iter().any(|update| update.event_type == EventType::StateDelta && update.seq.is_some()));
    // What came after is no part of the conversation, and its id is still known with its answer.
    assert!(!said(&client, id).await.iter().any(|(_, text)| text.contains("red")));
    let again = client.ask_as(id, "m-later", "set colour red").await;
    assert_eq!((again.duplicate, again.cut), (true, outcome.cut));
    assert_eq!(client.state(id).await.state["values"], json!({"colour": "blue"}), "it did not run again");
    let another = json!({"id": "m-later", "content": {"text": "another"}});
    client.post_json(&format!("/agent/{id}/messages"), &another).await.refused(ErrorCode::MessageConflict);
}

#[tokio::test]
async fn a_turn_that_runs_is_ended_and_what_it_asks_is_cancelled() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "write a.txt one").await;
    let to = last_cut(&client, id).await;
    client.reply(id, "write a.txt two").await;
    let mut socket = client.socket(id).await;
    client.post_message(id, "m-asks", "ask env").await;
    client.until_waiting(id).await;
    client.post_message(id, "m-behind", "read a.txt").await;
    rewound(&client, id, to).await;
    let resolved = socket.until(EventType::QuestionResolved).await;
    match resolved.last().map(|update| update.body()) {
        Some(Ok(UpdateBody::QuestionResolved(QuestionResolved { outcome, .. }))) => {
            assert_eq!(outcome, AskOutcome::Cancelled);
        }
        other => panic!("{other:?}"),
    }
    let asked = client.ask_as(id, "m-asks", "ask env").await;
    assert_eq!(asked.error.and_then(|error| error.known_code()), Some(ErrorCode::Interrupted));
    // What was sent before is answered on what it is now.
    assert_eq!(client.ask_as(id, "m-behind", "read a.txt").await.text.as_deref(), Some("one"));
    // One that computes is ended too.
    client.post_message(id, "m-spins", "spin").await;
    client.until(id, "it runs", |info| info.status == InstanceStatus::Running).await;
    rewound(&client, id, to).await;
    assert_eq!(client.until(id, "nothing is left to do", |info| info.inbox == 0).await.status, InstanceStatus::Resting);
    Databases::open(&host.data().path(), id).check();
}

#[tokio::test]
async fn the_code_is_kept_where_that_is_wanted_and_migrates_the_old_state() {
    let host = Host::start().await;
    let client = host.client();
    let (id, moments) = life(&client).await;
    let new = client.info(id).await.deployment_id;
    let mut socket = client.socket(id).await;
    let keep = async |to: u64| {
        client.post_json(&format!("/agent/{id}/rewind"), &json!({"to": to, "keep_component": true})).await
    };
    let receipt: RewindReceipt = keep(moments[1].0).await.with(200);
    assert_eq!((&receipt.deployment_id, receipt.cut), (&new, receipt.from + 2), "a rewind, then a migration");
    let state = client.state(id).await.state;
    assert_eq!((&state["facts"], &state["migrated_from"]), (&json!({"colour": "blue"}), &json!(1)));
    assert_eq!(client.reply(id, "get colour").await, "blue");
    assert_eq!(files(&client, id).await, moments[1].1.files);
    // Code of the same shape is kept without it.
    let at_new = last_cut(&client, id).await;
    client.reply(id, "echo more").await;
    let receipt: RewindReceipt = keep(at_new).await.with(200);
    assert_eq!((&receipt.deployment_id, receipt.cut), (&new, receipt.from + 1));
    // Without the wish the code is the cut's.
    let receipt = rewound(&client, id, moments[1].0).await;
    assert_eq!(receipt.deployment_id.to_string(), moments[1].1.deployment);
    assert_eq!(client.reply(id, "echo old").await, "old");
    let mut told = Vec::new();
    while told.len() < 2 {
        if let Ok(UpdateBody::DeploymentChanged(changed)) = socket.update().await.body() {
            told.push(changed.reason);
        }
    }
    assert_eq!(told, [DeploymentReason::Rewind, DeploymentReason::Upgrade]);
    // One that cannot migrate leaves the instance where it was asked to go, on the code of then.
    client.reply(id, "set migrate fail").await;
    let to = last_cut(&client, id).await;
    upgrade_refused(&client, id).await;
    client.reply(id, "set migrate no").await;
    upgrade(&client, id, "2.0.0").await;
    keep(to).await.refused(ErrorCode::MigrationFailed);
    let info = client.info(id).await;
    assert_eq!(info.deployment_id.to_string(), moments[1].1.deployment);
    assert_eq!(client.state(id).await.state["values"]["migrate"], "fail");
    Databases::open(&host.data().path(), id).check();
}

async fn upgrade_refused(client: &Client, id: InstanceId) {
    let path = format!("/agent/{id}/upgrade?wait=60s");
    client.post_json(&path, &json!({"version": "2.0.0"})).await.refused(ErrorCode::MigrationFailed);
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_the_one_or_the_other() {
    let mut host = Host::start().await;
    let id = host.client().deployed_instance("scribe").await;
    let many = |word: &str| (0..150).map(|n| format!("write f{n} {word}-{n}\n")).collect::<String>();
    let client = host.client();
    client.reply(id, &many("one")).await;
    let (one, at_one) = (last_cut(&client, id).await, Moment::of(&client, id).await);
    client.reply(id, &many("two")).await;
    let (two, at_two) = (last_cut(&client, id).await, Moment::of(&client, id).await);
    drop(client);
    let (mut went, mut stayed) = (0, 0);
    for round in 0..24_u64 {
        let client = host.client();
        let head = last_cut(&client, id).await;
        let now = Moment::of(&client, id).await;
        let (to, target) = if now == at_one { (two, &at_two) } else { (one, &at_one) };
        let asking = tokio::spawn({
            let client = client.clone();
            let request =
                client.request(reqwest::Method::POST, &format!("/agent/{id}/rewind")).json(&json!({"to": to}));
            async move { request.send().await.is_ok_and(|answer| answer.status().is_success()) }
        });
        // From before it has come in until behind its end, which a busy machine puts off.
        let mut asking = asking;
        let pause = std::time::Duration::from_micros(if round % 8 == 7 { 30_000_000 } else { round * round * 150 });
        let early = tokio::time::timeout(pause, &mut asking).await;
        host = host.crash().await;
        let acknowledged = match early {
            Ok(ended) => ended,
            Err(_) => asking.await,
        }
        .expect("the request ended");
        let client = host.client();
        let found = Moment::of(&client, id).await;
        if last_cut(&client, id).await == head {
            assert_eq!((found, acknowledged), (now, false), "round {round}");
            stayed += 1;
        } else {
            assert_eq!(&found, target, "round {round}");
            went += 1;
        }
        Databases::open(&host.data().path(), id).check();
    }
    assert!(
        went > 0 && stayed > 0,
        "{went} rewinds were made and {stayed} were not: the rounds kill at one moment only"
    );
}

#[tokio::test]
async fn a_guest_that_is_kept_warm_knows_nothing_of_what_was_left_behind() {
    let host = Host::start().await;
    let client = host.client();
    let bytes = podium_it::component::with_manifest(&agents::component("scribe"), |manifest| {
        manifest["keep_warm"] = true.into();
    });
    assert_eq!(client.deploy(bytes, None, Some("0.1.1")).await.status, 201);
    let id = client.instance("scribe:0.1.1").await;
    client.reply(id, "write a one").await;
    let to = last_cut(&client, id).await;
    client.reply(id, "hold kept\nscribble held").await;
    rewound(&client, id, to).await;
    // The file that it held open is gone with the guest.
    let failed = client.ask_as(id, "m", "scribble more").await;
    let error = failed.error.expect("it fails");
    assert!(error.message.contains("`hold` was not asked for"), "{error:?}");
    assert_eq!(files(&client, id).await.into_iter().collect::<Vec<_>>(), [("a".to_owned(), "one".to_owned())]);
}

#[tokio::test]
async fn a_cut_that_is_not_there_is_refused_and_nothing_changes() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let before = Moment::of(&client, id).await;
    let head = last_cut(&client, id).await;
    for to in [0, head + 1, u64::MAX] {
        client.post_json(&format!("/agent/{id}/rewind"), &json!({"to": to})).await.refused(ErrorCode::CutNotFound);
        client.get(&format!("/agent/{id}/diff?from={head}&to={to}")).await.refused(ErrorCode::CutNotFound);
    }
    client.post_json(&format!("/agent/{id}/rewind"), &json!({"to": -1})).await.refused(ErrorCode::InvalidJson);
    client.get(&format!("/agent/{id}/diff?from=1")).await.refused(ErrorCode::BadRequest);
    let nobody = "0198c0de-0000-7000-8000-00000000dead";
    client.get(&format!("/agent/{nobody}/cuts")).await.refused(ErrorCode::InstanceNotFound);
    client.post_json(&format!("/agent/{nobody}/rewind"), &json!({"to": 1})).await.refused(ErrorCode::InstanceNotFound);
    assert_eq!((Moment::of(&client, id).await, last_cut(&client, id).await), (before, head));
    // To where it is: a cut that changes nothing.
    assert_eq!(rewound(&client, id, head).await.cut, head + 1);
}

#[tokio::test]
async fn a_difference_has_state_messages_and_files() {
    let host = Host::start().await;
    let client = host.client();
    let (id, moments) = life(&client).await;
    let diff = async |from: u64, to: u64| -> CutDiff {
        client.get(&format!("/agent/{id}/diff?from={from}&to={to}")).await.with(200)
    };
    let (from, to) = (moments[1].0, moments[3].0);
    let found = diff(from, to).await;
    let patch: json_patch::Patch = serde_json::from_value(found.state.patch.clone()).expect("a patch");
    let mut state = moments[1].1.state.clone();
    json_patch::patch(&mut state, &patch).expect("it applies");
    assert_eq!(state, moments[3].1.state);
    assert!(found.messages.changes.iter().all(|change| change.side == DiffSide::Added));
    assert_eq!(
        moments[1].1.messages.len() + found.messages.changes.len(),
        moments[3].1.messages.len(),
        "{:?}",
        found.messages
    );
    let paths: Vec<_> = found.files.changes.iter().map(|file| (file.path.as_str(), file.op)).collect();
    assert_eq!(
        paths,
        [("a.txt", FileDiffOp::Modified), ("docs", FileDiffOp::Added), ("docs/b.txt", FileDiffOp::Added)]
    );
    let text = found.files.changes[0].diff.as_deref().expect("lines");
    assert!(text.contains("-one") && text.contains("+two"), "{text}");
    let deployments = found.deployment_id.expect("other code");
    assert_eq!(deployments.from.to_string(), moments[1].1.deployment);
    assert_eq!(found.config[0]["path"], "/greeting");
    // The other way round everything is taken away, and a cut does not differ from itself.
    let back = diff(to, from).await;
    assert!(back.messages.changes.iter().all(|change| change.side == DiffSide::Removed));
    assert_eq!(back.messages.changes.len(), found.messages.changes.len());
    let same = diff(to, to).await;
    assert_eq!((same.state.patch, same.files.same, same.messages.changes.len()), (json!([]), true, 0));
    // In pages of one.
    let (mut messages_after, mut files_after, mut messages, mut paths) = (0, 0, 0, Vec::new());
    loop {
        let query = format!("from={from}&to={to}&limit=1&messages_after={messages_after}&files_after={files_after}");
        let page: CutDiff = client.get(&format!("/agent/{id}/diff?{query}")).await.with(200);
        assert!(page.messages.changes.len() <= 1 && page.files.changes.len() <= 1);
        messages += page.messages.changes.len();
        paths.extend(page.files.changes.into_iter().map(|file| file.path));
        let next = (page.messages.next, page.files.next);
        messages_after = next.0.unwrap_or(1_000_000);
        files_after = next.1.unwrap_or(1_000_000);
        if next == (None, None) {
            break;
        }
    }
    assert_eq!(
        (messages, paths),
        (found.messages.changes.len(), vec!["a.txt".into(), "docs".into(), "docs/b.txt".into()])
    );
    // Between two branches: what each has alone.
    rewound(&client, id, from).await;
    client.reply(id, "push elsewhere").await;
    let sides = diff(to, last_cut(&client, id).await).await.messages.changes;
    let count = |side: DiffSide| sides.iter().filter(|change| change.side == side).count();
    assert_eq!((count(DiffSide::Removed), count(DiffSide::Added)), (messages, 2), "{sides:?}");
}

#[tokio::test]
async fn the_command_line_lists_rewinds_and_compares() {
    let host = Host::start().await;
    let client = host.client();
    let (id, moments) = life(&client).await;
    let (cli, id_text) = (host.cli(), id.to_string());
    let listed = cli.run(&["instance", "cuts", &id_text]).await;
    let lines: Vec<&str> = listed.ok().lines().collect();
    assert_eq!(lines.len(), 1 + cuts(&client, id).await.len(), "{lines:?}");
    assert!(lines[1].contains("init") && lines.iter().any(|line| line.contains("upgrade")), "{lines:?}");
    let (from, to) = (moments[1].0.to_string(), moments[3].0.to_string());
    let shown = cli.run(&["instance", "diff", &id_text, &from, &to]).await;
    for part in ["state ", "+ user: push later", "M a.txt", "-one", "+two", "deployment probe", "/greeting"] {
        assert!(shown.ok().contains(part), "`{part}` is not in\n{}", shown.ok());
    }
    let json = cli.run(&["instance", "diff", &id_text, &from, &to, "--json"]).await.json();
    assert_eq!(json["files"]["changes"].as_array().map(Vec::len), Some(3));
    let done = cli.run(&["instance", "rewind", &id_text, "--to", &from]).await;
    assert!(done.ok().starts_with("rewound to cut"), "{}", done.ok());
    assert_eq!(Moment::of(&client, id).await, moments[1].1);
    let kept = cli.run(&["instance", "rewind", &id_text, "--to", &to, "--keep-component", "--json"]).await.json();
    assert_eq!(kept["to"], moments[3].0);
    cli.run(&["instance", "rewind", &id_text, "--to", "9999"]).await.failed(3, ErrorCode::CutNotFound);
    // What is told does not wait for a client.
    eventually("the instance rests", async || (client.info(id).await.status == InstanceStatus::Resting).then_some(()))
        .await;
}
