//! The macros of podium-sdk: `#[agent]` on the implementation of `Agent`, `#[derive(DeltaState)]`.
//!
//! Owns how code is read and written, nothing of what it does when it runs. Errors point at the
//! author's code. Use it through podium-sdk.

mod agent;
mod delta;

use proc_macro::TokenStream;

/// Makes an implementation of `Agent` the component's exports.
///
/// Fills in `type State = ()` and `type Config = Json` where they are left out, and tells the
/// host which hooks are implemented: those that stand in this block, and no others.
#[proc_macro_attribute]
pub fn agent(arguments: TokenStream, item: TokenStream) -> TokenStream {
    agent::expand(arguments.into(), item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}

/// Implements `DeltaState`; see the trait for the forms and the `#[delta(…)]` attributes.
#[proc_macro_derive(DeltaState, attributes(delta))]
pub fn delta_state(item: TokenStream) -> TokenStream {
    delta::expand(item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
