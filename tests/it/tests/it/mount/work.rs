//! What people do in a mount: a repository of ten thousand files, and names and trees of every kind.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use podium_it::database::Databases;
use podium_it::{Data, Host, guide, root};
use podium_wire::rest::FileIteration;
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};

use super::{Mounted, run, scribe};

/// Files of the repository.
const FILES: usize = 10_000;

/// A repository with many files in many folders, and two branches.
fn repository(folder: &Path) {
    for number in 0..FILES {
        let folder = folder.join(format!("d{}/e{}", number % 40, number % 7));
        fs::create_dir_all(&folder).expect("makes folders");
        fs::write(folder.join(format!("f{number}")), format!("{number}\n").repeat(number % 50 + 1)).expect("writes");
    }
    for arguments in [
        &["init", "-q", "-b", "main"][..],
        &["config", "user.name", "A"],
        &["config", "user.email", "a@example.org"],
        &["add", "-A"],
        &["commit", "-q", "-m", "first"],
        &["checkout", "-q", "-b", "other"],
        &["rm", "-q", "-r", "d1"],
        &["commit", "-q", "-m", "less"],
        &["checkout", "-q", "main"],
    ] {
        run(folder, "git", arguments);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn git_works_in_a_mount_as_anywhere() {
    let Some((host, m)) = scribe().await else { return };
    let origin = host.data().scratch().join("origin");
    fs::create_dir(&origin).expect("makes a folder");
    let (dir, id) = (m.dir.clone(), m.id);
    let work = tokio::task::spawn_blocking(move || {
        repository(&origin);
        run(&dir, "git", &["clone", "-q", "--no-hardlinks", origin.to_str().expect("UTF-8"), "clone"]);
        let clone = dir.join("clone");
        let git = |arguments: &[&str]| run(&clone, "git", arguments);
        assert_eq!(git(&["status", "--porcelain"]), "");
        assert_eq!(git(&["ls-files"]).lines().count(), FILES);
        fs::write(clone.join("d3/e3/f3"), "changed").expect("writes");
        fs::write(clone.join("new"), "new").expect("writes");
        assert_eq!(git(&["status", "--porcelain"]), " M d3/e3/f3\n?? new\n");
        for arguments in [
            &["config", "user.name", "A"][..],
            &["config", "user.email", "a@example.org"],
            &["add", "-A"],
            &["commit", "-q", "-m", "second"],
            &["checkout", "-q", "other"],
        ] {
            git(arguments);
        }
        assert!(!clone.join("d1").exists());
        git(&["checkout", "-q", "main"]);
        assert_eq!(fs::read(clone.join("d3/e3/f3")).expect("reads"), b"changed");
        git(&["gc", "-q"]);
        git(&["fsck", "--strict"]);
        assert_eq!(git(&["status", "--porcelain"]), "");
        git(&["rev-parse", "HEAD"])
    });
    let head = work.await.expect("git works");
    // All of it is in the cut.
    m.sync();
    let data = host.kill();
    drop(m);
    let host = Host::start_on(&data).await;
    let m = Mounted::of(&host.client(), id).await.expect("it could be mounted before");
    let clone = m.path("clone");
    let found = tokio::task::spawn_blocking(move || {
        assert_eq!(run(&clone, "git", &["rev-parse", "HEAD"]), head);
        run(&clone, "git", &["fsck", "--strict"]);
        run(&clone, "git", &["status", "--porcelain"])
    });
    assert_eq!(found.await.expect("git works"), "");
    Databases::open(&data.path(), id).check();
}

#[tokio::test]
async fn odd_names_deep_trees_links_and_open_descriptors_are_what_they_are() {
    let Some((host, m)) = scribe().await else { return };
    let client = host.client();
    let names: Vec<&[u8]> = vec![
        b"new\nline",
        b"\xff\xfe",
        &[b'n'; 255],
        b"Case",
        b"case",
        "e\u{301}".as_bytes(),
        "\u{e9}".as_bytes(),
        b" ",
        b"...",
        b"a\\b",
    ];
    for name in &names {
        fs::write(m.dir.join(std::ffi::OsStr::from_bytes(name)), name).expect("writes");
    }
    assert!(fs::write(m.path(&"n".repeat(256)), "x").is_err());
    fs::create_dir_all(m.path("d/e")).expect("makes folders");
    fs::write(m.path("d/e/f"), "one").expect("writes");
    fs::hard_link(m.path("d/e/f"), m.path("hard")).expect("links");
    std::os::unix::fs::symlink("/etc/passwd", m.path("absolute")).expect("links");
    std::os::unix::fs::symlink("../../outside", m.path("out")).expect("links");
    // Through a folder's descriptor, after the folder was renamed; through one name of two.
    let folder = rustix::fs::open(m.path("d/e"), OFlags::DIRECTORY, Mode::empty()).expect("opens");
    let mut held = OpenOptions::new().append(true).open(m.path("d/e/f")).expect("opens");
    fs::rename(m.path("d"), m.path("moved")).expect("renames");
    let within = rustix::fs::openat(&folder, "within", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR);
    rustix::io::write(within.expect("opens"), b"by descriptor").expect("writes");
    held.write_all(b" two").expect("writes");
    assert_eq!(client.reply(m.id, "read moved/e/within\nread hard").await, "by descriptorone two");
    rustix::fs::renameat_with(CWD, m.path("moved"), CWD, m.path("hard"), RenameFlags::EXCHANGE).expect("exchanges");
    held.write_all(b" three").expect("writes");
    let refused = rustix::fs::renameat_with(CWD, m.path("hard"), CWD, m.path("moved"), RenameFlags::NOREPLACE);
    assert_eq!(refused.err(), Some(rustix::io::Errno::EXIST));
    assert_eq!(client.reply(m.id, "read moved\nread hard/e/f").await, "one two threeone two three");
    // Numbers are the same in a listing and in what is said of a file.
    for entry in fs::read_dir(&m.dir).expect("lists") {
        let entry = entry.expect("lists");
        let said = fs::symlink_metadata(entry.path()).expect("is there").ino();
        assert_eq!(std::os::unix::fs::DirEntryExt::ino(&entry), said, "{entry:?}");
    }
    // A tree deeper than any path: used, left out of versions, and said.
    let mut at = rustix::fs::open(&m.dir, OFlags::DIRECTORY, Mode::empty()).expect("opens");
    for _ in 0..10_000 {
        rustix::fs::mkdirat(&at, "deep", Mode::RWXU).expect("makes a folder");
        at = rustix::fs::openat(&at, "deep", OFlags::DIRECTORY, Mode::empty()).expect("opens");
    }
    let bottom = rustix::fs::openat(&at, "bottom", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR | Mode::WUSR);
    rustix::io::write(bottom.expect("opens"), b"deep").expect("writes");
    m.sync();
    let log = host.log();
    assert!(log.contains("left out of the workspace's versions, in too many folders"), "{log}");
    run(&m.dir, "rm", &["-rf", "deep"]);
    // After a kill all of it is as it was.
    m.sync();
    let (id, data) = (m.id, host.kill());
    drop((m, folder, held, at));
    let host = Host::start_on(&data).await;
    let m = Mounted::of(&host.client(), id).await.expect("it could be mounted before");
    for name in &names {
        assert_eq!(fs::read(m.dir.join(std::ffi::OsStr::from_bytes(name))).expect("is there"), *name);
    }
    assert_eq!(fs::read(m.path("moved")).expect("is there"), b"one two three");
    assert_eq!(fs::read(m.path("hard/e/f")).expect("is there"), b"one two three");
    assert!(!m.path("deep").exists());
    assert_eq!(fs::read_link(m.path("absolute")).expect("a link"), Path::new("/etc/passwd"));
    drop(File::open(m.path("hard/e/within")).expect("is there"));
}

#[tokio::test]
async fn the_history_stands_in_the_mount_and_cannot_be_changed() {
    let Some((host, m)) = scribe().await else { return };
    let client = host.client();
    fs::create_dir(m.path("d")).expect("makes a folder");
    for text in ["one", "two", "three"] {
        fs::write(m.path("d/a"), text).expect("writes");
        m.sync();
    }
    client.reply(m.id, "append d/a four").await;
    fs::remove_file(m.path("d/a")).expect("removes");
    m.sync();
    let list: Vec<FileIteration> =
        serde_json::from_slice(&fs::read(m.path(".chronicle/query/d/a")).expect("reads")).expect("JSON");
    let sizes: Vec<Option<u64>> =
        list.iter().map(|iteration| iteration.hash.as_ref().map(|_| iteration.size)).collect();
    assert_eq!(sizes, [Some(3), Some(3), Some(5), Some(9), None], "{list:?}");
    let said: Vec<String> = list[..4]
        .iter()
        .map(|iteration| run(&m.dir, "cat", &[&format!(".chronicle/at/{}/d/a", iteration.n)]))
        .collect();
    assert_eq!(said, ["one", "two", "three", "threefour"]);
    let n = list[1].n;
    assert_eq!(
        run(&m.dir, "ls", &[".chronicle", ".chronicle/query", &format!(".chronicle/at/{n}")]).lines().count(),
        9
    );
    assert!(run(&m.dir, "ls", &[".chronicle/at"]).lines().any(|line| line == n.to_string()));
    assert_eq!(run(&m.dir, "stat", &["-c", "%s %A", &format!(".chronicle/at/{n}/d/a")]), "3 -r--r--r--\n");
    for (what, refused) in [
        ("write", fs::write(m.path(&format!(".chronicle/at/{n}/d/a")), "x").expect_err("refused")),
        ("make", fs::create_dir(m.path(".chronicle/new")).expect_err("refused")),
        ("remove", fs::remove_dir(m.path(".chronicle")).expect_err("refused")),
        ("rename", fs::rename(m.path("d"), m.path(".chronicle/d")).expect_err("refused")),
        ("rename onto", fs::rename(m.path("d"), m.path(".chronicle")).expect_err("refused")),
    ] {
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{what}: {refused}");
    }
    assert!(fs::read(m.path(&format!(".chronicle/at/{n}/d/other"))).is_err());
    assert!(fs::read(m.path(".chronicle/at/999999/d/a")).is_err());
    // In no listing of the workspace: who copies or removes everything leaves it alone.
    assert!(fs::read_dir(&m.dir).expect("lists").all(|entry| entry.expect("lists").file_name() != ".chronicle"));
    run(&m.dir, "sh", &["-c", "rm -rf ./*"]);
    assert_eq!(run(&m.dir, "cat", &[&format!(".chronicle/at/{n}/d/a")]), "two");
}

#[tokio::test]
async fn the_guide_can_be_followed_as_it_is_written() {
    // Where a host may not mount, the commands cannot be followed either.
    let Some((host, m)) = scribe().await else { return };
    drop((m, host));
    let text = std::fs::read_to_string(root().join("docs/guide/mount.md")).expect("the guide");
    let commands = guide::console_lines(&text);
    assert!(commands.iter().any(|line| line.contains("podium mount")), "{commands:?}");
    guide::follow(&Data::new(), root(), &commands).await;
}
