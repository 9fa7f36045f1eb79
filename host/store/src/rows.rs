//! The words that stand in the databases. Each is written and read here only.
//!
//! A word that is read and not known is an error of conversion, never a default.

use podium_wire::message::Role;
use podium_wire::rest::LogLevel;
pub use podium_wire::updates::TurnKind as RowKind;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// The word that is stored.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok($name::$variant),)*
                    _ => Err(FromSqlError::InvalidType),
                }
            }
        }
    };
}

words! {
    /// How far an inbox row is.
    RowStatus {
        /// Waits for its turn.
        Waiting "waiting",
        /// A turn runs for it, or ran when the host ended.
        Running "running",
        /// Failed too often; waits for a person.
        Parked "parked",
        /// Consumed by a cut.
        Done "done",
    }
}

words! {
    /// What made a cut.
    CutKind {
        /// `on-init`, or the creation of an agent without it.
        Init "init",
        /// A turn that ended well.
        Turn "turn",
        /// A turn that ended without its effects.
        Error "error",
        /// A new configuration.
        Config "config",
        /// A write from outside a turn.
        External "external",
        /// New code.
        Upgrade "upgrade",
        /// Back to an earlier cut.
        Rewind "rewind",
        /// A copy of another instance's cut.
        Fork "fork",
    }
}

words! {
    /// In what guest a turn began.
    Began {
        /// A new one.
        Fresh "fresh",
        /// One that had lived through earlier turns.
        Warm "warm",
    }
}

/// A wire word as a column.
pub(crate) struct Word<T>(pub(crate) T);

macro_rules! wire_words {
    ($type:ty { $($variant:ident $word:literal,)* }) => {
        impl ToSql for Word<$type> {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let word: &'static str = match self.0 { $(<$type>::$variant => $word,)* };
                Ok(word.into())
            }
        }

        impl FromSql for Word<$type> {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_str()? {
                    $($word => Ok(Word(<$type>::$variant)),)*
                    _ => Err(FromSqlError::InvalidType),
                }
            }
        }
    };
}

wire_words!(RowKind {
    Init "init", Message "message", ConfigChange "config_change", Upgrade "upgrade", Idle "idle", Shutdown "shutdown",
});
wire_words!(Role { User "user", Assistant "assistant", System "system", Tool "tool", });

/// A level as a number, so that `>=` selects what matters at least as much.
pub(crate) fn level_number(level: LogLevel) -> i64 {
    match level {
        LogLevel::Trace => 0,
        LogLevel::Debug => 1,
        LogLevel::Info => 2,
        LogLevel::Warn => 3,
        LogLevel::Error => 4,
    }
}

/// The level of a number.
pub(crate) fn level_of(number: i64) -> LogLevel {
    match number {
        i64::MIN..=0 => LogLevel::Trace,
        1 => LogLevel::Debug,
        2 => LogLevel::Info,
        3 => LogLevel::Warn,
        4.. => LogLevel::Error,
    }
}
