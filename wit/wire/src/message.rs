//! A message to an agent and an entry of its history.
//!
//! The JSON twins of `types.wit` and `messages.wit`.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// Most bytes of an attachment that travels in the message itself.
pub const ATTACHMENT_BYTES_MAX: usize = 256 * 1024;

/// Most bytes of an attachment's name: what a file's name may have.
pub const ATTACHMENT_NAME_BYTES_MAX: usize = 255;

/// Most bytes of a media type: two names of 127 (RFC 6838) and the `/` between them.
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// Most attachments of a message.
pub const ATTACHMENTS_MAX: usize = 32;

/// Most bytes of a message's text: a frame is 1 MiB in all.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Who said a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person or program that talks to the agent.
    #[default]
    User,
    /// The agent.
    Assistant,
    /// The operator or the host.
    System,
    /// A tool's answer.
    Tool,
}

impl Role {
    /// The word used everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
            Role::Tool => "tool",
        }
    }
}

/// Where a message came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Origin {
    /// The tenant.
    pub tenant_id: String,
    /// The sender's role within it.
    pub role: String,
    /// `ws`, `http` or a channel's name.
    pub channel: String,
}

/// A file that comes with a message: exactly one of `path` and `data`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Attachment {
    /// A file name without folders.
    pub name: String,
    /// An IANA media type.
    pub media_type: String,
    /// Where its bytes are.
    #[serde(flatten)]
    pub source: AttachmentSource,
}

impl<'de> Deserialize<'de> for Attachment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// A flattened enum would take the first of the two and be silent about the other.
        #[derive(Deserialize)]
        struct Read {
            name: String,
            media_type: String,
            path: Option<String>,
            data: Option<String>,
        }
        let Read { name, media_type, path, data } = Read::deserialize(deserializer)?;
        let source = match (path, data) {
            (Some(path), None) => AttachmentSource::Path(path),
            (None, Some(data)) => AttachmentSource::Data(data),
            _ => return Err(de::Error::custom("an attachment has exactly one of `path` and `data`")),
        };
        Ok(Self { name, media_type, source })
    }
}

/// The bytes of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AttachmentSource {
    /// A path in the workspace.
    Path(String),
    /// The bytes, as base64 (RFC 4648, padded).
    Data(String),
}

/// What a client sends: the text and what comes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageContent {
    /// The text.
    pub text: String,
    /// At most [`ATTACHMENTS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// A message as it lies in the inbox and reaches the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Unique within the sender.
    pub id: String,
    /// The text.
    pub text: String,
    /// Who said it.
    pub role: Role,
    /// What comes with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Where it came from.
    pub origin: Origin,
}

/// One message of the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HistoryEntry {
    /// Its place, dense and rising within the instance.
    pub seq: u64,
    /// The cut that made it true.
    pub cut: u64,
    /// Who said it.
    pub role: Role,
    /// What was said.
    pub text: String,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attachment_has_one_source() {
        let read = |rest: &str| {
            serde_json::from_str::<Attachment>(&format!(r#"{{"name":"a","media_type":"text/plain"{rest}}}"#))
                .map(|attachment| attachment.source)
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(r#","path":"a/b""#), Ok(AttachmentSource::Path("a/b".into())));
        assert_eq!(read(r#","data":"AA==""#), Ok(AttachmentSource::Data("AA==".into())));
        for neither in ["", r#","path":"a","data":"AA==""#, r#","data":null"#] {
            let refused = read(neither).expect_err("refused");
            assert!(refused.contains("exactly one"), "{refused}");
        }
        assert!(read(r#","path":7"#).is_err());
    }
}
