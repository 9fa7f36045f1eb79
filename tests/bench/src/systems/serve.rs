//! The peer `wasmtime serve`: an instance a request, the reply streamed as an HTTP response, nothing stored.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use podium_it::{agents, root};

use super::workerd::{free_address, listens};

/// A running server; ended when dropped.
pub struct Serve {
    child: Child,
    /// Where it listens.
    pub url: String,
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it.
pub async fn start(program: &Path) -> Serve {
    let component = agents::built(&root().join("tests/bench/peers/wasmtime"), "streamer-http");
    let address = free_address().await;
    let child = Command::new(program)
        // `cli`: what the standard library of a Rust guest imports. The pool is what a server would use.
        .args(["serve", "-S", "cli", "-O", "pooling-allocator", "--addr", &address])
        .arg(component)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("wasmtime starts");
    let serve = Serve { child, url: format!("http://{address}") };
    listens(&address).await;
    serve
}
