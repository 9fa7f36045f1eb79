//! The steps of a batch on a document: each known by its inverse and by what it does to the document's size. Pure.
//!
//! Knows nothing of limits. Undone in reverse, every step finds the document as it left it.

use jsonptr::Pointer;
use serde_json::Value;

use crate::state::{PatchReason, json_bytes};

/// A place in a container of the document.
#[derive(Debug, Clone)]
pub(crate) struct Spot {
    parent: String,
    key: Key,
}

#[derive(Debug, Clone)]
enum Key {
    Member(String),
    Index(usize),
}

impl Spot {
    /// The place of a value that is there.
    pub(crate) fn existing(doc: &Value, path: &Pointer) -> Result<Self, PatchReason> {
        let (parent, last) = path.split_back().ok_or(PatchReason::NoSuchPath)?;
        let key = match doc.pointer(parent.as_str()) {
            Some(Value::Object(members)) if members.contains_key(last.decoded().as_ref()) => {
                Key::Member(last.decoded().into_owned())
            }
            Some(Value::Array(items)) => {
                let index = last.to_index().ok().and_then(|index| index.for_len(items.len()).ok());
                Key::Index(index.ok_or(PatchReason::NoSuchIndex)?)
            }
            _ => return Err(PatchReason::NoSuchPath),
        };
        Ok(Self { parent: parent.as_str().to_owned(), key })
    }

    /// The place where `add` puts a value.
    pub(crate) fn to_insert(doc: &Value, path: &Pointer) -> Result<Self, PatchReason> {
        let (parent, last) = path.split_back().ok_or(PatchReason::NoSuchPath)?;
        let key = match doc.pointer(parent.as_str()) {
            Some(Value::Object(_)) => Key::Member(last.decoded().into_owned()),
            Some(Value::Array(items)) => {
                let index = last.to_index().ok().and_then(|index| index.for_len_incl(items.len()).ok());
                Key::Index(index.ok_or(PatchReason::NoSuchIndex)?)
            }
            _ => return Err(PatchReason::NoSuchPath),
        };
        Ok(Self { parent: parent.as_str().to_owned(), key })
    }

    /// Elements of an array behind this place.
    pub(crate) fn shifted(&self, doc: &Value) -> usize {
        match (&self.key, doc.pointer(&self.parent)) {
            (Key::Index(index), Some(Value::Array(items))) => items.len().saturating_sub(*index),
            _ => 0,
        }
    }

    /// Bytes of the key and the colon.
    fn key_bytes(&self) -> usize {
        match &self.key {
            Key::Member(name) => json_bytes(name.as_str()) + 1,
            Key::Index(_) => 0,
        }
    }
}

/// What was done, as far as it takes to undo it.
#[derive(Debug)]
enum Step {
    Inserted { at: Spot, displaced: Option<Value> },
    Removed { at: Spot, value: Value },
    Replaced { at: Spot, value: Value },
    Moved { from: Spot, to: Spot, displaced: Option<Value> },
    MovedToRoot { from: Spot, root: Value },
    Root(Value),
}

/// A document with the steps done to it.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    doc: &'a mut Value,
    bytes: usize,
    done: Vec<Step>,
}

impl<'a> Steps<'a> {
    /// Begins with a document of `bytes`, as compact JSON.
    pub(crate) fn new(doc: &'a mut Value, bytes: usize) -> Self {
        Self { doc, bytes, done: Vec::new() }
    }

    pub(crate) fn doc(&self) -> &Value {
        self.doc
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replaces the whole document.
    pub(crate) fn set_root(&mut self, value: Value) {
        self.bytes = json_bytes(&value);
        self.done.push(Step::Root(std::mem::replace(self.doc, value)));
    }

    /// Inserts into an array, or sets a member.
    pub(crate) fn insert(&mut self, at: Spot, value: Value) {
        self.grow(json_bytes(&value));
        let displaced = self.place(&at, value);
        self.done.push(Step::Inserted { at, displaced });
    }

    /// Removes a value that is there.
    pub(crate) fn remove(&mut self, at: Spot) {
        if let Some(value) = self.take(&at) {
            self.shrink(json_bytes(&value));
            self.done.push(Step::Removed { at, value });
        }
    }

    /// Sets a value that is there.
    pub(crate) fn replace(&mut self, at: Spot, value: Value) {
        let bytes = json_bytes(&value);
        if let Some(old) = self.swap(&at, value) {
            self.grow(bytes);
            self.shrink(json_bytes(&old));
            self.done.push(Step::Replaced { at, value: old });
        }
    }

    /// Moves the value at `from` to `path`; the elements that had to make room. After an error nothing has moved.
    pub(crate) fn move_value(&mut self, from: Spot, path: &Pointer) -> Result<usize, PatchReason> {
        let Some(value) = self.take(&from) else { return Err(PatchReason::NoSuchFrom) };
        if path.is_root() {
            let root = std::mem::replace(self.doc, value);
            self.bytes = json_bytes(&*self.doc);
            self.done.push(Step::MovedToRoot { from, root });
            return Ok(0);
        }
        match Spot::to_insert(self.doc, path) {
            Ok(to) => {
                let shifted = to.shifted(self.doc);
                let displaced = self.place(&to, value);
                self.done.push(Step::Moved { from, to, displaced });
                Ok(shifted)
            }
            Err(reason) => {
                self.place(&from, value);
                Err(reason)
            }
        }
    }

    /// Takes back everything.
    pub(crate) fn undo(&mut self) {
        while let Some(step) = self.done.pop() {
            match step {
                Step::Inserted { at, displaced } => {
                    self.take(&at);
                    if let Some(displaced) = displaced {
                        self.place(&at, displaced);
                    }
                }
                Step::Removed { at, value } => {
                    self.place(&at, value);
                }
                Step::Replaced { at, value } => {
                    self.swap(&at, value);
                }
                Step::Moved { from, to, displaced } => {
                    let value = self.take(&to);
                    if let Some(displaced) = displaced {
                        self.place(&to, displaced);
                    }
                    if let Some(value) = value {
                        self.place(&from, value);
                    }
                }
                Step::MovedToRoot { from, root } => {
                    let value = std::mem::replace(self.doc, root);
                    self.place(&from, value);
                }
                Step::Root(root) => *self.doc = root,
            }
        }
    }

    /// Puts a value in; what a member held before. Counts all but the new value's own bytes.
    fn place(&mut self, at: &Spot, value: Value) -> Option<Value> {
        let key_bytes = at.key_bytes();
        let (displaced, was_empty) = match (&at.key, self.doc.pointer_mut(&at.parent)) {
            (Key::Member(name), Some(Value::Object(members))) => {
                let was_empty = members.is_empty();
                (members.insert(name.clone(), value), was_empty)
            }
            (Key::Index(index), Some(Value::Array(items))) => {
                let was_empty = items.is_empty();
                items.insert((*index).min(items.len()), value);
                (None, was_empty)
            }
            _ => return None,
        };
        match &displaced {
            Some(displaced) => self.shrink(json_bytes(displaced)),
            None => self.grow(key_bytes + usize::from(!was_empty)),
        }
        displaced
    }

    /// Exchanges a value that is there, in its place: nothing behind it shifts.
    fn swap(&mut self, at: &Spot, value: Value) -> Option<Value> {
        let found = match (&at.key, self.doc.pointer_mut(&at.parent)) {
            (Key::Member(name), Some(Value::Object(members))) => members.get_mut(name),
            (Key::Index(index), Some(Value::Array(items))) => items.get_mut(*index),
            _ => None,
        };
        found.map(|found| std::mem::replace(found, value))
    }

    /// Takes a value out. Counts all but the value's own bytes.
    fn take(&mut self, at: &Spot) -> Option<Value> {
        let key_bytes = at.key_bytes();
        let (value, is_empty) = match (&at.key, self.doc.pointer_mut(&at.parent)) {
            (Key::Member(name), Some(Value::Object(members))) => (members.remove(name)?, members.is_empty()),
            (Key::Index(index), Some(Value::Array(items))) if *index < items.len() => {
                (items.remove(*index), items.is_empty())
            }
            _ => return None,
        };
        self.shrink(key_bytes + usize::from(!is_empty));
        Some(value)
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Saturates where a fold does not count from the document's size.
    fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
