//! A request whose body comes as a story wants, and as slowly, over a connection of its own.
//!
//! Blocking. Must never wait longer than [`PATIENCE`] for the host.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use crate::client::Client;
use crate::wait::PATIENCE;

/// A request that has begun.
#[derive(Debug)]
pub struct Slow(TcpStream);

impl Slow {
    fn head(client: &Client, request: &str, headers: &str) -> Self {
        let address = client.url().trim_start_matches("http://").trim_end_matches('/');
        let mut stream = TcpStream::connect(address).expect("the host accepts");
        stream
            .set_write_timeout(Some(PATIENCE))
            .and_then(|()| stream.set_read_timeout(Some(PATIENCE)))
            .expect("a timeout");
        let token = client.token().unwrap_or_default();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the head is sent");
        Self(stream)
    }

    /// Begins a request with a body of this type: `PUT /path`.
    pub fn body(client: &Client, request: &str, content_type: &str) -> Self {
        Self::head(client, request, &format!("content-type: {content_type}\r\ntransfer-encoding: chunked\r\n"))
    }

    /// Asks for something and does not read it.
    pub fn get(client: &Client, path: &str) -> Self {
        Self::head(client, &format!("GET {path}"), "")
    }

    /// Sends a piece of the body; an empty one ends it.
    ///
    /// # Errors
    /// When the host takes no more.
    pub fn send(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        self.0.write_all(&chunk)
    }

    /// All that the host says until it closes the connection.
    pub fn answer(mut self) -> String {
        let mut said = Vec::new();
        self.0.read_to_end(&mut said).expect("an answer");
        String::from_utf8_lossy(&said).into_owned()
    }
}
