//! `podium dev`: one story through an author's afternoon, because each part needs the same compiled dependencies.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use podium_it::{Cli, Client, Data, Host, guide, host::interrupt, wait};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::Value;

/// How long a build may take that compiles every dependency on a machine that does much else.
const BUILD_PATIENCE: Duration = Duration::from_secs(600);

fn author(data: &Data) -> Cli {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Cli::new(data).env("HOME", home).env("PODIUM_WASM_TOOLCHAIN", "debian")
}

/// An agent that counts messages and says which version it is.
fn source(folder: &Path, word: &str, body: &str) {
    let text = format!(
        "use podium_sdk::prelude::*;\n\n#[derive(Default, DeltaState)]\nstruct Memory {{\n    count: u64,\n}}\n\n\
         struct Diary;\n\n#[podium_sdk::agent]\nimpl Agent for Diary {{\n    type State = Memory;\n\n    \
         async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {{\n        {body}\n        \
         cx.state.count += 1;\n        cx.reply(format!(\"{word} {{}} {{}}\", cx.state.count, message.text))\n    }}\n}}\n"
    );
    std::fs::write(folder.join("src/lib.rs"), text).expect("a source");
}

/// A running `podium dev --json`; dropped, it is killed, and its host with it.
struct Dev {
    child: Child,
    events: Receiver<Value>,
    seen: Vec<Value>,
}

impl Dev {
    fn start(cli: &Cli, arguments: &[&str]) -> Self {
        let mut child = cli.start(&[&["dev", "--json"], arguments].concat());
        let stdout = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        let mut stderr = child.stderr.take().expect("stderr is a pipe");
        // No terminal and no input.
        drop(child.stdin.take());
        std::thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        let (sender, events) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        Self { child, events, seen: Vec::new() }
    }

    /// The next event of this name; others are passed over.
    async fn event(&mut self, name: &str) -> Value {
        wait::within(BUILD_PATIENCE, &format!("the event `{name}`"), || {
            let wanted = self.events.try_iter().find(|event| {
                self.seen.push(event.clone());
                event["event"] == name
            });
            std::future::ready(wanted)
        })
        .await
    }

    /// Where it is ready, as an instance and a client of its host.
    async fn ready(&mut self) -> (InstanceId, Client, PathBuf) {
        let ready = self.event("ready").await;
        let data = PathBuf::from(ready["data"].as_str().expect("a data folder"));
        let token = std::fs::read_to_string(data.join("token")).expect("a token").trim().to_owned();
        let client = Client::new(ready["url"].as_str().expect("a URL"), Some(token));
        (serde_json::from_value(ready["instance_id"].clone()).expect("an id"), client, data)
    }

    /// Ctrl-C, and its end.
    async fn stop(mut self) {
        interrupt(&self.child);
        let ended = || std::future::ready(self.child.try_wait().expect("a child"));
        let status = wait::eventually("podium dev ends", ended).await;
        assert_eq!(status.code(), Some(0), "{:?}", self.seen);
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- events ---\n{:#?}", self.seen);
        }
    }
}

fn is_version(event: &Value, field: &str, version: &str) -> bool {
    event[field].as_str().is_some_and(|id| id.starts_with(&format!("diary:{version}@")))
}

#[tokio::test]
async fn an_author_s_afternoon() {
    let data = Data::new();
    let cli = author(&data).folder(data.scratch());
    cli.run(&["new", "diary"]).await.ok();
    let folder = data.scratch().join("diary");
    let cli = cli.folder(folder.clone());
    // What cargo compiles of others' crates is kept from one run of this story to the next.
    std::fs::create_dir(folder.join(".cargo")).expect("a folder");
    let target = guide::native_target().with_file_name("dev-story");
    std::fs::write(folder.join(".cargo/config.toml"), format!("[build]\ntarget-dir = {target:?}\n")).expect("written");

    // What does not compile from the beginning is said, and waited for.
    std::fs::write(folder.join("src/lib.rs"), "fn broken( {").expect("a source");
    let mut dev = Dev::start(&cli, &[]);
    let failed = dev.event("failed").await;
    assert_eq!(failed["error"]["code"], ErrorCode::BuildFailed.to_string());
    source(&folder, "one", "");
    let (id, client, own_data) = dev.ready().await;
    assert!(own_data.starts_with(folder.canonicalize().expect("a path").join(".podium")), "{own_data:?}");
    let mut socket = client.socket(id).await;
    assert_eq!(socket.turn("a").await.text.as_deref(), Some("one 1 a"));

    // A saved change answers the next message, with the state and on the same connection.
    source(&folder, "two", "");
    let upgraded = dev.event("upgraded").await;
    assert!(is_version(&upgraded, "deployment_id", "0.1.0-dev.2"), "{upgraded}");
    assert!(is_version(&upgraded, "previous_deployment_id", "0.1.0-dev.1"), "{upgraded}");
    assert_eq!(socket.turn("b").await.text.as_deref(), Some("two 2 b"));

    // A broken source: the compiler's words, and the old version answers.
    source(&folder, "three", "let x: u64 = \"text\";");
    let failed = dev.event("failed").await;
    let message = failed["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("src/lib.rs") && message.contains("mismatched types"), "{failed}");
    assert_eq!(socket.turn("c").await.text.as_deref(), Some("two 3 c"));

    // A version that crashes in its first turn: the old one answers that very message.
    source(&folder, "three", "panic!(\"not today\");");
    let upgraded = dev.event("upgraded").await;
    assert!(is_version(&upgraded, "deployment_id", "0.1.0-dev.3"), "{upgraded}");
    assert_eq!(socket.turn("d").await.text.as_deref(), Some("two 4 d"));
    let put_back = dev.event("put_back").await;
    assert!(is_version(&put_back, "deployment_id", "0.1.0-dev.2"), "{put_back}");
    assert!(is_version(&put_back, "failed_deployment_id", "0.1.0-dev.3"), "{put_back}");
    assert_eq!(put_back["error"]["code"], ErrorCode::GuestTrap.to_string());

    // Mended, it goes on; the numbers rise.
    source(
        &folder,
        "three",
        "if message.text == \"e\" { cx.ask(podium_sdk::Question::new(\"go\", \"Go on?\")).await?; }",
    );
    let upgraded = dev.event("upgraded").await;
    assert!(is_version(&upgraded, "deployment_id", "0.1.0-dev.4"), "{upgraded}");

    // What is saved while a turn runs waits for its end.
    let asking = socket.say("e").await;
    let ask = wait::eventually("a question", async || {
        let asks = client.get(&format!("/agent/{id}/asks")).await.json();
        asks["asks"][0]["request_id"].as_str().map(str::to_owned)
    })
    .await;
    source(&folder, "three", "");
    let waiting = dev.event("waiting").await;
    assert!(is_version(&waiting, "deployment_id", "0.1.0-dev.5"), "{waiting}");
    assert!(client.info(id).await.deployment_id.to_string().starts_with("diary:0.1.0-dev.4@"));
    let given = serde_json::json!({"request_id": ask, "answer": {"text": "yes"}});
    assert_eq!(client.post_json(&format!("/agent/{id}/answer"), &given).await.status, 204);
    assert_eq!(socket.rest_of_turn(asking).await.text.as_deref(), Some("three 5 e"));
    let upgraded = dev.event("upgraded").await;
    assert!(is_version(&upgraded, "deployment_id", "0.1.0-dev.5"), "{upgraded}");
    assert!(is_version(&upgraded, "previous_deployment_id", "0.1.0-dev.4"), "{upgraded}");

    // A folder has one loop; the second is told so and harms nothing.
    cli.run(&["dev", "--json"]).await.failed(75, ErrorCode::DataFolderInUse);
    dev.stop().await;
    assert!(client.request(reqwest::Method::GET, "/health").send().await.is_err(), "its host is gone");

    // The next day: the same instance with its conversation, on the same code.
    let mut dev = Dev::start(&cli, &[]);
    let unchanged = dev.event("unchanged").await;
    assert!(is_version(&unchanged, "deployment_id", "0.1.0-dev.5"), "{unchanged}");
    let (again, client, _) = dev.ready().await;
    assert_eq!(again, id);
    assert_eq!(client.reply(id, "f").await, "three 6 f");
    dev.stop().await;

    // On a terminal it is a conversation.
    let mut terminal = cli.start_on_terminal("exec $PODIUM dev");
    let mut typed = terminal.stdin.take().expect("stdin is a pipe");
    let mut shown = terminal.stdout.take().expect("stdout is a pipe");
    let (sender, pieces) = channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = shown.read(&mut piece) {
            if sender.send(String::from_utf8_lossy(&piece[..read]).into_owned()).is_err() {
                return;
            }
        }
    });
    let mut screen = String::new();
    let mut read = 0;
    for (shown, keys) in [("> ", b"g\r".as_slice()), ("three 7 g", b""), ("> ", b"\x04")] {
        let place = wait::within(BUILD_PATIENCE, shown, || {
            screen.extend(pieces.try_iter());
            std::future::ready(screen[read..].find(shown))
        });
        read += place.await + shown.len();
        typed.write_all(keys).expect("typed");
    }
    let ended = || std::future::ready(terminal.try_wait().expect("a child"));
    let ended = wait::eventually("the conversation ends", ended).await;
    assert_eq!(ended.code(), Some(0), "{screen}");

    // On another host it has an instance of its own, and leaves the host alone.
    let host = Host::start_on(&data).await;
    let mut dev = Dev::start(&cli, &["--url", host.url()]);
    let ready = dev.event("ready").await;
    assert_eq!((ready["url"].as_str(), ready.get("data")), (Some(host.url()), None), "{ready}");
    let other: InstanceId = serde_json::from_value(ready["instance_id"].clone()).expect("an id");
    assert_eq!(host.client().reply(other, "a").await, "three 1 a");
    dev.stop().await;
    assert_eq!(host.client().reply(other, "b").await, "three 2 b");
}

/// A process that is there and has not ended.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

#[tokio::test]
async fn a_loop_that_is_killed_leaves_no_build_behind() {
    let data = Data::new();
    let cli = author(&data).folder(data.scratch());
    cli.run(&["new", "diary"]).await.ok();
    let folder = data.scratch().join("diary");
    // A build that takes its time, and says who runs it.
    let pids = folder.join("pids");
    let script = format!(
        "fn main() {{\n    let pids = format!(\"{{}} {{}}\", std::os::unix::process::parent_id(), std::process::id());\n    \
         std::fs::write({:?}, pids).unwrap();\n    std::fs::rename({0:?}, {pids:?}).unwrap();\n    \
         std::thread::sleep(std::time::Duration::from_secs(600));\n}}\n",
        folder.join("pids.new")
    );
    std::fs::write(folder.join("build.rs"), script).expect("a build script");
    let mut dev = Dev::start(&cli.folder(folder), &[]);
    let written = || std::future::ready(std::fs::read_to_string(&pids).ok());
    let written = wait::within(BUILD_PATIENCE, "the build script runs", written).await;
    let (cargo, script) = written.split_once(' ').expect("two numbers");
    let (cargo, script): (u32, u32) = (cargo.parse().expect("a pid"), script.parse().expect("a pid"));
    assert!(is_running(cargo));
    dev.child.kill().expect("killed");
    wait::eventually("cargo ends", || std::future::ready((!is_running(cargo)).then_some(()))).await;
    // It belongs to cargo, which has no such manners.
    let script = rustix::process::Pid::from_raw(i32::try_from(script).expect("a pid")).expect("a pid");
    rustix::process::kill_process(script, rustix::process::Signal::KILL).expect("killed");
}

#[tokio::test]
async fn a_folder_that_is_no_agent_is_refused() {
    let data = Data::new();
    let cli = author(&data).folder(data.scratch());
    let refused = cli.run(&["dev"]).await;
    refused.failed(5, ErrorCode::InvalidManifest);
    assert!(refused.stderr.contains("podium new"), "{refused:?}");
    assert!(!data.scratch().join(".podium").exists());
}
