//! The data folder: in use, not writable, full. A clear error with a code, nothing lost, and it goes on afterwards.

use std::path::{Path, PathBuf};
use std::process::Command;

use podium_it::{Cli, Data, Host};
use podium_wire::ErrorCode;
use serde_json::json;

/// A free port.
const ANY: &str = "127.0.0.1:0";

/// A small file system of its own, unmounted when dropped.
struct Mount(PathBuf);

impl Mount {
    /// Mounts one of this size; none where the test may not mount, which it says loudly.
    fn new(data: &Data, size: &str) -> Option<Self> {
        let path = data.scratch().join("mount");
        std::fs::create_dir_all(&path).expect("a mount point");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0755"), "podium-it"])
            .arg(&path)
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: this machine does not let the test mount a file system of its own");
            return None;
        }
        Some(Self(path))
    }

    fn remount(&self, mode: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(&self.0).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot remount {mode}");
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily, because a killed host may still be closing its files.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_folder_in_use_is_refused_with_75() {
    let host = Host::start().await;
    let refused = Host::try_start_on(host.data()).await.err().expect("the second host must not start");
    assert_eq!(refused.status.code(), Some(75), "{refused:?}");
    assert!(refused.stderr.contains("POD-5004"), "{refused:?}");
    // The first goes on undisturbed.
    let id = host.client().deployed_instance("counter").await;
    assert_eq!(host.client().reply(id, "add").await, "1");
    let data = host.kill();
    let host = Host::start_on(&data).await;
    assert_eq!(host.client().reply(id, "add").await, "2");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_refused() {
    let data = Data::new();
    let file = data.scratch().join("file");
    std::fs::write(&file, b"x").expect("a file");
    let refused = Host::spawn(&data, &file.join("data"), ANY).await.err().expect("it must not start");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("POD-500"), "{refused:?}");
}

#[tokio::test]
async fn a_read_only_folder_is_refused_at_the_start() {
    let data = Data::new();
    let Some(mount) = Mount::new(&data, "64m") else { return };
    mount.remount("ro");
    let refused = Host::spawn(&data, &mount.path().join("data"), ANY).await.err().expect("it must not start");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("POD-5002"), "{refused:?}");
}

#[tokio::test]
async fn a_folder_that_becomes_read_only_refuses_writes_and_recovers() {
    let data = Data::new();
    let Some(mount) = Mount::new(&data, "128m") else { return };
    let folder = mount.path().join("data");
    let host = Host::spawn(&data, &folder, ANY).await.expect("it starts");
    let token = std::fs::read_to_string(folder.join("token")).expect("a token");
    let client = podium_it::Client::new(host.url(), Some(token.trim().to_owned()));
    let id = client.deployed_instance("counter").await;
    assert_eq!(client.reply(id, "add").await, "1");
    // Files that are open for writing may forbid a remount.
    let frozen = Command::new("mount").args(["-o", "remount,ro"]).arg(mount.path()).status();
    if !frozen.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: the file system is busy and cannot be made read-only under a running host");
        return;
    }
    let body = json!({"id": "m-1", "content": {"text": "add"}});
    let answer = client.post_json(&format!("/api/v1/instances/{id}/messages?wait=30s"), &body).await;
    answer.refused(ErrorCode::StorageReadOnly);
    mount.remount("rw");
    assert_eq!(client.ask_as(id, "m-1", "add").await.text.as_deref(), Some("2"));
}

#[tokio::test]
async fn a_full_folder_refuses_messages_and_recovers_without_a_restart() {
    let data = Data::new();
    let Some(mount) = Mount::new(&data, "48m") else { return };
    let folder = mount.path().join("data");
    let host = Host::spawn(&data, &folder, ANY).await.expect("it starts");
    let token = std::fs::read_to_string(folder.join("token")).expect("a token").trim().to_owned();
    let client = podium_it::Client::new(host.url(), Some(token.clone()));
    let id = client.deployed_instance("counter").await;
    assert_eq!(client.reply(id, "add").await, "1");
    let ballast = mount.path().join("ballast");
    let fill = || {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&ballast).expect("ballast");
        while file.write_all(&[0; 4096]).is_ok() {}
    };
    fill();
    let mut refused = None;
    let mut acknowledged = Vec::new();
    for n in 0..200 {
        let message = format!("m-{n}");
        let body = json!({"id": message, "content": {"text": "add"}});
        let answer = client.post_json(&format!("/api/v1/instances/{id}/messages"), &body).await;
        if answer.status == 202 {
            acknowledged.push(message);
            fill();
        } else {
            answer.refused(ErrorCode::StorageFull);
            refused = Some(message);
            break;
        }
    }
    let refused = refused.expect("a full disk takes messages for ever");
    // What is only read goes on.
    assert_eq!(client.get("/health").await.status, 200);
    assert!(client.state(id).await.state["count"].as_u64() >= Some(1));
    std::fs::remove_file(&ballast).expect("room again");
    let outcome = client.ask_as(id, &refused, "add").await;
    assert_eq!(outcome.error, None);
    client.until(id, "all is answered", |info| info.inbox == 0).await;
    let count = 2 + acknowledged.len() as u64;
    assert_eq!(client.state(id).await.state, json!({"count": count}), "each acknowledged message counts once");
    // The same holds when the host dies on the full disk.
    fill();
    drop(host);
    std::fs::remove_file(&ballast).expect("room again");
    let host = Host::spawn(&data, &folder, ANY).await.expect("it starts again");
    let client = podium_it::Client::new(host.url(), Some(token));
    assert_eq!(client.state(id).await.state, json!({"count": count}));
    assert_eq!(client.reply(id, "add").await, (count + 1).to_string());
}

#[tokio::test]
async fn the_token_is_found_in_the_folder() {
    let host = Host::start().await;
    let cli = Cli::new(host.data()).url(host.url());
    assert_eq!(cli.run(&["token"]).await.ok().trim(), host.token());
    let elsewhere = Cli::new(&Data::new());
    elsewhere.run(&["token"]).await.failed(3, ErrorCode::Unauthorized);
}
