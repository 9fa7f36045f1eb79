//! What a message may hold: the one check of what clients send, before it is made durable.
//!
//! A guest may rely on what `types.wit` says of a message. Must never let anything past that a guest could not be given.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use podium_wire::ErrorCode;
use podium_wire::message::{
    ATTACHMENT_BYTES_MAX, ATTACHMENT_NAME_BYTES_MAX, ATTACHMENTS_MAX, Attachment, AttachmentSource,
    MEDIA_TYPE_BYTES_MAX, MessageContent, TEXT_BYTES_MAX,
};

use crate::error::Error;
use crate::files::WorkspacePath;

/// Base64 digits of the largest attachment: four for every three bytes, the last ones padded.
const DATA_DIGITS_MAX: usize = ATTACHMENT_BYTES_MAX.div_ceil(3) * 4;

/// Characters of a name that are shown when it is refused.
const SHOWN_CHARS: usize = 80;

/// Checks a message's content, whoever brought it.
///
/// # Errors
/// `POD-1001` for what a message may not hold, `POD-3011` for a path that is none in the workspace.
pub(crate) fn check(content: &MessageContent) -> Result<(), Error> {
    if content.text.len() > TEXT_BYTES_MAX {
        return Err(bad(format!("the text has more than {TEXT_BYTES_MAX} bytes")));
    }
    if content.attachments.len() > ATTACHMENTS_MAX {
        return Err(bad(format!("a message has at most {ATTACHMENTS_MAX} attachments")));
    }
    content.attachments.iter().try_for_each(check_attachment)
}

fn check_attachment(attachment: &Attachment) -> Result<(), Error> {
    let name = &attachment.name;
    let shown: String = name.chars().take(SHOWN_CHARS).collect();
    let shown = shown.escape_debug();
    // Folders of any system: the agent may hand the name on.
    let is_name = !matches!(name.as_str(), "" | "." | "..")
        && name.len() <= ATTACHMENT_NAME_BYTES_MAX
        && !name.contains(|c: char| matches!(c, '/' | '\\') || c.is_control());
    if !is_name {
        let message = format!(
            "an attachment's name is a file name without folders of at most {ATTACHMENT_NAME_BYTES_MAX} bytes, not `{shown}`"
        );
        return Err(bad(message));
    }
    let media_type = &attachment.media_type;
    let is_type = media_type.len() <= MEDIA_TYPE_BYTES_MAX
        && media_type.contains('/')
        && media_type.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_type {
        return Err(bad(format!("the attachment `{shown}` has no media type such as text/markdown")));
    }
    match &attachment.source {
        AttachmentSource::Path(path) => WorkspacePath::new(path).map(drop),
        AttachmentSource::Data(data) => {
            let too_large = || bad(format!("the attachment `{shown}` has more than {ATTACHMENT_BYTES_MAX} bytes"));
            if data.len() > DATA_DIGITS_MAX {
                return Err(too_large());
            }
            let bytes = STANDARD
                .decode(data)
                .map_err(|error| bad(format!("the attachment `{shown}` is not padded base64: {error}")))?;
            if bytes.len() > ATTACHMENT_BYTES_MAX { Err(too_large()) } else { Ok(()) }
        }
    }
}

fn bad(message: String) -> Error {
    Error::coded(ErrorCode::BadRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(name: &str, source: AttachmentSource) -> Attachment {
        Attachment { name: name.into(), media_type: "text/plain".into(), source }
    }

    fn checked(text: String, attachments: Vec<Attachment>) -> Result<(), ErrorCode> {
        check(&MessageContent { text, attachments }).map_err(|error| error.code())
    }

    fn with(attachment: Attachment) -> Result<(), ErrorCode> {
        checked(String::new(), vec![attachment])
    }

    fn named(name: &str) -> Result<(), ErrorCode> {
        with(attachment(name, AttachmentSource::Path("a".into())))
    }

    fn data(data: String) -> Result<(), ErrorCode> {
        with(attachment("a", AttachmentSource::Data(data)))
    }

    #[test]
    fn texts_and_numbers_of_attachments_are_bounded() {
        let many = |count| vec![attachment("a", AttachmentSource::Path("a".into())); count];
        assert_eq!(checked("a".repeat(TEXT_BYTES_MAX), many(ATTACHMENTS_MAX)), Ok(()));
        assert_eq!(checked("a".repeat(TEXT_BYTES_MAX + 1), many(0)), Err(ErrorCode::BadRequest));
        assert_eq!(checked(String::new(), many(ATTACHMENTS_MAX + 1)), Err(ErrorCode::BadRequest));
    }

    #[test]
    fn a_name_is_one_of_a_file() {
        for name in ["a", "späße.txt", "a b", "...", &"a".repeat(255)] {
            assert_eq!(named(name), Ok(()), "{name}");
        }
        for name in ["", ".", "..", "../../x", "/etc/passwd", "a/b", "..\\x", "a\0b", "a\nb", &"a".repeat(256)] {
            assert_eq!(named(name), Err(ErrorCode::BadRequest), "{name:?}");
        }
    }

    #[test]
    fn a_media_type_is_one_line() {
        let typed = |media_type: &str| {
            let source = AttachmentSource::Path("a".into());
            with(Attachment { name: "a".into(), media_type: media_type.into(), source })
        };
        for media_type in ["text/plain", "text/plain; charset=utf-8", "application/vnd.a+json"] {
            assert_eq!(typed(media_type), Ok(()), "{media_type}");
        }
        for media_type in ["", "text", "text/plain\r\nx: y", "text/ü", &format!("text/{}", "a".repeat(255))] {
            assert_eq!(typed(media_type), Err(ErrorCode::BadRequest), "{media_type:?}");
        }
    }

    #[test]
    fn a_path_stays_in_the_workspace() {
        let path = |path: &str| with(attachment("a", AttachmentSource::Path(path.into())));
        assert_eq!(path("notes/a.md"), Ok(()));
        for outside in ["", "/etc/passwd", "../a", "a/../../b", "a\0"] {
            assert_eq!(path(outside), Err(ErrorCode::InvalidPath), "{outside:?}");
        }
    }

    #[test]
    fn data_is_base64_of_so_many_bytes() {
        for text in ["", "AP8=", "aGk="] {
            assert_eq!(data(text.into()), Ok(()), "{text}");
        }
        for text in ["a", "aGk", "aGk!", "aGk=\n", "aG k=", "aGl="] {
            assert_eq!(data(text.into()), Err(ErrorCode::BadRequest), "{text:?}");
        }
        let of = |count: usize| STANDARD.encode(vec![7_u8; count]);
        assert_eq!(data(of(ATTACHMENT_BYTES_MAX)), Ok(()));
        for more in [1, 2, 3, 100] {
            assert_eq!(data(of(ATTACHMENT_BYTES_MAX + more)), Err(ErrorCode::BadRequest), "{more}");
        }
    }
}
