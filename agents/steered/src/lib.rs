//! The agent that is steered: each command waits in another way, and each word into the turn does one thing that a host
//! must bear.
//!
//! Commands: `wait MS` waits, `until N` waits for so many words that it remembers and answers them, `listen` answers each word
//! until `done`, `one` waits for nothing but one word, `hold N` is `until` with state that is not written yet, `spin` computes
//! for ever, `echo TEXT`.
//!
//! Words: `boom` panics, `fail` is an error, `never` never returns, `sleep MS` takes its time, `compute` computes for ever,
//! `calls` calls the host for ever, `hand TEXT` hands the text on, `nothing` does nothing, `quietly TEXT` only remembers;
//! anything else is remembered and answered.

use std::cell::RefCell;
use std::time::Duration;

use podium_sdk::prelude::*;

/// What it remembers.
#[derive(Default, DeltaState)]
struct Memory {
    /// Messages that were answered.
    answered: u64,
    /// Words that it heard.
    words: Vec<String>,
}

thread_local! {
    /// What this guest heard: gone with it, so that an answer shows which guest it was.
    static HEARD: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(10);

struct Steered;

#[podium_sdk::agent]
impl Agent for Steered {
    type State = Memory;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        cx.state.answered += 1;
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match command {
            "wait" => {
                cx.sleep(Duration::from_millis(rest.parse()?)).await?;
                cx.reply(format!("waited {rest}"))
            }
            "until" => {
                let count = rest.parse()?;
                while heard().len() < count {
                    cx.sleep(PAUSE).await?;
                }
                cx.reply(format!("heard: {}", heard().join(", ")))
            }
            "listen" => {
                cx.reply("I listen")?;
                loop {
                    let minute = podium_sdk::sleep(Duration::from_secs(60));
                    match cx.unless_steered(minute).await? {
                        Waited::Steered(word) if word.text == "hand done" => return cx.reply("done"),
                        Waited::Steered(word) => cx.reply(format!("I hear {}", word.text))?,
                        Waited::Done(()) => bail!("nobody said anything"),
                    }
                }
            }
            "one" => {
                let word = cx.steered().await?;
                cx.reply(format!("one: {}", word.text))
            }
            // Not through `cx`, so that the count is not written before the wait.
            "hold" => {
                let count = rest.parse()?;
                while heard().len() < count {
                    podium_sdk::sleep(PAUSE).await;
                }
                cx.reply(format!("held: {}", heard().join(", ")))
            }
            "spin" => spin(),
            "echo" => cx.reply(rest),
            other => bail!("there is no command `{other}`"),
        }
    }

    async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (word, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match word {
            "boom" => panic!("boom: {rest}"),
            "fail" => Err(Error::new("not_now", format!("asked to fail: {rest}"))),
            "never" => {
                std::future::pending::<()>().await;
                Ok(())
            }
            "sleep" => {
                cx.sleep(Duration::from_millis(rest.parse()?)).await?;
                cx.state.words.push(message.text);
                Ok(())
            }
            "compute" => spin(),
            "calls" => loop {
                cx.history(1).await?;
                cx.apply(&json!([{ "op": "add", "path": "/again", "value": message.id }]))?;
                podium_sdk::info!("again");
                cx.code(None, "again")?;
            },
            "hand" => {
                cx.hand_on(message);
                Ok(())
            }
            "nothing" => Ok(()),
            "quietly" => remember(cx, &message),
            _ => {
                remember(cx, &message)?;
                cx.reply(format!("noted: {}", message.text))
            }
        }
    }
}

fn heard() -> Vec<String> {
    HEARD.with_borrow(Vec::clone)
}

fn remember(cx: &mut Ctx<Steered>, message: &Message) -> Result<()> {
    HEARD.with_borrow_mut(|heard| heard.push(message.text.clone()));
    cx.state.words.push(message.text.clone());
    Ok(())
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}
