//! Two hooks on one state: what `on_message` and `on_steer` do at the same time is kept, whoever writes first.

use std::collections::BTreeMap;
use std::time::Duration;

use podium_sdk::prelude::*;
use podium_sdk::testing::TestAgent;
use proptest::prelude::*;

#[derive(Default, DeltaState)]
struct Desk {
    message: BTreeMap<String, i64>,
    steer: BTreeMap<String, i64>,
    both: Vec<String>,
    last: String,
}

/// What a hook does before and after its wait.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Work {
    before: Vec<(String, i64)>,
    wait_ms: u64,
    /// The wait is not through `cx`, so that nothing is written before it.
    holds: bool,
    after: Vec<(String, i64)>,
}

struct Worker;

impl Work {
    async fn run(self, cx: &mut Ctx<Worker>, place: fn(&mut Desk) -> &mut BTreeMap<String, i64>) -> Result<()> {
        let wait = Duration::from_millis(self.wait_ms);
        place(&mut cx.state).extend(self.before);
        if self.holds {
            podium_sdk::sleep(wait).await;
        } else {
            cx.sleep(wait).await?;
        }
        place(&mut cx.state).extend(self.after);
        Ok(())
    }
}

#[podium_sdk::agent]
impl Agent for Worker {
    type State = Desk;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        serde_json::from_str::<Work>(&message.text)?.run(cx, |desk| &mut desk.message).await
    }

    async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        serde_json::from_str::<Work>(&message.text)?.run(cx, |desk| &mut desk.steer).await
    }
}

fn work() -> impl Strategy<Value = Work> {
    let edits = || prop::collection::vec(("[a-d~/]{1,2}", any::<i64>()), 0..5);
    (edits(), 0..50_u64, any::<bool>(), edits()).prop_map(|(before, wait_ms, holds, after)| Work {
        before,
        wait_ms,
        holds,
        after,
    })
}

proptest! {
    #[test]
    fn neither_hook_undoes_what_the_other_did(message in work(), steers in prop::collection::vec(work(), 1..4)) {
        let text = |work: &Work| serde_json::to_string(work).expect("is JSON");
        let done = |works: &[Work]| -> BTreeMap<String, i64> {
            works.iter().flat_map(|work| work.before.iter().chain(&work.after).cloned()).collect()
        };
        let mut agent = TestAgent::<Worker>::new();
        let mut running = agent.start(text(&message));
        let mut said = Vec::new();
        for steer in steers {
            if running.is_waiting() {
                running.steer(text(&steer)).expect("is taken in");
                said.push(steer);
            }
        }
        running.finish().result().expect("goes well");
        let desk = agent.memory();
        prop_assert_eq!(desk.message, done(&[message]));
        prop_assert_eq!(desk.steer, done(&said));
    }
}

/// Holds changes of places that `on_steer` changes, too.
struct Rival;

#[podium_sdk::agent]
impl Agent for Rival {
    type State = Desk;

    async fn on_message(cx: &mut Ctx<Self>, _: Message) -> Result<()> {
        cx.state.both.push("message".to_owned());
        cx.state.last = "message".to_owned();
        podium_sdk::sleep(Duration::from_secs(1)).await;
        cx.commit()?;
        // Read again: what the other did is here now.
        cx.reply(cx.state.both.join(", "))
    }

    async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        cx.state.both.push(message.text);
        cx.state.last = "steer".to_owned();
        Ok(())
    }
}

#[test]
fn a_place_that_both_changed_has_what_was_written_last_and_lists_keep_both() {
    let mut agent = TestAgent::<Rival>::new();
    let mut running = agent.start("x");
    running.steer("first").expect("is taken in");
    running.steer("second").expect("is taken in");
    let turn = running.finish();
    assert_eq!(turn.reply(), "first, second, message");
    assert_eq!(agent.memory().last, "message");
}

/// Hears of words in its loop, and goes on with what it waited for.
struct Listener;

#[podium_sdk::agent]
impl Agent for Listener {
    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        if message.text == "take" {
            let word = cx.take_steer();
            return cx.reply(word.map_or_else(|| "nothing".to_owned(), |word| word.text));
        }
        let mut minute = std::pin::pin!(podium_sdk::sleep(Duration::from_secs(60)));
        loop {
            match cx.unless_steered(minute.as_mut()).await? {
                Waited::Done(()) => return cx.reply("over"),
                Waited::Steered(word) if word.text == "wait" => {
                    let next = cx.steered().await?;
                    cx.reply(format!("waited for {}", next.text))?;
                }
                Waited::Steered(word) => cx.reply(word.text)?,
            }
        }
    }

    async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        cx.hand_on(message);
        Ok(())
    }
}

#[test]
fn words_are_heard_in_order_and_the_wait_goes_on() {
    let mut agent = TestAgent::<Listener>::new();
    let mut running = agent.start("x");
    for word in ["a", "b", "wait"] {
        running.steer(word).expect("is taken in");
    }
    running.advance(Duration::from_secs(10));
    running.steer("c").expect("is taken in");
    let turn = running.finish();
    assert_eq!(turn.replies(), ["a", "b", "waited for c", "over"]);
    assert_eq!(turn.waited(), Duration::from_secs(60));
}

#[test]
fn no_word_of_a_turn_is_left_for_the_next() {
    let mut agent = TestAgent::<Listener>::new();
    let mut running = agent.start("x");
    running.steer("wait").expect("is taken in");
    drop(running);
    assert_eq!(agent.send("take").reply(), "nothing");
}
