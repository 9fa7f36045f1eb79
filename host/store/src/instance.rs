//! The handle on one instance: each call is one job, and one job of an instance runs at a time.
//!
//! Once polled a call takes effect even when its future is dropped. Logic is in the room of each verb.

use std::path::PathBuf;
use std::sync::Arc;

use podium_wire::InstanceId;
use podium_wire::rest::{ConfigDocument, LogPage};
use podium_wire::updates::Update;

use crate::accept::{AcceptError, Accepted, NewRow};
use crate::cut::{CutMade, CutRequest};
use crate::cuts::{AtCut, CutRow, MessageDifference};
use crate::error::StoreError;
use crate::history::{HistoryQuery, HistoryStretch};
use crate::inbox::{Found, Outcome};
use crate::journal::{JournalKept, JournalSource, Journaled};
use crate::logs::{LogQuery, NewLogLine};
use crate::paths::Paths;
use crate::recover::Recovered;
use crate::slot::Open;
use crate::steer::{NewSteer, SteerRow};
use crate::store::Shared;
use crate::turn::TurnStart;

/// A handle on an instance; clones are the same one.
#[derive(Debug, Clone)]
pub struct InstanceStore {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: InstanceId,
}

impl InstanceStore {
    /// Whose it is.
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// The folder of its workspace with its history; who uses it first makes it: an unused agent has none.
    pub fn chronicle(&self) -> PathBuf {
        Paths::new(&self.shared.root, self.id).chronicle()
    }

    pub(crate) async fn run<R, F>(&self, job: F) -> Result<R, StoreError>
    where
        R: Send + 'static,
        F: FnOnce(&Shared, &mut Open) -> Result<R, StoreError> + Send + 'static,
    {
        let id = self.id;
        self.shared.slot(id, move |shared, slot| job(shared, slot.open(&shared.root, id)?)).await
    }

    /// Brings the databases to the last cut and reads what an owner needs to go on (TURN.md §3). May be called at
    /// any time; changes nothing on a whole instance. [`StoreError::NotFound`] without a folder,
    /// [`StoreError::NeverCreated`] without a cut.
    pub async fn recover(&self) -> Result<Recovered, StoreError> {
        self.run(|shared, open| open.recover(&shared.templates)).await
    }

    /// Makes a row of the inbox durable (FULL), or finds it there already.
    pub async fn accept(&self, row: NewRow) -> Result<Accepted, AcceptError> {
        self.run(move |_, open| open.accept(&row)).await.map_err(AcceptError::Store)?
    }

    /// Makes a steer durable (FULL), or finds it there already; none when it is new and has no turn.
    pub async fn accept_steer(&self, steer: NewSteer) -> Result<Option<Accepted>, AcceptError> {
        self.run(move |_, open| open.accept_steer(&steer)).await.map_err(AcceptError::Store)?
    }

    /// The steers of a turn without a cut, in order.
    pub async fn steers(&self, turn: u64) -> Result<Vec<SteerRow>, StoreError> {
        self.run(move |_, open| open.steers(turn)).await
    }

    /// Writes the start of an attempt and the count of attempts (NORMAL: a power cut may forget it, a crash of the host
    /// not).
    /// An attempt that goes on where the journal of the one before it ends takes over what that made durable; any other
    /// begins at its cut, and the journal goes.
    pub async fn begin(
        &self,
        inbox_seq: u64,
        start: TurnStart,
        counted_attempts: u32,
        goes_on: bool,
    ) -> Result<(), StoreError> {
        self.run(move |_, open| open.begin(inbox_seq, &start, counted_attempts, goes_on)).await
    }

    /// Appends to a turn's journal what its source has (FULL); none when it had nothing. Refused for a turn that has ended.
    pub async fn write_journal(&self, mut source: impl JournalSource) -> Result<Option<Journaled>, StoreError> {
        self.run(move |_, open| open.write_journal(&mut source)).await
    }

    /// The journal of a turn without a cut.
    pub async fn journal(&self, turn: u64) -> Result<JournalKept, StoreError> {
        self.run(move |_, open| open.journal(turn)).await
    }

    /// Notes that a turn cannot be run again by its journal (FULL); with [`InstanceStore::unpark`] that goes.
    pub async fn set_diverged(&self, turn: u64) -> Result<(), StoreError> {
        self.run(move |_, open| open.set_diverged(turn)).await
    }

    /// Writes the start of a turn that no row asked for: `on-idle`, `on-shutdown` (NORMAL). A crash forgets such a turn, and
    /// nothing runs it again.
    pub async fn begin_hook(&self, start: TurnStart) -> Result<(), StoreError> {
        self.run(move |_, open| open.begin_hook(&start)).await
    }

    /// Closes the turn of such a hook that ended without a cut (NORMAL).
    pub async fn close_hook(&self, turn: u64) -> Result<(), StoreError> {
        self.run(move |_, open| open.close_hook(turn)).await
    }

    /// Writes the count of attempts of a row (NORMAL).
    pub async fn set_attempts(&self, inbox_seq: u64, counted: u32) -> Result<(), StoreError> {
        self.run(move |_, open| open.set_attempts(inbox_seq, counted)).await
    }

    /// Parks an unfinished row (FULL: a person is told).
    pub async fn park(&self, inbox_seq: u64) -> Result<(), StoreError> {
        self.run(move |_, open| open.park(inbox_seq)).await
    }

    /// Sets a parked row to wait again, with its count at 0 (FULL: a person asked for it).
    pub async fn unpark(&self, inbox_seq: u64) -> Result<(), StoreError> {
        self.run(move |_, open| open.unpark(inbox_seq)).await
    }

    /// Makes a cut: steps 4 and 5 of TURN.md §3. When it fails nothing of it is true.
    pub async fn cut(&self, request: CutRequest) -> Result<CutMade, StoreError> {
        let (component, stopped) = (request.component.as_ref().map(ToString::to_string), request.stopped);
        let made = self.run(move |shared, open| open.cut(&shared.templates, &request)).await?;
        if component.is_some() || stopped.is_some() {
            let id = self.id;
            let listed = self
                .shared
                .host(move |host| {
                    component.map_or(Ok(()), |component| host.set_component(id, &component))?;
                    stopped.map_or(Ok(()), |stopped| host.set_stopped(id, stopped))
                })
                .await;
            // The cut is true whatever the list says of it.
            if let Err(error) = listed {
                tracing::warn!(instance = %id, %error, "the list of instances is behind");
            }
        }
        Ok(made)
    }

    /// Durable updates after `after_seq` in order: at most `limit`, and at most about
    /// [`crate::PAGE_BYTES_MAX`], so fewer may come although more are there; none means the end.
    pub async fn updates_after(&self, after_seq: u64, limit: usize) -> Result<Vec<Update>, StoreError> {
        self.run(move |_, open| open.updates_after(after_seq, limit)).await
    }

    /// How a row was answered; none while it is not.
    pub async fn outcome(&self, inbox_seq: u64) -> Result<Option<Outcome>, StoreError> {
        self.run(move |_, open| open.outcome(inbox_seq)).await
    }

    /// The rows with this message id, one per sender, oldest first.
    pub async fn find(&self, id: &str) -> Result<Vec<Found>, StoreError> {
        let id = id.to_owned();
        self.run(move |_, open| open.find(&id)).await
    }

    /// A stretch of the history, oldest first; bounded by bytes as [`InstanceStore::updates_after`] is. What a rewind has left
    /// behind is no part of it.
    pub async fn history(&self, query: HistoryQuery) -> Result<HistoryStretch, StoreError> {
        self.run(move |_, open| open.history(None, query)).await
    }

    /// The same as a cut has it.
    pub async fn history_at(&self, cut: u64, query: HistoryQuery) -> Result<HistoryStretch, StoreError> {
        self.run(move |_, open| open.history(Some(cut), query)).await
    }

    /// Messages that only one of two cuts has, after `after`, by `seq`; bounded as the history is.
    pub async fn message_difference(
        &self,
        from: u64,
        to: u64,
        after: u64,
        limit: usize,
    ) -> Result<MessageDifference, StoreError> {
        self.run(move |_, open| open.message_difference(from, to, after, limit)).await
    }

    /// Cuts after `after`, oldest first and at most `limit`, and whether there are more.
    pub async fn cuts(&self, after: u64, limit: usize) -> Result<(Vec<CutRow>, bool), StoreError> {
        self.run(move |_, open| open.cuts(after, limit)).await
    }

    /// The instance as one of its cuts had it; none when that was never made. An owner must have it open, or nobody.
    pub async fn at_cut(&self, cut: u64) -> Result<Option<AtCut>, StoreError> {
        self.run(move |shared, open| open.at_cut(&shared.templates, cut)).await
    }

    /// Adds lines to the agent's log (NORMAL). Over [`crate::LOG_BYTES_MAX`] the oldest go and are counted.
    pub async fn append_logs(&self, lines: Vec<NewLogLine>) -> Result<(), StoreError> {
        self.run(move |shared, open| open.append_logs(&shared.templates, &lines)).await
    }

    /// A stretch of the agent's log, oldest first.
    pub async fn logs(&self, query: LogQuery) -> Result<LogPage, StoreError> {
        self.run(move |_, open| open.logs(query)).await
    }

    /// The configuration at a revision, or the one in force; none when there is no such revision.
    pub async fn config(&self, revision: Option<u64>) -> Result<Option<ConfigDocument>, StoreError> {
        self.run(move |_, open| open.config(revision)).await
    }

    /// Writes that the instance takes no messages, or takes them again (FULL).
    pub async fn set_stopped(&self, stopped: bool) -> Result<(), StoreError> {
        self.run(move |_, open| open.set_stopped(stopped)).await?;
        let id = self.id;
        self.shared.host(move |host| host.set_stopped(id, stopped)).await
    }

    /// Notes that the instance is at work, so that the next start opens it. To be called before its first job.
    pub async fn mark_active(&self) -> Result<(), StoreError> {
        let id = self.id;
        self.shared.host(move |host| host.set_active(id, true)).await
    }

    /// Closes the instance with its WAL written back, and notes that the next start need not open it, unless a row
    /// waits or runs.
    pub async fn mark_resting(&self) -> Result<(), StoreError> {
        let id = self.id;
        let work_left = self
            .shared
            .slot(id, move |shared, slot| {
                let work_left = slot.open(&shared.root, id)?.work_left()?;
                slot.rest()?;
                Ok(work_left)
            })
            .await?;
        self.shared.slots.forget(id.as_uuid().as_u128()).await?;
        if work_left { Ok(()) } else { self.shared.host(move |host| host.set_active(id, false)).await }
    }
}
