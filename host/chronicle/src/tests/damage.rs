//! Damage in the database's rows: what it hides is said, and everything else goes on.

use super::store::{NEWEST, noise};
use super::{Bench, SCAN, TURN, path};
use crate::{ContentHash, Limits, Retention, SnapshotRequest, VersionKind, VersionStatus};

/// A workspace with a few folders; gives the name of the tree of `d`.
fn with_folders() -> (Bench, ContentHash) {
    let mut bench = Bench::new();
    for folder in ["d", "d/inner", "e"] {
        for n in 0..3 {
            bench.write(&format!("{folder}/f{n}"), format!("{folder} {n}"));
        }
    }
    let version = bench.cut();
    let tree = bench.get().entry(version.root, &path("d")).unwrap().unwrap().hash;
    (bench, tree)
}

fn damage(bench: &mut Bench, tree: ContentHash) {
    let connection = bench.get().database.connection();
    assert_eq!(connection.execute("UPDATE tree SET data = x'01ff' WHERE hash = ?1", [tree]).unwrap(), 1);
}

#[test]
fn a_folder_whose_tree_is_damaged_keeps_nobody_from_making_versions() {
    for request in [TURN, SCAN] {
        let (mut bench, tree) = with_folders();
        damage(&mut bench, tree);
        bench.write("d/f1", "changed");
        bench.write("e/f1", "changed");
        let prepared = bench.cut_with(request);
        // What was in it is not known; what is there now is.
        assert_eq!(bench.files_of(prepared.root), bench.files());
        assert!(prepared.changes.iter().any(|change| change.path == path("e/f1")));
        bench.assert_at_head();
        // The next one needs no scan, and a start after a kill finds it sound.
        bench.write("d/f2", "again");
        assert!(!bench.cut().scanned);
        bench.open();
        bench.assert_at_head();
    }
}

#[test]
fn what_is_not_damaged_is_brought_back_and_what_is_stays_and_is_said() {
    let (mut bench, tree) = with_folders();
    damage(&mut bench, tree);
    bench.write("d/f1", "of a turn that fails");
    bench.write("e/f1", "of a turn that fails");
    bench.write("new/f", "of a turn that fails");
    let back = bench.get().roll_back().unwrap();
    assert_eq!(back.brought.damaged.len(), 1);
    assert_eq!(back.brought.damaged[0].0, path("d"));
    assert!(back.kept.is_some());
    let files = bench.files();
    assert_eq!(files["e/f1"], b"e 1");
    assert_eq!(files["d/f1"], b"of a turn that fails");
    assert!(!files.contains_key("new/f"));
    // The next version has what is there, and is sound.
    assert!(bench.cut().changed);
    bench.assert_at_head();
    bench.open();
    bench.assert_at_head();
}

#[test]
fn an_unclean_start_finds_a_damaged_folder_and_opens() {
    let (mut bench, tree) = with_folders();
    damage(&mut bench, tree);
    std::fs::write(bench.work().join("d/f1"), "of a turn that never ended").unwrap();
    std::fs::write(bench.work().join("e/f1"), "of a turn that never ended").unwrap();
    for _ in 0..2 {
        let opened = bench.open();
        assert_eq!(opened.brought.damaged[0].0, path("d"));
        assert_eq!(bench.files()["e/f1"], b"e 1");
    }
    assert!(bench.cut().changed);
    bench.open();
    bench.assert_at_head();
}

#[test]
fn a_damaged_tree_of_everything_is_as_any_other() {
    let (mut bench, _) = with_folders();
    let root = bench.named.root.unwrap();
    damage(&mut bench, root);
    std::fs::write(bench.work().join("e/f1"), "of a turn that never ended").unwrap();
    assert_eq!(bench.open().brought.damaged[0].0, crate::WorkPath::root());
    assert!(bench.cut().changed);
    bench.open();
    bench.assert_at_head();
}

#[test]
fn a_damaged_version_is_restored_as_far_as_it_can_be() {
    let (mut bench, tree) = with_folders();
    let old = bench.named.version;
    bench.write("d/f1", "now");
    bench.write("e/f1", "now");
    bench.cut();
    damage(&mut bench, tree);
    let restored = bench.get().restore(old, None).unwrap();
    assert_eq!(restored.brought.damaged[0].0, path("d"));
    let files = bench.files();
    assert_eq!((&files["d/f1"][..], &files["e/f1"][..]), (&b"now"[..], &b"e 1"[..]));
    bench.cut();
    bench.assert_at_head();
}

#[test]
fn rows_of_objects_that_say_what_cannot_be_are_in_no_collections_way() {
    let mut bench = Bench::new();
    bench.write("kept", noise(1, 5000));
    bench.write("gone", noise(2, 5000));
    bench.cut();
    bench.remove("gone");
    bench.cut();
    let gone = ContentHash::of(&noise(2, 5000));
    let connection = bench.get().database.connection();
    connection.execute("UPDATE object SET kind = 9, off = -5 WHERE hash = ?1", [gone]).unwrap();
    connection
        .execute("INSERT INTO object(hash, kind, raw_len, seg, off, len, enc) VALUES (x'01', 0, 1, 1, 1, 1, 0)", [])
        .unwrap();
    // Nothing needs them, so they go.
    assert_eq!(bench.get().collect(&NEWEST, u64::MAX).unwrap().objects, 1);
    let rows = |bench: &mut Bench| -> u64 {
        bench.get().database.connection().query_row("SELECT count(*) FROM object", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(rows(&mut bench), 1);
    // One that is needed hides what it names: versions go, nothing else does, and the next look at the file mends it.
    for round in 0..3 {
        bench.write("other", noise(10 + round, 5000));
        bench.cut();
    }
    let before = rows(&mut bench);
    let kept = ContentHash::of(&noise(1, 5000));
    bench.get().database.connection().execute("UPDATE object SET enc = 77 WHERE hash = ?1", [kept]).unwrap();
    let done = bench.get().collect(&NEWEST, u64::MAX).unwrap();
    assert_eq!((done.versions, done.objects, rows(&mut bench)), (3, 0, before));
    bench.cut_with(SCAN);
    assert_eq!(bench.get().fsck().unwrap().faults, []);
    assert!(bench.get().collect(&NEWEST, u64::MAX).unwrap().objects > 0);
    bench.open();
    bench.assert_at_head();
}

#[test]
fn a_store_that_is_full_drops_damaged_versions_with_the_old_ones() {
    let mut bench = Bench::new();
    bench.write("d/old", noise(1, 100_000));
    let old = bench.cut();
    let tree = bench.get().entry(old.root, &path("d")).unwrap().unwrap().hash;
    bench.write("d/old", "small");
    bench.cut();
    damage(&mut bench, tree);
    bench.limits = Limits { store_bytes: 900_000, ..Limits::default() };
    bench.open();
    for round in 0..30 {
        bench.write("d/file", noise(round + 10, 50_000));
        assert!(bench.cut().changed, "{round}");
    }
    assert!(bench.get().version(old.version).is_err());
    assert!(bench.get().store_bytes().unwrap() <= 900_000);
    bench.assert_at_head();
}

#[test]
fn the_database_gives_back_what_a_collection_frees() {
    let mut bench = Bench::new();
    for round in 0..60 {
        for n in 0..100 {
            bench.write(&format!("d{n}/f"), format!("{round} {n}"));
        }
        bench.cut();
    }
    let file = bench.metadata().join("chronicle.db");
    bench.get().checkpoint().unwrap();
    let before = file.metadata().unwrap().len();
    bench.get().collect(&NEWEST, u64::MAX).unwrap();
    let after = file.metadata().unwrap().len();
    assert!(after < before / 2, "{before} bytes, then {after}");
    assert_eq!(bench.get().fsck().unwrap().database, None);
    bench.open();
    bench.assert_at_head();
}

#[test]
fn a_version_that_a_waiting_turn_names_is_there_after_a_start_and_until_its_cut() {
    let mut bench = Bench::new();
    bench.write("a", "before the turn");
    bench.cut();
    bench.write("a", "at the effect");
    let step = SnapshotRequest { kind: VersionKind::Step, cut: Some(bench.named.cut + 1), turn: Some(7), ..TURN };
    let version = bench.get().prepare(step).unwrap();
    bench.write("a", "after the effect");
    let nothing = Retention { recovered: 0, ..NEWEST };
    for _ in 0..2 {
        // The host is killed while the turn waits.
        assert!(bench.open().scanned);
        bench.assert_at_head();
        assert_eq!(bench.get().version(version.version).unwrap().status, VersionStatus::Recovered);
        bench.get().collect(&nothing, 0).unwrap();
        bench.get().restore(version.version, None).unwrap();
        assert_eq!(bench.files()["a"], b"at the effect");
        bench.get().roll_back().unwrap();
    }
    // The turn is run again, and cut.
    bench.get().restore(version.version, None).unwrap();
    bench.cut();
    bench.write("a", "later");
    bench.cut();
    bench.get().collect(&nothing, u64::MAX).unwrap();
    assert!(bench.get().version(version.version).is_err());
    // A turn that ended without its files: the next start knows, as its cut is there.
    bench.write("a", "at another effect");
    let step = SnapshotRequest { cut: Some(bench.named.cut + 1), ..step };
    let version = bench.get().prepare(step).unwrap();
    bench.named.cut += 1;
    bench.open();
    bench.get().collect(&nothing, u64::MAX).unwrap();
    assert!(bench.get().version(version.version).is_err());
}
