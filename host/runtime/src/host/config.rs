//! `podium:agent/config`.

use crate::bindings::podium::agent::{config, types};
use crate::guest::GuestState;
use crate::host::{answer, value};

impl config::Host for GuestState {
    fn get(&mut self, pointer: String) -> wasmtime::Result<Result<Option<String>, types::Error>> {
        answer(self.turn("config.get")?.config_get(&pointer))
    }

    fn revision(&mut self) -> wasmtime::Result<u64> {
        value(self.turn("config.revision")?.config_revision())
    }
}
