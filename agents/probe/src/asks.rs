//! Asking people, as an agent does it and as one should not.
//!
//! `ask NAME` asks where to, with two options or a text, and answers with what was said. `choose NAME` takes an option only.
//! `secret NAME` answers with the length of what was said. `permit TITLE` answers with the decision. `takeback NAME` asks and
//! does not want to know. `asks N` asks N questions at once and answers with the last one's answer. `longask N` asks with N
//! bytes of text. `flood-then-ask N` shows N pieces of a kilobyte first.

use std::future::{Future, poll_fn};
use std::task::Poll;

use podium_sdk::{Answer, Permission, Question, prelude::*};

use crate::Probe;

/// Does one of the commands above.
pub(crate) async fn run(cx: &mut Ctx<Probe>, command: &str, rest: &str) -> Result<()> {
    match command {
        "ask" => {
            let said = match cx.ask(where_to(rest).or_other()).await? {
                Answer::Option(label) => format!("option {label}"),
                Answer::Text(text) => format!("text {text}"),
            };
            cx.reply(said)
        }
        "choose" => {
            let answer = cx.ask(where_to(rest)).await?;
            cx.reply(format!("option {}", answer.as_str()))
        }
        "secret" => {
            let answer = cx.ask(Question::new(rest, "Which key?").secret()).await?;
            cx.reply(format!("{} bytes", answer.as_str().len()))
        }
        "permit" => {
            let asked = Permission::command(rest).details(&json!({ "cwd": "/workspace" }));
            let decision = cx.permit(asked).await?;
            cx.reply(format!("{decision:?} {}", decision.is_accepted()))
        }
        "takeback" => {
            // One that was never waited for, and one that was.
            drop(where_to(rest).send());
            let mut asked = Box::pin(where_to(rest).send());
            let seen = poll_fn(|waker| Poll::Ready(asked.as_mut().poll(waker).is_ready())).await;
            drop(asked);
            cx.sleep(std::time::Duration::from_millis(1)).await?;
            cx.reply(format!("never mind {seen}"))
        }
        "asks" => {
            let count: usize = rest.parse()?;
            let mut asked: Vec<_> = (0..count).map(|_| Box::pin(where_to("").send())).collect();
            let last = asked.pop().context("at least one")?;
            match cx.wait(last).await? {
                Ok(answer) => cx.reply(answer.as_str()),
                Err(error) => cx.reply(error.code),
            }
        }
        "longask" => match cx.ask(Question::new("long", "x".repeat(rest.parse()?))).await {
            Ok(answer) => cx.reply(answer.as_str()),
            Err(error) => cx.reply(error.code),
        },
        "flood-then-ask" => {
            let mut text = cx.stream();
            for _ in 0..rest.parse::<u64>()? {
                text.write("x".repeat(1024))?;
            }
            let answer = cx.ask(where_to("late")).await?;
            text.write(answer.as_str())?;
            text.finish()
        }
        other => bail!("the probe does not ask `{other}`"),
    }
}

fn where_to(name: &str) -> Question {
    let question = Question::new(name, "Where to?").header("Deploy");
    question.option("staging", "Nobody notices.").option("production", "Everybody does.")
}
