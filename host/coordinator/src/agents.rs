//! Deployed code, ready to run: a deployment's record, its limits and its compiled component together.
//!
//! Loading goes through the registry's digest check and the runtime's compiled-code cache; both keep
//! their own caches, so this only joins them.

use std::sync::Arc;

use bytes::Bytes;
use podium_capabilities::limits::Limits;
use podium_registry::Registry;
use podium_runtime::{Agent, Runtime};
use podium_wire::DeploymentId;
use podium_wire::manifest::InvalidManifest;
use podium_wire::rest::Deployment;
use podium_wire::{ErrorCode, rest::Hook};

use crate::error::Error;

/// A deployment that can run.
#[derive(Debug)]
pub struct LoadedAgent {
    /// Its record.
    pub deployment: Deployment,
    /// Its limits, resolved.
    pub limits: Limits,
    /// Its compiled component.
    pub code: Arc<Agent>,
}

impl LoadedAgent {
    /// True when the agent says that it has this hook.
    pub fn has(&self, hook: Hook) -> bool {
        self.deployment.description.hooks.contains(&hook)
    }

    /// How many attempts may die before a message is parked. At least one: the first attempt always runs.
    pub fn attempts_max(&self) -> u32 {
        self.deployment.manifest.retry.max(1)
    }
}

/// Loads deployments.
#[derive(Debug, Clone)]
pub struct Agents {
    registry: Arc<Registry>,
    runtime: Arc<Runtime>,
}

impl Agents {
    /// Joins a registry and a runtime.
    pub fn new(registry: Arc<Registry>, runtime: Arc<Runtime>) -> Self {
        Self { registry, runtime }
    }

    /// Loads a deployment by its id.
    pub async fn load(&self, id: &DeploymentId) -> Result<Arc<LoadedAgent>, Error> {
        self.prepare(self.deployment(id).await?).await
    }

    /// A deployment's limits, without its code.
    pub async fn limits(&self, id: &DeploymentId) -> Result<Limits, Error> {
        resolve_limits(&self.deployment(id).await?)
    }

    async fn deployment(&self, id: &DeploymentId) -> Result<Deployment, Error> {
        let (registry, id) = (Arc::clone(&self.registry), id.clone());
        Ok(podium_kit::spawn::blocking(move || registry.get(&id)).await.map_err(|_| Error::Stopping)??)
    }

    /// Makes a known deployment ready.
    pub async fn prepare(&self, deployment: Deployment) -> Result<Arc<LoadedAgent>, Error> {
        let limits = resolve_limits(&deployment)?;
        let registry = Arc::clone(&self.registry);
        let id = deployment.deployment_id.clone();
        let bytes = async move {
            let read = podium_kit::spawn::blocking(move || registry.bytes(&id)).await.map_err(|_| Error::Stopping);
            Ok(Bytes::from(read.and_then(|read| Ok(read?))?))
        };
        let code = self.runtime.load(&deployment.checksum, bytes).await?;
        Ok(Arc::new(LoadedAgent { deployment, limits, code }))
    }
}

/// The limits that a deployment's manifest asks for, checked against the caps.
pub(crate) fn resolve_limits(deployment: &Deployment) -> Result<Limits, Error> {
    Limits::resolve(&deployment.manifest.limits)
        .map_err(|error| Error::coded(ErrorCode::InvalidManifest, error.to_string()))
}

/// A manifest that cannot be taken, as an answer.
pub(crate) fn invalid_manifest(error: &InvalidManifest) -> Error {
    Error::coded(ErrorCode::InvalidManifest, error.to_string())
}
