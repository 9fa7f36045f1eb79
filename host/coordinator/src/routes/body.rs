//! Request bodies, read within bounds.
//!
//! A refused body is read to its end all the same, within [`DRAIN_BYTES_MAX`] and [`DRAIN_TIME_MAX`]: a connection that is
//! closed with unread bytes loses the answer on its way to the client.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{Stream, StreamExt};
use podium_wire::ErrorCode;

use crate::error::Error;

/// Bytes of a refused body that are read and thrown away: four times the largest upload that could have been right.
const DRAIN_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long that may take.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(30);

/// Reads a whole body of at most `bytes_max`.
pub(super) async fn collect(body: Body, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let mut body = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| unreadable(&error))?);
        if bytes.len() > bytes_max {
            drop(bytes);
            drain(&mut body).await;
            let message = format!("the body has more than {bytes_max} bytes");
            return Err(Error::coded(ErrorCode::BodyTooLarge, message));
        }
    }
    Ok(bytes)
}

/// Reads what is left of a body and throws it away.
pub(super) async fn drain(body: &mut (impl Stream<Item = Result<Bytes, axum::Error>> + Unpin)) {
    let read = async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(piece)) = body.next().await
            && piece.len() < left
        {
            left -= piece.len();
        }
    };
    drop(tokio::time::timeout(DRAIN_TIME_MAX, read).await);
}

/// A body whose connection failed.
pub(super) fn unreadable(error: &axum::Error) -> Error {
    Error::coded(ErrorCode::BadRequest, format!("the body cannot be read: {error}"))
}
