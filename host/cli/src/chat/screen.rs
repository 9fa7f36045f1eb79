//! The terminal during a chat: the answer on stdout, everything else on stderr.

use super::answer::Show;
use crate::exit::Failure;
use crate::output::{Output, note};

/// Where an answer is shown.
#[derive(Debug)]
pub(crate) struct Screen<'a> {
    output: &'a Output,
    /// The answer stopped within a line.
    within_line: bool,
}

impl<'a> Screen<'a> {
    /// A screen with nothing on it. With `--json` it shows no answer: the outcome does.
    pub(crate) fn new(output: &'a Output) -> Self {
        Self { output, within_line: false }
    }

    /// Shows the next of the answer.
    pub(crate) fn show(&mut self, show: &Show) -> Result<(), Failure> {
        if self.output.is_json() {
            return Ok(());
        }
        match show {
            Show::Text(text) => {
                self.within_line = !text.ends_with('\n');
                self.output.text(text)
            }
            Show::StartOver => {
                self.end_line()?;
                note("the answer starts over:");
                Ok(())
            }
        }
    }

    /// Says something beside the answer.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), Failure> {
        self.end_line()?;
        note(text);
        Ok(())
    }

    /// Ends an open line.
    pub(crate) fn end_line(&mut self) -> Result<(), Failure> {
        if std::mem::take(&mut self.within_line) { self.output.text("\n") } else { Ok(()) }
    }
}
