//! WebSocket frames of `/agent/{id}`: text frames, one JSON object each, told apart by `type`.
//!
//! Owns the shapes and the close codes. A frame that is not one of these is answered by an `error`
//! frame, never by an update.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::asks::{GivenAnswer, GivenDecision};
use crate::codes::ErrorCode;
use crate::error::WireError;
use crate::ids::InstanceId;
use crate::message::MessageContent;
use crate::updates::Update;

/// The protocol's name and version, in `hello`.
pub const PROTOCOL: &str = "podium.agent.v1";

/// Most bytes of a frame from a client: more than any message needs, little enough to hold for each connection.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;

/// What a server sends. Written with serde, read with [`ServerFrame::read`]: an update's content stays unparsed,
/// which serde's own reading of tagged enums cannot do.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame {
    /// The first frame of every connection.
    Hello(Hello),
    /// An update.
    Update(Update),
    /// The client's last frame, or its connection, was not understood or not allowed.
    Error(WireError),
    /// The answer to `ping`.
    Pong(Pong),
    /// The answer to `subscribe`: what was asked for follows it.
    Subscribed(Subscribed),
}

/// Where a subscription's durable rows lie. Frames before this one were on their way already and come again behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Subscribed {
    /// Rows after this `seq` follow …
    pub after_seq: u64,
    /// … up to this one; then comes what is live.
    pub through_seq: u64,
}

/// The answer to `ping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// The ping's own token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

impl ServerFrame {
    /// Reads a frame's text.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            Hello,
            Update,
            Error,
            Pong,
            Subscribed,
        }
        #[derive(Deserialize)]
        struct Tag {
            r#type: Kind,
        }
        let tag: Tag = serde_json::from_str(text)?;
        Ok(match tag.r#type {
            Kind::Hello => Self::Hello(serde_json::from_str(text)?),
            Kind::Update => Self::Update(serde_json::from_str(text)?),
            Kind::Error => Self::Error(serde_json::from_str(text)?),
            Kind::Pong => Self::Pong(serde_json::from_str(text)?),
            Kind::Subscribed => Self::Subscribed(serde_json::from_str(text)?),
        })
    }

    /// The frame's text.
    pub fn text(&self) -> String {
        // Every frame is a struct with string keys, which serde_json always writes.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Where the instance stands when a client connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: String,
    /// The instance.
    pub instance: InstanceId,
    /// The last durable update.
    pub last_seq: u64,
    /// The state's version.
    pub state_version: u64,
    /// The last cut.
    pub cut: u64,
}

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientFrame {
    /// A message to the agent.
    ProcessMessage {
        /// Its id, for safe repetition; the server makes one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// What is said.
        content: MessageContent,
    },
    /// A word into the running turn.
    Steer {
        /// Its id, for safe repetition; the server makes one when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// What is said.
        content: MessageContent,
    },
    /// Ends the running turn.
    Interrupt {},
    /// Answers a question of the running turn. It is told by `tool.question_resolved`, to everybody.
    Answer(GivenAnswer),
    /// Decides on a permission that the running turn asks for. It is told by `tool.approval_resolved`, to everybody.
    Approve(GivenDecision),
    /// Asks for updates from a place on.
    Subscribe(Subscribe),
    /// Asks for `pong`.
    Ping {
        /// Comes back in `pong`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
    },
}

impl ClientFrame {
    /// The values of `type`.
    const KNOWN: [&str; 7] = ["process_message", "steer", "interrupt", "answer", "approve", "subscribe", "ping"];

    /// Reads a frame's text.
    ///
    /// # Errors
    /// `POD-1007` for what is not JSON or has another shape, `POD-1008` for a type that there is not.
    pub fn read(text: &str) -> Result<Self, WireError> {
        serde_json::from_str(text).map_err(|error| {
            #[derive(Deserialize)]
            struct Tag {
                r#type: String,
            }
            match serde_json::from_str::<Tag>(text) {
                Ok(tag) if !Self::KNOWN.contains(&tag.r#type.as_str()) => {
                    let shown: String = tag.r#type.chars().take(64).collect();
                    WireError::new(
                        ErrorCode::UnknownFrameType,
                        format!("there is no frame type `{}`", shown.escape_debug()),
                    )
                }
                _ => WireError::new(ErrorCode::InvalidJson, format!("the frame is not as expected: {error}")),
            }
        })
    }
}

/// Where a subscription begins (TURN.md §4).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subscribe {
    /// Durable updates after this one.
    pub after_seq: u64,
    /// The turn of which live updates have been seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_id: Option<String>,
    /// Its attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The last `n` that was seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<u64>,
}

/// Why a server closes a connection: application codes of RFC 6455 §7.4.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// The server stops; connect again. (1001)
    Shutdown,
    /// A frame was too big. (1009)
    TooBig,
    /// A frame was not text. (1003)
    NotText,
    /// The instance lives elsewhere, or was deleted. (4001)
    Moved,
    /// The client read too slowly for too long. (4002)
    Slow,
    /// The token is not, or no longer, valid. (4003)
    Unauthorized,
}

impl CloseCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            CloseCode::Shutdown => 1001,
            CloseCode::NotText => 1003,
            CloseCode::TooBig => 1009,
            CloseCode::Moved => 4001,
            CloseCode::Slow => 4002,
            CloseCode::Unauthorized => 4003,
        }
    }

    /// The reason beside it.
    pub fn reason(self) -> &'static str {
        match self {
            CloseCode::Shutdown => "shutdown",
            CloseCode::NotText => "not_text",
            CloseCode::TooBig => "too_big",
            CloseCode::Moved => "moved",
            CloseCode::Slow => "slow",
            CloseCode::Unauthorized => "unauthorized",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        for (text, code) in [
            ("{", ErrorCode::InvalidJson),
            ("[]", ErrorCode::InvalidJson),
            (r#"{"type":"dance"}"#, ErrorCode::UnknownFrameType),
            (r#"{"type":"ping","x":1}"#, ErrorCode::InvalidJson),
            (r#"{"type":"process_message"}"#, ErrorCode::InvalidJson),
        ] {
            let error = ClientFrame::read(text).expect_err(text);
            assert_eq!(error.known_code(), Some(code), "{text}");
        }
        assert!(ClientFrame::read(r#"{"type":"process_message","content":{"text":"hi"}}"#).is_ok());
        assert!(ClientFrame::read(r#"{"type":"interrupt"}"#).is_ok());
    }
}
