//! What commands print: human text or JSON on stdout, notes on stderr; colours only on a terminal.
//!
//! Every text from outside passes the sanitiser on its way to a terminal. Must never panic when the reader of a
//! pipe is gone.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use crate::exit::{Failure, storage_code};
use crate::sanitise;

/// The word `error`.
pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
/// The word `hint`.
pub(crate) const HINT: Style = AnsiColor::Cyan.on_default();
/// What went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// What may be a problem.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
/// Titles of columns and fields.
pub(crate) const TITLE: Style = Style::new().bold();
/// What matters less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Where a command prints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
    terminal: bool,
}

impl Output {
    /// Output of this process.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal() }
    }

    /// True when programs read stdout.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// True when a person reads stdout.
    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Lines with styles of ours, or without where none are wanted.
    pub(crate) fn styled(&self, lines: Vec<String>) -> Vec<String> {
        if anstream::AutoStream::choice(&io::stdout()) == anstream::ColorChoice::Never {
            return lines.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect();
        }
        lines
    }

    /// Prints such lines.
    pub(crate) fn styled_lines(&self, lines: &[String]) -> Result<(), Failure> {
        write_styled(&format!("{}\n", lines.join("\n")))
    }

    /// One JSON document on a line of its own, indented on a terminal.
    pub(crate) fn json<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = if self.terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
        let text = text.map_err(|error| unwritable(&error))?;
        let text = if self.terminal { sanitise::json(&text) } else { Cow::Owned(text) };
        write_plain(format!("{text}\n").as_bytes())
    }

    /// One JSON document of several: always on one line.
    pub(crate) fn json_line<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| unwritable(&error))?;
        let text = if self.terminal { sanitise::json(&text) } else { Cow::Owned(text) };
        write_plain(format!("{text}\n").as_bytes())
    }

    /// A line of a log: when, how much it matters, what.
    pub(crate) fn log_line(&self, when: &str, style: Style, word: &str, text: &str) -> Result<(), Failure> {
        let text = sanitise::terminal(text);
        write_styled(&format!("{FAINT}{when}{FAINT:#} {style}{word:5}{style:#} {text}\n"))
    }

    /// A JSON value for people: always indented.
    pub(crate) fn pretty<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).map_err(|error| unwritable(&error))?;
        write_plain(format!("{}\n", sanitise::json(&text)).as_bytes())
    }

    /// A line of plain text.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.text(&format!("{text}\n"))
    }

    /// A piece of a text.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let text = if self.terminal { sanitise::terminal(text) } else { Cow::Borrowed(text) };
        write_plain(text.as_bytes())
    }

    /// Bytes of a file: as they are into a file or a pipe, as safe text on a terminal.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        if self.terminal { self.text(&String::from_utf8_lossy(bytes)) } else { write_plain(bytes) }
    }

    /// A line that begins with a styled word.
    pub(crate) fn marked(&self, style: Style, word: &str, text: &str) -> Result<(), Failure> {
        write_styled(&format!("{style}{word}{style:#} {}\n", sanitise::cell(text)))
    }

    /// Named values, one a line, aligned.
    pub(crate) fn fields(&self, fields: &[(&str, String)]) -> Result<(), Failure> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (name, value) in fields {
            text.push_str(&format!("{TITLE}{name:width$}{TITLE:#}  {}\n", sanitise::cell(value)));
        }
        write_styled(&text)
    }

    /// Columns with titles; with no rows `empty` goes to stderr, so that a script reads nothing.
    pub(crate) fn table<const N: usize>(
        &self,
        titles: [&str; N],
        rows: &[[String; N]],
        empty: &str,
    ) -> Result<(), Failure> {
        if rows.is_empty() {
            note(empty);
            return Ok(());
        }
        let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| sanitise::cell(cell))).collect();
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).chain([titles[column].len()]).max().unwrap_or(0)
        };
        let widths: [usize; N] = std::array::from_fn(width);
        let line = |cells: &[String]| {
            let padded: Vec<String> =
                cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}", width = width)).collect();
            padded.join("  ").trim_end().to_owned()
        };
        let titles = titles.map(str::to_uppercase);
        let mut text = format!("{TITLE}{}{TITLE:#}\n", line(&titles));
        for row in &rows {
            text.push_str(&line(row));
            text.push('\n');
        }
        write_styled(&text)
    }
}

fn unwritable(error: &serde_json::Error) -> Failure {
    Failure::new(podium_wire::ErrorCode::Internal, format!("cannot write JSON: {error}"))
}

/// A line on stderr beside the output proper.
pub(crate) fn note(text: &str) {
    let text = format!("{FAINT}{}{FAINT:#}\n", sanitise::terminal(text));
    // There is nowhere left to report a failure of stderr.
    drop(anstream::stderr().write_all(text.as_bytes()));
}

/// Writes text with styles of ours; they are dropped where no terminal shows them.
fn write_styled(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout();
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Writes bytes as they are.
pub(crate) fn write_plain(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::PipeClosed),
        Err(error) => Err(Failure::new(storage_code(&error), format!("cannot write to stdout: {error}"))),
    }
}

/// Bytes as people read them.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A time in milliseconds as people read it.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes, seconds) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {seconds} s"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// A moment in milliseconds since the epoch, as RFC 3339 in UTC.
pub(crate) fn moment(ms: u64) -> String {
    let (days, in_day) = ((ms / 86_400_000), ms % 86_400_000);
    let (year, month, day) = civil(days);
    let (seconds, ms) = (in_day / 1000, in_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Year, month and day of a day since the epoch (Hinnant's `civil_from_days`, for days from 1970 on).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration(59_999), "59 s");
        assert_eq!(duration(61_000), "1 min 1 s");
        assert_eq!(duration(3_660_000), "1 h 1 min");
        assert_eq!(duration(90_000_000), "1 d 1 h");
    }

    #[test]
    fn moments() {
        assert_eq!(moment(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(moment(1_795_267_767_123), "2026-11-21T13:29:27.123Z");
        // Any number has a form.
        assert!(moment(u64::MAX).ends_with('Z'));
    }
}
