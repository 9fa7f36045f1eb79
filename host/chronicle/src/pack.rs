//! Segments: append-only files of objects, `metadata/cas/seg-NNNNNN.pack`.
//!
//! Only what a row of the database names exists: the tail of a segment past its recorded length is cut off on open, and a file
//! without a row is removed. Must never write over bytes that were recorded.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Mutex;

use crate::error::ChronicleError;
use crate::failpoint;
use crate::hash::ContentHash;
use crate::limits::{OPEN_SEGMENTS_MAX, PACK_BUFFER_BYTES, SEGMENT_BYTES};

/// Begins each object, so that a segment can be read without its database.
const MAGIC: [u8; 4] = *b"pco1";
/// Magic, kind, encoding, two reserved bytes, stored length, length of the content, name.
pub(crate) const HEADER_BYTES: u64 = 4 + 1 + 1 + 2 + 4 + 8 + 32;

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ObjectKind {
    /// A file's content, a chunk of one, or a link's target.
    Blob,
    /// The chunks of a large file, which has the name of its whole content.
    ChunkList,
}

/// How an object is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// As it is.
    Raw,
    /// A frame of zstd.
    Zstd,
}

impl ObjectKind {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Blob => 0,
            Self::ChunkList => 1,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Blob, Self::ChunkList].into_iter().find(|kind| kind.number() == number)
    }
}

impl Encoding {
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        [Self::Raw, Self::Zstd].into_iter().find(|encoding| encoding.number() == number)
    }
}

/// Where an object is, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) kind: ObjectKind,
    pub(crate) encoding: Encoding,
    /// Bytes of the content.
    pub(crate) raw_len: u64,
    pub(crate) segment: u64,
    /// Where its header begins.
    pub(crate) offset: u64,
    /// Stored bytes without the header.
    pub(crate) len: u32,
}

impl Location {
    /// Bytes that it takes of its segment.
    pub(crate) fn taken(&self) -> u64 {
        HEADER_BYTES + u64::from(self.len)
    }
}

/// A segment as its row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) len: u64,
    pub(crate) sealed: bool,
}

/// The segment that is written to.
#[derive(Debug)]
struct Writing {
    id: u64,
    file: File,
    /// Bytes in the file and the buffer.
    len: u64,
    buffer: Vec<u8>,
    synced: bool,
}

/// The segments of one workspace.
#[derive(Debug)]
pub(crate) struct Packs {
    folder: PathBuf,
    writing: Option<Writing>,
    /// Segments that this writer filled since the last [`Packs::recorded`].
    filled: Vec<Segment>,
    /// Segments whose files were made since then; no row names them.
    begun: Vec<u64>,
    last_id: u64,
    reading: Mutex<VecDeque<(u64, File)>>,
}

pub(crate) fn file_name(id: u64) -> String {
    format!("seg-{id:06}.pack")
}

/// The number in a segment's file name.
pub(crate) fn id_of(name: &str) -> Option<u64> {
    let id = name.strip_prefix("seg-")?.strip_suffix(".pack")?.parse().ok()?;
    (file_name(id) == name).then_some(id)
}

impl Packs {
    /// Segments in `folder`; `last_id` is the highest number ever given.
    pub(crate) fn new(folder: PathBuf, last_id: u64) -> Self {
        Self { folder, writing: None, filled: Vec::new(), begun: Vec::new(), last_id, reading: Mutex::default() }
    }

    pub(crate) fn path(&self, id: u64) -> PathBuf {
        self.folder.join(file_name(id))
    }

    /// Goes on writing at the end of a segment that has room.
    pub(crate) fn resume(&mut self, segment: Segment) -> Result<(), ChronicleError> {
        let path = self.path(segment.id);
        let open = || {
            let file = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(&path)?;
            // A failed snapshot may have left bytes that nothing names.
            file.set_len(segment.len)?;
            Ok(file)
        };
        let file = open().map_err(|error: std::io::Error| ChronicleError::file(&path, error))?;
        self.writing = Some(Writing { id: segment.id, file, len: segment.len, buffer: Vec::new(), synced: true });
        Ok(())
    }

    /// Appends an object; it is on the disk after [`Packs::sync`].
    pub(crate) fn append(
        &mut self,
        hash: ContentHash,
        kind: ObjectKind,
        encoding: Encoding,
        raw_len: u64,
        stored: &[u8],
    ) -> Result<Location, ChronicleError> {
        let len = u32::try_from(stored.len()).map_err(|_| ChronicleError::Refused("an object is too long"))?;
        if self.writing.as_ref().is_some_and(|writing| writing.len >= SEGMENT_BYTES) {
            self.seal()?;
        }
        let writing = match &mut self.writing {
            Some(writing) => writing,
            None => self.begin()?,
        };
        let place = Location { kind, encoding, raw_len, segment: writing.id, offset: writing.len, len };
        let buffer = &mut writing.buffer;
        buffer.extend_from_slice(&MAGIC);
        buffer.extend_from_slice(&[kind.number(), encoding.number(), 0, 0]);
        buffer.extend_from_slice(&len.to_le_bytes());
        buffer.extend_from_slice(&raw_len.to_le_bytes());
        buffer.extend_from_slice(hash.as_bytes());
        buffer.extend_from_slice(stored);
        writing.len += place.taken();
        writing.synced = false;
        if writing.buffer.len() >= PACK_BUFFER_BYTES {
            self.flush()?;
        }
        Ok(place)
    }

    fn begin(&mut self) -> Result<&mut Writing, ChronicleError> {
        let id = self.last_id + 1;
        let path = self.path(id);
        let open = || -> std::io::Result<File> {
            failpoint::hit("pack.begin")?;
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW)
                .open(&path)?;
            // The entry must be there before a row may name the file.
            File::open(&self.folder)?.sync_all()?;
            Ok(file)
        };
        let file = open().map_err(|error| ChronicleError::file(&path, error))?;
        self.last_id = id;
        self.begun.push(id);
        Ok(self.writing.insert(Writing { id, file, len: 0, buffer: Vec::new(), synced: true }))
    }

    /// Whether this is the segment that is written to.
    pub(crate) fn is_writing(&self, id: u64) -> bool {
        self.writing.as_ref().is_some_and(|writing| writing.id == id)
    }

    /// Ends the segment that is written to.
    pub(crate) fn seal(&mut self) -> Result<(), ChronicleError> {
        self.sync()?;
        if let Some(writing) = self.writing.take() {
            self.filled.push(Segment { id: writing.id, len: writing.len, sealed: true });
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ChronicleError> {
        let Some(writing) = &mut self.writing else { return Ok(()) };
        if writing.buffer.is_empty() {
            return Ok(());
        }
        let buffered = u64::try_from(writing.buffer.len()).unwrap_or(u64::MAX);
        let at = writing.len.saturating_sub(buffered);
        let written = failpoint::hit("pack.write").and_then(|()| writing.file.write_all_at(&writing.buffer, at));
        written.map_err(|error| ChronicleError::file(self.folder.join(file_name(writing.id)), error))?;
        writing.buffer.clear();
        Ok(())
    }

    /// Makes everything that was appended durable.
    pub(crate) fn sync(&mut self) -> Result<(), ChronicleError> {
        self.flush()?;
        let Some(writing) = &mut self.writing else { return Ok(()) };
        if writing.synced {
            return Ok(());
        }
        let synced = failpoint::hit("pack.sync").and_then(|()| writing.file.sync_data());
        synced.map_err(|error| ChronicleError::file(self.folder.join(file_name(writing.id)), error))?;
        writing.synced = true;
        failpoint::hit("pack.synced").map_err(|error| ChronicleError::file(&self.folder, error))
    }

    /// What the rows of the segments that were written to must say. Call after [`Packs::sync`].
    pub(crate) fn to_record(&self) -> Vec<Segment> {
        let mut segments = self.filled.clone();
        segments.extend(self.writing.as_ref().map(|writing| Segment {
            id: writing.id,
            len: writing.len,
            sealed: false,
        }));
        segments
    }

    /// The rows are committed.
    pub(crate) fn recorded(&mut self) {
        self.filled.clear();
        self.begun.clear();
    }

    /// Writes to these segments no more, and leaves their files as they are: the next opening removes what no row names.
    pub(crate) fn abandon(&mut self) {
        self.writing = None;
        self.filled.clear();
        self.begun.clear();
    }

    /// Forgets what was appended and not recorded: files that were made for it go, and [`Packs::resume`] cuts off the rest.
    pub(crate) fn forget(&mut self) {
        self.writing = None;
        self.filled.clear();
        for id in std::mem::take(&mut self.begun) {
            if let Err(error) = self.remove(id) {
                tracing::warn!(%error, "the next opening removes it");
            }
        }
    }

    /// Removes a segment's file; no row names it any more.
    pub(crate) fn remove(&mut self, id: u64) -> Result<(), ChronicleError> {
        if self.writing.as_ref().is_some_and(|writing| writing.id == id) {
            self.writing = None;
        }
        self.readers().retain(|(open, _)| *open != id);
        let path = self.path(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(ChronicleError::file(path, error)),
            _ => Ok(()),
        }
    }

    /// The stored bytes of an object, whether they are on the disk yet or not.
    pub(crate) fn read(&self, hash: ContentHash, place: &Location, limit: usize) -> Result<Vec<u8>, ChronicleError> {
        let len = usize::try_from(place.len).unwrap_or(usize::MAX);
        if len > limit {
            return Err(ChronicleError::damaged(hash, format!("it claims {len} stored bytes")));
        }
        let at = place.offset.saturating_add(HEADER_BYTES);
        let mut bytes = vec![0; len];
        if let Some(writing) = self.writing.as_ref().filter(|writing| writing.id == place.segment) {
            let buffered_from = writing.len.saturating_sub(u64::try_from(writing.buffer.len()).unwrap_or(u64::MAX));
            if at >= buffered_from {
                let from = usize::try_from(at - buffered_from).unwrap_or(usize::MAX);
                let found = writing.buffer.get(from..from.saturating_add(len));
                return found.map(<[u8]>::to_vec).ok_or_else(|| ChronicleError::damaged(hash, "it is cut off"));
            }
        }
        let mut readers = self.readers();
        let known = readers.iter().position(|(id, _)| *id == place.segment);
        let open = match known.and_then(|index| readers.remove(index)) {
            Some(open) => open,
            None => {
                let path = self.path(place.segment);
                let opened = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path);
                match opened {
                    Ok(file) => (place.segment, file),
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                        return Err(ChronicleError::damaged(hash, format!("{} is missing", file_name(place.segment))));
                    }
                    Err(error) => return Err(ChronicleError::file(path, error)),
                }
            }
        };
        let read = open.1.read_exact_at(&mut bytes, at);
        readers.push_front(open);
        readers.truncate(OPEN_SEGMENTS_MAX);
        drop(readers);
        match read {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(ChronicleError::damaged(hash, format!("{} is too short", file_name(place.segment))))
            }
            Err(error) => Err(ChronicleError::file(self.path(place.segment), error)),
        }
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, File)>> {
        // Nothing under this lock can panic half way.
        self.reading.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::OBJECT_BYTES_MAX;

    #[test]
    fn objects_are_read_back_before_and_after_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut packs = Packs::new(folder.path().to_owned(), 0);
        let hash = ContentHash::of(b"hello");
        let first = packs.append(hash, ObjectKind::Blob, Encoding::Raw, 5, b"hello").unwrap();
        assert_eq!(packs.read(hash, &first, 10).unwrap(), b"hello");
        packs.sync().unwrap();
        let second = packs.append(hash, ObjectKind::Blob, Encoding::Raw, 5, b"world").unwrap();
        assert_eq!(packs.read(hash, &first, 10).unwrap(), b"hello");
        assert_eq!(packs.read(hash, &second, 10).unwrap(), b"world");
        assert_eq!(packs.to_record(), [Segment { id: 1, len: 2 * (HEADER_BYTES + 5), sealed: false }]);
        packs.recorded();
        // What was not recorded is gone when the segment is taken up again.
        packs.forget();
        packs.resume(Segment { id: 1, len: first.taken(), sealed: false }).unwrap();
        assert!(matches!(packs.read(hash, &second, 10), Err(ChronicleError::Damaged { .. })));
        assert!(matches!(packs.read(hash, &first, 4), Err(ChronicleError::Damaged { .. })));
        packs.remove(1).unwrap();
        assert!(matches!(packs.read(hash, &first, 10), Err(ChronicleError::Damaged { .. })));
    }

    #[test]
    fn segments_that_nothing_records_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut packs = Packs::new(folder.path().to_owned(), 0);
        let (hash, bytes) = (ContentHash::of(b"x"), vec![7; OBJECT_BYTES_MAX]);
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let first = packs.append(hash, ObjectKind::Blob, Encoding::Raw, 1, b"x").unwrap();
        packs.sync().unwrap();
        packs.recorded();
        while files() < 3 {
            packs.append(hash, ObjectKind::Blob, Encoding::Raw, 9, &bytes).unwrap();
        }
        packs.forget();
        assert_eq!(files(), 1);
        packs.resume(Segment { id: 1, len: first.taken(), sealed: false }).unwrap();
        assert_eq!(packs.read(hash, &first, 9).unwrap(), b"x");
        // What was recorded stays.
        while files() < 2 {
            packs.append(hash, ObjectKind::Blob, Encoding::Raw, 9, &bytes).unwrap();
        }
        packs.sync().unwrap();
        packs.recorded();
        packs.forget();
        assert_eq!(files(), 2);
    }

    #[test]
    fn names_of_segments_are_exact() {
        assert_eq!(id_of("seg-000012.pack"), Some(12));
        assert_eq!(id_of("seg-1234567.pack"), Some(1_234_567));
        for other in ["seg-12.pack", "seg-000012.pack.tmp", "seg-+00012.pack", "x"] {
            assert_eq!(id_of(other), None);
        }
    }
}
