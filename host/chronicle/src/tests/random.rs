//! Any order of writes, renames, removals, cuts, restores, failures and crashes, against a model in memory: no acknowledged version is
//! lost, none is torn, and the workspace is what was named.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Bench, Files, SCAN, TURN, path};
use crate::failpoint::testing;
use crate::{ContentHash, Retention, SnapshotRequest, VersionKind};

#[derive(Debug, Clone)]
enum Step {
    Write(u8, u16, u8),
    Remove(u8),
    Rename(u8, u8),
    MakeFolder(u8),
    RenameFolder(u8, u8),
    RemoveFolder(u8),
    Link(u8, u8),
    Cut,
    Scan,
    /// The next cut fails at this moment, and the host goes on.
    FailedCut(u8),
    /// Killed at this moment of a cut.
    KilledCut(u8),
    Kill,
    Close,
    PowerCut,
    RollBack,
    Restore(u8),
    /// With a collection before a version is made of it.
    CollectedRestore(u8),
    KilledRestore(u8, u8),
    RestorePath(u8, u8),
    Collect(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any::<u8>(), 0_u16..3000, any::<u8>()).prop_map(|(name, len, fill)| Step::Write(name, len, fill)),
        2 => any::<u8>().prop_map(Step::Remove),
        2 => any::<(u8, u8)>().prop_map(|(from, to)| Step::Rename(from, to)),
        1 => any::<u8>().prop_map(Step::MakeFolder),
        2 => any::<(u8, u8)>().prop_map(|(from, to)| Step::RenameFolder(from, to)),
        1 => any::<u8>().prop_map(Step::RemoveFolder),
        1 => any::<(u8, u8)>().prop_map(|(name, to)| Step::Link(name, to)),
        5 => Just(Step::Cut),
        1 => Just(Step::Scan),
        1 => (0_u8..20).prop_map(Step::FailedCut),
        2 => (0_u8..20).prop_map(Step::KilledCut),
        1 => Just(Step::Kill),
        1 => Just(Step::Close),
        1 => Just(Step::PowerCut),
        1 => Just(Step::RollBack),
        1 => any::<u8>().prop_map(Step::Restore),
        1 => any::<u8>().prop_map(Step::CollectedRestore),
        1 => (any::<u8>(), 0_u8..20).prop_map(|(version, moment)| Step::KilledRestore(version, moment)),
        1 => any::<(u8, u8)>().prop_map(|(version, name)| Step::RestorePath(version, name)),
        1 => (1_u8..10).prop_map(Step::Collect),
    ]
}

/// A few names in a few folders, so that steps meet.
fn name(of: u8) -> String {
    match of % 12 {
        n @ 0..4 => format!("f{n}"),
        n @ 4..8 => format!("d/f{n}"),
        n => format!("d/e/f{n}"),
    }
}

fn folder(of: u8) -> &'static str {
    ["d", "d/e", "g", "d/h"][usize::from(of % 4)]
}

/// The moments of this thread fail from the `at`th on: what a process that is gone does.
fn die_at(at: u8) {
    let mut left = at;
    testing::set(move |_| {
        if left == 0 {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        left -= 1;
        Ok(())
    });
}

struct Model {
    bench: Bench,
    /// What was acknowledged.
    acked: Files,
    versions: BTreeMap<u64, (ContentHash, Files)>,
    boots: u32,
}

impl Model {
    fn acknowledge(&mut self) {
        self.acked = self.bench.files();
        let Some(root) = self.bench.named.root else { return };
        self.versions.insert(self.bench.named.version, (root, self.acked.clone()));
    }

    fn reopen(&mut self) {
        self.bench.open();
        assert_eq!(self.bench.files(), self.acked);
        self.bench.assert_at_head();
    }

    fn version(&self, of: u8) -> Option<u64> {
        self.versions.keys().nth(usize::from(of) % self.versions.len().max(1)).copied()
    }

    fn collect(&mut self, newest: usize) {
        let keep = Retention { all_ms: 0, newest, hourly_ms: 0, daily_ms: 0, recovered: 1 };
        self.bench.get().collect(&keep, u64::MAX).unwrap();
        let kept: Vec<u64> = self.bench.get().versions(0, 1000).unwrap().iter().map(|it| it.id).collect();
        self.versions.retain(|version, _| kept.contains(version));
    }

    fn step(&mut self, step: &Step) {
        let work = self.bench.work();
        let at = |name: &str| work.join(name);
        let dirty = self.bench.dirty.clone();
        match step {
            Step::Write(of, len, fill) => {
                let name = name(*of);
                let blocked = std::path::Path::new(&name)
                    .ancestors()
                    .skip(1)
                    .any(|above| at(above.to_str().unwrap()).symlink_metadata().is_ok_and(|found| !found.is_dir()));
                if !blocked && !at(&name).is_dir() && !at(&name).is_symlink() {
                    self.bench.write(&name, vec![*fill; usize::from(*len)]);
                }
            }
            Step::Remove(of) => {
                if std::fs::remove_file(at(&name(*of))).is_ok() {
                    dirty.touched(&path(&name(*of)));
                }
            }
            Step::Rename(from, to) => {
                let (from, to) = (name(*from), name(*to));
                if at(&from).symlink_metadata().is_ok_and(|it| !it.is_dir())
                    && std::fs::rename(at(&from), at(&to)).is_ok()
                {
                    dirty.renamed(&path(&from), &path(&to));
                }
            }
            Step::MakeFolder(of) => {
                if std::fs::create_dir(at(folder(*of))).is_ok() {
                    dirty.touched(&path(folder(*of)));
                }
            }
            Step::RenameFolder(from, to) => {
                let (from, to) = (folder(*from), folder(*to));
                if from != to && at(from).is_dir() && std::fs::rename(at(from), at(to)).is_ok() {
                    dirty.renamed_folder(&path(from), &path(to));
                }
            }
            Step::RemoveFolder(of) => {
                // Whoever removes a folder removes what is in it first.
                let all = self.bench.files();
                let beneath = format!("{}/", folder(*of));
                if std::fs::remove_dir_all(at(folder(*of))).is_ok() {
                    let names = all.keys().filter(|name| name.starts_with(&beneath));
                    for name in names {
                        dirty.touched(&path(name.trim_end_matches(" ->").trim_end_matches('/')));
                    }
                }
            }
            Step::Link(of, to) => {
                if std::os::unix::fs::symlink(name(*to), at(&name(*of))).is_ok() {
                    dirty.touched(&path(&name(*of)));
                }
            }
            Step::Cut => {
                self.bench.cut();
                self.acknowledge();
                self.bench.assert_at_head();
            }
            Step::Scan => {
                self.bench.cut();
                // Nothing was missed.
                assert!(!self.bench.cut_with(SCAN).changed);
                self.acknowledge();
            }
            Step::FailedCut(moment) => {
                die_at(*moment);
                let prepared = self.bench.get().prepare(TURN);
                testing::clear();
                drop(prepared);
                self.bench.cut();
                self.acknowledge();
                self.bench.assert_at_head();
                assert!(!self.bench.cut_with(SCAN).changed);
            }
            Step::KilledCut(moment) => {
                let written = self.bench.files();
                let cut = self.bench.named.cut + 1;
                die_at(*moment);
                let prepared = self.bench.get().prepare(SnapshotRequest { cut: Some(cut), ..TURN });
                if let Ok(prepared) = prepared {
                    // `messages.db` has it; whether the chronicle hears of it does not matter.
                    self.bench.name(&prepared);
                    let _ = self.bench.get().commit(prepared.version, cut);
                    self.acked = written;
                    if prepared.version > 0 {
                        self.versions.insert(prepared.version, (prepared.root, self.acked.clone()));
                    }
                }
                self.bench.chronicle = None;
                testing::clear();
                self.reopen();
            }
            Step::Kill => self.reopen(),
            Step::Close => {
                self.bench.cut();
                self.acknowledge();
                self.bench.chronicle.take().unwrap().close().unwrap();
                self.reopen();
            }
            Step::PowerCut => {
                self.boots += 1;
                self.bench.boot = format!("boot {}", self.boots);
                // A file without its content, which has the times it had.
                for (name, content) in self.bench.files() {
                    if name.ends_with('4') && at(&name).is_file() {
                        let time = at(&name).metadata().unwrap().modified().unwrap();
                        std::fs::write(at(&name), vec![0; content.len()]).unwrap();
                        std::fs::File::options().write(true).open(at(&name)).unwrap().set_modified(time).unwrap();
                    }
                }
                self.reopen();
            }
            Step::RollBack => {
                self.bench.get().roll_back().unwrap();
                assert_eq!(self.bench.files(), self.acked);
                self.bench.assert_at_head();
                assert!(!self.bench.dirty.is_dirty());
            }
            Step::Restore(of) => {
                let Some(version) = self.version(*of) else { return };
                self.bench.get().restore(version, None).unwrap();
                assert_eq!(self.bench.files(), self.versions[&version].1);
                let made = self.bench.cut_with(SnapshotRequest { kind: VersionKind::Restore, ..TURN });
                assert_eq!(made.root, self.versions[&version].0);
                self.acknowledge();
            }
            Step::CollectedRestore(of) => {
                let Some(version) = self.version(*of) else { return };
                let wanted = self.versions[&version].clone();
                self.bench.get().restore(version, None).unwrap();
                self.collect(1);
                assert_eq!(self.bench.cut().root, wanted.0);
                assert_eq!(self.bench.files(), wanted.1);
                self.acknowledge();
            }
            Step::KilledRestore(of, moment) => {
                let Some(version) = self.version(*of) else { return };
                die_at(*moment);
                let _ = self.bench.get().restore(version, None);
                self.bench.chronicle = None;
                testing::clear();
                self.reopen();
            }
            Step::RestorePath(of, what) => {
                let Some(version) = self.version(*of) else { return };
                let what = path(&name(*what));
                let _ = self.bench.get().restore(version, Some(&[what]));
                self.bench.cut();
                self.acknowledge();
                assert!(!self.bench.cut_with(SCAN).changed);
            }
            Step::Collect(newest) => self.collect(usize::from(*newest)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_workspace_is_what_was_named(steps in prop::collection::vec(step(), 1..60)) {
        let mut model = Model { bench: Bench::new(), acked: Files::new(), versions: BTreeMap::new(), boots: 0 };
        for step in &steps {
            model.step(step);
        }
        for (version, (root, files)) in &model.versions {
            prop_assert_eq!(&model.bench.files_of(*root), files, "version {}", version);
        }
        let checked = model.bench.get().fsck().unwrap();
        prop_assert!(checked.faults.is_empty() && checked.database.is_none(), "{:?}", checked);
        // Iterations of each path are numbered without a hole, but for those that a collection dropped.
        let changes = model.bench.get().changes(0, 1000).unwrap();
        prop_assert!(changes.is_sorted_by(|a, b| a.n < b.n));
    }
}

/// Runs of the test: more by hand, `CHRONICLE_CASES=5000`.
fn cases() -> u32 {
    std::env::var("CHRONICLE_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48)
}
