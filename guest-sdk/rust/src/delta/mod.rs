//! State as a JSON document, and the patches that keep the two together.
//!
//! Owns the trait [`DeltaState`] and what the derive calls. A type is compared with the document
//! the host has, place by place; what differs becomes RFC 6902 operations, and the document is
//! brought along. Must never touch what the type does not know: fields that a newer or older
//! version of the agent wrote stay in the document.

mod list;
mod map;
mod patch;
mod scalar;
mod structured;

pub use map::MapKey;
pub use patch::{Operation, Patch};

use crate::Json;

/// A type that the host keeps as JSON and that knows how to write down its own changes.
///
/// Derive it: `#[derive(Default, DeltaState)]` on a struct with named fields makes an object of
/// the fields, on a struct with one unnamed field it is that field. On an enum, and on a field
/// marked `#[delta(replace)]`, serde's form is used and any change replaces the whole value.
/// `#[delta(rename = "other")]` renames a field in the document, `#[delta(skip)]` leaves one out.
///
/// A field that the document lacks is taken from the struct's `Default`.
pub trait DeltaState: Sized {
    /// Reads the value of a document.
    fn load(value: &Json) -> Result<Self, Unfit>;

    /// The value of a new place in a document.
    fn save(&self) -> Result<Json, Unfit>;

    /// True when [`DeltaState::record`] would do nothing.
    fn same(&self, known: &Json) -> bool;

    /// Records what turns `known` into `self`, and does the same to `known`.
    ///
    /// After an error `known` may be anything between the two.
    fn record(&self, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
        if self.same(known) { Ok(()) } else { replace(self, known, patch) }
    }
}

/// A value and a type that do not fit each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// JSON Pointer of the place within the value.
    pub pointer: String,
    /// What is wrong there.
    pub reason: String,
}

impl Unfit {
    /// A misfit at the place at hand.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { pointer: String::new(), reason: reason.into() }
    }

    /// The same, seen from the parent in which the place is called `key`.
    #[must_use]
    pub fn within(mut self, key: &str) -> Self {
        let mut pointer = String::new();
        patch::push_key(&mut pointer, key);
        self.pointer.insert_str(0, &pointer);
        self
    }

    /// `expected` is a noun with its article; what was found is named by its kind only, since
    /// state may be private.
    pub(crate) fn kind(expected: &str, found: &Json) -> Self {
        let found = match found {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Number(_) => "another number",
            Json::String(_) => "a string",
            Json::Array(_) => "a list",
            Json::Object(_) => "an object",
        };
        Self::new(format!("expected {expected}, found {found}"))
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pointer = if self.pointer.is_empty() { "the root" } else { &self.pointer };
        write!(f, "the state at {pointer} does not fit its type: {}", self.reason)
    }
}

impl std::error::Error for Unfit {}

/// Records `value` as a replacement of the whole place.
pub fn replace<T: DeltaState>(value: &T, known: &mut Json, patch: &mut Patch) -> Result<(), Unfit> {
    *known = value.save()?;
    patch.replace(known.clone());
    Ok(())
}

/// The pieces that the derive puts together; not for use by hand.
#[doc(hidden)]
pub mod derive {
    pub use super::structured::{
        load_field, load_serde, load_serde_field, object, record_field, record_serde, record_serde_field, same_field,
        same_serde, same_serde_field, save_field, save_serde, save_serde_field,
    };
}
