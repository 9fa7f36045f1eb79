//! The owner of one instance: one task, one inbox of commands, one turn at a time.
//!
//! Owns the instance's committed values in memory while it is active; the databases are the truth. Everything that
//! changes an instance passes here, in order. It runs on threads that may block, and blocks for its own commits only. Must
//! never run a guest or touch a workspace in its own task.

mod asks;
mod commands;
mod config;
mod control;
mod deadlines;
mod export;
mod fork;
mod hooks;
mod maintenance;
mod messages;
mod mount;
mod open;
mod rewind;
mod row;
mod steer;
mod suspend;
mod turn_end;
mod turn_start;
mod upgrade;
mod warm;
mod workspace;

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use podium_capabilities::turn::Turn;
use podium_capabilities::workspace::Workspace;
use podium_chronicle::Due;
use podium_kit::trace::Span;
use podium_runtime::{StopHandle, StopReason, TurnEnd};
use podium_store::{InstanceStore, Outcome};
use podium_wire::rest::InstanceStatus;
use podium_wire::{DeploymentId, InstanceId};
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::agents::LoadedAgent;
use crate::error::Error;
use crate::host::Parts;
use crate::hub::Position;
use crate::instances::Shown;
use crate::ports::{TurnSnapshots, WaitFlag};
use deadlines::{Deadlines, reached};
use maintenance::Maintenance;
use steer::TurnSteers;

pub(crate) use asks::Giving;
pub(crate) use commands::{Ack, Command, HistoryRead, HistoryWork, Incoming, Receipt, Reply, StateView};
pub(crate) use config::{WantedConfig, check_size as check_config_size};
pub(crate) use messages::HOST_SENDER;
pub(crate) use open::Opening;
pub(crate) use rewind::WantedRewind;
pub(crate) use row::Row;
pub(crate) use steer::SteerAck;
pub(crate) use upgrade::{Queued, Wanted};
use warm::Warm;

/// Commands that may wait for an owner: a full inbox and as many questions about it.
pub(crate) const COMMANDS_MAX: usize = 1024;

/// How long an owner without work or clients stays, milliseconds: long enough for a conversation's next message to
/// find its databases open, short enough that resting costs nothing.
const IDLE_MS: u64 = 10_000;

/// How long a running turn may go on after the host began to stop (TURN.md §6).
const STOP_GRACE_MS: u64 = 10_000;

/// The committed values of an instance.
#[derive(Debug)]
pub struct Core {
    /// When it was made.
    pub created_at: u64,
    /// The code it runs.
    pub component: DeploymentId,
    /// True when it takes no messages.
    pub stopped: bool,
    /// The last cut.
    pub cut: u64,
    /// The state document.
    pub state: Arc<Value>,
    /// Patches applied.
    pub state_version: u64,
    /// The last durable update.
    pub last_seq: u64,
    /// The last turn.
    pub last_turn: u64,
    /// The configuration, an object.
    pub config: Arc<Value>,
    /// Its revision.
    pub config_rev: u64,
}

/// What a cut needs to know of the attempt that ended.
struct Attempt {
    row: Row,
    number: u64,
    turn: Turn,
    steers: TurnSteers,
    /// Ends with the attempt.
    span: Span,
    /// The configuration that becomes true with the turn's cut.
    new_config: Option<Map<String, Value>>,
    /// True when it was brought to where an earlier guest was, and went on there.
    goes_on: bool,
}

/// The turn that runs.
struct Running {
    attempt: Attempt,
    stop: StopHandle,
    end: Pin<Box<dyn Future<Output = Ended> + Send>>,
    wait: Arc<WaitFlag>,
    /// When it began, by the monotonic clock.
    began: Duration,
    /// True while the count of deaths in the database is 0 because the turn waits.
    forgiven: bool,
    /// What clients are told of the turn when they come too late for its updates.
    snapshots: Arc<TurnSnapshots>,
    /// Resumes the turn while it waits without a guest.
    wake: Option<Arc<Notify>>,
}

/// What ended the run of a guest, or the wait without one.
enum Ended {
    Guest(TurnEnd),
    /// Something has come for a turn that waits without a guest.
    Woken,
}

impl Running {
    /// True when its guest runs again and the count of deaths in the database still says that it waits.
    fn ended_its_wait(&self) -> bool {
        self.forgiven && !self.wait.is_waiting() && self.wake.is_none() && !self.is_coming_back()
    }

    /// True while its guest is brought to where an earlier one was.
    fn is_coming_back(&self) -> bool {
        self.attempt.turn.journal().is_again()
    }

    /// True while it waits for something from outside, with a guest or without.
    fn is_waiting(&self) -> bool {
        self.wait.is_waiting() || self.wake.is_some() || self.is_coming_back()
    }
}

/// Where a message's outcome is waited for, by its place in the inbox.
pub(crate) type Waiters = HashMap<u64, Vec<oneshot::Sender<Outcome>>>;

/// The owner's task.
pub(crate) struct Owner {
    parts: Arc<Parts>,
    id: InstanceId,
    store: InstanceStore,
    workspace: Workspace,
    shown: Arc<Shown>,
    core: Core,
    agent: Option<Arc<LoadedAgent>>,
    queue: VecDeque<Row>,
    running: Option<Running>,
    /// The upgrade whose `migrate` runs, and one that has yet to prove itself.
    upgrade: upgrade::Upgrades,
    rewinds: rewind::Rewinds,
    waiters: Waiters,
    resolved_asks: asks::ResolvedAsks,
    /// What has to wait until a turn is where it was.
    deferred: Vec<Command>,
    commands: mpsc::Receiver<Box<Command>>,
    /// True once host.db knows that this instance may have unfinished rows.
    active: bool,
    stopping: bool,
    wait_changed: Arc<Notify>,
    deadlines: Deadlines,
    /// Work on the workspace's history beside the turns.
    maintenance: Maintenance,
    /// The guest that is kept between turns.
    warm: Warm,
    /// The workspace as a person sees it.
    mounting: mount::Mounting,
    /// True when `on-init` has refused the instance: it never lived.
    was_refused: bool,
}

/// What the owner does next.
enum Event {
    Command(Option<Box<Command>>),
    TurnEnd(Ended),
    /// Something is other than it was when the last wait began: what is waited for has to be found anew.
    Look,
    WaitSettled,
    LogsDue,
    StartAgain,
    MountDue,
    Idle,
    WarmIdle,
    WarmPressed,
    HostStops,
    GraceOver,
}

impl Owner {
    /// Runs until the instance rests, is deleted, or the host stops. What it does is boxed: thousands of owners only wait, and
    /// each would hold room for the largest of its steps.
    pub(crate) async fn run(mut self) {
        Box::pin(self.adopt()).await;
        Box::pin(self.start_next()).await;
        let mut grace: Option<Pin<Box<tokio::time::Sleep>>> = None;
        loop {
            match self.next_event(grace.as_mut()).await {
                Event::Command(Some(command)) => {
                    if let Some(reply) = Box::pin(self.handle(*command)).await {
                        return Box::pin(self.delete(reply)).await;
                    }
                }
                Event::Command(None) => return Box::pin(self.leave()).await,
                Event::TurnEnd(Ended::Woken) => Box::pin(self.resume()).await,
                Event::TurnEnd(Ended::Guest(TurnEnd::Suspended { due_ns })) => self.suspend(due_ns),
                Event::TurnEnd(Ended::Guest(end)) => {
                    Box::pin(self.end_turn(end)).await;
                    Box::pin(self.rewind_waiting()).await;
                    Box::pin(self.start_next()).await;
                    Box::pin(self.flush_logs()).await;
                    self.collect_if_due(Due::Soon);
                }
                Event::Look => {}
                Event::WaitSettled => Box::pin(self.wait_settled()).await,
                Event::LogsDue => Box::pin(self.flush_logs()).await,
                Event::StartAgain => Box::pin(self.start_next()).await,
                Event::MountDue => Box::pin(self.mount_due()).await,
                Event::Idle => {
                    if Box::pin(self.rest()).await {
                        return;
                    }
                }
                Event::WarmIdle => Box::pin(self.warm_idle()).await,
                Event::WarmPressed => Box::pin(self.warm_pressed()).await,
                Event::HostStops => {
                    self.stopping = true;
                    grace = Some(Box::pin(tokio::time::sleep(self.stop_grace())));
                }
                Event::GraceOver => {
                    grace = None;
                    if let Some(running) = &self.running {
                        running.stop.stop(StopReason::HostStop);
                    }
                }
            }
            if self.running.as_ref().is_some_and(|running| !running.wait.is_waiting()) {
                self.maintenance.make_way();
            }
            if self.running.as_ref().is_some_and(Running::ended_its_wait) {
                Box::pin(self.wait_ended()).await;
            }
            self.do_deferred().await;
            if self.mounting.has_ended() {
                Box::pin(self.mount_ended()).await;
            }
            if self.running.is_none() {
                Box::pin(self.reopen_mount()).await;
            }
            self.drop_stale_guest();
            self.show_status();
            if self.running.is_some() {
                // A guest that was just started waits on this thread: it goes before the next command's commit.
                tokio::task::yield_now().await;
            }
            if self.stopping && self.running.is_none() {
                return Box::pin(self.leave()).await;
            }
        }
    }

    /// Waits for whatever comes first. A turn's end goes before commands, so that what they see is committed; so does what is
    /// due, which comes seldom, because a flood of commands would keep it waiting for ever. What a guest or a client can make
    /// as often as it likes comes after them.
    async fn next_event(&mut self, grace: Option<&mut Pin<Box<tokio::time::Sleep>>>) -> Event {
        let (is_free, now) = (self.running.is_none(), self.parts.clock.monotonic());
        let is_in_use = self.shown.hub.clients() > 0 || self.warm.is_kept() || self.mounting.is_mounted();
        let idle = is_free && self.queue.is_empty() && !is_in_use;
        let idle_after = Duration::from_millis(IDLE_MS);
        let shutdown = &self.parts.shutdown;
        let wait = self.running.as_ref().filter(|running| !running.forgiven).and_then(|running| running.wait.number());
        let comes_back = self.running.as_ref().is_some_and(|running| running.attempt.goes_on);
        // A turn that was brought back to its wait has waited before.
        let settles = if comes_back { wait.map(|_| now) } else { self.deadlines.wait(wait, now) };
        let starts = self.deadlines.start();
        let logs = self.deadlines.log(self.shown.logs.is_waiting(), now);
        let mount_due = self.mounting.cut_due();
        let end = async {
            match &mut self.running {
                Some(running) => running.end.as_mut().await,
                None => std::future::pending().await,
            }
        };
        let grace_over = async {
            match grace {
                Some(sleep) => sleep.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            end = end => Event::TurnEnd(end),
            () = grace_over => Event::GraceOver,
            () = shutdown.begun(), if !self.stopping => Event::HostStops,
            () = reached(starts, now), if is_free => Event::StartAgain,
            () = reached(logs, now) => Event::LogsDue,
            () = reached(settles, now) => Event::WaitSettled,
            command = self.commands.recv() => Event::Command(command),
            () = self.wait_changed.notified() => Event::Look,
            () = self.shown.logs.arrived(), if logs.is_none() => Event::Look,
            () = self.shown.hub.changed() => Event::Look,
            () = self.warm.asked_to_leave(), if is_free => Event::WarmPressed,
            () = self.warm.idle(now), if is_free => Event::WarmIdle,
            () = self.mounting.woken() => Event::Look,
            () = reached(mount_due, now), if is_free => Event::MountDue,
            () = tokio::time::sleep(idle_after), if idle => Event::Idle,
        }
    }

    /// Does one command; a delete hands its reply back, because it ends the owner.
    async fn handle(&mut self, command: Command) -> Option<Reply<()>> {
        match command {
            Command::Open(reply) => answer(reply, Ok(Arc::clone(&self.shown))),
            Command::FlushLogs(reply) => {
                self.flush_logs().await;
                answer(reply, Ok(()));
            }
            Command::Info(reply) => answer(reply, Ok(self.info())),
            Command::State(reply) => answer(reply, Ok(self.state_view())),
            Command::Config(reply) => answer(reply, Ok(self.config_document())),
            Command::Accept(incoming, ack) => self.accept(incoming, ack).await,
            Command::Steer(incoming, ack) => self.steer(incoming, ack).await,
            Command::SetConfig { wanted, reply } => self.set_config(wanted, reply).await,
            Command::Upgrade(wanted, reply) => self.upgrade(wanted, reply).await,
            command @ (Command::Asks(_) | Command::Give(_)) if self.is_coming_back() => self.defer(command),
            Command::Export(request, reply) => answer(reply, self.export(request).await),
            Command::Fork(request, reply) => answer(reply, self.fork(request).await),
            Command::Rewind(wanted) => self.rewind(wanted).await,
            Command::Asks(reply) => answer(reply, Ok(self.asks())),
            Command::Give(giving) => self.give(giving).await,
            Command::Interrupt(reply) => answer(reply, self.interrupt()),
            Command::Stop(reply) => answer(reply, self.stop().await),
            Command::Start(reply) => answer(reply, self.start().await),
            Command::Retry(id, reply) => answer(reply, self.retry(&id).await),
            Command::Discard(id, reply) => answer(reply, self.discard(&id).await),
            Command::Folder(reply) => answer(reply, self.folder_if_used().await),
            Command::History(read) => self.read_history(read).await,
            Command::Maintain(work) => self.maintain(work),
            Command::Write(change, reply) => answer(reply, self.write_file(change).await),
            Command::Restore(path, n, reply) => answer(reply, self.restore_file(path, n).await),
            Command::Mount(place, reply) => answer(reply, self.mount(place).await),
            Command::Mounted(reply) => answer(reply, self.mounted()),
            Command::Unmount(reply) => answer(reply, self.unmount().await),
            Command::Delete(reply) => return Some(reply),
        }
        None
    }

    /// The status that everybody is told.
    fn status(&self) -> InstanceStatus {
        match &self.running {
            Some(running) if running.is_waiting() => InstanceStatus::Waiting,
            Some(_) => InstanceStatus::Running,
            None if self.core.stopped => InstanceStatus::Stopped,
            None if self.is_parked() => InstanceStatus::Parked,
            None => InstanceStatus::Resting,
        }
    }

    /// Shows the status to those who do not ask the owner.
    fn show_status(&self) {
        self.shown.status.send_replace(Some(self.status()));
    }

    fn position(&self) -> Position {
        // Updates of a turn that has no cut yet may be durable too.
        let last_seq = self.core.last_seq.max(self.shown.hub.position().last_seq);
        Position { last_seq, state_version: self.core.state_version, cut: self.core.cut }
    }

    /// Tells host.db that this instance may have unfinished rows, before the first one is written.
    async fn mark_active(&mut self) -> Result<(), Error> {
        if !self.active {
            self.store.mark_active().await?;
            self.active = true;
        }
        Ok(())
    }

    async fn flush_logs(&mut self) {
        if let Err(error) = self.shown.logs.flush(&self.store).await {
            tracing::warn!(instance = %self.id, %error, "an agent's log cannot be written");
        }
    }

    /// Ends the owner of an instance that has nothing to do; false when a command or a connection came in the meantime.
    async fn rest(&mut self) -> bool {
        self.flush_logs().await;
        self.collect_if_due(Due::AtRest);
        if self.maintenance.is_busy() {
            return false;
        }
        self.close_workspace().await;
        if self.active && !self.is_parked() {
            if let Err(error) = self.store.mark_resting().await {
                tracing::warn!(instance = %self.id, %error, "an instance cannot be marked as resting");
            }
            self.active = false;
        }
        self.parts.instances.remove_if_idle(self.id, &self.commands, &self.shown)
    }

    /// Ends the owner because the host stops.
    async fn leave(&mut self) {
        self.commands.close();
        while let Some(command) = self.commands.recv().await {
            command.refuse(Error::Stopping);
        }
        for command in std::mem::take(&mut self.deferred) {
            command.refuse(Error::Stopping);
        }
        if self.mounting.is_mounted()
            && let Err(error) = self.unmount().await
        {
            tracing::warn!(instance = %self.id, %error, "a mount is left behind");
        }
        self.flush_logs().await;
        self.warm.drop_guest();
        self.close_workspace().await;
        self.shown.hub.close(podium_wire::frames::CloseCode::Shutdown);
        if self.queue.is_empty() && self.active {
            // Only spares the next start a look at this instance.
            drop(self.store.mark_resting().await);
        }
        self.parts.instances.forget(self.id, &self.shown);
    }
}

/// Answers, whether or not somebody still waits.
fn answer<T>(reply: Reply<T>, result: Result<T, Error>) {
    drop(reply.send(result));
}
