//! Streams of the component model, which WASI 0.2 has not, used badly.
//!
//! Owns the bindings to the two calls of WASI 0.3 that take or give one. Must never read or write a stream to its end.

mod bindings {
    wit_bindgen::generate!({
        inline: r"
            package wasi:cli@0.3.0;

            interface types {
                enum error-code { io, illegal-byte-sequence, pipe }
            }

            interface stdin {
                use types.{error-code};
                read-via-stream: func() -> tuple<stream<u8>, future<result<_, error-code>>>;
            }

            interface stdout {
                use types.{error-code};
                write-via-stream: func(data: stream<u8>) -> future<result<_, error-code>>;
            }

            world streams {
                import stdin;
                import stdout;
            }
        ",
        world: "streams",
    });
}

use std::convert::Infallible;

use bindings::wasi::cli::{stdin, stdout};
use bindings::wit_stream;

/// Drops so many of each kind before anything is read or written.
pub(crate) fn drop_unread(count: u64) {
    for _ in 0..count {
        drop(stdin::read_via_stream());
        drop(wit_stream::new::<u8>());
        let (writer, reader) = wit_stream::new::<u8>();
        let done = stdout::write_via_stream(reader);
        drop((writer, done));
    }
}

/// Keeps both ends of its own streams.
pub(crate) fn hoard_own() -> Infallible {
    let mut held = Vec::new();
    loop {
        held.push(wit_stream::new::<u8>());
    }
}

/// Keeps what the host gives it to read.
pub(crate) fn hoard_inputs() -> Infallible {
    let mut held = Vec::new();
    loop {
        held.push(stdin::read_via_stream());
    }
}

/// Keeps what the host is to read, and writes nothing.
pub(crate) fn hoard_outputs() -> Infallible {
    let mut held = Vec::new();
    loop {
        let (writer, reader) = wit_stream::new::<u8>();
        held.push((writer, stdout::write_via_stream(reader)));
    }
}
