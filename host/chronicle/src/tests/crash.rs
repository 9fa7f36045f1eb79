//! Killed at every step, and cut off from power at every step: what was acknowledged is there, nothing is torn.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::{Bench, Files, TURN, copy_folder, files_in, path};
use crate::failpoint::testing;
use crate::{Named, Retention, SnapshotRequest, VersionKind, VersionStatus};

/// A copy of everything at one moment, and what was durable then.
struct Moment {
    name: &'static str,
    folder: PathBuf,
    packs: BTreeMap<String, u64>,
    wal: u64,
    named: Named,
}

/// What has been synced so far, as far as the moments tell.
#[derive(Default)]
struct Synced {
    packs: BTreeMap<String, u64>,
    wal: u64,
}

fn wal_len(chronicle: &Path) -> u64 {
    chronicle.join("metadata/chronicle.db-wal").metadata().map_or(0, |found| found.len())
}

fn pack_lens(chronicle: &Path) -> BTreeMap<String, u64> {
    std::fs::read_dir(chronicle.join("metadata/cas"))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), entry.metadata().unwrap().len())
        })
        .collect()
}

/// Runs `work` and copies the workspace at every moment that it comes by. `named` is what `messages.db` says, which `work` changes.
fn moments(bench: &mut Bench, work: impl FnOnce(&mut Bench, &Rc<RefCell<Named>>)) -> Vec<Moment> {
    let chronicle = bench.folder.path().join("chronicle");
    let copies = bench.folder.path().join("copies");
    let found = Rc::new(RefCell::new(Vec::<Moment>::new()));
    // Everything before is taken for synced.
    let synced = Rc::new(RefCell::new(Synced { packs: pack_lens(&chronicle), wal: wal_len(&chronicle) }));
    let named = Rc::new(RefCell::new(bench.named));
    let (into, state, says) = (Rc::clone(&found), Rc::clone(&synced), Rc::clone(&named));
    testing::set(move |name| {
        let mut state = state.borrow_mut();
        match name {
            "pack.synced" => state.packs = pack_lens(&chronicle),
            // After a commit at FULL.
            "snapshot.prepared" | "gc.flipped" | "gc.dropped" | "gc.rows" | "recover.kept" => {
                state.wal = wal_len(&chronicle);
            }
            _ => {}
        }
        let mut into = into.borrow_mut();
        let folder = copies.join(into.len().to_string());
        copy_folder(&chronicle, &folder.join("chronicle"));
        let named = *says.borrow();
        into.push(Moment { name, folder, packs: state.packs.clone(), wal: state.wal, named });
        Ok(())
    });
    work(bench, &named);
    testing::clear();
    bench.named = *named.borrow();
    Rc::into_inner(found).unwrap().into_inner()
}

/// Forgets what was not synced: tails of segments and of the database's log, and all content of the workspace's files.
fn cut_power(moment: &Moment) {
    let chronicle = moment.folder.join("chronicle");
    for (name, len) in pack_lens(&chronicle) {
        let file = std::fs::File::options().write(true).open(chronicle.join("metadata/cas").join(&name)).unwrap();
        file.set_len(len.min(moment.packs.get(&name).copied().unwrap_or(0))).unwrap();
    }
    let wal = chronicle.join("metadata/chronicle.db-wal");
    if wal.exists() {
        std::fs::File::options().write(true).open(&wal).unwrap().set_len(moment.wal).unwrap();
    }
    for (name, content) in files_in(&chronicle.join("work")) {
        if !name.ends_with('/') && !name.ends_with(" ->") {
            let file = chronicle.join("work").join(name);
            let time = file.metadata().unwrap().modified().unwrap();
            std::fs::write(&file, vec![0; content.len()]).unwrap();
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        }
    }
}

/// Opens each copy as the next start would, after a kill and after a power cut. At most `recovered` versions are kept beside.
fn check(bench: &Bench, moments: Vec<Moment>, truth: &BTreeMap<u64, Files>, recovered: usize) {
    assert!(!moments.is_empty());
    for moment in moments {
        for power in [false, true] {
            if power {
                cut_power(&moment);
            }
            let mut copy = Bench::new();
            copy.chronicle = None;
            std::fs::remove_dir_all(copy.folder.path().join("chronicle")).unwrap();
            copy_folder(&moment.folder.join("chronicle"), &copy.folder.path().join("chronicle"));
            copy.named = moment.named;
            copy.clock = bench.clock.clone();
            copy.boot = if power { "after the power cut".to_owned() } else { bench.boot.clone() };
            copy.open();
            let case = (moment.name, power, moment.named);
            copy.assert_at_head();
            assert_eq!(&copy.files(), &truth[&moment.named.cut], "{case:?}");
            let kept = copy.get().versions(0, 100).unwrap();
            let kept: Vec<_> = kept.iter().filter(|it| it.status == VersionStatus::Recovered).collect();
            // A power cut may take the note of it.
            assert!(power || kept.len() <= recovered, "{case:?}: {kept:?}");
            let checked = copy.get().fsck().unwrap();
            assert_eq!((checked.faults, checked.database), (Vec::new(), None), "{case:?}");
            // It works on.
            copy.write("after", "the crash");
            assert!(copy.cut().changed, "{case:?}");
            copy.assert_at_head();
        }
    }
}

fn begun() -> (Bench, BTreeMap<u64, Files>) {
    let mut bench = Bench::new();
    let mut truth = BTreeMap::new();
    for round in 0..3 {
        bench.write("a", format!("round {round}"));
        bench.write(&format!("d/e{round}"), vec![round; 5000]);
        if round == 2 {
            bench.remove("d/e0");
        }
        bench.cut();
        truth.insert(bench.named.cut, bench.files());
    }
    (bench, truth)
}

#[test]
fn at_every_step_of_a_snapshot() {
    let (mut bench, mut truth) = begun();
    let moments = moments(&mut bench, |bench, named| {
        bench.write("a", "changed");
        bench.write("new/file", vec![9; 70_000]);
        bench.remove("d/e1");
        truth.insert(4, bench.files());
        let prepared = bench.get().prepare(SnapshotRequest { cut: Some(4), ..TURN }).unwrap();
        *named.borrow_mut() = Named { cut: 4, version: prepared.version, root: Some(prepared.root) };
        bench.get().commit(prepared.version, 4).unwrap();
    });
    let names: Vec<_> = moments.iter().map(|moment| moment.name).collect();
    for step in [
        "content.read",
        "snapshot.looked",
        "pack.write",
        "pack.sync",
        "snapshot.packed",
        "snapshot.writing",
        "snapshot.committed",
    ] {
        assert!(names.contains(&step), "{step}");
    }
    check(&bench, moments, &truth, 1);
}

#[test]
fn at_every_step_of_a_restore() {
    let (mut bench, mut truth) = begun();
    let moments = moments(&mut bench, |bench, named| {
        bench.write("unsaved", "x");
        bench.get().restore(1, None).unwrap();
        truth.insert(4, bench.files());
        let request = SnapshotRequest { kind: VersionKind::Restore, cut: Some(4), ..TURN };
        let prepared = bench.get().prepare(request).unwrap();
        *named.borrow_mut() = Named { cut: 4, version: prepared.version, root: Some(prepared.root) };
        bench.get().commit(prepared.version, 4).unwrap();
    });
    assert_eq!(truth[&4], truth[&1]);
    assert!(moments.iter().any(|moment| moment.name == "restore.placing"));
    assert!(moments.iter().any(|moment| moment.name == "restore.removing"));
    check(&bench, moments, &truth, 2);
}

#[test]
fn at_every_step_of_going_back() {
    let (mut bench, truth) = begun();
    let moments = moments(&mut bench, |bench, _| {
        bench.write("a", "a turn that fails");
        bench.write("x/y", "new");
        bench.remove("d/e2");
        bench.get().roll_back().unwrap();
    });
    assert!(moments.iter().any(|moment| moment.name == "recover.kept"));
    check(&bench, moments, &truth, 1);
}

#[test]
fn at_every_step_of_a_recovery() {
    let (mut bench, truth) = begun();
    let moments = moments(&mut bench, |bench, _| {
        bench.write("a", "a turn that never ended");
        bench.write("x/y", "new");
        assert!(bench.open().recovered.is_some());
    });
    check(&bench, moments, &truth, 1);
}

#[test]
fn at_every_step_of_a_collection() {
    let (mut bench, mut truth) = begun();
    for round in 0..6_u8 {
        bench.write("a", vec![round; 100]);
        let noise: Vec<u8> =
            (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761 + u32::from(round)) >> 9) as u8).collect();
        bench.write("noise", noise);
        bench.cut();
    }
    truth.insert(bench.named.cut, bench.files());
    let moments = moments(&mut bench, |bench, _| {
        let newest = Retention { all_ms: 0, newest: 1, hourly_ms: 0, daily_ms: 0, recovered: 0 };
        assert!(bench.get().collect(&newest, u64::MAX).unwrap().segments > 0);
    });
    for step in ["gc.dropped", "gc.marked", "gc.rows", "gc.copied", "gc.flipped", "gc.removed"] {
        assert!(moments.iter().any(|moment| moment.name == step), "{step}");
    }
    check(&bench, moments, &truth, 0);
}

#[test]
fn a_restore_that_fails_makes_no_version_until_it_is_undone() {
    let (mut bench, _) = begun();
    testing::set(|name| if name == "restore.placed" { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) });
    assert!(bench.get().restore(1, None).is_err());
    testing::clear();
    // Staged, and never put into place.
    std::fs::write(bench.metadata().join("tmp/stage-1"), "half").unwrap();
    bench.dirty.touched(&path("a"));
    assert!(bench.get().prepare(TURN).is_err());
    // Fails too, and is done over without keeping what it did by half.
    testing::set(|name| if name == "restore.placed" { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) });
    assert!(bench.get().roll_back().is_err());
    testing::clear();
    let kept = bench.get().roll_back().unwrap().kept;
    let versions = bench.get().versions(0, 100).unwrap();
    let recovered = versions.iter().filter(|it| it.kind == VersionKind::Recovered).map(|it| it.id);
    assert_eq!(recovered.collect::<Vec<_>>(), [kept.unwrap()]);
    let open: u64 = bench
        .get()
        .database
        .connection()
        .query_row("SELECT count(*) FROM op WHERE state = 'started'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(open, 0);
    bench.assert_at_head();
    bench.write("a", "on we go");
    bench.cut();
    bench.assert_at_head();
}
