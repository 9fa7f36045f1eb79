//! What files were: iterations, contents as they were, and the way back, over HTTP and on the command line.

use podium_it::database::Databases;
use podium_it::{Client, Data, Host, agents, component, guide, root};
use podium_wire::rest::{DeploymentDetail, ExternalCut, FileIteration, FileKind, FileOp, IterationPage};
use podium_wire::updates::{EventType, FileChange, FileChangeKind};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::json;

/// What happened to a path, all of it.
pub(super) async fn history(client: &Client, id: InstanceId, path: &str) -> Vec<FileIteration> {
    let page: IterationPage = client.get(&format!("/agent/{id}/files/{path}/history?limit=1000")).await.with(200);
    assert_eq!(page.next, None);
    page.iterations
}

/// A file at an iteration.
pub(super) async fn at(client: &Client, id: InstanceId, path: &str, n: u64) -> podium_it::Answer {
    client.get(&format!("/api/v1/instances/{id}/files/{path}/at/{n}")).await
}

async fn restore(client: &Client, id: InstanceId, path: &str, n: u64) -> podium_it::Answer {
    client.post_json(&format!("/api/v1/instances/{id}/files/{path}/restore"), &json!({ "n": n })).await
}

#[tokio::test]
async fn every_write_is_an_iteration_and_can_be_read_for_ever() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.get(&format!("/agent/{id}/files/d/a/history")).await.refused(ErrorCode::FileNotFound);
    client.reply(id, "mkdir d\nwrite d/a one").await;
    let uploaded = client.file_put(id, "d/a", b"by a person").await.cut;
    // Twice in a turn is one iteration: what the turn left behind.
    client.reply(id, "write d/a three\nappend d/a !\nwrite other x").await;
    client.reply(id, "rm d/a").await;
    client.reply(id, "write d/a anew").await;
    // What a failed turn wrote is none.
    let failed = client.ask(id, "write d/a never\nfail").await;
    assert!(failed.error.is_some());
    let host = host.crash().await;
    let client = host.client();
    let told = history(&client, id, "d/a").await;
    let brief: Vec<_> = told.iter().map(|it| (it.index, it.op, it.size, it.hash.is_some())).collect();
    let expected = [
        (1, FileOp::Created, 3, true),
        (2, FileOp::Modified, 11, true),
        (3, FileOp::Modified, 6, true),
        (4, FileOp::Deleted, 0, false),
        (5, FileOp::Created, 4, true),
    ];
    assert_eq!(brief, expected);
    assert!(told.windows(2).all(|pair| pair[0].n < pair[1].n && pair[0].timestamp_ms <= pair[1].timestamp_ms));
    assert!(told.iter().all(|it| it.path == "d/a" && it.kind == FileKind::File));
    assert_eq!((told[1].cut, told[1].turn), (Some(uploaded), None), "a person is no turn");
    assert!(told[0].cut.is_some() && told[0].turn.is_some() && told[0].cut < told[1].cut);
    for (iteration, content) in [(0, "one"), (1, "by a person"), (2, "three!"), (4, "anew")] {
        assert_eq!(at(&client, id, "d/a", told[iteration].n).await.text(), content);
    }
    at(&client, id, "d/a", told[3].n).await.refused(ErrorCode::FileNotFound);
    // The number of another path's iteration names the same moment.
    let other = history(&client, id, "other").await;
    assert_eq!(at(&client, id, "d/a", other[0].n).await.text(), "three!");
    at(&client, id, "other", told[0].n).await.refused(ErrorCode::FileNotFound);
    at(&client, id, "d", told[0].n).await.refused(ErrorCode::NotAFile);
    for unknown in [0, 9999, u64::MAX] {
        at(&client, id, "d/a", unknown).await.refused(ErrorCode::IterationNotFound);
    }
    assert_eq!(history(&client, id, "d").await[0].kind, FileKind::Folder);
}

#[tokio::test]
async fn a_history_comes_in_pages() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    for n in 0..5 {
        client.reply(id, &format!("write a {n}")).await;
    }
    let mut after = 0;
    let mut read = Vec::new();
    loop {
        let page: IterationPage =
            client.get(&format!("/agent/{id}/files/a/history?limit=2&after={after}")).await.with(200);
        assert!(page.iterations.len() <= 2);
        read.extend(page.iterations.iter().map(|it| it.index));
        let Some(next) = page.next else { break };
        after = next;
    }
    assert_eq!(read, [1, 2, 3, 4, 5]);
    let past: IterationPage = client.get(&format!("/agent/{id}/files/a/history?after={}", u64::MAX)).await.with(200);
    assert_eq!(past.iterations, []);
}

#[tokio::test]
async fn what_lies_at_a_path_goes_before_what_the_path_may_mean() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "mkdir a\nmkdir a/at\nwrite a/x 1\nwrite b 2").await;
    let n = history(&client, id, "b").await[0].n;
    for path in ["a/history".to_owned(), format!("a/at/{n}")] {
        let before = client.file(id, &path).await;
        assert!(before.text() != "a file", "{path}");
        client.file_put(id, &path, b"a file").await;
        assert_eq!(client.file(id, &path).await.text(), "a file");
        // And it has a history of its own.
        assert_eq!(history(&client, id, &path).await.len(), 1, "{path}");
    }
    // A new file of that name is made by PUT; POST means the restore until there is one.
    let post = async || {
        let path = format!("/agent/{id}/files/b/restore");
        client.send(client.request(reqwest::Method::POST, &path).body(r#"{"n": 9999}"#)).await
    };
    post().await.refused(ErrorCode::IterationNotFound);
    client.reply(id, "rm b\nmkdir b").await;
    client.file_put(id, "b/restore", b"old").await;
    assert_eq!(post().await.status, 200);
    assert_eq!(client.file(id, "b/restore").await.text(), r#"{"n": 9999}"#);
}

#[tokio::test]
async fn a_path_is_brought_back_and_forth() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "mkdir d\nwrite d/a one\nwrite d/b two\nwrite stays 1").await;
    client.reply(id, "write d/a changed\nrm d/b\nwrite d/c new\nwrite stays 2").await;
    let first = history(&client, id, "d/a").await[0].n;
    let before = client.info(id).await.cut;
    let cut: ExternalCut = restore(&client, id, "d/a", first).await.with(200);
    assert_eq!(cut.cut, before + 1);
    assert_eq!(client.file(id, "d/a").await.text(), "one");
    let told = history(&client, id, "d/a").await;
    assert_eq!((told.len(), told[2].cut, told[2].op), (3, Some(cut.cut), FileOp::Modified));
    // A restore can be undone as anything can.
    restore(&client, id, "d/a", told[1].n).await.with::<ExternalCut>(200);
    assert_eq!(client.file(id, "d/a").await.text(), "changed");
    // A folder with everything beneath, and nothing beside it.
    restore(&client, id, "d", first).await.with::<ExternalCut>(200);
    assert_eq!(client.file(id, "d/b").await.text(), "two");
    client.file(id, "d/c").await.refused(ErrorCode::FileNotFound);
    assert_eq!(client.file(id, "stays").await.text(), "2");
    let gone = history(&client, id, "d/c").await[0].n;
    // What was not there goes.
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.file(id, "d/b").await.text(), "two");
    restore(&client, id, "d/b", gone).await.with::<ExternalCut>(200);
    client.file(id, "d/b").await.refused(ErrorCode::FileNotFound);
    // Refused, and nothing happens.
    let cut = client.info(id).await.cut;
    restore(&client, id, "d/a", 9999).await.refused(ErrorCode::IterationNotFound);
    restore(&client, id, "nothing", first).await.refused(ErrorCode::FileNotFound);
    let path = format!("/api/v1/instances/{id}/files/d/a/restore");
    client.post_json(&path, &json!({ "to": 1 })).await.refused(ErrorCode::InvalidJson);
    client.post_message(id, "m", "sleep 600000").await;
    client.until_waiting(id).await;
    restore(&client, id, "d/a", first).await.refused(ErrorCode::TurnActive);
    assert_eq!(client.info(id).await.cut, cut);
}

/// Nothing that a compressor would make smaller.
pub(super) fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Changes every byte of some content where it is stored.
pub(super) fn damage(host: &Host, id: InstanceId, content: &[u8]) {
    let folder = host.data().path().join(format!("instances/{id}/chronicle/metadata/cas"));
    let mut found = 0;
    for segment in std::fs::read_dir(folder).expect("segments") {
        let file = segment.expect("a segment").path();
        let mut bytes = std::fs::read(&file).expect("is read");
        let places: Vec<usize> =
            bytes.windows(content.len()).enumerate().filter(|(_, at)| *at == content).map(|(place, _)| place).collect();
        for place in &places {
            bytes[*place..place + content.len()].iter_mut().for_each(|byte| *byte ^= 0xff);
        }
        found += places.len();
        std::fs::write(&file, bytes).expect("is written");
    }
    assert_eq!(found, 1, "the content is stored as it is, once");
}

#[tokio::test]
async fn damaged_content_is_an_error_with_its_path_and_the_rest_can_be_read() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    let (small, large) = (noise(7, 5_000), noise(11, 3 << 20));
    client.file_put(id, "d/small", &small).await;
    client.file_put(id, "d/small", b"now").await;
    client.file_put(id, "large", &large).await;
    client.file_put(id, "large", b"now").await;
    let n = async |path: &str| history(&client, id, path).await[0].n;
    let (first_small, first_large) = (n("d/small").await, n("large").await);
    assert_eq!(at(&client, id, "large", first_large).await.bytes, large);
    damage(&host, id, &small);
    // The end of the large one: its beginning is sound, and is not sent either.
    damage(&host, id, &large[large.len() - 1000..]);
    for (path, n) in [("d/small", first_small), ("large", first_large)] {
        let error = at(&client, id, path, n).await.refused(ErrorCode::ContentDamaged);
        assert!(error.message.contains(path), "{error:?}");
        let error = restore(&client, id, path, n).await.refused(ErrorCode::ContentDamaged);
        assert!(error.message.contains(path), "{error:?}");
        assert_eq!(client.file(id, path).await.text(), "now", "it is as it was");
    }
    let second = history(&client, id, "d/small").await[1].n;
    assert_eq!(at(&client, id, "d/small", second).await.text(), "now");
    client.reply(id, "write other goes on").await;
}

#[tokio::test]
async fn the_command_line_shows_a_past_and_brings_it_back() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.reply(id, "write notes.md one").await;
    client.reply(id, "write notes.md two").await;
    let cli = host.cli();
    let name = id.to_string();
    let json = cli.run(&["files", "history", &name, "notes.md", "--json"]).await.json();
    let n: Vec<String> = json["iterations"].as_array().expect("a list").iter().map(|it| it["n"].to_string()).collect();
    assert_eq!(n.len(), 2, "{json}");
    let shown = cli.run(&["files", "history", &name, "notes.md"]).await;
    assert!(shown.ok().contains("created") && shown.stdout.contains("modified"), "{shown:?}");
    assert_eq!(cli.run(&["files", "get", &name, "notes.md", "--at", &n[0]]).await.ok(), "one");
    assert_eq!(cli.run(&["files", "get", &name, "notes.md"]).await.ok(), "two");
    let file = host.data().scratch().join("notes.md");
    cli.run(&["files", "get", &name, "notes.md", &file.display().to_string(), "--at", &n[0]]).await.ok();
    // What is no file is written into, and neither it nor a link that leads to it is replaced.
    for (link, target) in [("nowhere", std::path::Path::new("/dev/null")), ("elsewhere", file.as_path())] {
        let link = host.data().scratch().join(link);
        std::os::unix::fs::symlink(target, &link).expect("links");
        let shown = link.display().to_string();
        cli.run(&["files", "get", &name, "notes.md", &shown, "--at", &n[0]]).await.ok();
        cli.run(&["instance", "export", &name, "-o", &shown]).await.ok();
        cli.run(&["files", "get", &name, "notes.md", &shown, "--at", &n[0]]).await.ok();
        assert!(link.symlink_metadata().expect("is there").is_symlink(), "{shown}");
    }
    assert_eq!(std::fs::read_to_string(&file).expect("is there"), "one");
    cli.run(&["files", "rm", &name, "notes.md"]).await.ok();
    cli.run(&["files", "get", &name, "notes.md"]).await.failed(3, ErrorCode::FileNotFound);
    cli.run(&["files", "restore", &name, "notes.md", "--to", &n[1]]).await.ok();
    assert_eq!(cli.run(&["files", "cat", &name, "notes.md"]).await.ok(), "two");
    cli.run(&["files", "get", &name, "notes.md", "--at", "9999"]).await.failed(3, ErrorCode::IterationNotFound);
    cli.run(&["files", "history", &name, "nothing"]).await.failed(3, ErrorCode::FileNotFound);
    cli.run(&["files", "restore", &name, "notes.md", "--to", "0"]).await.failed(2, ErrorCode::Usage);
}

/// An instance of the scribe with these limits.
async fn limited(client: &Client, limits: serde_json::Value) -> InstanceId {
    let bytes = component::with_manifest(&agents::component("scribe"), |manifest| manifest["limits"] = limits);
    let deployed = client.deploy(bytes, None, Some("0.1.0-limited")).await.status;
    assert!([200, 201].contains(&deployed), "{deployed}");
    client.instance("scribe:0.1.0-limited").await
}

/// The host's own lines of the log that warn.
async fn warnings(client: &Client, id: InstanceId) -> Vec<String> {
    let own = client.logs(id).await.lines.into_iter().filter(|line| line.module == "podium");
    own.map(|line| line.message).collect()
}

/// Durable updates of changed files, as the database has them.
fn file_changes(host: &Host, id: InstanceId) -> Vec<FileChange> {
    let updates = Databases::open(&host.data().path(), id).updates().into_iter();
    updates
        .filter(|update| update.event_type == "file.change")
        .map(|update| serde_json::from_value(update.body).expect("a changed file"))
        .collect()
}

#[tokio::test]
async fn what_chronicleignore_names_is_in_no_version_and_nothing_takes_it_away() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.file_put(id, ".chronicleignore", b"*.log\nbuild/\n").await;
    client.reply(id, "write a 1\nwrite a.log noise\nmkdir build\nwrite build/x made").await;
    let left_out: Vec<_> = warnings(&client, id).await.into_iter().filter(|line| line.contains("left out")).collect();
    assert_eq!(left_out, ["left out of the workspace's versions, named by .chronicleignore: a.log, build"]);
    assert_eq!(history(&client, id, "a.log").await, [], "it is there, and in no cut");
    let first = history(&client, id, "a").await[0].n;
    // A turn that fails keeps its hands off them, and says nothing again.
    let failed = client.ask(id, "write a 2\nwrite b.log of a failure\nappend build/x more\nfail").await;
    assert!(failed.error.is_some());
    let host = host.crash().await;
    let client = host.client();
    for (path, content) in [("a", "1"), ("a.log", "noise"), ("b.log", "of a failure"), ("build/x", "mademore")] {
        assert_eq!(client.file(id, path).await.text(), content, "{path}");
    }
    client.reply(id, "write a 3\nappend a.log more").await;
    restore(&client, id, "a", first).await.with::<ExternalCut>(200);
    assert_eq!(client.file(id, "a.log").await.text(), "noisemore");
    assert_eq!(warnings(&client, id).await.iter().filter(|line| line.contains("a.log")).count(), 1);
    // Git's own folder is like any other.
    client.reply(id, "mkdir .git\nwrite .git/HEAD ref").await;
    assert_eq!(history(&client, id, ".git/HEAD").await.len(), 1);
}

#[tokio::test]
async fn patterns_beyond_their_bounds_hold_not_at_all() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    client.file_put(id, ".chronicleignore", "*.log\n".repeat(10_000).as_bytes()).await;
    client.reply(id, "write a.log 1").await;
    assert_eq!(history(&client, id, "a.log").await.len(), 1);
    let said = warnings(&client, id).await;
    assert!(said.iter().any(|line| line.starts_with("no pattern of .chronicleignore holds")), "{said:?}");
    // As many stars as there may be, over as long a name.
    let slow = format!("{}b\n", "*a".repeat(200)).repeat(40);
    client.file_put(id, ".chronicleignore", slow.as_bytes()).await;
    client.reply(id, &format!("write {} 1", "a".repeat(255))).await;
}

#[tokio::test]
async fn what_is_left_out_counts() {
    let host = Host::start().await;
    let client = host.client();
    let id = limited(&client, json!({"workspace_entries": 12})).await;
    client.file_put(id, ".chronicleignore", b"build/\n").await;
    // With the file of patterns and the folder there is room for ten.
    let many: String = (0..20).map(|n| format!("write build/{n} x\n")).collect();
    client.failure(id, &format!("mkdir build\n{many}"), ErrorCode::GuestError).await;
    // It is nobody's to take away, and in the way until somebody does.
    assert_eq!(client.files(id).await.files.len(), 12);
    client.failure(id, "write a 1", ErrorCode::GuestError).await;
    client.put_file(id, "a", b"1").await.refused(ErrorCode::WorkspaceLimit);
    let rm: String = (0..10).map(|n| format!("rm build/{n}\n")).collect();
    client.reply(id, &format!("{rm}write a 1")).await;
    assert_eq!(client.file(id, "a").await.text(), "1");
}

#[tokio::test]
async fn a_workspace_has_the_limits_of_its_agent() {
    let host = Host::start().await;
    let client = host.client();
    let limits = json!({"workspace_bytes": 100_000, "workspace_depth": 2, "workspace_file_bytes": 10_000});
    let id = limited(&client, limits).await;
    let shown: DeploymentDetail = client.get("/deployments/scribe:0.1.0-limited").await.with(200);
    let shown = (shown.limits.workspace_bytes, shown.limits.workspace_entries, shown.limits.workspace_file_bytes);
    assert_eq!(shown, (100_000, 200_000, 10_000));
    // From outside, before any turn has run.
    client.put_file(id, "big", &[b'x'; 150_000]).await.refused(ErrorCode::WorkspaceLimit);
    client.file(id, "big").await.refused(ErrorCode::FileNotFound);
    client.file_put(id, "large", &[b'x'; 10_001]).await;
    assert_eq!(history(&client, id, "large").await, []);
    client.reply(id, "mkdir a\nmkdir a/b\nwrite a/b/c deep\nwrite a/d flat").await;
    assert_eq!((history(&client, id, "a/b/c").await.len(), history(&client, id, "a/d").await.len()), (0, 1));
    let said = warnings(&client, id).await;
    assert!(said.iter().any(|line| line.contains("too large: large")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("in too many folders: a/b")), "{said:?}");
    let most: String = (0..12).map(|n| format!("write e{n} {}\n", "x".repeat(9_900))).collect();
    client.failure(id, &most, ErrorCode::GuestError).await;
    let over = json!({"workspace_bytes": (16_u64 << 30) + 1});
    let bytes = component::with_manifest(&agents::component("scribe"), |manifest| manifest["limits"] = over);
    client.deploy(bytes, None, Some("0.2.0")).await.refused(ErrorCode::InvalidManifest);
}

#[tokio::test]
async fn a_cut_tells_of_the_files_that_it_changes() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("scribe").await;
    let mut socket = client.socket(id).await;
    client.reply(id, "mkdir d\nwrite d/a some content\nwrite b 22").await;
    let mut live = Vec::new();
    while live.len() < 2 {
        let update = socket.update().await;
        if update.event_type == EventType::FileChange {
            assert!(update.seq.is_some() && update.n.is_none() && update.turn_id.is_some(), "{update:?}");
            live.push(update);
        }
    }
    client.reply(id, "mv d/a d/c\nappend b 2").await;
    client.delete(&format!("/agent/{id}/files/b")).await.with::<ExternalCut>(200);
    // Nothing of a turn that fails, nor of one that changes nothing.
    assert!(client.ask(id, "write e x\nfail").await.error.is_some());
    client.reply(id, "read d/c").await;
    let host = host.crash().await;
    let told: Vec<_> =
        file_changes(&host, id).into_iter().map(|it| (it.path, it.kind, it.previous_path, it.size)).collect();
    let expected = [
        ("b".to_owned(), FileChangeKind::Created, None, Some(2)),
        ("d/a".to_owned(), FileChangeKind::Created, None, Some(12)),
        ("b".to_owned(), FileChangeKind::Modified, None, Some(3)),
        ("d/c".to_owned(), FileChangeKind::Renamed, Some("d/a".to_owned()), Some(12)),
        ("b".to_owned(), FileChangeKind::Deleted, None, None),
    ];
    assert_eq!(told, expected);
    let many: String = (0..150).map(|n| format!("write f{n:03} x\n")).collect();
    host.client().reply(id, &many).await;
    let changes = file_changes(&host, id);
    assert_eq!((changes.len(), changes.last().and_then(|it| it.more)), (5 + 100, Some(50)));
}

#[tokio::test]
async fn the_guide_can_be_followed_as_it_is_written() {
    let text = std::fs::read_to_string(root().join("docs/guide/files.md")).expect("the guide");
    let commands = guide::console_lines(&text);
    assert!(commands.iter().any(|line| line.contains("files restore")), "{commands:?}");
    guide::follow(&Data::new(), root(), &commands).await;
}
