//! Files, state and messages of a turn become true together or not at all (TURN §3, §6).
//!
//! The store, not the folder, is the truth of a cut: after kill -9 the folder is brought back to it, so that a change
//! which was not recorded would be gone.

use std::collections::BTreeMap;

use podium_it::database::Databases;
use podium_it::{Client, Host, agents, component, eventually};
use podium_wire::rest::{FileKind, InstanceStatus};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::json;

/// Every file with its content; folders and links by a word.
async fn files(client: &Client, id: InstanceId) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in client.files(id).await.files {
        let content = match entry.kind {
            FileKind::File => client.file(id, &entry.path).await.text(),
            FileKind::Folder => "(folder)".to_owned(),
            FileKind::Symlink => "(link)".to_owned(),
            FileKind::Other => "(other)".to_owned(),
        };
        files.insert(entry.path, content);
    }
    files
}

/// An instance of the scribe that is kept warm or not.
async fn scribe(client: &Client, keep_warm: bool) -> InstanceId {
    let bytes = component::with_manifest(&agents::component("scribe"), |manifest| {
        manifest["keep_warm"] = keep_warm.into();
        manifest["limits"] = json!({"cpu_ms": 1000});
    });
    // Other bytes, so another version.
    let version = if keep_warm { "0.1.1" } else { "0.1.0" };
    let deployed = client.deploy(bytes, None, Some(version)).await.status;
    assert!([200, 201].contains(&deployed), "{deployed}");
    client.instance(&format!("scribe:{version}")).await
}

async fn does(client: &Client, id: InstanceId, script: &str) {
    client.reply(id, script).await;
}

/// What turns do to a workspace, one after the other, and what must be recorded of it.
const TURNS: &[&str] = &[
    "write a one\nmkdir d\nwrite d/b two\nwrite d/c three",
    "append a 1\ncut d/b 1\nrm d/c",
    "mv d/b d/e\nwrite d/b anew\nmkdir d/inner\nwrite d/inner/x x",
    "mv d f\nwrite f/after renamed",
    "ln a hard\nappend hard 2",
    "append a 3",
    "symlink f link\nwrite link/through link",
    "mv link/inner moved\nrm link/through",
    "touch a",
    "write f/../a up\nrm hard",
    "rm moved/x\nrmdir moved\nmkdir moved\nwrite moved/y y",
    "enter f\nmv f g\nwithin z by-handle\nmv g h\nwithin w by-handle",
    "rm link\nwrite h/e last",
];

#[tokio::test]
async fn every_change_of_a_turn_is_in_its_cut() {
    for keep_warm in [false, true] {
        let mut host = Host::start().await;
        let id = scribe(&host.client(), keep_warm).await;
        for script in TURNS {
            does(&host.client(), id, script).await;
            let before = files(&host.client(), id).await;
            assert!(!before.is_empty());
            host = host.crash().await;
            assert_eq!(files(&host.client(), id).await, before, "after `{script}`, warm: {keep_warm}");
        }
        Databases::open(&host.data().path(), id).check();
    }
}

#[tokio::test]
async fn a_file_that_stays_open_is_in_every_cut() {
    let host = Host::start().await;
    let id = scribe(&host.client(), true).await;
    does(&host.client(), id, "mkdir d\nhold d/held\nscribble one").await;
    does(&host.client(), id, "scribble two").await;
    // Its folder is another one, and its name.
    does(&host.client(), id, "mv d e\nmv e/held e/kept\nscribble three").await;
    does(&host.client(), id, "scribble four").await;
    let before = files(&host.client(), id).await;
    assert_eq!(before["e/kept"], "onetwothreefour");
    let host = host.crash().await;
    assert_eq!(files(&host.client(), id).await, before);
}

#[tokio::test]
async fn what_a_failed_turn_wrote_is_gone_and_kept_aside() {
    let host = Host::start().await;
    let client = host.client();
    for keep_warm in [false, true] {
        let id = scribe(&client, keep_warm).await;
        does(&client, id, "write a one\nmkdir d\nwrite d/b two").await;
        let before = files(&client, id).await;
        let changes = "append a more\nrm d/b\nmv d e\nwrite e/new new\n";
        for (n, (end, code)) in
            [("fail", ErrorCode::GuestError), ("boom", ErrorCode::GuestTrap), ("spin", ErrorCode::CpuLimit)]
                .into_iter()
                .enumerate()
        {
            let outcome = client.ask_as(id, &format!("m-{n}"), &format!("{changes}{end}")).await;
            assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(code));
            assert_eq!(files(&client, id).await, before, "after `{end}`");
        }
        client.post_message(id, "m-interrupted", &format!("{changes}sleep 600000")).await;
        client.until_waiting(id).await;
        assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
        client.until(id, "the end", |info| info.inbox == 0).await;
        assert_eq!(files(&client, id).await, before, "after an interrupt");
        let log = client.logs(id).await;
        let kept = log.lines.iter().filter(|line| line.message.contains("are kept as version")).count();
        assert_eq!(kept, 4, "{log:?}");
        // The next turn sees nothing of it.
        assert_eq!(client.ask_as(id, "m-read", "read a").await.text.as_deref(), Some("one"));
    }
}

#[tokio::test]
async fn a_turn_that_dies_with_the_host_begins_on_the_last_cut_s_files() {
    let host = Host::start().await;
    let client = host.client();
    let id = scribe(&client, false).await;
    does(&client, id, "write log 1").await;
    client.post_message(id, "m", "append log 2\nsleep 1500\nread log").await;
    client.until_waiting(id).await;
    let host = host.crash().await;
    let client = host.client();
    let outcome = client.ask_as(id, "m", "append log 2\nsleep 1500\nread log").await;
    assert_eq!(outcome.text.as_deref(), Some("12"), "{outcome:?}");
    assert_eq!(files(&client, id).await["log"], "12");
}

#[tokio::test]
async fn a_turn_that_is_set_aside_leaves_nothing() {
    let host = Host::start().await;
    let client = host.client();
    let id = scribe(&client, false).await;
    does(&client, id, "write log 1").await;
    client.post_message(id, "m", "append log 2\nsleep 1500\nread log").await;
    client.until_waiting(id).await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/stop")).await.status, 200);
    eventually("it is stopped", async || {
        let stopped = client.info(id).await.status == InstanceStatus::Stopped;
        (stopped && files(&client, id).await["log"] == "1").then_some(())
    })
    .await;
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/start")).await.status, 200);
    let outcome = client.ask_as(id, "m", "append log 2\nsleep 1500\nread log").await;
    assert_eq!(outcome.text.as_deref(), Some("12"), "{outcome:?}");
}

#[tokio::test]
async fn cuts_name_the_workspace_that_was_theirs() {
    let host = Host::start().await;
    let client = host.client();
    let id = scribe(&client, false).await;
    assert!(!host.data().path().join(format!("instances/{id}/chronicle")).exists(), "nobody has used a file");
    does(&client, id, "").await;
    does(&client, id, "write a one").await;
    does(&client, id, "read a").await;
    client.file_put(id, "b", b"two").await;
    does(&client, id, "write a one").await;
    let workspaces: Vec<_> = Databases::open(&host.data().path(), id).cuts().iter().map(|cut| cut.workspace).collect();
    assert_eq!(workspaces[..2], [None, None], "{workspaces:?}");
    assert_eq!(workspaces[2], workspaces[3], "a turn that changes nothing keeps it");
    assert!(workspaces[2] < workspaces[4], "an upload makes another: {workspaces:?}");
}

#[tokio::test]
async fn files_from_before_there_was_a_history_are_kept() {
    let host = Host::start().await;
    let id = scribe(&host.client(), false).await;
    let data = host.kill();
    let work = data.path().join(format!("instances/{id}/chronicle/work/d"));
    std::fs::create_dir_all(&work).expect("is made");
    std::fs::write(work.join("old"), "old").expect("is written");
    let host = Host::start_on(&data).await;
    let client = host.client();
    let failed = client.ask_as(id, "m", "append d/old new\nfail").await;
    assert_eq!(failed.error.and_then(|error| error.known_code()), Some(ErrorCode::GuestError));
    assert_eq!(files(&client, id).await["d/old"], "old");
    let host = host.crash().await;
    assert_eq!(files(&host.client(), id).await["d/old"], "old");
}
