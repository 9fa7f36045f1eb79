//! Lines for the agent's log, which its author and operator read and clients never see.
//!
//! Owns the macros `trace!` … `error!`. Must never fail or wait: the host drops and counts what
//! is too much.

pub use crate::bindings::podium::agent::log::Level;
use crate::{Json, host};

/// Writes one line, with fields for machines where there are some.
///
/// `module` is where it comes from; the macros give the Rust module's path.
pub fn write(level: Level, module: &str, message: &str, fields: Option<&Json>) {
    let fields = fields.map(Json::to_string);
    host::log::write(level, module, message, fields.as_deref());
}

/// Logs at any level: `log!(Level::Info, "{n} files")`.
#[macro_export]
macro_rules! log {
    ($level:expr, $($text:tt)*) => {
        $crate::log::write($level, ::core::module_path!(), &::std::format!($($text)*), ::core::option::Option::None)
    };
}

/// Logs everything there is to say.
#[macro_export]
macro_rules! trace {
    ($($text:tt)*) => { $crate::log!($crate::log::Level::Trace, $($text)*) };
}

/// Logs what helps to find a fault.
#[macro_export]
macro_rules! debug {
    ($($text:tt)*) => { $crate::log!($crate::log::Level::Debug, $($text)*) };
}

/// Logs what happens normally.
#[macro_export]
macro_rules! info {
    ($($text:tt)*) => { $crate::log!($crate::log::Level::Info, $($text)*) };
}

/// Logs the unexpected that was handled.
#[macro_export]
macro_rules! warn {
    ($($text:tt)*) => { $crate::log!($crate::log::Level::Warn, $($text)*) };
}

/// Logs a failure.
#[macro_export]
macro_rules! error {
    ($($text:tt)*) => { $crate::log!($crate::log::Level::Error, $($text)*) };
}
