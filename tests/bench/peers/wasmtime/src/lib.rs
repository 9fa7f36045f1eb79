//! The peer for `wasmtime serve`: a request says how many pieces, the response streams them, each as a line of its own
//! that is flushed before the next. It stores nothing.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam};

/// The same piece as everybody's, and the line that ends a turn.
const PIECE: &[u8] = b"{\"type\":\"chunk\",\"text\":\"0123456789 \"}\n";
const END: &[u8] = b"{\"type\":\"complete\"}\n";

struct Streamer;

wasip2::http::proxy::export!(Streamer);

impl Guest for Streamer {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let pieces: u32 = path.trim_start_matches('/').parse().expect("a number of pieces");
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("a body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("a stream");
        for _ in 0..pieces {
            stream.blocking_write_and_flush(PIECE).expect("a piece is sent");
        }
        stream.blocking_write_and_flush(END).expect("the end is sent");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the body ends");
    }
}
