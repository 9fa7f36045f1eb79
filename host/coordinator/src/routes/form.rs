//! A multipart form, read within bounds.
//!
//! The parser gathers what lies between two results (a preamble, a boundary, the headers of a field) until it has it whole, searches
//! all of it each time, and takes whatever is there. So it is fed one piece at a time, and only [`GATHERED_BYTES_MAX`] without
//! a result. Must never let memory or work grow with a body that yields nothing.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream};
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequest, Multipart, Request};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use podium_wire::ErrorCode;

use super::body::drain;
use crate::error::Error;

/// Bytes that the parser may gather without a result, before the last piece: a field's headers have some hundred.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// A form that is being read.
pub(super) struct Form {
    parser: Multipart,
    feed: Feed,
}

/// A field that is being read.
pub(super) struct Field<'a> {
    field: axum::extract::multipart::Field<'a>,
    feed: Feed,
}

impl Form {
    /// The form in a request.
    ///
    /// # Errors
    /// `POD-1001` when the request says that it has none.
    pub(super) async fn new(request: Request) -> Result<Self, Error> {
        let (parts, body) = request.into_parts();
        let feed = Feed::new(body.into_data_stream());
        let request = Request::from_parts(parts, Body::from_stream(feed.clone()));
        match Multipart::from_request(request, &()).await {
            Ok(parser) => Ok(Self { parser, feed }),
            Err(refused) => {
                feed.drain().await;
                Err(Error::coded(ErrorCode::BadRequest, refused.body_text()))
            }
        }
    }

    /// The next field, once the one before it was read or dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Field<'_>>, Error> {
        let field = self.feed.result(self.parser.next_field().await)?;
        Ok(field.map(|field| Field { field, feed: self.feed.clone() }))
    }

    /// Reads what is left of the body and throws it away.
    pub(super) async fn drain(self) {
        self.feed.drain().await;
    }
}

impl Field<'_> {
    /// Its name.
    pub(super) fn name(&self) -> Option<&str> {
        self.field.name()
    }

    /// The next piece of its content.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        self.feed.result(self.field.chunk().await)
    }
}

/// The body as the parser gets it; clones are the same one.
#[derive(Clone)]
struct Feed(Arc<Mutex<Fed>>);

struct Fed {
    body: BodyDataStream,
    /// Bytes that the parser got since its last result.
    gathered: usize,
    /// A piece was given at the last look; the parser comes again for the next one when it has searched that.
    given: bool,
    /// It got as much as it may without a result.
    refused: bool,
}

/// Nothing came of too many bytes.
#[derive(Debug, thiserror::Error)]
#[error("{GATHERED_BYTES_MAX} bytes of the form are in no field")]
struct NoField;

impl Feed {
    fn new(body: BodyDataStream) -> Self {
        Self(Arc::new(Mutex::new(Fed { body, gathered: 0, given: false, refused: false })))
    }

    fn lock(&self) -> MutexGuard<'_, Fed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a result, and gives a failure its code.
    fn result<T>(&self, result: Result<T, MultipartError>) -> Result<T, Error> {
        let refused = {
            let mut fed = self.lock();
            fed.gathered = 0;
            fed.refused
        };
        result.map_err(|error| {
            let message = if refused { NoField.to_string() } else { error.body_text() };
            Error::coded(ErrorCode::BadRequest, message)
        })
    }

    async fn drain(self) {
        let mut rest = futures_util::stream::poll_fn(|cx| self.lock().body.poll_next_unpin(cx));
        drain(&mut rest).await;
    }
}

impl Stream for Feed {
    type Item = Result<Bytes, Box<dyn std::error::Error + Send + Sync>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut fed = self.lock();
        if std::mem::take(&mut fed.given) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if fed.gathered > GATHERED_BYTES_MAX {
            fed.refused = true;
            return Poll::Ready(Some(Err(NoField.into())));
        }
        let piece = ready!(fed.body.poll_next_unpin(cx));
        if let Some(Ok(piece)) = &piece {
            fed.gathered += piece.len();
            fed.given = true;
        }
        Poll::Ready(piece.map(|piece| piece.map_err(Into::into)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    /// A form of this body, in pieces of so many bytes, and how many of them were taken at most.
    async fn read(head: &str, filling: u8, pieces: usize, piece: usize, tail: &str) -> (Result<usize, Error>, usize) {
        let taken = Arc::new(Mutex::new(0));
        let counter = Arc::clone(&taken);
        let count = move |bytes: Bytes| {
            *counter.lock().expect("locks") += bytes.len();
            Ok::<_, std::convert::Infallible>(bytes)
        };
        let filled = (0..pieces).map(move |_| Bytes::from(vec![filling; piece]));
        let body = std::iter::once(Bytes::from(head.to_owned())).chain(filled).chain([Bytes::from(tail.to_owned())]);
        let request = Request::builder()
            .header("content-type", "multipart/form-data; boundary=x")
            .body(Body::from_stream(stream::iter(body.map(count))))
            .expect("a request");
        let mut form = Form::new(request).await.expect("a form");
        let result = async {
            let mut bytes = 0;
            while let Some(mut field) = form.next().await? {
                while let Some(piece) = field.piece().await? {
                    bytes += piece.len();
                }
            }
            Ok(bytes)
        };
        let result = result.await;
        let taken = *taken.lock().expect("locks");
        (result, taken)
    }

    const FILE: &str = "--x\r\nContent-Disposition: form-data; name=\"file\"\r\n";

    #[tokio::test]
    async fn a_field_of_any_length_comes_through() {
        for (pieces, piece) in [(0, 1), (3, 7), (100, 1), (4, 400_000), (20, GATHERED_BYTES_MAX)] {
            let (read, _) = read(&format!("{FILE}\r\n"), b'a', pieces, piece, "\r\n--x--\r\n").await;
            assert_eq!(read.expect("reads"), pieces * piece);
            // Bytes that might begin a boundary.
            let (read, _) = self::read(&format!("{FILE}\r\n"), b'\r', pieces, piece, "\r\n--x--\r\n").await;
            assert_eq!(read.expect("reads"), pieces * piece);
        }
    }

    #[tokio::test]
    async fn what_is_in_no_field_is_read_so_far_and_no_further() {
        for head in ["", "no boundary\r\n", &format!("{FILE}X-Long: ")] {
            for piece in [1000, 100_000] {
                let (read, taken) = read(head, b'a', 10_000_000 / piece, piece, "").await;
                let error = read.expect_err("is refused");
                assert_eq!(error.code(), ErrorCode::BadRequest);
                assert!(error.to_string().contains("in no field"), "{error}");
                assert!(taken <= GATHERED_BYTES_MAX + 2 * piece, "{taken}");
            }
        }
    }
}
