//! Samples of questions, requests for permission and what is said to them.

use podium_wire::asks::{
    Answer, Ask, AskList, Decision, GivenAnswer, GivenDecision, OpenAsk, Permission, PermissionKind, Question,
    QuestionOption,
};
use serde_json::json;

use crate::Sample;
use crate::updates::{AT, TURN};

pub(crate) fn question() -> OpenAsk {
    let option =
        |label: &str, description: &str| QuestionOption { label: label.into(), description: description.into() };
    OpenAsk {
        request_id: "7:env".into(),
        turn_id: TURN.into(),
        message_id: Some("m-1".into()),
        asked_at: AT,
        again: false,
        ask: Ask::Question(Question {
            id: "env".into(),
            header: "Deploy".into(),
            text: "Where to?".into(),
            options: vec![option("staging", "Nobody notices."), option("production", "Everybody does.")],
            is_other: true,
            is_secret: false,
        }),
    }
}

pub(crate) fn permission() -> OpenAsk {
    OpenAsk {
        request_id: "7#2".into(),
        again: true,
        ask: Ask::Permission(Permission {
            kind: PermissionKind::FileChange,
            title: "Write src/new.rs".into(),
            details: json!({"path": "src/new.rs", "bytes": 120}),
        }),
        ..question()
    }
}

pub(crate) fn answer() -> GivenAnswer {
    GivenAnswer { request_id: "7:env".into(), answer: Answer::Text("the old cluster".into()) }
}

pub(crate) fn decision() -> GivenDecision {
    GivenDecision { request_id: "7#2".into(), decision: Decision::AcceptForSession }
}

pub(crate) fn samples() -> Vec<Sample> {
    vec![
        Sample::of("rest", "AskList", &AskList { asks: vec![question(), permission()] }),
        Sample::of("rest", "GivenAnswer", &answer()),
        Sample::of("rest", "GivenDecision", &decision()),
    ]
}
