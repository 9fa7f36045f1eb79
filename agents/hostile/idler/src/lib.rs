//! A hostile agent that waits in every wrong way: too long, for too much, and after it has answered.
//!
//! Each command is one abuse, claimed by a story in tests/it/tests/it/hostile.rs. Must never do anything useful.

mod streams;

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use podium_sdk::bindings::podium::agent::messages;
use podium_sdk::prelude::*;
use wasip2::clocks::{monotonic_clock, wall_clock};

const HOUR_NS: u64 = 3_600_000_000_000;

struct Idler;

#[podium_sdk::agent]
impl Agent for Idler {
    type State = Json;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match command {
            "echo" => cx.reply(rest),
            "for-ever" => {
                cx.sleep(Duration::MAX).await?;
                cx.reply("for ever is over")
            }
            "block-for-ever" => {
                monotonic_clock::subscribe_duration(u64::MAX).block();
                cx.reply("for ever is over")
            }
            // Timers that are due already, each an entry of a table of the host.
            "pollables" => {
                let mut held = Vec::new();
                loop {
                    held.push(monotonic_clock::subscribe_duration(0));
                }
            }
            // Timers that are not due, each a call in flight.
            "timers" => {
                let mut held = Vec::new();
                loop {
                    held.push(monotonic_clock::subscribe_duration(HOUR_NS));
                }
            }
            "poll" => {
                let timer = monotonic_clock::subscribe_duration(10_000_000);
                let many = vec![&timer; rest.parse()?];
                cx.reply(wasip2::io::poll::poll(&many).len().to_string())
            }
            "poll-nothing" => cx.reply(wasip2::io::poll::poll(&[]).len().to_string()),
            // Waits for what nobody will ever do.
            "for-nothing" => std::future::pending().await,
            "yield" => loop {
                wit_bindgen::yield_async().await;
            },
            // Answers, and leaves one task that waits for ever.
            "outlive" => {
                wit_bindgen::spawn_local(async {
                    // Held, never read.
                    let _held = messages::history(None, 1);
                    std::future::pending::<()>().await;
                });
                cx.reply("outlived")
            }
            // Answers, and leaves one that computes for ever.
            "outlive-spinning" => {
                wit_bindgen::spawn_local(async {
                    let mut n = 0_u64;
                    loop {
                        wit_bindgen::yield_async().await;
                        n = std::hint::black_box(n.wrapping_add(1));
                    }
                });
                cx.reply("outlived")
            }
            // Asks and does not listen.
            "drop" => {
                for _ in 0..rest.parse::<u64>()? {
                    drop(messages::history(None, 1));
                }
                cx.reply("dropped")
            }
            // Asks and keeps every answer unread.
            "hoard" => {
                let held: Vec<_> = (0..rest.parse::<u64>()?).map(|_| messages::history(None, 1)).collect();
                cx.reply(held.len().to_string())
            }
            // Streams of the host's and of its own, each way, dropped before anything is read of them, or kept.
            "drop-streams" => {
                streams::drop_unread(rest.parse()?);
                cx.reply("dropped")
            }
            "hoard-streams" => match streams::hoard_own() {},
            "hoard-inputs" => match streams::hoard_inputs() {},
            "hoard-outputs" => match streams::hoard_outputs() {},
            "say" => cx.reply("x".repeat(rest.parse()?)),
            // Asks for one page of the history again and again, and reads none before the last one has come.
            "hoard-history" => {
                let (held, last) = hoard_history(rest.parse()?).await;
                let mut codes: BTreeMap<String, u32> = BTreeMap::new();
                for answer in held {
                    *codes.entry(code(answer.await)).or_default() += 1;
                }
                *codes.entry(last).or_default() += 1;
                cx.reply(json!(codes).to_string())
            }
            // The same, and leaves them behind for its next turn.
            "leave-history" => {
                let (held, _) = hoard_history(rest.parse()?).await;
                std::mem::forget(held);
                cx.reply("left")
            }
            "in-flight" => {
                let codes = all_at_once(rest.parse()?).await;
                cx.reply(json!(codes).to_string())
            }
            "clocks" => cx.reply(clocks(rest.parse()?).to_string()),
            other => bail!("there is no abuse `{other}`"),
        }
    }
}

/// What a request for a page brings.
type Paged = std::result::Result<messages::Page, messages::Error>;

/// It in a word.
fn code(answer: Paged) -> String {
    match answer {
        Ok(_) => "answered".to_owned(),
        Err(error) => error.code,
    }
}

/// Sends that many requests and waits for the last one; the others, unread, and what came of it.
async fn hoard_history(count: usize) -> (Vec<impl IntoFuture<Output = Paged>>, String) {
    let mut held: Vec<_> = (0..count).map(|_| messages::history(None, 1)).collect();
    let last = match held.pop() {
        Some(last) => code(last.await),
        None => String::new(),
    };
    (held, last)
}

/// Sends that many requests before it reads one answer; what came, by code.
async fn all_at_once(count: usize) -> BTreeMap<String, u32> {
    type Asked = Pin<Box<dyn Future<Output = String>>>;
    let ask = |_| -> Asked {
        let answer = messages::history(None, 1);
        Box::pin(async move { code(answer.await) })
    };
    let mut asked: Vec<Option<Asked>> = (0..count).map(|n| Some(ask(n))).collect();
    let mut codes = BTreeMap::new();
    poll_fn(|cx| {
        for place in &mut asked {
            let Some(future) = place else { continue };
            if let Poll::Ready(code) = future.as_mut().poll(cx) {
                *codes.entry(code).or_default() += 1;
                *place = None;
            }
        }
        if asked.iter().all(Option::is_none) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    codes
}

/// Reads each clock before and after much work: what they say of the time that it took, in nanoseconds.
fn clocks(work: u64) -> Json {
    let wall = || {
        let now = wall_clock::now();
        now.seconds * 1_000_000_000 + u64::from(now.nanoseconds)
    };
    let system = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX))
    };
    let read = || [monotonic_clock::now(), wall(), system()];
    let before = read();
    let mut n = 0_u64;
    for _ in 0..work {
        n = std::hint::black_box(n.wrapping_add(1));
    }
    let file_ns = file_times();
    let passed: Vec<u64> = read().iter().zip(before).map(|(after, before)| after - before).collect();
    json!({ "passed_ns": passed, "monotonic_ns": before[0], "wall_ns": before[1], "file_ns": file_ns })
}

/// Writes a file, touches another one, and reads every time that either has now, in nanoseconds.
fn file_times() -> Vec<u64> {
    use wasip2::filesystem::types::{DescriptorFlags, NewTimestamp, OpenFlags, PathFlags};

    let Some((folder, _)) = wasip2::filesystem::preopens::get_directories().into_iter().next() else {
        return Vec::new();
    };
    let mut times = Vec::new();
    for name in ["written", "touched"] {
        let writes = DescriptorFlags::READ | DescriptorFlags::WRITE;
        let Ok(file) = folder.open_at(PathFlags::empty(), name, OpenFlags::CREATE, writes) else { continue };
        if file.write(b"now", 0).is_err() {
            continue;
        }
        if name == "touched"
            && (file.set_times(NewTimestamp::Now, NewTimestamp::Now).is_err()
                || folder.set_times_at(PathFlags::empty(), name, NewTimestamp::Now, NewTimestamp::Now).is_err())
        {
            continue;
        }
        for stat in [file.stat(), folder.stat_at(PathFlags::empty(), name)].into_iter().flatten() {
            let own = [stat.data_access_timestamp, stat.data_modification_timestamp, stat.status_change_timestamp];
            times.extend(own.into_iter().flatten().map(|at| at.seconds * 1_000_000_000 + u64::from(at.nanoseconds)));
        }
    }
    times
}
