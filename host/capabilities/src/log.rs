//! `log`: lines for the agent's author and operator, bounded per turn.
//!
//! Never fails and never waits. What is over the bound is dropped, counted, and said once at the turn's end.

use podium_wire::WireError;
use podium_wire::error::truncate;
use podium_wire::rest::LogLevel;
use serde_json::{Value, json};

use crate::limits::LOG_BYTES_MAX;
use crate::ports::NewLine;
use crate::turn::Turn;

/// Most bytes of one line's message; longer ones are cut.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of the name of a module; longer ones are cut.
pub const MODULE_BYTES_MAX: usize = 128;
/// What a line costs besides its text: its number, time and columns in the log.
const LINE_OVERHEAD_BYTES: u64 = 64;

/// How much a turn has logged.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    bytes: u64,
    dropped: u64,
}

impl LogBudget {
    /// Takes the bytes of one line, or counts it as dropped.
    fn take(&mut self, bytes: u64) -> bool {
        let after = self.bytes.saturating_add(bytes).saturating_add(LINE_OVERHEAD_BYTES);
        if after > LOG_BYTES_MAX {
            self.dropped += 1;
            return false;
        }
        self.bytes = after;
        true
    }

    /// The line that says what was dropped, once.
    fn dropped_line(&mut self) -> Option<String> {
        let dropped = std::mem::take(&mut self.dropped);
        (dropped > 0)
            .then(|| format!("{dropped} lines of this turn were dropped: a turn logs at most {LOG_BYTES_MAX} bytes"))
    }
}

impl Turn {
    /// Adds a line. `fields` is JSON text; what is no JSON object is kept as `{"text": …}`.
    pub fn log(&self, level: LogLevel, module: &str, message: &str, fields: Option<&str>) {
        let bytes = module.len() + message.len().min(LINE_BYTES_MAX) + fields.map_or(0, str::len);
        if self.is_closed() {
            return;
        }
        let is_taken = self.with_log(|log| log.take(bytes as u64));
        if self.journal().is_behind() {
            // It was logged before, and counts as it did.
            return;
        }
        if !is_taken {
            self.ports().logs.dropped(bytes as u64);
            return;
        }
        let fields = fields.map(|text| match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => object,
            _ => json!({ "text": text }),
        });
        self.write_line(level, module, message, fields);
    }

    /// Says once how many lines were dropped; also how the host's own lines get into the log, which no
    /// budget of the guest may keep out.
    pub(crate) fn close_log(&self) {
        if let Some(message) = self.with_log(LogBudget::dropped_line) {
            self.host_log(LogLevel::Warn, &message);
        }
    }

    /// A line of the host itself, such as the trace of a trap. Not counted, and possible after the turn is closed.
    pub fn host_log(&self, level: LogLevel, message: &str) {
        self.write_line(level, "podium", message, None);
    }

    /// The line that says why a turn failed.
    pub fn log_failure(&self, error: &WireError) {
        self.host_log(LogLevel::Error, &format!("{}: {}", error.code, error.message));
    }

    fn write_line(&self, level: LogLevel, module: &str, message: &str, fields: Option<Value>) {
        let cut = |text: &str, bytes_max| {
            let mut text = text.to_owned();
            truncate(&mut text, bytes_max);
            text
        };
        self.ports().logs.log(NewLine {
            ts: self.ports().clock.now_ms(),
            level,
            module: cut(module, MODULE_BYTES_MAX),
            message: cut(message, LINE_BYTES_MAX),
            turn_id: self.spec().turn_id.clone(),
            fields,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestTurn;

    #[test]
    fn fields_that_are_no_object_are_kept_as_text() {
        let turn = TestTurn::new();
        turn.turn.log(LogLevel::Info, "m", "a", Some("{\"k\":1}"));
        turn.turn.log(LogLevel::Info, "m", "b", Some("[1]"));
        turn.turn.log(LogLevel::Info, "m", "c", Some("{oops"));
        let fields: Vec<_> = turn.lines().into_iter().map(|line| line.fields.expect("has fields")).collect();
        assert_eq!(fields, [json!({"k": 1}), json!({"text": "[1]"}), json!({"text": "{oops"})]);
    }

    #[test]
    fn a_flood_is_dropped_and_counted_and_the_host_is_still_heard() {
        let turn = TestTurn::new();
        let line = "x".repeat(1000);
        for _ in 0..2000 {
            turn.turn.log(LogLevel::Info, "m", &line, None);
        }
        turn.turn.host_log(LogLevel::Error, "trace");
        turn.turn.complete();
        let lines = turn.lines();
        let kept: Vec<_> = lines.iter().filter(|l| l.module == "m").collect();
        assert!(kept.iter().map(|l| l.message.len() as u64).sum::<u64>() <= LOG_BYTES_MAX);
        let said = &lines.last().expect("says it").message;
        assert!(said.starts_with(&format!("{} lines", 2000 - kept.len())), "{said}");
        assert!(lines.iter().any(|l| l.message == "trace"));
        assert_eq!(turn.dropped_bytes(), (2000 - kept.len() as u64) * 1001, "each with its module's name");
    }
}
