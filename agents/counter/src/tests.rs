//! The counter without a host: what it answers, what it writes, what an error leaves.

use podium_sdk::json;
use podium_sdk::testing::TestAgent;

use super::*;

#[test]
fn it_counts() {
    let mut agent = TestAgent::<Counter>::new();
    assert_eq!(agent.send("add").reply(), "1");
    assert_eq!(agent.send(" add ").reply(), "2");
    assert_eq!(agent.state(), &json!({"count": 2}));
}

#[test]
fn asking_writes_nothing() {
    let mut agent = TestAgent::<Counter>::new().with_state(json!({"count": 41}));
    let turn = agent.send("get");
    assert_eq!(turn.reply(), "41");
    assert!(turn.patches().is_empty());
}

#[test]
fn adding_writes_one_place() {
    let mut agent = TestAgent::<Counter>::new().with_state(json!({"count": 41, "colour": "red"}));
    let turn = agent.send("add");
    assert_eq!(turn.patches(), [json!([{"op": "replace", "path": "/count", "value": 42}])]);
    assert_eq!(agent.state()["colour"], "red");
}

#[test]
fn another_word_is_an_error_and_changes_nothing() {
    let mut agent = TestAgent::<Counter>::new().with_state(json!({"count": 7}));
    let turn = agent.send("multiply");
    assert_eq!(turn.error().message, "`multiply` is neither `add` nor `get`");
    assert!(turn.replies().is_empty());
    assert_eq!(agent.memory().count, 7);
}
