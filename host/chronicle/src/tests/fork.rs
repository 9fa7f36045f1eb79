//! Workspaces that begin as a version of another one: they share, and nothing done to the one is seen in the other.

use std::os::unix::fs::MetadataExt;

use super::{Bench, Files, SCAN};
use crate::failpoint::testing;
use crate::{Chronicle, ChronicleError, ContentHash, Named, Place, Retention};

const NEWEST: Retention = Retention { all_ms: 0, newest: 1, hourly_ms: 0, daily_ms: 0, recovered: 0 };

/// Three cuts with small and large files: what each had, and its version and tree.
fn origin() -> (Bench, Vec<(u64, ContentHash, Files)>) {
    let mut bench = Bench::new();
    let mut cuts = Vec::new();
    for round in 0..3_u8 {
        bench.write("a", [round; 10]);
        bench.write(&format!("d{round}/e"), vec![round; 5000]);
        let noise: Vec<u8> =
            (0..700_000_u32).map(|n| (n.wrapping_mul(2_654_435_761 + u32::from(round)) >> 9) as u8).collect();
        bench.write("large", noise);
        std::os::unix::fs::symlink("a", bench.work().join(format!("link{round}"))).unwrap();
        let prepared = bench.cut_with(SCAN);
        cuts.push((prepared.version, prepared.root, bench.files()));
    }
    (bench, cuts)
}

fn place(bench: &Bench) -> Place {
    Place::new(bench.folder.path().join("chronicle"))
}

/// An instance's place before there is a workspace.
fn nobody() -> Bench {
    let mut bench = Bench::new();
    bench.chronicle = None;
    std::fs::remove_dir_all(bench.folder.path().join("chronicle")).unwrap();
    bench
}

fn named(root: ContentHash) -> Named {
    Named { cut: 1, version: 1, root: Some(root) }
}

fn fork(bench: &mut Bench, version: u64, root: ContentHash) -> Bench {
    let mut fork = nobody();
    assert_eq!(bench.get().plant(version, root, &place(&fork)).unwrap(), Vec::new());
    fork.named = named(root);
    fork
}

fn assert_whole(fork: &mut Bench, files: &Files) {
    fork.assert_at_head();
    assert_eq!(&fork.files(), files);
    let checked = fork.get().fsck().unwrap();
    assert_eq!((checked.faults, checked.database), (Vec::new(), None));
    let iterations = fork.get().changes(0, 1000).unwrap();
    assert!(iterations.iter().all(|change| change.version == 1 && change.index == 1));
    assert_eq!(iterations.len(), files.len());
}

#[test]
fn a_fork_has_the_content_of_its_version_and_shares_it() {
    let (mut bench, cuts) = origin();
    for (version, root, files) in &cuts {
        let mut fork = fork(&mut bench, *version, *root);
        let bytes: u64 = walk(&fork).iter().map(|meta| meta.len()).sum();
        assert!(bytes < 1000, "{bytes} bytes before it is used");
        let opened = fork.open();
        assert_eq!((opened.recovered, opened.created), (None, false));
        assert_whole(&mut fork, files);
        let packs = std::fs::read_dir(fork.metadata().join("cas")).unwrap();
        assert!(packs.into_iter().all(|pack| pack.unwrap().metadata().unwrap().nlink() > 1), "segments are linked");
        assert!(!fork.metadata().join("source").exists());
        // The two go on alone.
        fork.write("a", "of the fork");
        fork.remove("large");
        fork.cut();
        bench.write("a", "of the origin");
        bench.cut();
        assert_eq!(
            (fork.files()["a"].as_slice(), bench.files()["a"].as_slice()),
            (&b"of the fork"[..], &b"of the origin"[..])
        );
        for one in [&mut fork, &mut bench] {
            one.open();
            one.assert_at_head();
            assert_eq!(one.get().fsck().unwrap().faults, Vec::new());
        }
        // Back to what it began as.
        assert_eq!(&fork.files_of(*root), files);
    }
}

fn walk(bench: &Bench) -> Vec<std::fs::Metadata> {
    let mut found = Vec::new();
    let mut folders = vec![bench.folder.path().join("chronicle")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let meta = entry.metadata().unwrap();
            if meta.is_dir() { folders.push(entry.path()) } else { found.push(meta) }
        }
    }
    found
}

#[test]
fn the_origin_may_be_deleted_before_and_after_the_fork_is_used() {
    for used_before in [false, true] {
        let (mut bench, cuts) = origin();
        let (version, root, files) = &cuts[1];
        let mut forks: Vec<Bench> = (0..2).map(|_| fork(&mut bench, *version, *root)).collect();
        if used_before {
            forks[0].open();
        }
        bench.chronicle = None;
        let heirs = Chronicle::leave_to_forks(&place(&bench)).unwrap();
        assert_eq!(heirs, if used_before { 1 } else { 2 });
        drop(bench);
        for fork in &mut forks {
            fork.open();
            assert_whole(fork, files);
            assert!(!fork.metadata().join("source.d").exists());
        }
    }
}

#[test]
fn a_collection_keeps_what_a_fork_has_not_taken_yet_and_nothing_longer() {
    let (mut bench, cuts) = origin();
    let (version, root, files) = &cuts[0];
    let mut first = fork(&mut bench, *version, *root);
    let gone = fork(&mut bench, cuts[1].0, cuts[1].1);
    drop(gone);
    for round in 0..3_u8 {
        bench.write("large", vec![round; 3_000_000]);
        bench.cut();
        bench.get().collect(&NEWEST, 0).unwrap();
    }
    assert!(bench.get().version(*version).is_ok(), "a fork needs it");
    assert!(bench.get().version(cuts[1].0).is_err(), "one that is gone does not");
    first.open();
    assert_whole(&mut first, files);
    bench.get().collect(&NEWEST, 0).unwrap();
    assert!(bench.get().version(*version).is_err(), "it has its own");
    first.open();
    assert_whole(&mut first, files);
    // Neither does a collection there touch what is here.
    first.write("a", "more");
    first.cut();
    first.get().collect(&NEWEST, 0).unwrap();
    bench.open();
    assert_eq!(bench.get().fsck().unwrap().faults, Vec::new());
    assert!(matches!(bench.get().plant(*version, *root, &place(&nobody())), Err(ChronicleError::NoVersion(_))));
}

#[test]
fn a_fork_of_a_fork_that_nobody_used() {
    let (mut bench, cuts) = origin();
    let (version, root, files) = &cuts[2];
    let first = fork(&mut bench, *version, *root);
    let mut second = nobody();
    Chronicle::plant_from(&place(&first), 1, *root, &place(&second), 7).unwrap();
    second.named = named(*root);
    assert!(!first.work().join("a").exists(), "its files are not made for that");
    // The one in the middle goes first.
    assert_eq!(Chronicle::leave_to_forks(&place(&first)).unwrap(), 1);
    drop(first);
    bench.chronicle = None;
    Chronicle::leave_to_forks(&place(&bench)).unwrap();
    drop(bench);
    second.open();
    assert_whole(&mut second, files);
}

#[test]
fn killed_at_every_step() {
    // While it is planted: the origin is as it was, and the begun fork can go.
    for step in ["fork.noted", "fork.leased"] {
        let (mut bench, cuts) = origin();
        let begun = nobody();
        fail_at(step);
        assert!(bench.get().plant(cuts[0].0, cuts[0].1, &place(&begun)).is_err(), "{step}");
        testing::clear();
        drop(begun);
        bench.get().collect(&NEWEST, 0).unwrap();
        assert!(bench.get().version(cuts[0].0).is_err(), "{step}: nothing needs it");
        bench.open();
        bench.assert_at_head();
    }
    // While it is used for the first time: it is used for the first time once more.
    for step in ["fork.linked", "fork.written", "restore.started", "restore.placing", "restore.placed"] {
        let (mut bench, cuts) = origin();
        let (version, root, files) = &cuts[1];
        let mut fork = fork(&mut bench, *version, *root);
        fail_at(step);
        assert!(fork.try_open().is_err(), "{step}");
        testing::clear();
        let opened = fork.open();
        assert_eq!(opened.recovered, None, "{step}");
        assert!(!fork.metadata().join("source").exists(), "{step}");
        assert_whole(&mut fork, files);
    }
    // While the origin is deleted.
    let (mut bench, cuts) = origin();
    let (version, root, files) = &cuts[1];
    let mut forks: Vec<Bench> = (0..2).map(|_| fork(&mut bench, *version, *root)).collect();
    bench.chronicle = None;
    fail_at("fork.left");
    assert!(Chronicle::leave_to_forks(&place(&bench)).is_err());
    testing::clear();
    // It is still there, and is changed: what was left to the one fork already is not used.
    bench.open();
    bench.write("large", vec![1; 100]);
    bench.cut();
    bench.chronicle = None;
    forks[0].open();
    assert_whole(&mut forks[0], files);
    assert_eq!(Chronicle::leave_to_forks(&place(&bench)).unwrap(), 1);
    drop(bench);
    forks[1].open();
    assert_whole(&mut forks[1], files);
}

fn fail_at(step: &'static str) {
    testing::set(move |name| if name == step { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) });
}

#[test]
fn what_the_origin_appends_after_is_not_the_forks() {
    let (mut bench, cuts) = origin();
    let (version, root, files) = &cuts[2];
    let mut fork = fork(&mut bench, *version, *root);
    fork.open();
    // Into the segment that both have, and cut off again.
    bench.write("more", vec![3; 9000]);
    bench.get().prepare(SCAN).unwrap();
    bench.open();
    bench.write("more", vec![4; 90]);
    bench.cut();
    fork.write("mine", vec![5; 9000]);
    fork.cut();
    let mut both = files.clone();
    both.insert("mine".into(), vec![5; 9000]);
    for round in 0..2 {
        fork.open();
        fork.assert_at_head();
        assert_eq!(fork.files(), both, "round {round}");
        assert_eq!(fork.get().fsck().unwrap().faults, Vec::new());
        bench.open();
        bench.assert_at_head();
    }
}
