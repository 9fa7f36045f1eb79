//! An upload on its way in: a file of the registry's own, counted and hashed while it is written.
//!
//! Must never leave a file behind: dropping a stage or an upload removes it.

use std::fs::File;
use std::io::Write;

use podium_wire::Digest;
pub use podium_wire::limits::COMPONENT_BYTES_MAX;
use sha2::{Digest as _, Sha256};

use crate::error::RegistryError;
use crate::folder::Folder;
use crate::inspect::{Inspected, inspect};

/// A file in the staging folder, removed with the value unless it was moved away.
#[derive(Debug)]
struct StagedFile {
    folder: Folder,
    name: String,
    moved: bool,
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if !self.moved
            && let Err(error) = self.folder.remove_file(&self.name)
        {
            tracing::warn!(%error, "a staged upload was not removed; the next start does it");
        }
    }
}

/// An upload that is still being written.
#[derive(Debug)]
pub struct Staged {
    place: StagedFile,
    file: File,
    hash: Sha256,
    size: u64,
}

impl Staged {
    pub(crate) fn create(folder: Folder, name: String) -> Result<Self, RegistryError> {
        let file = folder.create_file(&name)?;
        Ok(Self { place: StagedFile { folder, name, moved: false }, file, hash: Sha256::new(), size: 0 })
    }

    /// Takes the next piece.
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`] once the whole has more than [`COMPONENT_BYTES_MAX`] bytes; nothing of the piece is
    /// written then.
    pub fn write(&mut self, piece: &[u8]) -> Result<(), RegistryError> {
        let size = self.size.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if size > COMPONENT_BYTES_MAX {
            return Err(RegistryError::TooLarge);
        }
        self.file.write_all(piece).map_err(|error| self.fail(error))?;
        self.hash.update(piece);
        self.size = size;
        Ok(())
    }

    /// Ends the upload and makes its bytes durable.
    ///
    /// # Errors
    /// [`RegistryError::EmptyUpload`] when nothing was written.
    pub fn finish(self) -> Result<Upload, RegistryError> {
        if self.size == 0 {
            return Err(RegistryError::EmptyUpload);
        }
        self.file.sync_all().map_err(|error| self.fail(error))?;
        Ok(Upload { place: self.place, digest: Digest::from_bytes(self.hash.finalize().into()), size: self.size })
    }

    fn fail(&self, error: std::io::Error) -> RegistryError {
        RegistryError::io(self.place.folder.path_of(&self.place.name), error)
    }
}

/// A complete upload that is not published.
#[derive(Debug)]
pub struct Upload {
    place: StagedFile,
    digest: Digest,
    size: u64,
}

impl Upload {
    /// SHA-256 of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its bytes' number, at least 1.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its bytes, for the engine's own checks.
    pub fn bytes(&self) -> Result<Vec<u8>, RegistryError> {
        let gone = || RegistryError::io(self.place.folder.path_of(&self.place.name), std::io::ErrorKind::NotFound);
        self.place.folder.read_file(&self.place.name, COMPONENT_BYTES_MAX)?.ok_or_else(gone)
    }

    /// Checks that it is a valid component and reads its manifest.
    ///
    /// # Errors
    /// [`RegistryError::NotAComponent`], [`RegistryError::CoreModule`], [`RegistryError::InvalidComponent`], [`RegistryError::Truncated`],
    /// [`RegistryError::InvalidManifest`], [`RegistryError::ManyManifests`].
    pub fn inspect(&self) -> Result<Inspected, RegistryError> {
        inspect(&self.bytes()?)
    }

    /// Moves the file into another folder, over what is there.
    pub(crate) fn move_to(mut self, folder: &Folder, name: &str) -> Result<(), RegistryError> {
        self.place.moved = self.place.folder.rename_to(&self.place.name, folder, name)?;
        if self.place.moved {
            Ok(())
        } else {
            Err(RegistryError::io(folder.path_of(name), std::io::ErrorKind::AlreadyExists))
        }
    }
}
