//! A hostile agent whose start code never ends: the host makes the guest and never gets it.
//!
//! Claimed by `a_start_function_that_loops` in tests/it. Must never answer.

use podium_sdk::prelude::*;

struct Start;

/// Run by the component's start code, before any export can be called; a native test shall start.
#[cfg(target_arch = "wasm32")]
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_EVERYTHING: extern "C" fn() = {
    extern "C" fn spin() {
        let mut n = 0_u64;
        loop {
            n = std::hint::black_box(n.wrapping_add(1));
        }
    }
    spin
};

#[podium_sdk::agent]
impl Agent for Start {
    async fn on_message(cx: &mut Ctx<Self>, _: Message) -> Result<()> {
        cx.reply("never")
    }
}
