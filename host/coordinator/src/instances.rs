//! The table of active instances: from an id to the owner that holds it.
//!
//! Owns the rule that there is at most one owner for an instance. A command is handed over under the table's lock, and
//! an owner leaves only while nothing waits for it, so no command is lost between two owners.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use podium_chronicle::{Chronicle, ChronicleError};
use podium_wire::rest::InstanceStatus;
use podium_wire::{ErrorCode, InstanceId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;
use crate::host::Parts;
use crate::hub::Hub;
use crate::logs::Logs;
use crate::owner::{COMMANDS_MAX, Command, HistoryRead, Opening, Owner, Reply};

/// What an owner shows of itself without being asked.
#[derive(Debug)]
pub struct Shown {
    /// Where its updates go.
    pub hub: Hub,
    /// Where its agent's log goes.
    pub logs: Logs,
    /// Its status, as last told; none until it has been opened.
    pub status: watch::Sender<Option<InstanceStatus>>,
}

/// What a list says of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    /// It has no owner: nothing is to be done.
    Resting,
    /// It is active.
    Active(InstanceStatus),
    /// It could not be opened, or was never created.
    Gone,
}

/// An owner, seen from outside.
#[derive(Debug, Clone)]
struct Entry {
    // Boxed: a channel sets room for 32 of them aside, for each of thousands of owners that only wait.
    commands: mpsc::Sender<Box<Command>>,
    shown: Arc<Shown>,
}

/// Active instances.
#[derive(Debug, Default)]
pub struct Instances {
    owners: Mutex<HashMap<InstanceId, Entry>>,
}

impl Instances {
    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Entry>> {
        // Nothing that runs under the lock leaves it half-changed.
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are active.
    pub fn active(&self) -> usize {
        self.lock().len()
    }

    /// Instances of these statuses by id, after `after`, at most `limit`. Only what has an owner is seen.
    pub(crate) fn of_status(
        &self,
        wanted: &[InstanceStatus],
        after: Option<InstanceId>,
        limit: usize,
    ) -> Vec<(InstanceId, InstanceStatus)> {
        let mut found: Vec<_> = {
            let owners = self.lock();
            let told = owners.iter().filter_map(|(id, owner)| Some((*id, (*owner.shown.status.borrow())?)));
            told.filter(|(id, status)| wanted.contains(status) && after.is_none_or(|after| *id > after)).collect()
        };
        found.sort_unstable_by_key(|(id, _)| *id);
        found.truncate(limit);
        found
    }

    /// What a list says of an instance, which is not opened for it.
    pub(crate) async fn listed(&self, id: InstanceId) -> Listed {
        let status = self.lock().get(&id).map(|owner| owner.shown.status.subscribe());
        let Some(mut status) = status else { return Listed::Resting };
        // An owner that is just opening finds out whether the instance was ever created.
        match status.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(status)) => Listed::Active(*status),
            Ok(None) | Err(_) => Listed::Gone,
        }
    }

    /// Changes each time an active instance's log has been written.
    pub fn log_changes(&self, id: InstanceId) -> Option<watch::Receiver<u64>> {
        self.lock().get(&id).map(|owner| owner.shown.logs.written())
    }

    /// Hands a command to the instance's owner, which is opened when there is none. Never waits.
    pub fn send(&self, parts: &Arc<Parts>, id: InstanceId, command: Command) {
        let mut owners = self.lock();
        let owner = match owners.get(&id) {
            Some(owner) if !owner.commands.is_closed() => owner.clone(),
            _ if parts.shutdown.has_begun() => {
                drop(owners);
                return command.refuse(Error::Stopping);
            }
            _ => {
                let owner = spawn(parts, id, Opening::Stored);
                owners.insert(id, owner.clone());
                owner
            }
        };
        let refused = owner.commands.try_send(Box::new(command));
        drop(owners);
        match refused {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(command)) => {
                command.refuse(Error::coded(ErrorCode::Busy, "too many requests wait for this instance"));
            }
            Err(mpsc::error::TrySendError::Closed(command)) => command.refuse(Error::Stopping),
        }
    }

    /// Sends a command and waits for its answer.
    pub async fn ask<T>(
        &self,
        parts: &Arc<Parts>,
        id: InstanceId,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.send(parts, id, command(reply));
        answer.await.map_err(|_| Error::Stopping)?
    }

    /// Reads the history of an instance's workspace; none while nobody ever used a file. The owner waits for `read`, which therefore
    /// takes a bounded piece.
    pub async fn history<T: Send + 'static>(
        &self,
        parts: &Arc<Parts>,
        id: InstanceId,
        read: impl FnOnce(&Chronicle) -> Result<T, ChronicleError> + Send + 'static,
    ) -> Result<Option<T>, Error> {
        self.ask(parts, id, |reply| Command::History(HistoryRead::new(read, reply))).await
    }

    /// Takes the place of an instance that is about to be made, before anybody can learn of it: commands wait there, and nobody
    /// else opens what is half made.
    pub fn reserve(&self, parts: &Arc<Parts>, id: InstanceId) -> Reserved {
        let (owner, reserved) = reserved(parts, id);
        self.lock().insert(id, owner);
        reserved
    }

    /// Gives a reserved place up; what waited there is told that there is no such instance.
    pub fn give_up(&self, reserved: Reserved) {
        let Reserved { id, mut commands, shown } = reserved;
        self.forget(id, &shown);
        commands.close();
        while let Ok(command) = commands.try_recv() {
            command.refuse(Error::InstanceNotFound(id));
        }
    }

    /// Opens an instance that may have unfinished rows, without asking it anything.
    pub fn wake(&self, parts: &Arc<Parts>, id: InstanceId) {
        let mut owners = self.lock();
        owners.entry(id).or_insert_with(|| spawn(parts, id, Opening::Stored));
    }

    /// Removes an owner that has nothing to do; false when a command or a connection has come for it. Who has been answered its
    /// hub and connects to it afterwards is refused there, and asks for the next owner's.
    pub fn remove_if_idle(&self, id: InstanceId, commands: &mpsc::Receiver<Box<Command>>, shown: &Shown) -> bool {
        let mut owners = self.lock();
        let idle = commands.is_empty() && shown.hub.retire();
        if idle {
            owners.remove(&id);
        }
        idle
    }

    /// Removes an owner that takes no more commands; another one that has come for the same instance stays.
    pub fn forget(&self, id: InstanceId, shown: &Arc<Shown>) {
        let mut owners = self.lock();
        if owners.get(&id).is_some_and(|owner| Arc::ptr_eq(&owner.shown, shown)) {
            owners.remove(&id);
        }
    }
}

/// A place in the table whose owner has not started.
#[derive(Debug)]
pub struct Reserved {
    id: InstanceId,
    commands: mpsc::Receiver<Box<Command>>,
    shown: Arc<Shown>,
}

impl Reserved {
    /// Starts the owner; what came meanwhile is done first.
    pub fn start(self, parts: &Arc<Parts>, opening: Opening) {
        let Self { id, commands, shown } = self;
        let own = Arc::clone(parts);
        parts.shutdown.task_on(&parts.threads, "instance owner", async move {
            if let Some(owner) = Box::pin(Owner::open(own, id, opening, shown, commands)).await {
                owner.run().await;
            }
        });
    }
}

fn spawn(parts: &Arc<Parts>, id: InstanceId, opening: Opening) -> Entry {
    let (owner, reserved) = reserved(parts, id);
    reserved.start(parts, opening);
    owner
}

fn reserved(parts: &Arc<Parts>, id: InstanceId) -> (Entry, Reserved) {
    let (sender, commands) = mpsc::channel(COMMANDS_MAX);
    let shown = Arc::new(Shown {
        hub: Hub::new(id),
        logs: Logs::new(parts.metrics.log_dropped()),
        status: watch::Sender::new(None),
    });
    (Entry { commands: sender, shown: Arc::clone(&shown) }, Reserved { id, commands, shown })
}
