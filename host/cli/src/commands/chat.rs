//! `podium chat`: one message, or a conversation at a prompt.

use std::collections::VecDeque;
use std::io::{IsTerminal, Read};
use std::time::Duration;

use podium_kit::{Clock, Randomness};
use podium_wire::message::MessageContent;
use podium_wire::{ErrorCode, InstanceId, WireError};
use rustyline::error::ReadlineError;
use serde::Serialize;

use super::Context;
use super::instance::message_id;
use crate::chat::fold::{Fold, Outcome};
use crate::chat::keyboard::Keyboard;
use crate::chat::piped::{Lines, Piped};
use crate::chat::screen::Screen;
use crate::chat::session::Session;
use crate::client::{Client, block_on};
use crate::exit::Failure;

/// Bytes of a message that are read from stdin: with one more than a frame holds the server says what is wrong.
const STDIN_BYTES_MAX: u64 = podium_wire::frames::FRAME_BYTES_MAX as u64 + 1;

/// How long a connection that was lost is tried again unless asked otherwise, seconds.
const RECONNECT_SECONDS: u64 = 30;

/// Talk to an instance
///
/// The answer is shown as it comes; a host that restarts is waited for, and nothing is lost.
///
/// At the prompt, a line that is typed while the agent works is a word into its turn. What the agent asks is shown, and the next
/// line answers it: an option's number or label, or a text. A secret is not shown.
///
/// Ctrl-C ends the message's turn; a second one leaves. Ends with 0 only when everything was answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  podium chat 0198c0de-0000-7000-8000-000000000001 'What is a cut?'
  podium chat 0198c0de-0000-7000-8000-000000000001
  git diff | podium chat 0198c0de-0000-7000-8000-000000000001 -")]
pub(crate) struct Chat {
    /// The instance
    #[arg(value_name = "ID")]
    instance: InstanceId,
    /// What to say; `-` reads it from stdin. Without it: a prompt, or a message a line when stdin is no terminal
    message: Option<String>,
    /// How long a connection that was lost is tried again, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = RECONNECT_SECONDS)]
    reconnect_for: u64,
    /// The message's id, so that saying it again is safe: the same id and text are answered once
    #[arg(long, value_name = "MESSAGE_ID", value_parser = message_id, requires = "message")]
    message_id: Option<String>,
}

/// What `--json` prints of a message.
#[derive(Serialize)]
struct Answer<'a> {
    message_id: &'a str,
    duplicate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cut: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a WireError>,
}

struct Talk<'a> {
    client: Client,
    context: Context<'a>,
    instance: InstanceId,
    reconnect_for: Duration,
}

impl Chat {
    pub(crate) fn run(self, context: Context<'_>) -> Result<(), Failure> {
        let talk = Talk {
            client: context.client()?,
            context,
            instance: self.instance,
            reconnect_for: Duration::from_secs(self.reconnect_for),
        };
        block_on(async {
            match self.message.as_deref() {
                None => talk.prompt().await,
                // Its stdin is the message.
                Some("-") => {
                    let text = std::io::read_to_string(std::io::stdin().lock().take(STDIN_BYTES_MAX))
                        .map_err(|error| Failure::usage(format!("cannot read stdin: {error}")))?;
                    talk.once(text, self.message_id, Lines::none()).await.1
                }
                Some(text) => {
                    // A person may answer; a script's stdin is the script's.
                    let lines = Lines { keyboard: Keyboard::open(), piped: None, steers: false };
                    talk.once(text.to_owned(), self.message_id, lines).await.1
                }
            }
        })
    }
}

/// A conversation at a prompt, until it is left.
pub(crate) async fn prompt(client: &Client, context: Context<'_>, instance: InstanceId) -> Result<(), Failure> {
    let reconnect_for = Duration::from_secs(RECONNECT_SECONDS);
    Talk { client: client.clone(), context, instance, reconnect_for }.prompt().await
}

impl Talk<'_> {
    /// Says one thing; an answer that is an error is a failure. What is typed meanwhile answers what the turn asks, or steers it;
    /// lines that came too late for it are answered beside.
    async fn once(
        &self,
        text: String,
        id: Option<String>,
        mut lines: Lines<'_>,
    ) -> (VecDeque<String>, Result<(), Failure>) {
        let id = id.unwrap_or_else(|| Randomness::system().uuid_v7(Clock::system().now_ms()).to_string());
        let mut fold = Fold::new(id, MessageContent { text, attachments: Vec::new() });
        let said = self.answered(&mut fold, &mut lines).await;
        (fold.typed.left(), said)
    }

    async fn answered(&self, fold: &mut Fold, lines: &mut Lines<'_>) -> Result<(), Failure> {
        let mut screen = Screen::new(self.context.output);
        let session = Session { client: &self.client, instance: self.instance, reconnect_for: self.reconnect_for };
        let asked = session.ask(fold, &mut screen, lines).await;
        screen.end_line()?;
        self.told(fold.id(), &asked?)
    }

    fn told(&self, id: &str, outcome: &Outcome) -> Result<(), Failure> {
        let json = self.context.output.is_json();
        let error = outcome.result.as_ref().err().map(|error| for_this_message(error, self.instance, id));
        if json {
            self.context.output.json_line(&Answer {
                message_id: id,
                duplicate: outcome.duplicate,
                cut: outcome.cut,
                text: outcome.result.as_deref().ok(),
                error: error.as_ref(),
            })?;
        }
        match error {
            None => Ok(()),
            // With `--json` it has been printed already, as a part of the answer.
            Some(error) if json => Err(Failure::from(error).said()),
            Some(error) => Err(Failure::from(error)),
        }
    }

    /// Says what is typed, line by line. Goes on after an error, and ends with the last one.
    async fn prompt(&self) -> Result<(), Failure> {
        let mut piped = (!std::io::stdin().is_terminal()).then(Piped::default);
        let mut editor = rustyline::DefaultEditor::new().map_err(|error| prompt_failure(&error))?;
        // A wrong id is better said before something was typed.
        let info: podium_wire::rest::InstanceInfo =
            self.client.get(&["instances", &self.instance.to_string(), "info"]).await?;
        if std::io::stdin().is_terminal() {
            crate::output::note(&format!("{}; Ctrl-D leaves", info.deployment_id));
        }
        let mut last = Ok(());
        // Typed ahead, too late for the turn that ran.
        let mut typed: VecDeque<String> = VecDeque::new();
        loop {
            if let Some(line) = typed.pop_front() {
                let lines = Lines { keyboard: Keyboard::open(), piped: piped.as_mut(), steers: true };
                let (left, said) = self.once(line, None, lines).await;
                typed.extend(left);
                match said {
                    Err(Failure::PipeClosed) => return Err(Failure::PipeClosed),
                    said => last = said.map_err(Failure::said),
                }
                continue;
            }
            let line = if let Some(piped) = piped.as_mut().filter(|piped| piped.is_reading()) {
                // Begun for a question that went away: the line is the next message.
                piped.line().await
            } else {
                let (back, line) = podium_kit::spawn::blocking(move || {
                    let line = editor.readline("> ");
                    (editor, line)
                })
                .await
                .map_err(|error| Failure::new(ErrorCode::Internal, format!("the prompt failed: {error}")))?;
                editor = back;
                match line {
                    Ok(line) => Some(line),
                    Err(ReadlineError::Eof | ReadlineError::Interrupted) => None,
                    Err(error) => return Err(prompt_failure(&error)),
                }
            };
            let Some(line) = line else { return last };
            if line.trim().is_empty() {
                continue;
            }
            // What cannot be remembered can still be said.
            drop(editor.add_history_entry(&line));
            typed.push_back(line);
        }
    }
}

fn prompt_failure(error: &ReadlineError) -> Failure {
    Failure::new(ErrorCode::Internal, format!("the prompt failed: {error}"))
}

/// A parked message wants a decision: the hint says the commands.
fn for_this_message(error: &WireError, instance: InstanceId, id: &str) -> WireError {
    if error.known_code() == Some(ErrorCode::Parked) {
        error.clone().with_hint(format!(
            "`podium instance retry {instance} {id}` runs it again, `podium instance discard {instance} {id}` gives it up."
        ))
    } else {
        error.clone()
    }
}
