//! How a command ends: the failure, its exit code, and what is said of it on stderr.
//!
//! The one table of exit codes (0 ok · 1 agent or server error · 2 usage · 3 not found · 4 unreachable · 5 refused ·
//! 75 data folder in use). A failure that was not said must never end with 0.

use std::io::Write;
use std::process::ExitCode;

use podium_kit::data::DataError;
use podium_wire::error::ErrorBody;
use podium_wire::{ErrorCode, WireError};

use crate::output::{ERROR, HINT, Output};
use crate::sanitise;

/// An exit code with its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The agent or the server failed.
    Failed = 1,
    /// The command was not understood.
    Usage = 2,
    /// What was named is not there.
    NotFound = 3,
    /// No server answers.
    Unreachable = 4,
    /// The server understood and refused.
    Refused = 5,
    /// Another host has the data folder (`EX_TEMPFAIL` of sysexits).
    DataFolderInUse = 75,
}

impl Exit {
    /// The exit code of an error; `None` is a guest's own code.
    pub(crate) fn of(code: Option<ErrorCode>) -> Self {
        let Some(code) = code else { return Self::Failed };
        match code {
            ErrorCode::Usage => Self::Usage,
            ErrorCode::Unreachable | ErrorCode::ConnectionLost | ErrorCode::ShuttingDown => Self::Unreachable,
            ErrorCode::DataFolderInUse => Self::DataFolderInUse,
            ErrorCode::ListenRefused => Self::Refused,
            code if code.status() == 404 => Self::NotFound,
            code if (400..500).contains(&code.status()) => Self::Refused,
            _ => Self::Failed,
        }
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error to be said.
    Error {
        /// What happened.
        error: Box<WireError>,
        /// How the process ends.
        exit: Exit,
    },
    /// An error that was said when it happened.
    Said(Exit),
    /// Whoever read our output has gone, as `head` does; nobody is left to be told.
    PipeClosed,
}

impl Failure {
    /// A failure with the code's own exit code and hint.
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::from(WireError::new(code, message))
    }

    /// Says it now, and keeps the exit code only.
    pub(crate) fn said(self) -> Self {
        match self {
            Self::Error { error, exit } => {
                say(&error);
                Self::Said(exit)
            }
            other => other,
        }
    }

    /// A mistake in how the command was called.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Usage, message)
    }

    /// The same with another hint.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Error { error, exit } => Self::Error { error: Box::new(error.with_hint(hint)), exit },
            other => other,
        }
    }

    /// The same with another exit code.
    pub(crate) fn exit(self, exit: Exit) -> Self {
        match self {
            Self::Error { error, .. } => Self::Error { error, exit },
            Self::Said(_) => Self::Said(exit),
            Self::PipeClosed => Self::PipeClosed,
        }
    }

    /// The code, where the host knows it.
    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Error { error, .. } => error.known_code(),
            Self::Said(_) | Self::PipeClosed => None,
        }
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        let exit = Exit::of(error.known_code());
        Self::Error { error: Box::new(error), exit }
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        let code = match &error {
            DataError::Unknown => ErrorCode::Usage,
            DataError::InUse(_) => ErrorCode::DataFolderInUse,
            DataError::Io { source, .. } => storage_code(source),
        };
        Self::new(code, error.to_string())
    }
}

/// The code of a refusal by the system.
pub(crate) fn storage_code(error: &std::io::Error) -> ErrorCode {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => ErrorCode::StorageFull,
        std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => ErrorCode::StorageReadOnly,
        _ => ErrorCode::StorageFailed,
    }
}

/// Says a failure and gives the exit code.
pub(crate) fn report(failure: &Failure, output: &Output) -> ExitCode {
    let (error, exit) = match failure {
        Failure::Error { error, exit } => (error, exit),
        Failure::Said(exit) => return ExitCode::from(*exit as u8),
        Failure::PipeClosed => return ExitCode::SUCCESS,
    };
    if output.is_json() {
        // A program that reads stdout gets one document whatever happens. If stdout is gone, stderr still says it.
        drop(output.json(&ErrorBody { error: (**error).clone() }));
    }
    say(error);
    ExitCode::from(*exit as u8)
}

/// Writes `error[CODE]: message` and the hint to stderr.
pub(crate) fn say(error: &WireError) {
    let clean = |text: &str| sanitise::terminal(text).into_owned();
    let mut text = format!("{ERROR}error[{}]{ERROR:#}: {}\n", clean(&error.code), clean(&error.message));
    if let Some(hint) = &error.hint {
        text.push_str(&format!("{HINT}hint{HINT:#}: {}\n", clean(hint)));
    }
    // There is nowhere left to report a failure of stderr.
    drop(anstream::stderr().write_all(text.as_bytes()));
}

/// Says what clap refused, or prints the help that was asked for.
pub(crate) fn usage(refused: &clap::Error) -> ExitCode {
    if !refused.use_stderr() {
        return match refused.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(Exit::Failed as u8),
        };
    }
    let text = with_code(&refused.render().ansi().to_string());
    drop(anstream::stderr().write_all(text.as_bytes()));
    ExitCode::from(Exit::Usage as u8)
}

/// clap opens with its own styled `error:`; ours carries the code.
fn with_code(rendered: &str) -> String {
    let opening = unstyled_start(rendered);
    match rendered[opening..].strip_prefix("error:").and_then(|rest| rest.split_once(' ')) {
        Some((_, rest)) => format!("{ERROR}error[{}]{ERROR:#}: {rest}", ErrorCode::Usage),
        None => rendered.to_owned(),
    }
}

/// Where the text begins behind the styles that open it.
fn unstyled_start(text: &str) -> usize {
    let mut start = 0;
    while let Some(rest) = text[start..].strip_prefix("\u{1b}[") {
        let Some(end) = rest.find('m') else { break };
        start += "\u{1b}[".len() + end + 1;
    }
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_in_the_call_carries_its_code() {
        let styled = "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m unexpected argument: x\n\nUsage: podium";
        let said = anstream::adapter::strip_str(&with_code(styled)).to_string();
        assert_eq!(said, "error[POD-6005]: unexpected argument: x\n\nUsage: podium");
        assert_eq!(with_code("A serverless host"), "A serverless host");
    }

    #[test]
    fn every_code_has_the_exit_code_of_its_kind() {
        let of = |code| Exit::of(Some(code));
        assert_eq!(of(ErrorCode::Usage), Exit::Usage);
        assert_eq!(of(ErrorCode::InstanceNotFound), Exit::NotFound);
        assert_eq!(of(ErrorCode::DeploymentNotFound), Exit::NotFound);
        assert_eq!(of(ErrorCode::FileNotFound), Exit::NotFound);
        assert_eq!(of(ErrorCode::Unreachable), Exit::Unreachable);
        assert_eq!(of(ErrorCode::ConnectionLost), Exit::Unreachable);
        assert_eq!(of(ErrorCode::VersionExists), Exit::Refused);
        assert_eq!(of(ErrorCode::Unauthorized), Exit::Refused);
        assert_eq!(of(ErrorCode::CoreModule), Exit::Refused);
        assert_eq!(of(ErrorCode::InboxFull), Exit::Refused);
        assert_eq!(of(ErrorCode::ListenRefused), Exit::Refused);
        assert_eq!(of(ErrorCode::DataFolderInUse), Exit::DataFolderInUse);
        assert_eq!(of(ErrorCode::GuestTrap), Exit::Failed);
        assert_eq!(of(ErrorCode::Parked), Exit::Failed);
        assert_eq!(of(ErrorCode::StorageFull), Exit::Failed);
        assert_eq!(Exit::of(None), Exit::Failed);
        assert!(ErrorCode::ALL.iter().all(|code| Exit::of(Some(*code)) as u8 != 0));
        assert_eq!(Exit::DataFolderInUse as u8, 75);
    }
}
