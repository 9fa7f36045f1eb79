//! A peer with an operating-system process an agent, behind a small Rust front that is a process of its own.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use super::{Door, Guard, Running, System};

/// Starts the front; each connection starts this program on this script of `peers/`.
pub(super) fn start(system: System, folder: &Path, program: &Path, script: &str) -> Running {
    let begun = Instant::now();
    let mut child = Command::new(std::env::current_exe().expect("a path of this program"))
        .arg("front")
        .args([folder, program, &crate::tools::peers().join(script)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the front starts");
    let stdout = child.stdout.take().expect("a pipe");
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address).expect("the front's address");
    let door = Door::Peer { address: address.trim().to_owned(), next: Arc::default() };
    Running { door, up: begun.elapsed(), system, guard: Some(Guard::Child(child)) }
}
