//! `podium:agent/log`.

use crate::bindings::podium::agent::log;
use crate::guest::GuestState;

impl log::Host for GuestState {
    fn write(
        &mut self,
        level: log::Level,
        module: String,
        message: String,
        fields: Option<String>,
    ) -> wasmtime::Result<()> {
        if matches!(level, log::Level::Error) {
            self.stdio.remember(&message);
        }
        // `describe` may log like anybody; without a turn there is nobody to read it.
        if let Ok(turn) = self.turn("log.write") {
            turn.log(level.into(), &module, &message, fields.as_deref());
        }
        Ok(())
    }
}
