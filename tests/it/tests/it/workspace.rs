//! The interface `workspace`, by an agent that uses it beside its own files: the files, their past, the way back, and all of it again when a turn is run again.

use podium_it::database::Databases;
use podium_it::{Client, Host, agents};
use podium_wire::rest::FileOp;
use podium_wire::{ErrorCode, InstanceId};
use serde_json::json;

use super::durable::{SOON, answer, asked, check, dropped, restarted, waits};
use super::history::{at, damage, history, noise};

/// An instance of the scribe with these limits.
async fn limited(client: &Client, limits: serde_json::Value) -> InstanceId {
    let bytes = agents::with_limits("scribe", &limits);
    client.deploy(bytes, None, Some("0.1.0-limited")).await.with::<serde_json::Value>(201);
    client.instance("scribe:0.1.0-limited").await
}

#[tokio::test]
async fn the_same_files_are_there_with_and_without_a_file_system() {
    let host = Host::start().await;
    let client = host.client();
    let deployed = client.deployed("scribe").await;
    let id = client.instance(&deployed.deployment.deployment_id.to_string()).await;
    for capability in ["workspace", "files"] {
        assert!(deployed.deployment.capabilities.contains(&capability.to_owned()), "{deployed:?}");
    }
    // A look at what nobody has used makes nothing.
    assert_eq!(
        client
            .reply(id, "ls\ntry get a\ntry ls d\ntry was a 1\npast a\nstep\nchanged")
            .await
            .split_whitespace()
            .collect::<Vec<_>>(),
        ["POD-3012", "POD-3012", "POD-3031", "0"]
    );
    assert!(!host.data().path().join(format!("instances/{id}/chronicle")).exists());
    assert_eq!(
        client.reply(id, "put d/e/a one\nread d/e/a\nwrite b two\nget b\nappend d/e/a !\nget d/e/a").await,
        "onetwo one! "
    );
    let said = client
        .reply(
            id,
            "poke d/e/a 4 more\nread d/e/a\npart d/e/a 2 3\npart d/e/a 100 3\nput b short\nput empty \nls\nls d/e",
        )
        .await;
    assert_eq!(said, "one!moree!m  b:File:5 d:Folder:0 empty:File:0 a:File:8 ");
    assert_eq!(
        client.reply(id, "del b\ntry get b\ntry del d/e\ndel d/e/a\ndel d/e\nls d\nfill long 2500000").await,
        "POD-3012 POD-3015  "
    );
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.file(id, "long").await.bytes.len(), 2_500_000);
    client.file(id, "b").await.refused(ErrorCode::FileNotFound);
    // Each cut knows what was done.
    let ops: Vec<_> = history(&client, id, "b").await.iter().map(|it| it.op).collect();
    assert_eq!(ops, [FileOp::Created, FileOp::Modified, FileOp::Deleted]);
    let many: String = (0..1_500).map(|n| format!("put many/{n:04} x\n")).collect();
    let said = client.reply(id, &format!("{many}ls many")).await;
    assert_eq!(said.split_whitespace().count(), 1_500);
    assert!(said.starts_with("0000:File:1 0001:File:1 ") && said.ends_with("1499:File:1 "));
    Databases::open(&host.data().path(), id).check();
}

#[tokio::test]
async fn an_agent_reads_its_own_past_and_what_it_restores_is_its_turn_s() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "write a one\nwrite b x").await;
    client.reply(id, "write a two\nrm b").await;
    let first = history(&client, id, "a").await[0].n;
    assert_eq!(client.reply(id, &format!("was a {first}\nwas b {first}")).await, "one x ");
    // Files, versions and restores are one: what a restore brings is read at once, and is in the cut.
    let script =
        format!("put c new\nstep\nwrite c newer\nrestore a {first}\nrestore b {first}\nread a\nget b\nchanged");
    let said = client.reply(id, &script).await;
    let (moment, rest) = said.split_once(' ').expect("a moment");
    assert_eq!(rest, "onex Modified:a Created:b Created:c ");
    let moment: u64 = moment.parse().expect("a number");
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.file(id, "a").await.text(), "one");
    assert_eq!(client.file(id, "c").await.text(), "newer");
    // What was between is part of the history, and of the agent's.
    assert_eq!(at(&client, id, "c", moment).await.text(), "new");
    assert_eq!(
        client.reply(id, &format!("was c {moment}\nsince {moment}")).await,
        "new Modified:a Created:b Modified:c "
    );
    let past = client.reply(id, "past c").await;
    let told: Vec<String> = history(&client, id, "c").await.iter().map(|it| format!("{}:{}", it.n, it.index)).collect();
    assert_eq!(
        past.split_whitespace().map(|it| it.split(':').take(2).collect::<Vec<_>>().join(":")).collect::<Vec<_>>(),
        told
    );
    assert_eq!(told.len(), 2);
    // A turn that fails, or traps, takes its restores and versions back.
    for end in ["fail", "boom"] {
        let before = history(&client, id, "a").await;
        let script = format!("write a four\nstep\nrestore b {moment}\nput d x\nstep\ndel a\n{end}");
        assert!(client.ask(id, &script).await.error.is_some());
        assert_eq!(client.file(id, "a").await.text(), "one");
        assert_eq!(client.file(id, "b").await.text(), "x");
        client.file(id, "d").await.refused(ErrorCode::FileNotFound);
        assert_eq!(history(&client, id, "a").await, before);
        client.get(&format!("/agent/{id}/files/d/history")).await.refused(ErrorCode::FileNotFound);
    }
    Databases::open(&host.data().path(), id).check();
}

#[tokio::test]
async fn a_turn_that_waits_and_is_run_again_has_the_same_versions() {
    let mut host = Host::start_with(SOON, &[]).await;
    let id = host.client().deployed_instance("scribe").await;
    host.client().reply(id, "put a zero\nput kept x").await;
    // A turn that is lost leaves no numbers behind that would be missing, or another's.
    assert!(host.client().ask(id, "put lost 1\nstep\nput lost 2\nstep\nfail").await.error.is_some());
    // What it says before it waits is compared when it says it again.
    let script = "put a one\nstep\nput d/b two\nstep\npast a\npast d/b\nrestore a 1\nstep\nchanged\nget a\nsay\nask\nput c late\nstep\npast a\npast c\nwas a 3\nsince 3\nls";
    host.client().post_message(id, "m", script).await;
    let ask = asked(&host.client(), id, 1).await.remove(0);
    dropped(&host.client()).await;
    for round in 0..4 {
        host = if round % 2 == 0 { host.crash().await } else { restarted(host, SOON).await };
        assert_eq!(asked(&host.client(), id, 1).await, std::slice::from_ref(&ask), "round {round}");
        waits(&host.client(), id).await;
    }
    let client = host.client();
    assert_eq!(answer(&client, id, &ask.request_id, "yes").await.status, 204);
    let outcome = client.ask_as(id, "m", script).await;
    let text = outcome.text.unwrap_or_else(|| panic!("{:?}", outcome.error));
    let (before, after) = text.split_once("\n\n").expect("two replies");
    let began = |it: &str| it.rsplit_once(':').map(|(what, at)| (what.to_owned(), at.parse::<u64>().expect("a time")));
    let words: Vec<&str> = before.split_whitespace().collect();
    // `a` and `kept` are 1 and 2. The folder of `d/b` is an iteration, too.
    assert_eq!((words[0], words[1]), ("3", "5"), "{before}");
    let past: Vec<_> = words[2..5].iter().filter_map(|it| began(it)).collect();
    let whats: Vec<&str> = past.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(whats, ["1:1:Created", "3:2:Modified", "5:1:Created"]);
    assert!(past[0].1 < past[1].1 && past[1].1 == past[2].1, "of its own, when the turn began: {past:?}");
    assert_eq!(words[5..], ["6", "Created:d/b", "zero"], "{before}");
    let words: Vec<&str> = after.split_whitespace().collect();
    assert_eq!((words[0], words[1]), ("yes7", words[1]), "{after}");
    assert_eq!(
        words[1..4].iter().map(|it| it.split(':').next().unwrap_or_default()).collect::<Vec<_>>(),
        ["1", "3", "6"]
    );
    assert!(words[4].starts_with("7:1:Created:"), "{after}");
    assert_eq!(
        words[5..],
        ["one", "Modified:a", "Created:c", "Created:d/b", "a:File:4", "c:File:4", "d:Folder:0", "kept:File:1"]
    );
    // What the agent was told is so, for everybody.
    let told: Vec<_> = history(&client, id, "a").await.iter().map(|it| (it.n, it.op)).collect();
    assert_eq!(told, [(1, FileOp::Created), (3, FileOp::Modified), (6, FileOp::Modified)]);
    assert_eq!(at(&client, id, "a", 3).await.text(), "one");
    assert_eq!(at(&client, id, "d/b", 5).await.text(), "two");
    assert_eq!(client.reply(id, "was a 3\nput e x\nstep").await, "one 8 ");
    check(&host.kill(), id);
}

#[tokio::test]
async fn what_a_call_may_not_do_is_refused_and_the_agent_goes_on() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "mkdir d\nwrite f text").await;
    let work = host.data().path().join(format!("instances/{id}/chronicle/work"));
    let secret = work.with_file_name("secret");
    std::fs::write(&secret, "a secret").expect("written");
    for (target, link) in [("../secret", "out"), ("..", "up"), ("/etc", "far"), ("d", "in")] {
        std::os::unix::fs::symlink(target, work.join(link)).expect("is made");
    }
    let invalid = [
        "/etc/passwd",
        "../secret",
        "d/../../secret",
        "./f",
        "d//f",
        "out",
        "up/secret",
        "far/passwd",
        "in/f",
        ".chronicle/at/1/f",
    ];
    for path in invalid {
        let calls = [format!("try get {path}"), format!("try put {path} x"), format!("try poke {path} 0 x")];
        assert_eq!(client.reply(id, &calls.join("\n")).await, "POD-3011 POD-3011 POD-3011 ", "{path}");
    }
    for path in ["/etc", "../", "d/..", ".chronicle", "up/d"] {
        let calls = ["ls", "past", "del"].map(|call| format!("try {call} {path}")).join("\n");
        let codes = client.reply(id, &calls).await;
        // A path of the past may lead nowhere.
        assert!(codes == "POD-3011 POD-3011 POD-3011 " || path == "up/d", "{path}: {codes}");
    }
    assert_eq!(std::fs::read_to_string(&secret).expect("is there"), "a secret");
    for (call, code) in [
        ("get none", "POD-3012"),
        ("del none", "POD-3012"),
        ("get d", "POD-3015"),
        ("put d x", "POD-3015"),
        ("put f/g x", "POD-3015"),
        ("ls f", "POD-3015"),
        ("was f 9999", "POD-3031"),
        ("was f 0", "POD-3031"),
        ("was none 1", "POD-3012"),
        ("was d 1", "POD-3015"),
        ("restore f 18446744073709551615", "POD-3031"),
        ("restore none 1", "POD-3012"),
        ("restore .chronicle 1", "POD-3011"),
        ("since 9999", "POD-3031"),
        ("part f 0 0", "POD-1001"),
        ("part f 0 1048577", "POD-1001"),
        ("part f 0 4294967295", "POD-1001"),
        ("burst f 1048577", "POD-1001"),
        ("poke f 9223372036854775807 x", "POD-3013"),
        ("poke f 18446744073709551615 x", "POD-3013"),
    ] {
        assert_eq!(client.reply(id, &format!("try {call}")).await, format!("{code} "), "{call}");
    }
    // More than any call may bring into the host ends the turn, as everywhere.
    client.failure(id, "burst f 5000000", ErrorCode::HostCallLimit).await;
    assert_eq!(client.reply(id, "get f").await, "text ");
    // A refusal that the agent passes on is its turn's error, with its code.
    let error = client.ask(id, "get none").await.error.expect("fails");
    assert!(error.code == "POD-3012" || error.message.contains("POD-3012"), "{error:?}");
    let steps = "step\n".repeat(1_001);
    assert!(client.ask(id, &steps).await.error.is_some_and(|error| format!("{error:?}").contains("POD-4025")));
}

#[tokio::test]
async fn both_ways_of_writing_have_one_limit() {
    let host = Host::start().await;
    let client = host.client();
    let id = limited(&client, json!({"workspace_bytes": 100_000, "workspace_entries": 4})).await;
    let text = "x".repeat(30_000);
    let said = client
        .reply(id, &format!("fill a 60000\nwrite b {text}\ntry fill c 10001\ntry fill c 10000\ntry poke c 10000 x\nls"))
        .await;
    assert_eq!(said, "POD-4025 POD-4025 a:File:60000 b:File:30000 c:File:10000 ");
    // What goes makes room at once, and a restore counts.
    let first = history(&client, id, "a").await[0].n;
    let said = client
        .reply(id, &format!("rm a\nfill d 60000\ndel d\nfill e 50000\ntry restore a {first}\ntry put b x\ndel e\nls"))
        .await;
    assert_eq!(said, "POD-4025 a:File:60000 b:File:1 c:File:10000 ");
    let said = client.reply(id, "put d x\ntry put f x\ntry put g/h x\ndel d\ntry put g/h x\nls").await;
    assert_eq!(said, "POD-4025 POD-4025 POD-4025 a:File:60000 b:File:1 c:File:10000 g:Folder:0 ");
    let host = host.crash().await;
    assert_eq!(host.client().file(id, "a").await.bytes.len(), 60_000);
    Databases::open(&host.data().path(), id).check();
}

#[tokio::test]
async fn damaged_content_is_said_to_the_agent_that_asks_for_it() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    let (one, other) = (noise(7, 5_000), noise(11, 5_000));
    client.file_put(id, "d/one", &one).await;
    client.file_put(id, "d/other", &other).await;
    client.file_put(id, "d/one", b"now").await;
    client.file_put(id, "d/other", b"now").await;
    let before = history(&client, id, "d/other").await[0].n;
    damage(&host, id, &one);
    let said = client
        .reply(id, &format!("try was d/one {before}\ntry restore d {before}\nget d/one\nput f goes-on\nchanged"))
        .await;
    // The rest of the folder is brought back.
    assert_eq!(said, "POD-5011 POD-5011 now Modified:d/other Created:f ");
    assert_eq!(client.file(id, "d/other").await.bytes, other);
    assert_eq!(client.file(id, "d/one").await.text(), "now");
}
