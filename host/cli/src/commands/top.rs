//! `podium top`: what a host is doing, as it happens.

use std::time::Duration;

use podium_wire::ErrorCode;
use podium_wire::rest::InstancePage;
use reqwest::Method;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Context;
use crate::client::{Client, QUICK, block_on};
use crate::exit::Failure;
use crate::output::Output;
use crate::top::{Figures, Frame, Sample, Screen, Window};

/// Instances in a turn that are asked for: one page, and more than a screen shows.
const INSTANCES_MAX: u64 = 1000;

/// What a host is doing, live: turns, latency, memory, clients, busy instances
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium top
  podium top --interval 5
  podium top --once --json | jq .turn_p99_seconds

`q` or Ctrl-C leaves. Of more than 1000 instances in a turn the oldest are shown.")]
pub(crate) struct Top {
    /// Seconds between two looks
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
    /// Print one look and end
    #[arg(long)]
    once: bool,
}

impl Top {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let client = context.client()?;
        let output = context.output;
        block_on(async {
            let mut window = Window::default();
            // Asked before the screen is taken, so that a failure is said where it stays.
            let first = window.add(look(&client).await?);
            if self.once {
                return print(output, &client, &first);
            }
            let every = Duration::from_secs(self.interval);
            let watch = Watch { output, client: &client, window, every, stop: Stop::new()? };
            if output.is_json() || !output.is_terminal() { watch.stream(first).await } else { watch.live(first).await }
        })
    }
}

/// The signals that end it.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn new() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot take signals: {error}")))
        };
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Looks again and again, until it is asked to stop.
struct Watch<'a> {
    output: &'a Output,
    client: &'a Client,
    window: Window,
    every: Duration,
    stop: Stop,
}

impl Watch<'_> {
    /// Shows one frame after the other on a screen of its own.
    async fn live(mut self, mut frame: Frame) -> Result<(), Failure> {
        let mut screen = Screen::enter()?;
        loop {
            let (width, height) = Screen::size();
            screen.show(&self.output.styled(frame.lines(self.client.address(), width, height)))?;
            let pause = tokio::time::sleep(self.every);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    () = self.stop.asked() => return Ok(()),
                    key = screen.key() => if key == b'q' || key == b'Q' {
                        return Ok(());
                    },
                }
            }
            tokio::select! {
                sample = look(self.client) => frame = self.window.add(sample?),
                () = self.stop.asked() => return Ok(()),
            }
        }
    }

    /// Prints one frame after the other into a pipe.
    async fn stream(mut self, mut frame: Frame) -> Result<(), Failure> {
        loop {
            print(self.output, self.client, &frame)?;
            tokio::select! {
                () = tokio::time::sleep(self.every) => {}
                () = self.stop.asked() => return Ok(()),
            }
            frame = self.window.add(look(self.client).await?);
        }
    }
}

fn print(output: &Output, client: &Client, frame: &Frame) -> Result<(), Failure> {
    if output.is_json() {
        return output.json_line(frame);
    }
    // A pipe has any width, and a person scrolls.
    let width = if output.is_terminal() { Screen::size().0 } else { usize::MAX };
    output.styled_lines(&frame.lines(client.address(), width, usize::MAX))
}

/// Asks the host.
async fn look(client: &Client) -> Result<Sample, Failure> {
    let status = async { client.fetch(client.request(Method::GET, &["admin", "status"])?, QUICK).await };
    let in_turn = [("status", "running,waiting".to_owned()), ("limit", INSTANCES_MAX.to_string())];
    let instances = client.get_with::<InstancePage>(&["instances"], &in_turn);
    let (figures, status, page) = tokio::try_join!(figures(client), status, instances)?;
    Ok(Sample { status, figures, busy: page.instances })
}

/// What `/metrics` says.
pub(super) async fn figures(client: &Client) -> Result<Figures, Failure> {
    let mut response = client.send(client.request(Method::GET, &["metrics"])?, QUICK).await?;
    let mut text = Vec::new();
    while let Some(piece) = client.piece(&mut response).await? {
        text.extend_from_slice(&piece);
    }
    Ok(Figures::read(&String::from_utf8_lossy(&text)))
}
