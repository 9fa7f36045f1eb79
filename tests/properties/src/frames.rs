//! Frames of the WebSocket, both ways: what is read is written as it was meant, and no larger than it came.

use podium_wire::frames::{ClientFrame, ServerFrame};
use podium_wire::ids::check_message_id;

use crate::refused;

/// What writing may add to a frame that was read: names of members, where the frame had an array for an object.
const NAMES_BYTES: usize = 64;

/// Reads a frame as the server does, and as a client does.
pub fn frames(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match ClientFrame::read(text) {
        Ok(frame) => {
            let written = serde_json::to_string(&frame).expect("a frame can be written");
            assert!(written.len() <= text.len() + NAMES_BYTES, "{text} became {written}");
            assert_eq!(ClientFrame::read(&written).as_ref(), Ok(&frame), "{written}");
            assert_eq!(serde_json::to_string(&frame).ok(), Some(written));
            if let ClientFrame::ProcessMessage { id: Some(id), .. } = &frame
                && check_message_id(id).is_ok()
            {
                // It goes into logs and terminals as it is.
                assert!(!id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
        Err(error) => refused(&error),
    }
    if let Ok(frame) = ServerFrame::read(text) {
        let written = frame.text();
        let again = ServerFrame::read(&written).expect("what a server writes a client reads");
        assert_eq!(again.text(), written);
    }
}
