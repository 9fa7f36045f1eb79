//! A new instance that begins as a copy of another one's cut: whole, independent, and found bad by halves (TURN §8).

use std::time::Duration;

use podium_it::database::Databases;
use podium_it::host::interrupt;
use podium_it::moment::{Moment, cuts, files, said};
use podium_it::{Answer, Client, Data, Host, agents, eventually, guide, root};
use podium_wire::cuts::{CutKind, CutRef, Forked};
use podium_wire::rest::{InstancePage, InstanceStatus};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::{Value, json};

async fn ask_fork(client: &Client, id: InstanceId, at: Option<u64>) -> Answer {
    client.post_json(&format!("/agent/{id}/fork"), &json!({"at": at})).await
}

async fn fork(client: &Client, id: InstanceId, at: Option<u64>) -> InstanceId {
    let forked: Forked = ask_fork(client, id, at).await.with(201);
    assert_eq!(forked.forked_from.instance_id, id);
    forked.instance.instance_id
}

async fn last_cut(client: &Client, id: InstanceId) -> u64 {
    client.info(id).await.cut
}

async fn instances(client: &Client) -> usize {
    client.get("/instances?limit=1000").await.with::<InstancePage>(200).instances.len()
}

/// A life with files, a configuration and other code, and what it was at some of its cuts.
async fn life(client: &Client) -> (InstanceId, Vec<(u64, Moment)>) {
    let id = client.deployed_instance("probe").await;
    let bytes = agents::component("successor");
    assert!([200, 201].contains(&client.deploy(bytes, Some("probe"), Some("2.0.0")).await.status));
    let mut moments = vec![(last_cut(client, id).await, Moment::of(client, id).await)];
    client.reply(id, "set colour blue").await;
    client.reply(id, "write a.txt one").await;
    client.file_put(id, "docs/b.txt", b"from outside").await;
    moments.push((last_cut(client, id).await, Moment::of(client, id).await));
    let config = json!({"config": {"greeting": "Ahoy"}});
    let _: Value = client.put_json(&format!("/agent/{id}/config"), &config).await.with(200);
    client.reply(id, "write a.txt two").await;
    let path = format!("/agent/{id}/upgrade?wait=60s");
    let _: Value = client.post_json(&path, &json!({"version": "2.0.0"})).await.with(200);
    client.reply(id, "echo new").await;
    moments.push((last_cut(client, id).await, Moment::of(client, id).await));
    (id, moments)
}

#[tokio::test]
async fn a_fork_is_what_the_cut_was_and_the_two_go_their_own_ways() {
    let mut host = Host::start().await;
    let (id, moments) = life(&host.client()).await;
    let mut forks = Vec::new();
    for (cut, moment) in &moments {
        let client = host.client();
        let forked = fork(&client, id, Some(*cut)).await;
        if forks.len() % 2 == 1 {
            // Killed before anybody used it.
            drop(client);
            host = host.crash().await;
        }
        let client = host.client();
        assert_eq!(Moment::of(&client, forked).await, *moment, "forked at cut {cut}");
        let listed = cuts(&client, forked).await;
        assert_eq!((listed.len(), listed[0].kind, listed[0].parent), (1, CutKind::Fork, 0));
        assert_eq!(listed[0].forked_from, Some(CutRef { instance_id: id, cut: *cut }));
        forks.push(forked);
    }
    let client = host.client();
    // The last cut, and a fork of a fork.
    let last = fork(&client, id, None).await;
    assert_eq!(Moment::of(&client, last).await, moments[2].1);
    let again = fork(&client, forks[1], None).await;
    let of_unused = fork(&client, again, None).await;
    assert_eq!(Moment::of(&client, of_unused).await, moments[1].1);
    assert_eq!(Moment::of(&client, again).await, moments[1].1);
    // Each goes on alone.
    client.reply(forks[1], "write a.txt fork").await;
    client.reply(forks[1], "set colour green").await;
    client.reply(again, "write a.txt again").await;
    assert_eq!(Moment::of(&client, id).await, moments[2].1);
    assert_eq!(files(&client, forks[1]).await["a.txt"], "fork");
    assert_eq!(files(&client, again).await["a.txt"], "again");
    assert_eq!(files(&client, of_unused).await["a.txt"], "one");
    assert!(said(&client, forks[1]).await.len() > moments[1].1.messages.len());
    for one in [id, forks[0], forks[1], forks[2], last, again, of_unused] {
        Databases::open(&host.data().path(), one).check();
    }
    // Its randomness is its own.
    let twin = fork(&client, forks[0], None).await;
    assert_ne!(client.reply(twin, "random").await, client.reply(forks[0], "random").await);
}

#[tokio::test]
async fn the_parent_may_be_rewound_and_deleted() {
    let mut host = Host::start().await;
    let (id, moments) = life(&host.client()).await;
    let client = host.client();
    let [used, unused, killed] = [
        fork(&client, id, Some(moments[1].0)).await,
        fork(&client, id, Some(moments[1].0)).await,
        fork(&client, id, None).await,
    ];
    assert_eq!(Moment::of(&client, used).await, moments[1].1);
    let of_unused = fork(&client, unused, None).await;
    let _: Value = client.post_json(&format!("/agent/{id}/rewind"), &json!({"to": moments[0].0})).await.with(200);
    assert_eq!(client.delete(&format!("/agent/{id}")).await.status, 204);
    assert!(!host.data().path().join(format!("instances/{id}")).exists());
    drop(client);
    host = host.crash().await;
    let client = host.client();
    for (forked, moment) in [(used, &moments[1].1), (unused, &moments[1].1), (killed, &moments[2].1)] {
        assert_eq!(Moment::of(&client, forked).await, *moment);
        client.reply(forked, "echo on").await;
        Databases::open(&host.data().path(), forked).check();
    }
    // A fork that goes before its own.
    assert_eq!(client.delete(&format!("/agent/{unused}")).await.status, 204);
    assert_eq!(Moment::of(&client, of_unused).await, moments[1].1);
    // And the other way round.
    let late = fork(&client, used, None).await;
    assert_eq!(client.delete(&format!("/agent/{late}")).await.status, 204);
    assert_eq!(files(&client, used).await, moments[1].1.files);
}

#[tokio::test]
async fn a_fork_while_a_turn_runs_takes_the_last_cut() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "write a one").await;
    let before = Moment::of(&client, id).await;
    client.post_message(id, "m", "write a two\nsleep 3000").await;
    client.until_waiting(id).await;
    let forked = fork(&client, id, None).await;
    assert_eq!(client.info(forked).await.status, InstanceStatus::Resting);
    assert_eq!(Moment::of(&client, forked).await, before);
    assert_eq!(client.reply(forked, "read a").await, "one");
    assert_eq!(client.ask_as(id, "m", "write a two\nsleep 3000").await.error, None, "the turn went on");
    assert_eq!((files(&client, id).await["a"].as_str(), files(&client, forked).await["a"].as_str()), ("two", "one"));
}

#[tokio::test]
async fn a_kill_while_it_is_made_leaves_a_whole_one_or_none() {
    let mut host = Host::start().await;
    let (id, moments) = life(&host.client()).await;
    let mut known = instances(&host.client()).await;
    let (mut made, mut none) = (0, 0);
    for round in 0..20_u64 {
        let client = host.client();
        let asking = tokio::spawn({
            let client = client.clone();
            let request = client.request(reqwest::Method::POST, &format!("/agent/{id}/fork")).json(&json!({}));
            async move {
                let answer = request.send().await.ok()?;
                answer.json::<Forked>().await.ok().map(|forked| forked.instance.instance_id)
            }
        });
        // From before it has come in until behind its end, which a busy machine puts off.
        let mut asking = asking;
        let pause = Duration::from_micros(if round % 8 == 7 { 30_000_000 } else { round * round * 80 });
        let early = tokio::time::timeout(pause, &mut asking).await;
        host = host.crash().await;
        let told = match early {
            Ok(ended) => ended,
            Err(_) => asking.await,
        }
        .expect("the request ended");
        let client = host.client();
        let page: InstancePage = eventually("what was begun is removed", async || {
            let page: InstancePage = client.get("/instances?limit=1000").await.with(200);
            let folders = std::fs::read_dir(host.data().path().join("instances")).map(Iterator::count).unwrap_or(0);
            (folders == page.instances.len()).then_some(page)
        })
        .await;
        let new: Vec<InstanceId> = page.instances.iter().skip(known).map(|instance| instance.instance_id).collect();
        assert!(new.len() <= 1 && told.is_none_or(|told| new == [told]), "round {round}: {told:?} of {new:?}");
        for forked in &new {
            assert_eq!(Moment::of(&client, *forked).await, moments[2].1, "round {round}");
            Databases::open(&host.data().path(), *forked).check();
        }
        made += new.len();
        none += 1 - new.len();
        known += new.len();
        assert_eq!(Moment::of(&client, id).await, moments[2].1);
    }
    assert!(made > 0 && none > 0, "{made} forks were made and {none} were not: the rounds kill at one moment only");
}

#[tokio::test]
async fn what_cannot_be_forked_is_refused_and_leaves_nothing() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    for at in [0, 99] {
        ask_fork(&client, id, Some(at)).await.refused(ErrorCode::CutNotFound);
    }
    let nobody: InstanceId = "0198c0de-0000-7000-8000-00000000dead".parse().expect("an id");
    ask_fork(&client, nobody, None).await.refused(ErrorCode::InstanceNotFound);
    client.post_json(&format!("/agent/{id}/fork"), &json!({"at": "one"})).await.refused(ErrorCode::InvalidJson);
    assert_eq!(instances(&client).await, 1);
}

#[tokio::test]
async fn a_large_file_that_no_cut_has_is_said_to_be_missing() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "write a one").await;
    // Larger than a version takes, and holes all through.
    client.reply(id, "write dump x\ncut dump 300000000").await;
    let forked: Forked = ask_fork(&client, id, None).await.with(201);
    assert_eq!(forked.left_out, ["dump"]);
    assert_eq!(files(&client, forked.instance.instance_id).await.into_keys().collect::<Vec<_>>(), ["a"]);
    let said = host.cli().run(&["instance", "fork", &id.to_string()]).await;
    assert!(said.stderr.contains("lacks dump"), "{}", said.stderr);
}

#[tokio::test]
async fn the_command_line_forks_and_bisects() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut first_bad = 0;
    for n in 1..=12 {
        let colour = if n < 8 { "blue" } else { "red" };
        client.reply(id, &format!("write colour.txt {colour} {n}")).await;
        if n == 8 {
            first_bad = last_cut(&client, id).await;
        }
    }
    let (cli, id_text) = (host.cli(), id.to_string());
    let program = podium_it::host::binary().display().to_string();
    // Reads the fork's files, and talks to it, which the instance itself does not see.
    let script = format!(
        "{program} chat \"$PODIUM_INSTANCE\" 'read colour.txt' | grep -q blue && \
         {program} files cat \"$PODIUM_INSTANCE\" colour.txt | grep -q blue"
    );
    let before = Moment::of(&client, id).await;
    let good = (first_bad - 7).to_string();
    let found = cli.run(&["instance", "bisect", &id_text, "--script", &script, "--good", &good]).await;
    assert!(found.ok().starts_with(&format!("first bad cut {first_bad} (turn, message ")), "{}", found.ok());
    let json = cli.run(&["instance", "bisect", &id_text, "--script", &script, "--good", &good, "--json"]).await.json();
    assert_eq!(json["first_bad"]["cut"], first_bad);
    // A cut that cannot be tried leaves the one behind it in doubt.
    let skips = format!("[ \"$PODIUM_CUT\" = {first_bad} ] && exit 125; {script}");
    let json = cli.run(&["instance", "bisect", &id_text, "--script", &skips, "--good", &good, "--json"]).await.json();
    assert_eq!((&json["suspects"], &json["first_bad"]), (&json!([first_bad, first_bad + 1]), &Value::Null));
    // What is no search is said.
    for (script, more) in [
        ("true", vec![]),
        ("false", vec![]),
        ("no-such-command-here", vec![]),
        ("true", vec!["--good", "3", "--bad", "2"]),
    ] {
        let arguments = [vec!["instance", "bisect", &id_text, "--script", script], more].concat();
        cli.run(&arguments).await.failed(2, ErrorCode::Usage);
    }
    cli.run(&["instance", "bisect", &id_text, "--script", "true", "--bad", "999"])
        .await
        .failed(3, ErrorCode::CutNotFound);
    // Ctrl-C in the middle of a try.
    let mut bisecting = cli.start(&["instance", "bisect", &id_text, "--script", "sleep 600"]);
    eventually("a fork", async || (instances(&client).await == 2).then_some(())).await;
    interrupt(&bisecting);
    let ended = tokio::task::spawn_blocking(move || bisecting.wait()).await.expect("no panic");
    let ended = ended.expect("it can be waited for");
    assert!(!ended.success());
    assert_eq!((instances(&client).await, Moment::of(&client, id).await), (1, before));
    let forked = cli.run(&["instance", "fork", &id_text, "--at", &good]).await;
    let forked: InstanceId = forked.ok().trim().parse().expect("an id");
    assert_eq!(files(&client, forked).await["colour.txt"], "blue 1");
}

#[tokio::test]
async fn the_guide_can_be_followed_as_it_is_written() {
    let text = std::fs::read_to_string(root().join("docs/guide/time-travel.md")).expect("the guide");
    let commands = guide::console_lines(&text);
    assert!(commands.iter().any(|line| line.contains("instance bisect")), "{commands:?}");
    guide::follow(&Data::new(), root(), &commands).await;
}
