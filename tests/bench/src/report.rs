//! The table: what was measured beside its bar and its peers, on which machine, by which command.
//!
//! A figure that could not be had says why in its place; none is ever made up.

use std::fmt::Write as _;
use std::time::Duration;

use crate::systems::System;

/// One measured value, or why there is none.
#[derive(Debug, Clone)]
pub enum Figure {
    /// In the line's unit.
    Value(f64),
    /// Why it could not be measured.
    Missing(String),
}

/// What is to be reached, in the line's unit.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
    /// There is none.
    None,
}

/// One line of the table.
#[derive(Debug, Clone)]
pub struct Line {
    /// What was measured, with its unit.
    pub what: String,
    /// `free`, `real` or nothing.
    pub storage: &'static str,
    /// This host's figure.
    pub podium: Figure,
    /// The peers' figures.
    pub beside: Vec<(String, Figure)>,
    /// What to reach.
    pub bar: Bar,
    /// What a reader must know of this line.
    pub note: String,
}

impl Line {
    /// A line without peers, bar and note.
    pub fn new(what: impl Into<String>, storage: &'static str, podium: Figure) -> Self {
        Self { what: what.into(), storage, podium, beside: Vec::new(), bar: Bar::None, note: String::new() }
    }

    /// The same with a bar.
    pub fn bar(self, bar: Bar) -> Self {
        Self { bar, ..self }
    }

    /// The same with a peer's figure.
    pub fn beside(mut self, peer: impl Into<String>, figure: Figure) -> Self {
        self.beside.push((peer.into(), figure));
        self
    }

    /// The same with a note.
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

/// The lines of one measurement over several systems: the first figure is this host's.
pub fn line(what: &str, storage: &'static str, all: &[(System, Result<f64, String>)]) -> Line {
    let figure = |value: &Result<f64, String>| match value {
        Ok(value) => Figure::Value(*value),
        Err(why) => Figure::Missing(why.clone()),
    };
    let podium = all.iter().find(|(system, _)| *system == System::Podium);
    let podium = podium.map_or(Figure::Missing("not measured".to_owned()), |(_, value)| figure(value));
    let mut line = Line::new(what, storage, podium);
    for (system, value) in all.iter().filter(|(system, _)| *system != System::Podium) {
        line = line.beside(system.name(), figure(value));
    }
    line
}

/// Milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A count, thousands apart.
pub fn count(value: usize) -> String {
    apart(&value.to_string())
}

fn apart(whole: &str) -> String {
    let mut apart = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// Three digits that matter, thousands apart.
pub fn number(value: f64) -> String {
    let digits = match value.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), String::new()), |(w, r)| (w, format!(".{r}")));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    format!("{sign}{}{rest}", apart(whole))
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => f.write_str(&number(*value)),
            Self::Missing(why) => write!(f, "none: {}", why.replace(['\n', '|'], " ")),
        }
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::AtMost(bar) => write!(f, "≤ {}", number(*bar)),
            Self::AtLeast(bar) => write!(f, "≥ {}", number(*bar)),
            Self::None => f.write_str("–"),
        }
    }
}

/// Met, or missed by how much.
pub fn verdict(figure: &Figure, bar: Bar) -> String {
    let (Figure::Value(value), Bar::AtMost(limit) | Bar::AtLeast(limit)) = (figure, bar) else {
        return if matches!(bar, Bar::None) { "–".to_owned() } else { "**missed**: no figure".to_owned() };
    };
    let met = if matches!(bar, Bar::AtMost(_)) { *value <= limit } else { *value >= limit };
    if met {
        return "met".to_owned();
    }
    let by = (value - limit).abs();
    if limit == 0.0 {
        format!("**missed** by {}", number(by))
    } else {
        format!("**missed** by {} ({:.0} %)", number(by), by / limit * 100.0)
    }
}

/// The table of all lines.
pub fn table(lines: &[Line]) -> String {
    let mut page = "| what | fsync | Podium | beside | bar | |\n|---|---|---|---|---|---|\n".to_owned();
    for line in lines {
        let beside: Vec<String> = line.beside.iter().map(|(peer, figure)| format!("{peer} {figure}")).collect();
        let beside = if beside.is_empty() { "–".to_owned() } else { beside.join(" · ") };
        let note = if line.note.is_empty() { String::new() } else { format!(" ({})", line.note) };
        writeln!(
            page,
            "| {}{note} | {} | {} | {beside} | {} | {} |",
            line.what,
            line.storage,
            line.podium,
            line.bar,
            verdict(&line.podium, line.bar)
        )
        .expect("a string takes everything");
    }
    page
}

/// The lines that do not reach their bar, as a list.
pub fn missed(lines: &[Line]) -> String {
    let mut page = String::new();
    for line in lines {
        let verdict = verdict(&line.podium, line.bar);
        if verdict.contains("missed") {
            writeln!(page, "- {} ({}): {}, bar {}, {verdict}", line.what, line.storage, line.podium, line.bar)
                .expect("a string takes everything");
        }
    }
    if page.is_empty() { "- none\n".to_owned() } else { page }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_easily() {
        let cases =
            [(0.2345, "0.234"), (1.5, "1.50"), (12.34, "12.3"), (1234.5, "1,234"), (-1_234_567.0, "-1,234,567")];
        for (value, text) in cases {
            assert_eq!(number(value), text);
        }
        assert_eq!(count(10), "10");
        assert_eq!(count(100_000), "100,000");
    }

    #[test]
    fn bars_are_met_or_missed_by_how_much() {
        assert_eq!(verdict(&Figure::Value(0.7), Bar::AtMost(0.7)), "met");
        assert_eq!(verdict(&Figure::Value(1.05), Bar::AtMost(0.7)), "**missed** by 0.350 (50 %)");
        assert_eq!(verdict(&Figure::Value(3000.0), Bar::AtLeast(6000.0)), "**missed** by 3,000 (50 %)");
        assert_eq!(verdict(&Figure::Value(1.0), Bar::AtMost(0.0)), "**missed** by 1.00");
        assert_eq!(verdict(&Figure::Value(1.0), Bar::None), "–");
        let missing = Figure::Missing("it fell over".to_owned());
        assert_eq!(verdict(&missing, Bar::AtMost(1.0)), "**missed**: no figure");
    }

    #[test]
    fn a_line_holds_what_its_peers_did() {
        let all = [(System::Podium, Ok(0.5)), (System::Bun, Ok(19.0)), (System::Workerd, Err("a | b".to_owned()))];
        let page = table(&[line("x, ms", "free", &all).bar(Bar::AtMost(0.7))]);
        let row = page.lines().last().unwrap();
        assert_eq!(row, "| x, ms | free | 0.500 | Bun process 19.0 · workerd none: a   b | ≤ 0.700 | met |");
    }
}
