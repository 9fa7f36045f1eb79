//! A version that is walked and comes in elsewhere: the same tree, whatever its pieces were, and nothing else ever.

use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use proptest::prelude::*;

use super::{Bench, Home, SCAN, path};
use crate::limits::{OBJECT_BYTES_MAX, WHOLE_BYTES};
use crate::{
    ChronicleError, ContentHash, FileTime, Incoming, IncomingError, Kind, Limits, Named, Place, Walk, Walked,
    WalkedEntry, WorkPath, empty_root,
};

const NOW_MS: u64 = 1_800_000_000_000;

/// What a walk gives in pieces of at most so much, each file with its whole content.
fn walked(bench: &mut Bench, root: ContentHash, bytes: usize, entries: usize) -> Vec<(WalkedEntry, Vec<u8>)> {
    let mut walk = Walk::of(root);
    let mut found: Vec<(WalkedEntry, Vec<u8>)> = Vec::new();
    while !walk.is_over() {
        let (next, piece) = bench.get().walk(walk, bytes, entries).unwrap();
        walk = next;
        assert!(piece.iter().filter(|walked| matches!(walked, Walked::Entry(_))).count() <= entries);
        for walked in piece {
            match walked {
                Walked::Entry(entry) => found.push((entry, Vec::new())),
                Walked::Content(content) => {
                    assert!(content.len() <= bytes.min(OBJECT_BYTES_MAX));
                    found.last_mut().unwrap().1.extend(content);
                }
            }
        }
    }
    found
}

/// An instance's folder, with nothing of a workspace in it.
fn nobody() -> (tempfile::TempDir, Place) {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::new(folder.path().join("chronicle"));
    (folder, place)
}

fn take(incoming: &mut Incoming, (entry, content): &(WalkedEntry, Vec<u8>)) -> Result<(), IncomingError> {
    match entry.kind {
        Kind::Folder => incoming.folder(&entry.path, entry.mode),
        Kind::Link => incoming.link(&entry.path, entry.mode, &entry.target),
        Kind::File => {
            incoming.file(&entry.path, entry.mode, entry.mtime, entry.size, &mut Cursor::new(content.as_slice()))
        }
    }
}

fn taken(entries: &[(WalkedEntry, Vec<u8>)], root: ContentHash, limits: Limits) -> Result<Bench, IncomingError> {
    let (folder, place) = nobody();
    let mut incoming = Incoming::begin(place, limits, NOW_MS)?;
    entries.iter().try_for_each(|entry| take(&mut incoming, entry))?;
    incoming.finish(root)?;
    Ok(Bench::closed(Home::Own(folder), Named { cut: 1, version: 1, root: Some(root) }))
}

fn assert_whole(bench: &mut Bench, files: &super::Files) {
    let opened = bench.open();
    assert_eq!((opened.created, opened.recovered, opened.damaged_segments), (false, None, Vec::new()));
    bench.assert_at_head();
    assert_eq!(&bench.files(), files);
    let checked = bench.get().fsck().unwrap();
    assert_eq!((checked.faults, checked.database), (Vec::new(), None));
    assert_eq!(bench.get().changes(0, 1000).unwrap().len(), files.len().min(1000));
    // It goes on as any other.
    bench.write("goes on", "x");
    bench.cut();
    bench.open();
    bench.assert_at_head();
    bench.get().collect(&crate::Retention::default(), u64::MAX).unwrap();
    assert_eq!(bench.get().fsck().unwrap().faults, Vec::new());
}

/// Bytes that no compressor makes smaller.
fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    };
    std::iter::repeat_with(next).take(len).collect()
}

#[test]
fn everything_that_a_workspace_may_hold_comes_in_as_it_was() {
    let mut bench = Bench::new();
    bench.write("empty", "");
    bench.write("whole", noise(WHOLE_BYTES, 1));
    bench.write("large", noise(3 * WHOLE_BYTES + 5, 2));
    bench.write("d/e/f/deep", "deep");
    std::fs::create_dir(bench.work().join("d/nothing")).unwrap();
    let work = bench.work();
    let odd = |name: &[u8]| work.join(std::ffi::OsStr::from_bytes(name));
    std::fs::write(odd(b"new\nline"), "1").unwrap();
    std::fs::write(odd(b"\xff\xfe"), "2").unwrap();
    std::fs::write(odd(&[b'n'; 255]), "3").unwrap();
    for target in ["/etc/passwd", "../../out", "d", &"t".repeat(4000)] {
        std::os::unix::fs::symlink(target, work.join(format!("link-{}", target.len()))).unwrap();
    }
    // A hole of many chunks, with an island.
    let holes = std::fs::File::create(work.join("holes")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"island", 20 << 20).unwrap();
    holes.set_len(40 << 20).unwrap();
    std::fs::set_permissions(work.join("whole"), std::fs::Permissions::from_mode(0o751)).unwrap();
    std::fs::set_permissions(work.join("d/e"), std::fs::Permissions::from_mode(0o500)).unwrap();
    let ago = std::time::UNIX_EPOCH - std::time::Duration::new(5, 999_999_993);
    std::fs::File::open(work.join("empty")).unwrap().set_modified(ago).unwrap();
    // A folder of several nodes.
    for n in 0..700 {
        std::fs::create_dir_all(work.join("many")).unwrap();
        std::fs::write(work.join(format!("many/{n}")), n.to_string()).unwrap();
    }
    let prepared = bench.cut_with(SCAN);
    let files = bench.files();
    let all = walked(&mut bench, prepared.root, 1 << 20, 1000);
    assert_eq!(all, walked(&mut bench, prepared.root, 777, 3), "whatever the pieces are");
    let mut other = taken(&all, prepared.root, Limits::default()).unwrap();
    assert_whole(&mut other, &files);
    let holes = other.work().join("holes").metadata().unwrap();
    assert!(holes.blocks() * 512 < 1 << 20, "{} blocks of a file of holes", holes.blocks());
    // And out again.
    assert_eq!(walked(&mut other, prepared.root, 1 << 20, 1000), all);
    std::fs::set_permissions(bench.work().join("d/e"), std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::set_permissions(other.work().join("d/e"), std::fs::Permissions::from_mode(0o700)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_comes_in_as_it_was(
        files in prop::collection::btree_map("[abA./-]{1,3}(/[abA-]{1,2}){0,3}", prop::collection::vec(any::<u8>(), 0..300), 0..25),
        bytes in 1..2000_usize,
        entries in 1..10_usize,
    ) {
        let mut bench = Bench::new();
        for (name, content) in &files {
            // A name that a folder has, or the reverse, is left out.
            let file = bench.work().join(name.trim_matches('/'));
            let _ = std::fs::create_dir_all(file.parent().unwrap());
            let _ = std::fs::write(file, content);
        }
        let prepared = bench.cut_with(SCAN);
        let files = bench.files();
        let all = walked(&mut bench, prepared.root, bytes, entries);
        let mut other = taken(&all, prepared.root, Limits::default()).unwrap();
        if prepared.root != empty_root() {
            assert_whole(&mut other, &files);
        }
    }
}

fn entry(name: &str, kind: Kind) -> (WalkedEntry, Vec<u8>) {
    named(path(name), kind)
}

fn named(path: WorkPath, kind: Kind) -> (WalkedEntry, Vec<u8>) {
    let (size, target) = match kind {
        Kind::File => (1, Vec::new()),
        Kind::Link => (0, b"to".to_vec()),
        Kind::Folder => (0, Vec::new()),
    };
    (WalkedEntry { path, kind, mode: 0o644, size, mtime: FileTime::default(), target }, vec![b'x'; size as usize])
}

#[test]
fn what_no_walk_gives_is_refused() {
    let (file, folder, link) =
        (|name| entry(name, Kind::File), |name| entry(name, Kind::Folder), |name| entry(name, Kind::Link));
    let changed = |change: fn(&mut (WalkedEntry, Vec<u8>))| {
        let mut entry = file("a");
        change(&mut entry);
        entry
    };
    let hostile = [
        vec![file("a"), file("a")],
        vec![file("b"), file("a")],
        vec![folder("a"), file("a")],
        vec![folder("a"), folder("a")],
        // In what is a file, a link, or nothing.
        vec![file("a"), file("a/b")],
        vec![link("a"), file("a/b")],
        vec![link("a"), folder("a/b")],
        vec![file("a/b")],
        vec![folder("a"), file("a/b"), file("b"), file("a/c")],
        vec![folder("a"), folder("a/b"), file("c"), file("a/b/d")],
        vec![named(WorkPath::root(), Kind::Folder)],
        vec![file(".chronicle")],
        vec![folder(".chronicle"), file(".chronicle/at")],
        vec![changed(|(entry, _)| entry.mode = 0o4755)],
        vec![changed(|(entry, _)| entry.mtime.nanoseconds = 1_000_000_000)],
        vec![changed(|(entry, _)| entry.size = Limits::default().file_bytes + 1)],
        vec![changed(|(entry, _)| entry.size = u64::MAX)],
        vec![entry("a", Kind::Link)]
            .into_iter()
            .map(|(entry, _)| (WalkedEntry { target: vec![0], ..entry }, vec![]))
            .collect(),
        vec![entry("a", Kind::Link)]
            .into_iter()
            .map(|(entry, _)| (WalkedEntry { target: vec![], ..entry }, vec![]))
            .collect(),
        vec![entry("a", Kind::Link)]
            .into_iter()
            .map(|(entry, _)| (WalkedEntry { target: vec![b'a'; 4096], ..entry }, vec![]))
            .collect(),
        // Others than were promised, or none.
        vec![file("a")],
        vec![],
    ];
    for entries in hostile {
        let refused = taken(&entries, ContentHash::of(b"another"), Limits::default()).map(drop);
        assert!(matches!(refused, Err(IncomingError::Refused { .. })), "{entries:?}: {refused:?}");
    }
    for (size, len) in [(2, 1), (WHOLE_BYTES * 2, WHOLE_BYTES)] {
        let mut short = file("a");
        (short.0.size, short.1) = (size as u64, vec![7; len]);
        let refused = taken(&[short], ContentHash::of(b"x"), Limits::default()).map(drop);
        assert!(matches!(refused, Err(IncomingError::Read(_))), "{refused:?}");
    }
}

#[test]
fn more_than_a_workspace_may_hold_is_refused_before_it_is_stored() {
    let limits = Limits { workspace_bytes: 10, workspace_entries: 5, workspace_path_bytes: 100, ..Limits::default() };
    let files = |count: usize, size: u64, name: usize| -> Vec<(WalkedEntry, Vec<u8>)> {
        let name = |n| format!("{n:0>name$}");
        let file = |n| {
            let mut file = entry(&name(n), Kind::File);
            (file.0.size, file.1) = (size, vec![7; size as usize]);
            file
        };
        (0..count).map(file).collect()
    };
    for (count, size, name) in [(6, 1, 2), (3, 5, 2), (1, 1 << 20, 2), (3, 1, 60)] {
        let refused = taken(&files(count, size, name), ContentHash::of(b"x"), limits).map(drop);
        let is_limit = matches!(refused, Err(IncomingError::Store(ChronicleError::OverLimit { .. })));
        assert!(is_limit, "{count} of {size} bytes: {refused:?}");
    }
    // The history counts, too.
    let small = Limits { store_bytes: 2 << 20, ..Limits::default() };
    let mut large = entry("a", Kind::File);
    (large.0.size, large.1) = (4 << 20, noise(4 << 20, 5));
    let refused = taken(&[large], ContentHash::of(b"x"), small).map(drop);
    assert!(matches!(refused, Err(IncomingError::Store(ChronicleError::OverLimit { .. }))), "{refused:?}");
}

#[test]
fn damage_is_told_with_its_path() {
    let mut bench = Bench::new();
    bench.write("a", "sound");
    bench.write("d/damaged", noise(5000, 9));
    let prepared = bench.cut();
    for segment in std::fs::read_dir(bench.metadata().join("cas")).unwrap() {
        let file = segment.unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        let len = bytes.len();
        bytes[len - 100] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }
    let mut walk = Walk::of(prepared.root);
    let error = loop {
        match bench.get().walk(walk, 1 << 20, 1) {
            Ok((next, _)) => walk = next,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), podium_wire::ErrorCode::ContentDamaged, "{error}");
    assert!(error.to_string().contains("d/damaged"), "{error}");
}

#[test]
fn what_is_walked_is_not_collected_meanwhile() {
    let mut bench = Bench::new();
    bench.write("a", noise(5000, 3));
    let first = bench.cut();
    bench.write("a", noise(5000, 4));
    bench.cut();
    bench.write("a", noise(5000, 5));
    bench.cut();
    let newest = crate::Retention { all_ms: 0, newest: 1, hourly_ms: 0, daily_ms: 0, recovered: 0 };
    let until = bench.clock.now_ms() + 10_000;
    let (left_out, totals) = bench.get().hold(first.version, first.root, "export:1", until).unwrap();
    assert_eq!((left_out, totals.entries, totals.bytes), (Vec::new(), 1, 5000));
    bench.get().collect(&newest, u64::MAX).unwrap();
    assert_eq!(walked(&mut bench, first.root, 1 << 20, 10)[0].1, noise(5000, 3));
    bench.get().release("export:1").unwrap();
    bench.get().collect(&newest, u64::MAX).unwrap();
    let gone = bench.get().hold(first.version, first.root, "export:2", until).map(drop);
    assert!(matches!(gone, Err(ChronicleError::NoVersion(_))), "{gone:?}");
}
