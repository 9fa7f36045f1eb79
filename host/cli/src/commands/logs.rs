//! `podium logs`: an instance's log, and its lines as they come.

use anstyle::Style;
use podium_wire::rest::{LogLevel, LogLine, LogPage};
use podium_wire::{ErrorCode, InstanceId};
use reqwest::Method;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::client::events::Events;
use crate::client::{Client, block_on};
use crate::exit::Failure;
use crate::output::{ERROR, FAINT, GOOD, Output, WARN, moment, note};

/// An instance's log: what the agent and the host wrote about its turns
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium logs 0198c0de-0000-7000-8000-000000000001
  podium logs 0198c0de-0000-7000-8000-000000000001 -f --level warn")]
pub(crate) struct Logs {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// Go on with the lines that come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// Only lines of this level or above
    #[arg(long, value_parser = level, value_name = "trace|debug|info|warn|error")]
    level: Option<LogLevel>,
    /// How many of the last lines
    #[arg(short = 'n', long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    lines: u16,
}

fn level(text: &str) -> Result<LogLevel, String> {
    serde_json::from_value(text.into()).map_err(|_| "one of trace, debug, info, warn, error".to_owned())
}

impl Logs {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let client = context.client()?;
        block_on(async {
            if self.follow {
                self.follow(&client, context.output).await
            } else {
                self.page(&client, context.output).await
            }
        })
    }

    fn query(&self) -> Result<Vec<(&'static str, String)>, Failure> {
        let mut query = vec![("limit", self.lines.to_string())];
        if let Some(level) = self.level {
            query.push(("level", word(level).to_owned()));
        }
        Ok(query)
    }

    async fn page(&self, client: &Client, output: &Output) -> Result<(), Failure> {
        let page: LogPage = client.get_with(&["instances", &self.instance.to_string(), "logs"], &self.query()?).await?;
        if output.is_json() {
            return output.json(&page);
        }
        if page.dropped > 0 {
            note(&format!("{} lines were dropped: the log is bounded", page.dropped));
        }
        page.lines.iter().try_for_each(|line| print(output, line))
    }

    async fn follow(&self, client: &Client, output: &Output) -> Result<(), Failure> {
        let mut query = self.query()?;
        query.push(("follow", "1".to_owned()));
        let request = client.api(Method::GET, &["instances", &self.instance.to_string(), "logs"])?.query(&query);
        let mut response = client.send_endless(request).await?;
        let mut events = Events::default();
        let mut interrupts = signal(SignalKind::interrupt())
            .map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot wait for Ctrl-C: {error}")))?;
        loop {
            let piece = tokio::select! {
                piece = client.piece(&mut response) => piece?,
                // Whoever follows ends it this way; that is no failure.
                _ = interrupts.recv() => return Ok(()),
            };
            let Some(piece) = piece else {
                return Err(Failure::new(ErrorCode::ConnectionLost, "the server ended the log"));
            };
            for event in events.feed(&piece)? {
                let line: LogLine = serde_json::from_str(&event).map_err(|error| {
                    Failure::new(ErrorCode::Internal, format!("a line of the log cannot be read: {error}"))
                })?;
                if output.is_json() { output.json_line(&line)? } else { print(output, &line)? }
            }
        }
    }
}

fn word(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Trace => "trace",
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

fn style(level: LogLevel) -> Style {
    match level {
        LogLevel::Trace | LogLevel::Debug => FAINT,
        LogLevel::Info => GOOD,
        LogLevel::Warn => WARN,
        LogLevel::Error => ERROR,
    }
}

fn print(output: &Output, line: &LogLine) -> Result<(), Failure> {
    let fields = line.fields.as_ref().map(|fields| format!(" {fields}")).unwrap_or_default();
    let text = format!("{}: {}{fields}", line.module, line.message.trim_end());
    output.log_line(&moment(line.ts), style(line.level), word(line.level), &text)
}
