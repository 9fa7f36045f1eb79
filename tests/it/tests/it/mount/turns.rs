//! Whose turn it is: an agent and a process in one workspace, each seeing the other's files at once, never writing at the same time.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use podium_it::database::Databases;
use podium_it::{Client, Host, Neighbour, eventually};
use podium_wire::InstanceId;
use rustix::fs::{CWD, FileType, Mode};

use super::{Mounted, deployed, ran, route, run, scribe};

/// Kinds of an instance's cuts, in order.
fn kinds(host: &Host, id: InstanceId) -> Vec<String> {
    Databases::open(&host.data().path(), id).cuts().into_iter().map(|cut| cut.kind).collect()
}

fn externals(host: &Host, id: InstanceId) -> usize {
    kinds(host, id).iter().filter(|kind| *kind == "external").count()
}

#[tokio::test]
async fn an_agent_and_a_process_see_each_others_files_at_once() {
    let Some((host, m)) = scribe().await else { return };
    let client = host.client();
    for round in 0..30 {
        let (own, other) = (format!("process-{round}"), format!("agent-{round}"));
        run(&m.dir, "sh", &["-c", &format!("mkdir -p d && echo {round} > d/{own} && cat d/* > all")]);
        let said =
            client.reply(m.id, &format!("read d/{own}\nwrite d/{other} by-agent-{round}\nwrite all short")).await;
        assert_eq!(said.trim(), round.to_string());
        assert_eq!(run(&m.dir, "cat", &[&format!("d/{other}"), "all"]), format!("by-agent-{round}short"));
        // Over the same name, in the other order.
        client.reply(m.id, &format!("rm d/{own}\nmv d/{other} d/{own}")).await;
        assert!(!m.path(&format!("d/{other}")).exists());
        assert_eq!(fs::read_to_string(m.path(&format!("d/{own}"))).expect("is there"), format!("by-agent-{round}"));
    }
    // A shell that stands in a folder stays there.
    let mut shell = std::process::Command::new("sh");
    shell.current_dir(m.path("d")).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut shell = shell.spawn().expect("sh");
    for _ in 0..3 {
        m.path("d").metadata().expect("is there");
        client.reply(m.id, "touch d/process-1").await;
    }
    let mut input = shell.stdin.take().expect("a pipe");
    input.write_all(b"/bin/pwd && echo x > here\n").expect("a pipe");
    drop(input);
    let output = shell.wait_with_output().expect("it ends");
    assert!(output.status.success() && output.stdout.ends_with(b"/d\n"), "{output:?}");
    assert_eq!(client.reply(m.id, "read d/here").await, "x\n");
    client.file_put(m.id, "over/http", b"http").await;
    assert_eq!(fs::read(m.path("over/http")).expect("is there"), b"http");
    Databases::open(&host.data().path(), m.id).check();
}

#[tokio::test]
async fn a_mount_is_read_only_while_a_turn_runs_and_then_what_failed_is_gone() {
    let Some((host, m)) = scribe().await else { return };
    let client = host.client();
    fs::write(m.path("mine"), "before").expect("writes");
    let mut open = OpenOptions::new().append(true).open(m.path("mine")).expect("opens");
    open.write_all(b" and").expect("writes");
    client.post_message(m.id, "m-1", "write theirs by-agent\nsleep 600000").await;
    client.until_waiting(m.id).await;
    // What was written before the turn is in a cut of its own.
    assert!(externals(&host, m.id) >= 1);
    assert_eq!(fs::read_to_string(m.path("theirs")).expect("is there at once"), "by-agent");
    for refused in [
        fs::write(m.path("new"), "x").expect_err("refused"),
        open.write_all(b"x").expect_err("refused"),
        fs::remove_file(m.path("mine")).expect_err("refused"),
        fs::create_dir(m.path("d")).expect_err("refused"),
        fs::rename(m.path("mine"), m.path("yours")).expect_err("refused"),
        File::open(m.path("mine")).expect("reads").set_modified(std::time::SystemTime::now()).expect_err("refused"),
    ] {
        assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{refused}");
    }
    open.sync_all().expect("nothing is left to cut");
    assert_eq!(client.post(&format!("/api/v1/instances/{}/interrupt", m.id)).await.status, 202);
    client.until(m.id, "the end", |info| info.inbox == 0).await;
    assert!(!m.path("theirs").exists(), "what an interrupted turn wrote is gone");
    eventually("writing again", async || (&open).write_all(b" after").ok()).await;
    assert_eq!(fs::read_to_string(m.path("mine")).expect("reads"), "before and after");
    assert_eq!(client.reply(m.id, "read mine").await, "before and after");
    assert!(externals(&host, m.id) >= 2);
    assert_eq!(kinds(&host, m.id).last().map(String::as_str), Some("turn"));
}

#[tokio::test]
async fn what_was_written_is_cut_after_a_quiet_second_or_when_fsync_returns_and_survives_a_kill() {
    let Some((host, m)) = scribe().await else { return };
    fs::write(m.path("quiet"), "one").expect("writes");
    eventually("the cut of a quiet mount", async || (externals(&host, m.id) == 1).then_some(())).await;
    run(
        &m.dir,
        "sh",
        &[
            "-c",
            "mkdir -p d/e && echo deep > d/e/f && ln -s e d/link && ln d/e/f hard && chmod 640 quiet && sync -d hard",
        ],
    );
    assert!(externals(&host, m.id) >= 2, "fsync returned");
    let before = listed(&host.client(), m.id).await;
    // Not promised: neither quiet nor synced.
    fs::write(m.path("quiet"), "lost").expect("writes");
    let (id, data) = (m.id, host.kill());
    drop(m);
    let host = Host::start_on(&data).await;
    assert_eq!(listed(&host.client(), id).await, before);
    Databases::open(&data.path(), id).check();
    let m = Mounted::of(&host.client(), id).await.expect("it could be mounted before");
    assert_eq!(fs::read(m.path("quiet")).expect("reads"), b"one");
    assert_eq!(fs::read_link(m.path("d/link")).expect("a link"), std::path::Path::new("e"));
}

async fn listed(client: &Client, id: InstanceId) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entry in client.files(id).await.files {
        let file = entry.kind == podium_wire::rest::FileKind::File;
        let content = if file { client.file(id, &entry.path).await.text() } else { format!("{:?}", entry.kind) };
        files.push((entry.path, content));
    }
    files
}

/// Maps a file, writes through the mapping line by line as it is told, and keeps it.
const MAPPER: &str = "
import mmap, sys
file = open('mapped', 'r+b')
mapping = mmap.mmap(file.fileno(), 4096)
file.close()
print('mapped', flush=True)
for line in sys.stdin:
    mapping[0:3] = line[0:3].encode()
    print('wrote', flush=True)
";

#[tokio::test]
async fn a_mapping_and_an_open_file_are_in_every_cut_while_they_last() {
    let Some((host, m)) = scribe().await else { return };
    let client = host.client();
    fs::write(m.path("mapped"), vec![b'.'; 4096]).expect("writes");
    let mut process = std::process::Command::new("python3");
    process.args(["-c", MAPPER]).current_dir(&m.dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = process.spawn().expect("python3");
    let mut input = process.stdin.take().expect("a pipe");
    let mut output = std::io::BufReader::new(process.stdout.take().expect("a pipe"));
    let mut line = move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut output, &mut line).expect("it answers");
        line.trim().to_owned()
    };
    assert_eq!(line(), "mapped");
    let mut open = OpenOptions::new().append(true).create(true).open(m.path("open")).expect("opens");
    let mut expected = String::new();
    for text in ["one", "two", "six"] {
        writeln!(input, "{text}").expect("a pipe");
        assert_eq!(line(), "wrote");
        open.write_all(text.as_bytes()).expect("writes");
        expected.push_str(text);
        // The turn begins with what was written up to now, through the mapping too.
        let said = client.reply(m.id, "read mapped\nread open").await;
        assert!(said.starts_with(&format!("{text}.")) && said.ends_with(&expected), "{text}: {said:?}");
    }
    drop(input);
    assert!(process.wait().expect("it ends").success());
    drop(open);
    let before = listed(&client, m.id).await;
    let (id, data) = (m.id, host.kill());
    drop(m);
    let host = Host::start_on(&data).await;
    assert_eq!(listed(&host.client(), id).await, before);
}

#[tokio::test]
async fn a_mount_keeps_its_owner_and_what_a_killed_host_left_is_swept() {
    let Some((host, m)) = scribe().await else { return };
    let id = m.id;
    fs::write(m.path("a"), "one").expect("writes");
    m.sync();
    let data = host.kill();
    let dead = fs::read_dir(&m.dir).expect_err("its host is gone");
    assert_eq!(dead.raw_os_error(), Some(107), "not connected: {dead}");
    let host = Host::start_on(&data).await;
    assert_eq!(fs::read_dir(&m.dir).expect("an empty folder").count(), 0);
    let log = host.log();
    assert!(log.contains("a mount that a dead host left behind is taken away"), "{log}");
    let again = Mounted::of(&host.client(), id).await.expect("it could be mounted before");
    assert_eq!(fs::read(again.path("a")).expect("reads"), b"one");
    // A stop in order leaves nothing, and cuts what was written.
    fs::write(again.path("a"), "two").expect("writes");
    let (status, _) = host.stop().await;
    assert!(status.success());
    assert_eq!(fs::read_dir(&again.dir).expect("an empty folder").count(), 0);
    let host = Host::start_on(&data).await;
    assert_eq!(host.client().file(id, "a").await.text(), "two");
}

#[tokio::test]
async fn a_pipe_and_a_process_that_hangs_in_the_mount_hold_up_nobody() {
    let Some((host, m)) = scribe().await else { return };
    let client = host.client();
    let neighbour = Neighbour::of(&client).await;
    rustix::fs::mknodat(CWD, m.path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("makes a pipe");
    let mut reader = std::process::Command::new("cat");
    let mut reader = reader.arg("pipe").current_dir(&m.dir).stdout(Stdio::piped()).spawn().expect("cat");
    let mut stopped = std::process::Command::new("sh");
    stopped.args(["-c", "exec 3> held; echo started >&3; kill -STOP $$"]).current_dir(&m.dir);
    let mut stopped = stopped.spawn().expect("sh");
    eventually("the held file", async || (fs::read(m.path("held")).ok()? == b"started\n").then_some(())).await;
    neighbour.meanwhile(client.reply(m.id, "write a by-agent")).await;
    assert_eq!(fs::read(m.path("a")).expect("reads"), b"by-agent");
    // The pipe works as anywhere, and no version has it.
    fs::write(m.path("pipe"), "through the pipe").expect("writes");
    let mut said = String::new();
    std::io::Read::read_to_string(&mut reader.stdout.take().expect("a pipe"), &mut said).expect("reads");
    assert_eq!(said, "through the pipe");
    assert!(reader.wait().expect("it ends").success());
    neighbour.is_served().await;
    m.unmount().await;
    stopped.kill().expect("ours");
    stopped.wait().expect("it ends");
    assert_eq!(client.reply(m.id, "read held").await, "started\n");
}

#[tokio::test]
async fn mounts_are_refused_where_they_would_do_harm_and_found_where_they_are() {
    let Some((host, m)) = scribe().await else { return };
    let client = host.client();
    let other = deployed(&client).await;
    let scratch = host.data().scratch();
    fs::write(scratch.join("file"), "x").expect("writes");
    for (dir, code) in [
        (scratch.to_str().expect("UTF-8").to_owned(), podium_wire::ErrorCode::InvalidMountDir),
        (format!("{}/none", scratch.display()), podium_wire::ErrorCode::InvalidMountDir),
        (format!("{}/file", scratch.display()), podium_wire::ErrorCode::InvalidMountDir),
        ("relative".to_owned(), podium_wire::ErrorCode::InvalidMountDir),
        (host.data().path().display().to_string(), podium_wire::ErrorCode::InvalidMountDir),
        (m.dir.display().to_string(), podium_wire::ErrorCode::InvalidMountDir),
    ] {
        let answer = client.post_json(&route(other), &serde_json::json!({ "dir": dir })).await;
        answer.refused(code);
    }
    client.get(&route(other)).await.refused(podium_wire::ErrorCode::NotMounted);
    client.delete(&route(other)).await.refused(podium_wire::ErrorCode::NotMounted);
    // Asked for again it is the same; elsewhere it is not.
    let again: podium_wire::rest::MountInfo = client.post_json(&route(m.id), &serde_json::json!({})).await.with(200);
    assert_eq!(std::path::Path::new(&again.dir), m.dir);
    let place = scratch.join("place");
    fs::create_dir(&place).expect("makes a folder");
    let answer = client.post_json(&route(m.id), &serde_json::json!({ "dir": place })).await;
    answer.refused(podium_wire::ErrorCode::AlreadyMounted);
    // Whoever unmounts it by hand ends it for the host too.
    fs::write(m.path("last"), "word").expect("writes");
    super::take_away(&m.dir);
    eventually("the host to see it", async || (client.get(&route(m.id)).await.status == 404).then_some(())).await;
    assert_eq!(client.reply(m.id, "read last").await, "word");
    // A deleted instance leaves no mount.
    let theirs = Mounted::at(&client, other, Some(&place)).await.expect("it could be mounted before");
    fs::write(theirs.path("a"), "x").expect("writes");
    assert_eq!(client.delete(&format!("/api/v1/instances/{other}")).await.status, 204);
    assert_eq!(fs::read_dir(&place).expect("an empty folder").count(), 0);
}

#[tokio::test]
async fn the_command_mounts_until_it_is_interrupted_or_stays_away() {
    let Some((host, m)) = scribe().await else { return };
    m.unmount().await;
    let cli = host.cli();
    let id = m.id.to_string();
    let place = host.data().scratch().join("place");
    fs::create_dir(&place).expect("makes a folder");
    let shown = place.to_str().expect("UTF-8");
    let mut command = cli.start(&["mount", &id, shown]);
    let device = fs::metadata(host.data().scratch()).expect("is there").dev();
    eventually("the mount", async || fs::metadata(&place).is_ok_and(|found| found.dev() != device).then_some(())).await;
    fs::write(place.join("a"), "by hand").expect("writes");
    eventually("the cut", async || (host.client().file(m.id, "a").await.text() == "by hand").then_some(())).await;
    podium_it::host::interrupt(&command);
    let status = tokio::task::spawn_blocking(move || command.wait()).await.expect("joins").expect("ends");
    assert!(status.success());
    assert_eq!(fs::read_dir(&place).expect("an empty folder").count(), 0);
    assert_eq!(host.client().file(m.id, "a").await.text(), "by hand");
    assert!(cli.run(&["mount", &id, shown, "--detach"]).await.ok().contains(shown));
    assert_eq!(fs::read(place.join("a")).expect("reads"), b"by hand");
    cli.run(&["mount", "--unmount", &id]).await.ok();
    assert!(!place.join("a").exists());
    cli.run(&["mount", "--unmount", &id]).await.failed(3, podium_wire::ErrorCode::NotMounted);
    cli.run(&["mount", &id, "/nowhere/at/all"]).await.failed(5, podium_wire::ErrorCode::InvalidMountDir);
    let json = cli.run(&["mount", &id, "--detach", "--json"]).await.json();
    assert!(ran(&m.dir, "ls", &[]).status.success() && json["dir"].as_str().is_some());
}
