//! The benchmark's agent: `PIECES [WAIT_MS]` waits, streams that many pieces and adds one to its counter; `spin` loops for
//! ever, so that its neighbours can be timed.

use std::time::Duration;

use podium_sdk::prelude::*;

/// The same piece as the peers'.
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
        if message.text == "spin" {
            loop {
                std::hint::black_box(());
            }
        }
        let (pieces, wait_ms) = message.text.split_once(' ').unwrap_or((&message.text, ""));
        if !wait_ms.is_empty() {
            cx.sleep(Duration::from_millis(wait_ms.parse()?)).await?;
        }
        let mut text = cx.stream();
        for _ in 0..pieces.parse::<u32>()? {
            text.write(PIECE)?;
        }
        text.finish()?;
        cx.state.count += 1;
        Ok(())
    }
}
