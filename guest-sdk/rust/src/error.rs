//! The one error type of handlers: what the host shows to people when a turn ends in an error.
//!
//! Owns the way from any `std::error::Error` into it, causes included, and the place where that happened. Must never drop a
//! cause or a host's error code on the way.

use std::any::Any;
use std::fmt;
use std::panic::Location;

use crate::bindings::podium::agent::types::Error as HostError;

/// The code of an error whose author gave none.
pub const DEFAULT_CODE: &str = "error";

/// What a handler answers.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure of a handler, or of a call to the host.
///
/// Any `std::error::Error` turns into one with `?`; its causes become part of the message. It
/// does not implement `std::error::Error` itself, which is what makes that conversion possible.
///
/// It knows where it was made: the line with the `?`, with [`bail!`](crate::bail) or with the call of the SDK that failed.
/// When a hook answers one, that place is in the agent's log.
#[derive(Clone)]
pub struct Error {
    /// `POD-NNNN` when the host made it, else a word of the author's, `error` by default.
    pub code: String,
    /// What happened, in one sentence; the host keeps 8 KiB.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// True when the same call may succeed later without a change.
    pub retryable: bool,
    /// None while it is the host's, or of the SDK's inside: an author has no use for a line of those.
    place: Option<&'static Location<'static>>,
}

/// Errors are equal when they say the same, wherever that is.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        let said = |error: &Self| (error.code.clone(), error.message.clone(), error.hint.clone(), error.retryable);
        said(self) == said(other)
    }
}

impl Error {
    /// An error with code `error`.
    #[track_caller]
    pub fn msg(message: impl fmt::Display) -> Self {
        Self::new(DEFAULT_CODE, message)
    }

    /// An error with a code of the author's.
    #[track_caller]
    pub fn new(code: impl Into<String>, message: impl fmt::Display) -> Self {
        let place = Some(Location::caller());
        Self { code: code.into(), message: message.to_string(), hint: None, retryable: false, place }
    }

    /// Where in the agent's code it was made.
    pub fn place(&self) -> Option<&'static Location<'static>> {
        self.place
    }

    /// One of the SDK's inside, which no line of the agent's made.
    pub(crate) fn without_place(self) -> Self {
        Self { place: None, ..self }
    }

    /// A line for the agent's log: the code, and where it comes from.
    pub(crate) fn log_line(&self) -> String {
        match self.place {
            Some(place) => format!("{} at {}:{}", self.code, place.file(), place.line()),
            None => self.code.clone(),
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Marks it as worth trying again unchanged.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// Puts what was being done in front of the message; the code stays.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    pub(crate) fn from_host(error: HostError) -> Self {
        Self { code: error.code, message: error.message, hint: error.hint, retryable: error.retryable, place: None }
    }

    pub(crate) fn into_host(self) -> HostError {
        HostError { code: self.code, message: self.message, hint: self.hint, retryable: self.retryable }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    #[track_caller]
    fn from(error: E) -> Self {
        // The bindings' error type carries a code that its text alone would lose.
        if let Some(host) = (&error as &dyn Any).downcast_ref::<HostError>() {
            return Self { place: Some(Location::caller()), ..Self::from_host(host.clone()) };
        }
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some errors repeat their cause in their own text; once is enough.
            if !message.ends_with(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = error.source();
        }
        Self::msg(message)
    }
}

/// Adds what was being done to an error on its way up.
pub trait Context<T> {
    /// `read_to_string(path).context("reading the notes")?`
    #[track_caller]
    fn context(self, doing: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Error>> Context<T> for std::result::Result<T, E> {
    #[track_caller]
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        // No closure: it would be the place.
        match self {
            Ok(value) => Ok(value),
            Err(error) => Err(error.into().context(doing)),
        }
    }
}

impl<T> Context<T> for Option<T> {
    #[track_caller]
    fn context(self, doing: impl fmt::Display) -> Result<T> {
        match self {
            Some(value) => Ok(value),
            None => Err(Error::msg(doing)),
        }
    }
}

/// What a call of the SDK answers: an error in it comes from the line that made the call.
#[track_caller]
pub(crate) fn placed<T>(result: Result<T>) -> Result<T> {
    match result {
        Ok(value) => Ok(value),
        Err(error) => Err(Error { place: Some(Location::caller()), ..error }),
    }
}

/// The same for what is awaited: the line is the one that made the future.
#[track_caller]
pub(crate) fn placed_later<T, F: Future<Output = Result<T>>>(future: F) -> impl Future<Output = Result<T>> + use<T, F> {
    let place = Some(Location::caller());
    async move { future.await.map_err(|error| Error { place, ..error }) }
}

/// Returns from the handler with an error of this text.
#[macro_export]
macro_rules! bail {
    ($($text:tt)*) => {
        return ::core::result::Result::Err($crate::Error::msg(::std::format!($($text)*)))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(std::num::ParseIntError);
    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the count is unusable")
        }
    }
    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn causes_are_kept() {
        let error = Error::from(Outer("x".parse::<u8>().unwrap_err()));
        assert_eq!(error.message, "the count is unusable: invalid digit found in string");
        assert_eq!(error.code, DEFAULT_CODE);
    }

    #[test]
    fn a_host_error_keeps_its_code_through_question_mark() {
        fn call() -> Result<()> {
            Err(HostError {
                code: "POD-4010".into(),
                message: "operation 0 does not apply".into(),
                hint: Some("look".into()),
                retryable: true,
            })?;
            Ok(())
        }
        let error = call().unwrap_err();
        assert_eq!((error.code.as_str(), error.retryable, error.hint.as_deref()), ("POD-4010", true, Some("look")));
    }

    #[test]
    fn context_goes_in_front() {
        let error = Err::<(), _>(Error::new("gone", "no such file")).context("reading a.md").unwrap_err();
        assert_eq!(format!("{error:?}"), "gone: reading a.md: no such file");
    }

    #[test]
    fn an_error_knows_the_line_of_its_author() {
        fn number(text: &str) -> Result<u8> {
            Ok(text.parse::<u8>()?)
        }
        fn refuse() -> Result<u8> {
            bail!("no")
        }
        let first = line!() + 1;
        let made = [
            Error::new("gone", "no such file"),
            Err::<(), _>("x".parse::<u8>().unwrap_err()).context("counting").unwrap_err(),
            None::<u8>.context("nothing there").unwrap_err(),
            placed::<u8>(Err(Error::from_host(Error::msg("inside").into_host()))).unwrap_err(),
        ];
        let places = made.map(|error| error.place().expect("a place"));
        assert!(places.iter().all(|place| place.file().ends_with("src/error.rs")), "{places:?}");
        assert_eq!(places.map(|place| place.line() - first), [1, 2, 3, 4]);
        // The line with the `?`, whoever passes it on, and whatever is put in front of it.
        let above = number("x").context("counting").unwrap_err();
        assert_eq!(above.place().map(|place| place.line()), Some(first - 6));
        assert_eq!(refuse().unwrap_err().place().map(|place| place.line()), Some(first - 3));
        assert_eq!(above.log_line(), format!("error at {}:{}", file!(), first - 6));
    }

    #[test]
    fn bail_returns() {
        fn refuse(n: u8) -> Result<()> {
            bail!("{n} is too many")
        }
        assert_eq!(refuse(3).unwrap_err().message, "3 is too many");
    }
}
