//! An agent whose turns are hard to run again: it races questions with timers, takes words in meanwhile, and says what clock,
//! randomness and files showed it.
//!
//! `juggle ROUNDS` races two questions and a timer in each round, asks a third question that depends on the winner, and
//! writes everything down. `effects COUNT` waits for so many timers one after the other, then asks whether it may end.
//! `file TEXT` writes a file, asks, and answers with what the file holds then. `remind MS` waits and answers with the time that it
//! saw pass. `both` asks two questions at once and waits for both. `yields COUNT` asks, and spins through so many polls meanwhile.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use podium_sdk::{Question, prelude::*};

const FILE: &str = "/workspace/notes.txt";

/// What it remembers.
#[derive(Default, DeltaState)]
struct Memory {
    /// What happened, in order.
    seen: Vec<String>,
    /// Turns that it ended.
    turns: u64,
}

struct Juggler;

type Racer = Pin<Box<dyn Future<Output = Result<String>>>>;

#[podium_sdk::agent]
impl Agent for Juggler {
    type State = Memory;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match command {
            "juggle" => {
                for round in 0..rest.parse::<u64>()? {
                    juggle(cx, round).await?;
                }
            }
            "effects" => {
                for _ in 0..rest.parse::<u64>()? {
                    cx.sleep(Duration::from_micros(10)).await?;
                }
                let answer = cx.ask(question("end")).await?;
                cx.reply(answer.as_str())?;
            }
            "file" => {
                std::fs::write(FILE, rest)?;
                let answer = cx.ask(question("file")).await?;
                let held = std::fs::read_to_string(FILE)?;
                cx.reply(format!("{} {held}", answer.as_str()))?;
            }
            "remind" => {
                let began = now()?;
                cx.sleep(Duration::from_millis(rest.parse()?)).await?;
                cx.reply(format!("reminded after {}", now()?.saturating_sub(began) / 1_000_000))?;
            }
            "both" => {
                let (first, second) = (question("first").send(), question("second").send());
                let first = cx.wait(first).await??.as_str().to_owned();
                let second = cx.wait(second).await??.as_str().to_owned();
                cx.reply(format!("{first} {second}"))?;
            }
            "yields" => {
                let answer: Racer = Box::pin(answered("yields"));
                let (_, answer) = race(vec![answer, Box::pin(yielding(rest.parse()?))]).await;
                cx.reply(answer?)?;
            }
            other => bail!("the juggler does not know `{other}`"),
        }
        cx.state.turns += 1;
        Ok(())
    }

    async fn on_steer(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        cx.state.seen.push(format!("heard {}", message.text));
        cx.reply(format!("heard {} at {}", message.text, now()?))
    }
}

async fn juggle(cx: &mut Ctx<Juggler>, round: u64) -> Result<()> {
    let mut text = cx.stream();
    text.write(format!("round {round} "))?;
    let pause = Duration::from_micros(200 + random() % 3_000);
    let racers: Vec<Racer> = vec![
        Box::pin(answered(&format!("a{round}"))),
        Box::pin(answered(&format!("b{round}"))),
        Box::pin(async move {
            sleep(pause).await;
            Ok("time".to_owned())
        }),
    ];
    let (winner, said) = cx.wait(race(racers)).await?;
    text.write(format!("won by {winner}: {} at {} with {}", said?, now()?, random()))?;
    text.finish()?;
    if winner < 2 {
        let answer = cx.ask(question(&format!("c{round}-{winner}"))).await?;
        cx.state.seen.push(format!("{winner} {}", answer.as_str()));
    }
    let page = cx.history(3).await?;
    std::fs::write(FILE, format!("round {round}, {} messages", page.len()))?;
    let length = std::fs::metadata(FILE)?.len();
    cx.state.seen.push(format!("{} {length}", std::fs::read_to_string(FILE)?));
    Ok(())
}

fn question(name: &str) -> Question {
    Question::new(name, "Which one?").option("left", "Not right.").option("right", "Not left.")
}

fn answered(name: &str) -> impl Future<Output = Result<String>> + use<> {
    let answer = question(name).send();
    async move { Ok(answer.await?.as_str().to_owned()) }
}

async fn sleep(duration: Duration) {
    podium_sdk::sleep(duration).await;
}

/// The first of them, by its place; the others are dropped.
async fn race(mut racers: Vec<Racer>) -> (usize, Result<String>) {
    poll_fn(|waker| {
        for (place, racer) in racers.iter_mut().enumerate() {
            if let Poll::Ready(said) = racer.as_mut().poll(waker) {
                return Poll::Ready((place, said));
            }
        }
        Poll::Pending
    })
    .await
}

/// Is ready after so many polls, each of which asks for the next.
async fn yielding(mut polls: u64) -> Result<String> {
    poll_fn(|waker| {
        polls = polls.saturating_sub(1);
        if polls == 0 {
            return Poll::Ready(());
        }
        waker.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    Ok("nobody".to_owned())
}

/// Nanoseconds since the Unix epoch, as the turn's clock has it.
fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?)
}

fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0_u8)
}
