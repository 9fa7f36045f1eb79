//! A sample of every WebSocket frame, in both directions.

use podium_wire::error::WireError;
use podium_wire::frames::{ClientFrame, Hello, PROTOCOL, Pong, ServerFrame, Subscribe, Subscribed};
use podium_wire::message::{Attachment, AttachmentSource, MessageContent};
use podium_wire::updates::EventType;
use podium_wire::{ErrorCode, InstanceId};
use serde_json::Value;

use crate::Sample;
use crate::updates::{TURN, update};

pub(crate) fn instance() -> InstanceId {
    "0198c0de-0000-7000-8000-000000000001".parse().expect("an id")
}

pub(crate) fn content() -> MessageContent {
    MessageContent {
        text: "What is a cut?".into(),
        attachments: vec![
            Attachment {
                name: "a.txt".into(),
                media_type: "text/plain".into(),
                source: AttachmentSource::Path("in/a.txt".into()),
            },
            Attachment {
                name: "b.bin".into(),
                media_type: "application/octet-stream".into(),
                source: AttachmentSource::Data("AAEC".into()),
            },
        ],
    }
}

/// The file's name of a server's frame. The match has no default, so that a new frame needs a sample.
fn server_name(frame: &ServerFrame) -> &'static str {
    match frame {
        ServerFrame::Hello(_) => "hello",
        ServerFrame::Update(_) => "update",
        ServerFrame::Error(_) => "error",
        ServerFrame::Pong(_) => "pong",
        ServerFrame::Subscribed(_) => "subscribed",
    }
}

/// The same for a client's frame.
fn client_name(frame: &ClientFrame) -> &'static str {
    match frame {
        ClientFrame::ProcessMessage { .. } => "process_message",
        ClientFrame::Steer { .. } => "steer",
        ClientFrame::Interrupt {} => "interrupt",
        ClientFrame::Answer(_) => "answer",
        ClientFrame::Approve(_) => "approve",
        ClientFrame::Subscribe(_) => "subscribe",
        ClientFrame::Ping { .. } => "ping",
    }
}

pub(crate) fn server() -> Vec<Sample> {
    let frames = [
        ServerFrame::Hello(Hello {
            protocol: PROTOCOL.into(),
            instance: instance(),
            last_seq: 14,
            state_version: 3,
            cut: 4,
        }),
        ServerFrame::Update(update(EventType::TextDelta)),
        ServerFrame::Error(WireError::new(ErrorCode::UnknownFrameType, "there is no frame of the type `dance`")),
        ServerFrame::Pong(Pong { id: Some("p-1".into()) }),
        ServerFrame::Subscribed(Subscribed { after_seq: 11, through_seq: 14 }),
    ];
    let again = |text: &str| -> Result<Value, serde_json::Error> { serde_json::to_value(ServerFrame::read(text)?) };
    frames
        .iter()
        .map(|frame| Sample {
            name: format!("server/{}", server_name(frame)),
            json: serde_json::to_value(frame).expect("a frame can be written"),
            again,
        })
        .collect()
}

pub(crate) fn client() -> Vec<Sample> {
    let frames = [
        ClientFrame::ProcessMessage { id: Some("m-1".into()), content: content() },
        ClientFrame::Steer { id: Some("s-1".into()), content: content() },
        ClientFrame::Interrupt {},
        ClientFrame::Answer(crate::asks::answer()),
        ClientFrame::Approve(crate::asks::decision()),
        ClientFrame::Subscribe(Subscribe { after_seq: 10, turn_id: Some(TURN.into()), attempt: Some(1), n: Some(3) }),
        ClientFrame::Ping { id: Some("p-1".into()) },
    ];
    frames.iter().map(|frame| Sample::of("client", client_name(frame), frame)).collect()
}

#[test]
fn the_type_of_a_frame_is_the_name_of_its_file() {
    for sample in server().iter().chain(&client()) {
        assert_eq!(sample.json()["type"], sample.stem());
    }
}

#[test]
fn optional_fields_may_be_left_out_and_unknown_ones_are_refused() {
    for text in [
        r#"{"type":"process_message","content":{"text":"x"}}"#,
        r#"{"type":"subscribe","after_seq":0}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"steer","content":{"text":"x"}}"#,
        r#"{"type":"interrupt"}"#,
        r#"{"type":"answer","request_id":"7:env","answer":{"text":"x"}}"#,
        r#"{"type":"approve","request_id":"7#1","decision":"cancel"}"#,
    ] {
        assert!(serde_json::from_str::<ClientFrame>(text).is_ok(), "{text} was refused");
    }
    for text in [
        r#"{"type":"dance"}"#,
        r#"{"content":{"text":"x"}}"#,
        r#"{"type":"process_message"}"#,
        r#"{"type":"steer"}"#,
        r#"{"type":"process_message","content":{"text":"x","colour":"red"}}"#,
        r#"{"type":"subscribe","after_seq":-1}"#,
        r#"{"type":"answer","request_id":"7:env","answer":{"text":"x","option":"y"}}"#,
        r#"{"type":"answer","request_id":"7:env","answer":"x"}"#,
        r#"{"type":"approve","request_id":"7#1","decision":"maybe"}"#,
    ] {
        assert!(serde_json::from_str::<ClientFrame>(text).is_err(), "{text} was taken");
    }
}
