//! What the system says of a file, in the words of the protocol and back.
//!
//! Decides nothing. Must never lose an inode's number: programs compare it between `stat` and `readdir`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{Errno as Answer, FileAttr, FileType, INodeNo, TimeOrNow};
use rustix::fs::{AtFlags, Dev, Statx, StatxFlags, StatxTimestamp, Timespec};
use rustix::io::Errno;

use super::table::{Identity, Seen};

/// What is asked of every file.
const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

/// What the system says of a name; a link is not followed.
pub(super) fn stat_in(folder: impl std::os::fd::AsFd, name: &[u8]) -> Result<Statx, Errno> {
    rustix::fs::statx(folder, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, WANTED)
}

/// What the system says of an open file.
pub(super) fn stat_of(file: impl std::os::fd::AsFd) -> Result<Statx, Errno> {
    rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, WANTED)
}

/// Which inode that is.
pub(super) fn identity(stat: &Statx) -> Identity {
    let born = &stat.stx_btime;
    // A number comes back at the earliest when its file is gone; two births of it are never at the same time.
    let generation = (born.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(u64::from(born.tv_nsec));
    Identity { ino: stat.stx_ino, generation }
}

/// What must have changed when the content has.
pub(super) fn seen(stat: &Statx) -> Seen {
    let time = |time: &StatxTimestamp| (time.tv_sec, time.tv_nsec);
    Seen { size: stat.stx_size, mtime: time(&stat.stx_mtime), ctime: time(&stat.stx_ctime) }
}

/// The device that it is on.
pub(super) fn device(stat: &Statx) -> (u32, u32) {
    (stat.stx_dev_major, stat.stx_dev_minor)
}

/// True for a folder.
pub(super) fn is_folder(stat: &Statx) -> bool {
    kind(u32::from(stat.stx_mode)) == FileType::Directory
}

/// True for a regular file.
pub(super) fn is_file(stat: &Statx) -> bool {
    kind(u32::from(stat.stx_mode)) == FileType::RegularFile
}

/// As the protocol has it.
pub(super) fn attr(stat: &Statx) -> FileAttr {
    FileAttr {
        ino: INodeNo(stat.stx_ino),
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        atime: system_time(&stat.stx_atime),
        mtime: system_time(&stat.stx_mtime),
        ctime: system_time(&stat.stx_ctime),
        crtime: UNIX_EPOCH,
        kind: kind(u32::from(stat.stx_mode)),
        perm: stat.stx_mode & 0o7777,
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: encoded(stat.stx_rdev_major, stat.stx_rdev_minor),
        blksize: stat.stx_blksize,
        flags: 0,
    }
}

/// What a mode says a file is.
pub(super) fn kind(mode: u32) -> FileType {
    match rustix::fs::FileType::from_raw_mode(mode) {
        rustix::fs::FileType::Directory => FileType::Directory,
        rustix::fs::FileType::Symlink => FileType::Symlink,
        rustix::fs::FileType::Fifo => FileType::NamedPipe,
        rustix::fs::FileType::Socket => FileType::Socket,
        rustix::fs::FileType::CharacterDevice => FileType::CharDevice,
        rustix::fs::FileType::BlockDevice => FileType::BlockDevice,
        _ => FileType::RegularFile,
    }
}

/// A device's number as the protocol writes it.
fn encoded(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

/// A device's number from the protocol.
pub(super) fn decoded(device: u32) -> Dev {
    rustix::fs::makedev((device & 0xf_ff00) >> 8, (device & 0xff) | ((device >> 12) & 0xf_ff00))
}

fn system_time(time: &StatxTimestamp) -> SystemTime {
    let whole = Duration::from_secs(time.tv_sec.unsigned_abs());
    let second = if time.tv_sec >= 0 { UNIX_EPOCH.checked_add(whole) } else { UNIX_EPOCH.checked_sub(whole) };
    second.and_then(|second| second.checked_add(Duration::from_nanos(u64::from(time.tv_nsec)))).unwrap_or(UNIX_EPOCH)
}

/// A time that is to be set.
pub(super) fn timespec(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT as _ },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW as _ },
        Some(TimeOrNow::SpecificTime(time)) => match time.duration_since(UNIX_EPOCH) {
            Ok(since) => Timespec { tv_sec: seconds(since), tv_nsec: since.subsec_nanos().into() },
            Err(before) => {
                let before = before.duration();
                // Nanoseconds count upwards, before 1970 too.
                let (down, up) = match before.subsec_nanos() {
                    0 => (0, 0),
                    nanos => (1, 1_000_000_000 - nanos),
                };
                Timespec { tv_sec: -seconds(before) - down, tv_nsec: up.into() }
            }
        },
    }
}

fn seconds(of: Duration) -> i64 {
    i64::try_from(of.as_secs()).unwrap_or(i64::MAX - 1)
}

/// The system's error, as the protocol has it.
pub(super) fn answer(error: Errno) -> Answer {
    Answer::from_i32(error.raw_os_error())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn devices_and_times_come_back_as_they_went(major in 0..4096_u32, minor in 0..0xf_ffff_u32, seconds in -5_000_000_000..5_000_000_000_i64, nanos in 0..1_000_000_000_u32) {
            let device = decoded(encoded(major, minor));
            prop_assert_eq!((rustix::fs::major(device), rustix::fs::minor(device)), (major, minor));
            let stamp = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
            let whole = Duration::from_secs(seconds.unsigned_abs());
            let second = if seconds >= 0 { UNIX_EPOCH + whole } else { UNIX_EPOCH - whole };
            let time = second + Duration::from_nanos(u64::from(nanos));
            let set = timespec(Some(TimeOrNow::SpecificTime(time)));
            prop_assert_eq!((set.tv_sec, set.tv_nsec), (stamp.tv_sec, stamp.tv_nsec));
        }
    }
}
