//! Who may call: the bearer token, the Host allow-list and the Origin check (DESIGN §8).
//!
//! Applied to every route; `/health` alone needs no token. Comparison takes the same time whatever is sent.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use podium_kit::HttpError;
use podium_wire::ErrorCode;

use crate::host::Parts;

/// The tenant of everybody who holds the token of `podium up`.
pub(crate) const LOCAL_TENANT: &str = "local";

/// Their role in it.
pub(crate) const LOCAL_ROLE: &str = "owner";

/// The principal that the token stands for: the sender of their messages.
pub(crate) const LOCAL_PRINCIPAL: &str = "local";

/// Lets a request pass, or answers why not.
pub(crate) async fn check(State(parts): State<Arc<Parts>>, request: Request, next: Next) -> Response {
    match allowed(&parts.token, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

fn allowed(token: &str, request: &Request) -> Result<(), HttpError> {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str));
    if !host.is_some_and(is_loopback_authority) {
        // A page on another name that resolves to this machine (DNS rebinding) ends here.
        return Err(HttpError::new(ErrorCode::HostNotAllowed, "the Host header names no loopback address"));
    }
    if let Some(origin) = headers.get(header::ORIGIN) {
        let own = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.parse::<Uri>().ok())
            .and_then(|origin| origin.authority().map(|authority| is_loopback_authority(authority.as_str())));
        if own != Some(true) {
            return Err(HttpError::new(ErrorCode::OriginNotAllowed, "the Origin header names another site"));
        }
    }
    if request.uri().path() == "/health" || has_token(token, headers) {
        Ok(())
    } else {
        Err(HttpError::new(ErrorCode::Unauthorized, "the request carries no valid token"))
    }
}

fn has_token(token: &str, headers: &HeaderMap) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| {
        let (scheme, rest) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
    });
    sent.is_some_and(|sent| same(sent.as_bytes(), token.as_bytes()))
}

/// Compares without stopping at the first difference.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// True for `localhost`, 127.0.0.0/8 and `[::1]`, with or without a port.
fn is_loopback_authority(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_hosts() {
        for host in ["localhost", "localhost:8090", "127.0.0.1:8090", "127.1.2.3", "[::1]:8090", "LOCALHOST"] {
            assert!(is_loopback_authority(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "127.0.0.1.example.org",
            "localhost.example.org:8090",
            "192.168.0.1:8090",
            "::",
            "[::2]:1",
        ] {
            assert!(!is_loopback_authority(host), "{host}");
        }
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"ab", b"abc"));
    }
}
