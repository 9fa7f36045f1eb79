//! The workspace as a unit test plays it: files that the test gives and the agent writes through [`crate::workspace`], with their history.
//!
//! As with a host, a version holds what differs by path, folders too, and a cut makes one. Must never touch a file: what an agent does with `std::fs`
//! is the machine's own.

use std::collections::{BTreeMap, BTreeSet};

use super::played::{HostError, call, no_host, refused};
use crate::bindings::podium::agent::workspace::{
    Change, Changes, Difference, Entry, Iteration, Kind, Listing, Operation, Page,
};

/// The codes of wit/wire that this host answers with.
const BAD_REQUEST: &str = "POD-1001";
const INVALID_PATH: &str = "POD-3011";
const FILE_NOT_FOUND: &str = "POD-3012";
const FILE_TOO_LARGE: &str = "POD-3013";
const NOT_A_FILE: &str = "POD-3015";
const ITERATION_NOT_FOUND: &str = "POD-3031";
const WORKSPACE_LIMIT: &str = "POD-4025";

/// Bounds of the contract, as the WIT and the guide state them.
const PAGE_MAX: u32 = 200;
const LIST_MAX: u32 = 1_000;
const CALL_BYTES_MAX: u32 = 1024 * 1024;
const CHANGES_MAX: usize = 1_000;
const STEPS_MAX: u64 = 1_000;
const WORKSPACE_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const WORKSPACE_ENTRIES_MAX: usize = 200_000;
const NAME_BYTES_MAX: usize = 255;
const PATH_BYTES_MAX: usize = 4095;
const DEPTH_MAX: usize = 256;

/// What is at a path.
#[derive(Debug, Clone, PartialEq)]
enum Node {
    Folder,
    File(Vec<u8>),
}

impl Node {
    fn kind(&self) -> Kind {
        match self {
            Self::Folder => Kind::Folder,
            Self::File(_) => Kind::File,
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Folder => 0,
            Self::File(content) => content.len() as u64,
        }
    }

    fn content(&self) -> Option<&[u8]> {
        match self {
            Self::Folder => None,
            Self::File(content) => Some(content),
        }
    }
}

/// Everything at one time, by path.
type Nodes = BTreeMap<String, Node>;

/// One change of one path.
#[derive(Debug)]
struct Changed {
    path: String,
    operation: Operation,
    kind: Kind,
    /// What is there now.
    now: Option<Node>,
    at_ms: u64,
}

/// The files, and what became of them.
#[derive(Debug, Default)]
pub(super) struct Past {
    now: Nodes,
    /// Files that were written since the last version: with the same content they are new in their time only.
    written: BTreeSet<String>,
    /// All changes; the place is the moment, from 1.
    changes: Vec<Changed>,
    /// How many changes there were after each version, with what was there then.
    versions: Vec<(usize, Nodes)>,
    /// How many versions the last cut has.
    cut: usize,
    /// Versions of this turn that were asked for.
    steps: u64,
}

impl Past {
    /// A file has this content in a cut of its own, made by somebody else than the agent.
    pub(super) fn given(&mut self, path: &str, content: &[u8]) {
        if let Err(error) = self.write(path, None, content) {
            panic!("with_past(\"{path}\", …): {}", error.message);
        }
        self.version();
        self.cut = self.versions.len();
    }

    /// A turn ended, well or not.
    pub(super) fn end(&mut self, is_well: bool) {
        self.steps = 0;
        if is_well {
            self.version();
            self.cut = self.versions.len();
            return;
        }
        self.versions.truncate(self.cut);
        let (changes, files) =
            self.versions.last().map_or((0, Nodes::new()), |(changes, files)| (*changes, files.clone()));
        self.changes.truncate(changes);
        self.now = files;
        self.written.clear();
    }

    /// A file as it is now.
    pub(super) fn file(&self, path: &str) -> Option<&[u8]> {
        self.now.get(path).and_then(Node::content)
    }

    /// Makes a version of what is there, when it differs from the one before.
    fn version(&mut self) {
        let nothing = Nodes::new();
        let before = self.versions.last().map_or(&nothing, |(_, files)| files);
        let paths: BTreeSet<&String> = before.keys().chain(self.now.keys()).collect();
        let mut changes = Vec::new();
        for path in paths {
            let (old, new) = (before.get(path), self.now.get(path));
            let operation = match (old, new) {
                (None, _) => Operation::Created,
                (_, None) => Operation::Deleted,
                (old, new) if old != new => Operation::Modified,
                _ if self.written.contains(path) => Operation::Touched,
                _ => continue,
            };
            let kind = new.or(old).map_or(Kind::File, Node::kind);
            changes.push(Changed { path: path.clone(), operation, kind, now: new.cloned(), at_ms: 0 });
        }
        self.written.clear();
        if !changes.is_empty() {
            self.changes.extend(changes);
            self.versions.push((self.changes.len(), self.now.clone()));
        }
    }

    fn step(&mut self) -> Result<u64, HostError> {
        self.count_step()?;
        self.version();
        Ok(self.changes.len() as u64)
    }

    fn count_step(&mut self) -> Result<(), HostError> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            let message = format!("a turn makes at most {STEPS_MAX} versions before its end");
            return Err(refused(WORKSPACE_LIMIT, &message));
        }
        Ok(())
    }

    /// What was there in the version that a moment came with.
    fn at(&self, moment: u64) -> Result<&Nodes, HostError> {
        let version = self.versions.iter().find(|(changes, _)| *changes as u64 >= moment).filter(|_| moment > 0);
        let version =
            version.ok_or_else(|| refused(ITERATION_NOT_FOUND, &format!("there is no iteration {moment}")))?;
        Ok(&version.1)
    }

    fn read(&self, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, HostError> {
        check_path(path)?;
        check_number("bytes", len, CALL_BYTES_MAX)?;
        self.check_above(path)?;
        piece(self.now.get(path), path, offset, len)
    }

    fn write(&mut self, path: &str, offset: Option<u64>, content: &[u8]) -> Result<(), HostError> {
        check_path(path)?;
        if content.len() > CALL_BYTES_MAX as usize {
            return Err(refused(BAD_REQUEST, &format!("at most {CALL_BYTES_MAX} bytes are written at once")));
        }
        let end = offset.unwrap_or(0).checked_add(content.len() as u64).filter(|end| i64::try_from(*end).is_ok());
        let end = end.ok_or_else(|| refused(FILE_TOO_LARGE, &format!("`{path}` cannot be as large as that")))?;
        self.check_above(path)?;
        let old = match self.now.get(path) {
            Some(Node::Folder) => return Err(something_else(path)),
            Some(Node::File(content)) => content.len() as u64,
            None => 0,
        };
        let new = if offset.is_some() && (content.is_empty() || end < old) { old } else { end };
        let missing: Vec<String> =
            above(path).filter(|folder| !self.now.contains_key(*folder)).map(str::to_owned).collect();
        let entries = self.now.len() + missing.len() + usize::from(!self.now.contains_key(path));
        let bytes: u64 = self.now.values().map(Node::size).sum::<u64>() - old;
        if bytes.saturating_add(new) > WORKSPACE_BYTES_MAX || entries > WORKSPACE_ENTRIES_MAX {
            let message = format!(
                "the workspace is full: it holds {WORKSPACE_BYTES_MAX} bytes and {WORKSPACE_ENTRIES_MAX} entries at most"
            );
            return Err(refused(WORKSPACE_LIMIT, &message));
        }
        missing.into_iter().for_each(|folder| drop(self.now.insert(folder, Node::Folder)));
        let file = self.now.entry(path.to_owned()).or_insert_with(|| Node::File(Vec::new()));
        if let Node::File(file) = file {
            file.resize(usize::try_from(new).unwrap_or(usize::MAX), 0);
            let from = usize::try_from(offset.unwrap_or(0)).unwrap_or(usize::MAX).min(file.len());
            file[from..][..content.len()].copy_from_slice(content);
        }
        self.written.insert(path.to_owned());
        Ok(())
    }

    fn list(&self, path: &str, after: Option<&str>, limit: u32) -> Result<Listing, HostError> {
        if !path.is_empty() {
            check_path(path)?;
        }
        check_number("entries", limit, LIST_MAX)?;
        self.check_above(path)?;
        match self.now.get(path) {
            Some(Node::File(_)) => return Err(something_else(path)),
            None if !path.is_empty() => return Err(not_there(path)),
            Some(Node::Folder) | None => {}
        }
        let name = |entry: &'_ String| -> Option<String> {
            let within = if path.is_empty() { entry } else { entry.strip_prefix(path)?.strip_prefix('/')? };
            (!within.contains('/')).then(|| within.to_owned())
        };
        let named = self.now.iter().filter_map(|(entry, node)| Some((name(entry)?, node)));
        let mut names: BTreeMap<String, &Node> =
            named.filter(|(name, _)| after.is_none_or(|after| name.as_str() > after)).collect();
        let later = names.keys().nth(limit as usize).cloned().map(|first| names.split_off(&first));
        let next = names.keys().last().filter(|_| later.is_some()).cloned();
        let entry = |(name, node): (String, &Node)| Entry { name, kind: node.kind(), size: node.size() };
        Ok(Listing { entries: names.into_iter().map(entry).collect(), next })
    }

    fn remove(&mut self, path: &str) -> Result<(), HostError> {
        check_path(path)?;
        self.check_above(path)?;
        if !self.now.contains_key(path) {
            return Err(not_there(path));
        }
        if self.now.keys().any(|entry| is_beneath(entry, path)) {
            return Err(refused(NOT_A_FILE, &format!("there is something in `{path}`")));
        }
        self.now.remove(path);
        self.written.remove(path);
        Ok(())
    }

    fn history(&self, path: &str, after: u64, limit: u32) -> Result<Page, HostError> {
        check_path(path)?;
        check_number("iterations", limit, PAGE_MAX)?;
        let own = (1..).zip(&self.changes).filter(|(_, changed)| changed.path == path);
        let all = (1..).zip(own).map(|(index, (n, changed))| Iteration {
            n,
            index,
            operation: changed.operation,
            kind: changed.kind,
            size: changed.now.as_ref().map_or(0, Node::size),
            hash: changed.now.as_ref().and_then(Node::content).map(|content| format!("{:064x}", sum(content))),
            at_ms: changed.at_ms,
        });
        let mut later: Vec<Iteration> = all.filter(|iteration| iteration.index > after).collect();
        let is_more = later.len() > limit as usize;
        later.truncate(limit as usize);
        let next = later.last().filter(|_| is_more).map(|last| last.index);
        Ok(Page { iterations: later, next })
    }

    fn read_at(&self, path: &str, moment: u64, offset: u64, len: u32) -> Result<Vec<u8>, HostError> {
        check_path(path)?;
        check_number("bytes", len, CALL_BYTES_MAX)?;
        piece(self.at(moment)?.get(path), path, offset, len)
    }

    fn diff(&mut self, earlier: Option<u64>, later: Option<u64>) -> Result<Changes, HostError> {
        if later.is_none() {
            self.step()?;
        }
        let nothing = Nodes::new();
        let version = |count: usize| count.checked_sub(1).and_then(|last| self.versions.get(last));
        let or = |version: Option<&'_ (usize, Nodes)>| version.map(|(_, files)| files.clone());
        let old = earlier.map_or_else(|| Ok(or(version(self.cut))), |moment| self.at(moment).cloned().map(Some))?;
        let new = later.map_or_else(|| Ok(or(self.versions.last())), |moment| self.at(moment).cloned().map(Some))?;
        Ok(compared(old.as_ref().unwrap_or(&nothing), new.as_ref().unwrap_or(&nothing)))
    }

    fn restore(&mut self, path: &str, moment: u64) -> Result<(), HostError> {
        check_path(path)?;
        self.count_step()?;
        let then = self.at(moment)?.clone();
        self.version();
        let within = |entry: &String| entry == path || is_beneath(entry, path);
        if !then.keys().chain(self.now.keys()).any(within) {
            return Err(not_there(path));
        }
        // With a path comes the way to it.
        let wanted = |entry: &String| within(entry) || (then.contains_key(path) && is_beneath(path, entry));
        self.now.retain(|entry, _| !within(entry));
        self.now
            .extend(then.iter().filter(|(entry, _)| wanted(entry)).map(|(entry, node)| (entry.clone(), node.clone())));
        Ok(())
    }

    /// What stands above a path is a folder, or nothing.
    fn check_above(&self, path: &str) -> Result<(), HostError> {
        let is_file = |folder: &&str| matches!(self.now.get(*folder), Some(Node::File(_)));
        above(path).find(is_file).map_or(Ok(()), |_| Err(something_else(path)))
    }
}

/// The files that differ, the first ones by path; one that has the content of another that is gone was renamed.
fn compared(old: &Nodes, new: &Nodes) -> Changes {
    let content = |nodes: &'_ Nodes, path: &str| nodes.get(path).and_then(Node::content).map(<[u8]>::to_vec);
    let is_file = |path: &&String| content(old, path).is_some() || content(new, path).is_some();
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).filter(is_file).collect();
    let mut gone: Vec<&String> = paths.iter().filter(|path| !new.contains_key(**path)).copied().collect();
    let mut changes = Vec::new();
    for path in &paths {
        let (before, after) = (content(old, path), content(new, path));
        let size = after.as_ref().map(|content| content.len() as u64);
        let mut change = Change { path: (*path).clone(), difference: Difference::Modified, previous_path: None, size };
        match (before, after) {
            (before, after) if before == after => continue,
            (None, Some(after)) => {
                change.difference = Difference::Created;
                let source =
                    gone.iter().position(|gone| !after.is_empty() && content(old, gone).as_ref() == Some(&after));
                if let Some(source) = source {
                    change.difference = Difference::Renamed;
                    change.previous_path = Some(gone.remove(source).clone());
                }
            }
            (Some(_), None) => change.difference = Difference::Deleted,
            _ => {}
        }
        changes.push(change);
    }
    let moved: BTreeSet<String> = changes.iter().filter_map(|change| change.previous_path.clone()).collect();
    changes.retain(|change| change.difference != Difference::Deleted || !moved.contains(&change.path));
    let more = changes.len().saturating_sub(CHANGES_MAX) as u64;
    changes.truncate(CHANGES_MAX);
    Changes { changes, more }
}

/// The folders above a path, from the outermost.
fn above(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(slash, _)| &path[..slash])
}

fn is_beneath(entry: &str, path: &str) -> bool {
    entry.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'))
}

fn piece(node: Option<&Node>, path: &str, offset: u64, len: u32) -> Result<Vec<u8>, HostError> {
    let content = node.ok_or_else(|| not_there(path))?.content().ok_or_else(|| something_else(path))?;
    let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
    Ok(content[from..].iter().take(len as usize).copied().collect())
}

fn not_there(path: &str) -> HostError {
    refused(FILE_NOT_FOUND, &format!("there is nothing at `{path}`"))
}

fn something_else(path: &str) -> HostError {
    refused(NOT_A_FILE, &format!("it is something else that is at `{path}`"))
}

fn check_number(what: &str, asked: u32, most: u32) -> Result<(), HostError> {
    if (1..=most).contains(&asked) {
        return Ok(());
    }
    Err(refused(BAD_REQUEST, &format!("1 to {most} {what} are read at once, not {asked}")))
}

fn check_path(path: &str) -> Result<(), HostError> {
    let is_plain =
        |name: &str| !matches!(name, "" | "." | "..") && !name.contains('\0') && name.len() <= NAME_BYTES_MAX;
    let is_path = path.len() <= PATH_BYTES_MAX
        && path.split('/').all(is_plain)
        && path.split('/').count() <= DEPTH_MAX
        && path.split('/').next() != Some(".chronicle");
    if is_path { Ok(()) } else { Err(refused(INVALID_PATH, &format!("`{path}` is no path in the workspace"))) }
}

/// FNV-1a: enough to tell a test's contents apart.
fn sum(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

fn with<T>(run: impl FnOnce(&mut Past) -> Result<T, HostError>) -> Result<T, HostError> {
    call(|host| run(&mut host.past)).unwrap_or_else(|| Err(no_host()))
}

pub(crate) fn read(path: &str, offset: u64, len: u32) -> Result<Vec<u8>, HostError> {
    with(|past| past.read(path, offset, len))
}

pub(crate) fn write(path: &str, offset: Option<u64>, content: &[u8]) -> Result<(), HostError> {
    with(|past| past.write(path, offset, content))
}

pub(crate) fn list(path: &str, after: Option<&str>, limit: u32) -> Result<Listing, HostError> {
    with(|past| past.list(path, after, limit))
}

pub(crate) fn remove(path: &str) -> Result<(), HostError> {
    with(|past| past.remove(path))
}

pub(crate) fn commit() -> Result<u64, HostError> {
    with(Past::step)
}

pub(crate) fn history(path: &str, after: u64, limit: u32) -> Result<Page, HostError> {
    with(|past| past.history(path, after, limit))
}

pub(crate) fn read_at(path: &str, moment: u64, offset: u64, len: u32) -> Result<Vec<u8>, HostError> {
    with(|past| past.read_at(path, moment, offset, len))
}

pub(crate) fn diff(earlier: Option<u64>, later: Option<u64>) -> Result<Changes, HostError> {
    with(|past| past.diff(earlier, later))
}

pub(crate) fn restore(path: &str, moment: u64) -> Result<(), HostError> {
    with(|past| past.restore(path, moment))
}
