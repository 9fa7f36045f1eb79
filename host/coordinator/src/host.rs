//! A host: its data folder, databases, registry, runtime and active instances, opened and closed together.

use std::sync::Arc;
use std::time::Duration;

use podium_capabilities::workspace::Workspaces;
use podium_kit::data::{DataError, DataFolder};
use podium_kit::descriptors::{Budget, Part};
use podium_kit::{BlockingThreads, Clock, Randomness, Shutdown};
use podium_registry::{Registry, RegistryError};
use podium_runtime::{Compiler, Runtime, RuntimeConfig, StartError};
use podium_store::{Store, StoreError};

use crate::agents::Agents;
use crate::instances::Instances;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::transfers::Transfers;

/// Agents that may be active at once, as `/admin/status` tells: DESIGN §11's figure for one machine of this size.
pub(crate) const CAPACITY: u64 = 10_000;

/// How long a stop may take in all: a turn's grace, then time to write what is left.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Why a host does not open.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The databases do not open.
    #[error("the databases do not open: {0}")]
    Store(#[from] StoreError),
    /// The registry does not open.
    #[error("the registry does not open: {0}")]
    Registry(#[from] RegistryError),
    /// The folder for staged uploads does not open.
    #[error("the folder for uploads cannot be used: {0}")]
    Staging(#[source] std::io::Error),
    /// Mounts that a dead host left behind cannot be taken away.
    #[error("mounts that a dead host left behind cannot be taken away: {0}")]
    Mounts(#[source] std::io::Error),
    /// The threads for agents do not start.
    #[error("the threads for agents cannot be started: {0}")]
    Threads(#[source] std::io::Error),
    /// The engine does not start.
    #[error("the engine does not start: {0}")]
    Runtime(#[from] StartError),
}

/// The parts that everything in the coordinator shares.
#[derive(Debug)]
pub struct Parts {
    /// The clock.
    pub clock: Clock,
    /// Randomness.
    pub random: Randomness,
    /// Begins when the host stops.
    pub shutdown: Shutdown,
    /// Where owners, guests and their databases run.
    pub threads: BlockingThreads,
    /// The databases.
    pub store: Store,
    /// Deployed components.
    pub registry: Arc<Registry>,
    /// The engine.
    pub runtime: Arc<Runtime>,
    /// Deployments that are ready to run.
    pub agents: Agents,
    /// Active instances.
    pub instances: Instances,
    /// Counts.
    pub metrics: Metrics,
    /// Connections that may be open.
    pub connections: Part,
    /// Those of them that may be WebSockets.
    pub websockets: Part,
    /// Instances' workspaces.
    pub workspaces: Workspaces,
    /// Descriptors of files that agents, and people through mounts, have open.
    pub guest_files: Part,
    /// Files that are in transfer.
    pub transfers: Transfers,
    /// What the operator set.
    pub options: Options,
    /// When the host was opened, by the monotonic clock.
    pub started: Duration,
    /// The data folder; its lock is held as long as this lives.
    pub data: DataFolder,
    /// The bearer token.
    pub token: String,
}

/// A running host.
#[derive(Debug, Clone)]
pub struct Host {
    parts: Arc<Parts>,
}

impl Host {
    /// Opens what is in a data folder and wakes the instances that have something to finish. Blocking for the time of opening
    /// a few files.
    pub async fn open(data: DataFolder, compiler: Compiler, options: Options) -> Result<Self, HostError> {
        let clock = Clock::system();
        let random = Randomness::system();
        let token = data.token(&random)?;
        for place in
            podium_chronicle::fuse::sweep(&podium_chronicle::fuse::mark(data.path())).map_err(HostError::Mounts)?
        {
            tracing::warn!(place = %place.display(), "a mount that a dead host left behind is taken away");
        }
        let store = Store::open(data.path(), &clock)?;
        let registry = Arc::new(Registry::open(&data.path().join("deployments"))?);
        let code_cache = data.path().join("cache").join("code");
        let threads = BlockingThreads::start("agents").map_err(HostError::Threads)?;
        let budget = Budget::of_process();
        let transfers = Transfers::open(data.path(), Part::new(budget.transfers)).map_err(HostError::Staging)?;
        let workspaces = Workspaces::new(clock.clone(), budget.histories);
        let guest_files = Part::new(budget.guest_files);
        let runtime = RuntimeConfig {
            code_cache,
            clock: clock.clone(),
            random: random.clone(),
            threads: threads.clone(),
            files: guest_files.clone(),
            warm: options.warm,
            guests: options.guests,
            compiler,
            waiting_idle: options.waiting_idle,
        };
        let runtime = Arc::new(Runtime::new(runtime)?);
        let parts = Arc::new(Parts {
            started: clock.monotonic(),
            clock,
            random,
            shutdown: Shutdown::new(),
            threads,
            agents: Agents::new(Arc::clone(&registry), Arc::clone(&runtime)),
            store,
            registry,
            runtime,
            instances: Instances::default(),
            metrics: Metrics::default(),
            connections: Part::new(budget.connections),
            websockets: Part::new(budget.websockets),
            workspaces,
            guest_files,
            transfers,
            options,
            data,
            token,
        });
        for id in parts.store.unfinished().await? {
            parts.instances.wake(&parts, id);
        }
        Ok(Self { parts })
    }

    /// The shared parts.
    pub fn parts(&self) -> &Arc<Parts> {
        &self.parts
    }

    /// Stops: no new turns, running ones get their grace. False when something did not end in time.
    pub async fn stop(&self) -> bool {
        self.parts.shutdown.finish(STOP_MAX).await
    }
}
