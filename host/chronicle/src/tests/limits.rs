//! Limits: they refuse versions, and never keep a workspace from being opened or brought back.

use super::{Bench, TURN, path};
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
