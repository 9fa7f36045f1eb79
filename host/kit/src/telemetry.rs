//! The host's own log: one line an event on stderr, for people or as JSON, filtered by `PODIUM_LOG`: levels by target, as
//! in `warn,podium_store=debug`.
//!
//! Owns the form of a line. Must never be given a secret, nor what a message says: a log is read by others than the agent's
//! people.

use std::fmt;
use std::io::IsTerminal;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people; with colours on a terminal.
    Text,
    /// One JSON object a line: `timestamp`, `level`, `target`, `message` and the event's own fields beside them.
    Json,
}

/// Starts logging for the process; a second call does nothing. A filter that cannot be read is as if it were not set.
pub fn start(default_filter: &str, format: LogFormat) {
    let wanted = std::env::var("PODIUM_LOG").ok().and_then(|filter| filter.parse::<Targets>().ok());
    let filter = wanted.or_else(|| default_filter.parse().ok()).unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.with_ansi(false).event_format(JsonLines).boxed(),
    };
    // Already started, by a test in the same process.
    drop(tracing_subscriber::registry().with(lines).with(filter).try_init());
}

/// Writes an event as one JSON object. tracing-subscriber's own form needs features of crates that the engine is built with.
#[derive(Debug)]
struct JsonLines;

/// A line, in the order of its keys.
#[derive(Serialize)]
struct Line<'a> {
    timestamp: &'a str,
    level: &'static str,
    target: &'a str,
    #[serde(flatten)]
    fields: Map<String, Value>,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut timestamp = String::new();
        SystemTime.format_time(&mut Writer::new(&mut timestamp))?;
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let (level, target) = (event.metadata().level().as_str(), event.metadata().target());
        let line = Line { timestamp: &timestamp, level, target, fields: fields.0 };
        let line = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{line}")
    }
}

/// Gathers an event's fields.
struct Fields(Map<String, Value>);

impl Fields {
    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        // A field of a line's own key would be there twice.
        let name = match field.name() {
            taken @ ("timestamp" | "level" | "target") => format!("{taken}_"),
            name => name.to_owned(),
        };
        self.0.insert(name, value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_an_event_says() {
        let written = Written::default();
        let lines =
            tracing_subscriber::fmt::layer().with_ansi(false).event_format(JsonLines).with_writer(written.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            let error = io::Error::other("two\nlines and a \"quote\"");
            tracing::warn!(instance = %"an id", turn = 7_u64, share = 0.5, level = "loud", %error, "it failed\u{1b}[2J");
            tracing::info!("plain");
        });
        let bytes = written.0.lock().expect("not poisoned").clone();
        let text = String::from_utf8(bytes).expect("UTF-8");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(text.starts_with("{\"timestamp\":\"20"), "{text}");
        assert_eq!(lines[0]["level"], "WARN");
        assert_eq!(lines[0]["level_"], "loud");
        assert_eq!(lines[0]["instance"], "an id");
        assert_eq!((&lines[0]["turn"], &lines[0]["share"]), (&7.into(), &0.5.into()));
        assert_eq!(lines[0]["error"], "two\nlines and a \"quote\"");
        assert_eq!(lines[0]["message"], "it failed\u{1b}[2J");
        assert!(!text.contains('\u{1b}'), "control characters are escaped");
        assert_eq!(lines[1]["message"], "plain");
        assert_eq!(lines[1]["target"], module_path!());
    }
}
