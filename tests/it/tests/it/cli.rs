//! The command line: every command, its exit code, its JSON, its colours, and what it must never print.

use std::io::{BufRead, BufReader, Read, Write};

use podium_it::{Cli, Data, Host, agents, eventually};
use podium_wire::ErrorCode;
use podium_wire::rest::InstanceStatus;
use serde_json::json;

/// A host with an instance of this agent.
async fn with(agent: &str) -> (Host, Cli, String) {
    let host = Host::start().await;
    let id = host.client().deployed_instance(agent).await.to_string();
    let cli = host.cli();
    (host, cli, id)
}

const NOBODY: &str = "0198c0de-0000-7000-8000-00000000dead";

#[tokio::test]
async fn help_names_every_command_with_examples() {
    let cli = Cli::new(&Data::new());
    let help = cli.run(&["--help"]).await;
    for command in [
        "up",
        "token",
        "new",
        "completions",
        "man",
        "build",
        "dev",
        "deploy",
        "deployment",
        "instance",
        "chat",
        "files",
        "chronicle",
        "mount",
        "logs",
        "config",
        "status",
        "top",
        "doctor",
    ] {
        assert!(help.ok().lines().any(|line| line.trim_start().starts_with(command)), "{command}: {}", help.stdout);
        let own = cli.run(&[command, "--help"]).await;
        assert!(own.ok().contains("Usage:"), "{command}");
    }
    for command in [
        vec!["up"],
        vec!["deploy"],
        vec!["chat"],
        vec!["logs"],
        vec!["instance", "create"],
        vec!["instance", "export"],
        vec!["instance", "import"],
        vec!["files", "put"],
        vec!["files", "history"],
        vec!["config", "set"],
    ] {
        let own = cli.run(&[command.as_slice(), &["--help"]].concat()).await;
        assert!(own.ok().contains("Example"), "{command:?}: {}", own.stdout);
    }
    assert!(cli.run(&["--version"]).await.ok().starts_with("podium "));
}

#[tokio::test]
async fn a_call_that_is_not_understood_ends_with_2() {
    let cli = Cli::new(&Data::new());
    for arguments in [
        vec!["dance"],
        vec!["instance"],
        vec!["instance", "info"],
        vec!["instance", "info", "not-an-id"],
        vec!["deploy"],
        vec!["chat", NOBODY, "a", "b"],
        vec!["logs", NOBODY, "--level", "loud"],
        vec!["instance", "create", "Not A Type"],
    ] {
        let output = cli.run(&arguments).await;
        output.failed(2, ErrorCode::Usage);
        assert_eq!(output.stdout, "", "{arguments:?}");
    }
}

#[tokio::test]
async fn nobody_there_ends_with_4() {
    let cli = Cli::new(&Data::new()).url("http://127.0.0.1:9").env("PODIUM_TOKEN", "x");
    let calls = [vec!["status"], vec!["instance", "list"], vec!["chat", NOBODY, "hi", "--reconnect-for", "0"]];
    for arguments in calls {
        let output = cli.run(&arguments).await;
        assert_eq!(output.code, 4, "{output:?}");
        assert!(output.stderr.contains("POD-6"), "{output:?}");
        assert!(output.stderr.contains("podium up") || output.stderr.contains("hint"), "{output:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_ends_with_3() {
    let (_host, cli, id) = with("counter").await;
    for arguments in [
        vec!["instance", "info", NOBODY],
        vec!["instance", "export", NOBODY],
        vec!["instance", "state", NOBODY],
        vec!["instance", "interrupt", NOBODY],
        vec!["instance", "stop", NOBODY],
        vec!["instance", "delete", NOBODY],
        vec!["chat", NOBODY, "hi"],
        vec!["files", "ls", NOBODY],
        vec!["chronicle", "stats", NOBODY],
        vec!["logs", NOBODY],
        vec!["config", "get", NOBODY],
    ] {
        cli.run(&arguments).await.failed(3, ErrorCode::InstanceNotFound);
    }
    cli.run(&["deployment", "show", "nobody"]).await.failed(3, ErrorCode::DeploymentNotFound);
    cli.run(&["instance", "create", "nobody"]).await.failed(3, ErrorCode::DeploymentNotFound);
    cli.run(&["files", "cat", &id, "nothing.txt"]).await.failed(3, ErrorCode::FileNotFound);
    cli.run(&["instance", "retry", &id, "never"]).await.failed(3, ErrorCode::MessageNotFound);
}

#[tokio::test]
async fn what_is_refused_ends_with_5() {
    let (host, cli, id) = with("counter").await;
    let wrong = cli.clone().env("PODIUM_TOKEN", "wrong");
    wrong.run(&["instance", "list"]).await.failed(5, ErrorCode::Unauthorized);
    cli.run(&["instance", "stop", &id]).await.ok();
    cli.run(&["chat", &id, "add"]).await.failed(5, ErrorCode::InstanceStopped);
    cli.run(&["instance", "start", &id]).await.ok();
    let file = host.data().scratch().join("bad.wasm");
    std::fs::write(&file, b"not wasm").expect("a file");
    let file = file.display().to_string();
    let bad = ["deploy", file.as_str(), "--type", "bad", "--version", "1.0.0"];
    cli.run(&bad).await.failed(5, ErrorCode::NotAComponent);
    cli.run(&["instance", "discard", &id, "never"]).await.failed(3, ErrorCode::MessageNotFound);
    cli.run(&["files", "put", &id, "../out", "-"]).await.failed(5, ErrorCode::InvalidPath);
}

#[tokio::test]
async fn an_agent_s_failure_ends_with_1_and_its_words() {
    let (_host, cli, id) = with("probe").await;
    let output = cli.run(&["chat", &id, "boom with reason"]).await;
    output.failed(1, ErrorCode::GuestTrap);
    assert!(output.stderr.contains("hint"), "{output:?}");
    let output = cli.run(&["chat", &id, "fail on purpose"]).await;
    assert_eq!(output.code, 1, "{output:?}");
    assert!(output.stderr.contains("asked to fail: on purpose"), "{output:?}");
    assert_eq!(cli.run(&["chat", &id, "echo next"]).await.ok().trim(), "next");
}

#[tokio::test]
async fn deploy_create_chat_and_look() {
    let host = Host::start().await;
    let cli = host.cli();
    let file = host.data().scratch().join("counter.wasm");
    std::fs::write(&file, agents::component("counter")).expect("a file");
    let file = file.display().to_string();
    let deployed = cli.run(&["deploy", &file]).await;
    assert!(deployed.ok().contains("counter:") && deployed.stdout.contains("state"), "{deployed:?}");
    let again = cli.run(&["deploy", &file, "--json"]).await.json();
    assert_eq!(again["created"], false);
    let deployment = again["deployment_id"].as_str().expect("an id").to_owned();
    assert!(deployed.stdout.contains(&deployment));
    let renamed = cli.run(&["deploy", &file, "--type", "other", "--version", "7.0.0", "--json"]).await.json();
    assert!(renamed["deployment_id"].as_str().expect("an id").starts_with("other:7.0.0@"));
    let listed = cli.run(&["deployment", "list"]).await;
    assert!(listed.ok().contains(&deployment) && listed.stdout.contains("other:7.0.0@"), "{listed:?}");
    assert_eq!(
        cli.run(&["deployment", "list", "--json"]).await.json()["deployments"].as_array().map(Vec::len),
        Some(2)
    );
    assert!(cli.run(&["deployment", "show", "counter"]).await.ok().contains(&deployment));
    assert_eq!(cli.run(&["deployment", "show", "counter", "--json"]).await.json()["deployment_id"], json!(deployment));

    // `instance create` prints the id alone, so that a script can take it.
    let id = cli.run(&["instance", "create", "counter"]).await.ok().trim().to_owned();
    assert_eq!(id.len(), 36, "{id}");
    let other = cli.run(&["instance", "create", "other:7.0.0", "--json"]).await.json();
    let other = other["instance_id"].as_str().expect("an id").to_owned();
    let listed = cli.run(&["instance", "list"]).await;
    assert!(listed.ok().contains(&id) && listed.stdout.contains(&other), "{listed:?}");
    assert_eq!(cli.run(&["instance", "list", "--json"]).await.json()["instances"].as_array().map(Vec::len), Some(2));

    assert_eq!(cli.run(&["chat", &id, "add"]).await.ok().trim(), "1");
    let answer = cli.run(&["chat", &id, "add", "--json"]).await.json();
    assert_eq!((&answer["text"], &answer["duplicate"]), (&json!("2"), &json!(false)));
    assert!(cli.run(&["instance", "info", &id]).await.ok().contains(&deployment));
    assert_eq!(cli.run(&["instance", "info", &id, "--json"]).await.json()["state_version"], 2);
    assert!(cli.run(&["instance", "state", &id]).await.ok().contains("\"count\""));
    assert_eq!(cli.run(&["instance", "state", &id, "/count"]).await.ok().trim(), "2");
    assert_eq!(cli.run(&["instance", "state", &id, "--json"]).await.json()["state"]["count"], 2);

    cli.run(&["instance", "interrupt", &id]).await.failed(5, ErrorCode::NoActiveTurn);
    for verb in ["stop", "start", "delete"] {
        cli.run(&["instance", verb, &id]).await.ok();
    }
    cli.run(&["instance", "delete", &id]).await.failed(3, ErrorCode::InstanceNotFound);
    assert_eq!(cli.run(&["instance", "stop", &other, "--json"]).await.json()["instance_id"], json!(other));
}

#[tokio::test]
async fn files_come_and_go() {
    let (host, cli, id) = with("probe").await;
    cli.run_with(&["files", "put", &id, "a/from-stdin.txt", "-"], b"piped").await.ok();
    assert_eq!(cli.run(&["files", "cat", &id, "a/from-stdin.txt"]).await.ok(), "piped");
    let folder = host.data().scratch().join("documents/deep");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join("one.md"), "# One").expect("a file");
    let source = folder.parent().expect("a folder").display().to_string();
    cli.run(&["files", "put", &id, "documents", &source]).await.ok();
    assert_eq!(cli.run(&["files", "cat", &id, "documents/deep/one.md"]).await.ok(), "# One");
    let listed = cli.run(&["files", "ls", &id]).await;
    assert!(listed.ok().contains("a/from-stdin.txt") && listed.stdout.contains("documents/deep/one.md"), "{listed:?}");
    let inner = cli.run(&["files", "ls", &id, "documents"]).await;
    assert!(inner.ok().contains("one.md") && !inner.stdout.contains("from-stdin"), "{inner:?}");
    let json = cli.run(&["files", "ls", &id, "--json"]).await.json();
    assert!(json["files"].as_array().is_some_and(|files| files.len() >= 4), "{json}");
    cli.run(&["files", "rm", &id, "a/from-stdin.txt"]).await.ok();
    cli.run(&["files", "cat", &id, "a/from-stdin.txt"]).await.failed(3, ErrorCode::FileNotFound);
}

#[tokio::test]
async fn configurations_and_logs_and_status() {
    let host = Host::start().await;
    let cli = host.cli();
    host.client().deployed("probe").await;
    let created = cli.run_with(&["instance", "create", "probe", "--config", "-"], br#"{"greeting":"hello"}"#).await;
    let id = created.ok().trim().to_owned();
    assert!(cli.run(&["config", "get", &id]).await.ok().contains("hello"));
    cli.run_with(&["config", "set", &id, "-"], br#"{"greeting":"ahoy"}"#).await.ok();
    let document = cli.run(&["config", "get", &id, "--json"]).await.json();
    assert_eq!((&document["revision"], &document["config"]["greeting"]), (&json!(2), &json!("ahoy")));
    cli.run_with(&["config", "set", &id, "-"], br#"{"refuse":true}"#).await.failed(5, ErrorCode::ConfigRefused);
    let output = cli.run_with(&["config", "set", &id, "-"], b"not json").await;
    assert_ne!(output.code, 0, "{output:?}");
    let refused = cli.run_with(&["instance", "create", "probe", "--config", "-"], br#"{"init_fails":true}"#).await;
    assert!([1, 5].contains(&refused.code), "{refused:?}");
    assert!(refused.stderr.contains("init_fails"), "{refused:?}");

    cli.run(&["chat", &id, "log something happened"]).await.ok();
    cli.run(&["chat", &id, "boom"]).await.failed(1, ErrorCode::GuestTrap);
    let log = cli.run(&["logs", &id]).await;
    assert!(log.ok().contains("something happened") && log.stdout.contains("boom"), "{log:?}");
    let errors = cli.run(&["logs", &id, "--level", "error"]).await;
    assert!(errors.ok().contains("boom") && !errors.stdout.contains("something happened"), "{errors:?}");
    assert!(cli.run(&["logs", &id, "--json"]).await.json()["lines"].is_array());

    let status = cli.run(&["status"]).await;
    assert!(status.ok().contains("instances"), "{status:?}");
    assert_eq!(cli.run(&["status", "--json"]).await.json()["instances"], 1);
}

#[tokio::test]
async fn a_log_is_followed_until_it_is_interrupted() {
    let (host, cli, id) = with("probe").await;
    let mut child = cli.start(&["logs", &id, "-f"]);
    let stdout = child.stdout.take().expect("a pipe");
    let reading = tokio::task::spawn_blocking(move || {
        let found = BufReader::new(stdout).lines().map_while(Result::ok).find(|line| line.contains("followed line"));
        found.is_some()
    });
    let client = host.client();
    let id = id.parse().expect("an id");
    eventually("the follower has shown it", async || {
        client.reply(id, "log followed line").await;
        reading.is_finished().then_some(())
    })
    .await;
    assert!(reading.await.expect("the reader ends"));
    child.kill().expect("the follower can be ended");
    child.wait().expect("it ends");
}

#[tokio::test]
async fn a_chat_streams_and_survives_the_host_s_death() {
    let (host, cli, id) = with("probe").await;
    assert_eq!(cli.run(&["chat", &id, "stream 3"]).await.ok(), "piece 1\npiece 2\npiece 3\n");
    // The host comes back on the same address, as a service manager would bring it back.
    let address = host.url().strip_prefix("http://").expect("an address").to_owned();
    let chatting = {
        let (cli, id) = (cli.clone(), id.clone());
        tokio::spawn(async move { cli.run(&["chat", &id, "sleep 1500"]).await })
    };
    let instance = id.parse().expect("an id");
    host.client().until(instance, "the turn runs", |info| info.status != InstanceStatus::Resting).await;
    let data = host.kill();
    let _again = Host::spawn(&data, &data.path(), &address).await.expect("the host comes back");
    let output = chatting.await.expect("the chat ends");
    assert_eq!(output.ok().trim(), "slept 1500");
}

#[tokio::test]
async fn control_c_in_a_chat_ends_the_turn_and_says_so() {
    let (host, cli, id) = with("probe").await;
    let child = cli.start(&["chat", &id, "sleep 600000"]);
    let client = host.client();
    let instance = id.parse().expect("an id");
    client.until(instance, "it waits", |info| info.status == InstanceStatus::Waiting).await;
    podium_it::host::interrupt(&child);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().expect("it ends"));
    let output = tokio::time::timeout(podium_it::PATIENCE, ended).await.expect("in time").expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&ErrorCode::Interrupted.to_string()), "{said}");
    client.until(instance, "it rests", |info| info.status == InstanceStatus::Resting).await;
}

#[tokio::test]
async fn ctrl_c_at_the_prompt_ends_the_running_turn_and_the_conversation_goes_on() {
    let (host, cli, id) = with("probe").await;
    let (client, instance) = (host.client(), id.parse().expect("an id"));
    let mut child = cli.start_on_terminal(&format!("exec $PODIUM chat {id}"));
    let mut typed = child.stdin.take().expect("stdin is a pipe");
    let mut shown = child.stdout.take().expect("stdout is a pipe");
    let (sender, pieces) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = shown.read(&mut piece) {
            if sender.send(String::from_utf8_lossy(&piece[..read]).into_owned()).is_err() {
                return;
            }
        }
    });
    let (mut screen, mut from) = (String::new(), 0);
    let interrupted = ErrorCode::Interrupted.to_string();
    let script = [
        ("> ", "sleep 600000\r"),
        ("", "\x03"),
        (interrupted.as_str(), ""),
        ("> ", "echo as before\r"),
        ("\r\nas before", ""),
        ("> ", "\x04"),
    ];
    for (sign, keys) in script {
        if keys == "\x03" {
            client.until(instance, "it waits", |info| info.status == InstanceStatus::Waiting).await;
        }
        let place = eventually(sign, || {
            screen.extend(pieces.try_iter());
            std::future::ready(screen[from..].find(sign))
        });
        from += place.await + sign.len();
        typed.write_all(keys.as_bytes()).and_then(|()| typed.flush()).expect("typed");
    }
    let ended = || std::future::ready(child.try_wait().expect("a child"));
    let status = eventually("the chat ends", ended).await;
    assert!(status.success(), "{status}: {screen:?}");
}

#[tokio::test]
async fn a_message_with_its_own_id_can_be_said_again() {
    let (_host, cli, id) = with("counter").await;
    for _ in 0..3 {
        assert_eq!(cli.run(&["chat", &id, "add", "--message-id", "once"]).await.ok().trim(), "1");
    }
    cli.run(&["chat", &id, "get", "--message-id", "once"]).await.failed(5, ErrorCode::MessageConflict);
}

#[tokio::test]
async fn a_conversation_is_read_from_a_pipe_line_by_line() {
    let (_host, cli, id) = with("counter").await;
    let output = cli.run_with(&["chat", &id], b"add\nadd\nget\n").await;
    let numbers: Vec<&str> = output.ok().lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(numbers, ["1", "2", "2"]);
    let output = cli.run_with(&["chat", &id], b"add\nnonsense\n").await;
    assert_eq!(output.code, 1, "{output:?}");
}

#[tokio::test]
async fn a_parked_message_is_retried_and_discarded() {
    let mut host = Host::start().await;
    let answer = host.client().deploy(agents::with_retry("probe", 1), None, None).await;
    assert_eq!(answer.status, 201);
    let id = host.client().instance("probe").await;
    for (message, verb) in [("one", "discard"), ("two", "retry")] {
        host.client().post_message(id, message, "spin").await;
        host.client().until(id, "it spins", |info| info.status == InstanceStatus::Running).await;
        host = host.crash().await;
        host.client().until(id, "it is parked", |info| info.status == InstanceStatus::Parked).await;
        let cli = host.cli();
        cli.run(&["instance", verb, &id.to_string(), message]).await.ok();
    }
    host.client().until(id, "it runs again", |info| info.status == InstanceStatus::Running).await;
    host.client().post(&format!("/api/v1/instances/{id}/interrupt")).await;
}

#[tokio::test]
async fn colours_only_on_a_terminal() {
    let (_host, cli, id) = with("counter").await;
    let calls: [&[&str]; 4] =
        [&["--help"], &["instance", "list"], &["instance", "info", NOBODY], &["deployment", "list"]];
    for arguments in calls {
        let piped = cli.run(arguments).await;
        assert!(!piped.stdout.contains('\x1b') && !piped.stderr.contains('\x1b'), "{arguments:?}: {piped:?}");
    }
    let shown = cli.on_terminal(&["--help"]).await;
    assert!(shown.stdout.contains("\x1b["), "{shown:?}");
    let error = cli.on_terminal(&["instance", "info", NOBODY]).await;
    assert!(error.stdout.contains("\x1b["), "{error:?}");
    assert_eq!(error.code, 3);
    let asked_not_to = cli.clone().env("NO_COLOR", "1").on_terminal(&["instance", "info", NOBODY]).await;
    assert!(!asked_not_to.stdout.contains("\x1b[3"), "{asked_not_to:?}");
    assert!(cli.on_terminal(&["chat", &id, "add"]).await.stdout.contains('1'));
}

#[tokio::test]
async fn an_agent_cannot_send_commands_to_the_terminal() {
    let (_host, cli, id) = with("probe").await;
    let output = cli.on_terminal(&["chat", &id, "echo \x1b]0;owned\x07\x1b[2Jhello"]).await;
    assert!(output.stdout.contains("hello"), "{output:?}");
    assert!(!output.stdout.contains("\x1b]0;") && !output.stdout.contains("\x1b[2J"), "{output:?}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_error() {
    let (_host, cli, id) = with("probe").await;
    let mut child = cli.start(&["chat", &id, "stream 20000"]);
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut first = [0; 16];
    let _ = stdout.read(&mut first);
    drop(stdout);
    let status =
        tokio::task::spawn_blocking(move || child.wait_with_output()).await.expect("it ends").expect("it ends");
    let stderr = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[tokio::test]
async fn an_error_with_json_is_json_too() {
    let (_host, cli, _) = with("counter").await;
    let output = cli.run(&["instance", "info", NOBODY, "--json"]).await;
    assert_eq!(output.code, 3);
    let body: serde_json::Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(body["error"]["code"], json!(ErrorCode::InstanceNotFound.to_string()));
}

#[tokio::test]
async fn a_prompt_on_a_terminal() {
    let (_host, cli, id) = with("counter").await;
    // A terminal of its own, with somebody who types.
    let program = podium_it::host::binary().display().to_string();
    let mut child = std::process::Command::new("script")
        .args(["-qefc", &format!("{program} chat {id}"), "/dev/null"])
        .env("PODIUM_URL", cli_url(&cli).await)
        .env("PODIUM_DATA", cli.data().path())
        .env("TERM", "xterm")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("script, of util-linux, starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let mut stdout = child.stdout.take().expect("a pipe");
    let talk = tokio::task::spawn_blocking(move || {
        let mut shown = String::new();
        let mut buffer = [0; 4096];
        let mut typed = false;
        loop {
            let read = stdout.read(&mut buffer).unwrap_or(0);
            if read == 0 {
                return shown;
            }
            shown.push_str(&String::from_utf8_lossy(&buffer[..read]));
            if !typed && shown.contains("> ") {
                typed = true;
                stdin.write_all(b"add\r").expect("typed");
            }
            if typed && shown.contains("\r\n1") {
                // Control-D leaves.
                let _ = stdin.write_all(b"\x04");
            }
        }
    });
    let shown = tokio::time::timeout(podium_it::PATIENCE, talk).await.expect("in time").expect("the terminal ends");
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}: {shown:?}");
}

/// The server that a caller points at, by its own word.
async fn cli_url(cli: &Cli) -> String {
    let status = cli.run(&["status"]).await;
    let line = status.ok().lines().find(|line| line.contains("http://")).expect("the server's address").to_owned();
    line.split_whitespace().find(|word| word.starts_with("http://")).expect("an address").to_owned()
}
