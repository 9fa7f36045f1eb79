//! `workspace`: entries, iterations and differences.

use podium_capabilities::workspace::{Changes, Listed, Listing};
use podium_wire::rest::{FileIteration, FileKind, FileOp, IterationPage};
use podium_wire::updates::{FileChange, FileChangeKind};

use crate::bindings::podium::agent::workspace;

impl From<FileKind> for workspace::Kind {
    fn from(kind: FileKind) -> Self {
        match kind {
            FileKind::File => Self::File,
            FileKind::Folder => Self::Folder,
            FileKind::Symlink => Self::Symlink,
            FileKind::Other => Self::Other,
        }
    }
}

impl From<Listing> for workspace::Listing {
    fn from(listing: Listing) -> Self {
        let entry = |Listed { name, kind, size }| workspace::Entry { name, kind: kind.into(), size };
        Self { entries: listing.entries.into_iter().map(entry).collect(), next: listing.next }
    }
}

impl From<IterationPage> for workspace::Page {
    fn from(page: IterationPage) -> Self {
        Self { iterations: page.iterations.into_iter().map(workspace::Iteration::from).collect(), next: page.next }
    }
}

impl From<FileIteration> for workspace::Iteration {
    fn from(iteration: FileIteration) -> Self {
        Self {
            n: iteration.n,
            index: iteration.index,
            operation: match iteration.op {
                FileOp::Created => workspace::Operation::Created,
                FileOp::Modified => workspace::Operation::Modified,
                FileOp::Deleted => workspace::Operation::Deleted,
                FileOp::Touched => workspace::Operation::Touched,
            },
            kind: iteration.kind.into(),
            size: iteration.size,
            hash: iteration.hash,
            at_ms: iteration.timestamp_ms,
        }
    }
}

impl From<Changes> for workspace::Changes {
    fn from(changes: Changes) -> Self {
        Self { changes: changes.changes.into_iter().map(workspace::Change::from).collect(), more: changes.more }
    }
}

impl From<FileChange> for workspace::Change {
    fn from(change: FileChange) -> Self {
        Self {
            path: change.path,
            difference: match change.kind {
                FileChangeKind::Created => workspace::Difference::Created,
                FileChangeKind::Modified => workspace::Difference::Modified,
                FileChangeKind::Deleted => workspace::Difference::Deleted,
                FileChangeKind::Renamed => workspace::Difference::Renamed,
            },
            previous_path: change.previous_path,
            size: change.size,
        }
    }
}
