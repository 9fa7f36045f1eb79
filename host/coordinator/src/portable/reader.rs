//! Reads an export, which anybody may have made.
//!
//! Nothing of it is read before every byte was hashed. Memory is bounded by constants; what a caller takes of an entry is the
//! caller's bound. Blocking. Must never take a second form of anything.

use std::io::{BufReader, Read, Seek, SeekFrom, Take};

use podium_wire::portable::{FORMAT, HEAD_MAGIC, TAIL_BYTES, TAIL_MAGIC, TITLE};
use zstd::stream::read::Decoder;

use super::entry::{BLOCK, Head, fill_of, read_head};
use super::{PIECE_BYTES, PortableError, WINDOW_LOG_MAX};

/// Bytes that the first frame may have: a title and a number.
const TITLE_BYTES_MAX: usize = 64;

type Packed<R> = Decoder<'static, BufReader<Take<R>>>;

/// An export that is being read.
pub(super) struct Reader<R: Read> {
    packed: Packed<R>,
    /// The BLAKE3 of the file without its last frame.
    pub(super) digest: [u8; 32],
    left: u64,
    fill: usize,
}

impl<R: Read> std::fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<R: Read + Seek> Reader<R> {
    /// Begins to read a file of which every byte is there.
    pub(super) fn open(mut file: R) -> Result<Self, PortableError> {
        let len = file.seek(SeekFrom::End(0)).map_err(PortableError::Io)?;
        file.rewind().map_err(PortableError::Io)?;
        let begin = read_title(&mut file)?;
        let end = len.checked_sub(TAIL_BYTES as u64).filter(|end| *end > begin);
        let end = end.ok_or(PortableError::NotWhole("it ends too early"))?;
        file.seek(SeekFrom::Start(end)).map_err(PortableError::Io)?;
        let mut tail = [0; TAIL_BYTES];
        file.read_exact(&mut tail).map_err(PortableError::reading)?;
        let (magic, rest) = tail.split_at(4);
        let (size, said) = rest.split_at(4);
        if magic != TAIL_MAGIC || size != 32_u32.to_le_bytes() {
            return Err(PortableError::NotWhole("its end is missing"));
        }
        file.rewind().map_err(PortableError::Io)?;
        let digest = hash(&mut file, end)?;
        if digest != said {
            return Err(PortableError::NotWhole("its bytes were changed"));
        }
        file.seek(SeekFrom::Start(begin)).map_err(PortableError::Io)?;
        let packed = BufReader::with_capacity(PIECE_BYTES, file.take(end - begin));
        let mut packed = Decoder::with_buffer(packed).map_err(PortableError::reading)?.single_frame();
        packed.window_log_max(WINDOW_LOG_MAX).map_err(PortableError::reading)?;
        Ok(Self { packed, digest, left: 0, fill: 0 })
    }
}

impl<R: Read> Reader<R> {
    /// The next entry; none at the end, behind which nothing is. What was not read of the one before is an error.
    pub(super) fn next(&mut self) -> Result<Option<Head>, PortableError> {
        if self.left > 0 {
            return Err(PortableError::malformed("an entry is longer than what is in it"));
        }
        let mut fill = [0; BLOCK];
        let fill = &mut fill[..std::mem::take(&mut self.fill)];
        self.packed.read_exact(fill).map_err(PortableError::reading)?;
        if fill.iter().any(|byte| *byte != 0) {
            return Err(PortableError::malformed("something is between two entries"));
        }
        let packed = &mut self.packed;
        let block = || {
            let mut block = [0; BLOCK];
            packed.read_exact(&mut block).map_err(PortableError::reading)?;
            Ok(block)
        };
        let Some(head) = read_head(block)? else {
            self.check_end()?;
            return Ok(None);
        };
        self.left = head.size;
        self.fill = fill_of(head.size);
        Ok(Some(head))
    }

    /// A whole entry of at most `bytes_max`.
    pub(super) fn whole(&mut self, bytes_max: u64) -> Result<Vec<u8>, PortableError> {
        if self.left > bytes_max {
            return Err(PortableError::malformed("an entry is too long"));
        }
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes).map_err(PortableError::reading)?;
        if self.left > 0 { Err(PortableError::NotWhole("it ends within an entry")) } else { Ok(bytes) }
    }

    /// A line of the entry, without its end; none at the end of the entry.
    pub(super) fn line(&mut self, buffered: &mut Lines, bytes_max: u64) -> Result<Option<Vec<u8>>, PortableError> {
        let mut line = Vec::new();
        loop {
            let rest = &buffered.bytes[buffered.at..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&rest[..end]);
                buffered.at += end + 1;
                return Ok(Some(line));
            }
            line.extend_from_slice(rest);
            if line.len() as u64 > bytes_max {
                return Err(PortableError::malformed("a line is too long"));
            }
            buffered.at = 0;
            buffered.bytes.resize(PIECE_BYTES, 0);
            let read = self.read(&mut buffered.bytes).map_err(PortableError::reading)?;
            buffered.bytes.truncate(read);
            if read == 0 {
                // The last line has an end, too.
                return if line.is_empty() { Ok(None) } else { Err(PortableError::malformed("a line has no end")) };
            }
        }
    }

    /// Behind the first empty block comes a second one, and then nothing at all.
    fn check_end(&mut self) -> Result<(), PortableError> {
        let mut block = [0; BLOCK];
        self.packed.read_exact(&mut block).map_err(PortableError::reading)?;
        let more = self.packed.read(&mut [0]).map_err(PortableError::reading)?;
        let rest = self.packed.get_ref();
        if block != [0; BLOCK] || more > 0 || !rest.buffer().is_empty() || rest.get_ref().limit() > 0 {
            return Err(PortableError::malformed("something is behind its last entry"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Reader<R> {
    /// Bytes of the entry, and never of another.
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let read = self.packed.read(&mut bytes[..wanted])?;
        self.left -= read as u64;
        if read == 0 && wanted > 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}

/// What was read of an entry's lines and not given yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    at: usize,
}

/// Reads the first frame; how many bytes it has.
fn read_title(file: &mut impl Read) -> Result<u64, PortableError> {
    let mut begin = [0; 8];
    let other = || PortableError::Other("it begins as something else");
    file.read_exact(&mut begin).map_err(|error| match error.raw_os_error() {
        Some(_) => PortableError::Io(error),
        None => other(),
    })?;
    let (magic, len) = begin.split_at(4);
    let len = len.try_into().map(u32::from_le_bytes).ok().and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|len| magic == HEAD_MAGIC && *len <= TITLE_BYTES_MAX).ok_or_else(other)?;
    let mut title = [0; TITLE_BYTES_MAX];
    let title = &mut title[..len];
    file.read_exact(title).map_err(PortableError::reading)?;
    let number = std::str::from_utf8(title).ok().and_then(|title| title.strip_prefix(TITLE)?.strip_suffix('\n'));
    let number = number.filter(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_graphic()));
    let number = number.ok_or_else(other)?;
    if number != FORMAT.to_string() {
        return Err(PortableError::Format(number.to_owned()));
    }
    Ok((begin.len() + len) as u64)
}

fn hash(file: &mut impl Read, len: u64) -> Result<[u8; 32], PortableError> {
    let mut hasher = blake3::Hasher::new();
    let (mut piece, mut left) = (vec![0; PIECE_BYTES], len);
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE_BYTES);
        let piece = &mut piece[..wanted];
        file.read_exact(piece).map_err(PortableError::reading)?;
        hasher.update(piece);
        left -= wanted as u64;
    }
    Ok(*hasher.finalize().as_bytes())
}
