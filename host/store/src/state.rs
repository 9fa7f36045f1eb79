//! The state as a document: applying patches, folding stored ones, measuring. Pure.
//!
//! A batch is applied whole or not at all. Operations are parsed by the crate `json-patch` and done here, with the size known
//! after each (`copy` doubles), an undo in place of a copy of the document, and a bound on the work: guests write the
//! patches, and an agent with a large state changes a little of it at a time.

use std::io;
use std::sync::Arc;

use json_patch::PatchOperation;
use jsonptr::Pointer;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::state_steps::{Spot, Steps};

/// A batch may copy bytes and shift array elements up to this many times the state's size limit: far beyond what an
/// author writes by hand, a fraction of a second at the host's expense.
const WORK_FACTOR: usize = 16;

/// Nesting that a patch adds around a value: the array of operations and the operation.
const PATCH_NESTING: usize = 2;

/// A path in an error is cut to this: a guest writes it.
const WORD_CHARS_MAX: usize = 200;

/// What a state may grow to; the numbers are the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateLimits {
    /// Bytes as compact JSON.
    pub bytes_max: usize,
    /// Objects and arrays within each other, the root counted.
    pub depth_max: usize,
    /// Operations of a batch.
    pub operations_max: usize,
}

impl StateLimits {
    /// For patches that were checked when they were committed.
    const NONE: Self = Self { bytes_max: usize::MAX, depth_max: usize::MAX, operations_max: usize::MAX };
}

/// Why a batch was refused; the document is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", self.place())]
pub struct PatchError {
    /// The operation, from 0; none when the batch as a whole is at fault.
    pub index: Option<usize>,
    /// Its `op` and `path`, as far as they could be read.
    pub operation: Option<(String, String)>,
    /// What is wrong.
    pub reason: PatchReason,
}

/// What is wrong with an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchReason {
    /// The patch is no array.
    #[error("a patch is an array of operations")]
    NotAnArray,
    /// An operation lacks a member, or has one of another type.
    #[error("{0}")]
    Malformed(String),
    /// Nothing is at `path`, or its parent cannot hold it.
    #[error("there is no such path")]
    NoSuchPath,
    /// Nothing is at `from`.
    #[error("there is no such `from`")]
    NoSuchFrom,
    /// An array's index is beyond its end or no number.
    #[error("the index is not in the array")]
    NoSuchIndex,
    /// The value is another.
    #[error("the value is another")]
    TestFailed,
    /// A value would be moved into itself.
    #[error("a value cannot be moved into itself")]
    IntoItself,
    /// The root would be no object.
    #[error("the root of the state is an object")]
    RootNotObject,
    /// More operations than the limit.
    #[error("a batch has at most {0} operations")]
    TooManyOperations(usize),
    /// The document would be larger than the limit.
    #[error("the state would be larger than {0} bytes")]
    TooLarge(usize),
    /// The document would be deeper than the limit.
    #[error("the state would be deeper than {0}")]
    TooDeep(usize),
    /// The operations of the batch copy and shift too much.
    #[error("the batch copies and shifts too much; do it in smaller ones")]
    TooMuchWork,
}

impl PatchError {
    /// True when a limit of the state was reached, false when the patch does not apply.
    pub fn is_limit(&self) -> bool {
        use PatchReason::{TooDeep, TooLarge, TooManyOperations, TooMuchWork};
        matches!(self.reason, TooDeep(_) | TooLarge(_) | TooManyOperations(_) | TooMuchWork)
    }

    fn place(&self) -> String {
        match (self.index, &self.operation) {
            (Some(index), Some((op, path))) => format!("operation {index} ({op} `{path}`): "),
            (Some(index), None) => format!("operation {index}: "),
            (None, _) => String::new(),
        }
    }

    fn whole(reason: PatchReason) -> Self {
        Self { index: None, operation: None, reason }
    }
}

/// A state that is being changed: shared until the first patch, measured once.
#[derive(Debug, Clone)]
pub struct Document {
    root: Arc<Value>,
    bytes: Option<usize>,
}

impl Document {
    /// Takes the state of a cut.
    pub fn new(root: Arc<Value>) -> Self {
        Self { root, bytes: None }
    }

    /// The document as it is now.
    pub fn root(&self) -> &Arc<Value> {
        &self.root
    }

    /// Applies a patch (an array of operations), whole or not at all. The cost is that of the operations, whatever the
    /// document's size, the first call's measuring apart.
    pub fn apply(&mut self, patch: &Value, limits: &StateLimits) -> Result<(), PatchError> {
        let before = *self.bytes.get_or_insert_with(|| json_bytes(&*self.root));
        let root = Arc::make_mut(&mut self.root);
        self.bytes = Some(run(root, before, patch, limits)?);
        Ok(())
    }
}

/// The state before any patch.
pub fn empty() -> Value {
    Value::Object(Map::new())
}

/// Applies one patch to a document that nobody keeps; the cost includes measuring it. [`Document`] is for many.
pub fn apply_patch(doc: &mut Value, patch: &Value, limits: &StateLimits) -> Result<(), PatchError> {
    let before = json_bytes(doc);
    run(doc, before, patch, limits).map(drop)
}

/// Applies patches that were accepted once, without limits. After an error the document is of no use.
pub fn fold(doc: &mut Value, patches: &[Value]) -> Result<(), PatchError> {
    patches.iter().try_for_each(|patch| run(doc, 0, patch, &StateLimits::NONE).map(drop))
}

/// Bytes of a value as compact JSON.
pub fn json_bytes<T: serde::Serialize + ?Sized>(value: &T) -> usize {
    struct Counter(usize);
    impl io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Neither a JSON value nor the counter can fail; if one did the size would be past any limit.
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX,
    }
}

/// True when objects and arrays are within each other more than `depth` times.
pub fn deeper_than(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(items) => depth == 0 || items.iter().any(|item| deeper_than(item, depth - 1)),
        Value::Object(members) => depth == 0 || members.values().any(|member| deeper_than(member, depth - 1)),
        _ => false,
    }
}

/// Applies a patch to a document of `bytes`; its bytes after it.
fn run(doc: &mut Value, bytes: usize, patch: &Value, limits: &StateLimits) -> Result<usize, PatchError> {
    let Value::Array(operations) = patch else { return Err(PatchError::whole(PatchReason::NotAnArray)) };
    if operations.len() > limits.operations_max {
        return Err(PatchError::whole(PatchReason::TooManyOperations(limits.operations_max)));
    }
    // Also members that no operation has: the patch is stored, and read again with a bounded depth.
    if deeper_than(patch, limits.depth_max.saturating_add(PATCH_NESTING)) {
        return Err(PatchError::whole(PatchReason::TooDeep(limits.depth_max)));
    }
    let mut batch = Batch { steps: Steps::new(doc, bytes), limits, work: 0 };
    for (index, operation) in operations.iter().enumerate() {
        if let Err(reason) = batch.operation(operation) {
            batch.steps.undo();
            let word = |name: &str| {
                let word = operation.get(name).and_then(Value::as_str).unwrap_or("?");
                word.chars().take(WORD_CHARS_MAX).collect()
            };
            return Err(PatchError { index: Some(index), operation: Some((word("op"), word("path"))), reason });
        }
    }
    Ok(batch.steps.bytes())
}

struct Batch<'a> {
    steps: Steps<'a>,
    limits: &'a StateLimits,
    work: usize,
}

impl Batch<'_> {
    fn operation(&mut self, operation: &Value) -> Result<(), PatchReason> {
        let operation =
            PatchOperation::deserialize(operation).map_err(|error| PatchReason::Malformed(error.to_string()))?;
        match operation {
            PatchOperation::Add(add) => self.put(&add.path, add.value)?,
            PatchOperation::Remove(remove) => {
                let spot = self.find(&remove.path)?;
                self.shift(&spot)?;
                self.steps.remove(spot);
            }
            PatchOperation::Replace(replace) => {
                self.check_value(&replace.path, &replace.value)?;
                if replace.path.is_root() {
                    self.steps.set_root(replace.value);
                } else {
                    let spot = self.find(&replace.path)?;
                    self.steps.replace(spot, replace.value);
                }
            }
            PatchOperation::Move(moved) => self.move_value(&moved.from, &moved.path)?,
            PatchOperation::Copy(copy) => {
                let source = self.steps.doc().pointer(copy.from.as_str()).ok_or(PatchReason::NoSuchFrom)?;
                let work = json_bytes(source);
                self.work(work)?;
                let value = self.steps.doc().pointer(copy.from.as_str()).ok_or(PatchReason::NoSuchFrom)?.clone();
                self.put(&copy.path, value)?;
            }
            PatchOperation::Test(test) => {
                let found = self.steps.doc().pointer(test.path.as_str()).ok_or(PatchReason::NoSuchPath)?;
                if *found != test.value {
                    return Err(PatchReason::TestFailed);
                }
            }
        }
        if self.steps.bytes() > self.limits.bytes_max {
            return Err(PatchReason::TooLarge(self.limits.bytes_max));
        }
        Ok(())
    }

    fn put(&mut self, path: &Pointer, value: Value) -> Result<(), PatchReason> {
        self.check_value(path, &value)?;
        if path.is_root() {
            self.steps.set_root(value);
            return Ok(());
        }
        let spot = Spot::to_insert(self.steps.doc(), path)?;
        self.shift(&spot)?;
        self.steps.insert(spot, value);
        Ok(())
    }

    fn move_value(&mut self, from: &Pointer, path: &Pointer) -> Result<(), PatchReason> {
        let source = self.steps.doc().pointer(from.as_str()).ok_or(PatchReason::NoSuchFrom)?;
        if from == path {
            return Ok(());
        }
        if path.starts_with(from) {
            return Err(PatchReason::IntoItself);
        }
        if path.is_root() && !source.is_object() {
            return Err(PatchReason::RootNotObject);
        }
        if path.count() > from.count() && self.limits.depth_max < usize::MAX {
            // Moved up or along, nothing gets deeper; moved down, all of it may.
            let work = json_bytes(source);
            let depth = self.limits.depth_max;
            if depth.checked_sub(path.count()).is_none_or(|left| deeper_than(source, left)) {
                return Err(PatchReason::TooDeep(depth));
            }
            self.work(work)?;
        }
        let spot = self.find(from).map_err(|_| PatchReason::NoSuchFrom)?;
        self.shift(&spot)?;
        let shifted = self.steps.move_value(spot, path)?;
        self.work(shifted)
    }

    fn find(&self, path: &Pointer) -> Result<Spot, PatchReason> {
        if path.is_root() {
            return Err(PatchReason::RootNotObject);
        }
        Spot::existing(self.steps.doc(), path)
    }

    fn check_value(&self, path: &Pointer, value: &Value) -> Result<(), PatchReason> {
        if path.is_root() && !value.is_object() {
            return Err(PatchReason::RootNotObject);
        }
        let depth = self.limits.depth_max;
        if depth.checked_sub(path.count()).is_none_or(|left| deeper_than(value, left)) {
            return Err(PatchReason::TooDeep(depth));
        }
        Ok(())
    }

    /// Counts the elements of an array that have to move for an insertion or a removal.
    fn shift(&mut self, spot: &Spot) -> Result<(), PatchReason> {
        self.work(spot.shifted(self.steps.doc()))
    }

    fn work(&mut self, work: usize) -> Result<(), PatchReason> {
        self.work = self.work.saturating_add(work);
        if self.work > self.limits.bytes_max.saturating_mul(WORK_FACTOR) {
            return Err(PatchReason::TooMuchWork);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
