//! Reading answers: within bounds, and errors as what they are.

use podium_wire::error::ErrorBody;
use podium_wire::{ErrorCode, WireError};
use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::exit::Failure;

/// Most bytes of an answer that is read whole: a state of 16 MiB grows at most sixfold by escapes.
const ANSWER_BYTES_MAX: usize = 96 * 1024 * 1024;

/// Most bytes of an error's body.
const ERROR_BYTES_MAX: usize = 256 * 1024;

/// A failure of the transport.
pub(crate) fn transport(address: &str, error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_connect() {
        Failure::new(ErrorCode::Unreachable, format!("no server answers at {address}: {cause}"))
    } else if error.is_timeout() {
        Failure::new(ErrorCode::Unreachable, format!("the server at {address} did not answer in time"))
    } else {
        Failure::new(ErrorCode::ConnectionLost, format!("the connection to {address} was lost: {cause}"))
    }
}

/// The answer, or the error that it is.
pub(crate) async fn successful(address: &str, response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = read(address, response, ERROR_BYTES_MAX).await.unwrap_or_default();
    Err(refusal(status.as_u16(), &body))
}

/// The failure that an answer with an error status is.
pub(crate) fn refusal(status: u16, body: &[u8]) -> Failure {
    let error = match serde_json::from_slice::<ErrorBody>(body) {
        Ok(ErrorBody { error }) => error,
        // Not our server, or something in front of it.
        Err(_) => {
            let code = match status {
                401 => ErrorCode::Unauthorized,
                404 => ErrorCode::RouteNotFound,
                400..500 => ErrorCode::BadRequest,
                _ => ErrorCode::Internal,
            };
            WireError::new(code, format!("the server answered {status} without an error of ours"))
        }
    };
    let failure = Failure::from(error);
    match failure.code() {
        Some(ErrorCode::Unauthorized) => failure.hint(
            "Set PODIUM_TOKEN, or point --data at the host's data folder; `podium token --data DIR` prints the token.",
        ),
        _ => failure,
    }
}

/// Reads JSON of a known shape.
pub(crate) async fn json<T: DeserializeOwned>(address: &str, response: Response) -> Result<T, Failure> {
    let bytes = read(address, response, ANSWER_BYTES_MAX).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(ErrorCode::Internal, format!("the server's answer cannot be read: {error}")))
}

async fn read(address: &str, mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| transport(address, &error))? {
        if bytes.len() + piece.len() > bytes_max {
            return Err(Failure::new(ErrorCode::Internal, format!("the server's answer has over {bytes_max} bytes")));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn an_error_body_is_taken_over_and_anything_else_is_mapped() {
        let body = br#"{"error":{"code":"POD-2010","message":"a:1 exists","hint":"raise it","retryable":false}}"#;
        let Failure::Error { error, exit } = refusal(409, body) else { panic!("an error") };
        assert_eq!((error.message.as_str(), exit), ("a:1 exists", Exit::Refused));
        assert_eq!(refusal(404, b"<html>").code(), Some(ErrorCode::RouteNotFound));
        assert_eq!(refusal(502, b"").code(), Some(ErrorCode::Internal));
        assert_eq!(refusal(401, b"").code(), Some(ErrorCode::Unauthorized));
    }
}
