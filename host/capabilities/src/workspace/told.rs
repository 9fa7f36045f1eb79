//! What a version has to tell: which files changed since the last cut, and what it leaves out.
//!
//! Bounded, whatever a turn did: what is too much is counted. Must never read a file.

use std::collections::BTreeMap;

use podium_chronicle::{FileChange, Kind, Op, SkipReason, Skipped};
use podium_wire::updates::{FileChange as Change, FileChangeKind};

/// Changes that a cut tells of one by one: more is a checkout or a build, of which nobody reads the list.
pub const FILE_CHANGES_MAX: usize = 100;

/// Paths that a line names of what is left out.
const PATHS_SHOWN: usize = 3;

/// Bytes of a path that a client is told of; a path of more is shown as its end.
const PATH_BYTES_SHOWN: usize = 1024;

/// What is to be told with the next cut.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Told {
    /// The files that changed, by path; the last one says how many more there are.
    pub changes: Vec<Change>,
    /// A line for each reason why something is left out.
    pub left_out: Vec<String>,
}

/// The files and links among what differs, a folder's own attributes and times being no news.
pub(super) fn changes(differences: &[FileChange], most: usize) -> Vec<Change> {
    let is_file = |change: &&FileChange| {
        let kind = change.new.as_ref().or(change.old.as_ref()).map(|entry| entry.kind);
        kind.is_some_and(|kind| kind != Kind::Folder) && (change.op != Op::Touched || change.renamed_from.is_some())
    };
    let mut files = differences.iter().filter(is_file);
    let mut told: Vec<Change> = files.by_ref().take(most).map(change).collect();
    let more = u64::try_from(files.count()).unwrap_or(u64::MAX);
    if let Some(last) = told.last_mut().filter(|_| more > 0) {
        last.more = Some(more);
    }
    told
}

fn change(change: &FileChange) -> Change {
    let kind = match (&change.renamed_from, change.op) {
        (Some(_), _) => FileChangeKind::Renamed,
        (None, Op::Added) => FileChangeKind::Created,
        (None, Op::Deleted) => FileChangeKind::Deleted,
        (None, Op::Modified | Op::Touched) => FileChangeKind::Modified,
    };
    Change {
        path: shown(change.path.as_bytes()),
        kind,
        previous_path: change.renamed_from.as_ref().map(|path| shown(path.as_bytes())),
        diff: None,
        size: change.new.as_ref().map(|entry| entry.size),
        more: None,
    }
}

/// A path as clients know it.
fn shown(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    if text.len() <= PATH_BYTES_SHOWN {
        return text.into_owned();
    }
    let start = (text.len() - PATH_BYTES_SHOWN..text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    format!("…{}", &text[start..])
}

/// A line for each reason, with how many there are and the first of them.
pub(super) fn left_out(skipped: &[Skipped], refused_patterns: Option<&str>) -> Vec<String> {
    let mut reasons: BTreeMap<SkipReason, Vec<&Skipped>> = BTreeMap::new();
    for skipped in skipped {
        reasons.entry(skipped.reason).or_default().push(skipped);
    }
    let mut lines: Vec<String> = reasons.into_iter().map(|(reason, skipped)| line(reason, &skipped)).collect();
    if let Some(why) = refused_patterns {
        lines.push(format!("no pattern of .chronicleignore holds: {why}"));
    }
    lines
}

fn line(reason: SkipReason, skipped: &[&Skipped]) -> String {
    let why = match reason {
        SkipReason::Fifo => "a named pipe",
        SkipReason::Socket => "a socket",
        SkipReason::Device => "a device",
        SkipReason::TooBig => "too large",
        SkipReason::TooDeep => "in too many folders",
        SkipReason::PathTooLong => "of too long a path",
        SkipReason::OtherFileSystem => "of another file system",
        SkipReason::Unreadable => "unreadable",
        SkipReason::Reserved => "of a reserved name",
        SkipReason::Ignored => "named by .chronicleignore",
        SkipReason::Unknown => "of an unknown kind",
    };
    let paths: Vec<String> = skipped.iter().take(PATHS_SHOWN).map(|skipped| skipped.path.to_string()).collect();
    let more = match skipped.len().saturating_sub(PATHS_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("left out of the workspace's versions, {why}: {}{more}", paths.join(", "))
}

#[cfg(test)]
mod tests {
    use podium_chronicle::{ContentHash, Entry, FileTime};

    use super::*;

    fn entry(kind: Kind, size: u64) -> Entry {
        Entry {
            name: Box::from(&b"x"[..]),
            kind,
            mode: 0o644,
            size,
            entries: 0,
            path_bytes: 0,
            mtime: FileTime::default(),
            hash: ContentHash::of(b"x"),
        }
    }

    fn differs(path: &str, op: Op, old: Option<Entry>, new: Option<Entry>) -> FileChange {
        FileChange { path: path.parse().expect("a path"), op, renamed_from: None, old, new }
    }

    #[test]
    fn files_are_told_of_and_folders_and_times_are_not() {
        let file = |size| Some(entry(Kind::File, size));
        let renamed = FileChange {
            renamed_from: Some("old".parse().expect("a path")),
            ..differs("new", Op::Touched, file(4), file(4))
        };
        let told = changes(
            &[
                differs("a", Op::Added, None, file(1)),
                differs("b", Op::Modified, file(1), file(2)),
                differs("c", Op::Deleted, file(3), None),
                differs("d", Op::Added, None, Some(entry(Kind::Folder, 0))),
                differs("e", Op::Touched, file(5), file(5)),
                renamed,
            ],
            FILE_CHANGES_MAX,
        );
        let brief: Vec<_> = told.iter().map(|it| (it.path.as_str(), it.kind, it.size)).collect();
        let expected = [
            ("a", FileChangeKind::Created, Some(1)),
            ("b", FileChangeKind::Modified, Some(2)),
            ("c", FileChangeKind::Deleted, None),
            ("new", FileChangeKind::Renamed, Some(4)),
        ];
        assert_eq!(brief, expected);
        assert_eq!(told[3].previous_path.as_deref(), Some("old"));
        assert!(told.iter().all(|it| it.more.is_none()));
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let many = |count: usize| -> Vec<FileChange> {
            (0..count).map(|n| differs(&format!("f{n}"), Op::Added, None, Some(entry(Kind::File, 1)))).collect()
        };
        assert_eq!(changes(&many(FILE_CHANGES_MAX), FILE_CHANGES_MAX).last().and_then(|it| it.more), None);
        let told = changes(&many(FILE_CHANGES_MAX + 7), FILE_CHANGES_MAX);
        assert_eq!((told.len(), told.last().and_then(|it| it.more)), (FILE_CHANGES_MAX, Some(7)));
        let long =
            changes(&[differs(&format!("ä{}", "d/".repeat(200) + "e"), Op::Deleted, None, None)], FILE_CHANGES_MAX);
        assert!(long.is_empty(), "neither was there");
        assert!(shown("ä".repeat(2000).as_bytes()).len() <= PATH_BYTES_SHOWN + "…".len());
    }

    #[test]
    fn each_reason_is_one_line_with_the_first_paths() {
        let skipped = |path: &str, reason| Skipped {
            path: path.parse().expect("a path"),
            reason,
            size: 1,
            disk: 1,
            mtime: FileTime::default(),
            entries: 1,
        };
        let mut all: Vec<Skipped> = (0..5).map(|n| skipped(&format!("{n}.log"), SkipReason::Ignored)).collect();
        all.push(skipped("a\nb", SkipReason::Fifo));
        assert_eq!(
            left_out(&all, Some("it has too many lines")),
            [
                "left out of the workspace's versions, a named pipe: a\\nb",
                "left out of the workspace's versions, named by .chronicleignore: 0.log, 1.log, 2.log and 2 more",
                "no pattern of .chronicleignore holds: it has too many lines",
            ]
        );
        assert!(left_out(&[], None).is_empty());
    }
}
