//! Writes an export: entries in, packed bytes out. Pure; it takes time for what it packs.
//!
//! The same entries always give the same bytes. Must never end a file whose entries are not complete.

use std::io::{self, Write};

use podium_wire::portable::{FORMAT, HEAD_MAGIC, TAIL_MAGIC, TITLE};
use zstd::stream::write::Encoder;

use super::entry::{BLOCK, Head, fill_of};

/// zstd's own default: a file is written once and travels.
const LEVEL: i32 = 3;

/// A file that is being written.
pub(super) struct Writer {
    packed: Encoder<'static, Out>,
    /// Bytes that the last entry still has to get, and that fill its last block.
    left: u64,
    fill: usize,
}

/// What was written and is not taken, and the hash of all that was written.
struct Out {
    bytes: Vec<u8>,
    hash: blake3::Hasher,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("left", &self.left).finish_non_exhaustive()
    }
}

impl Writer {
    /// A file without entries.
    pub(super) fn new() -> io::Result<Self> {
        let mut out = Out { bytes: Vec::new(), hash: blake3::Hasher::new() };
        out.write_all(&skippable(HEAD_MAGIC, format!("{TITLE}{FORMAT}\n").as_bytes()))?;
        Ok(Self { packed: Encoder::new(out, LEVEL)?, left: 0, fill: 0 })
    }

    /// Begins an entry; the one before it has to be complete.
    pub(super) fn entry(&mut self, head: &Head) -> io::Result<()> {
        self.end_entry()?;
        self.packed.write_all(&head.encode())?;
        self.left = head.size;
        self.fill = fill_of(head.size);
        Ok(())
    }

    /// The next bytes of the entry.
    pub(super) fn content(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| io::Error::other("an entry has more bytes than it said"))?;
        self.packed.write_all(bytes)
    }

    fn end_entry(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("an entry has fewer bytes than it said"));
        }
        self.packed.write_all(&[0; BLOCK][..std::mem::take(&mut self.fill)])
    }

    /// Takes what is packed by now.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.packed.get_mut().bytes)
    }

    /// Ends the file: its last bytes.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.end_entry()?;
        self.packed.write_all(&[0; 2 * BLOCK])?;
        let Out { mut bytes, hash } = self.packed.finish()?;
        bytes.extend_from_slice(&skippable(TAIL_MAGIC, hash.finalize().as_bytes()));
        Ok(bytes)
    }
}

/// A frame that programs which know nothing of it pass over.
fn skippable(magic: [u8; 4], content: &[u8]) -> Vec<u8> {
    let len = u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes();
    [&magic[..], &len[..], content].concat()
}
