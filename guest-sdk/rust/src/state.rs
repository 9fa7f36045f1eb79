//! The host's state document as the guest knows it.
//!
//! Owns the calls of the `state` interface, and the merge of two hooks that run at once. Must never write what did not
//! change, nor undo what another hook did; after a refusal it must not go on from a guess: the document is read again.

use crate::delta::{DeltaState, Operation, Patch};
use crate::host::state as host;
use crate::{Context, Error, Json, Result};

/// Most operations the host takes in one patch; more become one replacement of the document.
const OPERATIONS_MAX: usize = 10_000;

/// The document and the version at which it was read.
pub(crate) struct Document {
    known: Json,
    version: u64,
}

fn read() -> Result<(Json, u64)> {
    let text = host::get("").map_err(Error::from_host)?;
    let known = match text {
        Some(text) => serde_json::from_str(&text).context("reading the state")?,
        None => Json::Object(serde_json::Map::new()),
    };
    Ok((known, host::version()))
}

/// Gives a document the fields that it lacks, as the type has them by default: then what differs from it is what a hook
/// did, and a place in it is there to be changed.
fn fill<T: DeltaState>(document: &mut Json, patch: &mut Patch) -> Result<()> {
    T::load(document)?.record(document, patch).map_err(Error::from)
}

impl Document {
    pub(crate) fn open() -> Result<Self> {
        let (known, version) = read()?;
        Ok(Self { known, version })
    }

    pub(crate) fn json(&self) -> &Json {
        &self.known
    }

    /// Reads the document again when somebody else changed it since; true when so.
    pub(crate) fn refresh(&mut self) -> Result<bool> {
        if host::version() == self.version {
            return Ok(false);
        }
        *self = Self::open()?;
        Ok(true)
    }

    /// Writes what differs from `state`. True when another hook had changed the document since: then the same changes were
    /// made to what that one left, and `state` has to be loaded again.
    pub(crate) fn commit<T: DeltaState>(&mut self, state: &T) -> Result<bool> {
        if host::version() != self.version {
            return self.merge(state);
        }
        let mut patch = Patch::new();
        let applied = state.record(&mut self.known, &mut patch).map_err(Error::from).and_then(|()| {
            let operations = patch.operations();
            if operations.is_empty() {
                return Ok(self.version);
            }
            let text = if operations.len() <= OPERATIONS_MAX {
                serde_json::to_string(operations)?
            } else {
                serde_json::to_string(&[Operation::Replace { path: String::new(), value: self.known.clone() }])?
            };
            host::apply(&text).map_err(Error::from_host)
        });
        match applied {
            Ok(version) => {
                self.version = version;
                Ok(false)
            }
            Err(error) => {
                *self = Self::open()?;
                Err(error)
            }
        }
    }

    /// The changes between what was read and `state`, made to the document as it is now.
    fn merge<T: DeltaState>(&mut self, state: &T) -> Result<bool> {
        let mut ours = Patch::new();
        let recorded = fill::<T>(&mut self.known, &mut Patch::new())
            .and_then(|()| state.record(&mut self.known, &mut ours).map_err(Error::from));
        *self = Self::open()?;
        recorded?;
        if ours.operations().is_empty() {
            return Ok(true);
        }
        let mut theirs = Patch::new();
        fill::<T>(&mut self.known, &mut theirs)?;
        let operations: Vec<&Operation> = theirs.operations().iter().chain(ours.operations()).collect();
        // A patch that is too long for one goes as several: one replacement of the whole would undo the other hook's changes.
        let applied = operations.chunks(OPERATIONS_MAX).try_for_each(|operations| {
            host::apply(&serde_json::to_string(operations)?).map_err(Error::from_host).map(|_| ())
        });
        *self = Self::open()?;
        applied.map(|()| true)
    }

    /// Applies a patch of the author's own.
    pub(crate) fn apply(&mut self, patch: &Json) -> Result<u64> {
        let version = host::apply(&patch.to_string()).map_err(Error::from_host)?;
        *self = Self::open()?;
        Ok(version)
    }
}
