//! Server-sent events: bytes in, the `data` of each event out. Pure.
//!
//! Reads what our server sends: `data:` lines, comments and blank lines. Must never hold more than one event.

use podium_wire::ErrorCode;

use crate::exit::Failure;

/// Most bytes of one event: a log line is far below it.
const EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Splits a byte stream into events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
}

impl Events {
    /// Takes the next bytes and gives the events that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>, Failure> {
        let mut events = Vec::new();
        for byte in bytes {
            if *byte != b'\n' {
                self.line.push(*byte);
            } else if let Some(event) = self.end_of_line() {
                events.push(event);
            }
            if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                return Err(Failure::new(ErrorCode::Internal, "the server sent an event without an end"));
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        if let Some(data) = line.strip_prefix(b"data:") {
            if !self.data.is_empty() {
                self.data.push(b'\n');
            }
            self.data.extend_from_slice(data.strip_prefix(b" ").unwrap_or(data));
            return None;
        }
        if !line.is_empty() || self.data.is_empty() {
            return None;
        }
        Some(String::from_utf8_lossy(&std::mem::take(&mut self.data)).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn events_are_their_data_lines() {
        let mut events = Events::default();
        let stream = b": keep-alive\n\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:b\ndata: c\n\nid: 1\n\ndata: open";
        assert_eq!(events.feed(stream).expect("reads"), ["{\"a\":1}", "b\nc"]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut events = Events::default();
        assert!(events.feed(&vec![b'x'; EVENT_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(
            texts in prop::collection::vec("[^\r\n]{1,20}", 0..10),
            size in 1usize..40,
        ) {
            let stream: String = texts.iter().map(|text| format!("data: {text}\n\n")).collect();
            let mut events = Events::default();
            let mut found = Vec::new();
            for piece in stream.as_bytes().chunks(size) {
                found.extend(events.feed(piece).expect("reads"));
            }
            prop_assert_eq!(found, texts);
        }
    }
}
