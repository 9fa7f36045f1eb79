//! An agent that is kept warm, and shows what stays in its guest: each command is for a story in tests/it/tests/it/warm.rs.
//!
//! `count` counts the messages that this guest has answered, `entropy` draws randomness, `clocks` reads both clocks, `sleep MS`
//! waits, `print TEXT` writes to stdout without an end of line, `push TEXT` remembers. `hold N`, `open N` and `grow N` leave timers, open
//! files and MiB behind, `outlive` a task; `boom` panics, `fail` returns an error. The configuration says what `on_idle` and
//! `on_shutdown` do.

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use podium_sdk::{ShutdownReason, prelude::*};
use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::filesystem::preopens;
use wasip2::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};

/// Messages that this guest has answered: the cache of an agent that caches nothing useful.
static ANSWERED: AtomicU64 = AtomicU64::new(0);
/// Memory that is never given back.
static GROWN: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

const MIB: usize = 1024 * 1024;

/// What it remembers.
#[derive(Default, DeltaState)]
struct Memory {
    /// `push TEXT`.
    items: Vec<String>,
    /// How often `on_idle` was called.
    asked: u64,
    /// Why `on_shutdown` was called last.
    shut_down: String,
}

/// What its hooks do.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    /// `on_idle` defers.
    defers: bool,
    /// What `on_shutdown` does: `error`, `trap`, `never`, or else its work.
    shutdown: String,
    /// What `on_idle` does before it answers: `never`, or else nothing.
    idle: String,
    /// `on_init` refuses the instance.
    refuses: bool,
}

struct Keeper;

#[podium_sdk::agent]
impl Agent for Keeper {
    type State = Memory;
    type Config = Settings;

    async fn on_init(cx: &mut Ctx<Self>) -> Result<()> {
        if cx.config.refuses {
            return Err(Error::new("refused", "the configuration says `refuses`"));
        }
        Ok(())
    }

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let answered = ANSWERED.fetch_add(1, Ordering::Relaxed) + 1;
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match command {
            "count" => cx.reply(answered.to_string()),
            "entropy" => cx.reply(wasip2::random::random::get_random_u64().to_string()),
            "clocks" => {
                let wall = wall_clock::now();
                let wall = wall.seconds * 1_000_000_000 + u64::from(wall.nanoseconds);
                cx.reply(json!([monotonic_clock::now(), wall]).to_string())
            }
            "sleep" => {
                cx.sleep(Duration::from_millis(rest.parse()?)).await?;
                cx.reply(answered.to_string())
            }
            "print" => {
                print!("{rest}");
                std::io::stdout().flush()?;
                cx.reply("printed")
            }
            "push" => {
                cx.state.items.push(rest.to_owned());
                cx.reply(cx.state.items.len().to_string())
            }
            // Timers that are due already, each an entry of a table of the host.
            "hold" => {
                (0..rest.parse::<u64>()?).for_each(|_| std::mem::forget(monotonic_clock::subscribe_duration(0)));
                cx.reply(answered.to_string())
            }
            "open" => {
                let (root, _) = preopens::get_directories().pop().context("there is no workspace")?;
                for _ in 0..rest.parse::<u64>()? {
                    let open = root.open_at(PathFlags::empty(), "open", OpenFlags::CREATE, DescriptorFlags::WRITE);
                    std::mem::forget(open.map_err(|error| Error::new("not_opened", error.to_string()))?);
                }
                cx.reply(answered.to_string())
            }
            "grow" => {
                let grown = std::hint::black_box(vec![1_u8; rest.parse::<usize>()? * MIB]);
                GROWN.lock().map_err(|error| Error::new("poisoned", error.to_string()))?.push(grown);
                cx.reply(answered.to_string())
            }
            // Answers, and leaves one task that never ends.
            "outlive" => {
                wit_bindgen::spawn_local(async {
                    loop {
                        wit_bindgen::yield_async().await;
                    }
                });
                cx.reply(answered.to_string())
            }
            "boom" => panic!("boom: {rest}"),
            "fail" => Err(Error::new("keeper_failed", rest)),
            other => bail!("the keeper does not know `{other}`"),
        }
    }

    async fn on_idle(cx: &mut Ctx<Self>) -> bool {
        cx.state.asked += 1;
        if cx.config.idle == "never" && cx.sleep(Duration::MAX).await.is_err() {
            return true;
        }
        !cx.config.defers
    }

    async fn on_shutdown(cx: &mut Ctx<Self>, reason: ShutdownReason) -> Result<()> {
        match cx.config.shutdown.as_str() {
            "error" => return Err(Error::new("not_now", "the configuration says `error`")),
            "trap" => panic!("the configuration says `trap`"),
            "never" => {
                cx.sleep(Duration::MAX).await?;
            }
            _ => {}
        }
        let reason = match reason {
            ShutdownReason::IdleTimeout => "idle-timeout",
            ShutdownReason::Deleted => "deleted",
            ShutdownReason::Pressure => "pressure",
        };
        cx.state.shut_down = format!("{reason} after {}", ANSWERED.load(Ordering::Relaxed));
        cx.reply(format!("goodbye: {reason}"))
    }
}
