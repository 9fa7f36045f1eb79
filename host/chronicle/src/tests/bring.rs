//! Opening, rolling back and restoring: `work/` is what was named.

use super::{Bench, SCAN, TURN, path};
use crate::{ChronicleError, SnapshotRequest, VersionKind, VersionStatus};

#[test]
fn a_clean_end_is_believed_and_an_unclean_one_is_not() {
    let mut bench = Bench::new();
    bench.write("d/a", "1");
    bench.cut();
    bench.chronicle.take().unwrap().close().unwrap();
    assert!(!bench.open().scanned);
    // Dropped without a word.
    let opened = bench.open();
    assert!(opened.scanned && opened.recovered.is_none());
    bench.chronicle.take().unwrap().rest().unwrap();
    assert!(!bench.metadata().join("chronicle.db-wal").exists());
    // Another run of the machine.
    bench.boot = "boot-2".to_owned();
    assert!(bench.open().scanned);
    bench.assert_at_head();
    // What is dirty is not clean.
    bench.write("d/a", "2");
    bench.chronicle.take().unwrap().close().unwrap();
    assert!(bench.open().recovered.is_some());
    bench.assert_at_head();
}

#[test]
fn what_a_dead_turn_left_is_kept_and_undone() {
    let mut bench = Bench::new();
    bench.write("kept", "1");
    bench.write("d/x", "x");
    bench.cut();
    let before = bench.files();
    std::fs::write(bench.work().join("kept"), "half a turn").unwrap();
    std::fs::create_dir(bench.work().join("new")).unwrap();
    std::fs::write(bench.work().join("new/file"), "n").unwrap();
    std::fs::remove_dir_all(bench.work().join("d")).unwrap();
    std::fs::write(bench.work().join("d"), "a file in a folder's place").unwrap();
    let dead = bench.files();
    let opened = bench.open();
    assert_eq!(bench.files(), before);
    let kept = bench.get().version(opened.recovered.unwrap()).unwrap();
    assert_eq!((kept.kind, kept.status), (VersionKind::Recovered, VersionStatus::Recovered));
    assert_eq!(bench.files_of(kept.root), dead);
    // Recovered versions have no iterations, and numbers go on after them.
    assert_eq!(bench.get().iterations(&path("kept"), 0, 10).unwrap().len(), 1);
    bench.write("kept", "2");
    assert_eq!(bench.cut().version, kept.id + 1);
    bench.assert_at_head();
}

#[test]
fn a_prepared_version_is_true_when_a_cut_names_it_and_recovered_when_not() {
    for named in [true, false] {
        let mut bench = Bench::new();
        bench.write("a", "1");
        bench.cut();
        bench.write("a", "2");
        bench.write("b", "2");
        let prepared = bench.get().prepare(SnapshotRequest { cut: Some(2), ..TURN }).unwrap();
        if named {
            bench.name(&prepared);
        }
        // Killed before the chronicle was told.
        let opened = bench.open();
        bench.assert_at_head();
        let version = bench.get().version(prepared.version).unwrap();
        if named {
            assert_eq!((version.status, version.cut), (VersionStatus::Committed, Some(2)));
            assert!(opened.past.is_empty() && opened.recovered.is_none());
            assert_eq!(bench.get().iterations(&path("a"), 0, 10).unwrap().len(), 2);
        } else {
            assert_eq!(version.status, VersionStatus::Recovered);
            assert_eq!((opened.past, opened.recovered), (vec![2], Some(2)));
            assert_eq!(bench.get().iterations(&path("a"), 0, 10).unwrap().len(), 1);
        }
        bench.write("a", "3");
        let next = bench.cut();
        assert_eq!(next.version, 3);
        assert_eq!(next.changes[0].n, if named { 4 } else { 2 }, "numbers that never were true are given again");
        bench.assert_at_head();
    }
}

#[test]
fn what_a_cut_names_is_not_past_it() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    let prepared = bench.get().prepare(TURN).unwrap();
    bench.name(&prepared);
    let first = bench.named;
    // A cut without a change; the chronicle was told of none, and opens at the second.
    bench.name(&prepared);
    bench.open();
    // `messages.db` is brought back from a copy of before.
    bench.named = first;
    assert!(bench.open().past.is_empty());
    assert_eq!(bench.get().version(prepared.version).unwrap().status, VersionStatus::Committed);
    assert_eq!(bench.get().iterations(&path("a"), 0, 10).unwrap().len(), 1);
}

#[test]
fn a_failed_turn_is_rolled_back_without_a_scan() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.write("d/b", "1");
    bench.cut();
    let before = bench.files();
    bench.write("a", "2");
    let step = bench.get().prepare(SnapshotRequest { kind: VersionKind::Step, ..TURN }).unwrap();
    bench.write("d/c", "3");
    bench.remove("d/b");
    let back = bench.get().roll_back().unwrap();
    assert_eq!(back.past, [step.version]);
    assert!(back.kept.is_some());
    assert_eq!(bench.files(), before);
    bench.assert_at_head();
    assert!(!bench.cut_with(SCAN).changed);
    // Nothing to undo.
    assert_eq!(bench.get().roll_back().unwrap().kept, None);
}

#[test]
fn a_version_comes_back_whole_or_in_part() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.write("d/b", "1");
    bench.write("d/e/f", "1");
    std::os::unix::fs::symlink("a", bench.work().join("link")).unwrap();
    bench.dirty.touched(&path("link"));
    let old = bench.cut();
    let old_files = bench.files();
    bench.write("a", "2");
    bench.remove("d/b");
    bench.write("d/g", "2");
    bench.remove("link");
    bench.write("link/now", "a folder");
    bench.cut();
    bench.write("unsaved", "dirty");
    let restored = bench.get().restore(old.version, None).unwrap();
    assert!(restored.before.changed);
    assert_eq!(bench.files(), old_files);
    let version = bench.cut_with(SnapshotRequest { kind: VersionKind::Restore, ..TURN });
    assert_eq!(version.root, old.root);
    bench.assert_at_head();
    // Undone by restoring what was there before it, and only in part.
    let before = restored.before.version;
    bench.get().restore(before, Some(&[path("d"), path("unsaved")])).unwrap();
    let files = bench.files();
    assert!(files.contains_key("unsaved") && files.contains_key("d/g") && !files.contains_key("d/b"));
    assert_eq!(files["a"], b"1");
    bench.cut();
    bench.assert_at_head();
    let missing = bench.get().restore(before, Some(&[path("nowhere")]));
    assert!(matches!(missing, Err(ChronicleError::NotThere { .. })));
    assert!(matches!(bench.get().restore(99, None), Err(ChronicleError::NoVersion(99))));
}

#[test]
fn large_and_sparse_files_come_back_as_they_were() {
    use std::os::unix::fs::{FileExt, MetadataExt};
    let mut bench = Bench::new();
    let noise: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    bench.write("large", &noise);
    let sparse = std::fs::File::create(bench.work().join("sparse")).unwrap();
    sparse.set_len(200 << 20).unwrap();
    sparse.write_all_at(b"island", 100 << 20).unwrap();
    bench.dirty.touched(&path("sparse"));
    let old = bench.cut();
    assert!(old.new_bytes < 3_300_000);
    // Ten bytes before everything: one chunk is new.
    let mut longer = b"ten bytes!".to_vec();
    longer.extend_from_slice(&noise);
    bench.write("large", &longer);
    std::fs::remove_file(bench.work().join("sparse")).unwrap();
    bench.dirty.touched(&path("sparse"));
    let new = bench.cut();
    assert!(new.new_bytes < 600_000, "{}", new.new_bytes);
    assert_eq!(bench.get().read(new.root, &path("large"), 2_999_999, 100).unwrap(), longer[2_999_999..3_000_010][..11]);
    bench.get().restore(old.version, None).unwrap();
    let meta = bench.work().join("sparse").metadata().unwrap();
    assert_eq!(meta.len(), 200 << 20);
    assert!(meta.blocks() * 512 < 10 << 20, "{}", meta.blocks());
    assert_eq!(std::fs::read(bench.work().join("large")).unwrap(), noise);
    assert_eq!(bench.cut().root, old.root);
    assert_eq!(bench.get().read(old.root, &path("sparse"), 100 << 20, 6).unwrap(), b"island");
    assert!(bench.get().fsck().unwrap().faults.is_empty());
}

#[test]
fn files_that_were_there_first_come_into_the_first_version() {
    let mut bench = Bench::new();
    bench.chronicle = None;
    std::fs::remove_dir_all(bench.metadata()).unwrap();
    std::fs::write(bench.work().join("old"), "from before").unwrap();
    assert!(bench.open().created);
    // Killed before the first cut: still there.
    let opened = bench.open();
    assert!(!opened.created && opened.recovered.is_none());
    // A turn that fails takes nothing with it that no version has.
    assert!(opened.unadopted);
    assert!(matches!(bench.get().roll_back(), Err(ChronicleError::Refused(_))));
    assert!(matches!(bench.get().restore(0, None), Err(ChronicleError::Refused(_))));
    assert_eq!(bench.files()["old"], b"from before");
    let prepared = bench.cut_with(SnapshotRequest { kind: VersionKind::External, ..TURN });
    assert_eq!((prepared.added, prepared.version), (1, 1));
    // From then on it is as any other.
    bench.write("old", "a turn that fails");
    bench.get().roll_back().unwrap();
    bench.assert_at_head();
    std::fs::write(bench.work().join("old"), "changed").unwrap();
    bench.open();
    bench.assert_at_head();
    assert_eq!(bench.files()["old"], b"from before");
    // A cut names the version, and the chronicle was not told.
    let mut bench = Bench::new();
    bench.chronicle = None;
    std::fs::remove_dir_all(bench.metadata()).unwrap();
    std::fs::write(bench.work().join("old"), "from before").unwrap();
    assert!(bench.open().unadopted);
    let prepared = bench.get().prepare(TURN).unwrap();
    bench.name(&prepared);
    assert!(!bench.open().unadopted);
    bench.assert_at_head();
    bench.get().roll_back().unwrap();
    // Only something that no version holds: its cut names none.
    let mut bench = Bench::new();
    bench.chronicle = None;
    std::fs::remove_dir_all(bench.metadata()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.work().join("socket")).unwrap();
    assert!(bench.open().unadopted);
    assert_eq!(bench.cut().version, 0);
    bench.get().roll_back().unwrap();
    assert!(!bench.open().unadopted && bench.work().join("socket").exists());
}

#[test]
fn a_cut_that_the_chronicle_could_not_note_is_true_all_the_same() {
    for again in [false, true] {
        let mut bench = Bench::new();
        bench.write("a", "1");
        bench.cut();
        bench.write("a", "2");
        let prepared = bench.get().prepare(SnapshotRequest { cut: Some(2), ..TURN }).unwrap();
        bench.name(&prepared);
        crate::failpoint::testing::set(|name| {
            if name == "snapshot.committing" { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        });
        assert!(bench.get().commit(prepared.version, 2).is_err());
        crate::failpoint::testing::clear();
        if again {
            bench.write("a", "3");
            bench.cut();
        }
        bench.write("a", "a turn that fails");
        bench.get().roll_back().unwrap();
        bench.assert_at_head();
        let version = bench.get().version(prepared.version).unwrap();
        assert_eq!((version.status, version.cut), (VersionStatus::Committed, Some(2)));
    }
}

#[test]
fn what_no_version_has_stays_where_it_is() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    let old = bench.cut();
    bench.write("d/x", "1");
    let big = std::fs::File::create(bench.work().join("d/big")).unwrap();
    big.set_len(crate::limits::FILE_BYTES_MAX + 1).unwrap();
    bench.dirty.touched(&path("d/big"));
    bench.cut();
    let restored = bench.get().restore(old.version, None).unwrap();
    assert_eq!(restored.brought.left, [path("d")]);
    assert!(bench.work().join("d/big").exists() && !bench.work().join("d/x").exists());
    // Where an entry of the version has to be, it gives way, and that is said.
    bench.cut();
    std::fs::rename(bench.work().join("d/big"), bench.work().join("a")).unwrap();
    bench.dirty.touched(&path("a"));
    bench.dirty.touched(&path("d/big"));
    bench.cut();
    let restored = bench.get().restore(old.version, None).unwrap();
    assert_eq!(restored.brought.replaced_skipped, 1);
    assert_eq!(bench.files()["a"], b"1");
}

#[test]
fn folders_without_the_right_to_write_are_brought_back_too() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new();
    let set = |bench: &Bench, mode| {
        std::fs::set_permissions(bench.work().join("d"), std::fs::Permissions::from_mode(mode)).unwrap();
        bench.dirty.touched(&path("d"));
    };
    bench.write("d/a", "1");
    bench.write("d/e/b", "1");
    set(&bench, 0o555);
    let old = bench.cut();
    // Who is not root needs the rights for these.
    set(&bench, 0o755);
    bench.write("d/a", "2");
    bench.write("d/new/c", "2");
    bench.remove("d/e/b");
    set(&bench, 0o555);
    bench.cut();
    bench.get().restore(old.version, None).unwrap();
    assert_eq!(bench.files_of(old.root), bench.files());
    assert_eq!(bench.cut().root, old.root);
    // What a turn made unreadable is said, and goes with it.
    set(&bench, 0o755);
    bench.write("d/x/y", "3");
    std::fs::set_permissions(bench.work().join("d/x"), std::fs::Permissions::from_mode(0o000)).unwrap();
    set(&bench, 0o555);
    bench.get().roll_back().unwrap();
    set(&bench, 0o755);
    if bench.work().join("d/x").exists() {
        std::fs::set_permissions(bench.work().join("d/x"), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn iterations_that_never_were_true_give_their_numbers_back() {
    let mut bench = Bench::new();
    bench.write("kept", "1");
    bench.cut();
    let steps = |bench: &mut Bench| {
        let mut numbers = Vec::new();
        for name in ["d/a", "b"] {
            bench.write(name, "1");
            let made = bench.get().prepare(SnapshotRequest { kind: VersionKind::Step, ..TURN }).unwrap();
            numbers.extend(made.changes.into_iter().map(|change| (change.n, change.index, change.path)));
            numbers.push((bench.get().moment().unwrap(), 0, path("")));
        }
        numbers
    };
    let first = steps(&mut bench);
    assert_eq!(first.iter().map(|(n, ..)| *n).collect::<Vec<_>>(), [2, 3, 3, 4, 4]);
    // Rolled back, and lost with a host.
    bench.get().roll_back().unwrap();
    assert_eq!(bench.get().moment().unwrap(), 1);
    assert_eq!(steps(&mut bench), first);
    bench.open();
    assert_eq!(steps(&mut bench), first);
    bench.cut();
    bench.write("c", "1");
    assert_eq!(bench.cut().changes[0].n, 5);
    // Those of a cut are never given again, also when everything after them is undone.
    bench.write("e", "1");
    bench.get().prepare(TURN).unwrap();
    bench.get().roll_back().unwrap();
    assert_eq!(bench.get().iteration(5).unwrap().path, path("c"));
    bench.write("f", "1");
    assert_eq!(bench.cut().changes[0].n, 6);
}
