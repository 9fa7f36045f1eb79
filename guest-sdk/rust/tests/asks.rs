//! An agent that asks, in a unit test: the test is the person, and may do nothing that a host would refuse.

use std::time::Duration;

use podium_sdk::prelude::*;
use podium_sdk::testing::TestAgent;
use podium_sdk::{Answer, Decision, Permission, Question};

#[derive(Default, DeltaState)]
struct Asked {
    times: u64,
}

struct Asker;

#[podium_sdk::agent]
impl Agent for Asker {
    type State = Asked;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        cx.state.times += 1;
        let colour = || Question::new("colour", "Which?").option("red", "warm").option("blue", "cold");
        match message.text.as_str() {
            "closed" => {
                let answer = cx.ask(colour()).await?;
                cx.reply(format!("{answer:?}"))
            }
            "open" => match cx.ask(colour().or_other()).await? {
                Answer::Option(label) => cx.reply(format!("option {label}")),
                Answer::Text(text) => cx.reply(format!("text {text}")),
            },
            "secret" => {
                let answer = cx.ask(Question::new("", "Key?").secret()).await?;
                cx.reply(answer.as_str().len().to_string())
            }
            "permit" => {
                let decision = cx.permit(Permission::tool("grep").details(&json!({"pattern": "x"}))).await?;
                cx.reply(decision.is_accepted().to_string())
            }
            "both" => {
                let (first, second) = (Box::pin(colour().send()), Box::pin(Question::new("why", "Why?").send()));
                let (first, second) = (cx.wait(first).await??, cx.wait(second).await??);
                cx.reply(format!("{} {}", first.as_str(), second.as_str()))
            }
            "takeback" => {
                drop(colour().send());
                cx.sleep(Duration::from_secs(1)).await?;
                cx.reply("never mind")
            }
            "twins" => {
                let error = cx.ask(colour().option("red", "again")).await.expect_err("two of one label");
                cx.reply(error.code)
            }
            "many" => {
                let mut all: Vec<_> = (0..17).map(|_| Box::pin(colour().send())).collect();
                let last = all.pop().context("one")?;
                let error = cx.wait(last).await?.expect_err("one too many");
                cx.reply(error.code)
            }
            other => bail!("unknown: {other}"),
        }
    }
}

#[test]
fn a_turn_waits_for_its_answer_with_the_state_written() {
    let mut agent = TestAgent::<Asker>::new();
    let mut running = agent.start("open");
    assert!(running.is_waiting());
    let asks = running.asks();
    assert_eq!((asks.len(), asks[0].text(), asks[0].options()), (1, "Which?", vec!["red", "blue"]));
    // However long it takes.
    running.advance(Duration::from_secs(86_400));
    running.answer("green");
    assert!(running.asks().is_empty());
    let turn = running.finish();
    assert_eq!(turn.reply(), "text green");
    assert_eq!(agent.memory().times, 1);
}

#[test]
fn a_label_is_an_option_and_a_secret_says_so() {
    let mut agent = TestAgent::<Asker>::new();
    let mut running = agent.start("open");
    running.answer("blue");
    assert_eq!(running.finish().reply(), "option blue");
    let mut running = agent.start("secret");
    assert!(running.asks()[0].is_secret());
    running.answer("1234");
    assert_eq!(running.finish().reply(), "4");
}

#[test]
fn a_permission_is_decided() {
    for (decision, said) in [(Decision::AcceptForSession, "true"), (Decision::Cancel, "false")] {
        let mut agent = TestAgent::<Asker>::new();
        let mut running = agent.start("permit");
        assert_eq!(running.asks()[0].text(), "grep");
        running.decide(decision);
        assert_eq!(running.finish().reply(), said);
    }
}

#[test]
fn several_are_answered_in_the_order_in_which_they_were_asked() {
    let mut agent = TestAgent::<Asker>::new();
    let mut running = agent.start("both");
    let texts: Vec<String> = running.asks().iter().map(|asked| asked.text().to_owned()).collect();
    assert_eq!(texts, ["Which?", "Why?"]);
    running.answer("red");
    running.answer("because");
    assert_eq!(running.finish().reply(), "red because");
}

#[test]
fn what_is_taken_back_or_refused_is_not_asked() {
    let mut agent = TestAgent::<Asker>::new();
    let running = agent.start("takeback");
    assert!(running.asks().is_empty() && running.is_waiting());
    assert_eq!(running.finish().reply(), "never mind");
    assert_eq!(agent.send("twins").reply(), "POD-4021");
    assert_eq!(agent.send("many").reply(), "POD-4019");
    assert!(agent.start("open").asks().len() == 1, "nothing is left of the turns before");
}

#[test]
#[should_panic(expected = "see `Running::answer`")]
fn a_turn_that_waits_for_an_answer_does_not_end_by_itself() {
    TestAgent::<Asker>::new().send("closed");
}

#[test]
#[should_panic(expected = "`green` is no option of `Which?`")]
fn an_answer_that_a_host_would_refuse_ends_the_test() {
    TestAgent::<Asker>::new().start("closed").answer("green");
}

#[test]
#[should_panic(expected = "nothing is asked")]
fn an_answer_to_nothing_ends_the_test() {
    TestAgent::<Asker>::new().start("twins").answer("green");
}

#[test]
#[should_panic(expected = "takes another kind of answer")]
fn a_decision_on_a_question_ends_the_test() {
    TestAgent::<Asker>::new().start("closed").decide(Decision::Accept);
}
