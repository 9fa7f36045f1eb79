//! The whole content of a version, folder after folder in the order of names, a bounded piece at a time.
//!
//! A walk is data: between two pieces nothing is open, and the history may close. Must never give out content whose hash was not checked, nor
//! follow a tree deeper than a version can be.

use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::DEPTH_MAX;
use crate::node::{FileTime, Kind};
use crate::path::WorkPath;
use crate::rows;
use crate::tree::{Entry, Node, Totals, empty_root};
use crate::trees::Trees;

/// Where a walk is.
#[derive(Debug, Clone)]
pub struct Walk {
    frames: Vec<Frame>,
    file: Option<OpenFile>,
}

/// A node that is not read to its end.
#[derive(Debug, Clone)]
struct Frame {
    folder: WorkPath,
    node: ContentHash,
    /// True for a part of a large folder, which has no parts itself.
    is_part: bool,
    /// What comes next of it.
    next: usize,
}

/// A file that is not read to its end.
#[derive(Debug, Clone)]
struct OpenFile {
    path: WorkPath,
    hash: ContentHash,
    size: u64,
    offset: u64,
}

/// A part of a version's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Walked {
    /// An entry; behind a file come its bytes.
    Entry(WalkedEntry),
    /// The next bytes of the last file.
    Content(Vec<u8>),
}

/// An entry of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkedEntry {
    /// Where.
    pub path: WorkPath,
    /// What.
    pub kind: Kind,
    /// Permission bits, at most 0o777.
    pub mode: u16,
    /// Bytes of a file; 0 for others.
    pub size: u64,
    /// When a file was last written; the epoch for others.
    pub mtime: FileTime,
    /// Where a link leads to; empty for others.
    pub target: Vec<u8>,
}

impl Walk {
    /// The beginning of a tree.
    pub fn of(root: ContentHash) -> Self {
        let frame = Frame { folder: WorkPath::root(), node: root, is_part: false, next: 0 };
        Self { frames: if root == empty_root() { Vec::new() } else { vec![frame] }, file: None }
    }

    /// True when everything was given.
    pub fn is_over(&self) -> bool {
        self.frames.is_empty() && self.file.is_none()
    }
}

impl Chronicle {
    /// Keeps the content of a version, or of another one with the same, for a reason until a time. Gives what it left out and how large
    /// it is; [`ChronicleError::NoVersion`] when it was collected.
    pub fn hold(
        &self,
        version: u64,
        root: ContentHash,
        why: &str,
        until_ms: u64,
    ) -> Result<(Vec<crate::node::Skipped>, Totals), ChronicleError> {
        let connection = self.database.connection();
        let kept = rows::version::with_root(connection, root, version)?.ok_or(ChronicleError::NoVersion(version))?;
        self.lease(kept, why, Some(until_ms))?;
        Ok((self.skipped(kept)?, Trees::new(&self.database).totals(root).map_err(|error| error.at(&WorkPath::root()))?))
    }

    /// The next piece of a walk: at most about `bytes` of content and `entries` entries, and where it goes on. Damage is told with its path.
    pub fn walk(&self, mut walk: Walk, bytes: usize, entries: usize) -> Result<(Walk, Vec<Walked>), ChronicleError> {
        let trees = Trees::new(&self.database);
        // What the frames have read; a piece begins without.
        let mut nodes: Vec<Option<Node>> = walk.frames.iter().map(|_| None).collect();
        let (mut piece, mut bytes_left, mut entries_left) = (Vec::new(), bytes, entries);
        loop {
            if let Some(file) = &mut walk.file {
                if bytes_left == 0 {
                    break;
                }
                let content = self.next_content(file, bytes_left)?;
                bytes_left = bytes_left.saturating_sub(content.len());
                piece.push(Walked::Content(content));
                if file.offset == file.size {
                    walk.file = None;
                }
                continue;
            }
            let (Some(frame), Some(slot)) = (walk.frames.last_mut(), nodes.last_mut()) else { break };
            if entries_left == 0 || bytes_left == 0 {
                break;
            }
            if slot.is_none() {
                *slot = Some(trees.node(frame.node).map_err(|error| error.at(&frame.folder))?);
            }
            let below = match slot {
                Some(Node::List(_)) if frame.is_part => {
                    return Err(ChronicleError::damaged(frame.node, "a list is in a list").at(&frame.folder));
                }
                Some(Node::List(parts)) => parts
                    .get(frame.next)
                    .map(|part| Frame { folder: frame.folder.clone(), node: *part, is_part: true, next: 0 })
                    .map(Some),
                Some(Node::Leaf(found)) => match found.get(frame.next) {
                    None => None,
                    Some(entry) => {
                        entries_left -= 1;
                        let path = frame.folder.join(&entry.name)?;
                        let (walked, open) = self.enter(&path, entry)?;
                        // Names and targets count, too: there may be many.
                        bytes_left = bytes_left.saturating_sub(path.as_bytes().len() + walked.target.len());
                        piece.push(Walked::Entry(walked));
                        walk.file = open;
                        let is_folder = entry.kind == Kind::Folder && entry.hash != empty_root();
                        Some(is_folder.then_some(Frame { folder: path, node: entry.hash, is_part: false, next: 0 }))
                    }
                },
                None => None,
            };
            match below {
                None => {
                    walk.frames.pop();
                    nodes.pop();
                }
                Some(below) => {
                    frame.next += 1;
                    if let Some(below) = below {
                        if below.folder.depth() > DEPTH_MAX {
                            return Err(ChronicleError::damaged(below.node, "a tree is too deep").at(&below.folder));
                        }
                        walk.frames.push(below);
                        nodes.push(None);
                    }
                }
            }
        }
        Ok((walk, piece))
    }

    /// What is given of an entry, and the file that is read next.
    fn enter(&self, path: &WorkPath, entry: &Entry) -> Result<(WalkedEntry, Option<OpenFile>), ChronicleError> {
        let at = |error: ChronicleError| error.at(path);
        let mut walked = WalkedEntry {
            path: path.clone(),
            kind: entry.kind,
            mode: entry.mode,
            size: 0,
            mtime: FileTime::default(),
            target: Vec::new(),
        };
        match entry.kind {
            Kind::Folder => Ok((walked, None)),
            Kind::Link => {
                walked.target = self.cas.blob(&self.database, entry.hash).map_err(at)?;
                Ok((walked, None))
            }
            Kind::File => {
                walked.size = entry.size;
                walked.mtime = entry.mtime;
                let stored = self.cas.find(&self.database, entry.hash).map_err(at)?;
                let stored = stored.ok_or_else(|| at(ChronicleError::damaged(entry.hash, "it is not stored")))?;
                if stored.raw_len != entry.size {
                    return Err(at(ChronicleError::damaged(entry.hash, "its content has another length")));
                }
                let file = OpenFile { path: path.clone(), hash: entry.hash, size: entry.size, offset: 0 };
                // An empty one is looked up all the same: its name must be there.
                Ok((walked, (entry.size > 0).then_some(file)))
            }
        }
    }

    fn next_content(&self, file: &mut OpenFile, bytes: usize) -> Result<Vec<u8>, ChronicleError> {
        let left = usize::try_from(file.size - file.offset).unwrap_or(usize::MAX);
        let content =
            self.read_content(file.hash, file.offset, left.min(bytes)).map_err(|error| error.at(&file.path))?;
        if content.is_empty() {
            return Err(ChronicleError::damaged(file.hash, "it ends early").at(&file.path));
        }
        file.offset += u64::try_from(content.len()).unwrap_or(0);
        Ok(content)
    }
}
