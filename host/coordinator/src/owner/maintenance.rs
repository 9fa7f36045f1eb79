//! Work on a workspace's history beside the owner: collections, checks.
//!
//! One at a time, on a thread that may block, and never in a turn's way: it begins when none runs, and a collection ends at its next
//! step once one begins. Must be over before the owner lets go of the workspace: two histories of one folder can never be open.

use podium_chronicle::Due;
use podium_kit::spawn;
use podium_wire::ErrorCode;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Owner;
use super::commands::{HistoryWork, MakeWay};
use crate::error::Error;

/// The work that is going on.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    work: Option<JoinHandle<()>>,
    make_way: MakeWay,
}

impl Maintenance {
    /// True while it goes on.
    pub(super) fn is_busy(&self) -> bool {
        self.work.as_ref().is_some_and(|work| !work.is_finished())
    }

    /// A turn begins: a collection ends at its next step.
    pub(super) fn make_way(&self) {
        self.make_way.ask();
    }

    /// Waits until it is over.
    pub(super) async fn over(&mut self) {
        self.make_way();
        if let Some(work) = self.work.take() {
            // A panic was answered by the reply that was dropped.
            drop(work.await);
        }
    }
}

impl Owner {
    /// Works on the history, unless a turn runs or something else works on it.
    pub(super) fn maintain(&mut self, work: HistoryWork) {
        let refused = if self.running.as_ref().is_some_and(|running| !running.wait.is_waiting()) {
            Some("a turn is running")
        } else if self.maintenance.is_busy() {
            Some("the history is being worked on")
        } else {
            None
        };
        let make_way = MakeWay::default();
        let work = work.with(make_way.clone());
        match refused {
            Some(why) => work.refuse(Error::coded(ErrorCode::TurnActive, why)),
            None if self.stopping => work.refuse(Error::Stopping),
            None => {
                let workspace = self.workspace.clone();
                let work = spawn::blocking(move || work.from(&workspace));
                self.maintenance = Maintenance { work: Some(work), make_way };
            }
        }
    }

    /// Collects what the history keeps for nobody, when that is worth its time and nothing else is to be done.
    pub(super) fn collect_if_due(&mut self, at_least: Due) {
        let is_free = self.running.is_none() && self.queue.is_empty() && !self.maintenance.is_busy();
        if !is_free || self.stopping || self.workspace.collection_due() < at_least {
            return;
        }
        let (reply, _) = oneshot::channel();
        let id = self.id;
        self.maintain(HistoryWork::new(
            move |chronicle, make_way| {
                match chronicle.collect_due(&|| make_way.is_asked()) {
                    Ok(done) => tracing::info!(instance = %id, ?done, "a workspace's history was collected"),
                    Err(error) => tracing::error!(instance = %id, %error, "a workspace's history cannot be collected"),
                }
                Ok(())
            },
            reply,
        ));
    }
}
