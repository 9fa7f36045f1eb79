//! What snapshots find, and what the history says of it.

use super::{Bench, SCAN, TURN, path};
use crate::{ChronicleError, Kind, Op, Sight, SkipReason, SnapshotRequest, TextDiff, VersionKind, VersionStatus};

#[test]
fn a_turn_that_changes_nothing_makes_no_version() {
    let mut bench = Bench::new();
    let prepared = bench.cut();
    assert_eq!((prepared.version, prepared.changed), (0, false));
    bench.write("a", "1");
    assert_eq!(bench.cut().version, 1);
    let again = bench.cut();
    assert_eq!((again.version, again.changed), (1, false));
    // Written again with the same content and time: looked at, and nothing is new.
    bench.dirty.touched(&path("a"));
    assert!(!bench.cut().changed);
    assert!(!bench.cut_with(SCAN).changed);
}

#[test]
fn every_change_is_an_iteration() {
    let mut bench = Bench::new();
    bench.write("d/a", "one");
    bench.write("b", "two");
    let first = bench.cut();
    assert_eq!((first.added, first.modified, first.deleted), (3, 0, 0));
    bench.write("d/a", "one more");
    bench.remove("b");
    let second = bench.cut();
    let told: Vec<_> = second.changes.iter().map(|it| (it.n, it.index, it.path.to_string(), it.op, it.size)).collect();
    assert_eq!(told, [(4, 2, "b".into(), Op::Deleted, 0), (5, 2, "d/a".into(), Op::Modified, 8)]);
    let chronicle = bench.get();
    let iterations = chronicle.iterations(&path("d/a"), 0, 10).unwrap();
    let texts: Vec<_> = iterations.iter().map(|it| chronicle.read_at(it.n, 0, 100).unwrap()).collect();
    assert_eq!(texts, [&b"one"[..], b"one more"]);
    assert_eq!(chronicle.read_at(5, 4, 2).unwrap(), b"mo");
    assert!(matches!(chronicle.read_at(4, 0, 1), Err(ChronicleError::NotThere { .. })));
    assert!(matches!(chronicle.read_at(99, 0, 1), Err(ChronicleError::NoIteration(99))));
    assert_eq!(chronicle.changes(3, 10).unwrap(), second.changes);
    let version = chronicle.version(2).unwrap();
    assert_eq!((version.cut, version.status, version.parent), (Some(2), VersionStatus::Committed, 1));
    assert_eq!((version.first_n, version.last_n), (4, 5));
}

#[test]
fn dirty_paths_and_a_scan_find_the_same() {
    let mut bench = Bench::new();
    for n in 0..400 {
        bench.write(&format!("d{}/e{}/f{n}", n % 7, n % 3), format!("content {n}"));
    }
    std::os::unix::fs::symlink("../x", bench.work().join("d1/link")).unwrap();
    bench.dirty.touched(&path("d1/link"));
    let by_dirt = bench.cut();
    assert!(!by_dirt.scanned);
    assert!(!bench.cut_with(SCAN).changed);
    // A folder that is moved, one that takes another's place, one that becomes a file.
    std::fs::rename(bench.work().join("d2"), bench.work().join("moved")).unwrap();
    bench.dirty.renamed_folder(&path("d2"), &path("moved"));
    std::fs::remove_dir_all(bench.work().join("d3")).unwrap();
    std::fs::write(bench.work().join("d3"), "now a file").unwrap();
    bench.dirty.touched(&path("d3"));
    // Nobody told of the folder above.
    std::fs::create_dir_all(bench.work().join("new/deep")).unwrap();
    std::fs::write(bench.work().join("new/deep/f"), "x").unwrap();
    bench.dirty.touched(&path("new/deep/f"));
    assert!(bench.cut().changed);
    bench.assert_at_head();
    assert!(!bench.cut_with(SCAN).changed);
}

#[test]
fn a_path_below_a_folder_that_is_gone_takes_the_folder_away() {
    let mut bench = Bench::new();
    bench.write("a/b/c", "1");
    bench.cut();
    std::fs::remove_dir_all(bench.work().join("a")).unwrap();
    bench.dirty.touched(&path("a/b/c"));
    assert_eq!(bench.cut().deleted, 3);
    bench.assert_at_head();
}

#[test]
fn versions_are_compared() {
    let mut bench = Bench::new();
    bench.write("a", "1\n2\n3\n");
    bench.write("moved", "the same content");
    bench.write("gone", "x");
    bench.write("bin", b"\0\x01");
    let old = bench.cut().root;
    bench.write("a", "1\ntwo\n3\n");
    bench.write("to/here", "the same content");
    bench.write("bin", b"\0\x02");
    bench.remove("moved");
    bench.remove("gone");
    let new = bench.cut().root;
    let chronicle = bench.get();
    let changes = chronicle.diff(old, new).unwrap();
    let told: Vec<_> = changes
        .iter()
        .map(|it| (it.path.to_string(), it.op.as_str(), it.renamed_from.as_ref().map(ToString::to_string)))
        .collect();
    assert_eq!(
        told,
        [
            ("a".into(), "M", None),
            ("bin".into(), "M", None),
            ("gone".into(), "D", None),
            ("to".into(), "A", None),
            ("to/here".into(), "T", Some("moved".into())),
        ]
    );
    let TextDiff::Text(text) = chronicle.text_diff(&changes[0]).unwrap() else { panic!("a text") };
    assert_eq!(text, "--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3\n");
    assert_eq!(chronicle.text_diff(&changes[1]).unwrap(), TextDiff::Binary);
    let listed = chronicle.list(new, &path("to"), None, 10).unwrap();
    assert_eq!(listed[0].path, path("to/here"));
    assert_eq!(listed[0].entry.kind, Kind::File);
    assert_eq!(chronicle.read(old, &path("moved"), 4, 4).unwrap(), b"same");
    assert_eq!(chronicle.stats().unwrap().versions, 2);
}

#[test]
fn permissions_and_times_belong_to_a_version() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new();
    bench.write("script", "#!/bin/sh");
    bench.cut();
    std::fs::set_permissions(bench.work().join("script"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    bench.dirty.touched(&path("script"));
    let prepared = bench.cut();
    assert_eq!(prepared.changes[0].op, Op::Touched);
    // The set-id bit is in no version.
    assert_eq!((prepared.changes[0].old_mode, prepared.changes[0].new_mode), (Some(0o644), Some(0o755)));
}

#[test]
fn a_file_that_is_still_open_is_found_by_the_next_cut() {
    use std::io::Write;
    use std::os::unix::fs::MetadataExt;
    let mut bench = Bench::new();
    let mut file = std::fs::File::create(bench.work().join("log")).unwrap();
    let meta = file.metadata().unwrap();
    bench.dirty.opened_for_writing(meta.dev(), meta.ino(), &path("log"));
    file.write_all(b"1").unwrap();
    assert!(bench.cut().changed);
    // Nobody tells of a write.
    file.write_all(b"2").unwrap();
    assert!(bench.cut().changed);
    std::fs::create_dir(bench.work().join("d")).unwrap();
    std::fs::rename(bench.work().join("log"), bench.work().join("d/log")).unwrap();
    bench.dirty.renamed(&path("log"), &path("d/log"));
    bench.cut();
    file.write_all(b"3").unwrap();
    drop(file);
    bench.dirty.closed(meta.dev(), meta.ino());
    assert!(bench.cut().changed);
    bench.assert_at_head();
    assert!(!bench.dirty.is_dirty());
}

#[test]
fn a_write_through_one_name_is_found_under_the_other() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    std::fs::hard_link(bench.work().join("a"), bench.work().join("b")).unwrap();
    bench.dirty.touched(&path("b"));
    // The other name was not told as one: everything is looked at once.
    assert!(bench.cut().scanned);
    std::fs::write(bench.work().join("b"), "2").unwrap();
    bench.dirty.touched(&path("b"));
    let prepared = bench.cut();
    assert_eq!((prepared.modified, prepared.scanned), (2, false));
    bench.assert_at_head();
    // After a start nothing is known of other names.
    bench.chronicle.take().unwrap().close().unwrap();
    bench.open();
    std::fs::write(bench.work().join("a"), "3").unwrap();
    bench.dirty.touched(&path("a"));
    let prepared = bench.cut();
    assert_eq!((prepared.modified, prepared.scanned), (2, true));
}

#[test]
fn what_is_left_out_is_said() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    let folder = rustix::fs::open(bench.work(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    rustix::fs::mknodat(&folder, "pipe", rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let big = std::fs::File::create(bench.work().join("big")).unwrap();
    big.set_len(crate::limits::FILE_BYTES_MAX + 1).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bench.work().join("socket")).unwrap();
    for name in ["pipe", "big", "socket"] {
        bench.dirty.touched(&path(name));
    }
    let prepared = bench.cut();
    let told: Vec<_> = prepared.skipped.iter().map(|it| (it.path.to_string(), it.reason)).collect();
    assert_eq!(
        told,
        [("big".into(), SkipReason::TooBig), ("pipe".into(), SkipReason::Fifo), ("socket".into(), SkipReason::Socket)]
    );
    assert_eq!(prepared.skipped[0].size, crate::limits::FILE_BYTES_MAX + 1);
    assert_eq!(prepared.added, 1);
    // Still said of a version in which nobody looked at them.
    bench.write("a", "2");
    let second = bench.cut();
    assert_eq!(bench.get().skipped(second.version).unwrap().len(), 3);
    bench.remove("big");
    bench.write("a", "3");
    let third = bench.cut();
    assert_eq!(bench.get().skipped(third.version).unwrap().len(), 2);
    assert_eq!(bench.get().skipped(second.version).unwrap().len(), 3);
    assert_eq!(bench.cut_with(SCAN).skipped.len(), 2);
}

#[test]
fn steps_within_a_turn_become_true_with_its_cut() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    let step = bench.get().prepare(SnapshotRequest { kind: VersionKind::Step, ..TURN }).unwrap();
    bench.write("b", "2");
    let end = bench.cut();
    assert_eq!((step.version, end.version), (1, 2));
    assert_eq!(bench.get().version(1).unwrap().status, VersionStatus::Committed);
    assert!(matches!(bench.get().commit(1, 9), Ok(())));
    bench.write("c", "3");
    bench.get().prepare(TURN).unwrap();
    assert!(matches!(bench.get().commit(1, 9), Err(ChronicleError::Refused(_))));
}

#[test]
fn a_file_that_never_holds_still_is_called_unstable() {
    let mut bench = Bench::new();
    bench.write("busy", "0");
    let file = bench.work().join("busy");
    let mut round = 0;
    crate::failpoint::testing::set(move |name| {
        if name == "content.read" {
            round += 1;
            std::fs::write(&file, format!("{round} times")).unwrap();
        }
        Ok(())
    });
    // Written in the middle of each read: seen, because its times change after the system was asked.
    let prepared = bench.get().prepare(TURN).unwrap();
    crate::failpoint::testing::clear();
    assert_eq!(prepared.unstable, [path("busy")]);
    bench.name(&prepared);
    bench.get().commit(1, 1).unwrap();
    assert_eq!(bench.get().version(1).unwrap().unstable, 1);
    // It is looked at again.
    assert!(bench.dirty.is_dirty());
    bench.write("busy", "at rest");
    assert!(bench.cut().unstable.is_empty());
    bench.assert_at_head();
}

#[test]
fn a_failed_snapshot_loses_no_dirty_path() {
    let mut bench = Bench::new();
    for step in [
        "pack.begin",
        "content.read",
        "snapshot.looked",
        "pack.write",
        "pack.sync",
        "snapshot.packed",
        "snapshot.writing",
    ] {
        bench.write("a", step);
        crate::failpoint::testing::set(
            move |name| {
                if name == step { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
            },
        );
        let failed = bench.get().prepare(TURN);
        crate::failpoint::testing::clear();
        if step != "pack.begin" || failed.is_err() {
            assert_eq!(failed.unwrap_err().failure(), Some(podium_sqlite::Failure::Full), "{step}");
        }
        assert!(bench.cut().changed, "{step}");
        bench.assert_at_head();
        assert!(bench.get().fsck().unwrap().faults.is_empty());
    }
}

#[test]
fn what_is_left_out_stays_so_when_only_its_folder_is_touched() {
    use std::os::unix::fs::PermissionsExt;
    let mut bench = Bench::new();
    bench.write("d/a", "1");
    let folder = rustix::fs::open(bench.work(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    for name in ["d/pipe", "top"] {
        rustix::fs::mknodat(&folder, name, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        bench.dirty.touched(&path(name));
    }
    bench.cut();
    std::fs::set_permissions(bench.work().join("d"), std::fs::Permissions::from_mode(0o750)).unwrap();
    bench.dirty.touched(&path("d"));
    let second = bench.cut();
    assert_eq!(bench.get().skipped(second.version).unwrap().len(), 2);
    // A folder that is gone takes it away, though nobody told of the pipe.
    std::fs::remove_dir_all(bench.work().join("d")).unwrap();
    bench.dirty.touched(&path("d/a"));
    let third = bench.cut();
    assert_eq!(bench.get().skipped(third.version).unwrap().len(), 1);
}

#[test]
fn what_is_told_of_a_path_has_its_cuts_and_nothing_that_no_cut_names() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.cut();
    bench.write("a", "2");
    bench.write("b", "x");
    bench.cut();
    bench.write("a", "of a turn that runs");
    let step = bench.get().prepare(SnapshotRequest { kind: VersionKind::Step, ..TURN }).unwrap();
    let n = step.changes[0].n;
    let a = path("a");
    let told = |bench: &mut Bench, after, limit, sight| {
        let page = bench.get().told(&a, after, limit, sight).unwrap();
        (page.iterations.iter().map(|it| (it.index, it.cut)).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(told(&mut bench, 0, 10, Sight::Cuts), (vec![(1, Some(1)), (2, Some(2))], None));
    assert_eq!(told(&mut bench, 0, 10, Sight::Turn).0.len(), 3);
    assert_eq!(told(&mut bench, 0, 1, Sight::Cuts), (vec![(1, Some(1))], Some(1)));
    assert_eq!(told(&mut bench, 1, 1, Sight::Cuts), (vec![(2, Some(2))], None));
    assert_eq!(told(&mut bench, u64::MAX, 1, Sight::Cuts), (vec![], None));
    // What a path was when something else changed.
    let at = |bench: &mut Bench, name: &str, n, sight| {
        bench.get().at_iteration(&path(name), n, sight).map(|found| found.map(|it| it.size))
    };
    assert_eq!(at(&mut bench, "a", 1, Sight::Cuts).unwrap(), Some(1));
    assert_eq!(at(&mut bench, "b", 1, Sight::Cuts).unwrap(), None);
    assert_eq!(at(&mut bench, "b", n, Sight::Turn).unwrap(), Some(1));
    assert!(matches!(at(&mut bench, "a", n, Sight::Cuts), Err(ChronicleError::NoIteration(_))));
    assert!(matches!(at(&mut bench, "a", u64::MAX, Sight::Turn), Err(ChronicleError::NoIteration(_))));
    // The turn failed: nobody can see it any more.
    bench.get().roll_back().unwrap();
    assert!(matches!(at(&mut bench, "a", n, Sight::Turn), Err(ChronicleError::NoIteration(_))));
    assert_eq!(told(&mut bench, 0, 10, Sight::Turn).0.len(), 2);
}
