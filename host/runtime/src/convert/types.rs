//! `types`: errors, roles and messages.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use podium_wire::error::{MESSAGE_BYTES_MAX, WireError, truncate};
use podium_wire::message::{self as wire, Role};

use crate::bindings::podium::agent::types;

/// Most bytes of a guest's error code and hint: they are shown beside its message.
const WORD_BYTES_MAX: usize = 512;

impl From<WireError> for types::Error {
    fn from(error: WireError) -> Self {
        Self { code: error.code, message: error.message, hint: error.hint, retryable: error.retryable }
    }
}

impl From<types::Error> for WireError {
    fn from(error: types::Error) -> Self {
        let cut = |mut text: String, bytes_max| {
            truncate(&mut text, bytes_max);
            text
        };
        Self {
            code: cut(error.code, WORD_BYTES_MAX),
            message: cut(error.message, MESSAGE_BYTES_MAX),
            hint: error.hint.map(|hint| cut(hint, WORD_BYTES_MAX)),
            retryable: error.retryable,
        }
    }
}

impl From<Role> for types::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Assistant => Self::Assistant,
            Role::System => Self::System,
            Role::Tool => Self::Tool,
        }
    }
}

/// An attachment's bytes are no base64: it was accepted by a host that did not check.
#[derive(Debug, thiserror::Error)]
#[error("the attachment `{name}` is not base64")]
pub(crate) struct InvalidAttachment {
    name: String,
    #[source]
    source: base64::DecodeError,
}

/// A message as the guest gets it.
pub(crate) fn message(message: wire::Message) -> Result<types::Message, InvalidAttachment> {
    Ok(types::Message {
        id: message.id,
        text: message.text,
        role: message.role.into(),
        attachments: message.attachments.into_iter().map(attachment).collect::<Result<_, _>>()?,
        origin: types::Origin {
            tenant_id: message.origin.tenant_id,
            role: message.origin.role,
            channel: message.origin.channel,
        },
    })
}

fn attachment(attachment: wire::Attachment) -> Result<types::Attachment, InvalidAttachment> {
    let source = match attachment.source {
        wire::AttachmentSource::Path(path) => types::AttachmentSource::Path(path),
        wire::AttachmentSource::Data(text) => match STANDARD.decode(text) {
            Ok(data) => types::AttachmentSource::Data(data),
            Err(source) => return Err(InvalidAttachment { name: attachment.name, source }),
        },
    };
    Ok(types::Attachment { name: attachment.name, media_type: attachment.media_type, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_data(data: &str) -> wire::Message {
        wire::Message {
            id: "m".to_owned(),
            text: String::new(),
            role: Role::User,
            attachments: vec![wire::Attachment {
                name: "a.bin".to_owned(),
                media_type: "application/octet-stream".to_owned(),
                source: wire::AttachmentSource::Data(data.to_owned()),
            }],
            origin: wire::Origin { tenant_id: "local".to_owned(), role: "owner".to_owned(), channel: "ws".to_owned() },
        }
    }

    #[test]
    fn attachments_travel_as_bytes() {
        let taken = message(with_data("AP8=")).expect("is base64");
        let types::AttachmentSource::Data(data) = &taken.attachments[0].source else { panic!("data") };
        assert_eq!(data, &[0, 255]);
        let error = message(with_data("***")).expect_err("is none");
        assert_eq!(error.to_string(), "the attachment `a.bin` is not base64");
    }

    #[test]
    fn a_guests_error_is_bounded() {
        let long = "ä".repeat(MESSAGE_BYTES_MAX);
        let error = types::Error { code: long.clone(), message: long.clone(), hint: Some(long), retryable: true };
        let error = WireError::from(error);
        assert!(error.code.len() <= WORD_BYTES_MAX && error.message.len() <= MESSAGE_BYTES_MAX && error.retryable);
    }
}
