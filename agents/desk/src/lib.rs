//! An agent that people work with while it answers: `ask` asks them whether it may go on, `wait MS` waits so that they
//! can say more. It remembers each answer and each word by the id of its message.

use std::collections::BTreeMap;
use std::time::Duration;

use podium_sdk::{Question, prelude::*};

/// What it remembers.
#[derive(Default, DeltaState)]
struct Desk {
    /// Messages that were answered, and what people said to the question of each.
    answered: BTreeMap<String, String>,
    /// Words into a running turn, and how often each was heard.
    heard: BTreeMap<String, u64>,
}

struct Clerk;

#[podium_sdk::agent]
impl Agent for Clerk {
    type State = Desk;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        let answer = match command {
            "ask" => {
                let question = Question::new("go-on", "Go on?").option("yes", "Go on.").option("no", "Stop here.");
                cx.ask(question).await?.as_str().to_owned()
            }
            "wait" => {
                cx.sleep(Duration::from_millis(rest.parse()?)).await?;
                "waited".to_owned()
            }
            other => bail!("`{other}` is neither `ask` nor `wait MS`"),
        };
        cx.state.answered.insert(message.id, answer.clone());
        cx.reply(answer)
    }

    async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        *cx.state.heard.entry(message.id).or_default() += 1;
        Ok(())
    }
}
