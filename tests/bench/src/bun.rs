//! The peer: one Bun process per agent behind a small Rust front, which is a process of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use podium_it::root;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;

use crate::load::{self, Loads, PIECES, Peer};

/// Where `npm ci` puts Bun: in its platform's package, or, where npm ran its install script, in its own.
const PROGRAMS: [&str; 2] = ["@oven/bun-linux-x64/bin/bun", "bun/bin/bun.exe"];

/// Bun, where it is installed.
pub fn program() -> Option<PathBuf> {
    let modules = root().join("tests/bench/peers/bun/node_modules");
    let found = PROGRAMS.iter().map(|program| modules.join(program)).find(|path| path.exists());
    if found.is_none() {
        eprintln!("SKIPPED the Bun peer: it is not in {}; `make bench` installs it", modules.display());
    }
    found
}

#[derive(Clone)]
struct Bun {
    address: String,
    next: Arc<AtomicUsize>,
}

impl Peer for Bun {
    async fn new_agent(&self) -> Request {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("ws://{}/{number}", self.address).into_client_request().expect("a request")
    }

    fn message(&self, number: usize) -> String {
        format!(r#"{{"id":"m-{number}","text":"{PIECES}"}}"#)
    }

    fn first(&self) -> &'static str {
        r#""type":"chunk""#
    }

    fn end(&self) -> &'static str {
        r#""type":"complete""#
    }
}

/// The front, ended when dropped.
struct Front(Child);

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures it with its data in this folder.
pub async fn measure(folder: &Path, bun: &Path) -> Loads {
    let data = folder.join("bun");
    std::fs::create_dir_all(&data).expect("a folder");
    let mut child = Command::new(std::env::current_exe().expect("a path of this program"))
        .arg("front")
        .arg(&data)
        .arg(bun)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the front starts");
    let stdout = child.stdout.take().expect("a pipe");
    let front = Front(child);
    let mut address = String::new();
    BufReader::new(stdout).read_line(&mut address).expect("the front's address");
    let loads = load::measure(Bun { address: address.trim().to_owned(), next: Arc::default() }).await;
    drop(front);
    loads
}
