//! `keep_warm` changes nothing that anybody sees: every case of a table ends the same fresh and warm (TURN §5 to §7).
//!
//! Each runs against the same agent twice, deployed with and without `keep_warm`.

use podium_it::database::{Databases, Durable};
use podium_it::{Host, agents, component, eventually};
use podium_wire::InstanceId;
use serde_json::{Value, json};

/// One thing that is done to an instance.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A message, and its outcome.
    Ask(&'static str),
    /// A message whose turn is interrupted once it waits.
    Interrupt(&'static str),
    /// A message whose turn asks a person, and what that one says.
    Answer(&'static str, &'static str),
    /// A new configuration.
    Config(&'static str),
    /// A file written from outside.
    Put(&'static str, &'static str),
    /// `stop`, then `start`.
    StopStart,
    /// A message whose turn is killed with the host once it waits.
    Kill(&'static str),
    /// A message whose turn hears these words once it waits.
    Steer(&'static str, &'static [&'static str]),
    /// The probe's successor, or what became of the attempt.
    Upgrade,
    /// The same on trial.
    Trial,
}

use Step::{Answer, Ask, Config, Interrupt, Kill, Put, Steer, StopStart, Trial, Upgrade};

/// What must be the same fresh and warm.
const CASES: &[(&str, &[Step])] = &[
    ("state", &[Ask("set a 1"), Ask("push x"), Ask("push y"), Ask("badpatch"), Ask("state")]),
    ("messages", &[Ask("echo one"), Ask("echo two"), Ask("history 10")]),
    ("updates", &[Ask("elements"), Ask("stream 5"), Ask("elements"), Ask("stream 5")]),
    ("errors", &[Ask("push x"), Ask("fail"), Ask("push y"), Ask("what"), Ask("state")]),
    ("trap", &[Ask("push x"), Ask("boom"), Ask("push y"), Ask("state")]),
    ("memory limit", &[Ask("push x"), Ask("grow"), Ask("push y"), Ask("grow"), Ask("state")]),
    ("output limit", &[Ask("push x"), Ask("flood"), Ask("push y")]),
    ("processor limit", &[Ask("push x"), Ask("spin"), Ask("push y")]),
    ("waiting limit", &[Ask("push x"), Ask("sleep 60000"), Ask("push y")]),
    ("timers", &[Ask("sleep 5"), Ask("block 5"), Ask("sleep 5"), Ask("block 5"), Ask("state")]),
    ("interrupt", &[Ask("push x"), Interrupt("sleep 60000"), Ask("push y"), Interrupt("block 60000"), Ask("state")]),
    ("questions", &[Answer("ask env", "the moon"), Ask("takeback env"), Answer("ask env", "home"), Ask("state")]),
    ("a question nobody answers", &[Ask("push x"), Interrupt("ask env"), Answer("ask env", "home"), Ask("state")]),
    (
        "configuration",
        &[
            Ask("config"),
            Config(r#"{"colour": "red"}"#),
            Ask("config"),
            Config(r#"{"refuse": true}"#),
            Ask("config"),
            Ask("state"),
        ],
    ),
    (
        "files",
        &[
            Ask("write a.txt one"),
            Ask("read a.txt"),
            Put("b.txt", "two"),
            Ask("read b.txt"),
            Ask("ls"),
            Ask("read c.txt"),
            Ask("ls"),
        ],
    ),
    ("log and output", &[Ask("log line"), Ask("print line"), Ask("log another"), Ask("print another")]),
    ("stop and start", &[Ask("push x"), StopStart, Ask("push y"), Ask("state")]),
    ("kill -9", &[Ask("push x"), Kill("sleep 700"), Ask("push y"), Kill("block 700"), Ask("state")]),
    (
        "upgrade",
        &[
            Ask("set a 1"),
            Ask("push x"),
            Upgrade,
            Ask("get a"),
            Ask("from"),
            Ask("boom"),
            Ask("get a"),
            Upgrade,
            Ask("x"),
        ],
    ),
    (
        "a migration that fails",
        &[
            Ask("set migrate boom"),
            Upgrade,
            Ask("push x"),
            Ask("set migrate fail"),
            Upgrade,
            Ask("push y"),
            Ask("set migrate spin"),
            Upgrade,
            Ask("state"),
            Ask("set migrate well"),
            Upgrade,
            Ask("get migrate"),
        ],
    ),
    ("a version on trial", &[Ask("set first boom"), Ask("push x"), Trial, Ask("push y"), Ask("push z"), Ask("state")]),
];

/// The same for an agent that hears words.
const STEERED: &[(&str, &[Step])] = &[
    ("a word", &[Steer("one", &["hand a"]), Ask("echo x"), Steer("one", &["quietly b", "hand c"]), Ask("echo y")]),
    (
        "a word that fails",
        &[Ask("echo x"), Steer("one", &["fail", "hand a"]), Steer("one", &["hand b"]), Ask("echo y")],
    ),
    ("a word that traps", &[Ask("echo x"), Steer("one", &["boom"]), Steer("one", &["hand a"]), Ask("echo y")]),
    ("a word that never ends", &[Ask("echo x"), Steer("wait 100", &["never"]), Steer("one", &["hand a"])]),
];

/// An agent that is kept warm or not, with limits that are soon reached.
fn limited(agent: &str, keep_warm: bool) -> Vec<u8> {
    component::with_manifest(&agents::component(agent), |manifest| {
        manifest["keep_warm"] = keep_warm.into();
        manifest["limits"] = json!({"cpu_ms": 1500, "wait_ms": 4000, "output_bytes": 20_000});
    })
}

/// Does one step and answers what somebody outside sees of it.
async fn step(host: Host, id: InstanceId, n: usize, step: Step) -> (Host, Value) {
    let client = host.client();
    let message = format!("m-{n}");
    let seen = match step {
        Ask(text) => json!(client.ask_as(id, &message, text).await),
        Interrupt(text) => {
            client.post_message(id, &message, text).await;
            client.until_waiting(id).await;
            assert_eq!(client.post(&format!("/api/v1/instances/{id}/interrupt")).await.status, 202);
            json!(client.ask_as(id, &message, text).await)
        }
        Answer(text, said) => {
            client.post_message(id, &message, text).await;
            let ask = eventually("a question", async || {
                let asks = client.get(&format!("/agent/{id}/asks")).await.json();
                asks["asks"][0]["request_id"].as_str().map(str::to_owned)
            });
            let given = json!({"request_id": ask.await, "answer": {"text": said}});
            assert_eq!(client.post_json(&format!("/agent/{id}/answer"), &given).await.status, 204);
            json!(client.ask_as(id, &message, text).await)
        }
        Config(text) => {
            let config: Value = serde_json::from_str(text).expect("JSON");
            let path = format!("/api/v1/instances/{id}/config");
            let answer = client.put_json(&path, &json!({"config": config})).await;
            json!([answer.status, answer.json()])
        }
        Put(path, text) => json!(client.file_put(id, path, text.as_bytes()).await),
        StopStart => {
            for verb in ["stop", "start"] {
                assert_eq!(client.post(&format!("/api/v1/instances/{id}/{verb}")).await.status, 200, "{verb}");
            }
            Value::Null
        }
        Kill(text) => {
            client.post_message(id, &message, text).await;
            client.until_waiting(id).await;
            let host = host.crash().await;
            let outcome = json!(host.client().ask_as(id, &message, text).await);
            return (host, outcome);
        }
        Steer(text, words) => {
            client.post_message(id, &message, text).await;
            client.until_waiting(id).await;
            for (place, word) in words.iter().enumerate() {
                let steer = json!({"id": format!("s-{n}-{place}"), "content": {"text": word}});
                assert_eq!(client.post_json(&format!("/api/v1/instances/{id}/steer"), &steer).await.status, 202);
            }
            json!(client.ask_as(id, &message, text).await)
        }
        Upgrade | Trial => {
            let path = format!("/api/v1/instances/{id}/upgrade?wait=60s");
            let wanted = json!({"version": SUCCESSOR, "on_trial": matches!(step, Trial)});
            let answer = client.post_json(&path, &wanted).await;
            let body = answer.json();
            json!([answer.status, body["status"], body["error"]])
        }
    };
    (host, seen)
}

/// The successor's version.
const SUCCESSOR: &str = "2.0.0";

/// An update's body without digests: they differ with the manifest.
fn without_digests(mut body: Value) -> Value {
    for field in ["deployment_id", "previous_deployment_id"] {
        if let Some(Value::String(id)) = body.get_mut(field) {
            id.truncate(id.find('@').unwrap_or(id.len()));
        }
    }
    body
}

/// Runs a case and answers everything that an outsider, and whoever reads the databases, can see of it.
async fn run(agent: &str, case: &[Step], keep_warm: bool) -> Value {
    let mut host = Host::start().await;
    let client = host.client();
    assert_eq!(client.deploy(limited(agent, keep_warm), None, None).await.status, 201);
    let id = client.instance(agent).await;
    if case.iter().any(|step| matches!(step, Upgrade | Trial)) {
        let answer = client.deploy(limited("successor", keep_warm), Some(agent), Some(SUCCESSOR)).await;
        assert_eq!(answer.status, 201);
    }
    let mut seen = Vec::new();
    for (n, one) in case.iter().enumerate() {
        let answer;
        (host, answer) = step(host, id, n, *one).await;
        seen.push(answer);
    }
    let client = host.client();
    let lines: Vec<Value> =
        client.logs(id).await.lines.iter().map(|line| json!([line.level, line.module, line.message])).collect();
    let info = client.info(id).await;
    let state = client.state(id).await;
    let data = host.kill();
    let databases = Databases::open(&data.path(), id);
    databases.check();
    let warm = databases.turns().iter().filter(|turn| turn.began == "warm").count();
    assert_eq!(warm > 0, keep_warm, "{warm} turns were warm: {:?}", databases.turns());
    // Of a turn that failed stays what was recorded of it when it waited, and a warm guest's turn is not recorded.
    let failed: Vec<Option<u64>> =
        databases.cuts().iter().filter(|cut| cut.kind == "error").map(|cut| cut.turn).collect();
    let is_true =
        |update: &Durable| update.turn.is_none() || update.event_type == "error" || !failed.contains(&update.turn);
    let updates: Vec<Value> = databases
        .updates()
        .iter()
        .filter(|update| is_true(update))
        .map(|update| json!([update.event_type, without_digests(update.body.clone())]))
        .collect();
    let cuts: Vec<Value> = databases.cuts().iter().map(|cut| json!([cut.cut, cut.kind, cut.state_version])).collect();
    json!({
        "answers": seen, "updates": updates, "cuts": cuts, "log": lines, "state": state.state,
        "numbers": [info.cut, info.state_version, info.config_rev],
    })
}

#[tokio::test]
async fn every_case_ends_the_same_fresh_and_warm() {
    let cases = CASES.iter().map(|case| ("probe", case)).chain(STEERED.iter().map(|case| ("steered", case)));
    for (agent, (name, case)) in cases {
        let fresh = run(agent, case, false).await;
        let warm = run(agent, case, true).await;
        assert_eq!(fresh, warm, "the case `{name}` differs");
    }
}
