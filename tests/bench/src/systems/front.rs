//! The process peers' small server: a WebSocket a client, a process an agent, length-prefixed JSON between them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::process::Command;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};

/// Most bytes of a frame: the same as this project's own process lane.
const FRAME_BYTES_MAX: u32 = 16 * 1024 * 1024;

/// Serves until it is killed; prints its address first.
pub async fn serve(data: &Path, program: &Path, script: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    loop {
        let (tcp, _) = listener.accept().await.expect("a connection");
        tokio::spawn(agent(tcp, data.to_owned(), program.to_owned(), script.to_owned()));
    }
}

async fn agent(tcp: TcpStream, data: PathBuf, program: PathBuf, script: PathBuf) {
    tcp.set_nodelay(true).expect("no delay");
    let mut name = String::new();
    #[expect(clippy::result_large_err, reason = "the library's own signature")]
    let read_path = |request: &Request, response: Response| {
        name = request.uri().path().trim_start_matches('/').to_owned();
        Ok(response)
    };
    let socket = tokio_tungstenite::accept_hdr_async(tcp, read_path).await.expect("a WebSocket");
    let path = data.join(format!("{name}.sock"));
    let listener = UnixListener::bind(&path).expect("a Unix socket");
    let mut child = Command::new(program)
        .arg(script)
        .arg(&path)
        .arg(data.join(format!("{name}.db")))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the agent starts");
    let (unix, _) = listener.accept().await.expect("the agent connects");
    let (mut from_agent, mut to_agent) = unix.into_split();
    let (mut to_client, mut from_client) = socket.split();
    let down = async {
        while let Some(Ok(message)) = from_client.next().await {
            let Message::Text(text) = message else { continue };
            let mut frame = u32::try_from(text.len()).expect("a short frame").to_le_bytes().to_vec();
            frame.extend_from_slice(text.as_bytes());
            if to_agent.write_all(&frame).await.is_err() {
                break;
            }
        }
    };
    let up = async {
        while let Ok(length) = from_agent.read_u32_le().await {
            assert!(length <= FRAME_BYTES_MAX, "a frame of {length} bytes");
            let mut body = vec![0; length as usize];
            if from_agent.read_exact(&mut body).await.is_err() {
                break;
            }
            let text = String::from_utf8(body).expect("JSON is UTF-8");
            if to_client.send(Message::text(text)).await.is_err() {
                break;
            }
        }
    };
    tokio::select! { () = down => {} () = up => {} }
    child.kill().await.expect("the agent ends");
}
