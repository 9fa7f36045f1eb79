//! `podium:agent/updates`.

use crate::bindings::podium::agent::{types, updates};
use crate::guest::GuestState;
use crate::host::answer;

impl updates::Host for GuestState {
    fn emit(&mut self, element: updates::Element) -> wasmtime::Result<Result<(), types::Error>> {
        answer(self.turn("updates.emit")?.emit(element.into()))
    }
}
