//! Limits: they refuse versions, and never keep a workspace from being opened or brought back.

use super::{Bench, TURN, path};
use crate::tree::Totals;
use crate::{ChronicleError, Limits, VersionKind};

#[test]
fn a_link_takes_none_of_a_workspaces_bytes() {
    let mut bench = Bench::new();
    bench.limits = Limits { workspace_bytes: 4000, ..Limits::default() };
    bench.open();
    for n in 0..4 {
        bench.write(&format!("f{n}"), vec![n; 1000]);
    }
    std::os::unix::fs::symlink("somewhere", bench.work().join("link")).unwrap();
    bench.dirty.touched(&path("link"));
    // Killed before the cut: looked at as a whole.
    assert!(bench.open().recovered.is_some());
    bench.assert_at_head();
    for n in 0..4 {
        bench.write(&format!("f{n}"), vec![n; 1000]);
    }
    std::os::unix::fs::symlink("somewhere", bench.work().join("link")).unwrap();
    bench.dirty.touched(&path("link"));
    assert!(bench.cut().changed);
    assert_eq!(bench.get().stats().unwrap().head.bytes, 4000);
}

#[test]
fn a_workspace_of_larger_limits_is_opened_and_goes_back() {
    let mut bench = Bench::new();
    for n in 0..20 {
        bench.write(&format!("f{n}"), vec![n; 1000]);
    }
    let large = bench.cut();
    for n in 1..20 {
        bench.remove(&format!("f{n}"));
    }
    let small = bench.cut();
    bench.get().restore(large.version, None).unwrap();
    bench.cut_with(crate::SnapshotRequest { kind: VersionKind::Restore, ..TURN });
    bench.limits = Limits { workspace_entries: 5, workspace_bytes: 5000, ..Limits::default() };
    bench.write("f0", "of a turn that never ended");
    let opened = bench.open();
    // Little is beside the last cut, so it is kept.
    assert!(opened.recovered.is_some() && !opened.too_large_to_keep);
    bench.assert_at_head();
    bench.write("f1", "dirty");
    assert!(matches!(bench.get().prepare(TURN), Err(ChronicleError::OverLimit { .. })));
    assert!(bench.get().roll_back().unwrap().kept.is_some());
    bench.assert_at_head();
    // The way out is a smaller version.
    bench.write("f1", "dirty again");
    let restored = bench.get().restore(small.version, None).unwrap();
    assert!(restored.before.changed);
    assert_eq!(bench.cut().root, small.root);
    bench.assert_at_head();
}

#[test]
fn what_is_measured_is_what_a_snapshot_counts() {
    let mut bench = Bench::new();
    bench.write("d/a", "one");
    bench.write("b", "two!");
    std::os::unix::fs::symlink("d/a", bench.work().join("link")).unwrap();
    std::fs::hard_link(bench.work().join("b"), bench.work().join("d/b")).unwrap();
    let big = std::fs::File::create(bench.work().join("big")).unwrap();
    big.set_len(1 << 40).unwrap();
    bench.dirty.scan_needed();
    assert_eq!(bench.get().usage().unwrap(), Totals::default(), "no cut has it");
    bench.cut();
    let usage = bench.get().usage().unwrap();
    assert_eq!((usage.bytes, usage.entries), (3 + 4 + 4, 6), "a terabyte without a byte on the disk");
    assert_eq!(bench.get().usage_now().unwrap(), usage);
    std::fs::write(bench.work().join("more"), [0; 10]).unwrap();
    let now = bench.get().usage_now().unwrap();
    assert_eq!((now.bytes, now.entries), (usage.bytes + 10, usage.entries + 1));
    // What versions cannot name counts as everything, for as long as it is there.
    let mut at = rustix::fs::open(bench.work(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..300 {
        rustix::fs::mkdirat(&at, "x", rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "x", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    assert_eq!(bench.get().usage_now().unwrap().bytes, u64::MAX);
    bench.dirty.scan_needed();
    bench.cut();
    assert_eq!(bench.get().usage().unwrap().entries, u64::MAX);
    std::fs::remove_dir_all(bench.work().join("x")).unwrap();
    bench.dirty.scan_needed();
    bench.cut();
    assert_eq!(bench.get().usage().unwrap().entries, 7);
}
