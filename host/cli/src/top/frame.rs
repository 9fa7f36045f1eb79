//! One picture of a host: its numbers as data and as lines of text. Pure.

use std::collections::VecDeque;

use podium_wire::rest::{AdminStatus, InstanceStatus, InstanceSummary};
use serde::Serialize;

use super::Figures;
use crate::output::{FAINT, GOOD, TITLE, WARN, duration, size};
use crate::sanitise;

/// Samples that rates are taken over: long enough for a calm number, short enough to show what happens now.
const SAMPLES_MAX: usize = 10;

/// One look at a host.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// What `/admin/status` said.
    pub(crate) status: AdminStatus,
    /// What `/metrics` said.
    pub(crate) figures: Figures,
    /// One page of instances that do something.
    pub(crate) busy: Vec<InstanceSummary>,
}

/// The last looks at a host.
#[derive(Debug, Default)]
pub(crate) struct Window(VecDeque<Sample>);

/// What is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Frame {
    /// The host's own figures.
    pub(crate) status: AdminStatus,
    /// Seconds that the rates are over.
    pub(crate) over_seconds: f64,
    /// Turns that ended in a second.
    pub(crate) turns_per_second: f64,
    /// Turns that failed in a second.
    pub(crate) failed_per_second: f64,
    /// Half of the turns took less, seconds.
    pub(crate) turn_p50_seconds: Option<f64>,
    /// 99 of 100 turns took less, seconds.
    pub(crate) turn_p99_seconds: Option<f64>,
    /// Guests that live.
    pub(crate) guests: u64,
    /// Instances whose databases are open.
    pub(crate) open_databases: u64,
    /// Times that a client was too slow, since the start.
    pub(crate) clients_lagged: u64,
    /// Instances that do something, by id.
    pub(crate) busy: Vec<InstanceSummary>,
}

impl Window {
    /// Adds a look and answers the picture. The first one is over all the time since the host began; so is the first one after
    /// the host began again.
    pub(crate) fn add(&mut self, sample: Sample) -> Frame {
        if self.0.back().is_some_and(|last| sample.status.uptime_ms < last.status.uptime_ms) {
            self.0.clear();
        }
        let Sample { status, figures, busy } = &sample;
        let nothing = Figures::default();
        let (since_ms, before) = match self.0.front() {
            Some(first) => (first.status.uptime_ms, &first.figures),
            None => (0, &nothing),
        };
        // No rate over no time.
        let over_seconds = ((status.uptime_ms - since_ms) as f64 / 1000.0).max(0.001);
        let rate = |count: fn(&Figures) -> f64| (count(figures) - count(before)).max(0.0) / over_seconds;
        let percentile = |share| figures.percentile(before, "podium_turn_duration_seconds", share);
        let frame = Frame {
            over_seconds,
            turns_per_second: rate(|figures| figures.sum("podium_turns_ended_total")),
            failed_per_second: rate(|figures| figures.value("podium_turns_ended_total{outcome=\"failed\"}")),
            turn_p50_seconds: percentile(0.5),
            turn_p99_seconds: percentile(0.99),
            guests: figures.value("podium_guests") as u64,
            open_databases: figures.value("podium_open_databases") as u64,
            clients_lagged: figures.value("podium_clients_lagged_total") as u64,
            busy: busy.clone(),
            status: status.clone(),
        };
        self.0.push_back(sample);
        if self.0.len() > SAMPLES_MAX {
            self.0.pop_front();
        }
        frame
    }
}

impl Frame {
    /// The picture as lines with styles: at most `height`, each at most `width` characters wide.
    pub(crate) fn lines(&self, address: &str, width: usize, height: usize) -> Vec<String> {
        let status = &self.status;
        let latency = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), milliseconds);
        let rows = [
            (
                "turns",
                format!(
                    "{} running  {:.1}/s  {:.1} failed/s  p50 {}  p99 {}",
                    status.running_turns,
                    self.turns_per_second,
                    self.failed_per_second,
                    latency(self.turn_p50_seconds),
                    latency(self.turn_p99_seconds)
                ),
            ),
            (
                "instances",
                format!(
                    "{} in all  {} active  {} guests  {} open databases",
                    status.instances, status.active_agents, self.guests, self.open_databases
                ),
            ),
            ("clients", format!("{} connected  {} times too slow", status.clients, self.clients_lagged)),
            (
                "host",
                format!(
                    "{} memory  {} of {} descriptors",
                    size(status.memory_bytes),
                    status.open_descriptors,
                    status.descriptor_limit
                ),
            ),
        ];
        let head = format!("{address}  {}  up {}", status.version, duration(status.uptime_ms));
        let mut lines = vec![styled_first("podium top", &head, width)];
        lines.extend(rows.iter().map(|(name, text)| styled_first(&format!("{name:10}"), text, width)));
        let over = format!("rates and times of turns over the last {:.0} s", self.over_seconds);
        lines.push(format!("{FAINT}{}{FAINT:#}", cut(&over, width)));
        lines.push(String::new());
        lines
            .push(format!("{TITLE}{}{TITLE:#}", cut(&format!("{:36}  {:8}  DEPLOYMENT", "INSTANCE", "STATUS"), width)));
        if self.busy.is_empty() {
            lines.push(format!("{FAINT}{}{FAINT:#}", cut("none does anything", width)));
        }
        for busy in &self.busy {
            let style = if busy.status == InstanceStatus::Parked { WARN } else { GOOD };
            let (id, deployment) = (busy.instance_id.to_string(), busy.deployment_id.to_string());
            let start = format!("{id:36}  ");
            let word = format!("{:8}", busy.status.as_str());
            if width > start.len() + word.len() + 2 {
                let rest = cut(&deployment, width - start.len() - word.len() - 2);
                lines.push(format!("{start}{style}{word}{style:#}  {rest}"));
            } else {
                lines.push(cut(&format!("{start}{word}"), width));
            }
        }
        if lines.len() > height {
            let left_out = lines.len() + 1 - height;
            lines.truncate(height.saturating_sub(1));
            lines.push(format!("{FAINT}{}{FAINT:#}", cut(&format!("and {left_out} more"), width)));
        }
        lines
    }
}

/// A line that begins with a word in bold.
fn styled_first(word: &str, rest: &str, width: usize) -> String {
    let word = cut(word, width);
    let rest = cut(rest, width.saturating_sub(word.chars().count() + 1));
    format!("{TITLE}{word}{TITLE:#} {rest}")
}

/// A text made safe for a terminal, at most so many characters.
fn cut(text: &str, width: usize) -> String {
    sanitise::cell(text).chars().take(width).collect()
}

/// A time as people read it.
pub(crate) fn milliseconds(seconds: f64) -> String {
    match seconds * 1000.0 {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.1} s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(uptime_ms: u64, ended: u64) -> Sample {
        let status = AdminStatus {
            version: "1.2.3".to_owned(),
            capacity: 10,
            active_agents: 2,
            instances: 3,
            deployments: 1,
            running_turns: 1,
            turns_ended: ended,
            clients: 4,
            uptime_ms,
            memory_bytes: 1024 * 1024,
            open_descriptors: 20,
            descriptor_limit: 1024,
            data: "/data".to_owned(),
        };
        let figures = Figures::read(&format!(
            "podium_turns_ended_total{{outcome=\"completed\"}} {ended}\n\
             podium_turn_duration_seconds_bucket{{le=\"0.002\"}} {ended}\n\
             podium_turn_duration_seconds_bucket{{le=\"+Inf\"}} {ended}\n"
        ));
        let busy = InstanceSummary {
            instance_id: "0198c0de-0000-7000-8000-000000000001".parse().expect("an id"),
            deployment_id: "hello:1.0.0@0123abcd".parse().expect("a deployment"),
            status: InstanceStatus::Running,
            created_at: 0,
        };
        Sample { status, figures, busy: vec![busy] }
    }

    #[test]
    fn rates_are_between_two_looks() {
        let mut window = Window::default();
        let first = window.add(sample(10_000, 20));
        assert_eq!((first.turns_per_second, first.over_seconds), (2.0, 10.0), "since the start");
        let second = window.add(sample(12_000, 30));
        assert_eq!((second.turns_per_second, second.over_seconds), (5.0, 2.0));
        assert_eq!(second.turn_p50_seconds, Some(0.001));
        let again = window.add(sample(1_000, 3));
        assert_eq!(again.turns_per_second, 3.0, "the host began again");
        for step in 0..20 {
            window.add(sample(2_000 + step * 1000, 3));
        }
        assert_eq!(window.add(sample(22_000, 3)).over_seconds, SAMPLES_MAX as f64);
    }

    #[test]
    fn a_picture_fits_its_terminal() {
        let frame = Window::default().add(sample(10_000, 20));
        for (width, height) in [(80, 24), (200, 50), (20, 5), (1, 1), (48, 9)] {
            let lines = frame.lines("http://127.0.0.1:8090", width, height);
            assert!(lines.len() <= height, "{} lines in {height}", lines.len());
            for line in lines {
                let plain = anstream::adapter::strip_str(&line).to_string();
                assert!(plain.trim_end().chars().count() <= width, "{plain:?} in {width}");
            }
        }
        let lines = frame.lines("http://127.0.0.1:8090", 80, 24).join("\n");
        let plain = anstream::adapter::strip_str(&lines).to_string();
        for wanted in ["1 running  2.0/s", "p50 1.00 ms", "4 connected", "running   hello:1.0.0@0123abcd"] {
            assert!(plain.contains(wanted), "no `{wanted}` in {plain}");
        }
    }
}
