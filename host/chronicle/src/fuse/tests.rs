//! A workspace mounted by this process and used as another process would; where the machine does not let it mount, that is said and nothing is shown.
//!
//! What the dirty set was told is held against a scan: after each snapshot of what was told, a look at everything finds nothing new.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use podium_kit::Clock;
use podium_kit::descriptors::Part;
use rustix::fs::{CWD, FileType, Mode, RenameFlags};

use super::{Mount, MountError, MountRequest};
use crate::limits::MOUNT_FILES_SHARE;
use crate::tests::{Bench, SCAN};

/// Descriptors that a mount may use in these tests.
const FILES: usize = 200;

struct Mounted {
    bench: Bench,
    mount: Mount,
    place: PathBuf,
    woken: Arc<AtomicUsize>,
}

impl Mounted {
    /// A mounted workspace; none where there is no FUSE.
    fn new() -> Option<Self> {
        let bench = Bench::new();
        let place = bench.folder.path().join("mount");
        fs::create_dir(&place).unwrap();
        let woken = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&woken);
        let made = Mount::new(MountRequest {
            work: bench.work(),
            place: place.clone(),
            mark: "podium-test".to_owned(),
            dirty: bench.dirty.clone(),
            clock: Clock::system(),
            files: Part::new(FILES),
            history: Box::new(super::past::Nothing),
            wake: Box::new(move || {
                count.fetch_add(1, Ordering::SeqCst);
            }),
        });
        match made {
            Ok(mount) => Some(Self { bench, mount, place, woken }),
            Err(MountError::Unavailable(error)) if !Path::new("/dev/fuse").exists() || !is_root() => {
                eprintln!("no mounts on this machine, so nothing is shown: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    /// A snapshot of what was told misses nothing that a scan finds; true when there was something.
    fn is_cut(&mut self) -> bool {
        let before = self.bench.named.version;
        let told = self.bench.cut();
        let found = self.bench.cut_with(SCAN);
        assert_eq!((found.version, found.root), (told.version, told.root), "{:?}", self.bench.files());
        told.version != before
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.mount.unmount().unwrap();
    }
}

fn comes(mut is_there: impl FnMut() -> bool) -> bool {
    let clock = Clock::system();
    let deadline = clock.monotonic() + Duration::from_secs(10);
    while !is_there() {
        if clock.monotonic() > deadline {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn nothing_that_is_done_through_a_mount_is_missed() {
    let Some(mut m) = Mounted::new() else { return };
    type Step = (&'static str, fn(&Mounted));
    let steps: &[Step] = &[
        ("write", |m| fs::write(m.at("a"), "one").unwrap()),
        ("folders", |m| fs::create_dir_all(m.at("d/e/f")).unwrap()),
        ("write in a folder", |m| fs::write(m.at("d/e/f/g"), "two").unwrap()),
        ("append", |m| OpenOptions::new().append(true).open(m.at("a")).unwrap().write_all(b"more").unwrap()),
        ("truncate", |m| OpenOptions::new().write(true).open(m.at("a")).unwrap().set_len(2).unwrap()),
        ("truncate by name", |m| fs::write(m.at("a"), "").unwrap()),
        ("rights", |m| fs::set_permissions(m.at("d/e"), fs::Permissions::from_mode(0o750)).unwrap()),
        ("times", |m| File::open(m.at("a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap()),
        ("link", |m| std::os::unix::fs::symlink("../a", m.at("d/link")).unwrap()),
        ("hard link", |m| fs::hard_link(m.at("a"), m.at("d/hard")).unwrap()),
        ("write by another name", |m| fs::write(m.at("d/hard"), "by another name").unwrap()),
        ("rename", |m| fs::rename(m.at("a"), m.at("b")).unwrap()),
        ("rename over", |m| {
            fs::write(m.at("c"), "c").unwrap();
            fs::rename(m.at("c"), m.at("b")).unwrap();
        }),
        ("rename a folder", |m| fs::rename(m.at("d"), m.at("h")).unwrap()),
        ("exchange", |m| exchange(&m.at("h"), &m.at("b"))),
        ("exchange back", |m| exchange(&m.at("h"), &m.at("b"))),
        ("remove", |m| fs::remove_file(m.at("h/e/f/g")).unwrap()),
        ("remove a folder", |m| fs::remove_dir(m.at("h/e/f")).unwrap()),
        ("allocate", |m| {
            let file = OpenOptions::new().write(true).open(m.at("b")).unwrap();
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 10_000).unwrap();
        }),
        ("copy within", |m| assert!(fs::copy(m.at("b"), m.at("copy")).unwrap() > 0)),
        ("odd names", |m| {
            for name in [&b"new\nline"[..], b"\xff\xfe", &[b'n'; 255]] {
                fs::write(m.place.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
            }
        }),
        ("everything away", |m| fs::remove_dir_all(m.at("h")).unwrap()),
    ];
    for (what, step) in steps {
        step(&m);
        assert!(m.is_cut(), "{what}");
    }
}

fn exchange(one: &Path, other: &Path) {
    rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn a_file_that_is_open_for_writing_is_in_every_cut_wherever_it_is() {
    let Some(mut m) = Mounted::new() else { return };
    fs::create_dir(m.at("d")).unwrap();
    let mut file = File::create(m.at("d/held")).unwrap();
    for text in ["one", "two"] {
        file.write_all(text.as_bytes()).unwrap();
        assert!(m.is_cut(), "{text}");
    }
    fs::rename(m.at("d"), m.at("e")).unwrap();
    fs::rename(m.at("e/held"), m.at("e/kept")).unwrap();
    file.write_all(b"three").unwrap();
    assert!(m.is_cut());
    file.write_all(b"four").unwrap();
    assert!(m.is_cut());
    assert_eq!(fs::read(m.bench.work().join("e/kept")).unwrap(), b"onetwothreefour");
    // Without a name it goes on, and leaves nothing.
    fs::remove_file(m.at("e/kept")).unwrap();
    file.write_all(b"five").unwrap();
    assert_eq!(file.metadata().unwrap().len(), 19);
    assert_eq!(file.metadata().unwrap().nlink(), 0);
    file.set_len(3).unwrap();
    file.set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
    let mut rest = String::new();
    let mut again = OpenOptions::new().read(true).open(format!("/proc/self/fd/{}", raw(&file))).unwrap();
    again.seek(SeekFrom::Start(0)).unwrap();
    again.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "one");
    drop((file, again));
    assert!(m.is_cut());
}

fn raw(file: &File) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(file)
}

#[test]
fn what_a_version_cannot_hold_can_be_made_and_is_told() {
    let Some(mut m) = Mounted::new() else { return };
    rustix::fs::mknodat(CWD, m.at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    drop(std::os::unix::net::UnixListener::bind(m.at("socket")).unwrap());
    let prepared = m.bench.cut();
    let mut skipped: Vec<String> = prepared.skipped.iter().map(|skipped| skipped.path.to_string()).collect();
    skipped.sort();
    assert_eq!(skipped, ["pipe", "socket"]);
    // No version has extended attributes, so there are none.
    fs::write(m.at("file"), "f").unwrap();
    let set = rustix::fs::setxattr(m.at("file"), "user.a", b"b", rustix::fs::XattrFlags::empty());
    assert_eq!(set.err(), Some(rustix::io::Errno::OPNOTSUPP));
}

#[test]
fn a_closed_mount_is_read_only_and_shows_at_once_what_changes_behind_it() {
    let Some(m) = Mounted::new() else { return };
    fs::write(m.at("a"), "one").unwrap();
    fs::write(m.at("gone"), "soon").unwrap();
    let mut open = OpenOptions::new().append(true).open(m.at("a")).unwrap();
    let reading = File::open(m.at("a")).unwrap();
    assert_eq!(fs::metadata(m.at("gone")).unwrap().len(), 4);
    m.mount.close().unwrap();
    for round in 0..20 {
        assert_eq!(open.write_all(b"!").unwrap_err().raw_os_error(), Some(libc::EROFS));
        for refused in [
            fs::write(m.at("new"), "n").unwrap_err(),
            fs::remove_file(m.at("a")).unwrap_err(),
            fs::create_dir(m.at("d")).unwrap_err(),
            fs::rename(m.at("a"), m.at("b")).unwrap_err(),
            OpenOptions::new().write(true).open(m.at("a")).unwrap_err(),
        ] {
            assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
        }
        open.sync_all().unwrap();
        // What a guest would do.
        let text = format!("round {round}");
        fs::write(m.bench.work().join("a"), &text).unwrap();
        assert_eq!(fs::read_to_string(m.at("a")).unwrap(), text);
        let mut bytes = vec![0; text.len()];
        reading.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(bytes, text.as_bytes());
        fs::rename(m.bench.work().join("gone"), m.bench.work().join("moved")).unwrap();
        assert!(!m.at("gone").exists() && m.at("moved").exists());
        fs::rename(m.bench.work().join("moved"), m.bench.work().join("gone")).unwrap();
        assert!(m.at("gone").exists() && !m.at("moved").exists());
        let mut names: Vec<_> = fs::read_dir(&m.place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "gone"]);
        m.mount.reopen();
        open.write_all(b"!").unwrap();
        fs::write(m.at("b"), "b").unwrap();
        fs::remove_file(m.at("b")).unwrap();
        assert!(fs::read_to_string(m.at("a")).unwrap().ends_with('!'));
        m.mount.close().unwrap();
    }
}

#[test]
fn the_owner_is_told_of_changes_and_of_who_waits_for_a_cut() {
    let Some(m) = Mounted::new() else { return };
    assert_eq!((m.mount.cut_due(), m.woken.load(Ordering::SeqCst)), (None, 0));
    let mut file = File::create(m.at("a")).unwrap();
    file.write_all(b"text").unwrap();
    // The kernel has its answer a moment before the owner is told.
    assert!(comes(|| m.mount.cut_due().is_some() && m.woken.load(Ordering::SeqCst) > 0));
    for is_made in [true, false] {
        let synced = std::thread::scope(|scope| {
            let sync = scope.spawn(|| file.sync_all());
            let mut waiting = Vec::new();
            let came = comes(|| {
                waiting.extend(m.mount.begin_cut().0);
                !waiting.is_empty()
            });
            super::Waiting(waiting).answer(is_made);
            if !came {
                // Nobody else lets that thread go, and this process could not even be killed.
                m.mount.unmount().unwrap();
            }
            assert!(came);
            sync.join().unwrap()
        });
        assert_eq!(synced.is_ok(), is_made);
    }
    m.mount.set_full(true);
    assert_eq!(file.write_all(b"more").unwrap_err().raw_os_error(), Some(libc::EDQUOT));
    assert_eq!(fs::create_dir(m.at("d")).unwrap_err().raw_os_error(), Some(libc::EDQUOT));
    file.set_len(0).unwrap();
    fs::remove_file(m.at("a")).unwrap();
}

#[test]
fn an_ended_mount_answers_nobody_and_holds_nothing() {
    let Some(m) = Mounted::new() else { return };
    let file = File::create(m.at("a")).unwrap();
    m.mount.unmount().unwrap();
    assert!(m.mount.has_ended());
    assert!((&file).write_all(b"x").is_err());
    assert!(file.sync_all().is_err());
    assert!(!m.at("a").exists(), "the place is an empty folder again");
    assert!(m.bench.work().join("a").exists());
    drop(file);
    assert!(!m.bench.dirty.take().held.is_empty() || !m.bench.dirty.is_dirty());
}

#[test]
fn more_files_than_there_are_descriptors_can_be_listed_and_no_more_opened_than_there_are() {
    let Some(m) = Mounted::new() else { return };
    for folder in 0..300 {
        fs::create_dir_all(m.at(&format!("d{folder}/e"))).unwrap();
        fs::write(m.at(&format!("d{folder}/e/f")), format!("{folder}")).unwrap();
    }
    for folder in (0..300).rev() {
        assert_eq!(fs::read_to_string(m.at(&format!("d{folder}/e/f"))).unwrap(), folder.to_string());
    }
    let mut open = Vec::new();
    let refused = loop {
        match File::open(m.at("d0/e/f")) {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.raw_os_error(), Some(libc::ENFILE));
    assert_eq!(open.len(), FILES / MOUNT_FILES_SHARE, "others have agents, too");
    drop(open);
    File::open(m.at("d0/e/f")).unwrap();
}

#[test]
fn a_tree_that_is_too_deep_for_versions_can_be_used_and_removed() {
    let Some(m) = Mounted::new() else { return };
    let depth = 3000;
    let mut at = rustix::fs::open(&m.place, rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let file = rustix::fs::openat(
        &at,
        "deep",
        rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY,
        Mode::RUSR | Mode::WUSR,
    );
    rustix::io::write(file.unwrap(), b"deep").unwrap();
    drop(at);
    // Of those that remove trees, one that needs no descriptor for each folder.
    assert!(std::process::Command::new("rm").arg("-rf").arg(m.at("d")).status().unwrap().success());
    assert_eq!(fs::read_dir(m.bench.work()).unwrap().count(), 0);
}

#[test]
fn only_an_empty_folder_is_a_place_for_a_mount() {
    let Some(m) = Mounted::new() else { return };
    let folder = tempfile::tempdir().unwrap();
    let try_at = |place: PathBuf| {
        Mount::new(MountRequest {
            work: m.bench.work(),
            place,
            mark: "podium-test".to_owned(),
            dirty: m.bench.dirty.clone(),
            clock: Clock::system(),
            files: Part::new(FILES),
            history: Box::new(super::past::Nothing),
            wake: Box::new(|| ()),
        })
        .unwrap_err()
    };
    fs::write(folder.path().join("file"), "f").unwrap();
    for place in [
        folder.path().to_owned(),
        folder.path().join("file"),
        folder.path().join("none"),
        m.place.clone(),
        m.at("in it"),
    ] {
        assert!(matches!(try_at(place.clone()), MountError::Place { .. }), "{place:?}");
    }
}
