//! Lines typed on the terminal while an answer is shown.
//!
//! The terminal edits and echoes them itself; only whole lines are read. Must never read what the prompt is to read, nor
//! block: it looks how much there is before it reads.

use std::io::{IsTerminal, Stdin};

use tokio::io::unix::AsyncFd;

/// Bytes of one read: the terminal hands over at most a line of 4,096.
const READ_BYTES: usize = 4096;

/// The keyboard of a person at a terminal.
#[derive(Debug)]
pub(crate) struct Keyboard {
    /// None when stdin is no terminal, or cannot be waited for.
    input: Option<AsyncFd<Stdin>>,
}

impl Keyboard {
    /// The keyboard of this process, for as long as no prompt reads it.
    #[expect(deprecated, reason = "its successor is unsafe; a process's stdin stays the same descriptor")]
    pub(crate) fn open() -> Self {
        let stdin = std::io::stdin();
        Self { input: if stdin.is_terminal() { AsyncFd::new(stdin).ok() } else { None } }
    }

    /// No keyboard: nobody types.
    pub(crate) fn none() -> Self {
        Self { input: None }
    }

    /// True when somebody can type.
    pub(crate) fn is_there(&self) -> bool {
        self.input.is_some()
    }

    /// The next line; never comes when there is no keyboard. May be dropped while it waits.
    pub(crate) async fn line(&mut self) -> String {
        while let Some(input) = &self.input {
            let Ok(mut ready) = input.readable().await else { break };
            // The kernel counts whole lines only, so that a read of them does not block.
            match rustix::io::ioctl_fionread(input.get_ref()) {
                Ok(0) => ready.clear_ready(),
                Ok(_) => {
                    let mut bytes = [0; READ_BYTES];
                    let Ok(read) = rustix::io::read(input.get_ref(), &mut bytes) else { break };
                    return String::from_utf8_lossy(&bytes[..read]).trim_end_matches(['\r', '\n']).to_owned();
                }
                Err(_) => break,
            }
        }
        std::future::pending().await
    }
}
