//! The store of a data folder: the instances' slots and the host's own database behind one cheap handle.
//!
//! One process per folder (the binary's lock sees to it).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use podium_kit::Clock;
use podium_kit::descriptors::Budget;
use podium_sqlite::{Slots, open_slots};
use podium_wire::InstanceId;

use crate::error::StoreError;
use crate::host_db::{HostDb, HostSlot, InstanceRow};
use crate::instance::InstanceStore;
use crate::paths;
use crate::schema::Templates;
use crate::slot::InstanceSlot;

/// The key of `host.db` among its own slots.
const HOST_KEY: u128 = 0;

/// The store; clones are the same one.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// What every handle needs.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) root: PathBuf,
    pub(crate) templates: Templates,
    pub(crate) slots: Slots<InstanceSlot>,
    host: Slots<HostSlot>,
}

impl Store {
    /// Opens the store of a data folder and makes what is missing. Finishes deletions that a crash cut short. After a
    /// restart of the machine, or when `host.db` is unreadable, the list of instances is rebuilt by a scan before
    /// this returns; instances that were at rest are not opened for it.
    ///
    /// Blocks. Times of what is stored come with each request; `clock` only measures the start.
    pub fn open(root: &Path, clock: &Clock) -> Result<Self, StoreError> {
        // SQLite is told to follow no link below; a link to the data folder itself is the operator's choice.
        let root = &root.canonicalize().map_err(|error| StoreError::file(root, error))?;
        let templates = Templates::build()?;
        for folder in [paths::instances(root), paths::deleted(root)] {
            podium_kit::data::create_private_dir(&folder).map_err(|error| StoreError::file(folder, error))?;
        }
        let started = clock.monotonic();
        let scanned = crate::scan::start(root, &templates)?;
        if scanned > 0 {
            let took = clock.monotonic().saturating_sub(started);
            tracing::info!(instances = scanned, ?took, "the list of instances was rebuilt");
        }
        let shared = Shared {
            root: root.clone(),
            templates,
            slots: Slots::new("store", open_slots(&Budget::of_process())).close_idle_ones(),
            host: Slots::new("host", 1),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// A handle on an instance, whether it exists or not; costs nothing.
    pub fn instance(&self, id: InstanceId) -> InstanceStore {
        InstanceStore { shared: Arc::clone(&self.shared), id }
    }

    /// True when there is such an instance.
    pub async fn exists(&self, id: InstanceId) -> Result<bool, StoreError> {
        self.shared.host(move |host| host.exists(id)).await
    }

    /// Instances by id, after `after`, at most `limit`.
    pub async fn list(&self, after: Option<InstanceId>, limit: usize) -> Result<Vec<InstanceRow>, StoreError> {
        self.shared.host(move |host| host.list(after, limit)).await
    }

    /// Those of `ids` that there are, in their order.
    pub async fn find(&self, ids: Vec<InstanceId>) -> Result<Vec<InstanceRow>, StoreError> {
        self.shared.host(move |host| host.find(&ids)).await
    }

    /// How many instances there are.
    pub async fn count(&self) -> Result<u64, StoreError> {
        self.shared.host(|host| host.count()).await
    }

    /// Instances whose databases are open.
    pub fn open_databases(&self) -> usize {
        self.shared.slots.open_slots()
    }

    /// The instances to open at start: those that were not at rest when the host ended.
    pub async fn unfinished(&self) -> Result<Vec<InstanceId>, StoreError> {
        self.shared.host(|host| host.unfinished()).await
    }

    /// Lets running jobs end and closes every file; later calls fail with [`podium_sqlite::SlotError::Closed`].
    pub async fn close(&self) {
        self.shared.slots.close().await;
        self.shared.host.close().await;
    }
}

impl Shared {
    /// Runs a job on `host.db`.
    pub(crate) async fn host<R, F>(self: &Arc<Self>, job: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&HostDb) -> Result<R, StoreError> + Send + 'static,
    {
        let shared = Arc::clone(self);
        self.host
            .run(HOST_KEY, move |slot: &mut HostSlot| {
                let done = slot.open(&paths::host_db(&shared.root)).and_then(job);
                if done.is_err() {
                    slot.close();
                }
                done
            })
            .await?
    }

    /// Runs a job on an instance's slot. An error closes the slot: what memory believes may not be on the disk.
    pub(crate) async fn slot<R, F>(self: &Arc<Self>, id: InstanceId, job: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Shared, &mut InstanceSlot) -> Result<R, StoreError> + Send + 'static,
    {
        let shared = Arc::clone(self);
        self.slots
            .run(id.as_uuid().as_u128(), move |slot| {
                let done = job(&shared, slot);
                if done.is_err() {
                    slot.close();
                }
                done
            })
            .await?
    }
}
