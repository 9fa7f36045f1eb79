//! A cut of an instance on its way out, piece by piece.
//!
//! Everything is read through once before the first byte is sent, so that damage is an answer of its own and not a file that breaks off. Owner and
//! databases are asked for bounded pieces, and go on between them. Must never end a file that is not whole.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use axum::body::Bytes;
use podium_chronicle::{ContentHash, Skipped, Totals, Walk, Walked};
use podium_kit::descriptors::Held;
use podium_kit::spawn;
use podium_store::{AtCut, HistoryQuery};
use podium_wire::message::HistoryEntry;
use podium_wire::portable::{
    ExportHead, ExportedComponent, ExportedCut, ExportedMessage, ExportedWorkspace, FORMAT, TAIL_BYTES,
};
use podium_wire::{ErrorCode, InstanceId};

use super::entry::{BLOCK, Head};
use super::writer::Writer;
use super::{COMPONENT_NAME, HEAD_NAME, MESSAGES_BYTES_MAX, MESSAGES_NAME, PIECE_BYTES, STATE_NAME, WORKSPACE_PREFIX};
use crate::error::Error;
use crate::host::Parts;
use crate::owner::Command;

/// How long the content of a cut is kept for an export that is heard of no more; one that goes on asks for more.
pub(crate) const LEASE_MS: u64 = 60 * 60 * 1000;

/// Paths that a cut left out and that are named.
pub(crate) const LEFT_OUT_TOLD: usize = 100;

/// Entries that the owner reads at once.
const ENTRIES_A_PIECE: usize = 1000;

/// Messages that are read at once.
const MESSAGES_A_PAGE: usize = 1000;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// The cut; the last one when none.
    pub(crate) at: Option<u64>,
    /// What the cut's content is kept for, until [`LEASE_MS`] from now.
    pub(crate) lease: String,
}

/// What an instance was, and where its files are.
#[derive(Debug)]
pub struct Exporting {
    /// The cut.
    pub(crate) at: AtCut,
    /// Its files, which are kept meanwhile; none where there are none.
    pub(crate) files: Option<ExportFiles>,
}

/// The files of a cut.
#[derive(Debug)]
pub(crate) struct ExportFiles {
    pub(crate) version: u64,
    pub(crate) root: ContentHash,
    pub(crate) totals: Totals,
    pub(crate) left_out: Vec<Skipped>,
}

/// An export that has begun: everything of it can be read.
#[derive(Debug)]
pub(crate) struct Export {
    parts: Arc<Parts>,
    id: InstanceId,
    head: ExportHead,
    state: Vec<u8>,
    messages_bytes: u64,
    component: Option<File>,
    lease: Option<Lease>,
    writer: Option<Writer>,
    stage: Stage,
    /// Counted for as long as the client takes to read it.
    _held: Held,
}

/// What comes next.
#[derive(Debug)]
enum Stage {
    Head,
    Component { left: u64 },
    State,
    BeginMessages,
    Messages { after: u64, seen: u64 },
    Files(Walk),
    End,
    Over,
}

/// The content of a cut, kept while it is read.
#[derive(Debug)]
struct Lease {
    parts: Arc<Parts>,
    id: InstanceId,
    why: String,
    version: u64,
    root: ContentHash,
    until_ms: u64,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (parts, id, why) = (Arc::clone(&self.parts), self.id, std::mem::take(&mut self.why));
        // What fails here runs out.
        drop(self.parts.shutdown.task_on(&self.parts.threads, "the end of an export", async move {
            drop(parts.instances.history(&parts, id, move |chronicle| chronicle.release(&why)).await);
        }));
    }
}

impl Lease {
    /// Asks for more time when half of it is over.
    async fn renew(&mut self) -> Result<(), Error> {
        let now = self.parts.clock.now_ms();
        if now + LEASE_MS / 2 < self.until_ms {
            return Ok(());
        }
        let (version, root, why, until) = (self.version, self.root, self.why.clone(), now + LEASE_MS);
        let hold = move |chronicle: &podium_chronicle::Chronicle| chronicle.hold(version, root, &why, until);
        self.parts.instances.history(&self.parts, self.id, hold).await?;
        self.until_ms = until;
        Ok(())
    }
}

impl Export {
    /// Begins one: finds the cut and reads everything of it once.
    pub(crate) async fn begin(
        parts: &Arc<Parts>,
        id: InstanceId,
        at: Option<u64>,
        with_component: bool,
    ) -> Result<Self, Error> {
        let held = parts.transfers.begin()?;
        let now = parts.clock.now_ms();
        let why = format!("export:{}", parts.random.uuid_v7(now));
        let request = ExportRequest { at, lease: why.clone() };
        let exporting = parts.instances.ask(parts, id, |reply| Command::Export(request, reply)).await?;
        let Exporting { at: AtCut { cut, state, config }, files } = exporting;
        let mut lease = files.as_ref().map(|files| Lease {
            parts: Arc::clone(parts),
            id,
            why,
            version: files.version,
            root: files.root,
            until_ms: now + LEASE_MS,
        });
        let (registry, deployment_id) = (Arc::clone(&parts.registry), cut.component.clone());
        let found = blocking(move || {
            if with_component {
                registry.file(&deployment_id).map(|(file, deployment)| (Some(file), deployment))
            } else {
                registry.get(&deployment_id).map(|deployment| (None, deployment))
            }
        });
        let (component, deployment) = found.await??;
        let (messages, messages_bytes) = measure_messages(parts, id, cut.cut).await?;
        if let (Some(files), Some(lease)) = (&files, &mut lease) {
            let mut walk = Walk::of(files.root);
            while !walk.is_over() {
                (walk, _) = next_files(parts, id, walk).await?;
                lease.renew().await?;
            }
        }
        let left_out = files.as_ref().map_or(&[][..], |files| &files.left_out[..]);
        let head = ExportHead {
            format: FORMAT,
            instance_id: id,
            cut: ExportedCut {
                cut: cut.cut,
                parent: cut.parent,
                kind: crate::cuts::kind(cut.kind),
                state_version: cut.state_version,
                config_rev: cut.config_rev,
                at: cut.at,
            },
            deployment_id: cut.component,
            component: ExportedComponent {
                digest: deployment.checksum,
                size_bytes: deployment.size_bytes,
                included: component.is_some(),
            },
            config,
            messages,
            left_out: left_out.iter().take(LEFT_OUT_TOLD).map(|skipped| skipped.path.to_string()).collect(),
            left_out_count: left_out.len() as u64,
            workspace: files.map(|ExportFiles { root, totals, .. }| ExportedWorkspace {
                root: root.to_string(),
                entries: totals.entries,
                bytes: totals.bytes,
            }),
        };
        let state = serde_json::to_vec(&state).map_err(|error| unwritable(&error))?;
        Ok(Self {
            parts: Arc::clone(parts),
            id,
            head,
            state,
            messages_bytes,
            component,
            lease,
            writer: Some(Writer::new()?),
            stage: Stage::Head,
            _held: held,
        })
    }

    /// What it says of itself.
    pub(crate) fn head(&self) -> &ExportHead {
        &self.head
    }

    /// About the bytes of its entries before they are packed: for a bar, not for a promise.
    pub(crate) fn content_bytes(&self) -> u64 {
        let component = if self.component.is_some() { self.head.component.size_bytes } else { 0 };
        let files = self.head.workspace.as_ref().map_or(0, |files| files.bytes + files.entries * BLOCK as u64);
        component + self.state.len() as u64 + self.messages_bytes + files + TAIL_BYTES as u64
    }

    /// The next bytes of the file; none at its end. After an error there are no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let next = self.step_until_bytes().await;
        if next.is_err() {
            self.stage = Stage::Over;
        }
        next
    }

    async fn step_until_bytes(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let stage = std::mem::replace(&mut self.stage, Stage::Over);
            if let Stage::Over = stage {
                return Ok(None);
            }
            let bytes = self.step(stage).await?;
            if !bytes.is_empty() {
                return Ok(Some(bytes.into()));
            }
        }
    }

    /// Writes what comes next, sets what comes then, and gives what is packed by now.
    async fn step(&mut self, stage: Stage) -> Result<Vec<u8>, Error> {
        match stage {
            Stage::Head => {
                let head = serde_json::to_vec(&self.head).map_err(|error| unwritable(&error))?;
                let component = self.component.as_ref().map(|_| self.head.component.size_bytes);
                self.stage = component.map_or(Stage::State, |left| Stage::Component { left });
                self.write(move |writer| {
                    writer.entry(&Head::own(HEAD_NAME, head.len() as u64))?;
                    writer.content(&head)?;
                    component.map_or(Ok(()), |size| writer.entry(&Head::own(COMPONENT_NAME, size)))
                })
                .await
            }
            Stage::Component { left } => {
                let Some(mut file) = self.component.take() else { return Ok(Vec::new()) };
                let wanted = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
                let (file, piece) = blocking(move || {
                    let mut piece = vec![0; wanted];
                    file.read_exact(&mut piece).map(|()| (file, piece))
                })
                .await??;
                self.component = Some(file);
                let left = left - piece.len() as u64;
                self.stage = if left == 0 { Stage::State } else { Stage::Component { left } };
                self.write(move |writer| writer.content(&piece)).await
            }
            Stage::State => {
                let state = std::mem::take(&mut self.state);
                self.stage = Stage::BeginMessages;
                self.write(move |writer| {
                    writer.entry(&Head::own(STATE_NAME, state.len() as u64))?;
                    writer.content(&state)
                })
                .await
            }
            Stage::BeginMessages => {
                let size = self.messages_bytes;
                self.stage = Stage::Messages { after: 0, seen: 0 };
                self.write(move |writer| writer.entry(&Head::own(MESSAGES_NAME, size))).await
            }
            Stage::Messages { seen, .. } if seen == self.head.messages => {
                let root = self.lease.as_ref().map(|lease| lease.root);
                self.stage = root.map_or(Stage::End, |root| Stage::Files(Walk::of(root)));
                Ok(Vec::new())
            }
            Stage::Messages { after, seen } => {
                let entries = page_of_messages(&self.parts, self.id, self.head.cut.cut, after).await?.0;
                let after = entries.last().map_or(u64::MAX, |entry| entry.seq);
                let seen = seen + entries.len() as u64;
                self.stage = Stage::Messages { after, seen };
                self.write(move |writer| {
                    entries
                        .into_iter()
                        .try_for_each(|entry| writer.content(&line(entry).map_err(std::io::Error::other)?))
                })
                .await
            }
            Stage::Files(walk) if walk.is_over() => {
                self.stage = Stage::End;
                Ok(Vec::new())
            }
            Stage::Files(walk) => {
                if let Some(lease) = &mut self.lease {
                    lease.renew().await?;
                }
                let (walk, found) = next_files(&self.parts, self.id, walk).await?;
                self.stage = Stage::Files(walk);
                self.write(move |writer| found.into_iter().try_for_each(|walked| write_walked(writer, walked))).await
            }
            Stage::End => {
                let Some(writer) = self.writer.take() else { return Ok(Vec::new()) };
                Ok(blocking(move || writer.finish()).await??)
            }
            Stage::Over => Ok(Vec::new()),
        }
    }

    /// Packs on a thread that may take its time.
    async fn write(
        &mut self,
        work: impl FnOnce(&mut Writer) -> std::io::Result<()> + Send + 'static,
    ) -> Result<Vec<u8>, Error> {
        let Some(mut writer) = self.writer.take() else { return Ok(Vec::new()) };
        let (writer, bytes) = blocking(move || {
            work(&mut writer)?;
            let bytes = writer.take();
            Ok::<_, std::io::Error>((writer, bytes))
        })
        .await??;
        self.writer = Some(writer);
        Ok(bytes)
    }
}

fn write_walked(writer: &mut Writer, walked: Walked) -> std::io::Result<()> {
    match walked {
        Walked::Content(bytes) => writer.content(&bytes),
        Walked::Entry(entry) => writer.entry(&Head {
            name: [WORKSPACE_PREFIX, entry.path.as_bytes()].concat(),
            kind: entry.kind,
            mode: entry.mode,
            size: entry.size,
            mtime: entry.mtime,
            target: entry.target,
        }),
    }
}

/// The next piece of the files.
async fn next_files(parts: &Arc<Parts>, id: InstanceId, walk: Walk) -> Result<(Walk, Vec<Walked>), Error> {
    let read = move |chronicle: &podium_chronicle::Chronicle| chronicle.walk(walk, PIECE_BYTES, ENTRIES_A_PIECE);
    let found = parts.instances.history(parts, id, read).await?;
    found.ok_or_else(|| Error::coded(ErrorCode::InstanceDamaged, "the workspace of a cut is not there"))
}

/// A page of what was said up to a cut, and whether there is more.
async fn page_of_messages(
    parts: &Arc<Parts>,
    id: InstanceId,
    cut: u64,
    after: u64,
) -> Result<(Vec<HistoryEntry>, bool), Error> {
    let query = HistoryQuery::After { after, limit: MESSAGES_A_PAGE };
    let page = parts.store.instance(id).history_at(cut, query).await?;
    Ok((page.entries, page.more))
}

/// How many messages there are, and their bytes in the file, which has to say it before they come.
async fn measure_messages(parts: &Arc<Parts>, id: InstanceId, cut: u64) -> Result<(u64, u64), Error> {
    let (mut count, mut bytes, mut after) = (0_u64, 0_u64, 0);
    loop {
        let (entries, more) = page_of_messages(parts, id, cut, after).await?;
        after = entries.last().map_or(after, |entry| entry.seq);
        count += entries.len() as u64;
        for entry in entries {
            bytes += line(entry).map_err(|error| unwritable(&error))?.len() as u64;
        }
        if bytes > MESSAGES_BYTES_MAX {
            let message = format!("the conversation has more than {MESSAGES_BYTES_MAX} bytes");
            return Err(Error::coded(ErrorCode::ExportTooLarge, message));
        }
        if !more {
            return Ok((count, bytes));
        }
    }
}

fn line(entry: HistoryEntry) -> serde_json::Result<Vec<u8>> {
    let HistoryEntry { role, text, at, .. } = entry;
    let mut line = serde_json::to_vec(&ExportedMessage { role, text, at })?;
    line.push(b'\n');
    Ok(line)
}

fn unwritable(error: &serde_json::Error) -> Error {
    Error::coded(ErrorCode::Internal, format!("an export cannot be written: {error}"))
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
    spawn::blocking(work).await.map_err(|_| Error::Stopping)
}
