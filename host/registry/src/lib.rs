//! podium-registry: deployed components as bytes in a folder.
//!
//! Owns the layout under `deployments/`, staging of uploads, the check that bytes are a component, the manifest
//! section, atomic publishing, and resolution of `TYPE[:VERSION[@HEX]]`. It has no engine: whether a component
//! compiles and fits the world is the runtime's to say. It must never follow a symbolic link, never hand out bytes
//! whose digest differs from their id's, and never leave half a deployment. All calls block.

mod error;
mod folder;
mod inspect;
mod registry;
mod resolve;
mod stage;

#[cfg(test)]
mod testing;

pub use error::RegistryError;
pub use inspect::{Inspected, inspect};
pub use registry::{Published, Registry, digest_of};
pub use stage::{COMPONENT_BYTES_MAX, Staged, Upload};
