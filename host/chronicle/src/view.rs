//! `.chronicle`: the history as a read-only tree of files, for mounts and for guests.
//!
//! - `.chronicle/query/{path}` is a JSON array of the path's iterations, one a line, oldest first; of a path that is gone, too.
//! - `.chronicle/at/{n}/{path}` is the file as iteration `n` left it; a symbolic link is a file that holds its target.
//!
//! Both tell what cuts name, and so change only with a cut: nothing of a running turn is in them. `query/` lists what the
//! workspace's folders had at the last cut; what is gone is listed nowhere and found by its name. A folder is a folder here,
//! so its own iterations have no file. `at/` lists the newest iterations that left a file ([`AT_LISTED_MAX`]); others are found by number, and
//! `at/{n}` holds nothing but the path of iteration `n`. Sizes are known before anything is read, and no answer is unbounded.
//!
//! Must never write, never read `work/`, and never show what no cut names.

use std::collections::VecDeque;
use std::sync::Arc;

use podium_wire::rest::{FileIteration, FileKind};

use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::{AT_LISTED_MAX, HISTORY_ROWS_MAX, QUERY_BYTES_MAX};
use crate::node::Kind;
use crate::path::WorkPath;
use crate::rows;
use crate::tree::Entry;
use crate::trees::Trees;
use crate::version::Iteration;

/// The folder's name at the workspace's root. Nothing else can have it there; other spellings and deeper folders are ordinary names.
pub const VIEW_NAME: &str = ".chronicle";

/// The folder of queries.
const QUERY: &[u8] = b"query";
/// The folder of iterations.
const AT: &[u8] = b"at";

/// A place in the tree, as its name says; nothing need be there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ViewPath {
    /// `.chronicle` itself.
    Root,
    /// `query` and what is in it, by the workspace's path.
    Query(WorkPath),
    /// `at` itself.
    Numbers,
    /// `at/{n}` and what is in it.
    At(u64, WorkPath),
}

impl ViewPath {
    /// The place that a path of the workspace leads to; none when it does not lead into `.chronicle`, or to nothing that can be there.
    pub fn of(path: &WorkPath) -> Option<Self> {
        let mut names = path.names();
        if names.next()? != VIEW_NAME.as_bytes() {
            return None;
        }
        names.try_fold(Self::Root, |place, name| place.join(name))
    }

    /// The place of `name` in this folder; none when nothing can have that name there.
    pub fn join(&self, name: &[u8]) -> Option<Self> {
        match self {
            Self::Root if name == QUERY => Some(Self::Query(WorkPath::root())),
            Self::Root if name == AT => Some(Self::Numbers),
            Self::Root => None,
            Self::Query(path) => path.join(name).ok().map(Self::Query),
            Self::Numbers => number(name).map(|n| Self::At(n, WorkPath::root())),
            Self::At(n, path) => path.join(name).ok().map(|path| Self::At(*n, path)),
        }
    }
}

/// The number of an iteration, in the one form that it is listed with.
fn number(name: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(name).ok()?;
    let n: u64 = text.parse().ok().filter(|n| i64::try_from(*n).is_ok())?;
    (n > 0 && n.to_string() == text).then_some(n)
}

/// What stands at a place.
#[derive(Debug, Clone)]
pub enum Viewed {
    /// A folder.
    Folder,
    /// A file.
    File(ViewFile),
}

/// A file of the tree. What it holds is decided: a cut made meanwhile changes another look, not this one.
#[derive(Debug, Clone)]
pub struct ViewFile {
    size: u64,
    at_ms: u64,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    /// A list of iterations.
    Made(Arc<[u8]>),
    /// What an iteration left.
    Stored(ContentHash, WorkPath),
}

impl ViewFile {
    /// Its bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Its time, in milliseconds since the Unix epoch: of the iteration, or of the last one in the list.
    pub fn at_ms(&self) -> u64 {
        self.at_ms
    }
}

/// A name of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewName {
    /// The name.
    pub name: Box<[u8]>,
    /// Whether it is a folder.
    pub is_folder: bool,
}

impl ViewName {
    fn folder(name: &[u8]) -> Self {
        Self { name: name.into(), is_folder: true }
    }
}

impl Chronicle {
    /// What stands at a place; [`ChronicleError::NotThere`] when nothing does.
    pub fn view(&self, place: &ViewPath) -> Result<Viewed, ChronicleError> {
        match place {
            ViewPath::Root | ViewPath::Numbers => Ok(Viewed::Folder),
            ViewPath::Query(path) => self.view_query(path),
            ViewPath::At(n, path) => {
                let (iteration, hash) = self.left_a_file(*n)?.ok_or_else(|| not_there(path))?;
                if iteration.path == *path {
                    let content = Content::Stored(hash, path.clone());
                    return Ok(Viewed::File(ViewFile { size: iteration.size, at_ms: iteration.at, content }));
                }
                if iteration.path.is_within(path) { Ok(Viewed::Folder) } else { Err(not_there(path)) }
            }
        }
    }

    fn view_query(&self, path: &WorkPath) -> Result<Viewed, ChronicleError> {
        if path.is_root() || self.was_last(path)? == Kind::Folder {
            return Ok(Viewed::Folder);
        }
        let (list, at_ms) = self.listed_iterations(path)?;
        let size = u64::try_from(list.len()).unwrap_or(u64::MAX);
        Ok(Viewed::File(ViewFile { size, at_ms, content: Content::Made(list.into()) }))
    }

    /// What a path is, or was before it went.
    fn was_last(&self, path: &WorkPath) -> Result<Kind, ChronicleError> {
        // Before the tree is asked, which reads whole folders.
        if let Some(last) = self.newest_iterations(path, None, 1)?.first() {
            return Ok(last.kind);
        }
        match self.entry(self.head().1, path)? {
            Some(entry) => Ok(entry.kind),
            None if rows::change::any_beneath(self.database.connection(), path, self.head().0)? => Ok(Kind::Folder),
            None => Err(not_there(path)),
        }
    }

    /// The names of a folder that come after `after` in the order of their bytes, at most `limit`; the numbers of `at/` come in their own
    /// order, and `after` is the last of them. A folder is read as a whole, so few calls with a high limit cost less than many.
    pub fn view_names(
        &self,
        place: &ViewPath,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<ViewName>, ChronicleError> {
        let later = |names: Vec<ViewName>| {
            let names = names.into_iter().filter(|found| after.is_none_or(|after| *found.name > *after));
            names.take(limit).collect()
        };
        match place {
            ViewPath::Root => Ok(later(vec![ViewName::folder(AT), ViewName::folder(QUERY)])),
            ViewPath::Numbers => {
                let after = match after {
                    Some(last) => number(last).unwrap_or(u64::MAX),
                    None => 0,
                };
                let mut numbers = rows::change::last_files(self.database.connection(), self.head().0, AT_LISTED_MAX)?;
                numbers.retain(|n| *n > after);
                numbers.truncate(limit);
                Ok(numbers.into_iter().map(|n| ViewName::folder(n.to_string().as_bytes())).collect())
            }
            ViewPath::Query(path) => match self.names_of(path) {
                Ok(names) => Ok(later(names)),
                // One that is gone has nothing that is there.
                Err(ChronicleError::NotThere { .. }) => match self.view(place)? {
                    Viewed::Folder => Ok(Vec::new()),
                    Viewed::File(_) => Err(ChronicleError::NotThere { path: path.clone(), what: "folder" }),
                },
                Err(error) => Err(error),
            },
            ViewPath::At(n, path) => {
                let (iteration, _) = self.left_a_file(*n)?.ok_or_else(|| not_there(path))?;
                if iteration.path == *path || !iteration.path.is_within(path) {
                    return Err(ChronicleError::NotThere { path: path.clone(), what: "folder" });
                }
                let next = iteration.path.names().nth(path.depth());
                let is_folder = iteration.path.depth() > path.depth() + 1;
                Ok(later(next.map(|name| ViewName { name: name.into(), is_folder }).into_iter().collect()))
            }
        }
    }

    /// The names that a folder of the workspace had at the last cut.
    fn names_of(&self, path: &WorkPath) -> Result<Vec<ViewName>, ChronicleError> {
        let trees = Trees::new(&self.database);
        let tree = if path.is_root() {
            self.head().1
        } else {
            match trees.find(self.head().1, path).map_err(|error| error.at(path))? {
                Some(entry) if entry.kind == Kind::Folder => entry.hash,
                _ => return Err(ChronicleError::NotThere { path: path.clone(), what: "folder" }),
            }
        };
        let entries = trees.folder(tree).map_err(|error| error.at(path))?;
        let name = |entry: &Entry| ViewName { is_folder: entry.kind == Kind::Folder, name: entry.name.clone() };
        Ok(entries.iter().map(name).collect())
    }

    /// At most `len` bytes of a file of the tree, from `offset` on; fewer at its end. At most [`crate::limits::OBJECT_BYTES_MAX`] a call.
    pub fn view_read(&self, file: &ViewFile, offset: u64, len: usize) -> Result<Vec<u8>, ChronicleError> {
        match &file.content {
            Content::Made(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                let to = from.saturating_add(len.min(crate::limits::OBJECT_BYTES_MAX)).min(bytes.len());
                Ok(bytes[from..to].to_vec())
            }
            Content::Stored(hash, path) => self.read_content(*hash, offset, len).map_err(|error| error.at(path)),
        }
    }

    /// The iteration and the content that it left, if it left one and a cut names it.
    fn left_a_file(&self, n: u64) -> Result<Option<(Iteration, ContentHash)>, ChronicleError> {
        let found = rows::change::find(self.database.connection(), n)?;
        let found = found.filter(|iteration| iteration.version <= self.head().0);
        Ok(found.and_then(|iteration| iteration.new.map(|hash| (iteration, hash))))
    }

    /// A path's iterations that cuts name, with an index below `before`, newest first.
    fn newest_iterations(
        &self,
        path: &WorkPath,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Iteration>, ChronicleError> {
        rows::change::newest_of_path(self.database.connection(), path, before, self.head().0, limit)
    }

    /// The list that `query/` holds for a path, with the time of its last iteration: the newest ones that fit.
    fn listed_iterations(&self, path: &WorkPath) -> Result<(Vec<u8>, u64), ChronicleError> {
        let mut lines: VecDeque<Vec<u8>> = VecDeque::new();
        let (mut bytes, mut before, mut last_at) = (b"[\n\n]\n".len(), None, None);
        'pages: loop {
            let page = self.newest_iterations(path, before, HISTORY_ROWS_MAX)?;
            for iteration in &page {
                let line = serde_json::to_vec(&iteration.to_wire()).map_err(|_| UNWRITABLE)?;
                bytes += line.len() + b",\n".len();
                if bytes > QUERY_BYTES_MAX && !lines.is_empty() {
                    break 'pages;
                }
                lines.push_front(line);
                before = Some(iteration.index);
                last_at.get_or_insert(iteration.at);
            }
            if page.len() < HISTORY_ROWS_MAX {
                break;
            }
        }
        let list = [&b"[\n"[..], &Vec::from(lines).join(&b",\n"[..]), b"\n]\n"].concat();
        Ok((list, last_at.unwrap_or(0)))
    }
}

const UNWRITABLE: ChronicleError = ChronicleError::Refused("an iteration cannot be written as JSON");

fn not_there(path: &WorkPath) -> ChronicleError {
    ChronicleError::NotThere { path: path.clone(), what: "entry" }
}

impl Iteration {
    /// As clients are told of it, without what its version says.
    pub fn to_wire(&self) -> FileIteration {
        FileIteration {
            n: self.n,
            index: self.index,
            path: String::from_utf8_lossy(self.path.as_bytes()).into_owned(),
            op: self.op.to_wire(),
            kind: match self.kind {
                Kind::File => FileKind::File,
                Kind::Folder => FileKind::Folder,
                Kind::Link => FileKind::Symlink,
            },
            size: self.size,
            hash: self.new.map(|hash| hash.to_string()),
            timestamp_ms: self.at,
            cut: None,
            turn: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(text: &str) -> Option<ViewPath> {
        ViewPath::of(&text.parse().unwrap())
    }

    #[test]
    fn places_are_what_their_names_say() {
        let work = |text: &str| text.parse::<WorkPath>().unwrap();
        assert_eq!(place(".chronicle"), Some(ViewPath::Root));
        assert_eq!(place(".chronicle/query"), Some(ViewPath::Query(WorkPath::root())));
        assert_eq!(place(".chronicle/query/a/b"), Some(ViewPath::Query(work("a/b"))));
        assert_eq!(place(".chronicle/at"), Some(ViewPath::Numbers));
        assert_eq!(place(".chronicle/at/7/a/b"), Some(ViewPath::At(7, work("a/b"))));
        let nothing = [
            ".chronicle/other",
            ".chronicle/at/0",
            ".chronicle/at/07",
            ".chronicle/at/+7",
            ".chronicle/at/x",
            ".chronicle/at/18446744073709551615",
            "a/.chronicle",
            ".Chronicle",
            ".chroniclex/query",
            "",
        ];
        nothing.into_iter().for_each(|text| assert_eq!(place(text), None, "{text}"));
    }

    proptest! {
        /// A place is found by its names one after the other, as a mount is asked, or at once.
        #[test]
        fn a_path_is_its_names(names in prop::collection::vec("query|at|[0-9]{1,20}|[a-z./\\n]{1,4}", 0..6)) {
            let text = [".chronicle".to_owned()].into_iter().chain(names.clone()).collect::<Vec<_>>().join("/");
            let by_names = names.iter().try_fold(ViewPath::Root, |place, name| place.join(name.as_bytes()));
            match text.parse() {
                // A name with a slash within is several.
                Ok(path) if names.iter().all(|name| !name.contains('/')) => prop_assert_eq!(ViewPath::of(&path), by_names),
                Ok(path) => drop(ViewPath::of(&path)),
                Err(_) => prop_assert!(by_names.is_none() || names.is_empty() || text.len() > 4095),
            }
        }
    }
}
