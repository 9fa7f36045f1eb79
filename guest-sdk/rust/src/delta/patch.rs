//! A JSON Patch while it is being recorded.
//!
//! Owns the current path and its escaping (RFC 6901). Must never hold an operation that does not
//! apply to the document as it is after those before it.

use serde::Serialize;

use crate::Json;

/// One operation of RFC 6902, of the three kinds that recording needs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Puts a value where nothing is, or in front of a list's element.
    Add {
        /// Where.
        path: String,
        /// What.
        value: Json,
    },
    /// Puts another value in place of one.
    Replace {
        /// Where.
        path: String,
        /// What.
        value: Json,
    },
    /// Takes a value away.
    Remove {
        /// Where.
        path: String,
    },
}

/// The operations recorded so far, and the place at which the next one is recorded.
#[derive(Debug, Default)]
pub struct Patch {
    operations: Vec<Operation>,
    path: String,
}

impl Patch {
    /// An empty patch at the root of a document.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records an addition at the current place.
    pub fn add(&mut self, value: Json) {
        self.operations.push(Operation::Add { path: self.path.clone(), value });
    }

    /// Records a replacement of the current place.
    pub fn replace(&mut self, value: Json) {
        self.operations.push(Operation::Replace { path: self.path.clone(), value });
    }

    /// Records the removal of the current place.
    pub fn remove(&mut self) {
        self.operations.push(Operation::Remove { path: self.path.clone() });
    }

    /// Does something at the child `key` of the current place.
    pub fn at<T>(&mut self, key: &str, record: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        push_key(&mut self.path, key);
        let answer = record(self);
        self.path.truncate(length);
        answer
    }

    /// Does something at the element `index` of the list at the current place.
    pub fn at_index<T>(&mut self, index: usize, record: impl FnOnce(&mut Self) -> T) -> T {
        self.at(&index.to_string(), record)
    }

    /// What was recorded, in order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }
}

/// Appends `/key` to a pointer, escaped.
pub(super) fn push_key(pointer: &mut String, key: &str) {
    pointer.push('/');
    for character in key.chars() {
        match character {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}
