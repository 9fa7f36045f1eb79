//! What dirty paths lead to: nothing is lost on the way, and nothing is done twice.

use std::cell::Cell;
use std::os::unix::fs::MetadataExt;
use std::rc::Rc;

use super::{Bench, SCAN, TURN, path};
use crate::failpoint::testing;

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
