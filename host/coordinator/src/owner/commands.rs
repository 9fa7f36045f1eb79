//! What an instance's owner task can be asked to do.
//!
//! Each command carries the place for its answer; an answer that nobody waits for any more is dropped.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use podium_capabilities::workspace::Workspace;
use podium_chronicle::{Chronicle, ChronicleError, WorkPath};
use podium_kit::trace::Span;
use podium_store::Outcome;
use podium_wire::asks::AskList;
use podium_wire::cuts::ForkInstance;
use podium_wire::message::MessageContent;
use podium_wire::rest::{ConfigDocument, InstanceInfo, InstanceStatus, MessageReceipt, MountInfo};
use serde_json::Value;
use tokio::sync::oneshot;

use super::asks::Giving;
use super::fork::ForkMade;
use super::rewind::WantedRewind;
use super::steer::SteerAck;
use super::{Queued, Wanted, WantedConfig};
use crate::error::Error;
use crate::files::FileChange;
use crate::hub::{Client, Hub};
use crate::instances::Shown;
use crate::portable::{ExportRequest, Exporting};

/// The place for an answer.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A message to accept.
#[derive(Debug)]
pub struct Incoming {
    /// The authenticated principal.
    pub sender: String,
    /// Its id, checked.
    pub id: String,
    /// What is said.
    pub content: MessageContent,
    /// `ws` or `http`.
    pub channel: &'static str,
    /// Ends when the message is acknowledged.
    pub span: Span,
}

/// Where the acknowledgement goes.
#[derive(Debug)]
pub enum Ack {
    /// To the connection that sent the message, ahead of the turn's updates.
    Client(Arc<Client>),
    /// To a waiting request.
    Reply(Reply<Receipt>),
}

/// An accepted message.
#[derive(Debug)]
pub struct Receipt {
    /// What is answered at once.
    pub receipt: MessageReceipt,
    /// Resolves when the message's turn has ended.
    pub outcome: oneshot::Receiver<Outcome>,
}

/// The committed state of an instance.
#[derive(Debug)]
pub struct StateView {
    /// The document.
    pub state: Arc<Value>,
    /// Patches applied.
    pub version: u64,
    /// The cut it belongs to.
    pub cut: u64,
}

/// What is done with the workspace, or with the reason why it is not there.
type Reading = dyn FnOnce(Result<&Workspace, Error>) + Send;

/// A reading of the workspace's history, which answers whoever waits for it. It may block, and belongs on a thread that may.
pub struct HistoryRead(Box<Reading>);

impl HistoryRead {
    /// Reads with `read` what goes to `reply`: none while nobody ever used a file.
    pub fn new<T: Send + 'static>(
        read: impl FnOnce(&Chronicle) -> Result<T, ChronicleError> + Send + 'static,
        reply: Reply<Option<T>>,
    ) -> Self {
        Self(Box::new(move |workspace| {
            let found = workspace.and_then(|workspace| Ok(workspace.read(read)?));
            drop(reply.send(found));
        }))
    }

    /// Works on the history with `work`; what comes of it goes to `reply`: none while nobody ever used a file.
    pub fn maintaining<T: Send + 'static>(
        work: impl FnOnce(&mut Chronicle) -> Result<T, ChronicleError> + Send + 'static,
        reply: Reply<Option<T>>,
    ) -> Self {
        Self(Box::new(move |workspace| {
            let done = workspace.and_then(|workspace| Ok(workspace.maintain(work)?));
            drop(reply.send(done));
        }))
    }

    /// Answers why it cannot be.
    pub(super) fn refuse(self, error: Error) {
        (self.0)(Err(error));
    }

    /// Reads and answers. Blocks.
    pub(super) fn from(self, workspace: &Workspace) {
        (self.0)(Ok(workspace));
    }
}

impl std::fmt::Debug for HistoryRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryRead").finish_non_exhaustive()
    }
}

/// Says when a work on the history has to end early, because a turn begins.
#[derive(Debug, Clone, Default)]
pub struct MakeWay(Arc<AtomicBool>);

impl MakeWay {
    /// A turn begins.
    pub(super) fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a work of the flag that ends it early.
type Making = dyn FnOnce(MakeWay) -> HistoryRead + Send;

/// Work on the whole history, which may take as long as that is large.
pub struct HistoryWork(Box<Making>);

impl HistoryWork {
    /// Works with `work`, and answers to `reply`: none while nobody ever used a file.
    pub fn new<T: Send + 'static>(
        work: impl FnOnce(&mut Chronicle, &MakeWay) -> Result<T, ChronicleError> + Send + 'static,
        reply: Reply<Option<T>>,
    ) -> Self {
        Self(Box::new(move |make_way| HistoryRead::maintaining(move |chronicle| work(chronicle, &make_way), reply)))
    }

    /// The work itself.
    pub(super) fn with(self, make_way: MakeWay) -> HistoryRead {
        (self.0)(make_way)
    }
}

impl std::fmt::Debug for HistoryWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryWork").finish_non_exhaustive()
    }
}

/// A command to an owner.
#[derive(Debug)]
pub enum Command {
    /// Opens the instance and answers what it shows.
    Open(Reply<Arc<Shown>>),
    /// Writes the log lines that have been gathered.
    FlushLogs(Reply<()>),
    /// Accepts a message.
    Accept(Incoming, Ack),
    /// Accepts a steer.
    Steer(Incoming, SteerAck),
    /// Answers everything that fits on a page; the `ws_url` is the route's.
    Info(Reply<InstanceInfo>),
    /// Answers the committed state.
    State(Reply<StateView>),
    /// Answers the configuration in force.
    Config(Reply<ConfigDocument>),
    /// Sets the configuration, through `on-config-change`.
    SetConfig {
        /// The change.
        wanted: WantedConfig,
        /// The new document.
        reply: Reply<ConfigDocument>,
    },
    /// Changes the code; answers when that is durable.
    Upgrade(Wanted, Reply<Queued>),
    /// Makes a new instance of a cut.
    Fork(ForkInstance, Reply<ForkMade>),
    /// Reads what an export of a cut begins with.
    Export(ExportRequest, Reply<Exporting>),
    /// Goes to another cut.
    Rewind(WantedRewind),
    /// Answers what the running turn asks.
    Asks(Reply<AskList>),
    /// Gives an answer to what it asks.
    Give(Giving),
    /// Ends the running turn.
    Interrupt(Reply<()>),
    /// Takes no more messages.
    Stop(Reply<InstanceStatus>),
    /// Takes messages again.
    Start(Reply<InstanceStatus>),
    /// Runs a parked or failed message again.
    Retry(String, Reply<MessageReceipt>),
    /// Gives a parked message up.
    Discard(String, Reply<u64>),
    /// Opens the workspace; answers its folder, if anybody ever used a file.
    Folder(Reply<Option<PathBuf>>),
    /// Reads the workspace's history.
    History(HistoryRead),
    /// Works on the whole of the workspace's history, beside the owner and between turns.
    Maintain(HistoryWork),
    /// Changes a workspace file; answers the cut.
    Write(FileChange, Reply<u64>),
    /// Brings a workspace path to what it was at an iteration; answers the cut.
    Restore(WorkPath, u64, Reply<u64>),
    /// Mounts the workspace, in a folder of its own or this one; answers where.
    Mount(Option<PathBuf>, Reply<MountInfo>),
    /// Answers where the workspace is mounted.
    Mounted(Reply<MountInfo>),
    /// Unmounts the workspace.
    Unmount(Reply<()>),
    /// Removes the instance and its data.
    Delete(Reply<()>),
}

impl Command {
    /// Answers the command with a failure.
    pub fn refuse(self, error: Error) {
        match self {
            Self::Open(reply) => drop(reply.send(Err(error))),
            Self::Accept(_, Ack::Reply(reply)) => drop(reply.send(Err(error))),
            Self::Accept(_, Ack::Client(client)) => Hub::reply_error(&client, error.into()),
            Self::Steer(_, ack) => ack.refuse(error),
            Self::Info(reply) => drop(reply.send(Err(error))),
            Self::State(reply) => drop(reply.send(Err(error))),
            Self::Config(reply) | Self::SetConfig { reply, .. } => drop(reply.send(Err(error))),
            Self::Folder(reply) => drop(reply.send(Err(error))),
            Self::History(read) => read.refuse(error),
            Self::Maintain(work) => (work.0)(MakeWay::default()).refuse(error),
            Self::Export(_, reply) => drop(reply.send(Err(error))),
            Self::Fork(_, reply) => drop(reply.send(Err(error))),
            Self::Rewind(wanted) => drop(wanted.reply.send(Err(error))),
            Self::Upgrade(_, reply) => drop(reply.send(Err(error))),
            Self::Stop(reply) | Self::Start(reply) => drop(reply.send(Err(error))),
            Self::Retry(_, reply) => drop(reply.send(Err(error))),
            Self::Discard(_, reply) | Self::Write(_, reply) | Self::Restore(.., reply) => drop(reply.send(Err(error))),
            Self::Asks(reply) => drop(reply.send(Err(error))),
            Self::Give(giving) => drop(giving.reply.send(Err(error))),
            Self::Mount(_, reply) | Self::Mounted(reply) => drop(reply.send(Err(error))),
            Self::Interrupt(reply) | Self::Delete(reply) | Self::FlushLogs(reply) | Self::Unmount(reply) => {
                drop(reply.send(Err(error)));
            }
        }
    }
}
