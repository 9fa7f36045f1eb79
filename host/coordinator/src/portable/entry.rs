//! The head of an entry as blocks of a tar, and back. Pure.
//!
//! A head has exactly one form, and reading takes no other: what a reader would have to interpret (sparse files, hard links, devices, owners,
//! names that come twice) cannot be said in it.

use podium_chronicle::{FileTime, Kind};
use tar::{EntryType, Header};

use super::PortableError;

/// Bytes of a block.
pub(super) const BLOCK: usize = 512;

/// Bytes of a name that its block has room for; a longer one comes before it in an entry of its own, as GNU tar has it.
const NAME_BYTES: usize = 100;

/// Bytes of such an entry: a path of 4,095 bytes behind its prefix, or a link's target.
const SPECIAL_BYTES_MAX: u64 = 4096 + 64;

/// What those entries are called.
const LONG_NAME: &[u8] = b"././@LongLink";
const PAX_NAME: &[u8] = b"././@PaxHeader";

/// An entry without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// Its whole name, without a slash at the end.
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// Permission bits.
    pub(super) mode: u16,
    /// Bytes of a file; 0 for others.
    pub(super) size: u64,
    /// Of a file.
    pub(super) mtime: FileTime,
    /// Of a link.
    pub(super) target: Vec<u8>,
}

impl Head {
    /// A file that is part of the export itself.
    pub(super) fn own(name: &[u8], size: u64) -> Self {
        Self {
            name: name.to_vec(),
            kind: Kind::File,
            mode: 0o644,
            size,
            mtime: FileTime::default(),
            target: Vec::new(),
        }
    }

    /// Its blocks.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut blocks = Vec::new();
        let is_file = self.kind == Kind::File;
        // The block has whole seconds from the epoch on.
        let seconds = u64::try_from(self.mtime.seconds).ok().filter(|_| is_file);
        if is_file && (seconds.is_none() || self.mtime.nanoseconds != 0) {
            special(&mut blocks, EntryType::XHeader, PAX_NAME, &mtime_record(self.mtime));
        }
        if self.target.len() > NAME_BYTES {
            special(&mut blocks, EntryType::GNULongLink, LONG_NAME, &[&self.target[..], &[0]].concat());
        }
        let mut name = self.name.clone();
        if self.kind == Kind::Folder {
            name.push(b'/');
        }
        if name.len() > NAME_BYTES {
            special(&mut blocks, EntryType::GNULongName, LONG_NAME, &[&name[..], &[0]].concat());
        }
        let kind = match self.kind {
            Kind::File => EntryType::Regular,
            Kind::Folder => EntryType::Directory,
            Kind::Link => EntryType::Symlink,
        };
        let size = if is_file { self.size } else { 0 };
        block(&mut blocks, kind, &name, &self.target, u32::from(self.mode), size, seconds.unwrap_or(0));
        blocks
    }
}

/// Bytes that fill the last block of so many.
pub(super) fn fill_of(size: u64) -> usize {
    let block = BLOCK as u64;
    usize::try_from((block - size % block) % block).unwrap_or(0)
}

fn special(blocks: &mut Vec<u8>, kind: EntryType, name: &[u8], content: &[u8]) {
    block(blocks, kind, name, &[], 0o644, content.len() as u64, 0);
    blocks.extend_from_slice(content);
    blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
}

fn block(blocks: &mut Vec<u8>, kind: EntryType, name: &[u8], target: &[u8], mode: u32, size: u64, seconds: u64) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    header.set_mtime(seconds);
    let old = header.as_old_mut();
    fill(&mut old.name, name);
    fill(&mut old.linkname, target);
    header.set_cksum();
    blocks.extend_from_slice(header.as_bytes());
}

fn fill(field: &mut [u8; NAME_BYTES], bytes: &[u8]) {
    let len = bytes.len().min(NAME_BYTES);
    field[..len].copy_from_slice(&bytes[..len]);
}

/// A record of a pax header: its own length, a key and a value.
fn mtime_record(time: FileTime) -> Vec<u8> {
    let nanoseconds = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    let said = format!(" mtime={sign}{}.{:09}\n", size / 1_000_000_000, size % 1_000_000_000);
    // Its length has two digits, whatever the time is.
    format!("{}{said}", said.len() + 2).into_bytes()
}

fn read_mtime(record: &[u8]) -> Option<FileTime> {
    let said = std::str::from_utf8(record).ok()?.split_once(" mtime=")?.1.strip_suffix('\n')?;
    let (sign, size) = said.strip_prefix('-').map_or((1, said), |size| (-1, size));
    let (seconds, nanoseconds) = size.split_once('.')?;
    let (seconds, nanoseconds): (u64, u32) = (seconds.parse().ok()?, nanoseconds.parse().ok()?);
    let all = sign * (i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds));
    Some(FileTime {
        seconds: i64::try_from(all.div_euclid(1_000_000_000)).ok()?,
        nanoseconds: u32::try_from(all.rem_euclid(1_000_000_000)).ok()?,
    })
}

/// Reads the head of the next entry with `next`, which gives one block after the other; none at the end of the archive.
pub(super) fn read_head(
    mut next: impl FnMut() -> Result<[u8; BLOCK], PortableError>,
) -> Result<Option<Head>, PortableError> {
    let mut raw = Vec::new();
    let (mut mtime, mut name, mut target) = (None, None, None);
    // At most three come before the entry itself, or they are not in the one form.
    for _ in 0..4 {
        let block = next()?;
        if raw.is_empty() && block == [0; BLOCK] {
            return Ok(None);
        }
        raw.extend_from_slice(&block);
        let header = Header::from_byte_slice(&block);
        let (kind, size) = (header.entry_type(), header.entry_size().map_err(|_| not_ours("a size is none"))?);
        let place = match kind {
            EntryType::XHeader => &mut mtime,
            EntryType::GNULongLink => &mut target,
            EntryType::GNULongName => &mut name,
            _ => {
                let head = head_of(header, kind, size, mtime.as_deref(), name, target)?;
                // All that was not looked at, and the order of what was, is in this.
                return if head.encode() == raw { Ok(Some(head)) } else { Err(not_ours("an entry has another form")) };
            }
        };
        if size > SPECIAL_BYTES_MAX || place.is_some() {
            return Err(not_ours("a name is too long, or comes twice"));
        }
        let mut content = Vec::new();
        let size = usize::try_from(size).unwrap_or(0);
        while content.len() < size {
            content.extend_from_slice(&next()?);
        }
        raw.extend_from_slice(&content);
        content.truncate(size);
        *place = Some(content);
    }
    Err(not_ours("an entry has another form"))
}

fn head_of(
    header: &Header,
    kind: EntryType,
    size: u64,
    mtime: Option<&[u8]>,
    name: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
) -> Result<Head, PortableError> {
    let kind = match kind {
        EntryType::Regular => Kind::File,
        EntryType::Directory => Kind::Folder,
        EntryType::Symlink => Kind::Link,
        _ => return Err(not_ours("an entry is no file, folder or link")),
    };
    let old = header.as_old();
    let mut name = name.map_or_else(|| filled(&old.name), without_nul);
    if kind == Kind::Folder && name.pop() != Some(b'/') {
        return Err(not_ours("a folder has a file's name"));
    }
    let target = target.map_or_else(|| filled(&old.linkname), without_nul);
    let mode = header.mode().ok().and_then(|mode| u16::try_from(mode).ok()).filter(|mode| mode & !0o777 == 0);
    let mtime = match mtime {
        Some(record) => read_mtime(record),
        None => header
            .mtime()
            .ok()
            .and_then(|seconds| i64::try_from(seconds).ok())
            .map(|seconds| FileTime { seconds, nanoseconds: 0 }),
    };
    let (Some(mode), Some(mtime)) = (mode, mtime) else { return Err(not_ours("permissions or a time are none")) };
    Ok(Head { name, kind, mode, size, mtime, target })
}

/// A field up to its first NUL.
fn filled(field: &[u8; NAME_BYTES]) -> Vec<u8> {
    field.iter().copied().take_while(|byte| *byte != 0).collect()
}

fn without_nul(mut name: Vec<u8>) -> Vec<u8> {
    name.pop();
    name
}

fn not_ours(what: &str) -> PortableError {
    PortableError::malformed(what)
}
