//! What the owner does not want in versions: left out, told once, and never taken away.

use super::{Bench, SCAN, path};
use crate::limits::IGNORE_LINES_MAX;
use crate::{ChronicleError, Limited, Limits, SkipReason};

const FILE: &str = ".chronicleignore";

/// What the version before has at its top and below, by path.
fn kept(bench: &Bench) -> Vec<String> {
    bench.files_of(bench.named.root.unwrap()).into_keys().collect()
}

fn there(bench: &Bench, name: &str) -> bool {
    bench.work().join(name).exists()
}

#[test]
fn what_is_not_wanted_is_left_out_told_once_and_stays() {
    let mut bench = Bench::new();
    bench.write(FILE, "*.log\nbuild/\n");
    bench.write("a", "1");
    bench.write("a.log", "noise");
    bench.write("build/x/y", "made");
    bench.write("build/z", "made");
    let first = bench.cut();
    assert_eq!(kept(&bench), [FILE, "a"]);
    let told: Vec<_> = first.left_out.iter().map(|it| (it.path.to_string(), it.reason, it.entries)).collect();
    assert_eq!(told, [("a.log".into(), SkipReason::Ignored, 1), ("build".into(), SkipReason::Ignored, 4)]);
    // Changed again, and nobody is told again.
    bench.write("build/more", "made");
    bench.write("a.log", "more noise");
    bench.write("a", "2");
    let second = bench.cut();
    assert_eq!(second.left_out, []);
    assert_eq!(second.changes.len(), 1);
    let skipped = bench.get().skipped(second.version).unwrap();
    assert_eq!(skipped.iter().map(|it| it.entries).collect::<Vec<_>>(), [1, 5]);
    // A scan finds the same as the dirty paths did.
    assert!(!bench.cut_with(SCAN).changed);
    // Going back takes none of it away.
    bench.write("b.log", "of a turn that fails");
    bench.write("a", "3");
    bench.write("new/c.log", "in a folder that goes");
    bench.get().roll_back().unwrap();
    assert_eq!(std::fs::read(bench.work().join("a")).unwrap(), b"2");
    for name in ["a.log", "b.log", "build/more", "new/c.log"] {
        assert!(there(&bench, name), "{name}");
    }
    // Nor does a crash.
    bench.open();
    assert!(there(&bench, "b.log") && there(&bench, "build/x/y"));
    let first = first.version;
    bench.get().restore(first, None).unwrap();
    bench.cut();
    assert_eq!(std::fs::read(bench.work().join("a")).unwrap(), b"1");
    assert!(there(&bench, "a.log") && there(&bench, "build/z"));
}

#[test]
fn patterns_hold_from_the_version_on_that_has_them() {
    let mut bench = Bench::new();
    bench.write("a.log", "kept");
    bench.write("d/b.log", "kept");
    let before = bench.cut();
    // Only the file of patterns is dirty, and all that it names is looked at.
    bench.write(FILE, "*.log\n");
    let with = bench.cut();
    assert_eq!((with.added, with.deleted, with.left_out.len()), (1, 2, 2));
    assert!(there(&bench, "a.log"));
    // What was in a version is brought back where it is wanted again.
    std::fs::write(bench.work().join("a.log"), "changed unseen").unwrap();
    bench.get().restore(before.version, None).unwrap();
    bench.cut();
    assert_eq!(std::fs::read(bench.work().join("a.log")).unwrap(), b"kept");
    assert!(!there(&bench, FILE));
    bench.assert_at_head();
    // A version that leaves it out takes it from nobody.
    bench.get().restore(with.version, None).unwrap();
    bench.cut();
    assert!(there(&bench, "a.log") && there(&bench, "d/b.log"));
    assert_eq!(kept(&bench), [FILE, "d/"]);
    // Without patterns all of it is wanted.
    bench.remove(FILE);
    let without = bench.cut();
    assert_eq!((without.added, without.deleted), (2, 1));
    bench.assert_at_head();
}

#[test]
fn a_turn_that_fails_takes_its_patterns_with_it() {
    let mut bench = Bench::new();
    bench.write(FILE, "secret\n");
    bench.write("secret", "not to be kept");
    bench.write("a", "1");
    bench.cut();
    // It names what the last cut has, and not what that leaves out.
    bench.write(FILE, "a\n");
    bench.write("a", "2");
    let kept_aside = bench.get().roll_back().unwrap().kept.unwrap();
    assert_eq!(std::fs::read(bench.work().join("a")).unwrap(), b"1");
    assert!(there(&bench, "secret"));
    let version = bench.get().version(kept_aside).unwrap();
    assert_eq!(bench.files_of(version.root)["a"], b"2", "what it wrote is kept, by the patterns of the last cut");
    assert!(!bench.files_of(version.root).contains_key("secret"));
    assert!(!bench.cut_with(SCAN).changed);
}

#[test]
fn what_is_left_out_counts_and_never_keeps_a_workspace_from_going_back() {
    let mut bench = Bench::new();
    bench.limits = Limits { workspace_entries: 20, ..bench.limits };
    bench.open();
    bench.write(FILE, "big/\n");
    bench.write("a", "1");
    bench.cut();
    for n in 0..30 {
        bench.write(&format!("big/{n}"), "x");
    }
    bench.write("a", "2");
    let refused = bench.get().prepare(super::TURN).unwrap_err();
    assert!(matches!(refused, ChronicleError::OverLimit { what: Limited::WorkspaceEntries, .. }), "{refused}");
    let back = bench.get().roll_back().unwrap();
    assert!(!back.too_large_to_keep);
    assert_eq!(std::fs::read(bench.work().join("a")).unwrap(), b"1");
    assert!(there(&bench, "big/29"));
    bench.open();
    assert!(there(&bench, "big/29"));
    // It is in the way until somebody removes it.
    bench.write("a", "3");
    assert!(bench.get().prepare(super::TURN).is_err());
    std::fs::remove_dir_all(bench.work().join("big")).unwrap();
    bench.dirty.renamed_folder(&path("big"), &path("gone"));
    bench.write("a", "3");
    bench.cut();
    assert_eq!(kept(&bench), [FILE, "a"]);
}

#[test]
fn patterns_beyond_their_bounds_hold_not_at_all_and_that_is_said() {
    let mut bench = Bench::new();
    bench.write(FILE, "*.log\n".repeat(IGNORE_LINES_MAX + 1));
    bench.write("a.log", "1");
    let prepared = bench.cut();
    assert!(prepared.refused_patterns.is_some_and(|why| why.contains("lines")));
    assert_eq!(kept(&bench), [FILE, "a.log"]);
    // What is no file has no patterns.
    bench.remove(FILE);
    std::os::unix::fs::symlink("/etc/passwd", bench.work().join(FILE)).unwrap();
    bench.dirty.touched(&path(FILE));
    assert_eq!(bench.cut().refused_patterns, None);
    std::fs::remove_file(bench.work().join(FILE)).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bench.work().join(FILE),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    bench.dirty.touched(&path(FILE));
    assert_eq!(bench.cut().left_out.len(), 1);
}

#[test]
fn the_deepest_folder_and_the_largest_file_are_as_the_owner_wants() {
    let mut bench = Bench::new();
    bench.limits = Limits { depth: 2, file_bytes: 10, ..bench.limits };
    bench.open();
    bench.write("a/b", "12345678901");
    bench.write("a/c", "1234567890");
    bench.write("d/e/f", "too deep");
    let prepared = bench.cut();
    assert_eq!(kept(&bench), ["a/", "a/c", "d/", "d/e/"]);
    let told: Vec<_> = prepared.left_out.iter().map(|it| (it.path.to_string(), it.reason)).collect();
    assert_eq!(told, [("a/b".into(), SkipReason::TooBig), ("d/e".into(), SkipReason::TooDeep)]);
    bench.get().set_limits(Limits::default());
    bench.cut_with(SCAN);
    assert_eq!(kept(&bench), ["a/", "a/b", "a/c", "d/", "d/e/", "d/e/f"]);
}
