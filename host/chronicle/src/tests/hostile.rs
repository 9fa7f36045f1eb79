//! What guests put on disk to hurt the host.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::{Bench, SCAN, TURN, path};
use crate::{DirtySet, Named, SkipReason, WorkPath};

#[test]
fn names_are_bytes() {
    let mut bench = Bench::new();
    let long = [b'n'; 255];
    let names: [&[u8]; 7] =
        [b"new\nline", b"\xff\xfe", b"Case", b"case", "e\u{301}".as_bytes(), "\u{e9}".as_bytes(), &long];
    for name in names {
        std::fs::write(bench.work().join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
        bench.dirty.touched(&WorkPath::new(name).unwrap());
    }
    let version = bench.cut();
    assert_eq!(version.added, 7);
    for name in names {
        let content = bench.get().read(version.root, &WorkPath::new(name).unwrap(), 0, 300).unwrap();
        assert_eq!(content, name);
        std::fs::remove_file(bench.work().join(std::ffi::OsStr::from_bytes(name))).unwrap();
    }
    bench.open();
    bench.assert_at_head();
    assert!(!bench.cut_with(SCAN).changed);
}

#[test]
fn links_that_lead_out_are_kept_as_links() {
    let mut bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "s").unwrap();
    for (name, target) in [("abs", outside.to_str().unwrap()), ("up", "../../outside"), ("proc", "/proc/self/root")] {
        symlink(target, bench.work().join(name)).unwrap();
        bench.dirty.touched(&path(name));
    }
    // Told of paths through the links.
    bench.dirty.touched(&path("abs/secret"));
    bench.dirty.touched(&path("up/secret"));
    let version = bench.cut();
    assert_eq!(version.added, 3);
    assert!(!bench.cut_with(SCAN).changed);
    bench.assert_at_head();
}

#[test]
fn a_link_that_is_swapped_in_during_a_restore_leads_nowhere() {
    let mut bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("b"), "untouched").unwrap();
    bench.write("d/a", "1");
    bench.write("d/b", "1");
    bench.write("e/b", "1");
    let old = bench.cut();
    bench.write("d/a", "2");
    bench.write("d/b", "2");
    bench.remove("e/b");
    bench.cut();
    let (work, to) = (bench.work(), outside.clone());
    let mut once = true;
    crate::failpoint::testing::set(move |name| {
        if name == "restore.placing" && std::mem::take(&mut once) {
            // While d/a is placed, its folder becomes a link, and so does the next one.
            for folder in ["d", "e"] {
                std::fs::rename(work.join(folder), work.join(format!("was-{folder}"))).unwrap();
                symlink(&to, work.join(folder)).unwrap();
            }
        }
        Ok(())
    });
    let restored = bench.get().restore(old.version, None);
    crate::failpoint::testing::clear();
    restored.unwrap();
    assert_eq!(std::fs::read(outside.join("b")).unwrap(), b"untouched");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
    // The next opening finds what is left of it.
    bench.named = Named { cut: 9, version: old.version, root: Some(old.root) };
    bench.open();
    bench.assert_at_head();
}

#[test]
fn a_link_that_is_swapped_in_during_a_walk_leads_nowhere() {
    let mut bench = Bench::new();
    let outside = bench.folder.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "s").unwrap();
    bench.write("a", "1");
    bench.write("d/x", "1");
    let (work, to) = (bench.work(), outside);
    let mut once = true;
    crate::failpoint::testing::set(move |name| {
        if name == "content.read" && std::mem::take(&mut once) {
            std::fs::rename(work.join("d"), work.join("was")).unwrap();
            symlink(&to, work.join("d")).unwrap();
        }
        Ok(())
    });
    let prepared = bench.get().prepare(SCAN).unwrap();
    crate::failpoint::testing::clear();
    assert!(!bench.files_of(prepared.root).contains_key("d/secret"));
}

#[test]
fn deep_folders_are_said_and_removed() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.cut();
    let mut at = rustix::fs::open(bench.work(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..3000 {
        rustix::fs::mkdirat(&at, "d", rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    drop(at);
    bench.dirty.touched(&path("d"));
    let prepared = bench.get().prepare(TURN).unwrap();
    assert_eq!(prepared.skipped[0].reason, SkipReason::TooDeep);
    assert_eq!(prepared.skipped[0].path.depth(), crate::limits::DEPTH_MAX);
    assert_eq!(prepared.added, 256);
    let back = bench.get().roll_back().unwrap();
    // The deepest one that a version knew holds what none knows.
    assert_eq!(back.brought.left.len(), 256);
    let long = vec![b'l'; 255];
    let mut at = rustix::fs::open(bench.work(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    for _ in 0..40 {
        rustix::fs::mkdirat(&at, &long[..], rustix::fs::Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &long[..], rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    let prepared = bench.get().prepare(SCAN).unwrap();
    assert!(prepared.skipped.iter().any(|it| it.reason == SkipReason::PathTooLong));
}

#[test]
fn set_id_bits_do_not_come_back() {
    let mut bench = Bench::new();
    bench.write("tool", "1");
    std::fs::set_permissions(bench.work().join("tool"), std::fs::Permissions::from_mode(0o6755)).unwrap();
    let version = bench.cut();
    bench.write("tool", "2");
    bench.cut();
    bench.get().restore(version.version, None).unwrap();
    let mode = bench.work().join("tool").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn forged_times_hide_no_change() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.cut();
    let file = bench.work().join("a");
    let time = file.metadata().unwrap().modified().unwrap();
    std::fs::write(&file, "2").unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    assert!(bench.cut_with(SCAN).changed);
    bench.assert_at_head();
}

#[test]
fn a_folder_in_a_files_place_and_the_other_way_round() {
    let mut bench = Bench::new();
    bench.write("x", "file");
    bench.write("y/f", "folder");
    let old = bench.cut();
    bench.remove("x");
    bench.write("x/in", "folder now");
    std::fs::remove_dir_all(bench.work().join("y")).unwrap();
    bench.write("y", "file now");
    bench.cut();
    bench.assert_at_head();
    bench.get().restore(old.version, None).unwrap();
    assert_eq!(bench.files_of(old.root), bench.files());
}

#[test]
fn damaged_rows_are_errors_and_not_panics() {
    let mut bench = Bench::new();
    bench.write("d/a", "1");
    let version = bench.cut();
    let connection = bench.get().database.connection();
    connection.execute("UPDATE tree SET data = x'01ff'", []).unwrap();
    let checked = bench.get().fsck().unwrap();
    assert_eq!(checked.faults_count, 1);
    assert!(bench.get().restore(version.version, None).is_ok());
    bench.get().database.connection().execute("UPDATE object SET kind = 9, len = -5", []).unwrap();
    assert!(bench.get().read(version.root, &path("d/a"), 0, 1).is_err());
    bench.dirty = DirtySet::new();
}

#[test]
fn a_storm_of_writes_and_renames_during_snapshots_breaks_nothing() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let mut bench = Bench::new();
    for n in 0..60 {
        bench.write(&format!("d{}/f{n}", n % 5), format!("{n}"));
    }
    bench.cut();
    let (work, over) = (bench.work(), AtomicBool::new(false));
    let roots = std::thread::scope(|scope| {
        for seed in 0..2_u32 {
            let (work, over) = (&work, &over);
            scope.spawn(move || {
                let mut n = seed;
                while !over.load(Ordering::Relaxed) {
                    n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let at = |part: u32| work.join(format!("d{}", part % 5));
                    let (a, b) = (n >> 8, n >> 16);
                    // Many of these fail, because the other thread was there first.
                    let _ = match n % 7 {
                        0 => std::fs::rename(at(a), work.join(format!("moved{seed}"))),
                        1 => std::fs::rename(work.join(format!("moved{seed}")), at(b)),
                        2 => std::fs::remove_dir_all(at(a)),
                        3 => std::fs::create_dir(at(a)),
                        4 => symlink("/etc", at(a)),
                        5 => std::fs::remove_file(at(a)),
                        _ => std::fs::write(at(a).join(format!("f{}", b % 60)), n.to_le_bytes()),
                    };
                }
            });
        }
        let mut roots = Vec::new();
        for round in 0..60 {
            // What one of the threads may have done, told late.
            for n in 0..5 {
                bench.dirty.touched(&path(&format!("d{n}/f{round}")));
                bench.dirty.renamed_folder(&path(&format!("d{n}")), &path(&format!("moved{}", n % 2)));
            }
            roots.push(bench.cut_with(if round % 3 == 0 { SCAN } else { TURN }).root);
        }
        over.store(true, Ordering::Relaxed);
        roots
    });
    bench.cut_with(SCAN);
    bench.assert_at_head();
    for root in roots {
        assert!(bench.files_of(root).keys().all(|name| !name.contains("passwd")));
    }
    assert!(bench.get().fsck().unwrap().faults.is_empty());
}

#[test]
fn a_sparse_terabyte_is_left_out_unread() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.cut();
    let before = bench.get().stats().unwrap();
    std::fs::File::create(bench.work().join("huge")).unwrap().set_len(1 << 40).unwrap();
    bench.dirty.touched(&path("huge"));
    for request in [TURN, SCAN] {
        let prepared = bench.get().prepare(request).unwrap();
        assert!(!prepared.changed);
        assert_eq!((prepared.skipped[0].reason, prepared.skipped[0].size), (SkipReason::TooBig, 1 << 40));
    }
    assert_eq!(bench.get().stats().unwrap().segment_bytes, before.segment_bytes);
    // It is nobody's to take away, after a crash too, until something has to stand there.
    bench.open();
    assert_eq!(bench.work().join("huge").metadata().unwrap().len(), 1 << 40);
    // One that grows while it is known is left out from then on.
    std::fs::File::options().write(true).open(bench.work().join("a")).unwrap().set_len(1 << 40).unwrap();
    bench.dirty.touched(&path("a"));
    let prepared = bench.cut();
    assert_eq!((prepared.deleted, prepared.skipped.len()), (1, 1));
}

#[test]
fn tiny_files_without_end_are_refused_and_removed() {
    let mut bench = Bench::new();
    bench.limits = crate::Limits { workspace_entries: 2000, ..crate::Limits::default() };
    bench.open();
    bench.write("kept", "1");
    bench.cut();
    for n in 0..20_000 {
        let folder = bench.work().join(format!("d{}", n % 7));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(n.to_string()), "x").unwrap();
    }
    for folder in 0..7 {
        bench.dirty.renamed_folder(&path(&format!("x{folder}")), &path(&format!("d{folder}")));
    }
    for request in [TURN, SCAN] {
        let refused = bench.get().prepare(request);
        let over = crate::ChronicleError::OverLimit { what: crate::Limited::WorkspaceEntries, limit: 2000 };
        assert_eq!(refused.unwrap_err().to_string(), over.to_string());
    }
    assert!(bench.get().roll_back().unwrap().too_large_to_keep);
    bench.assert_at_head();
    // As many as there may be are kept.
    for n in 0..1998 {
        bench.write(&format!("d/{n}"), "x");
    }
    assert_eq!(bench.cut().added, 1999);
    bench.write("one-more", "x");
    assert!(bench.get().prepare(TURN).is_err());
    bench.open();
    bench.assert_at_head();
}

#[test]
fn what_is_written_through_mappings_during_snapshots_is_in_the_next_one() {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    const WORDS: usize = 4096;
    let mut bench = Bench::new();
    bench.write("mapped", vec![0_u8; WORDS * 8]);
    bench.cut();
    let file = std::fs::File::options().read(true).write(true).open(bench.work().join("mapped")).unwrap();
    let meta = file.metadata().unwrap();
    let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
    let sharing = rustix::mm::MapFlags::SHARED;
    #[expect(unsafe_code, reason = "a mapping is what is tested; it is as long as the file, and its words are atomic")]
    let words: &'static [AtomicU64] = unsafe {
        let at = rustix::mm::mmap(std::ptr::null_mut(), WORDS * 8, protection, sharing, file.as_fd(), 0).unwrap();
        std::slice::from_raw_parts(at.cast::<AtomicU64>(), WORDS)
    };
    bench.dirty.mapped(meta.dev(), meta.ino(), &path("mapped"));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_usize;
            while !over.load(Ordering::Relaxed) {
                words[n % WORDS].fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
        });
        for _ in 0..20 {
            bench.cut();
        }
        over.store(true, Ordering::Relaxed);
    });
    // Written last, to pages that are dirty already, so that no time of the file tells of it.
    words[5].store(u64::MAX, Ordering::Relaxed);
    bench.cut();
    bench.assert_at_head();
    assert_eq!(&bench.files()["mapped"][40..48], &[0xff; 8]);
    words[5].store(7, Ordering::Relaxed);
    bench.dirty.unmapped(meta.dev(), meta.ino());
    bench.cut();
    bench.assert_at_head();
    assert!(bench.get().fsck().unwrap().faults.is_empty());
}
