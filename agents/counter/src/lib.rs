//! An agent that remembers: `add` adds one and answers the number, `get` answers it.

use podium_sdk::prelude::*;

/// What it remembers; the host keeps `{"count": N}`.
#[derive(Default, DeltaState)]
struct Count {
    count: u64,
}

struct Counter;

#[podium_sdk::agent]
impl Agent for Counter {
    type State = Count;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        match message.text.trim() {
            "add" => cx.state.count += 1,
            "get" => {}
            other => bail!("`{other}` is neither `add` nor `get`"),
        }
        cx.reply(cx.state.count.to_string())
    }
}

#[cfg(test)]
mod tests;
