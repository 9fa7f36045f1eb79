//! Lines of a stdin that is no terminal: the answers to what a turn asks, between the messages.
//!
//! Reads only when a line is wanted, from the buffer that the prompt reads, too, so that nobody loses one. Must never hold a
//! line back from the one who comes next.

use std::io::{BufRead, Read};

use tokio::sync::oneshot;

use super::keyboard::Keyboard;

/// Bytes of a line: more than any answer may have.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Where lines come from.
#[derive(Debug, Default)]
pub(crate) struct Piped {
    /// A line that is being read.
    reading: Option<oneshot::Receiver<Option<String>>>,
    ended: bool,
}

impl Piped {
    /// True when a line is being read that nobody has taken yet: it comes before all others.
    pub(crate) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// The next line without its end; none at the end of the input. May be dropped: the line is then the next call's.
    pub(crate) async fn line(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        let reading = self.reading.get_or_insert_with(|| {
            let (sender, line) = oneshot::channel();
            // A read cannot be called off; it ends with the process at the latest. Nobody may want its line any more.
            drop(podium_kit::spawn::thread("line", move || drop(sender.send(read_line()))));
            line
        });
        let line = reading.await.ok().flatten();
        self.reading = None;
        self.ended = line.is_none();
        line
    }
}

/// Who may say something while a turn runs: a person at the keyboard, or the lines of a pipe.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    /// The keyboard, which may be none.
    pub(crate) keyboard: Keyboard,
    /// The pipe, where its lines are meant for us.
    pub(crate) piped: Option<&'a mut Piped>,
    /// Lines that answer nothing are words into the turn.
    pub(crate) steers: bool,
}

impl Lines<'_> {
    /// Nobody.
    pub(crate) fn none() -> Self {
        Self { keyboard: Keyboard::none(), piped: None, steers: false }
    }

    /// True when there is anybody.
    pub(crate) fn are_there(&self) -> bool {
        self.keyboard.is_there() || self.piped.is_some()
    }

    /// The next line, as an answer or as a word into the turn; none when there are no more. Never comes where nobody types.
    pub(crate) async fn next(&mut self, as_answer: bool) -> Option<String> {
        if !as_answer && !self.steers {
            return std::future::pending().await;
        }
        match &mut self.piped {
            // The lines of a pipe are messages and answers, one after the other.
            Some(_) if !as_answer => std::future::pending().await,
            Some(piped) if !self.keyboard.is_there() => {
                let line = piped.line().await;
                if line.is_none() {
                    self.piped = None;
                }
                line
            }
            _ => Some(self.keyboard.line().await),
        }
    }
}

/// Reads a line of stdin, waiting for it.
pub(crate) fn read_line() -> Option<String> {
    let mut bytes = Vec::new();
    match std::io::stdin().lock().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes) {
        Ok(1..) => Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned()),
        Ok(0) | Err(_) => None,
    }
}
