//! What is known of one entry of a folder, and what is left out of versions.
//!
//! Only files, folders and symbolic links are kept. Everything else is named with its reason, never opened and never silent.

use rustix::fs::{FileType, Stat};

use crate::path::WorkPath;

/// Permission bits that are kept. Set-id and sticky bits are not: nothing may come back with another's rights.
const KEPT_MODE: u32 = 0o777;

/// What the system counts a file's blocks in.
const BLOCK_BYTES: u64 = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link; its target is kept as it is written.
    Link,
}

impl Kind {
    /// Its word in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Folder => "folder",
            Self::Link => "link",
        }
    }

    /// From its word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::File, Self::Folder, Self::Link].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A time of a file: seconds since the Unix epoch, which a guest may set to anything, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime {
    /// Whole seconds, before 1970 below 0.
    pub seconds: i64,
    /// The rest, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl FileTime {
    /// Nanoseconds since the Unix epoch, as far as 64 bits reach.
    pub fn as_ns(self) -> i64 {
        self.seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanoseconds))
    }
}

/// What the system says of one name, its link not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) kind: Result<Kind, SkipReason>,
    pub(crate) mode: u16,
    pub(crate) size: u64,
    /// Bytes that it takes of the disk: no holes, and what was allocated ahead.
    pub(crate) disk: u64,
    pub(crate) mtime: FileTime,
    pub(crate) ctime: FileTime,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) nlink: u64,
}

impl Meta {
    /// From the system's answer, whose fields differ in width between machines.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the widths differ between machines")]
    pub(crate) fn of(stat: &Stat) -> Self {
        let time = |seconds: i64, nanoseconds: u64| FileTime {
            seconds,
            nanoseconds: u32::try_from(nanoseconds).unwrap_or(0).min(999_999_999),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Kind::File),
            FileType::Directory => Ok(Kind::Folder),
            FileType::Symlink => Ok(Kind::Link),
            FileType::Fifo => Err(SkipReason::Fifo),
            FileType::Socket => Err(SkipReason::Socket),
            FileType::BlockDevice | FileType::CharacterDevice => Err(SkipReason::Device),
            _ => Err(SkipReason::Unknown),
        };
        Self {
            kind,
            mode: u16::try_from(stat.st_mode & KEPT_MODE).unwrap_or(0),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            disk: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(BLOCK_BYTES),
            mtime: time(stat.st_mtime as i64, stat.st_mtime_nsec as u64),
            ctime: time(stat.st_ctime as i64, stat.st_ctime_nsec as u64),
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            nlink: stat.st_nlink as u64,
        }
    }

    pub(crate) fn stamp(&self) -> Stamp {
        Stamp { ino: self.ino, size: self.size, mtime: self.mtime, ctime: self.ctime, mode: self.mode }
    }
}

/// What cannot stay the same when a file's content changes, where the system's times are sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) mtime: FileTime,
    pub(crate) ctime: FileTime,
    pub(crate) mode: u16,
}

/// Why an entry is left out of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SkipReason {
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A block or character device.
    Device,
    /// A file of more bytes than [`crate::Limits::file_bytes`].
    TooBig,
    /// It lies in more folders than [`crate::Limits::depth`].
    TooDeep,
    /// Its path has more than [`crate::limits::PATH_BYTES_MAX`] bytes.
    PathTooLong,
    /// Something is mounted there.
    OtherFileSystem,
    /// Its permissions keep the host from reading it.
    Unreadable,
    /// It is named as the tree of the history is, [`crate::VIEW_NAME`] at the workspace's root.
    Reserved,
    /// The owner's `.chronicleignore` names it.
    Ignored,
    /// A kind that this host does not know.
    Unknown,
}

impl SkipReason {
    const ALL: [Self; 11] = [
        Self::Fifo,
        Self::Socket,
        Self::Device,
        Self::TooBig,
        Self::TooDeep,
        Self::PathTooLong,
        Self::OtherFileSystem,
        Self::Unreadable,
        Self::Reserved,
        Self::Ignored,
        Self::Unknown,
    ];

    /// Its word in JSON and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Device => "device",
            Self::TooBig => "too_big",
            Self::TooDeep => "too_deep",
            Self::PathTooLong => "path_too_long",
            Self::OtherFileSystem => "other_file_system",
            Self::Unreadable => "unreadable",
            Self::Reserved => "reserved",
            Self::Ignored => "ignored",
            Self::Unknown => "unknown",
        }
    }

    /// From its word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }
}

/// An entry that is left out of versions and stays in the workspace as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Where; of one that is too deep or too long, the deepest folder that is not.
    pub path: WorkPath,
    /// Why.
    pub reason: SkipReason,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that it takes of the disk, and of the workspace's limit.
    pub disk: u64,
    /// When it was last written.
    pub mtime: FileTime,
    /// Entries that it is: 1, and of a folder that is left out with everything in it those, too.
    pub entries: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for reason in SkipReason::ALL {
            assert_eq!(SkipReason::from_word(reason.as_str()), Some(reason));
        }
        for kind in [Kind::File, Kind::Folder, Kind::Link] {
            assert_eq!(Kind::from_word(kind.as_str()), Some(kind));
        }
        assert!(FileTime { seconds: i64::MAX, nanoseconds: 1 }.as_ns() == i64::MAX);
    }
}
