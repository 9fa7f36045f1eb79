//! Segments: what is damaged, what is collected, what does not fit.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::{Bench, TURN, path};
use crate::{ChronicleError, Limited, Limits, Retention};

/// Bytes that nothing makes smaller.
pub(super) fn noise(seed: u32, len: u32) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len).unwrap()];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Keeps the newest only.
pub(super) const NEWEST: Retention = Retention { all_ms: 0, newest: 1, hourly_ms: 0, daily_ms: 0, recovered: 0 };

#[test]
fn a_damaged_object_is_told_with_its_path_and_the_rest_is_readable() {
    let mut bench = Bench::new();
    bench.write("good", noise(1, 5000));
    bench.write("d/bad", noise(2, 5000));
    let version = bench.cut();
    let place = {
        let entry = bench.get().entry(version.root, &path("d/bad")).unwrap().unwrap();
        let chronicle = bench.get();
        chronicle.cas.find(&chronicle.database, entry.hash).unwrap().unwrap()
    };
    let pack = std::fs::File::options().write(true).open(bench.metadata().join("cas/seg-000001.pack")).unwrap();
    pack.write_all_at(b"!", place.offset + crate::pack::HEADER_BYTES + 7).unwrap();
    let checked = bench.get().fsck().unwrap();
    assert_eq!(checked.faults_count, 1);
    assert_eq!(checked.faults[0].path, path("d/bad"));
    assert_eq!(checked.database, None);
    let Err(ChronicleError::Damaged { path: Some(told), .. }) = bench.get().read(version.root, &path("d/bad"), 0, 9)
    else {
        panic!("damage")
    };
    assert_eq!(told, path("d/bad"));
    assert_eq!(bench.get().read(version.root, &path("good"), 0, 5000).unwrap(), noise(1, 5000));
    // Restored as far as it can be.
    bench.write("good", "x");
    bench.write("d/bad", "y");
    bench.cut();
    let restored = bench.get().restore(version.version, None).unwrap();
    assert_eq!(restored.brought.damaged[0].0, path("d/bad"));
    assert_eq!(bench.files()["good"], noise(1, 5000));
    assert_eq!(bench.files()["d/bad"], b"y");
    // A version is what is there.
    bench.cut();
    bench.assert_at_head();
}

#[test]
fn a_segment_that_is_cut_off_is_told_and_not_written_to() {
    let mut bench = Bench::new();
    bench.write("a", noise(1, 5000));
    bench.cut();
    bench.chronicle.take().unwrap().close().unwrap();
    let file = bench.metadata().join("cas/seg-000001.pack");
    std::fs::File::options().write(true).open(&file).unwrap().set_len(100).unwrap();
    std::fs::write(bench.metadata().join("cas/tmp_pack_leak"), "x").unwrap();
    std::fs::write(bench.metadata().join("cas/seg-000009.pack"), "x").unwrap();
    std::fs::create_dir_all(bench.metadata().join("tmp/up-1/deep")).unwrap();
    assert_eq!(bench.open().damaged_segments, [1]);
    let names: Vec<_> = std::fs::read_dir(bench.metadata().join("cas")).unwrap().collect();
    assert_eq!(names.len(), 1);
    assert_eq!(std::fs::read_dir(bench.metadata().join("tmp")).unwrap().count(), 0);
    bench.write("b", noise(2, 5000));
    bench.cut();
    assert!(bench.metadata().join("cas/seg-000002.pack").exists());
    assert_eq!(bench.get().fsck().unwrap().faults.len(), 1);
}

#[test]
fn a_tail_that_no_row_names_is_cut_off() {
    let mut bench = Bench::new();
    bench.write("a", noise(1, 5000));
    bench.cut();
    let file = bench.metadata().join("cas/seg-000001.pack");
    let recorded = file.metadata().unwrap().len();
    let pack = std::fs::File::options().write(true).open(&file).unwrap();
    pack.write_all_at(&[7; 999], recorded).unwrap();
    bench.open();
    assert_eq!(file.metadata().unwrap().len(), recorded);
}

#[test]
fn a_collection_keeps_what_is_needed_and_frees_the_rest() {
    let mut bench = Bench::new();
    bench.write("stays", noise(9, 30_000));
    bench.write("large", noise(8, 900_000));
    let mut versions = Vec::new();
    for round in 0..12 {
        bench.write("changes", noise(round, 200_000));
        bench.write(&format!("once-{round}"), noise(round + 100, 1000));
        versions.push(bench.cut());
        bench.remove(&format!("once-{round}"));
        bench.clock.advance(Duration::from_secs(7200));
    }
    let leased = versions[3].clone();
    bench.get().lease(leased.version, "a turn waits", None).unwrap();
    let before = bench.get().stats().unwrap();
    let done = bench.get().collect(&NEWEST, u64::MAX).unwrap();
    assert_eq!(done.versions, 10);
    assert!(done.bytes_after < before.segment_bytes / 2, "{done:?}");
    assert!(done.segments > 0 && done.objects > 0 && done.trees > 0);
    assert!(bench.get().fsck().unwrap().faults.is_empty());
    let chronicle = bench.get();
    assert_eq!(chronicle.read(leased.root, &path("changes"), 0, 200_000).unwrap(), noise(3, 200_000));
    assert!(matches!(chronicle.version(versions[0].version), Err(ChronicleError::NoVersion(_))));
    // Every path that exists still has an iteration that can be read, and indexes go on.
    let stays = chronicle.iterations(&path("stays"), 0, 10).unwrap();
    assert_eq!(chronicle.read_at(stays[0].n, 0, 30_000).unwrap(), noise(9, 30_000));
    let changes = chronicle.iterations(&path("changes"), 0, 100).unwrap();
    assert_eq!(changes.iter().map(|it| it.index).collect::<Vec<_>>(), [4, 12]);
    bench.write("changes", "more");
    assert_eq!(bench.cut().changes[0].index, 13);
    bench.get().release("a turn waits").unwrap();
    assert_eq!(bench.get().collect(&NEWEST, u64::MAX).unwrap().versions, 2);
    bench.open();
    bench.assert_at_head();
    assert!(bench.get().fsck().unwrap().faults.is_empty());
}

#[test]
fn hours_and_days_are_thinned_out() {
    let mut bench = Bench::new();
    for round in 0..100 {
        bench.write("a", format!("{round}"));
        bench.cut();
        bench.clock.advance(Duration::from_secs(1200));
    }
    let retention = Retention {
        all_ms: 3_600_000,
        newest: 2,
        hourly_ms: 10 * 3_600_000,
        daily_ms: 100 * 24 * 3_600_000,
        recovered: 1,
    };
    bench.get().collect(&retention, u64::MAX).unwrap();
    let left = bench.get().versions(0, 1000).unwrap();
    // About three of the last hour, nine of the hours before, and one of the day before.
    assert!((10..=15).contains(&left.len()), "{}", left.len());
    assert_eq!(left.last().unwrap().id, 100);
}

#[test]
fn the_store_stays_within_its_bytes() {
    let mut bench = Bench::new();
    bench.limits = Limits { store_bytes: 2_000_000, ..Limits::default() };
    bench.open();
    for round in 0..30 {
        bench.write("a", noise(round, 200_000));
        bench.cut();
        assert!(bench.get().stats().unwrap().segment_bytes <= 2_000_000);
    }
    assert!(bench.get().fsck().unwrap().faults.is_empty());
    // One that can never fit changes nothing.
    for n in 0..11 {
        bench.write(&format!("b{n}"), noise(1000 + n, 250_000));
    }
    let refused = bench.get().prepare(TURN);
    assert!(matches!(refused, Err(ChronicleError::OverLimit { what: Limited::StoreBytes, .. })), "{refused:?}");
    bench.get().roll_back().unwrap();
    bench.assert_at_head();
}

#[test]
fn a_workspace_that_is_too_large_is_no_version_and_goes_back() {
    let mut bench = Bench::new();
    bench.limits = Limits { workspace_entries: 50, workspace_bytes: 100_000, ..Limits::default() };
    bench.open();
    bench.write("a", "1");
    bench.write("d/b", "1");
    bench.cut();
    let before = bench.files();
    for n in 0..100 {
        bench.write(&format!("many/{n}"), "x");
    }
    std::fs::write(bench.work().join("d/c"), "x").unwrap();
    let refused = bench.get().prepare(TURN);
    assert!(matches!(refused, Err(ChronicleError::OverLimit { what: Limited::WorkspaceEntries, limit: 50 })));
    assert!(bench.get().roll_back().unwrap().brought.removed == 0);
    bench.open();
    assert_eq!(bench.files(), before);
    bench.write("a", vec![1; 200_000]);
    let refused = bench.get().prepare(TURN);
    assert!(matches!(refused, Err(ChronicleError::OverLimit { what: Limited::WorkspaceBytes, .. })));
    assert!(bench.open().too_large_to_keep || bench.files() == before);
    bench.assert_at_head();
}

/// Ten versions of one file, each of 100,000 bytes, in a store of two million.
fn with_history() -> Bench {
    let mut bench = Bench::new();
    bench.limits = Limits { store_bytes: 2_000_000, workspace_bytes: 2_300_000, ..Limits::default() };
    bench.open();
    for round in 0..10 {
        bench.write("a", noise(round, 100_000));
        bench.cut();
    }
    bench
}

fn versions(bench: &mut Bench) -> usize {
    bench.get().versions(0, 1000).unwrap().len()
}

#[test]
fn a_turn_that_can_never_fit_takes_no_history_away() {
    let mut bench = with_history();
    // More than the store can have beside the head, which stays.
    for n in 0..10 {
        bench.write(&format!("b{n}"), noise(1000 + n, 195_000));
    }
    let refused = bench.get().prepare(TURN);
    assert!(matches!(refused, Err(ChronicleError::OverLimit { what: Limited::StoreBytes, .. })), "{refused:?}");
    assert_eq!(versions(&mut bench), 10);
    // More than the workspace may have: that is what is told.
    for n in 10..13 {
        bench.write(&format!("b{n}"), noise(1000 + n, 195_000));
    }
    let refused = bench.get().prepare(TURN);
    assert!(matches!(refused, Err(ChronicleError::OverLimit { what: Limited::WorkspaceBytes, .. })), "{refused:?}");
    assert_eq!(versions(&mut bench), 10);
    bench.get().roll_back().unwrap();
    bench.assert_at_head();
    assert!(bench.get().fsck().unwrap().faults.is_empty());
}

#[test]
fn a_turn_takes_no_more_history_than_it_needs() {
    let mut bench = with_history();
    for n in 0..10 {
        bench.write(&format!("b{n}"), noise(1000 + n, 100_000));
    }
    bench.cut();
    assert!((6..=10).contains(&versions(&mut bench)), "{}", versions(&mut bench));
    bench.assert_at_head();
    // All of it, where that is what it needs: the head before, and this.
    let mut bench = with_history();
    for n in 0..17 {
        bench.write(&format!("b{n}"), noise(1000 + n, 100_000));
    }
    bench.cut();
    assert_eq!(versions(&mut bench), 2);
    bench.assert_at_head();
    assert!(bench.get().fsck().unwrap().faults.is_empty());
}
