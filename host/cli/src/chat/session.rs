//! One message over as many connections as it takes.
//!
//! Connects, feeds the fold, does its actions, comes back after a loss. Must never wait longer than it was allowed to
//! for a server that is away.

use std::time::Duration;

use podium_kit::{Clock, Randomness};
use podium_wire::frames::{ClientFrame, ServerFrame};
use podium_wire::rest::{InstanceInfo, InstanceStatus};
use podium_wire::{ErrorCode, InstanceId};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::echo::Echo;
use super::fold::{Action, Fold, Outcome};
use super::piped::Lines;
use super::screen::Screen;
use crate::client::Client;
use crate::client::socket::{Gone, Socket};
use crate::exit::Failure;

/// The first pause before another try; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The longest pause: a host that is back is found within a second.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often a quiet connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_secs(10);

/// How many pings may go unanswered: a host that is busy for so long is as good as gone.
const PINGS_MAX: u32 = 3;

/// How to talk.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    /// The server.
    pub(crate) client: &'a Client,
    /// Whom to talk to.
    pub(crate) instance: InstanceId,
    /// How long a server may be away.
    pub(crate) reconnect_for: Duration,
}

enum Ended {
    Answered(Outcome),
    Lost(Failure),
}

/// Time since the connection was lost.
struct Away {
    clock: Clock,
    since: Option<Duration>,
    pause: Duration,
}

impl Away {
    fn connected(&mut self) {
        self.since = None;
        self.pause = PAUSE_MIN;
    }

    fn lasts(&mut self) -> Duration {
        let now = self.clock.monotonic();
        now.saturating_sub(*self.since.get_or_insert(now))
    }
}

impl Session<'_> {
    /// Sends a message and waits for its end.
    ///
    /// What the turn asks is answered by a line of the keyboard, or of a pipe that is meant for it; other lines steer the turn.
    pub(crate) async fn ask(
        &self,
        fold: &mut Fold,
        screen: &mut Screen<'_>,
        lines: &mut Lines<'_>,
    ) -> Result<Outcome, Failure> {
        let mut away = Away { clock: Clock::system(), since: None, pause: PAUSE_MIN };
        // One stream for the whole message: a signal between two waits is not lost.
        let mut interrupts = signal(SignalKind::interrupt())
            .map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot wait for Ctrl-C: {error}")))?;
        let mut connected_before = false;
        loop {
            let failure = match self.connect(fold).await {
                Ok(mut socket) => {
                    connected_before = true;
                    match self.converse(&mut socket, fold, screen, &mut away, &mut interrupts, lines).await? {
                        Ended::Answered(outcome) => return Ok(outcome),
                        Ended::Lost(failure) => failure,
                    }
                }
                Err(Gone::Refused(failure)) => return Err(failure),
                Err(Gone::Lost(failure)) if !connected_before => return Err(failure),
                Err(Gone::Lost(failure)) => failure,
            };
            let lasts = away.lasts();
            if lasts.is_zero() {
                screen.note("connection lost; coming back …")?;
            }
            if lasts >= self.reconnect_for {
                return Err(self.gave_up(fold, failure));
            }
            tokio::select! {
                () = tokio::time::sleep(away.pause) => {}
                _ = interrupts.recv() => return Err(self.left(fold)),
            }
            away.pause = (away.pause * 2).min(PAUSE_MAX);
        }
    }

    /// Connects, unless the instance can give no answer as it is.
    async fn connect(&self, fold: &Fold) -> Result<Socket, Gone> {
        let path = ["instances", &self.instance.to_string(), "info"];
        let info: InstanceInfo = self.client.get(&path).await.map_err(|failure| match failure.code() {
            Some(code) if code.retryable() => Gone::Lost(failure),
            _ => Gone::Refused(failure),
        })?;
        // Told once when it happens, and never again: who connects later has to ask.
        if info.status == InstanceStatus::Parked {
            let what = if fold.is_accepted() { "the message waits" } else { "the message was not sent" };
            return Err(Gone::Refused(Failure::new(
                ErrorCode::Parked,
                format!("a turn of the instance failed with the host too often and is parked; {what}"),
            )));
        }
        self.client.socket(self.instance).await
    }

    async fn converse(
        &self,
        socket: &mut Socket,
        fold: &mut Fold,
        screen: &mut Screen<'_>,
        away: &mut Away,
        interrupts: &mut Signal,
        lines: &mut Lines<'_>,
    ) -> Result<Ended, Failure> {
        let mut unanswered = 0;
        let mut echo = Echo::default();
        loop {
            echo.hide(fold.asks().want_secret() && lines.keyboard.is_there());
            if !lines.are_there() && fold.asks().is_untold() {
                screen.note(&self.how_to_answer(fold))?;
                fold.told();
            }
            let steer_id = || Randomness::system().uuid_v7(Clock::system().now_ms()).to_string();
            while let Some(frame) = fold.interrupt().or_else(|| fold.steer(steer_id)) {
                match socket.send(&frame).await {
                    Ok(()) => {}
                    Err(Gone::Lost(failure)) => return Ok(Ended::Lost(failure)),
                    Err(Gone::Refused(failure)) => return Err(failure),
                }
            }
            let frame = tokio::select! {
                frame = socket.next() => frame,
                () = tokio::time::sleep(PING_EVERY) => {
                    unanswered += 1;
                    if unanswered > PINGS_MAX {
                        let silent = "the server has not answered for a while";
                        return Ok(Ended::Lost(Failure::new(ErrorCode::ConnectionLost, silent)));
                    }
                    match socket.send(&ClientFrame::Ping { id: None }).await {
                        Ok(()) => continue,
                        Err(gone) => Err(gone),
                    }
                }
                line = lines.next(fold.asks().want_line()) => match line {
                    Some(line) if fold.asks().want_line() => match fold.line(&line) {
                        Ok(answer) => match socket.send(&answer).await {
                            Ok(()) => continue,
                            Err(gone) => Err(gone),
                        },
                        Err(wanted) => {
                            screen.note(&wanted)?;
                            continue;
                        }
                    },
                    Some(line) => {
                        fold.typed.add(line);
                        continue;
                    }
                    // Nobody is there any more; the turn goes on waiting.
                    None => continue,
                },
                _ = interrupts.recv() => {
                    if !fold.want_interrupt() {
                        return Err(self.left(fold));
                    }
                    let when = if fold.runs() { "interrupting" } else { "interrupting when its turn begins" };
                    screen.note(&format!("{when}; Ctrl-C again leaves"))?;
                    continue;
                }
            };
            let frame = match frame {
                Ok(frame) => frame,
                Err(Gone::Lost(failure)) => return Ok(Ended::Lost(failure)),
                Err(Gone::Refused(failure)) => return Err(failure),
            };
            unanswered = 0;
            if matches!(frame, ServerFrame::Hello(_)) {
                away.connected();
            }
            let actions = fold.feed(frame);
            // Before it is asked for: who types at once types unseen.
            echo.hide(fold.asks().want_secret() && lines.keyboard.is_there());
            for action in actions {
                match action {
                    Action::Send(frame) => match socket.send(&frame).await {
                        Ok(()) => {}
                        Err(Gone::Lost(failure)) => return Ok(Ended::Lost(failure)),
                        Err(Gone::Refused(failure)) => return Err(failure),
                    },
                    Action::Show(show) => screen.show(&show)?,
                    Action::Note(text) => screen.note(&text)?,
                    Action::Reconnect => {
                        let away = "the server asked to connect again";
                        return Ok(Ended::Lost(Failure::new(ErrorCode::ConnectionLost, away)));
                    }
                    Action::Done(outcome) => return Ok(Ended::Answered(outcome)),
                }
            }
        }
    }

    fn how_to_answer(&self, fold: &Fold) -> String {
        let request = fold.asks().oldest().unwrap_or_default();
        format!("answer it with `podium instance answer {} {request} ...`", self.instance)
    }

    fn gave_up(&self, fold: &Fold, failure: Failure) -> Failure {
        let seconds = self.reconnect_for.as_secs();
        let kept = if fold.is_accepted() { "it is kept and will be answered" } else { "it may not have arrived" };
        let failure = match failure {
            Failure::Error { error, .. } => error.message,
            other => return other,
        };
        Failure::new(
            ErrorCode::ConnectionLost,
            format!("no connection for {seconds} s ({failure}); the message: {kept}"),
        )
        .hint(self.how_to_come_back(fold))
    }

    fn left(&self, fold: &Fold) -> Failure {
        let what = if fold.is_accepted() { "left; the message is kept and will be answered" } else { "left" };
        Failure::new(ErrorCode::Interrupted, what).hint(self.how_to_come_back(fold))
    }

    fn how_to_come_back(&self, fold: &Fold) -> String {
        format!(
            "The same message again shows its answer: `podium chat {} --message-id {} …`.",
            self.instance,
            fold.id()
        )
    }
}
