//! The Rust side of `wit/podium`, generated.
//!
//! Nothing else is in here. Every import may trap (a closed turn, a limit); one that answers a future needs
//! the store to make it in.

wasmtime::component::bindgen!({
    path: "../../wit/podium",
    world: "podium:agent/agent",
    imports: {
        "podium:agent/messages.history": store | trappable,
        "podium:agent/ask.question": store | trappable,
        "podium:agent/ask.permission": store | trappable,
        default: trappable,
    },
    require_store_data_send: true,
});
