//! File-system suites that nobody here wrote, on a mount: `pjdfstest` and `fsx`, both from crates.io (tests/it/tools/filesystems.sh).
//!
//! What pjdfstest skips is listed here with its reason; a skip that is not listed fails the story.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::{Mounted, is_root, run, scribe};

/// Why pjdfstest skips what it skips: a part of its own reason, and ours.
const SKIPS: &[(&str, &str)] = &[
    ("Remounts", "the suite would mount the place anew as read-only, which only a host does"),
    ("LINK_MAX", "the kernel tells programs of no such limit on a FUSE file system, and the disk's own one holds"),
    ("secondary", "it has no second file system to link to or rename onto"),
];

/// What was skipped, with the suite's reason.
fn skipped(said: &str) -> Vec<(&str, &str)> {
    let lines: Vec<&str> = said.lines().collect();
    let pairs = lines.windows(2).filter(|pair| pair[0].trim_end().ends_with("skipped"));
    pairs.map(|pair| (pair[0].split(' ').next().unwrap_or_default(), pair[1].trim())).collect()
}

/// Where the suites are; they are built at the first call.
fn tools() -> PathBuf {
    let script = podium_it::root().join("tests/it/tools/filesystems.sh");
    let output = Command::new(script).output().expect("the script runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn pjdfstest_finds_nothing() {
    if !is_root() {
        eprintln!("pjdfstest needs root, which acts for other users, so nothing is shown");
        return;
    }
    let Some((host, m)) = scribe().await else { return };
    // A socket's path has at most 107 bytes, and an instance's own folder takes most of them.
    m.unmount().await;
    let short = host.data().scratch().join("m");
    fs::create_dir(&short).expect("makes a folder");
    let m = Mounted::at(&host.client(), m.id, Some(&short)).await.expect("it could be mounted before");
    let config = host.data().scratch().join("pjdfstest.toml");
    fs::write(
        &config,
        "[features]\nposix_fallocate = {}\nrename_ctime = {}\nutime_now = {}\nutimensat = {}\n[dummy_auth]\nentries = [[\"nobody\", \"nogroup\"], [\"daemon\", \"daemon\"]]\n",
    )
    .expect("writes");
    // Other users have to reach the suite's folder.
    fs::set_permissions(&m.dir, fs::Permissions::from_mode(0o755)).expect("sets rights");
    let place = m.path("pjdfstest");
    fs::create_dir(&place).expect("makes a folder");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).expect("sets rights");
    for folder in [host.data().path(), m.dir.clone()] {
        // The way to the mount is the host's own, and closed to others.
        for above in folder.ancestors().take_while(|above| above.starts_with(std::env::temp_dir())) {
            let mode = fs::metadata(above).expect("is there").permissions().mode();
            fs::set_permissions(above, fs::Permissions::from_mode(mode | 0o011)).expect("sets rights");
        }
    }
    let program = tools().join("pjdfstest");
    let output = tokio::task::spawn_blocking(move || {
        Command::new(program).arg("-c").arg(config).arg("-p").arg(place).output().expect("it runs")
    });
    let output = output.await.expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let skipped = skipped(&said);
    for (test, reason) in &skipped {
        assert!(SKIPS.iter().any(|(known, _)| reason.contains(known)), "{test} is skipped: {reason}");
    }
    let passed = said.lines().filter(|line| line.trim_end().ends_with(" ok")).count();
    assert!(passed >= 380 && skipped.len() <= 16, "{passed} passed, skipped {skipped:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fsx_finds_nothing_and_an_agent_has_what_it_left() {
    let Some((host, m)) = scribe().await else { return };
    let program = tools().join("fsx").display().to_string();
    for seed in ["7", "8", "9"] {
        let folder = m.dir.clone();
        let (program, artifacts) = (program.clone(), host.data().scratch().display().to_string());
        let fsx = move || run(&folder, &program, &["-q", "-N", "20000", "-S", seed, "-P", &artifacts, "fsx"]);
        tokio::task::spawn_blocking(fsx).await.expect("it ends");
    }
    let left = fs::read(m.path("fsx")).expect("reads");
    host.client().reply(m.id, "write turn done").await;
    let files = host.client().file(m.id, "fsx").await;
    assert!(files.bytes == left, "{} and {} bytes", files.bytes.len(), left.len());
}
