//! `podium mount`: a workspace as a file system of the host's machine, used by processes between an agent's turns.
//!
//! Where a machine does not let a host mount (no `/dev/fuse`, or no rights), the stories say so and end; anywhere else they must run.

mod suites;
mod turns;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use podium_it::{Client, Host, agents};
use podium_wire::rest::{MountInfo, PostMount};
use podium_wire::{ErrorCode, InstanceId};

/// A mounted workspace; dropped, the mount is taken away whatever became of its host.
struct Mounted {
    client: Client,
    id: InstanceId,
    dir: PathBuf,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        take_away(&self.dir);
    }
}

/// A temporary folder cannot be removed while a mount is in it.
fn take_away(dir: &Path) {
    let lazily = if is_root() { Command::new("umount").arg("-l").arg(dir).output() } else { unmount_as_user(dir) };
    drop(lazily);
}

fn unmount_as_user(dir: &Path) -> std::io::Result<Output> {
    Command::new("fusermount3").args(["-u", "-z"]).arg(dir).output()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn route(id: InstanceId) -> String {
    format!("/api/v1/instances/{id}/mount")
}

impl Mounted {
    /// Mounts an instance's workspace in the instance's own folder; none where the machine does not let a host mount.
    async fn of(client: &Client, id: InstanceId) -> Option<Self> {
        Self::at(client, id, None).await
    }

    async fn at(client: &Client, id: InstanceId, dir: Option<&Path>) -> Option<Self> {
        let dir = dir.map(|dir| dir.to_str().expect("UTF-8").to_owned());
        let answer = client.post_json(&route(id), &PostMount { dir }).await;
        if answer.status == 501 {
            answer.refused(ErrorCode::MountUnavailable);
            let may = is_root() && Path::new("/dev/fuse").exists() && !in_container();
            assert!(!may, "this machine lets root mount, and the host cannot: {}", answer.text());
            eprintln!("this machine does not let a host mount, so nothing is shown: {}", answer.text());
            return None;
        }
        let info: MountInfo = answer.with(200);
        Some(Self { client: client.clone(), id, dir: info.dir.into() })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A cut of everything that was written.
    fn sync(&self) {
        std::fs::File::open(&self.dir).expect("the mount").sync_all().expect("it is cut");
    }

    async fn unmount(&self) {
        assert_eq!(self.client.delete(&route(self.id)).await.status, 204);
    }
}

/// Containers have the device and not the right, whoever one is in them.
fn in_container() -> bool {
    let rights = std::fs::read_to_string("/proc/self/status").expect("proc");
    let effective = rights.lines().find_map(|line| line.strip_prefix("CapEff:")).expect("capabilities");
    let effective = u64::from_str_radix(effective.trim(), 16).expect("a number");
    // CAP_SYS_ADMIN.
    effective & (1 << 21) == 0
}

/// A host with an instance of the scribe, mounted.
async fn scribe() -> Option<(Host, Mounted)> {
    let host = Host::start().await;
    let mounted = Mounted::of(&host.client(), deployed(&host.client()).await).await?;
    Some((host, mounted))
}

async fn deployed(client: &Client) -> InstanceId {
    let deployed = client.deploy(agents::component("scribe"), None, None).await.status;
    assert!([200, 201].contains(&deployed), "{deployed}");
    client.instance("scribe").await
}

/// Runs a program in a folder; what it said, where it ended well.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = ran(folder, program, arguments);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn ran(folder: &Path, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder);
    // Whoever runs the stories may have settings of their own.
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    command.output().unwrap_or_else(|error| panic!("{program}: {error}"))
}
