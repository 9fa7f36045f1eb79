//! Files, state and messages of a turn become true together or not at all (TURN §3, §6).
//!
//! The store, not the folder, is the truth of a cut: after kill -9 the folder is brought back to it, so that a change
//! which was not recorded would be gone.

use podium_it::database::Databases;
use podium_it::moment::files;
use podium_it::{Client, Host, agents, component, eventually};
use podium_wire::rest::InstanceStatus;
use podium_wire::{ErrorCode, InstanceId};
use serde_json::json;

/// Scribes of WASI 0.2 and of 0.3.
const SCRIBES: [&str; 2] = ["scribe", "scribe3"];

/// An instance of the scribe that is kept warm or not.
async fn scribe(client: &Client, keep_warm: bool) -> InstanceId {
    one_of(client, "scribe", keep_warm).await
}

/// An instance of one of the scribes.
async fn one_of(client: &Client, agent: &str, keep_warm: bool) -> InstanceId {
    let bytes = component::with_manifest(&agents::component(agent), |manifest| {
        manifest["keep_warm"] = keep_warm.into();
        manifest["limits"] = json!({"cpu_ms": 1000});
    });
    // Other bytes, so another version.
    let version = if keep_warm { "0.1.1" } else { "0.1.0" };
    let deployed = client.deploy(bytes, None, Some(version)).await.status;
    assert!([200, 201].contains(&deployed), "{deployed}");
    client.instance(&format!("{agent}:{version}")).await
}

async fn does(client: &Client, id: InstanceId, script: &str) {
    assert_eq!(client.reply(id, script).await, "", "`{script}`");
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
    for (agent, keep_warm) in SCRIBES.into_iter().flat_map(|agent| [(agent, false), (agent, true)]) {
        let mut host = Host::start().await;
        let id = one_of(&host.client(), agent, keep_warm).await;
        for script in TURNS {
            does(&host.client(), id, script).await;
            let before = files(&host.client(), id).await;
            assert!(!before.is_empty());
            host = host.crash().await;
            assert_eq!(files(&host.client(), id).await, before, "after `{script}` of {agent}, warm: {keep_warm}");
        }
        Databases::open(&host.data().path(), id).check();
    }
}

#[tokio::test]
async fn a_file_that_stays_open_is_in_every_cut() {
    for agent in SCRIBES {
        let host = Host::start().await;
        let id = one_of(&host.client(), agent, true).await;
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
}

#[tokio::test]
async fn a_guest_reads_what_its_files_were() {
    let host = Host::start().await;
    let client = host.client();
    for agent in SCRIBES {
        let id = one_of(&client, agent, true).await;
        does(&client, id, "mkdir d\nwrite d/a one").await;
        does(&client, id, "write d/a two").await;
        client.file_put(id, "d/a", b"three").await;
        does(&client, id, "rm d/a\nwrite b x").await;
        let rows: serde_json::Value =
            serde_json::from_str(&client.reply(id, "read .chronicle/query/d/a").await).expect("JSON");
        let rows = rows.as_array().expect("an array");
        let ops: Vec<_> = rows.iter().map(|row| row["op"].as_str().expect("a word")).collect();
        assert_eq!(ops, ["created", "modified", "modified", "deleted"]);
        for (row, content) in rows.iter().zip(["one", "two", "three"]) {
            assert_eq!(client.reply(id, &format!("read .chronicle/at/{}/d/a", row["n"])).await, content);
        }
        // By folders too, and what no cut has yet is not in it.
        let n = &rows[0]["n"];
        let script = format!(
            "write new x\nlist .chronicle/query\nlist .chronicle/query/d\nlist .chronicle/at/{n}\nlist .chronicle\nlist ."
        );
        let said = client.reply(id, &script).await;
        assert_eq!(said.replace('\n', ""), "b ddat queryb d new", "{agent}");
        assert_eq!(client.reply(id, "list .chronicle/query").await, "b d new");
        let outcome = client.ask(id, &format!("read .chronicle/at/{}/d/a", rows[3]["n"])).await;
        let said = outcome.text.unwrap_or_default() + &outcome.error.map(|error| error.message).unwrap_or_default();
        assert!(said.contains("NoEntry") || said.contains("No such file"), "{agent}: {said}");
    }
}

#[tokio::test]
async fn a_guest_of_wasi_0_3_is_held_to_the_same_rules() {
    let host = Host::start().await;
    let client = host.client();
    let id = one_of(&client, "scribe3", false).await;
    let said = client.reply(id, "write a one\nmkdir d\nwrite d/b two\nread a\nlist .\nstat d/b").await;
    assert_eq!(said, "one\na d\n3");
    let said = client.reply(id, "write ../out x\nread ../../state.db\nsymlink /etc/passwd l\nread d").await;
    assert_eq!(said.lines().filter(|line| line.starts_with("refused")).count(), 4, "{said}");
    let size = 256 << 20;
    // Six bytes are there, and the first byte too many is refused.
    let last = size - 6;
    let script = format!("size big0 {size}\nsize big1 {size}\nsize big2 {size}\nsize big3 {last}\nappend a x");
    let said = client.reply(id, &script).await;
    assert!(said.starts_with("refused") && said.contains("Quota") && !said.contains('\n'), "{said}");
    assert_eq!(client.reply(id, "rm big0\nappend a x\nread a").await, "onex");
    let said = client.reply(id, "write .chronicle/x y\nmkdir .chronicle").await;
    assert_eq!(said.matches("ReadOnly").count(), 2, "{said}");
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
    assert_eq!(client.reply(id, "read a").await, "one");
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
