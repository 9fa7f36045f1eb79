//! Content by its name: what is stored once and read with its hash checked.
//!
//! Owns the form of blobs and chunk lists within the segments. New objects are pending until the caller's transaction has recorded
//! them. Must never give out bytes that are not what their name says.

use std::collections::{HashMap, HashSet};

use podium_sqlite::Database;

use crate::error::{ChronicleError, Limited};
use crate::hash::ContentHash;
use crate::limits::{FILE_BYTES_MAX, OBJECT_BYTES_MAX, WHOLE_BYTES};
use crate::pack::{Encoding, Location, ObjectKind, Packs};
use crate::rows;
use crate::tree::Nodes;

/// Speed over size: 565 MB/s measured, and sources still shrink to a quarter.
const ZSTD_LEVEL: i32 = 1;
/// Content below this is stored as it is: a frame would not be smaller.
const COMPRESSED_FROM: usize = 64;

/// A part of a large file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// This many bytes, which are this blob.
    Data(u32, ContentHash),
    /// This many zero bytes, of a hole.
    Zeros(u64),
}

impl Part {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Data(len, _) => u64::from(*len),
            Self::Zeros(len) => *len,
        }
    }
}

/// Stored content, and what is to be stored with the next transaction.
pub(crate) struct Cas {
    pub(crate) packs: Packs,
    /// Made at first use and kept: its tables are larger than most files.
    compressor: Option<zstd::bulk::Compressor<'static>>,
    pending: HashMap<ContentHash, Location>,
    /// Contents and trees that are known to be damaged: stored anew where a snapshot meets them.
    damaged: HashSet<ContentHash>,
    /// Bytes appended since the last recording.
    pending_bytes: u64,
    /// Bytes that all segments may grow to, and those that are recorded.
    store_bytes_max: u64,
    recorded_bytes: u64,
    /// New content is counted, not stored.
    measuring: bool,
}

impl std::fmt::Debug for Cas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cas").field("packs", &self.packs).field("pending", &self.pending.len()).finish_non_exhaustive()
    }
}

impl Cas {
    /// Sets what all segments may grow to.
    pub(crate) fn set_limit(&mut self, store_bytes_max: u64) {
        self.store_bytes_max = store_bytes_max;
    }

    pub(crate) fn new(packs: Packs, recorded_bytes: u64, store_bytes_max: u64) -> Self {
        Self {
            packs,
            compressor: None,
            pending: HashMap::new(),
            damaged: HashSet::new(),
            pending_bytes: 0,
            store_bytes_max,
            recorded_bytes,
            measuring: false,
        }
    }

    /// Stores bytes of at most [`OBJECT_BYTES_MAX`] unless they are there; gives their name.
    pub(crate) fn put(&mut self, database: &Database, bytes: &[u8]) -> Result<ContentHash, ChronicleError> {
        let hash = ContentHash::of(bytes);
        if !self.has(database, hash)? {
            let raw_len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let packed = self.compressed(bytes);
            match packed {
                Some(packed) => self.append(hash, ObjectKind::Blob, Encoding::Zstd, raw_len, &packed)?,
                None => self.append(hash, ObjectKind::Blob, Encoding::Raw, raw_len, bytes)?,
            }
        }
        Ok(hash)
    }

    /// Packed bytes; none when they would hardly be fewer, or cannot be packed.
    fn compressed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if bytes.len() < COMPRESSED_FROM {
            return None;
        }
        if self.compressor.is_none() {
            self.compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        // A sixteenth is what the time to read it back is worth.
        let packed = self.compressor.as_mut()?.compress(bytes).ok()?;
        (packed.len() < bytes.len() - bytes.len() / 16).then_some(packed)
    }

    /// Stores the list of a large file's parts under the name of its content, unless that is there.
    pub(crate) fn put_list(
        &mut self,
        database: &Database,
        hash: ContentHash,
        parts: &[Part],
    ) -> Result<(), ChronicleError> {
        if self.has(database, hash)? {
            return Ok(());
        }
        let raw_len = parts.iter().map(Part::len).sum();
        self.append(hash, ObjectKind::ChunkList, Encoding::Raw, raw_len, &write_list(parts))
    }

    fn append(
        &mut self,
        hash: ContentHash,
        kind: ObjectKind,
        encoding: Encoding,
        raw_len: u64,
        stored: &[u8],
    ) -> Result<(), ChronicleError> {
        let place = if self.measuring {
            let len = u32::try_from(stored.len()).unwrap_or(u32::MAX);
            Location { kind, encoding, raw_len, segment: 0, offset: 0, len }
        } else {
            self.packs.append(hash, kind, encoding, raw_len, stored)?
        };
        self.pending.insert(hash, place);
        self.pending_bytes += place.taken();
        if !self.measuring && self.recorded_bytes.saturating_add(self.pending_bytes) > self.store_bytes_max {
            return Err(ChronicleError::OverLimit { what: Limited::StoreBytes, limit: self.store_bytes_max });
        }
        Ok(())
    }

    /// From now on what is new is only counted, or stored again. What was counted must be forgotten.
    pub(crate) fn measure(&mut self, on: bool) {
        self.measuring = on;
    }

    /// Whether content need not be stored again.
    fn has(&self, database: &Database, hash: ContentHash) -> Result<bool, ChronicleError> {
        if self.damaged.contains(&hash) {
            return Ok(self.pending.contains_key(&hash));
        }
        Ok(self.find(database, hash)?.is_some())
    }

    pub(crate) fn find(&self, database: &Database, hash: ContentHash) -> Result<Option<Location>, ChronicleError> {
        match self.pending.get(&hash) {
            Some(place) => Ok(Some(*place)),
            None => rows::object::find(database.connection(), hash),
        }
    }

    fn found(&self, database: &Database, hash: ContentHash) -> Result<Location, ChronicleError> {
        self.find(database, hash)?.ok_or_else(|| ChronicleError::damaged(hash, "it is not stored"))
    }

    /// Whole content of at most [`WHOLE_BYTES`], or a part of that size; its hash is checked.
    pub(crate) fn blob(&self, database: &Database, hash: ContentHash) -> Result<Vec<u8>, ChronicleError> {
        let place = self.found(database, hash)?;
        if place.kind != ObjectKind::Blob {
            return Err(ChronicleError::damaged(hash, "a list stands where one object should"));
        }
        self.read_blob(hash, &place)
    }

    fn read_blob(&self, hash: ContentHash, place: &Location) -> Result<Vec<u8>, ChronicleError> {
        let raw_len = usize::try_from(place.raw_len).unwrap_or(usize::MAX);
        if raw_len > WHOLE_BYTES {
            return Err(ChronicleError::damaged(hash, format!("it claims {raw_len} bytes")));
        }
        let stored = self.packs.read(hash, place, OBJECT_BYTES_MAX)?;
        let bytes = match place.encoding {
            Encoding::Raw => stored,
            Encoding::Zstd => zstd::bulk::decompress(&stored, raw_len)
                .map_err(|error| ChronicleError::damaged(hash, format!("it cannot be unpacked: {error}")))?,
        };
        if ContentHash::of(&bytes) != hash {
            return Err(ChronicleError::damaged(hash, "its bytes have another hash"));
        }
        Ok(bytes)
    }

    /// What a file consists of: itself, or the parts of a large one.
    pub(crate) fn parts(&self, database: &Database, hash: ContentHash) -> Result<Vec<Part>, ChronicleError> {
        let place = self.found(database, hash)?;
        match place.kind {
            ObjectKind::Blob => {
                let len = u32::try_from(place.raw_len)
                    .map_err(|_| ChronicleError::damaged(hash, "it claims more than an object has"))?;
                Ok(vec![Part::Data(len, hash)])
            }
            ObjectKind::ChunkList => {
                let stored = self.packs.read(hash, &place, OBJECT_BYTES_MAX)?;
                let parts = read_list(&stored).map_err(|what| ChronicleError::damaged(hash, what))?;
                if parts.iter().map(Part::len).try_fold(0_u64, u64::checked_add) != Some(place.raw_len) {
                    return Err(ChronicleError::damaged(hash, "its parts do not make up its length"));
                }
                Ok(parts)
            }
        }
    }

    /// Gives a file's content to `each`, in order: its bytes, or the length of a hole. The hash of the whole is checked at the
    /// end, so what was given counts only after this has returned.
    pub(crate) fn read(
        &self,
        database: &Database,
        hash: ContentHash,
        mut each: impl FnMut(Result<&[u8], u64>) -> Result<(), ChronicleError>,
    ) -> Result<(), ChronicleError> {
        let place = self.found(database, hash)?;
        if place.kind == ObjectKind::Blob {
            return each(Ok(&self.read_blob(hash, &place)?));
        }
        let mut hasher = blake3::Hasher::new();
        for part in self.parts(database, hash)? {
            match part {
                Part::Data(len, chunk) => {
                    let bytes = self.blob(database, chunk)?;
                    if bytes.len() != usize::try_from(len).unwrap_or(usize::MAX) {
                        return Err(ChronicleError::damaged(hash, "a part has another length"));
                    }
                    hasher.update(&bytes);
                    each(Ok(&bytes))?;
                }
                Part::Zeros(len) => {
                    hash_zeros(&mut hasher, len);
                    each(Err(len))?;
                }
            }
        }
        if ContentHash::from(hasher.finalize()) != hash {
            return Err(ChronicleError::damaged(hash, "its parts have another hash together"));
        }
        Ok(())
    }

    /// At most `len` bytes of a file from `offset` on; each object that is touched is checked.
    pub(crate) fn read_range(
        &self,
        database: &Database,
        hash: ContentHash,
        offset: u64,
        len: usize,
    ) -> Result<Vec<u8>, ChronicleError> {
        let end = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        let mut bytes = Vec::new();
        let mut at = 0_u64;
        for part in self.parts(database, hash)? {
            let (from, to) = (at.max(offset), (at + part.len()).min(end));
            if from < to {
                let within = |position: u64| usize::try_from(position - at).unwrap_or(usize::MAX);
                match part {
                    Part::Data(_, chunk) => {
                        let content = self.blob(database, chunk)?;
                        let wanted = content.get(within(from)..within(to));
                        bytes.extend_from_slice(
                            wanted.ok_or_else(|| ChronicleError::damaged(hash, "a part has another length"))?,
                        );
                    }
                    Part::Zeros(_) => bytes.resize(bytes.len() + usize::try_from(to - from).unwrap_or(0), 0),
                }
            }
            at += part.len();
        }
        Ok(bytes)
    }

    /// What is to be recorded.
    pub(crate) fn pending(&self) -> impl Iterator<Item = (ContentHash, Location)> + '_ {
        self.pending.iter().map(|(hash, place)| (*hash, *place))
    }

    /// Bytes that were appended and are not recorded.
    pub(crate) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// Bytes of all recorded segments.
    pub(crate) fn recorded_bytes(&self) -> u64 {
        self.recorded_bytes
    }

    /// What is known to be damaged.
    pub(crate) fn damaged(&self) -> &HashSet<ContentHash> {
        &self.damaged
    }

    /// Notes damage; true when it was not known.
    pub(crate) fn note_damaged(&mut self, hash: ContentHash) -> bool {
        self.damaged.insert(hash)
    }

    /// The transaction that recorded everything pending is committed, and with it those of these nodes that were damaged.
    pub(crate) fn recorded(&mut self, nodes: &Nodes) {
        self.packs.recorded();
        self.damaged.retain(|hash| !self.pending.contains_key(hash) && !nodes.contains_key(hash));
        self.pending.clear();
        self.recorded_bytes += self.pending_bytes;
        self.pending_bytes = 0;
    }

    /// A collection has recorded `added` bytes in new places and removed a segment of `removed`.
    pub(crate) fn moved(&mut self, added: u64, removed: u64) {
        self.packs.recorded();
        self.recorded_bytes = (self.recorded_bytes + added).saturating_sub(removed);
    }

    /// Drops everything pending, but leaves what was appended where it is, and never writes over it.
    pub(crate) fn abandon(&mut self) {
        self.packs.abandon();
        self.pending.clear();
        self.pending_bytes = 0;
    }

    /// Drops everything pending, and takes up the segment that rows say is being written to.
    pub(crate) fn forget(&mut self, database: &Database) -> Result<(), ChronicleError> {
        self.packs.forget();
        self.pending.clear();
        self.pending_bytes = 0;
        match rows::segment::writable(database.connection())? {
            Some(segment) => self.packs.resume(segment),
            None => Ok(()),
        }
    }
}

/// Adds zeros to a hash without having them.
pub(crate) fn hash_zeros(hasher: &mut blake3::Hasher, mut len: u64) {
    static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
    // A hole is within a file, and so bounded; a damaged list could say anything.
    len = len.min(FILE_BYTES_MAX);
    while len > 0 {
        let now = len.min(64 * 1024);
        hasher.update(&ZEROS[..usize::try_from(now).unwrap_or(0)]);
        len -= now;
    }
}

/// A list as bytes: a hash of the rest, then each part: its length, and the blob's name or nothing for zeros.
fn write_list(parts: &[Part]) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    for part in parts {
        match part {
            Part::Data(len, hash) => {
                bytes.push(0);
                bytes.extend_from_slice(&u64::from(*len).to_le_bytes());
                bytes.extend_from_slice(hash.as_bytes());
            }
            Part::Zeros(len) => {
                bytes.push(1);
                bytes.extend_from_slice(&len.to_le_bytes());
            }
        }
    }
    let check = blake3::hash(&bytes[32..]);
    bytes[..32].copy_from_slice(check.as_bytes());
    bytes
}

fn read_list(bytes: &[u8]) -> Result<Vec<Part>, &'static str> {
    let (check, mut rest) = bytes.split_first_chunk::<32>().ok_or("its list is cut off")?;
    if blake3::hash(rest).as_bytes() != check {
        return Err("its list has another hash");
    }
    let mut parts = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        let (len, after) = after.split_first_chunk::<8>().ok_or("its list is cut off")?;
        let len = u64::from_le_bytes(*len);
        match kind {
            0 => {
                let (hash, after) = after.split_first_chunk::<32>().ok_or("its list is cut off")?;
                let len = u32::try_from(len).map_err(|_| "a part is too long")?;
                parts.push(Part::Data(len, ContentHash::from_bytes(*hash)));
                rest = after;
            }
            1 if len <= FILE_BYTES_MAX => {
                parts.push(Part::Zeros(len));
                rest = after;
            }
            _ => return Err("its list has an unknown part"),
        }
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_back_and_a_changed_one_is_refused() {
        let parts = [Part::Data(7, ContentHash::of(b"x")), Part::Zeros(1 << 20)];
        let mut bytes = write_list(&parts);
        assert_eq!(read_list(&bytes).unwrap(), parts);
        bytes[40] ^= 1;
        assert!(read_list(&bytes).is_err());
        assert!(read_list(&bytes[..20]).is_err());
    }
}
