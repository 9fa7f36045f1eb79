//! The host that unit tests play: what it keeps, what it refuses, how time passes.

use std::time::Duration;

use podium_sdk::log::Level;
use podium_sdk::prelude::*;
use podium_sdk::testing::TestAgent;
use podium_sdk::updates::Element;
use podium_sdk::{Role, ShutdownReason, ToolKind};

#[derive(Default, DeltaState)]
struct Memory {
    said: Vec<String>,
    is_stopped: bool,
    limit: u64,
}

#[derive(Deserialize)]
struct Settings {
    greeting: String,
    limit: u64,
}

/// Does what the first word of a message says.
struct Obedient;

#[podium_sdk::agent]
impl Agent for Obedient {
    type State = Memory;
    type Config = Settings;

    fn config_default() -> Option<Json> {
        Some(json!({"greeting": "hello", "limit": 3}))
    }

    async fn on_init(cx: &mut Ctx<Self>) -> Result<()> {
        if cx.config.greeting.is_empty() {
            bail!("a greeting is needed");
        }
        cx.state.limit = cx.config.limit;
        cx.reply(cx.config.greeting.clone())
    }

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (word, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match word {
            "say" => {
                cx.state.said.push(rest.to_owned());
                cx.reply(rest)
            }
            "history" => {
                let entries = cx.history(rest.parse()?).await?;
                let texts: Vec<String> = entries.into_iter().map(|entry| entry.text).collect();
                cx.reply(texts.join(","))
            }
            "stream" => {
                let mut text = cx.stream();
                rest.split_inclusive(' ').try_for_each(|piece| text.write(piece))
                // Dropping it finishes it.
            }
            "tool" => {
                let call = cx.tool("grep", ToolKind::Search, &json!({"for": rest}))?;
                call.succeed(&json!([]))
            }
            "wait" => {
                let mut text = cx.stream();
                text.write("waiting")?;
                for _ in 0..10 {
                    cx.sleep(Duration::from_secs(60)).await?;
                    if cx.state.is_stopped {
                        bail!("stopped");
                    }
                }
                text.write(" is over")
            }
            "forever" => cx.wait(std::future::pending::<()>()).await,
            "patch" => cx.apply(&serde_json::from_str(rest)?).map(drop),
            "large" => {
                cx.state.said.push("x".repeat(2 * 1024 * 1024));
                Ok(())
            }
            "log" => {
                podium_sdk::warn!("{rest}");
                podium_sdk::log::write(Level::Info, "m", "with fields", Some(&json!({"n": 1})));
                Ok(())
            }
            "panic" => panic!("as told"),
            other => bail!("`{other}` is no word I know"),
        }
    }

    async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        if message.text != "stop" {
            bail!("I only stop");
        }
        cx.sleep(Duration::from_secs(1)).await?;
        cx.state.is_stopped = true;
        Ok(())
    }

    async fn on_config_change(cx: &mut Ctx<Self>, changes: Vec<Change>, _: String) -> Result<()> {
        if cx.config.limit > 10 {
            bail!("a limit of {} is too high", cx.config.limit);
        }
        cx.state.limit = cx.config.limit;
        cx.reply(changes.iter().map(|change| change.pointer.as_str()).collect::<Vec<_>>().join(","))
    }

    async fn on_shutdown(cx: &mut Ctx<Self>, _: ShutdownReason) -> Result<()> {
        cx.reply("goodbye")
    }

    async fn migrate(from: u32, mut state: Json) -> Result<Json> {
        state["limit"] = json!(from);
        Ok(state)
    }
}

/// Answers once; has no other hook.
struct Plain;

#[podium_sdk::agent]
impl Agent for Plain {
    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        cx.sleep(Duration::from_secs(1)).await?;
        cx.reply(format!("{}:{:?}", message.id, message.role))
    }
}

fn lived() -> TestAgent<Obedient> {
    TestAgent::new().with_state(json!({"said": [], "is_stopped": false, "limit": 1}))
}

#[test]
fn the_first_message_comes_after_on_init() {
    let mut agent = TestAgent::<Obedient>::new().with_config(json!({"greeting": "good day"}));
    assert_eq!(agent.config(), &json!({"greeting": "good day", "limit": 3}));
    agent.send("say yes");
    let texts: Vec<&str> = agent.history().iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(texts, ["good day", "say yes", "yes"]);
    assert_eq!(agent.history().iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(agent.memory().limit, 3);
}

#[test]
fn an_init_that_fails_is_seen() {
    let mut agent = TestAgent::<Obedient>::new().with_config(json!({"greeting": ""}));
    assert_eq!(agent.init().error().message, "a greeting is needed");
    assert_eq!(agent.state(), &json!({}));
}

#[test]
#[should_panic(expected = "`on_init` failed: a greeting is needed")]
fn a_message_to_an_instance_that_cannot_be_made_ends_the_test() {
    TestAgent::<Obedient>::new().with_config(json!({"greeting": ""})).send("say x");
}

#[test]
fn history_is_what_was_said_before_this_turn() {
    let mut agent = lived().with_history([(Role::User, "one"), (Role::Assistant, "two"), (Role::User, "three")]);
    assert_eq!(agent.send("history 2").reply(), "two,three");
    // More than a page at once.
    for number in 0..150 {
        agent.send(format!("say {number}"));
    }
    let all = agent.send("history 1000");
    // The first answer has a comma of its own.
    assert_eq!(all.reply().split(',').count(), 3 + 3 + 300);
    assert!(all.reply().starts_with("one,two,three,history 2,"));
}

#[test]
fn an_error_takes_everything_back_but_the_message() {
    let mut agent = lived();
    let turn = agent.send("patch [{\"op\": \"add\", \"path\": \"/x\", \"value\": 1}]");
    assert_eq!((turn.result(), turn.patches().len()), (Ok(()), 1));
    let before = agent.state().clone();
    assert_eq!(before["x"], 1);
    let turn = agent.send("dance");
    assert_eq!(turn.error().message, "`dance` is no word I know");
    assert_eq!((agent.state(), agent.history().len()), (&before, 2));
    assert_eq!(agent.history()[1].text, "dance");
}

#[test]
fn what_a_host_refuses_is_refused() {
    let mut agent = lived();
    for (text, code) in [
        ("patch [{\"op\": \"remove\", \"path\": \"/none\"}]", "POD-4010"),
        ("patch [{\"op\": \"replace\", \"path\": \"\", \"value\": []}]", "POD-4010"),
        ("patch {}", "POD-4010"),
        ("large", "POD-4011"),
    ] {
        assert_eq!(agent.send(text).error().code, code, "{text}");
        assert_eq!(agent.memory().limit, 1, "{text}");
    }
    let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    let turn = agent.send(format!("patch [{{\"op\": \"add\", \"path\": \"/deep\", \"value\": {deep}}}]"));
    assert_eq!(turn.error().code, "POD-4011");
}

#[test]
fn a_stream_shows_its_pieces_and_ends_whole() {
    let turn = lived().send("stream a b c");
    let pieces: Vec<&str> = turn
        .updates()
        .iter()
        .filter_map(|update| if let Element::TextDelta(delta) = update { Some(delta.text.as_str()) } else { None })
        .collect();
    assert_eq!((pieces, turn.reply()), (vec!["a ", "b ", "c"], "a b c"));
}

#[test]
fn tools_and_logs_are_seen() {
    let mut agent = lived();
    let turn = agent.send("tool needle");
    assert!(matches!(turn.updates(), [Element::ToolCall(_), Element::ToolResult(_)]), "{turn:?}");
    let turn = agent.send("log careful");
    let [warning, fields] = turn.logs() else { panic!("{turn:?}") };
    assert_eq!((warning.level, warning.message.as_str(), warning.module.as_str()), (Level::Warn, "careful", "testing"));
    assert_eq!(fields.fields, Some(json!({"n": 1})));
    assert!(agent.send("say x").logs().is_empty(), "a turn has its own log");
}

#[test]
fn an_error_of_a_hook_is_logged_with_its_line() {
    let mut agent = lived();
    let here = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testing.rs")).unwrap();
    // The author's own, one of a library, and the host's refusal of a call.
    for (message, code, source) in [
        ("dance", "error", "other => bail!"),
        ("history many", "error", "cx.history(rest.parse()?)"),
        (r#"patch [{"op": "remove", "path": "/nowhere"}]"#, "POD-4010", "cx.apply(&serde_json"),
    ] {
        let turn = agent.send(message);
        let [line] = turn.logs() else { panic!("{turn:?}") };
        let number = 1 + here.lines().position(|line| line.contains(source)).unwrap();
        assert_eq!((line.level, line.module.as_str()), (Level::Error, "on_message"));
        assert_eq!(line.message, format!("{code} at {}:{number}", file!()), "{}", turn.error().message);
    }
    // What is made at the end of the hook has no line.
    let turn = agent.send("large");
    let [line] = turn.logs() else { panic!("{turn:?}") };
    assert_eq!(line.message, turn.error().code);
}

#[test]
fn time_passes_only_where_the_turn_waits() {
    let mut agent = lived();
    let turn = agent.send("wait");
    assert_eq!((turn.reply(), turn.waited()), ("waiting is over", Duration::from_secs(600)));
    assert_eq!(agent.send("say x").waited(), Duration::ZERO);
}

#[test]
fn a_word_in_between_is_seen_by_the_turn() {
    let mut agent = lived();
    let mut running = agent.start("wait");
    assert_eq!(running.updates().len(), 1);
    running.advance(Duration::from_secs(150));
    assert_eq!(running.steer("faster").unwrap_err().message, "I only stop");
    running.steer("stop").unwrap();
    assert!(running.is_waiting());
    let turn = running.finish();
    // Seen at the third minute; what the turn and its steering did is taken back with it.
    assert_eq!((turn.error().message.as_str(), turn.waited()), ("stopped", Duration::from_secs(180)));
    assert!(!agent.memory().is_stopped);
}

#[test]
fn a_turn_that_is_dropped_leaves_nothing() {
    let mut agent = lived();
    drop(agent.start("wait"));
    assert!(agent.history().is_empty());
    assert_eq!(agent.send("say x").reply(), "x");
}

#[test]
#[should_panic(expected = "it would wait for ever")]
fn a_turn_that_waits_for_nothing_ends_the_test() {
    lived().send("forever");
}

#[test]
#[should_panic(expected = "as told")]
fn a_panic_is_the_test_s() {
    lived().send("panic");
}

#[test]
fn a_configuration_is_taken_or_refused_as_a_whole() {
    let mut agent = lived();
    let turn = agent.reconfigure(json!({"greeting": "hi", "limit": 5}));
    let mut places: Vec<&str> = turn.reply().split(',').collect();
    places.sort_unstable();
    assert_eq!((places, agent.memory().limit), (vec!["/greeting", "/limit"], 5));
    let turn = agent.reconfigure(json!({"greeting": "hi", "limit": 50}));
    assert_eq!(turn.error().message, "a limit of 50 is too high");
    assert_eq!((&agent.config()["limit"], agent.memory().limit), (&json!(5), 5));
}

#[test]
fn old_state_is_brought_along() {
    let mut agent = TestAgent::<Obedient>::new().with_state(json!({"old": true}));
    assert_eq!(agent.migrate(1).result(), Ok(()));
    assert_eq!(agent.state(), &json!({"old": true, "limit": 1}));
    assert_eq!(agent.shut_down(ShutdownReason::Deleted).reply(), "goodbye");
}

#[test]
fn hooks_that_are_not_written_are_not_called() {
    let mut agent = TestAgent::<Plain>::new();
    assert!(agent.init().updates().is_empty());
    assert_eq!(agent.reconfigure(json!({"a": 1})).result(), Ok(()));
    assert_eq!(agent.send("x").reply(), "message-1:Role::User");
}

#[test]
#[should_panic(expected = "no `on_steer`")]
fn steering_an_agent_that_cannot_be_steered_ends_the_test() {
    let mut agent = TestAgent::<Plain>::new();
    let _ = agent.start("x").steer("y");
}

#[test]
fn a_log_line_without_a_host_is_printed_and_lost() {
    podium_sdk::info!("nobody keeps this");
}
