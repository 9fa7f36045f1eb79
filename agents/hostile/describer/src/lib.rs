//! A hostile agent that does in `describe` what only a turn may do.
//!
//! `describe` is told nothing, so a story writes what it is to do into the component's bytes, in place of [`ORDER`]'s words.
//! Claimed by the stories `describe_*` of tests/it/tests/it/hostile.rs. Must never do anything when it was told nothing.

use podium_sdk::bindings::podium::agent::types::Error as HostError;
use podium_sdk::bindings::podium::agent::{config, state};
use podium_sdk::prelude::*;

/// What `describe` does; the story's own order is as long.
static ORDER: [u8; 16] = *b"describe nothing";

struct Describer;

/// Does what it was told, and says how it went.
fn obey(order: &[u8]) -> String {
    let answered = |answer: Result<Option<String>, HostError>| format!("{answer:?}");
    let done =
        |answer: std::io::Result<()>| answer.map_or_else(|error| format!("refused: {error}"), |()| "done".to_owned());
    match order {
        b"describe state  " => answered(state::get("")),
        b"describe patch  " => format!("{:?}", state::apply("[]")),
        b"describe config " => answered(config::get("")),
        b"describe say    " => {
            let said = podium_sdk::updates::TextFinal { item: "text-1".to_owned(), text: "described".to_owned() };
            let element = podium_sdk::updates::Element::TextFinal(said);
            format!("{:?}", podium_sdk::bindings::podium::agent::updates::emit(&element))
        }
        b"describe read   " => done(std::fs::read_dir("/workspace").map(drop)),
        b"describe write  " => done(std::fs::write("/workspace/described", "by describe")),
        b"describe spin   " => loop {
            std::hint::black_box(order);
        },
        _ => "nothing".to_owned(),
    }
}

#[podium_sdk::agent]
impl Agent for Describer {
    fn config_default() -> Option<Json> {
        // Not a constant to the compiler: the story changes it behind its back.
        let order: [u8; 16] = std::hint::black_box(ORDER);
        Some(json!({"said": obey(&order)}))
    }

    async fn on_message(cx: &mut Ctx<Self>, message: Message) -> Result<()> {
        cx.reply(message.text)
    }
}
