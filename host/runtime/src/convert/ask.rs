//! `ask`: questions, requests for permission, answers and decisions.

use podium_capabilities::ask::PermissionAsked;
use podium_wire::asks as wire;

use crate::bindings::podium::agent::ask;

impl From<ask::QuestionRequest> for wire::Question {
    fn from(question: ask::QuestionRequest) -> Self {
        let ask::QuestionRequest { id, header, text, options, is_other, is_secret } = question;
        let option = |ask::QuestionOption { label, description }: ask::QuestionOption| wire::QuestionOption {
            label,
            description,
        };
        Self { id, header, text, options: options.into_iter().map(option).collect(), is_other, is_secret }
    }
}

impl From<ask::PermissionRequest> for PermissionAsked {
    fn from(request: ask::PermissionRequest) -> Self {
        let kind = match request.kind {
            ask::PermissionKind::Command => wire::PermissionKind::Command,
            ask::PermissionKind::FileChange => wire::PermissionKind::FileChange,
            ask::PermissionKind::Permissions => wire::PermissionKind::Permissions,
            ask::PermissionKind::Tool => wire::PermissionKind::Tool,
        };
        Self { kind, title: request.title, details: request.details }
    }
}

impl From<wire::Answer> for ask::Answer {
    fn from(answer: wire::Answer) -> Self {
        match answer {
            wire::Answer::Option(label) => Self::Option(label),
            wire::Answer::Text(text) => Self::Text(text),
        }
    }
}

impl From<wire::Decision> for ask::Decision {
    fn from(decision: wire::Decision) -> Self {
        match decision {
            wire::Decision::Accept => Self::Accept,
            wire::Decision::AcceptForSession => Self::AcceptForSession,
            wire::Decision::Decline => Self::Decline,
            wire::Decision::Cancel => Self::Cancel,
        }
    }
}
