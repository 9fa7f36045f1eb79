//! A request for other code: found, of the same agent type, and loaded, before the instance's owner hears of it.
//!
//! Must never queue what this host could not run.

use std::sync::Arc;

use podium_wire::rest::UpgradeInstance;
use podium_wire::{DeploymentId, DeploymentRef, ErrorCode, InstanceId};

use crate::error::Error;
use crate::host::Parts;
use crate::owner::{Command, Queued, Wanted};

/// Queues an upgrade, on the threads that may block: the registry reads files.
pub(crate) async fn upgrade(
    parts: &Arc<Parts>,
    id: InstanceId,
    request: UpgradeInstance,
    sender: String,
) -> Result<Queued, Error> {
    let own = Arc::clone(parts);
    let queued = parts.shutdown.task_on(&parts.threads, "upgrade", async move {
        let current = own.instances.ask(&own, id, Command::Info).await?.deployment_id;
        let (on_trial, now) = (request.on_trial, request.now);
        let reference = reference(&current, request)?;
        if reference.agent_type != current.agent_type {
            let message = format!("the instance runs `{}`, not `{}`", current.agent_type, reference.agent_type);
            return Err(Error::coded(ErrorCode::OtherAgentType, message));
        }
        let deployment = own.registry.find(&reference)?;
        let agent = own.agents.prepare(deployment).await?;
        let wanted = Wanted { deployment: agent.deployment.deployment_id.clone(), on_trial, now, sender };
        own.instances.ask(&own, id, |reply| Command::Upgrade(wanted, reply)).await
    });
    queued.await.map_err(|_| Error::Stopping)?
}

/// What the request names, seen from the code in force.
fn reference(current: &DeploymentId, request: UpgradeInstance) -> Result<DeploymentRef, Error> {
    match (request.version, request.deployment_id) {
        (Some(version), None) => {
            Ok(DeploymentRef { agent_type: current.agent_type.clone(), version: Some(version), short_digest: None })
        }
        (None, Some(reference)) => Ok(reference),
        _ => Err(Error::coded(ErrorCode::BadRequest, "give one of `version` and `deployment_id`")),
    }
}
