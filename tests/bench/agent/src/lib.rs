//! The benchmark's agent: told a number, it streams that many pieces and adds one to its counter.

use podium_sdk::prelude::*;

/// The same piece as the peer's.
const PIECE: &str = "0123456789 ";

#[derive(Default, DeltaState)]
struct Count {
    count: u64,
}

struct Streamer;

#[podium_sdk::agent]
impl Agent for Streamer {
    type State = Count;

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        let mut text = cx.stream();
        for _ in 0..message.text.trim().parse::<u32>()? {
            text.write(PIECE)?;
        }
        text.finish()?;
        cx.state.count += 1;
        Ok(())
    }
}
