//! A new instance of an export, on this host or any other.
//!
//! The instance is there when everything of the file was read, checked and written, and not before: what fails is removed, and what a kill
//! leaves has no first cut and goes at the next start. A component that is not here comes from the file, by the same way as any deploy, and last:
//! a file that is refused deploys nothing. Must never believe what the file says of itself without having found it so.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use podium_capabilities::limits::{Limits, STATE_BYTES_CAP, STATE_DEPTH_MAX};
use podium_chronicle::{ContentHash, FORK_VERSION, Incoming, IncomingError, Kind, Place, WorkPath};
use podium_kit::spawn;
use podium_registry::{RegistryError, Upload};
use podium_store::{NewFork, WorkspaceAt};
use podium_wire::message::HistoryEntry;
use podium_wire::portable::{ExportHead, ExportedMessage, FORMAT, ImportedFrom};
use podium_wire::{DeploymentId, DeploymentRef, ErrorCode, InstanceId};
use serde_json::Value;

use super::entry::Head;
use super::reader::{Lines, Reader};
use super::{
    COMPONENT_NAME, HEAD_BYTES_MAX, HEAD_NAME, MESSAGE_BYTES_MAX, MESSAGES_BYTES_MAX, MESSAGES_NAME, PIECE_BYTES,
    PortableError, STATE_NAME, WORKSPACE_PREFIX,
};
use crate::agents::resolve_limits;
use crate::deploy::{self, Naming};
use crate::error::Error;
use crate::host::Parts;
use crate::owner::check_config_size;
use crate::transfers::StagedFile;

/// The highest number that a file may go on counting from: every program reads it exactly, and what follows it has room.
const NUMBER_MAX: u64 = 1 << 53;

/// Messages that are written at once.
const MESSAGES_A_PAGE: usize = 1000;

/// An instance that is there.
#[derive(Debug)]
pub(crate) struct ImportMade {
    /// Its id.
    pub(crate) id: InstanceId,
    /// What it is a copy of.
    pub(crate) from: ImportedFrom,
    /// Whether its component came from the file.
    pub(crate) deployed: bool,
    /// What its workspace lacks.
    pub(crate) left_out: Vec<String>,
}

/// What was read of a file up to its messages.
struct Begun {
    reader: Reader<File>,
    head: ExportHead,
    /// The component, where it is not here.
    upload: Option<Upload>,
    limits: Limits,
    state: Value,
    root: Option<ContentHash>,
}

/// Makes an instance of a file that has come in. Goes on when nobody waits for it any more.
pub(crate) async fn import(parts: &Arc<Parts>, file: StagedFile) -> Result<ImportMade, Error> {
    let own = Arc::clone(parts);
    let made = parts.shutdown.task_on(&parts.threads, "instance import", async move { import_here(&own, file).await });
    made.await.map_err(|_| Error::Stopping)?
}

async fn import_here(parts: &Arc<Parts>, mut staged: StagedFile) -> Result<ImportMade, Error> {
    let _turn = parts.transfers.turn_to_import().await;
    if parts.shutdown.has_begun() {
        return Err(Error::Stopping);
    }
    let file = staged.file().try_clone()?;
    let own = Arc::clone(parts);
    let begun = blocking(move || begin(&own, file)).await??;
    let head = &begun.head;
    let from = ImportedFrom {
        instance_id: head.instance_id,
        cut: head.cut.cut,
        file: ContentHash::from_bytes(begun.reader.digest).to_string(),
    };
    let left_out = head.left_out.clone();
    let now = parts.clock.now_ms();
    let id = InstanceId::from_uuid(parts.random.uuid_v7(now));
    // Nobody opens what is half made, and removes it for that.
    let reserved = parts.instances.reserve(parts, id);
    let made = match parts.store.begin_fork(id, head.deployment_id.clone(), now).await {
        Ok(folder) => fill(parts, id, now, begun, &from, Place::new(folder)).await,
        Err(error) => Err(error.into()),
    };
    if made.is_err()
        && let Err(error) = parts.store.delete(id).await
    {
        // The first error is the one that counts; what this cannot remove the next start does.
        tracing::warn!(instance = %id, %error, "a failed import was not cleaned up");
    }
    parts.instances.give_up(reserved);
    let deployed = made?;
    tracing::info!(instance = %id, from = %from.instance_id, cut = from.cut, deployed, "imported");
    Ok(ImportMade { id, from, deployed, left_out })
}

/// Writes the instance; whether its component was deployed.
async fn fill(
    parts: &Arc<Parts>,
    id: InstanceId,
    now: u64,
    begun: Begun,
    from: &ImportedFrom,
    place: Place,
) -> Result<bool, Error> {
    let Begun { reader, head, upload, limits, state, root } = begun;
    let new = NewFork {
        id,
        created_at: now,
        component: head.deployment_id.clone(),
        config: (head.cut.config_rev, Value::Object(head.config).to_string()),
        state,
        state_version: head.cut.state_version,
        workspace: root.map(|root| WorkspaceAt { version: FORK_VERSION, root: root.as_bytes().to_vec() }),
        forked_from: serde_json::to_string(from).unwrap_or_default(),
    };
    parts.store.write_fork(new).await?;
    let reader = messages(parts, id, reader, head.messages).await?;
    blocking(move || files(reader, root, place, limits.workspace(), now)).await??;
    let deployed = match upload {
        Some(upload) => {
            let naming = Naming {
                agent_type: Some(head.deployment_id.agent_type.clone()),
                version: Some(head.deployment_id.version.clone()),
            };
            deploy::deploy(parts, upload, naming).await?.created
        }
        None => {
            // Nobody gets an instance whose code does not load.
            parts.agents.load(&head.deployment_id).await?;
            false
        }
    };
    parts.store.finish_fork(id).await?;
    Ok(deployed)
}

/// Reads a file up to its messages, and finds the code. Blocking.
fn begin(parts: &Parts, file: File) -> Result<Begun, Error> {
    let mut reader = Reader::open(file)?;
    own_entry(&mut reader, HEAD_NAME)?;
    let head = read_export_head(&reader.whole(HEAD_BYTES_MAX)?)?;
    check_config_size(&head.config)?;
    let root = match &head.workspace {
        None => None,
        Some(workspace) => Some(ContentHash::from_hex(&workspace.root).ok_or_else(|| no("a name of content is none"))?),
    };
    let known = known(parts, &head)?;
    let upload = if head.component.included {
        let size = own_entry(&mut reader, COMPONENT_NAME)?;
        if size != head.component.size_bytes {
            return Err(no("the component has another size").into());
        }
        Some(component(parts, &mut reader, &head)?)
    } else {
        None
    };
    let (limits, upload) = match (known, upload) {
        (Some(limits), _) => (limits, None),
        (None, Some(upload)) => {
            let manifest = upload.inspect()?.manifest;
            let asked = manifest.map(|manifest| manifest.limits).unwrap_or_default();
            let limits =
                Limits::resolve(&asked).map_err(|error| Error::coded(ErrorCode::InvalidManifest, error.to_string()))?;
            (limits, Some(upload))
        }
        (None, None) => {
            let message = format!(
                "the file has no component, and this host has no {} of SHA-256 {}",
                head.deployment_id, head.component.digest
            );
            return Err(Error::coded(ErrorCode::ComponentMissing, message));
        }
    };
    own_entry(&mut reader, STATE_NAME)?;
    let state = reader.whole(STATE_BYTES_CAP)?;
    let state = read_state(&state, head.cut.state_version, limits.state_bytes)?;
    let bytes = own_entry(&mut reader, MESSAGES_NAME)?;
    if bytes > MESSAGES_BYTES_MAX {
        return Err(no("the conversation is too long").into());
    }
    Ok(Begun { reader, head, upload, limits, state, root })
}

/// Goes to the entry of this name, which comes next; its bytes.
fn own_entry(reader: &mut Reader<impl Read>, name: &[u8]) -> Result<u64, PortableError> {
    match reader.next()? {
        Some(head) if head == Head::own(name, head.size) => Ok(head.size),
        _ => Err(no(format!("`{}` does not come where it should", String::from_utf8_lossy(name)))),
    }
}

/// What a file says of itself, as far as that can be right.
fn read_export_head(bytes: &[u8]) -> Result<ExportHead, PortableError> {
    let head: ExportHead = serde_json::from_slice(bytes).map_err(|error| no(format!("its head: {error}")))?;
    let cut = &head.cut;
    let numbers = [cut.cut, cut.config_rev, cut.state_version, cut.parent, cut.at, head.messages];
    let id = &head.deployment_id;
    if head.format != FORMAT || numbers.iter().any(|number| *number > NUMBER_MAX) || cut.cut == 0 || cut.config_rev == 0
    {
        return Err(no("its head has numbers that cannot be"));
    }
    if *id != DeploymentId::new(id.agent_type.clone(), id.version.clone(), &head.component.digest) {
        return Err(no("the component has another name than its bytes"));
    }
    Ok(head)
}

/// The state, within the limits of its agent.
fn read_state(bytes: &[u8], version: u64, bytes_max: u64) -> Result<Value, Error> {
    let state: Value = serde_json::from_slice(bytes).map_err(|error| no(format!("the state: {error}")))?;
    let Some(members) = state.as_object() else { return Err(no("the state is no object").into()) };
    if version == 0 && !members.is_empty() {
        return Err(no("the state is one that no patch has made").into());
    }
    if podium_store::state::deeper_than(&state, STATE_DEPTH_MAX) {
        return Err(Error::coded(ErrorCode::StateLimit, format!("the state is deeper than {STATE_DEPTH_MAX}")));
    }
    if bytes.len() as u64 > bytes_max {
        return Err(Error::coded(ErrorCode::StateLimit, format!("the state has more than {bytes_max} bytes")));
    }
    Ok(state)
}

/// The limits of the export's code, where this host has it. Refused where it has other code of that name.
fn known(parts: &Parts, head: &ExportHead) -> Result<Option<Limits>, Error> {
    let id = &head.deployment_id;
    let reference =
        DeploymentRef { agent_type: id.agent_type.clone(), version: Some(id.version.clone()), short_digest: None };
    match parts.registry.find(&reference) {
        Ok(found) if found.checksum == head.component.digest => Ok(Some(resolve_limits(&found)?)),
        Ok(other) => Err(RegistryError::VersionExists(other.deployment_id).into()),
        Err(RegistryError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Stages the component, which has to be the one that is named.
fn component(parts: &Parts, reader: &mut Reader<File>, head: &ExportHead) -> Result<Upload, Error> {
    let mut staged = parts.registry.stage()?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match reader.read(&mut piece).map_err(PortableError::reading)? {
            0 => break,
            read => staged.write(&piece[..read])?,
        }
    }
    let upload = staged.finish()?;
    if upload.digest() != head.component.digest {
        return Err(no("the component has another digest").into());
    }
    Ok(upload)
}

/// Writes the messages; gives the reader behind them.
async fn messages(
    parts: &Arc<Parts>,
    id: InstanceId,
    mut reader: Reader<File>,
    expected: u64,
) -> Result<Reader<File>, Error> {
    let (mut lines, mut there) = (Lines::default(), 0);
    loop {
        let (read, at, page) = blocking(move || {
            let page = page_of_messages(&mut reader, &mut lines)?;
            Ok::<_, PortableError>((reader, lines, page))
        })
        .await??;
        (reader, lines) = (read, at);
        if page.is_empty() {
            break;
        }
        there = parts.store.add_to_fork(id, there, page).await?;
        if there > expected {
            break;
        }
    }
    if there == expected { Ok(reader) } else { Err(no("it has another number of messages than it says").into()) }
}

fn page_of_messages(reader: &mut Reader<File>, lines: &mut Lines) -> Result<Vec<HistoryEntry>, PortableError> {
    let (mut page, mut bytes) = (Vec::new(), 0);
    while page.len() < MESSAGES_A_PAGE && bytes < PIECE_BYTES {
        let Some(line) = reader.line(lines, MESSAGE_BYTES_MAX)? else { break };
        bytes += line.len();
        let ExportedMessage { role, text, at } =
            serde_json::from_slice(&line).map_err(|error| no(format!("a message: {error}")))?;
        if at > NUMBER_MAX {
            return Err(no("a message has a time that cannot be"));
        }
        page.push(HistoryEntry { seq: 0, cut: 0, role, text, at });
    }
    Ok(page)
}

/// Writes the files, to the end of the file. Blocking.
fn files(
    mut reader: Reader<File>,
    root: Option<ContentHash>,
    place: Place,
    limits: podium_chronicle::Limits,
    now: u64,
) -> Result<(), Error> {
    let Some(root) = root else {
        return match reader.next()? {
            None => Ok(()),
            Some(_) => Err(no("it has files and says that it has none").into()),
        };
    };
    let mut incoming = Incoming::begin(place, limits, now)?;
    while let Some(head) = reader.next()? {
        let path =
            head.name.strip_prefix(WORKSPACE_PREFIX).ok_or_else(|| no("an entry is no file of the workspace"))?;
        let path = WorkPath::new(path).map_err(|error| no(error.to_string()))?;
        let taken = match head.kind {
            Kind::Folder => incoming.folder(&path, head.mode),
            Kind::Link => incoming.link(&path, head.mode, &head.target),
            Kind::File => incoming.file(&path, head.mode, head.mtime, head.size, &mut reader),
        };
        taken.map_err(not_taken)?;
    }
    incoming.finish(root).map_err(not_taken)?;
    Ok(())
}

fn not_taken(error: IncomingError) -> Error {
    match error {
        IncomingError::Refused { .. } => no(error.to_string()).into(),
        IncomingError::Read(error) => PortableError::reading(error).into(),
        IncomingError::Store(error) => error.into(),
    }
}

fn no(what: impl Into<String>) -> PortableError {
    PortableError::malformed(what)
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, Error> {
    spawn::blocking(work).await.map_err(|_| Error::Stopping)
}
