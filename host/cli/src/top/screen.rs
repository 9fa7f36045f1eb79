//! The terminal of `podium top`: a screen of its own while it runs, and keys as they are pressed.
//!
//! Whatever ends the command, the terminal is as it was: the settings are put back when this is dropped.

use std::io::{self, IsTerminal, Read, Write};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};
use tokio::sync::mpsc;

use crate::exit::Failure;
use crate::output::{write_plain, written};

/// A second screen, without a cursor.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l";
/// The first screen and its cursor.
const LEAVE: &str = "\u{1b}[?25h\u{1b}[?1049l";
/// From the top; nothing is cleared first, so nothing flickers.
const HOME: &str = "\u{1b}[H";
/// Clears to the end of the line.
const LINE_END: &str = "\u{1b}[K";
/// Clears what is below.
const SCREEN_END: &str = "\u{1b}[J";

/// A terminal that is taken over.
pub(crate) struct Screen {
    keys: mpsc::Receiver<u8>,
    before: Option<Termios>,
}

impl Screen {
    /// Takes the terminal over.
    pub(crate) fn enter() -> Result<Self, Failure> {
        let (sender, keys) = mpsc::channel(1);
        let before = if io::stdin().is_terminal() { keys_at_once().ok() } else { None };
        // Made first, so that a failure below puts the settings back.
        let screen = Self { keys, before };
        if screen.before.is_some() {
            // It ends with the process: a read from a terminal cannot be called off.
            let read = move || {
                let mut key = [0];
                while io::stdin().read_exact(&mut key).is_ok() {
                    if sender.blocking_send(key[0]).is_err() {
                        return;
                    }
                }
            };
            written(podium_kit::spawn::thread("keys", read).map(drop))?;
        }
        write_plain(ENTER.as_bytes())?;
        Ok(screen)
    }

    /// Columns and rows.
    pub(crate) fn size() -> (usize, usize) {
        match termios::tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
            // What a terminal has that does not say.
            _ => (80, 24),
        }
    }

    /// Shows these lines, in one write.
    pub(crate) fn show(&self, lines: &[String]) -> Result<(), Failure> {
        let mut text = HOME.to_owned();
        for (n, line) in lines.iter().enumerate() {
            // No line feed behind the last one: it would scroll a full screen.
            text.push_str(if n == 0 { "" } else { "\r\n" });
            text.push_str(line);
            text.push_str(LINE_END);
        }
        text.push_str(SCREEN_END);
        write_plain(text.as_bytes())
    }

    /// The next key; never, where there is no keyboard.
    pub(crate) async fn key(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nowhere left to report a failure of the terminal.
        if let Some(before) = &self.before {
            termios::tcsetattr(io::stdin(), OptionalActions::Now, before).ok();
        }
        let mut stdout = io::stdout().lock();
        drop(stdout.write_all(LEAVE.as_bytes()).and_then(|()| stdout.flush()));
    }
}

/// Gives keys at once and unseen; Ctrl-C stays a signal. Answers the settings before.
fn keys_at_once() -> rustix::io::Result<Termios> {
    let before = termios::tcgetattr(io::stdin())?;
    let mut now = before.clone();
    now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
    termios::tcsetattr(io::stdin(), OptionalActions::Now, &now)?;
    Ok(before)
}
