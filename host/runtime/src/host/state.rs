//! `podium:agent/state`.

use crate::bindings::podium::agent::{state, types};
use crate::guest::GuestState;
use crate::host::{answer, value};

impl state::Host for GuestState {
    fn get(&mut self, pointer: String) -> wasmtime::Result<Result<Option<String>, types::Error>> {
        answer(self.turn("state.get")?.state_get(&pointer))
    }

    fn apply(&mut self, patch: String) -> wasmtime::Result<Result<u64, types::Error>> {
        answer(self.turn("state.apply")?.state_apply(&patch))
    }

    fn version(&mut self) -> wasmtime::Result<u64> {
        value(self.turn("state.version")?.state_version())
    }
}
