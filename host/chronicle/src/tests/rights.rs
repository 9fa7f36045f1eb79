//! A host that is not root, and guests that take its rights on their folders away.

use std::os::unix::fs::PermissionsExt;

use super::{Bench, SCAN, path};

/// Makes this thread an ordinary user who owns the files: root's way past permissions is gone, for this test alone.
fn be_nobody_special() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let mut sets = capabilities(None).unwrap();
    sets.effective.remove(CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH);
    set_capabilities(None, sets).unwrap();
}

fn set(bench: &Bench, name: &str, mode: u32) {
    std::fs::set_permissions(bench.work().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    bench.dirty.touched(&path(name));
}

/// Everything, with modes of folders; they are made readable for that and get their modes back.
fn seen(bench: &Bench) -> (super::Files, Vec<(String, u32)>) {
    let mut modes = Vec::new();
    let mut at = 0;
    let mut folders = vec![bench.work()];
    while let Some(folder) = folders.get(at).cloned() {
        at += 1;
        let mode = folder.metadata().unwrap().permissions().mode() & 0o777;
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        modes.push((folder.strip_prefix(bench.work()).unwrap().to_str().unwrap().to_owned(), mode));
        for entry in std::fs::read_dir(&folder).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    let files = bench.files();
    for (name, mode) in modes.iter().rev() {
        std::fs::set_permissions(bench.work().join(name), std::fs::Permissions::from_mode(*mode)).unwrap();
    }
    modes.sort();
    (files, modes)
}

const MODES: [u32; 5] = [0o000, 0o400, 0o100, 0o300, 0o555];

#[test]
fn folders_that_may_not_be_read_are_in_versions_and_come_back() {
    be_nobody_special();
    for mode in MODES {
        for scan in [false, true] {
            let mut bench = Bench::new();
            bench.write("d/e/a", "1");
            bench.write("d/b", "1");
            set(&bench, "d/e", mode);
            set(&bench, "d", mode);
            let before = seen(&bench);
            let version = if scan { bench.cut_with(SCAN) } else { bench.cut() };
            assert!(version.skipped.is_empty());
            assert_eq!(bench.files_of(version.root), before.0);
            // Looking changed nothing that stays.
            assert_eq!(seen(&bench), before, "{mode:o}");
            assert!(!bench.cut_with(SCAN).changed, "{mode:o}");
            // A turn that changes what is in them, and fails.
            set(&bench, "d", 0o700);
            set(&bench, "d/e", 0o700);
            bench.write("d/e/a", "2");
            bench.write("d/e/new/x", "2");
            bench.remove("d/b");
            set(&bench, "d/e/new", mode);
            set(&bench, "d/e", mode);
            set(&bench, "d", mode);
            if scan {
                bench.open();
            } else {
                bench.get().roll_back().unwrap();
            }
            assert_eq!(seen(&bench), before, "{mode:o}");
            assert!(!bench.cut_with(SCAN).changed, "{mode:o}");
        }
    }
}

#[test]
fn a_workspace_without_rights_is_opened() {
    be_nobody_special();
    for mode in MODES {
        let mut bench = Bench::new();
        bench.limits.workspace_entries = 20;
        bench.open();
        bench.write("d/a", "1");
        bench.cut();
        let before = seen(&bench);
        // More than can be kept, out of the way of whoever looks, in folders that may not be changed.
        for n in 0..10 {
            bench.write(&format!("many/{n}/{n}"), "x");
            bench.write(&format!("d/{n}/{n}"), "x");
            set(&bench, &format!("d/{n}"), mode);
            set(&bench, &format!("many/{n}"), mode);
        }
        for name in ["many", "d", "."] {
            std::fs::set_permissions(bench.work().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        assert!(bench.open().too_large_to_keep);
        assert_eq!(seen(&bench), before, "{mode:o}");
        // Its own folder is the host's.
        std::fs::set_permissions(bench.work(), std::fs::Permissions::from_mode(mode)).unwrap();
        bench.dirty.touched(&path("d/a"));
        assert!(!bench.cut().changed, "{mode:o}");
        std::fs::set_permissions(bench.work(), std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(!bench.cut_with(SCAN).changed, "{mode:o}");
    }
}

#[test]
fn who_may_look_all_the_same_changes_no_folder() {
    if !rustix::process::geteuid().is_root() {
        // Anybody else needs the rights, and gives them back.
        return;
    }
    let mut bench = Bench::new();
    bench.write("d/inner", "x");
    set(&bench, "d", 0o600);
    let changed = |bench: &Bench| {
        let found = rustix::fs::stat(bench.work().join("d")).unwrap();
        (found.st_ctime, found.st_ctime_nsec)
    };
    let before = changed(&bench);
    bench.cut();
    assert_eq!(changed(&bench), before);
}
