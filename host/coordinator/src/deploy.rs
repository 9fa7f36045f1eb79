//! A deploy: staged bytes become a deployment (check, compile, describe, publish).
//!
//! Owns the order: nothing is published that this host could not run. A failed deploy leaves nothing behind.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use podium_registry::{RegistryError, Upload};
use podium_wire::manifest::{Lane, Manifest};
use podium_wire::rest::{Deployed, Deployment};
use podium_wire::{AgentType, AgentVersion, DeploymentId, ErrorCode};

use crate::agents::{invalid_manifest, resolve_limits};
use crate::error::Error;
use crate::host::Parts;

/// What the caller says of the upload; it goes before the manifest.
#[derive(Debug, Default)]
pub(crate) struct Naming {
    /// The agent type.
    pub agent_type: Option<AgentType>,
    /// The version.
    pub version: Option<AgentVersion>,
}

/// Makes a deployment of an upload.
pub(crate) async fn deploy(parts: &Arc<Parts>, upload: Upload, naming: Naming) -> Result<Deployed, Error> {
    let (upload, inspected, bytes) = blocking(move || -> Result<_, RegistryError> {
        let inspected = upload.inspect()?;
        let bytes = upload.bytes()?;
        Ok((upload, inspected, bytes))
    })
    .await??;
    let manifest = name(inspected.manifest, naming)?;
    if manifest.lane == Lane::Process {
        return Err(Error::coded(ErrorCode::InvalidManifest, "this host runs the wasm lane only"));
    }
    let digest = upload.digest();
    let code = parts.runtime.load(&digest, async { Ok(Bytes::from(bytes)) }).await?;
    let capabilities = code.capabilities().to_vec();
    if let Some(grants) = &manifest.grants {
        let asked: BTreeSet<_> = grants.iter().collect();
        if let Some(missing) = capabilities.iter().find(|capability| !asked.contains(capability)) {
            let message = format!("the component imports `{missing}`, which `grants` does not name");
            return Err(Error::coded(ErrorCode::InvalidManifest, message));
        }
    }
    let description =
        parts.runtime.describe(&code).await.map_err(|error| {
            Error::coded(ErrorCode::DescribeFailed, format!("`describe` failed: {}", error.message))
        })?;
    let deployment = Deployment {
        deployment_id: DeploymentId::new(manifest.agent_type.clone(), manifest.version.clone(), &digest),
        agent_type: manifest.agent_type.clone(),
        version: manifest.version.clone(),
        checksum: digest,
        size_bytes: upload.size(),
        created_at: parts.clock.now_ms(),
        capabilities,
        manifest,
        description,
    };
    resolve_limits(&deployment)?;
    let registry = Arc::clone(&parts.registry);
    let published = blocking(move || registry.publish(upload, deployment)).await??;
    Ok(Deployed { created: published.created, deployment: published.deployment })
}

/// Joins the caller's names and the manifest's.
fn name(manifest: Option<Manifest>, naming: Naming) -> Result<Manifest, Error> {
    let mut manifest = match (manifest, &naming) {
        (Some(manifest), _) => manifest.check().map_err(|error| invalid_manifest(&error))?,
        (None, Naming { agent_type: Some(agent_type), version: Some(version) }) => {
            Manifest::new(agent_type.clone(), version.clone())
        }
        (None, _) => {
            let message = "the component carries no manifest; give its type and version";
            return Err(Error::coded(ErrorCode::InvalidManifest, message));
        }
    };
    if let Some(agent_type) = naming.agent_type {
        manifest.agent_type = agent_type;
    }
    if let Some(version) = naming.version {
        manifest.version = version;
    }
    Ok(manifest)
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
    podium_kit::spawn::blocking(work).await.map_err(|_| Error::Stopping)
}
