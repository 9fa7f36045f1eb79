//! The smallest agent: it answers with what it was told.

use podium_sdk::prelude::*;

struct Hello;

#[podium_sdk::agent]
impl Agent for Hello {
    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        cx.reply(format!("Hello! You said: {}", message.text))
    }
}
