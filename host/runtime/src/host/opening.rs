//! Opening what a guest names, beneath its folder.
//!
//! The kernel resolves each path beneath the handle, and nothing waits: a pipe without a writer is opened at once and refused then.
//! Must never hand out anything but files and folders.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timestamps};
use rustix::io::Errno;
use wasmtime_wasi::filesystem::OpenMode;
use wasmtime_wasi::p2::bindings::filesystem::types::{DescriptorFlags, ErrorCode, OpenFlags};

/// How the kernel resolves a guest's path.
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS).union(ResolveFlags::NO_XDEV);

/// Rounds of asking the kernel anew when a rename elsewhere kept it from deciding.
const TRIES: u32 = 16;

/// What new files may be used for, less the process's umask.
const NEW_MODE: Mode =
    Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::WGRP).union(Mode::ROTH).union(Mode::WOTH);

/// The code of a failed call.
pub(super) fn code(error: Errno) -> ErrorCode {
    match error {
        // Out of the folder, or on another file system; a socket.
        Errno::XDEV | Errno::NXIO => ErrorCode::NotPermitted,
        Errno::ROFS => ErrorCode::ReadOnly,
        Errno::DQUOT => ErrorCode::Quota,
        error => ErrorCode::from(std::io::Error::from(error)),
    }
}

/// How something is opened.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    flags: OFlags,
    /// What its handle is good for.
    pub(super) mode: OpenMode,
    /// It is made where it is not there.
    pub(super) create: bool,
    /// And must not be there.
    exclusive: bool,
    /// It is emptied.
    pub(super) truncate: bool,
}

impl How {
    /// As the interface says it.
    pub(super) fn new(follow: bool, open: OpenFlags, flags: DescriptorFlags) -> Result<Self, ErrorCode> {
        if flags.intersects(
            DescriptorFlags::FILE_INTEGRITY_SYNC
                | DescriptorFlags::DATA_INTEGRITY_SYNC
                | DescriptorFlags::REQUESTED_WRITE_SYNC,
        ) {
            return Err(ErrorCode::Unsupported);
        }
        let [create, exclusive, truncate] =
            [OpenFlags::CREATE, OpenFlags::EXCLUSIVE, OpenFlags::TRUNCATE].map(|flag| open.contains(flag));
        let folder = open.contains(OpenFlags::DIRECTORY);
        if folder && (create || exclusive || truncate) {
            return Err(ErrorCode::Invalid);
        }
        let writes = create || truncate || flags.contains(DescriptorFlags::WRITE);
        let reads = flags.contains(DescriptorFlags::READ) || !flags.contains(DescriptorFlags::WRITE);
        let mut how = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        how |= match (reads, writes) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        if folder {
            how |= OFlags::DIRECTORY;
        }
        if !follow {
            how |= OFlags::NOFOLLOW;
        }
        let mut mode = OpenMode::empty();
        mode.set(OpenMode::READ, reads);
        mode.set(OpenMode::WRITE, writes);
        Ok(Self { flags: how, mode, create, exclusive: create && exclusive, truncate })
    }

    /// Whether what is opened so may be another file afterwards.
    pub(super) fn changes(&self) -> bool {
        self.mode.contains(OpenMode::WRITE)
    }

    /// Opens what is there.
    pub(super) fn existing(&self, folder: BorrowedFd<'_>, path: &str) -> Result<Opened, ErrorCode> {
        if self.exclusive {
            // It is only asked whether it is there.
            return match open_at(folder, path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(_) => Err(ErrorCode::Exist),
                Err(error) => Err(code(error)),
            };
        }
        Opened::of(open_at(folder, path, self.flags, Mode::empty()).map_err(code)?, false)
    }

    /// Opens what is there, or makes it.
    pub(super) fn or_make(&self, folder: BorrowedFd<'_>, path: &str) -> Result<Opened, ErrorCode> {
        let make = self.flags | OFlags::CREATE;
        match open_at(folder, path, make | OFlags::EXCL, NEW_MODE) {
            Ok(made) => return Opened::of(made, true),
            Err(Errno::EXIST) if !self.exclusive => {}
            Err(error) => return Err(code(error)),
        }
        match open_at(folder, path, self.flags, Mode::empty()) {
            Ok(there) => Opened::of(there, false),
            // A link to what is not there yet.
            Err(Errno::NOENT) => Opened::of(open_at(folder, path, make, NEW_MODE).map_err(code)?, true),
            Err(error) => Err(code(error)),
        }
    }
}

/// What was opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) stat: Stat,
    pub(super) is_folder: bool,
    /// It was not there before.
    pub(super) made: bool,
}

impl Opened {
    fn of(file: OwnedFd, made: bool) -> Result<Self, ErrorCode> {
        let stat = rustix::fs::fstat(&file).map_err(code)?;
        let is_folder = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::Directory => true,
            // A pipe, a socket, a device: left by somebody else, and nothing that a turn can be replayed with.
            _ => return Err(ErrorCode::NotPermitted),
        };
        Ok(Self { file: File::from(file), stat, is_folder, made })
    }
}

fn open_at(folder: BorrowedFd<'_>, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    for _ in 0..TRIES {
        match rustix::fs::openat2(folder, path, flags, mode, RESOLVE) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Opens what a path leads to, for its place only.
pub(super) fn place_of(folder: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { "." } else { path };
    open_at(folder, path, flags | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// The folder of an entry, where that is another one, and the entry's name in it.
pub(super) fn parent<'p>(folder: BorrowedFd<'_>, path: &'p str) -> Result<(Option<OwnedFd>, &'p str), Errno> {
    let path = path.trim_end_matches('/');
    match path.rsplit_once('/') {
        // An absolute path is refused by the kernel.
        Some((parent, name)) => {
            let parent = if parent.is_empty() { "/" } else { parent };
            Ok((Some(place_of(folder, parent, OFlags::DIRECTORY)?), name))
        }
        None => Ok((None, path)),
    }
}

/// What the system says of an entry; a link is not followed.
pub(super) fn stat_of(folder: BorrowedFd<'_>, path: &str) -> Option<Stat> {
    let (parent, name) = parent(folder, path).ok()?;
    let parent = parent.as_ref().map_or(folder, AsFd::as_fd);
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).ok()
}

/// Removes a file that was just made.
pub(super) fn unmake(folder: BorrowedFd<'_>, path: &str) {
    let removed = parent(folder, path).and_then(|(parent, name)| {
        rustix::fs::unlinkat(parent.as_ref().map_or(folder, AsFd::as_fd), name, AtFlags::empty())
    });
    if let Err(error) = removed {
        // It is found by the next snapshot, which looks at everything then.
        tracing::warn!(%error, "a file that may not be there cannot be removed");
    }
}

/// Sets the times of an open file or folder, also of one that is open for its place only.
pub(super) fn set_times(file: BorrowedFd<'_>, times: &Timestamps) -> Result<(), Errno> {
    rustix::fs::utimensat(rustix::fs::CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), times, AtFlags::empty())
}

/// Sets the times of an entry, or of what it leads to.
pub(super) fn set_times_at(folder: BorrowedFd<'_>, path: &str, follow: bool, times: &Timestamps) -> Result<(), Errno> {
    if follow {
        return set_times(place_of(folder, path, OFlags::empty())?.as_fd(), times);
    }
    if path.ends_with('/') || matches!(path.rsplit('/').next(), Some("" | "." | "..")) {
        // What ends so is a folder, never a link.
        return set_times(place_of(folder, path, OFlags::DIRECTORY)?.as_fd(), times);
    }
    let (parent, name) = parent(folder, path)?;
    rustix::fs::utimensat(parent.as_ref().map_or(folder, AsFd::as_fd), name, times, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn how(open: OpenFlags, flags: DescriptorFlags) -> How {
        How::new(true, open, flags).expect("can be")
    }

    #[test]
    fn nothing_is_opened_that_leads_out_or_waits() {
        let folder = tempfile::tempdir().expect("a folder");
        let work = folder.path().join("work");
        std::fs::create_dir_all(work.join("d")).expect("is made");
        std::fs::write(folder.path().join("secret"), "s").expect("writes");
        for (target, link) in
            [("../secret", "out"), ("/etc/passwd", "absolute"), ("../../secret", "d/out"), ("f", "in"), ("x", "new")]
        {
            std::os::unix::fs::symlink(target, work.join(link)).expect("is made");
        }
        std::fs::write(work.join("f"), "f").expect("writes");
        let at = File::open(&work).expect("opens");
        rustix::fs::mknodat(&at, "pipe", FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("is made");
        let _socket = std::os::unix::net::UnixListener::bind(work.join("socket")).expect("is made");
        let read = how(OpenFlags::empty(), DescriptorFlags::READ);
        let write = how(OpenFlags::CREATE, DescriptorFlags::WRITE);
        for path in ["out", "absolute", "d/out", "../secret", "/etc/passwd", "d/../../secret", "pipe", "socket"] {
            // Returns at once.
            assert!(matches!(read.existing(at.as_fd(), path), Err(ErrorCode::NotPermitted)), "{path}");
            assert!(write.or_make(at.as_fd(), path).is_err(), "{path}");
        }
        assert!(!read.existing(at.as_fd(), "in").expect("opens").is_folder);
        assert!(read.existing(at.as_fd(), "d/..").expect("opens").is_folder);
        assert!(write.or_make(at.as_fd(), "new").expect("opens").made, "what a link leads to is made");
        assert!(!write.or_make(at.as_fd(), "new").expect("opens").made);
        let own = how(OpenFlags::CREATE | OpenFlags::EXCLUSIVE, DescriptorFlags::WRITE);
        assert!(matches!(own.or_make(at.as_fd(), "f"), Err(ErrorCode::Exist)));
        assert!(matches!(own.existing(at.as_fd(), "f"), Err(ErrorCode::Exist)));
        let unfollowed = How::new(false, OpenFlags::empty(), DescriptorFlags::READ).expect("can be");
        assert!(matches!(unfollowed.existing(at.as_fd(), "in"), Err(ErrorCode::Loop)));
    }

    #[test]
    fn times_are_set_of_a_link_or_of_what_it_leads_to() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("f"), "f").expect("writes");
        std::os::unix::fs::symlink("f", folder.path().join("link")).expect("is made");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("out")).expect("is made");
        let at = File::open(folder.path()).expect("opens");
        let time = |tv_sec| rustix::fs::Timespec { tv_sec, tv_nsec: 0 };
        let set = |path, follow, sec| {
            let times = Timestamps { last_access: time(sec), last_modification: time(sec) };
            set_times_at(at.as_fd(), path, follow, &times)
        };
        let seconds = |path| stat_of(at.as_fd(), path).expect("is there").st_mtime;
        set("link", false, 1000).expect("sets");
        assert_eq!(seconds("link"), 1000);
        assert_ne!(seconds("f"), 1000);
        set("link", true, 2000).expect("sets");
        assert_eq!((seconds("link"), seconds("f")), (1000, 2000));
        assert_eq!(set("out", true, 1), Err(Errno::XDEV));
        assert_eq!(set("f/", false, 1), Err(Errno::NOTDIR));
    }
}
