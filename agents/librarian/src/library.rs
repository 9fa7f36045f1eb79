//! The workspace's documents and the index file beside them.
//!
//! Owns which files are documents, when one is read again, and the index's form on disk. Must
//! never trust the index file (it may be damaged, or from a turn that did not end) and never hold
//! more than the bounds below.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use xxhash_rust::xxh3::xxh3_64;

use crate::index::{Document, Index, Stamp};
use crate::words::Analyzer;

/// The librarian's own folder in the workspace.
const FOLDER: &str = ".librarian";
const FILE: &str = "index";
const SCRATCH: &str = "index.new";

/// The index file: this, the checksum of the rest, the rest. Changes with [`Index`] and with what
/// `words` and `chunk` make of a text.
const MAGIC: &[u8; 8] = b"podlib\x00\x01";

/// What documents are called.
const ENDINGS: [&str; 7] = ["md", "markdown", "mdx", "txt", "text", "rst", "adoc"];

/// Largest document read: a book has about one MiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most documents, and most text in all: their index takes about as much memory as their text,
/// while it is written about twice that, and a guest has 64 MiB.
const DOCUMENTS_MAX: usize = 4_000;
const TEXT_BYTES_MAX: u64 = 12 * 1024 * 1024;

/// Most text read in one turn: about two of its ten seconds of processor time. The rest is read
/// in the next one.
const TURN_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Most entries looked at, and the deepest folder: a workspace may hold other things.
const ENTRIES_MAX: usize = 50_000;
const DEPTH_MAX: usize = 24;

/// A file changed this shortly before it was read may change again without a new time.
const SETTLED: Duration = Duration::from_secs(2);

/// The documents of a workspace.
pub(crate) struct Library {
    root: PathBuf,
    analyzer: Analyzer,
    pub(crate) index: Index,
}

/// What bringing the index up to date found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Refresh {
    /// Documents that were read.
    pub(crate) read: usize,
    /// Documents that are gone.
    pub(crate) gone: usize,
    /// Documents left for the next turn.
    pub(crate) pending: usize,
    /// Documents that are not indexed, and why.
    pub(crate) skipped: Vec<(String, &'static str)>,
    /// Why the index file was not usable, if it was there and was not.
    pub(crate) rebuilt: Option<&'static str>,
}

impl Refresh {
    fn changed(&self) -> bool {
        self.read + self.gone > 0 || self.rebuilt.is_some()
    }
}

/// A document's file.
struct Found {
    path: String,
    stamp: Stamp,
}

impl Library {
    /// Opens the workspace at `root` and brings the index up to date: only documents that
    /// changed are read.
    pub(crate) fn open(root: &Path) -> io::Result<(Self, Refresh)> {
        Self::open_reading(root, TURN_BYTES_MAX)
    }

    /// As [`Library::open`], with at most `turn_bytes` of text read.
    fn open_reading(root: &Path, turn_bytes: u64) -> io::Result<(Self, Refresh)> {
        let mut refresh = Refresh::default();
        let known = match load(&root.join(FOLDER).join(FILE)) {
            Ok(index) => index,
            Err(Unusable::Absent) => Index::default(),
            Err(Unusable::Damaged(reason)) => {
                refresh.rebuilt = Some(reason);
                Index::default()
            }
        };
        let mut library = Self { root: root.to_owned(), analyzer: Analyzer::new(), index: Index::default() };
        library.refresh(known, turn_bytes, &mut refresh)?;
        if refresh.changed() {
            library.save()?;
        }
        Ok((library, refresh))
    }

    /// The terms of a question.
    pub(crate) fn query(&self, question: &str) -> Vec<String> {
        self.analyzer.query(question)
    }

    /// Some lines of a document as it is now.
    pub(crate) fn lines(&self, path: &str, first: u32, last: u32) -> io::Result<String> {
        let text = read(&self.root.join(path))?;
        let count = (last.saturating_sub(first) as usize).saturating_add(1);
        let lines: Vec<&str> = text.lines().skip(first.saturating_sub(1) as usize).take(count).collect();
        Ok(lines.join("\n"))
    }

    fn refresh(&mut self, known: Index, turn_bytes: u64, refresh: &mut Refresh) -> io::Result<()> {
        let found = self.find(refresh)?;
        let mut known: HashMap<String, Document> = known.documents.into_iter().map(|d| (d.path.clone(), d)).collect();
        let (mut in_all, mut in_turn) = (0_u64, 0_u64);
        for Found { path, stamp } in found {
            if self.index.documents.len() == DOCUMENTS_MAX {
                refresh.skipped.push((path, "there are too many documents"));
                continue;
            }
            if in_all + stamp.size > TEXT_BYTES_MAX {
                refresh.skipped.push((path, "there is too much text in all"));
                continue;
            }
            in_all += stamp.size;
            let before = match known.remove(&path) {
                Some(document) if is_settled(&document, stamp) => {
                    self.index.documents.push(document);
                    continue;
                }
                before => before,
            };
            if in_turn + stamp.size > turn_bytes {
                // The old passages may be wrong by now: better none than wrong lines.
                refresh.pending += 1;
                continue;
            }
            in_turn += stamp.size;
            let text = match read(&self.root.join(&path)) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    refresh.skipped.push((path, "it is not text"));
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let (hash, now) = (xxh3_64(text.as_bytes()), nanoseconds(SystemTime::now()).unwrap_or(0));
            let document = match before {
                Some(mut document) if document.hash == hash => {
                    let is_same = document.stamp == stamp;
                    // Only the time of reading differs: worth keeping, not worth a write by itself.
                    refresh.read += usize::from(!is_same);
                    (document.stamp, document.read_at) = (stamp, now);
                    document
                }
                _ => {
                    refresh.read += 1;
                    Document::read(&self.analyzer, &path, stamp, hash, now, &text)
                }
            };
            self.index.documents.push(document);
        }
        refresh.gone = known.len();
        Ok(())
    }

    /// The documents' files, sorted by path.
    fn find(&self, refresh: &mut Refresh) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut folders = vec![(String::new(), 0)];
        let mut entries = 0;
        while let Some((folder, depth)) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder))? {
                let entry = entry?;
                entries += 1;
                if entries > ENTRIES_MAX {
                    refresh.skipped.push((folder, "there are too many files"));
                    folders.clear();
                    break;
                }
                let Ok(name) = entry.file_name().into_string() else { continue };
                // Hidden files are tools' own, ours included.
                if name.starts_with('.') {
                    continue;
                }
                let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                let kind = entry.file_type()?;
                if kind.is_dir() && depth < DEPTH_MAX {
                    folders.push((path, depth + 1));
                } else if kind.is_file() && is_document(&path) {
                    let metadata = entry.metadata()?;
                    let stamp =
                        Stamp { size: metadata.len(), modified: metadata.modified().ok().and_then(nanoseconds) };
                    if stamp.size > FILE_BYTES_MAX {
                        refresh.skipped.push((path, "it is larger than 1 MiB"));
                    } else {
                        found.push(Found { path, stamp });
                    }
                }
            }
        }
        found.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Writes the index file, whole or not at all.
    fn save(&self) -> io::Result<()> {
        let folder = self.root.join(FOLDER);
        fs::create_dir_all(&folder)?;
        let body = postcard::to_stdvec(&self.index).map_err(io::Error::other)?;
        let scratch = folder.join(SCRATCH);
        let mut file = fs::File::create(&scratch)?;
        file.write_all(MAGIC)?;
        file.write_all(&xxh3_64(&body).to_le_bytes())?;
        file.write_all(&body)?;
        drop(file);
        fs::rename(scratch, folder.join(FILE))
    }
}

enum Unusable {
    Absent,
    Damaged(&'static str),
}

fn load(path: &Path) -> Result<Index, Unusable> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Unusable::Absent),
        Err(_) => return Err(Unusable::Damaged("it cannot be read")),
    };
    let rest = bytes.strip_prefix(MAGIC).ok_or(Unusable::Damaged("it has another form"))?;
    let (checksum, body) = rest.split_first_chunk::<8>().ok_or(Unusable::Damaged("it is cut off"))?;
    if xxh3_64(body) != u64::from_le_bytes(*checksum) {
        return Err(Unusable::Damaged("its checksum is wrong"));
    }
    postcard::from_bytes(body).map_err(|_| Unusable::Damaged("its content does not fit"))
}

/// True when the file cannot have changed since the document was read.
fn is_settled(document: &Document, stamp: Stamp) -> bool {
    let settled = u64::try_from(SETTLED.as_nanos()).unwrap_or(u64::MAX);
    document.stamp == stamp
        && stamp.modified.is_some_and(|modified| modified.saturating_add(settled) < document.read_at)
}

fn is_document(path: &str) -> bool {
    let ending = path.rsplit_once('.').map_or("", |(_, ending)| ending);
    ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

fn nanoseconds(time: SystemTime) -> Option<u64> {
    u64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
}

/// A document's text; bytes that are no UTF-8 are replaced, a file with a zero byte is no text.
fn read(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    if bytes.contains(&0) {
        return Err(io::Error::from(io::ErrorKind::InvalidData));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests;
