//! Standard output and error: lines of the agent's log. Standard input is closed.
//!
//! A line goes out when it ends, or when it is as long as a log line may be. The guest's last words (a line of
//! standard error, an error it logged) are kept, because they are what a trap's message needs.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use podium_capabilities::Turn;
use podium_capabilities::log::LINE_BYTES_MAX;
use podium_wire::error::truncate;
use podium_wire::rest::LogLevel;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi_io::async_trait;
use wasmtime_wasi_io::poll::Pollable;
use wasmtime_wasi_io::streams::{OutputStream, StreamResult};

/// Bytes that one write may bring: as many as fill a line.
const WRITE_BYTES_MAX: usize = LINE_BYTES_MAX;
/// Bytes of the last words that are kept: they become part of one sentence.
const LAST_WORDS_BYTES_MAX: usize = 1024;

/// One of the two outputs.
#[derive(Clone)]
pub(crate) struct LineStream(Arc<Mutex<Lines>>);

struct Lines {
    module: &'static str,
    level: LogLevel,
    turn: Option<Turn>,
    partial: Vec<u8>,
    last: String,
}

impl Lines {
    fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = LINE_BYTES_MAX - self.partial.len();
            let piece = &bytes[..bytes.len().min(room)];
            match piece.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.partial.extend_from_slice(&piece[..end]);
                    self.flush();
                    bytes = &bytes[end + 1..];
                }
                None => {
                    self.partial.extend_from_slice(piece);
                    bytes = &bytes[piece.len()..];
                    if self.partial.len() >= LINE_BYTES_MAX {
                        self.flush();
                    }
                }
            }
        }
    }

    fn flush(&mut self) {
        let line = String::from_utf8_lossy(&self.partial).trim_end_matches('\r').to_owned();
        self.partial.clear();
        if let Some(turn) = &self.turn {
            turn.log(self.level, self.module, &line, None);
        }
        self.remember(&line);
    }

    fn remember(&mut self, words: &str) {
        if words.trim().is_empty() {
            return;
        }
        // One line, whatever it was: a sentence is made of it.
        self.last = words.split_whitespace().collect::<Vec<_>>().join(" ");
        truncate(&mut self.last, LAST_WORDS_BYTES_MAX);
    }
}

impl LineStream {
    fn new(module: &'static str, level: LogLevel, turn: Option<&Turn>) -> Self {
        let lines = Lines { module, level, turn: turn.cloned(), partial: Vec::new(), last: String::new() };
        Self(Arc::new(Mutex::new(lines)))
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // A line is whole or it is not there; nothing in between can panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Both outputs of a guest; clones are the same outputs.
#[derive(Clone)]
pub(crate) struct Stdio {
    stdout: LineStream,
    stderr: LineStream,
}

impl Stdio {
    /// Outputs that go to the turn's log; without a turn only the last line is kept.
    pub(crate) fn new(turn: Option<&Turn>) -> Self {
        Self {
            stdout: LineStream::new("stdout", LogLevel::Info, turn),
            stderr: LineStream::new("stderr", LogLevel::Warn, turn),
        }
    }

    /// From here on lines go to this turn, or nowhere.
    pub(crate) fn rebind(&self, turn: Option<&Turn>) {
        for stream in [&self.stdout, &self.stderr] {
            stream.lines().turn = turn.cloned();
        }
    }

    pub(crate) fn stdout(&self) -> LineStream {
        self.stdout.clone()
    }

    pub(crate) fn stderr(&self) -> LineStream {
        self.stderr.clone()
    }

    /// Keeps an error that the guest logged as its last words.
    pub(crate) fn remember(&self, words: &str) {
        self.stderr.lines().remember(words);
    }

    /// Writes out what has no end of line yet, and answers the guest's last words.
    pub(crate) fn finish(&self) -> String {
        for stream in [&self.stdout, &self.stderr] {
            let mut lines = stream.lines();
            if !lines.partial.is_empty() {
                lines.flush();
            }
        }
        std::mem::take(&mut self.stderr.lines().last)
    }
}

impl IsTerminal for LineStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LineStream {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait]
impl Pollable for LineStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LineStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.lines().write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

impl AsyncWrite for LineStream {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.lines().write(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_that_say_something_are_kept() {
        let stdio = Stdio::new(None);
        let stderr = stdio.stderr();
        stderr.lines().write(b"first\npanicked at ");
        stderr.lines().write(b"src/lib.rs\r\n\n  \n");
        assert_eq!(stdio.finish(), "panicked at src/lib.rs");
        stdio.remember("panicked at src/lib.rs:3:\nboom");
        assert_eq!(stdio.finish(), "panicked at src/lib.rs:3: boom");
        assert_eq!(stdio.finish(), "");
    }

    #[test]
    fn a_line_without_end_is_cut_and_holds_no_more_than_a_line() {
        let stdio = Stdio::new(None);
        let stdout = stdio.stdout();
        for _ in 0..10 {
            stdout.lines().write(&[b'x'; LINE_BYTES_MAX - 1]);
            assert!(stdout.lines().partial.len() < LINE_BYTES_MAX);
        }
    }
}
