//! A hostile agent that wants more than it may have: stack, host memory, output, log, state, randomness.
//!
//! Each command is one abuse, claimed by a story in tests/it/tests/it/hostile.rs. Must never do anything useful.

use podium_sdk::bindings::podium::agent::{log, state};
use podium_sdk::prelude::*;

mod raw;

/// The longest list that the canonical ABI can name: 4 GiB.
const FOUR_GIB: usize = usize::MAX;

struct Greedy;

#[podium_sdk::agent]
impl Agent for Greedy {
    type State = Json;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let (command, rest) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        match command {
            "echo" => cx.reply(rest),
            "recurse" => cx.reply(recurse(rest.len() as u64).to_string()),
            "recurse-frames" => cx.reply(recurse_with_frames(0).to_string()),
            "memory" => grow(),
            "say" => cx.reply("x".repeat(rest.parse()?)),
            "fail" => Err(Error::new("x".repeat(rest.parse()?), "y".repeat(rest.parse()?))),
            "list" => {
                raw::log(FOUR_GIB);
                cx.reply("the host took 4 GiB")
            }
            "return" => {
                raw::fail(FOUR_GIB);
                Ok(())
            }
            "log" => {
                let line = "x".repeat(1000);
                for _ in 0..rest.parse::<u64>()? {
                    log::write(log::Level::Info, "greedy", &line, None);
                }
                cx.reply("logged")
            }
            "print" => {
                let line = "x".repeat(1000);
                for _ in 0..rest.parse::<u64>()? {
                    print!("{line}");
                }
                cx.reply("printed")
            }
            "patch" => cx.reply(patch(rest)?),
            "patches" => loop {
                state::apply(r#"[{"op":"add","path":"/n","value":"once more"}]"#).map_err(refused)?;
            },
            "random" => {
                let len: u64 = rest.parse()?;
                cx.reply(wasip2::random::random::get_random_bytes(len).len().to_string())
            }
            "randoms" => loop {
                std::hint::black_box(wasip2::random::insecure::get_insecure_random_bytes(1024 * 1024));
            },
            other => bail!("there is no abuse `{other}`"),
        }
    }
}

/// Takes the engine's stack without end: its frames hold nothing that lies in memory.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX { 0 } else { recurse(depth + 1).rotate_left(5).wrapping_sub(depth) }
}

/// Takes the stack that the language keeps in memory: the array makes its frames large.
#[expect(unconditional_recursion, reason = "that is the abuse")]
fn recurse_with_frames(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 32]);
    recurse_with_frames(depth + 1) + std::hint::black_box(frame)[7]
}

/// Asks the engine for memory, and does not even use it.
fn grow() -> ! {
    loop {
        if raw::grow(16) == usize::MAX {
            panic!("the host said no where it should have ended this guest");
        }
    }
}

/// Applies one hostile patch and answers the host's refusal.
fn patch(kind: &str) -> Result<String> {
    let patch = match kind {
        // 24 doublings of a kilobyte would be 16 GiB.
        "double" => {
            let mut operations = vec![json!({"op": "add", "path": "/a", "value": {"x": "x".repeat(1000)}})];
            operations.extend((0..24).map(|n| json!({"op": "copy", "from": "", "path": format!("/a/{n}")})));
            Json::from(operations).to_string()
        }
        "deep" => {
            let (open, close) = (r#"{"a":"#.repeat(100), "}".repeat(100));
            format!(r#"[{{"op":"add","path":"/a","value":{open}1{close}}}]"#)
        }
        "bottomless" => format!(r#"[{{"op":"add","path":"/a","value":{}"#, "[".repeat(1_000_000)),
        "many" => {
            let operations = vec![json!({"op": "add", "path": "/a", "value": 1}); 10_001];
            Json::from(operations).to_string()
        }
        "root" => r#"[{"op":"replace","path":"","value":[]}]"#.to_owned(),
        other => bail!("there is no patch `{other}`"),
    };
    match state::apply(&patch) {
        Ok(version) => bail!("the patch was taken, version {version}"),
        Err(error) => Ok(format!("{}: {}", error.code, error.message)),
    }
}

fn refused(error: podium_sdk::bindings::podium::agent::types::Error) -> Error {
    Error::new(error.code, error.message)
}
