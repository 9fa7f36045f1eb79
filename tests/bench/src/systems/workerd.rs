//! The peer workerd: Durable Objects with SQLite storage on its local disk, hibernatable WebSockets.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};

use super::{Door, Guard, Running, System};

/// How long it may take to listen.
const START_MAX: Duration = Duration::from_secs(20);

/// A port that was free a moment ago.
pub(super) async fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    listener.local_addr().expect("an address").to_string()
}

/// Waits until somebody listens there.
pub(super) async fn listens(address: &str) {
    let start = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        assert!(start.elapsed() < START_MAX, "nobody listens on {address}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Starts it over this folder, whatever is in it.
pub(super) async fn start(folder: &Path) -> Running {
    let disk = folder.join("do-disk");
    std::fs::create_dir_all(&disk).expect("a folder");
    let address = free_address().await;
    let begun = Instant::now();
    let child = Command::new(crate::tools::workerd().expect("workerd"))
        .arg("serve")
        .arg(crate::tools::peers().join("workerd/config.capnp"))
        .arg(format!("--socket-addr=http={address}"))
        .arg(format!("--directory-path=disk={}", disk.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(folder.join("log")).expect("a log"))
        .spawn()
        .expect("workerd starts");
    let door = Door::Peer { address: address.clone(), next: Arc::default() };
    // Ended with this even when it never listens.
    let mut running = Running { door, up: Duration::ZERO, system: System::Workerd, guard: Some(Guard::Child(child)) };
    listens(&address).await;
    running.up = begun.elapsed();
    running
}
