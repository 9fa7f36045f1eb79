//! What dirty paths lead to: nothing is lost on the way, and nothing is done twice.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use super::{Bench, SCAN, TURN, path};
use crate::failpoint::testing;
use crate::{ChronicleError, Limited, Limits};

#[test]
fn a_folder_that_cannot_be_opened_for_now_loses_no_dirty_path() {
    let mut bench = Bench::new();
    bench.write("d/a", "1");
    bench.cut();
    for error in [rustix::io::Errno::MFILE, rustix::io::Errno::NOMEM, rustix::io::Errno::IO] {
        bench.write("d/a", format!("{error:?}"));
        testing::set(move |name| if name == "collect.folder" { Err(error.into()) } else { Ok(()) });
        let failed = bench.get().prepare(TURN);
        testing::clear();
        assert!(failed.is_err(), "{failed:?}");
        assert!(bench.cut().changed);
        bench.assert_at_head();
    }
}

/// How often files are read while `work` runs.
fn reads(work: impl FnOnce()) -> u32 {
    let reads = Rc::new(Cell::new(0));
    let count = Rc::clone(&reads);
    testing::set(move |name| {
        count.set(count.get() + u32::from(name == "content.read"));
        Ok(())
    });
    work();
    testing::clear();
    reads.get()
}

#[test]
fn a_file_in_the_place_of_a_folder_is_read_once() {
    for known in [false, true] {
        let mut bench = Bench::new();
        for n in 0..50 {
            bench.write(&format!("d/{n}"), "x");
        }
        if known {
            bench.cut();
            (0..50).for_each(|n| bench.dirty.touched(&path(&format!("d/{n}"))));
        }
        std::fs::remove_dir_all(bench.work().join("d")).unwrap();
        bench.write("d", vec![7; 500_000]);
        assert_eq!(reads(|| drop(bench.cut())), 1);
        bench.assert_at_head();
    }
}

#[test]
fn what_was_written_through_a_mapping_that_ended_is_read() {
    for linked in [false, true] {
        let mut bench = Bench::new();
        bench.write("a", "1");
        let meta = bench.work().join("a").metadata().unwrap();
        let (dev, ino) = (meta.dev(), meta.ino());
        if linked {
            std::fs::hard_link(bench.work().join("a"), bench.work().join("b")).unwrap();
            bench.dirty.linked(dev, ino, &path("a"), &path("b"));
        }
        bench.cut();
        let names = 1 + u32::from(linked);
        // On some file systems such a write leaves no trace that the stat cache could see: each name is read.
        bench.dirty.mapped(dev, ino, &path("a"));
        assert_eq!(reads(|| drop(bench.cut())), names);
        bench.dirty.unmapped(dev, ino);
        assert_eq!(reads(|| drop(bench.cut())), names);
        // Once is enough.
        bench.dirty.touched(&path("a"));
        assert_eq!(reads(|| drop(bench.cut())), 0);
        bench.dirty.mapped(dev, ino, &path("a"));
        bench.dirty.unmapped(dev, ino);
        assert_eq!(reads(|| drop(bench.cut_with(SCAN))), names);
    }
}

fn pipe(bench: &Bench, name: &str) {
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.work().join(name),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    bench.dirty.touched(&path(name));
}

/// Dirty paths and a scan say the same of how large the workspace is.
fn assert_too_large(bench: &mut Bench, what: Limited) {
    for request in [TURN, SCAN] {
        let refused = bench.get().prepare(request);
        assert!(matches!(refused, Err(ChronicleError::OverLimit { what: of, .. }) if of == what), "{refused:?}");
    }
}

#[test]
fn what_is_left_out_counts_for_every_look() {
    let mut bench = Bench::new();
    bench.limits = Limits { workspace_entries: 20, workspace_bytes: 10 << 20, ..Limits::default() };
    bench.open();
    bench.write("d/a", "1");
    (0..18).for_each(|n| pipe(&bench, &format!("d/p{n}")));
    assert!(!bench.cut().scanned);
    // A look at the folder alone says nothing of what is in it.
    std::fs::set_permissions(bench.work().join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    bench.dirty.touched(&path("d"));
    let version = bench.cut().version;
    assert_eq!(bench.get().skipped(version).unwrap().len(), 18);
    bench.write("b", "one too many");
    assert_too_large(&mut bench, Limited::WorkspaceEntries);
    std::fs::remove_file(bench.work().join("d/p7")).unwrap();
    bench.dirty.touched(&path("d/p7"));
    bench.cut();
    // A file in the folder's place: what was left out there is not there any more.
    std::fs::remove_dir_all(bench.work().join("d")).unwrap();
    bench.dirty.touched(&path("d/a"));
    bench.write("d", "a file");
    let version = bench.cut().version;
    assert!(bench.get().skipped(version).unwrap().is_empty());
    (0..18).for_each(|n| bench.write(&format!("f{n}"), "x"));
    bench.cut();
    // What a file takes counts, though no version has it; holes take nothing.
    bench.remove("f1");
    let big = std::fs::File::create(bench.work().join("big")).unwrap();
    big.set_len(crate::limits::FILE_BYTES_MAX + 1).unwrap();
    bench.dirty.touched(&path("big"));
    assert_eq!(bench.cut().skipped.len(), 1);
    rustix::fs::fallocate(&big, rustix::fs::FallocateFlags::empty(), 0, 11 << 20).unwrap();
    bench.dirty.touched(&path("big"));
    assert_too_large(&mut bench, Limited::WorkspaceBytes);
    bench.get().roll_back().unwrap();
    bench.remove("big");
    bench.cut();
    bench.assert_at_head();
}

#[test]
fn long_paths_count_for_every_look() {
    let mut bench = Bench::new();
    bench.limits = Limits { workspace_path_bytes: 300, ..Limits::default() };
    bench.open();
    // "a", "a/b", "a/b/" and the rest: 2 + 4 + 5 + 90 bytes with a slash each.
    bench.write(&format!("a/b/{}", "x".repeat(90)), "1");
    bench.cut();
    assert_eq!(bench.get().stats().unwrap().head.path_bytes, 2 + 4 + 95);
    pipe(&bench, &format!("a/{}", "p".repeat(96)));
    bench.cut();
    pipe(&bench, &"q".repeat(100));
    assert_too_large(&mut bench, Limited::WorkspacePathBytes);
    std::fs::remove_file(bench.work().join("q".repeat(100))).unwrap();
    bench.write(&"r".repeat(100), "2");
    assert_too_large(&mut bench, Limited::WorkspacePathBytes);
    bench.get().roll_back().unwrap();
    bench.assert_at_head();
}
