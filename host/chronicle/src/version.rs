//! A version of the workspace: what one snapshot found, and how true it is.

use podium_wire::rest::FileOp;

use crate::hash::ContentHash;
use crate::node::{Kind, Skipped};
use crate::path::WorkPath;
use crate::tree::Entry;

/// Why a version was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionKind {
    /// A turn ended.
    Turn,
    /// Within a turn, at an effect or because the guest asked.
    Step,
    /// A writer outside a turn.
    External,
    /// What was there before a restore and in no version.
    BeforeRestore,
    /// A restore, a rewind or a fork.
    Restore,
    /// What a turn that never ended left behind.
    Recovered,
}

impl VersionKind {
    const ALL: [Self; 6] =
        [Self::Turn, Self::Step, Self::External, Self::BeforeRestore, Self::Restore, Self::Recovered];

    /// Its word in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Turn => "turn",
            Self::Step => "step",
            Self::External => "external",
            Self::BeforeRestore => "before_restore",
            Self::Restore => "restore",
            Self::Recovered => "recovered",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

/// How true a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VersionStatus {
    /// Durable; true when a cut names it.
    Prepared,
    /// A cut names it.
    Committed,
    /// No cut names it, nor ever will; kept for people to look at.
    Recovered,
}

impl VersionStatus {
    /// Its word in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Committed => "committed",
            Self::Recovered => "recovered",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Prepared, Self::Committed, Self::Recovered].into_iter().find(|status| status.as_str() == word)
    }
}

/// A version's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number, from 1, never used twice.
    pub id: u64,
    /// The cut that names it, or that it was prepared for.
    pub cut: Option<u64>,
    /// The version before it; 0 for none.
    pub parent: u64,
    /// The name of its tree.
    pub root: ContentHash,
    /// Why it was made.
    pub kind: VersionKind,
    /// How true it is.
    pub status: VersionStatus,
    /// The turn that it belongs to.
    pub turn: Option<u64>,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Number of its first change; above `last_n` when it has none.
    pub first_n: u64,
    /// Number of its last change.
    pub last_n: u64,
    /// Entries that are new.
    pub added: u64,
    /// Entries that changed.
    pub modified: u64,
    /// Entries that are gone.
    pub deleted: u64,
    /// Bytes that it added to the store.
    pub new_bytes: u64,
    /// Files that changed each time they were read; their content here may be of no single moment.
    pub unstable: u64,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    /// It is new.
    Added,
    /// It has another content, or is of another kind.
    Modified,
    /// It is gone.
    Deleted,
    /// Only its permissions or its time changed.
    Touched,
}

impl Op {
    /// What makes the one of the other.
    pub(crate) fn between(old: Option<&Entry>, new: Option<&Entry>) -> Self {
        match (old, new) {
            (None, _) => Self::Added,
            (_, None) => Self::Deleted,
            (Some(old), Some(new)) if old.kind == new.kind && (old.hash == new.hash || old.kind == Kind::Folder) => {
                Self::Touched
            }
            _ => Self::Modified,
        }
    }

    /// Its word for clients.
    pub fn to_wire(self) -> FileOp {
        match self {
            Self::Added => FileOp::Created,
            Self::Modified => FileOp::Modified,
            Self::Deleted => FileOp::Deleted,
            Self::Touched => FileOp::Touched,
        }
    }

    /// Its letter in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "A",
            Self::Modified => "M",
            Self::Deleted => "D",
            Self::Touched => "T",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Added, Self::Modified, Self::Deleted, Self::Touched].into_iter().find(|op| op.as_str() == word)
    }
}

/// One version of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Iteration {
    /// Its number among all changes of the workspace, from 1, never used twice.
    pub n: u64,
    /// Its number among the path's, from 1.
    pub index: u64,
    /// The version that it came with.
    pub version: u64,
    /// Where.
    pub path: WorkPath,
    /// What happened.
    pub op: Op,
    /// What the path is, or was before it was deleted.
    pub kind: Kind,
    /// The content before, of files and links.
    pub old: Option<ContentHash>,
    /// The content now, of files and links.
    pub new: Option<ContentHash>,
    /// Permission bits before.
    pub old_mode: Option<u16>,
    /// Permission bits now.
    pub new_mode: Option<u16>,
    /// Bytes now; 0 of folders and of what is gone.
    pub size: u64,
    /// When the version was made, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// What a snapshot found. Durable, but true only when a cut names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The version of the workspace as it is now; 0 while there never was one.
    pub version: u64,
    /// The name of its tree.
    pub root: ContentHash,
    /// False when nothing changed, so that `version` is the one before.
    pub changed: bool,
    /// Entries that are new.
    pub added: u64,
    /// Entries that changed.
    pub modified: u64,
    /// Entries that are gone.
    pub deleted: u64,
    /// Each change, by path.
    pub changes: Vec<Iteration>,
    /// What was left out among the paths that were looked at.
    pub skipped: Vec<Skipped>,
    /// Of that, what was not left out before as it is: of what the owner does not want, only what is new.
    pub left_out: Vec<Skipped>,
    /// Why the patterns of `.chronicleignore` do not hold, where there are too many.
    pub refused_patterns: Option<String>,
    /// Files that changed each time they were read. They are looked at again by the next snapshot.
    pub unstable: Vec<WorkPath>,
    /// Bytes added to the store.
    pub new_bytes: u64,
    /// True when the whole workspace was looked at.
    pub scanned: bool,
}
