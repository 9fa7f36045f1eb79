//! A guide's reader: runs every command of a document in one shell, in order.
//!
//! Owns what stands in for the reader's machine: a home folder, `podium` in the path, a free port. Must never change
//! a command.

use std::path::PathBuf;
use std::process::Stdio;

use crate::host::binary;
use crate::{Data, root};

/// A guide takes the time of a few builds on a busy machine.
const SECONDS_MAX: &str = "900";

/// Where cargo keeps what it builds natively for agents, so that stories share it.
pub fn native_target() -> PathBuf {
    let target = binary().ancestors().nth(2).map_or_else(|| root().join("target"), PathBuf::from);
    target.join("authors-native")
}

/// The lines of a document's console blocks.
pub fn console_lines(text: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut console = false;
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            console = !console && language.trim() == "console";
        } else if console {
            lines.push(line.strip_prefix("$ ").unwrap_or(line));
        }
    }
    lines
}

/// Runs these commands in this folder, where the first that fails ends the story.
pub async fn follow(data: &Data, folder: PathBuf, commands: &[&str]) {
    let home = data.scratch();
    // The program has a name that comes before all others in the path, and it listens on a free port.
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let bin = home.join("bin");
    std::fs::create_dir_all(&bin).expect("a folder");
    let program = binary().display().to_string();
    let wrapper = format!(
        "#!/bin/sh\nif [ \"$1\" = up ]; then shift; exec {program} up --listen {port} \"$@\"; fi\nexec {program} \"$@\"\n"
    );
    std::fs::write(bin.join("podium"), wrapper).expect("a wrapper");
    std::fs::set_permissions(bin.join("podium"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let script =
        format!("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n{}\n", commands.join("\n"));
    let own = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
    let or = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| format!("{own}/{default}"));
    let mut command = tokio::process::Command::new("timeout");
    command
        .args(["--kill-after=5", SECONDS_MAX, "bash", "-c", &script])
        .current_dir(folder)
        .stdin(Stdio::null())
        .env("HOME", &home)
        .env("CARGO_HOME", or("CARGO_HOME", ".cargo"))
        .env("CARGO_TARGET_DIR", native_target())
        .env("RUSTUP_HOME", or("RUSTUP_HOME", ".rustup"))
        .env("XDG_CACHE_HOME", or("XDG_CACHE_HOME", ".cache"))
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()))
        .env("PODIUM_URL", format!("http://{port}"))
        .env("PODIUM_WASM_TOOLCHAIN", "debian")
        .env_remove("PODIUM_DATA")
        .env_remove("PODIUM_TOKEN");
    let output = command.output().await.expect("bash runs");
    assert!(
        output.status.success(),
        "{}\n{script}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
