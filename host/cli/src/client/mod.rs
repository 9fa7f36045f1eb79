//! The client: one server, one token, typed by podium-wire.
//!
//! Owns how errors of the transport become failures. Must never send the token anywhere but to the server that
//! was named: no redirects, no proxies.

mod body;
pub(crate) mod events;
mod http;
pub(crate) mod socket;

use std::future::Future;
use std::time::Duration;

use podium_kit::data::read_token;
use podium_wire::ErrorCode;
use reqwest::Url;

use crate::args::Global;
use crate::exit::Failure;

pub(crate) use http::{QUICK, SLOW};

/// How long a server may take to accept a connection: it is near, or it is not there.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// A server and the right to speak to it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
}

impl Client {
    /// The client that the global options describe. A missing token is no error here: the server says so itself.
    pub(crate) fn new(global: &Global) -> Result<Self, Failure> {
        let token = match std::env::var("PODIUM_TOKEN") {
            Ok(token) if !token.trim().is_empty() => Some(token.trim().to_owned()),
            _ => global.data_folder().and_then(|folder| read_token(&folder)).ok().filter(|token| !token.is_empty()),
        };
        Self::with_token(&global.url, token)
    }

    /// The client of a server whose token is known.
    pub(crate) fn with_token(url: &str, token: Option<String>) -> Result<Self, Failure> {
        let base = parse_url(url)?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_WAIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("podium/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { http, base, token })
    }

    /// The server's address, for messages.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The token, for a program that is started.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A URL of this server; every part is one segment, escaped.
    fn url(&self, segments: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut path) => {
                path.pop_if_empty().extend(segments);
            }
            Err(()) => return Err(Failure::usage(format!("`{}` is not a server's address", self.base))),
        }
        Ok(url)
    }
}

fn parse_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|error| Failure::usage(format!("`{text}` is not a URL: {error}")))?;
    if url.scheme() != "http" || url.host_str().is_none_or(str::is_empty) {
        return Err(Failure::usage(format!("`{text}` is not an http:// address")));
    }
    Ok(url)
}

/// Runs a command's calls on a small runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(ErrorCode::Internal, format!("cannot start: {error}")))?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str) -> Result<Client, Failure> {
        Client::new(&Global { url: url.to_owned(), url_given: true, data: None, json: false })
    }

    #[test]
    fn segments_are_escaped_and_a_prefix_is_kept() {
        let client = client("http://127.0.0.1:8090/podium/").expect("a client");
        let url = client.url(&["agent", "a/b", "x y?#%"]).expect("a URL");
        assert_eq!(url.as_str(), "http://127.0.0.1:8090/podium/agent/a%2Fb/x%20y%3F%23%25");
    }

    #[test]
    fn only_http_addresses_are_taken() {
        for url in ["", "localhost:8090", "https://example.org", "file:///x", "ws://127.0.0.1"] {
            assert_eq!(client(url).expect_err(url).code(), Some(ErrorCode::Usage));
        }
    }
}
