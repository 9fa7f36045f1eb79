//! A terminal that does not show what is typed, for as long as a secret is.
//!
//! The settings are put back when this is dropped, whatever ends the command.

use std::io::{IsTerminal, Write, stderr, stdin};

use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// Whether the terminal shows what is typed.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// The settings before, while it does not.
    before: Option<Termios>,
}

impl Echo {
    /// Shows what is typed, or not. Nothing changes where there is no terminal.
    pub(crate) fn hide(&mut self, hidden: bool) {
        match (hidden, self.before.take()) {
            (true, None) if stdin().is_terminal() => self.before = off().ok(),
            (true, before) => self.before = before,
            (false, Some(before)) => {
                // There is nowhere to report a failure of the terminal.
                termios::tcsetattr(stdin(), OptionalActions::Now, &before).ok();
                // The end of the hidden line was not shown either.
                drop(stderr().write_all(b"\n"));
            }
            (false, None) => {}
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.hide(false);
    }
}

/// Shows nothing of what is typed. Answers the settings before.
fn off() -> rustix::io::Result<Termios> {
    let before = termios::tcgetattr(stdin())?;
    let mut now = before.clone();
    now.local_modes.remove(LocalModes::ECHO);
    termios::tcsetattr(stdin(), OptionalActions::Now, &now)?;
    Ok(before)
}
