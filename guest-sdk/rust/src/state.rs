//! The host's state document as the guest knows it.
//!
//! Owns the calls of the `state` interface. Must never write what did not change, and after a
//! refusal never go on from a guess: the document is read again.

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

    /// Writes what differs from `state`.
    pub(crate) fn commit<T: DeltaState>(&mut self, state: &T) -> Result<()> {
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
                Ok(())
            }
            Err(error) => {
                *self = Self::open()?;
                Err(error)
            }
        }
    }

    /// Applies a patch of the author's own.
    pub(crate) fn apply(&mut self, patch: &Json) -> Result<u64> {
        let version = host::apply(&patch.to_string()).map_err(Error::from_host)?;
        *self = Self::open()?;
        Ok(version)
    }
}
