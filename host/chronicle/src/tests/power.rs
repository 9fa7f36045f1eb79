//! Power cuts at every commit point, on a disk that forgets what was not synced: what a cut names is there, and nothing is torn.

use std::collections::BTreeMap;

use super::forgetful::{Cut, Disk, Image};
use super::store::{NEWEST, noise};
use super::{Bench, Files, TURN};
use crate::{DirtySet, Named, SnapshotRequest, VersionKind};

/// A workspace on such a disk.
struct OnDisk {
    disk: Disk,
    bench: Bench,
    truth: BTreeMap<u64, Files>,
}

impl OnDisk {
    /// Runs `work` on a workspace on a new disk, and gives everything that the disk remembers; none without FUSE.
    fn run(work: impl FnOnce(&mut Self)) -> Option<(Vec<Image>, BTreeMap<u64, Files>)> {
        let mut bench = Bench::new();
        bench.chronicle = None;
        let at = bench.folder.path().to_owned();
        std::fs::remove_dir_all(at.join("chronicle")).unwrap();
        let (disk, session) = Disk::mount(&at)?;
        disk.record();
        bench.open();
        let mut on = Self { disk, bench, truth: BTreeMap::from([(0, Files::new())]) };
        work(&mut on);
        let Self { disk, mut bench, truth } = on;
        disk.capture("the end");
        // No descriptor may keep the mount.
        bench.chronicle = None;
        session.umount_and_join().unwrap();
        Some((disk.images(), truth))
    }

    /// What stands in `work/` now is what the next cut has; then `messages.db` names it.
    fn cut(&mut self, request: SnapshotRequest) {
        let cut = self.bench.named.cut + 1;
        self.truth.insert(cut, self.bench.files());
        let prepared = self.bench.get().prepare(SnapshotRequest { cut: Some(cut), ..request }).unwrap();
        self.disk.capture("prepared");
        self.bench.name(&prepared);
        self.disk.name(self.bench.named);
        self.disk.capture("named");
        self.bench.get().commit(prepared.version, cut).unwrap();
        self.disk.capture("committed");
    }
}

/// Opens what a cut left, as the first start after it would.
fn check(image: &Image, cut: Cut, truth: &BTreeMap<u64, Files>) {
    let case = format!("{}, {:?}, {:?}", image.after, cut, image.named);
    let mut bench = Bench::new();
    bench.chronicle = None;
    let folder = bench.folder.path().join("chronicle");
    std::fs::remove_dir_all(&folder).unwrap();
    image.leave(cut, bench.folder.path());
    bench.named = image.named;
    bench.boot = if matches!(cut, Cut::Kill) { "boot-1".to_owned() } else { "after the power cut".to_owned() };
    bench.dirty = DirtySet::new();
    if let Err(error) = bench.try_open() {
        panic!("{case}: {error}");
    }
    if image.named == Named::default() {
        // What was there before any cut is what a first cut would name; nothing was promised.
        return;
    }
    bench.assert_at_head();
    assert_eq!(&bench.files(), &truth[&image.named.cut], "{case}");
    let checked = bench.get().fsck().unwrap();
    assert_eq!((checked.faults, checked.database), (Vec::new(), None), "{case}");
    bench.write("after", "the cut");
    assert!(bench.cut().changed, "{case}");
    bench.assert_at_head();
}

fn check_all(images: &[Image], truth: &BTreeMap<u64, Files>) {
    for (seed, image) in (1..).zip(images) {
        for cut in [Cut::Kill, Cut::Forgets, Cut::Tears(seed), Cut::Tears(seed + 1_000_000)] {
            check(image, cut, truth);
        }
    }
}

#[test]
fn at_every_commit_point_of_cuts_restores_and_collections() {
    let run = OnDisk::run(|on| {
        for round in 0..4 {
            on.bench.write("a", format!("round {round}"));
            on.bench.write(&format!("d{round}/noise"), noise(round, 40_000));
            if round == 2 {
                on.bench.remove("d0/noise");
            }
            on.cut(TURN);
        }
        // A turn that fails, and one that brings an old version back.
        on.bench.write("a", "of a turn that fails");
        on.bench.write("d1/noise", noise(77, 40_000));
        on.bench.get().roll_back().unwrap();
        on.bench.get().restore(1, None).unwrap();
        on.cut(SnapshotRequest { kind: VersionKind::Restore, ..TURN });
        // A cut whose log was written back, and one after a collection.
        on.bench.get().checkpoint().unwrap();
        on.disk.capture("written back");
        on.bench.write("a", "after the checkpoint");
        on.cut(TURN);
        assert!(on.bench.get().collect(&NEWEST, u64::MAX).unwrap().segments > 0);
        on.bench.write("e/last", noise(5, 40_000));
        on.cut(TURN);
    });
    let Some((images, truth)) = run else { return };
    let syncs = |name: &str| images.iter().filter(|image| image.after == format!("after the sync of {name}")).count();
    // The two that each version costs, and those of segments that are begun.
    assert!(syncs("chronicle.db-wal") >= 7 && syncs("seg-000001.pack") >= 4, "{}", syncs("chronicle.db-wal"));
    assert!(syncs("cas") >= 2 && syncs("chronicle.db") >= 1);
    check_all(&images, &truth);
}

#[test]
fn a_commit_that_the_disk_failed_names_nothing_that_is_gone() {
    let run = OnDisk::run(|on| {
        on.bench.write("a", noise(1, 40_000));
        on.cut(TURN);
        on.bench.write("a", noise(2, 40_000));
        on.bench.write("b", noise(3, 40_000));
        on.disk.fail_syncs_of(Some("chronicle.db-wal"));
        let request = SnapshotRequest { cut: Some(2), ..TURN };
        // Twice, so that what failed first has been followed by other content.
        assert!(on.bench.get().prepare(request).is_err());
        on.disk.capture("failed");
        on.bench.write("b", noise(4, 10_000));
        assert!(on.bench.get().prepare(request).is_err());
        on.disk.capture("failed again");
        // What a collection does now must take nothing away either, whether it fails or not.
        drop(on.bench.get().collect(&NEWEST, u64::MAX));
        on.disk.capture("after a collection");
        on.disk.fail_syncs_of(None);
        on.cut(TURN);
        on.bench.write("c", noise(5, 10_000));
        on.cut(TURN);
    });
    let Some((images, truth)) = run else { return };
    check_all(&images, &truth);
}

#[test]
fn a_collection_whose_commit_the_disk_failed_takes_nothing_away() {
    let run = OnDisk::run(|on| {
        on.bench.write("kept", noise(1, 20_000));
        for round in 0..4 {
            on.bench.write("a", noise(10 + round, 60_000));
            on.cut(TURN);
        }
        let disk = on.disk.clone();
        // The commit that takes a segment's place is the one that fails.
        crate::failpoint::testing::set(move |name| {
            if name == "gc.copied" {
                disk.fail_syncs_of(Some("chronicle.db-wal"));
            }
            Ok(())
        });
        assert!(on.bench.get().collect(&NEWEST, u64::MAX).is_err());
        crate::failpoint::testing::clear();
        on.disk.capture("failed");
        on.disk.fail_syncs_of(None);
        on.bench.write("a", "goes on");
        on.cut(TURN);
    });
    let Some((images, truth)) = run else { return };
    check_all(&images, &truth);
}

#[test]
fn a_disk_that_is_full_loses_nothing_and_goes_on_when_there_is_room() {
    let mut failed = 0;
    let counted = &mut failed;
    let run = OnDisk::run(|on| {
        on.bench.write("a", noise(1, 20_000));
        on.cut(TURN);
        // At any point of the snapshot, from its first byte to its last page.
        for (round, room) in (2..).zip([0, 1000, 9000, 21_000, 30_000, 45_000, 60_000, 80_000]) {
            on.bench.write("a", noise(round, 20_000));
            on.bench.write(&format!("d{round}/b"), noise(100 + round, 20_000));
            on.disk.has_room(Some(room));
            let cut = Some(on.bench.named.cut + 1);
            while on.bench.get().prepare(SnapshotRequest { cut, ..TURN }).is_err() {
                *counted += 1;
                on.disk.capture("full");
                // What is true is still there and can be read, and what the turn wrote is dirty.
                let (_, root) = on.bench.get().head();
                assert_eq!(on.bench.files_of(root), on.truth[&on.bench.named.cut]);
                assert!(on.bench.dirty.is_dirty());
                on.disk.has_room(None);
            }
            on.disk.has_room(None);
            on.cut(SnapshotRequest { scan: round % 2 == 0, ..TURN });
        }
    });
    let Some((images, truth)) = run else { return };
    assert!(failed >= 4, "{failed} failed");
    check_all(&images, &truth);
}
