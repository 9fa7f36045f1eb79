//! The folder registry: `{type}/{version}/{type}-{version}.wasm` with `deployment.json` beside it.
//!
//! A deployment appears by one rename of its whole folder, so it is there entirely or not at all. Must never change
//! a deployment; only damage is mended, by the same bytes.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use podium_wire::rest::Deployment;
use podium_wire::{AgentType, AgentVersion, DeploymentId, DeploymentRef, Digest};
use sha2::{Digest as _, Sha256};

use crate::error::RegistryError;
use crate::folder::Folder;
use crate::resolve::newest;
use crate::stage::{COMPONENT_BYTES_MAX, Staged, Upload};

/// The staging folder; no agent type begins with a dot.
const STAGING: &str = ".staging";

/// The record beside a component.
const RECORD: &str = "deployment.json";

/// Most bytes of a record: a manifest and a description, each at most 256 KiB, with room for how JSON writes them.
const RECORD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Bytes of a component that are read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Deployments in a folder. One registry at a time has it: the data folder's lock sees to that.
#[derive(Debug)]
pub struct Registry {
    root: Folder,
    staging: Folder,
    /// Numbers the names in `staging`, which is cleared at open.
    next: AtomicU64,
}

/// What [`Registry::publish`] did.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// False when the same bytes were there under this name.
    pub created: bool,
    /// The deployment as it is stored.
    pub deployment: Deployment,
}

impl Registry {
    /// Opens the registry in `root`, made if needed, and removes what a crash left in its staging folder.
    pub fn open(root: &Path) -> Result<Self, RegistryError> {
        let root = Folder::make(root)?;
        let staging = root.make_folder(STAGING)?;
        staging.clear()?;
        Ok(Self { root, staging, next: AtomicU64::new(1) })
    }

    fn staging_name(&self) -> String {
        format!("{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Begins an upload.
    pub fn stage(&self) -> Result<Staged, RegistryError> {
        Staged::create(self.staging.clone(), self.staging_name())
    }

    /// Makes an upload a deployment. Of racing publishers of one version the first one wins.
    ///
    /// # Errors
    /// [`RegistryError::VersionExists`] when the version is there with other bytes.
    pub fn publish(&self, upload: Upload, deployment: Deployment) -> Result<Published, RegistryError> {
        let id = DeploymentId::new(deployment.agent_type.clone(), deployment.version.clone(), &upload.digest());
        let fits = deployment.checksum == upload.digest() && deployment.size_bytes == upload.size();
        if !fits || deployment.deployment_id != id {
            return Err(RegistryError::WrongRecord(deployment.deployment_id));
        }
        let record = readable(&deployment)?;
        let name = self.staging_name();
        let published = self.publish_as(&name, upload, deployment, &record);
        // After a success the folder has moved away and there is nothing to remove.
        if let Err(error) = self.staging.remove_folder(&name) {
            tracing::warn!(%error, "a staged deployment was not removed; the next start does it");
        }
        published
    }

    fn publish_as(
        &self,
        staged: &str,
        upload: Upload,
        deployment: Deployment,
        record: &[u8],
    ) -> Result<Published, RegistryError> {
        let (agent_type, version) = (&deployment.agent_type, &deployment.version);
        let file_name = component_name(agent_type, version);
        let folder = self.staging.make_folder(staged)?;
        upload.move_to(&folder, &file_name)?;
        write_durably(&folder, RECORD, record)?;
        folder.sync()?;

        let type_folder = self.root.make_folder(agent_type.as_str())?;
        if self.staging.rename_to(staged, &type_folder, &version.to_string())? {
            type_folder.sync()?;
            return Ok(Published { created: true, deployment });
        }
        self.keep_existing(&folder, deployment)
    }

    /// The version is there: the same bytes are the same deployment, and mend a damaged one.
    fn keep_existing(&self, staged: &Folder, deployment: Deployment) -> Result<Published, RegistryError> {
        let Some(folder) = self.version_folder(&deployment.agent_type, &deployment.version)? else {
            return Err(RegistryError::damaged(deployment.deployment_id, "it vanished while it was published"));
        };
        let file_name = component_name(&deployment.agent_type, &deployment.version);
        let record = self.record(&deployment.agent_type, &deployment.version);
        let component = folder.read_file(&file_name, COMPONENT_BYTES_MAX);
        let same_component = matches!(&component, Ok(Some(bytes)) if digest_of(bytes) == deployment.checksum);
        match record {
            Ok(Some(stored)) if stored.checksum != deployment.checksum => {
                Err(RegistryError::VersionExists(stored.deployment_id))
            }
            Ok(Some(stored)) => {
                if !same_component {
                    staged.rename_to(&file_name, &folder, &file_name)?;
                    folder.sync()?;
                }
                Ok(Published { created: false, deployment: stored })
            }
            Ok(None) | Err(RegistryError::Damaged { .. }) if same_component => {
                staged.rename_to(RECORD, &folder, RECORD)?;
                folder.sync()?;
                Ok(Published { created: false, deployment })
            }
            Ok(None) => Err(RegistryError::damaged(deployment.deployment_id, "its record is missing")),
            Err(error) => Err(error),
        }
    }

    /// What a reference means now.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::Damaged`] when its record cannot be read.
    pub fn find(&self, reference: &DeploymentRef) -> Result<Deployment, RegistryError> {
        let not_found = || RegistryError::NotFound(reference.clone());
        let version = match &reference.version {
            Some(version) => version.clone(),
            None => newest(self.versions(&reference.agent_type)?).ok_or_else(not_found)?,
        };
        let found = self.record(&reference.agent_type, &version)?.ok_or_else(not_found)?;
        match &reference.short_digest {
            Some(hex) if *hex != found.deployment_id.short_digest => Err(not_found()),
            _ => Ok(found),
        }
    }

    /// One deployment.
    ///
    /// # Errors
    /// As [`Registry::find`].
    pub fn get(&self, id: &DeploymentId) -> Result<Deployment, RegistryError> {
        self.find(&DeploymentRef::from(id.clone()))
    }

    /// All deployments by type, then by version. One that cannot be read is left out with a warning, so that
    /// one damaged record does not hide the others.
    pub fn list(&self) -> Result<Vec<Deployment>, RegistryError> {
        let mut types: Vec<AgentType> = self.root.folders()?.iter().filter_map(|name| name.parse().ok()).collect();
        types.sort();
        let mut found = Vec::new();
        for agent_type in types {
            let mut versions = self.versions(&agent_type)?;
            versions.sort();
            for version in versions {
                match self.record(&agent_type, &version) {
                    Ok(Some(deployment)) => found.push(deployment),
                    Ok(None) => {}
                    Err(error) => tracing::warn!(%error, "a deployment is left out of the list"),
                }
            }
        }
        Ok(found)
    }

    /// The component's bytes, checked against the deployment's digest.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`]; [`RegistryError::Damaged`] when the bytes are missing or others.
    pub fn bytes(&self, id: &DeploymentId) -> Result<Vec<u8>, RegistryError> {
        let (file, deployment) = self.open_component(id)?;
        let mut bytes =
            Vec::with_capacity(usize::try_from(deployment.size_bytes.min(COMPONENT_BYTES_MAX)).unwrap_or(0));
        let read = file.take(COMPONENT_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| RegistryError::io(component_name(&id.agent_type, &id.version), error))?;
        check_digest(&deployment, digest_of(&bytes))?;
        Ok(bytes)
    }

    /// The component as an open file, whose bytes were checked against the deployment's digest a piece at a time, and its record. A
    /// published file never changes.
    ///
    /// # Errors
    /// Those of [`Registry::bytes`].
    pub fn file(&self, id: &DeploymentId) -> Result<(File, Deployment), RegistryError> {
        let (mut file, deployment) = self.open_component(id)?;
        let failed = |error| RegistryError::io(component_name(&id.agent_type, &id.version), error);
        let mut hash = Sha256::new();
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match file.read(&mut piece).map_err(failed)? {
                0 => break,
                read => hash.update(&piece[..read]),
            }
        }
        check_digest(&deployment, Digest::from_bytes(hash.finalize().into()))?;
        file.rewind().map_err(failed)?;
        Ok((file, deployment))
    }

    fn open_component(&self, id: &DeploymentId) -> Result<(File, Deployment), RegistryError> {
        let deployment = self.get(id)?;
        let damaged = |reason: String| RegistryError::damaged(id.clone(), reason);
        let folder =
            self.version_folder(&id.agent_type, &id.version)?.ok_or_else(|| damaged("its folder is missing".into()))?;
        match folder.open_file(&component_name(&id.agent_type, &id.version), COMPONENT_BYTES_MAX) {
            Ok(Some((file, _))) => Ok((file, deployment)),
            Ok(None) => Err(damaged("its component is missing".into())),
            Err(RegistryError::Io { source, .. }) if is_foreign(&source) => Err(damaged(source.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Versions that have a folder.
    fn versions(&self, agent_type: &AgentType) -> Result<Vec<AgentVersion>, RegistryError> {
        match self.root.folder(agent_type.as_str()) {
            Ok(Some(folder)) => Ok(folder.folders()?.iter().filter_map(|name| name.parse().ok()).collect()),
            Ok(None) => Ok(Vec::new()),
            Err(RegistryError::Io { source, .. }) if is_foreign(&source) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn version_folder(&self, agent_type: &AgentType, version: &AgentVersion) -> Result<Option<Folder>, RegistryError> {
        let open = || -> Result<Option<Folder>, RegistryError> {
            match self.root.folder(agent_type.as_str())? {
                Some(type_folder) => type_folder.folder(&version.to_string()),
                None => Ok(None),
            }
        };
        match open() {
            // A file or a link in a folder's place is not ours and holds no deployment.
            Err(RegistryError::Io { source, .. }) if is_foreign(&source) => Ok(None),
            opened => opened,
        }
    }

    /// The record of a version; none where nothing is.
    fn record(&self, agent_type: &AgentType, version: &AgentVersion) -> Result<Option<Deployment>, RegistryError> {
        let Some(folder) = self.version_folder(agent_type, version)? else { return Ok(None) };
        let name =
            || DeploymentRef { agent_type: agent_type.clone(), version: Some(version.clone()), short_digest: None };
        let bytes = match folder.read_file(RECORD, RECORD_BYTES_MAX) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(RegistryError::damaged(name(), "its record is missing")),
            Err(RegistryError::Io { source, .. }) if is_foreign(&source) => {
                return Err(RegistryError::damaged(name(), source.to_string()));
            }
            Err(error) => return Err(error),
        };
        let record: Deployment = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::damaged(name(), format!("its record cannot be read: {error}")))?;
        let id = DeploymentId::new(agent_type.clone(), version.clone(), &record.checksum);
        if record.deployment_id == id && record.agent_type == *agent_type && record.version == *version {
            Ok(Some(record))
        } else {
            Err(RegistryError::damaged(name(), "its record is of another deployment"))
        }
    }
}

fn check_digest(deployment: &Deployment, found: Digest) -> Result<(), RegistryError> {
    if found == deployment.checksum {
        Ok(())
    } else {
        Err(RegistryError::damaged(deployment.deployment_id.clone(), format!("its component has the SHA-256 {found}")))
    }
}

fn component_name(agent_type: &AgentType, version: &AgentVersion) -> String {
    format!("{agent_type}-{version}.wasm")
}

/// A deployment as it is stored. What could not be read back is no deployment: it would be there, and lost.
fn readable(deployment: &Deployment) -> Result<Vec<u8>, RegistryError> {
    let deployment_id = || deployment.deployment_id.clone();
    let record = serde_json::to_vec(deployment)
        .map_err(|source| RegistryError::Record { deployment: deployment_id(), source })?;
    if !u64::try_from(record.len()).is_ok_and(|size| size <= RECORD_BYTES_MAX) {
        let reason = format!("they have {} bytes as JSON, more than {RECORD_BYTES_MAX}", record.len());
        return Err(RegistryError::UnreadableRecord { deployment: deployment_id(), reason });
    }
    match serde_json::from_slice::<Deployment>(&record) {
        Ok(_) => Ok(record),
        Err(error) => Err(RegistryError::UnreadableRecord { deployment: deployment_id(), reason: error.to_string() }),
    }
}

/// The digest of a component: the SHA-256 of its bytes.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(Sha256::digest(bytes).into())
}

/// True where something lies in the way that the registry never writes: a link, a file for a folder, a FIFO.
fn is_foreign(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::NotADirectory | ErrorKind::InvalidData)
        || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())
}

fn write_durably(folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), RegistryError> {
    use std::io::Write;
    let mut file = folder.create_file(name)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| RegistryError::io(folder.path_of(name), error))
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
