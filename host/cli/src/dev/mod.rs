//! The loop of `podium dev`: a host, one instance that lives on, and new code for it at each save.
//!
//! Owns the order: build, deploy under the next number, upgrade on trial. The host decides when the new code takes over and
//! whether it stays. Must never leave a host behind that it started.

mod host;
mod memory;
mod say;
mod version;
mod watch;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use podium_kit::data::read_token;
use podium_wire::rest::{
    CreateInstance, Deployed, Deployment, DeploymentPage, InstanceInfo, UpgradeInstance, UpgradeReceipt, UpgradeStatus,
};
use podium_wire::{DeploymentId, ErrorCode, InstanceId};
use reqwest::Method;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::build::{self, BuildRequest, Built, Environment};
use crate::client::Client;
use crate::commands::{Context, build as build_command, chat, deploy, upgrade};
use crate::exit::Failure;
use crate::sdk;
use host::Host;
use memory::Memory;
use say::{Event, Say};
use watch::Sources;

/// Where the folder of an agent keeps what belongs to this machine.
const HOME: &str = ".podium";

/// The component that the last build made, below [`HOME`].
const COMPONENT: &str = "dev.wasm";

/// How long a new version is waited for before the loop goes on: the turn that runs may take an hour.
const UPGRADE_WAIT: Duration = Duration::from_secs(2);

/// How long one request waits for that turn's end.
const TURN_WAIT: Duration = Duration::from_secs(60);

/// Two loops on one server may take the same number; so often another is tried.
const NUMBERS_MAX: usize = 8;

/// A version that takes over when the running turn is over.
#[derive(Debug, Clone)]
struct Pending {
    deployment: DeploymentId,
    previous: DeploymentId,
}

/// One agent under work.
struct Dev<'a> {
    folder: PathBuf,
    client: Client,
    say: Say<'a>,
    memory: Memory,
}

/// Runs until the conversation or a signal ends it.
pub(crate) async fn run(folder: PathBuf, context: Context<'_>) -> Result<(), Failure> {
    let folder = absolute(&folder)?;
    let home = folder.join(HOME);
    podium_kit::data::create_private_dir(&home)
        .map_err(|error| Failure::new(crate::exit::storage_code(&error), format!("{}: {error}", home.display())))?;
    let mut sources = Sources::watch(&folder);
    let host = if context.global.url_given { None } else { Some(Host::start(&home.join("data")).await?) };
    let say = Say::new(context.output);
    let result = async {
        let client = match &host {
            // Its own token, whatever PODIUM_TOKEN is for.
            Some(host) => Client::with_token(host.url(), read_token(host.data()).ok())?,
            None => context.client()?,
        };
        let key = if host.is_some() { memory::OWN_HOST } else { client.address() };
        let memory = Memory::read(&home, key);
        let mut dev = Dev { folder, client: client.clone(), say, memory };
        let ended = ended(is_talk(context))?;
        tokio::select! {
            result = dev.work(&mut sources, context) => result,
            result = ended => result,
        }
    }
    .await;
    if let Some(host) = host {
        host.stop().await;
    }
    result
}

fn absolute(folder: &Path) -> Result<PathBuf, Failure> {
    if !folder.join("agent.toml").is_file() {
        let message = format!("{} has no agent.toml", folder.display());
        return Err(Failure::new(ErrorCode::InvalidManifest, message).hint("`podium new NAME` begins an agent."));
    }
    folder.canonicalize().map_err(|error| Failure::usage(format!("{}: {error}", folder.display())))
}

/// True when a person types: then the prompt takes Ctrl-C, once it is there.
fn is_talk(context: Context<'_>) -> bool {
    !context.output.is_json() && std::io::stdin().is_terminal()
}

/// Resolves at SIGTERM, and at Ctrl-C where no prompt takes it.
fn ended(is_talk: bool) -> Result<impl Future<Output = Result<(), Failure>>, Failure> {
    let mut interrupt = signals(SignalKind::interrupt())?;
    let mut terminate = signals(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv(), if !is_talk => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

/// Each of these signals from here on.
fn signals(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot wait for signals: {error}")))
}

impl Dev<'_> {
    async fn work(&mut self, sources: &mut Sources, context: Context<'_>) -> Result<(), Failure> {
        // Until there is a prompt, nobody else takes Ctrl-C.
        let mut interrupt = signals(SignalKind::interrupt())?;
        let (instance, pending) = tokio::select! {
            begun = self.begin(sources) => begun?,
            _ = interrupt.recv() => return Ok(()),
        };
        let client = self.client.clone();
        let say = self.say;
        let follow = self.follow(instance, pending, sources);
        if is_talk(context) {
            tokio::select! {
                result = follow => result,
                result = chat::prompt(&client, context, instance) => result,
            }
        } else {
            tokio::select! {
                result = follow => result,
                result = say.listen(&client, instance) => result,
            }
        }
    }

    /// Builds until there is an instance. Without one there is nothing to keep: whatever fails is said, and tried again at the
    /// next save.
    async fn begin(&mut self, sources: &mut Sources) -> Result<(InstanceId, Option<Pending>), Failure> {
        loop {
            match self.first().await {
                Ok(first) => return Ok(first),
                Err(failure) if failure.code().is_some_and(is_the_authors) => self.say.failed(failure)?,
                Err(failure) => return Err(failure),
            }
            sources.changed().await?;
        }
    }

    /// Each saved change becomes a version on trial; one that waits for a turn's end is told of when it takes over.
    async fn follow(
        &mut self,
        instance: InstanceId,
        mut pending: Option<Pending>,
        sources: &mut Sources,
    ) -> Result<(), Failure> {
        loop {
            let waiting = pending.clone();
            let taken = async {
                match &waiting {
                    Some(waiting) => self.taken(instance, waiting).await,
                    None => std::future::pending().await,
                }
            };
            let result = tokio::select! {
                changed = sources.changed() => {
                    changed?;
                    self.next(instance).await
                }
                taken = taken => taken,
            };
            pending = match result {
                Ok(pending) => pending,
                Err(Failure::PipeClosed) => return Err(Failure::PipeClosed),
                Err(failure) => {
                    // The last good version goes on answering; a host that is away may come back.
                    self.say.failed(failure)?;
                    None
                }
            };
        }
    }

    /// Builds, deploys, and finds the instance of last time or makes one.
    async fn first(&mut self) -> Result<(InstanceId, Option<Pending>), Failure> {
        let deployed = self.deployed().await?;
        let known = match self.memory.instance() {
            Some(id) => self.info(id).await?,
            None => None,
        };
        let mut pending = None;
        let instance = match known.filter(|info| info.deployment_id.agent_type == deployed.agent_type) {
            Some(info) => {
                pending = self.upgrade(info.instance_id, &deployed.deployment_id).await?;
                info.instance_id
            }
            None => {
                let body = CreateInstance { deployment_id: deployed.deployment_id.clone().into(), config: None };
                let info: InstanceInfo = self.client.call(Method::POST, &["instances"], Some(&body)).await?;
                self.memory.remember(info.instance_id)?;
                info.instance_id
            }
        };
        self.say.event(&Event::Ready {
            instance_id: instance,
            deployment_id: &deployed.deployment_id,
            url: self.client.address(),
            data: self.memory.data(),
        })?;
        Ok((instance, pending))
    }

    async fn info(&self, id: InstanceId) -> Result<Option<InstanceInfo>, Failure> {
        match self.client.get(&["instances", &id.to_string(), "info"]).await {
            Ok(info) => Ok(Some(info)),
            Err(failure) if failure.code() == Some(ErrorCode::InstanceNotFound) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn next(&mut self, instance: InstanceId) -> Result<Option<Pending>, Failure> {
        let deployed = self.deployed().await?;
        self.upgrade(instance, &deployed.deployment_id).await
    }

    /// Asks for an upgrade and says what became of it; answers it when it waits for the running turn.
    async fn upgrade(&self, instance: InstanceId, deployment: &DeploymentId) -> Result<Option<Pending>, Failure> {
        let receipt = self.ask(instance, deployment, UPGRADE_WAIT).await?;
        let (deployment_id, previous) = (&receipt.deployment_id, &receipt.previous_deployment_id);
        let event = match receipt.status {
            UpgradeStatus::Done => Event::Upgraded { deployment_id, previous_deployment_id: previous },
            UpgradeStatus::Accepted => Event::Waiting { deployment_id },
            UpgradeStatus::Unchanged => Event::Unchanged { deployment_id },
        };
        self.say.event(&event)?;
        let pending = Pending { deployment: deployment_id.clone(), previous: previous.clone() };
        Ok((receipt.status == UpgradeStatus::Accepted).then_some(pending))
    }

    /// Waits for an upgrade that was accepted; asking for it again joins the one that waits.
    async fn taken(&self, instance: InstanceId, pending: &Pending) -> Result<Option<Pending>, Failure> {
        let receipt = self.ask(instance, &pending.deployment, TURN_WAIT).await?;
        if receipt.status == UpgradeStatus::Accepted {
            return Ok(Some(pending.clone()));
        }
        let (deployment_id, previous_deployment_id) = (&pending.deployment, &pending.previous);
        self.say.event(&Event::Upgraded { deployment_id, previous_deployment_id })?;
        Ok(None)
    }

    async fn ask(
        &self,
        instance: InstanceId,
        deployment: &DeploymentId,
        wait: Duration,
    ) -> Result<UpgradeReceipt, Failure> {
        let deployment_id = Some(deployment.clone().into());
        let request = UpgradeInstance { deployment_id, on_trial: true, ..UpgradeInstance::default() };
        upgrade::ask(&self.client, instance, &request, wait).await
    }

    /// Builds the sources as they are now and deploys them, or finds the same bytes deployed.
    async fn deployed(&mut self) -> Result<Deployment, Failure> {
        self.say.event(&Event::Building)?;
        let built = self.built().await?;
        let page: DeploymentPage = self.client.get(&["deployments"]).await?;
        let (agent_type, base) = (&built.manifest.agent_type, &built.manifest.version);
        let mut taken: Vec<_> = page.deployments.into_iter().filter(|found| found.agent_type == *agent_type).collect();
        let checksum = version::checksum(&built.path).await?;
        if let Some(same) = version::same(&taken, base, &checksum) {
            return Ok(same.clone());
        }
        for _ in 0..NUMBERS_MAX {
            let version = version::next(taken.iter().map(|found| &found.version), base)?;
            match deploy::upload(&self.client, &built.path, None, Some(&version)).await {
                Ok(Deployed { deployment, .. }) => {
                    self.say.event(&Event::Deployed { deployment_id: &deployment.deployment_id })?;
                    return Ok(deployment);
                }
                Err(failure) if failure.code() == Some(ErrorCode::VersionExists) => {
                    let page: DeploymentPage = self.client.get(&["deployments"]).await?;
                    taken = page.deployments.into_iter().filter(|found| found.agent_type == *agent_type).collect();
                }
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::new(ErrorCode::VersionExists, "other builds take every number first"))
    }

    async fn built(&self) -> Result<Built, Failure> {
        let request = BuildRequest {
            folder: self.folder.clone(),
            output: Some(self.folder.join(HOME).join(COMPONENT)),
            install_toolchain: false,
        };
        let built = podium_kit::spawn::blocking(move || {
            sdk::restore(&request.folder)?;
            build::build(&request, &Environment::of_process(), &mut |_| ())
                .map_err(|error| build_command::failure(&error))
        });
        built.await.map_err(|error| Failure::new(ErrorCode::Internal, format!("the build failed: {error}")))?
    }
}

/// True for a failure that another version of the source may not have.
fn is_the_authors(code: ErrorCode) -> bool {
    let build = matches!(code, ErrorCode::BuildFailed);
    let refused = matches!(code.number() / 1000, 2) && code != ErrorCode::DeploymentDamaged;
    build || refused || matches!(code, ErrorCode::InitFailed | ErrorCode::MigrationFailed | ErrorCode::GuestTrap)
}
