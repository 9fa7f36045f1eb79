//! Files by path: what is written, listed and refused.

use std::os::unix::fs::{PermissionsExt, symlink};

use rustix::fs::Mode;

use super::*;
use crate::workspace::bench::{Bench, code};

fn names(listing: &Listing) -> Vec<&str> {
    listing.entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn a_look_at_what_nobody_used_makes_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.turn.workspace_list("", None, 10), Ok(Listing { entries: Vec::new(), next: None }));
    assert_eq!(code(bench.turn.workspace_list("d", None, 10)), Some(ErrorCode::FileNotFound));
    assert_eq!(code(bench.turn.workspace_read("a", 0, 10)), Some(ErrorCode::FileNotFound));
    assert_eq!(code(bench.turn.workspace_remove(&bench.quota, "a")), Some(ErrorCode::FileNotFound));
    assert!(!bench.folder.path().join("chronicle").exists());
}

#[test]
fn files_are_written_read_listed_and_removed_and_the_next_version_knows() {
    let bench = Bench::new();
    let (turn, quota) = (&bench.turn, &bench.quota);
    turn.workspace_write(quota, "d/e/a", None, b"one two").expect("writes");
    turn.workspace_write(quota, "d/e/a", Some(4), b"six!").expect("writes");
    turn.workspace_write(quota, "b", Some(3), b"x").expect("writes");
    turn.workspace_write(quota, "empty", None, b"").expect("writes");
    assert_eq!(turn.workspace_read("d/e/a", 0, 100).expect("reads"), b"one six!");
    assert_eq!(turn.workspace_read("d/e/a", 4, 3).expect("reads"), b"six");
    assert_eq!(turn.workspace_read("d/e/a", u64::MAX, 3).expect("reads"), b"");
    assert_eq!(turn.workspace_read("b", 0, 100).expect("reads"), b"\0\0\0x");
    turn.workspace_write(quota, "d/e/a", None, b"short").expect("writes");
    assert_eq!(bench.read("d/e/a").as_deref(), Some("short"));
    let all = turn.workspace_list("", None, 10).expect("lists");
    let shown: Vec<_> = all.entries.iter().map(|it| (it.name.as_str(), it.kind, it.size)).collect();
    assert_eq!(shown, [("b", FileKind::File, 4), ("d", FileKind::Folder, 0), ("empty", FileKind::File, 0)]);
    let created = ["b", "d/e/a", "empty"].map(|path| (path.to_owned(), 'C'));
    assert_eq!(bench.changed(), created);
    bench.cut(1);
    turn.workspace_write(quota, "d/e/a", None, b"later").expect("writes");
    turn.workspace_remove(quota, "b").expect("removes");
    assert_eq!(code(turn.workspace_remove(quota, "d/e")), Some(ErrorCode::NotAFile), "it holds something");
    turn.workspace_remove(quota, "d/e/a").expect("removes");
    turn.workspace_remove(quota, "d/e").expect("removes");
    turn.workspace_write(quota, "d/f", None, b"new").expect("writes");
    assert_eq!(names(&turn.workspace_list("d", None, 10).expect("lists")), ["f"]);
    let expected = [("b", 'D'), ("d/e/a", 'D'), ("d/f", 'C')].map(|(path, what)| (path.to_owned(), what));
    assert_eq!(bench.changed(), expected);
}

#[test]
fn a_listing_comes_in_pages_in_order() {
    let bench = Bench::new();
    for n in (0..25).rev() {
        bench.turn.workspace_write(&bench.quota, &format!("d/{n:02}"), None, b"").expect("writes");
    }
    std::fs::write(bench.path("d").join(std::ffi::OsStr::new("ä")), "").expect("writes");
    let broken = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff");
    std::fs::write(bench.path("d").join(broken), "").expect("writes");
    let (mut all, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = bench.turn.workspace_list("d", after.as_deref(), 10).expect("lists");
        assert!(page.entries.len() <= 10);
        pages += 1;
        all.extend(page.entries.into_iter().map(|entry| entry.name));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (0..25).map(|n| format!("{n:02}")).chain(["ä".to_owned()]).collect();
    assert_eq!((all, pages), (expected, 3));
    for limit in [0, WORKSPACE_LIST_MAX + 1] {
        assert_eq!(code(bench.turn.workspace_list("d", None, limit)), Some(ErrorCode::BadRequest));
    }
    assert_eq!(code(bench.turn.workspace_list("d/01", None, 1)), Some(ErrorCode::NotAFile));
}

#[test]
fn nothing_leads_out_waits_or_is_something_else_than_a_file() {
    let bench = Bench::new();
    let (turn, quota) = (&bench.turn, &bench.quota);
    bench.write("f", "f");
    std::fs::write(bench.folder.path().join("chronicle/secret"), "s").expect("writes");
    std::fs::create_dir(bench.path("d")).expect("is made");
    for (target, link) in [("../secret", "out"), ("..", "up"), ("d", "in"), ("/etc/passwd", "far"), ("none", "new")] {
        symlink(target, bench.path(link)).expect("is made");
    }
    let pipe = bench.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("is made");
    let _socket = std::os::unix::net::UnixListener::bind(bench.path("socket")).expect("is made");
    let long = "x".repeat(256);
    for (path, expected) in [
        ("", ErrorCode::InvalidPath),
        ("/etc/passwd", ErrorCode::InvalidPath),
        ("../secret", ErrorCode::InvalidPath),
        ("d/../../secret", ErrorCode::InvalidPath),
        ("a\0b", ErrorCode::InvalidPath),
        (&long, ErrorCode::InvalidPath),
        (".chronicle/at/1/f", ErrorCode::InvalidPath),
        ("out", ErrorCode::InvalidPath),
        ("up/secret", ErrorCode::InvalidPath),
        ("in/f", ErrorCode::InvalidPath),
        ("far", ErrorCode::InvalidPath),
        ("new", ErrorCode::InvalidPath),
        ("d", ErrorCode::NotAFile),
        ("f/g", ErrorCode::NotAFile),
        ("pipe", ErrorCode::NotAFile),
        ("socket", ErrorCode::NotAFile),
    ] {
        // Each returns at once.
        assert_eq!(code(turn.workspace_read(path, 0, 1)), Some(expected), "reading {path:?}");
        assert_eq!(code(turn.workspace_write(quota, path, None, b"x")), Some(expected), "writing {path:?}");
    }
    assert_eq!(std::fs::read(bench.folder.path().join("chronicle/secret")).expect("is there"), b"s");
    for (path, expected) in [
        ("up/d", ErrorCode::InvalidPath),
        ("../", ErrorCode::InvalidPath),
        (".chronicle", ErrorCode::InvalidPath),
        // A link is no folder.
        ("up", ErrorCode::NotAFile),
    ] {
        assert_eq!(code(turn.workspace_list(path, None, 1)), Some(expected), "listing {path}");
    }
    for (path, expected) in [
        ("../secret", ErrorCode::InvalidPath),
        (".chronicle", ErrorCode::InvalidPath),
        ("", ErrorCode::InvalidPath),
        ("up/secret", ErrorCode::NotAFile),
        ("in/f", ErrorCode::NotAFile),
    ] {
        assert_eq!(code(turn.workspace_remove(quota, path)), Some(expected), "removing {path}");
    }
    let kinds = turn.workspace_list("", None, 100).expect("lists");
    assert_eq!(names(&kinds), ["d", "f", "far", "in", "new", "out", "pipe", "socket", "up"]);
    assert_eq!(kinds.entries[6].kind, FileKind::Other);
    // A link goes, and not what it leads to.
    turn.workspace_remove(quota, "in").expect("removes");
    turn.workspace_remove(quota, "pipe").expect("removes");
    assert!(bench.path("d").exists() && bench.path("pipe").symlink_metadata().is_err());
    let deep = "d/".repeat(300) + "f";
    assert_eq!(code(turn.workspace_write(quota, &deep, None, b"x")), Some(ErrorCode::InvalidPath));
    assert_eq!(code(turn.workspace_write(quota, "f", Some(u64::MAX), b"x")), Some(ErrorCode::FileTooLarge));
    assert_eq!(code(turn.workspace_write(quota, "f", Some(i64::MAX as u64), b"x")), Some(ErrorCode::FileTooLarge));
    let much = vec![0; WORKSPACE_CALL_BYTES_MAX as usize + 1];
    assert_eq!(code(turn.workspace_write(quota, "f", None, &much)), Some(ErrorCode::BadRequest));
    assert_eq!(code(turn.workspace_read("f", 0, WORKSPACE_CALL_BYTES_MAX + 1)), Some(ErrorCode::BadRequest));
    assert_eq!(bench.read("f").as_deref(), Some("f"), "untouched");
}

#[test]
fn what_does_not_fit_is_refused_to_the_byte_and_changes_nothing() {
    let bench = Bench::with(|limits| (limits.workspace_bytes, limits.workspace_entries) = (1_000, 5));
    let (turn, quota) = (&bench.turn, &bench.quota);
    turn.workspace_write(quota, "d/a", None, &[1; 900]).expect("fits");
    assert_eq!(code(turn.workspace_write(quota, "d/a", Some(900), &[1; 101])), Some(ErrorCode::WorkspaceLimit));
    assert_eq!(code(turn.workspace_write(quota, "d/b", None, &[1; 101])), Some(ErrorCode::WorkspaceLimit));
    assert_eq!(names(&turn.workspace_list("d", None, 10).expect("lists")), ["a"]);
    assert_eq!(bench.path("d/a").metadata().expect("is there").len(), 900);
    turn.workspace_write(quota, "d/a", Some(900), &[1; 100]).expect("fits");
    turn.workspace_write(quota, "d/a", None, &[2; 1_000]).expect("fits in its place");
    // A hole counts.
    assert_eq!(code(turn.workspace_write(quota, "hole", Some(10), b"x")), Some(ErrorCode::WorkspaceLimit));
    turn.workspace_write(quota, "d/a", None, &[2; 10]).expect("is less");
    turn.workspace_write(quota, "hole", Some(989), b"x").expect("fits");
    // Folder and two files; two more, and no third.
    turn.workspace_write(quota, "e/c", None, b"").expect("fits");
    assert_eq!(code(turn.workspace_write(quota, "f", None, b"")), Some(ErrorCode::WorkspaceLimit));
    turn.workspace_remove(quota, "e/c").expect("removes");
    turn.workspace_write(quota, "f", None, b"").expect("fits");
    turn.workspace_commit().expect("is no more than it may be");
}

#[test]
fn a_file_of_several_names_is_found_changed_under_all_of_them() {
    let bench = Bench::new();
    bench.write("a", "one");
    std::fs::hard_link(bench.path("a"), bench.path("b")).expect("links");
    bench.turn.spec().workspace.dirty().scan_needed();
    bench.cut(1);
    bench.turn.workspace_write(&bench.quota, "b", None, b"other").expect("writes");
    assert_eq!(bench.changed(), [("a".to_owned(), 'M'), ("b".to_owned(), 'M')]);
}

#[test]
fn a_file_keeps_its_permissions() {
    let bench = Bench::new();
    bench.write("tool", "one");
    std::fs::set_permissions(bench.path("tool"), std::fs::Permissions::from_mode(0o755)).expect("sets");
    bench.turn.workspace_write(&bench.quota, "tool", None, b"two").expect("writes");
    assert_eq!(bench.path("tool").metadata().expect("is there").permissions().mode() & 0o777, 0o755);
}
