//! What differs between two cuts: a JSON Patch of the state, the messages, the files line by line.
//!
//! Cuts do not change, so neither does what differs between them: a page goes on where the one before ended. Must never take the owner's
//! time for more than a page.

use std::sync::Arc;

use podium_chronicle::{Chronicle, ChronicleError, ContentHash, Entry, FileChange, Kind, Op, TextDiff, empty_root};
use podium_store::{AtCut, difference};
use podium_wire::cuts::{
    CutDiff, DeploymentDiff, DiffOmitted, DiffSide, FileDiff, FileDiffOp, FileDiffs, MessageDiff, MessageDiffs,
    StateDiff,
};
use podium_wire::rest::FileKind;
use podium_wire::{ErrorCode, InstanceId};
use serde_json::Value;

use crate::error::Error;
use crate::host::Parts;
use crate::owner::Command;

/// Bytes of text after which a page of files ends: what a person reads at once, and little of a host's memory. A file's own differences
/// are held by the chronicle.
const PAGE_TEXT_BYTES: usize = 1024 * 1024;

/// Which two cuts, and which stretch of their differences.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiffRequest {
    /// The one.
    pub(crate) from: u64,
    /// The other.
    pub(crate) to: u64,
    /// Messages behind this `seq`.
    pub(crate) messages_after: u64,
    /// Files behind so many.
    pub(crate) files_after: u64,
    /// At most so many of each.
    pub(crate) limit: usize,
}

/// What differs.
pub(crate) async fn diff(parts: &Arc<Parts>, id: InstanceId, request: DiffRequest) -> Result<CutDiff, Error> {
    // Its owner has brought the state's database to the last cut.
    parts.instances.ask(parts, id, Command::Open).await?;
    let store = parts.store.instance(id);
    let find = async |cut: u64| {
        let found = store.at_cut(cut).await?;
        found.ok_or_else(|| Error::coded(ErrorCode::CutNotFound, format!("there is no cut {cut}")))
    };
    let (from, to) = (find(request.from).await?, find(request.to).await?);
    let found = store.message_difference(request.from, request.to, request.messages_after, request.limit).await?;
    let messages: Vec<MessageDiff> = found
        .messages
        .into_iter()
        .map(|(is_new, message)| MessageDiff {
            side: if is_new { DiffSide::Added } else { DiffSide::Removed },
            message,
        })
        .collect();
    let next = if found.more { messages.last().map(|change| change.message.seq) } else { None };
    let files = files(parts, id, &from, &to, request).await?;
    let deployment_id = (from.cut.component != to.cut.component)
        .then(|| DeploymentDiff { from: from.cut.component.clone(), to: to.cut.component.clone() });
    let (from_version, to_version) = (from.cut.state_version, to.cut.state_version);
    // A large state takes a while to compare.
    let patches = podium_kit::spawn::blocking(move || {
        let config = difference(&Value::Object(from.config), &Value::Object(to.config));
        (difference(&from.state, &to.state), config)
    });
    let (patch, config) = patches.await.map_err(|_| Error::Stopping)?;
    Ok(CutDiff {
        from: request.from,
        to: request.to,
        state: StateDiff { from_version, to_version, patch },
        messages: MessageDiffs { changes: messages, next },
        files,
        deployment_id,
        config,
    })
}

/// The tree that a cut names.
fn root(at: &AtCut) -> Result<ContentHash, Error> {
    let Some(workspace) = &at.cut.workspace else { return Ok(empty_root()) };
    ContentHash::from_slice(&workspace.root)
        .ok_or_else(|| Error::coded(ErrorCode::InstanceDamaged, "the name of a workspace's content is damaged"))
}

async fn files(
    parts: &Arc<Parts>,
    id: InstanceId,
    from: &AtCut,
    to: &AtCut,
    request: DiffRequest,
) -> Result<FileDiffs, Error> {
    let (old, new) = (root(from)?, root(to)?);
    if old == new {
        return Ok(FileDiffs { changes: Vec::new(), next: None, same: true });
    }
    let read = move |chronicle: &Chronicle| {
        for (root, cut) in [(old, request.from), (new, request.to)] {
            if !chronicle.keeps(root)? {
                return Ok(Err(cut));
            }
        }
        page(chronicle, old, new, request).map(Ok)
    };
    match parts.instances.history(parts, id, read).await? {
        Some(Ok(files)) => Ok(files),
        Some(Err(cut)) => Err(Error::coded(ErrorCode::CutNotKept, format!("the files of cut {cut} were collected"))),
        None => Err(Error::coded(ErrorCode::InstanceDamaged, "the workspace that a cut names is gone")),
    }
}

fn page(
    chronicle: &Chronicle,
    old: ContentHash,
    new: ContentHash,
    request: DiffRequest,
) -> Result<FileDiffs, ChronicleError> {
    let all = chronicle.diff(old, new)?;
    let begin = usize::try_from(request.files_after).unwrap_or(usize::MAX).min(all.len());
    let (mut changes, mut bytes) = (Vec::new(), 0);
    for change in all[begin..].iter().take(request.limit) {
        if bytes > PAGE_TEXT_BYTES {
            break;
        }
        let told = told(chronicle, change)?;
        bytes += told.diff.as_ref().map_or(0, String::len);
        changes.push(told);
    }
    let end = begin + changes.len();
    let next = if end < all.len() { u64::try_from(end).ok() } else { None };
    Ok(FileDiffs { changes, next, same: false })
}

fn told(chronicle: &Chronicle, change: &FileChange) -> Result<FileDiff, ChronicleError> {
    let (old, new) = (change.old.as_ref(), change.new.as_ref());
    let op = match change.op {
        _ if change.renamed_from.is_some() => FileDiffOp::Renamed,
        Op::Added => FileDiffOp::Added,
        Op::Modified => FileDiffOp::Modified,
        Op::Deleted => FileDiffOp::Deleted,
        Op::Touched => FileDiffOp::Touched,
    };
    let has_lines = matches!(op, FileDiffOp::Added | FileDiffOp::Modified | FileDiffOp::Deleted);
    let is_file = old.or(new).is_some_and(|entry| entry.kind != Kind::Folder)
        || new.is_some_and(|entry| entry.kind != Kind::Folder);
    let (mut diff, mut omitted) = (None, None);
    if has_lines && is_file {
        match chronicle.text_diff(change) {
            Ok(TextDiff::Text(text)) => diff = Some(text),
            Ok(TextDiff::Binary) => omitted = Some(DiffOmitted::Binary),
            Ok(TextDiff::TooLarge) => omitted = Some(DiffOmitted::TooLarge),
            // The others can still be read.
            Err(ChronicleError::Damaged { .. }) => omitted = Some(DiffOmitted::Damaged),
            Err(error) => return Err(error),
        }
    }
    let size = |entry: Option<&Entry>| entry.filter(|entry| entry.kind != Kind::Folder).map(|entry| entry.size);
    Ok(FileDiff {
        path: change.path.to_string(),
        kind: new.or(old).map_or(FileKind::Other, |entry| match entry.kind {
            Kind::File => FileKind::File,
            Kind::Folder => FileKind::Folder,
            Kind::Link => FileKind::Symlink,
        }),
        op,
        previous_path: change.renamed_from.as_ref().map(ToString::to_string),
        old_mode: old.map(|entry| entry.mode),
        new_mode: new.map(|entry| entry.mode),
        old_size: size(old),
        new_size: size(new),
        diff,
        omitted,
    })
}
