//! A sample of every REST body, the manifest, the message as an agent gets it, and the error body.

use std::collections::BTreeSet;

use podium_wire::error::{ErrorBody, WireError};
use podium_wire::limits::LimitsInForce;
use podium_wire::limits::LimitsRequest;
use podium_wire::manifest::{Lane, Manifest};
use podium_wire::message::{HistoryEntry, Message, Origin, Role};
use podium_wire::rest::{
    AdminStatus, ConfigDocument, CreateInstance, Deployed, Deployment, DeploymentDetail, DeploymentPage, Description,
    ExternalCut, FileEntry, FileIteration, FileKind, FileOp, FilePage, Health, HistoryPage, Hook, InstanceInfo,
    InstancePage, InstanceStatus, InstanceSummary, IterationPage, LogLevel, LogLine, LogPage, MessageOutcome,
    MessageReceipt, MountInfo, PostMessage, PostMount, PutConfig, RestoreFile, StateDocument, UpgradeInstance,
    UpgradeReceipt, UpgradeStatus,
};
use podium_wire::{DeploymentId, Digest, ErrorCode};
use serde_json::{Map, Value, json};

use crate::Sample;
use crate::updates::{AT, TURN};
use crate::ws::{content, instance};

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => panic!("{other} is no object"),
    }
}

fn digest() -> Digest {
    Digest::from_bytes([0x2b; 32])
}

pub(crate) fn deployment_id() -> DeploymentId {
    DeploymentId::new("counter".parse().expect("a type"), "1.2.3".parse().expect("a version"), &digest())
}

fn least_manifest() -> Manifest {
    Manifest::new("counter".parse().expect("a type"), "1.2.3".parse().expect("a version"))
}

fn full_manifest() -> Manifest {
    Manifest {
        agent_type: "counter".parse().expect("a type"),
        version: "1.2.3-rc.1".parse().expect("a version"),
        lane: Lane::Process,
        command: Some(vec!["python3".into(), "agent.py".into()]),
        keep_warm: true,
        retry: 5,
        limits: LimitsRequest {
            memory_bytes: Some(134_217_728),
            wall_ms: Some(120_000),
            cpu_ms: Some(20_000),
            wait_ms: Some(86_400_000),
            output_bytes: Some(8_388_608),
            updates: Some(200_000),
            state_bytes: Some(2_097_152),
            open_handles: Some(512),
            inbox: Some(128),
            workspace_bytes: Some(4_294_967_296),
            workspace_entries: Some(500_000),
            workspace_depth: Some(32),
            workspace_file_bytes: Some(536_870_912),
        },
        grants: Some(vec!["files".into(), "state".into()]),
        config: Some(object(json!({"greeting": "hello"}))),
    }
}

fn description() -> Description {
    Description {
        hooks: vec![Hook::OnInit, Hook::OnMessage, Hook::OnConfigChange],
        state_schema_version: 1,
        config_schema: Some(json!({"type": "object"})),
        config_default: Some(object(json!({"greeting": "hello"}))),
    }
}

fn deployment() -> Deployment {
    Deployment {
        deployment_id: deployment_id(),
        agent_type: "counter".parse().expect("a type"),
        version: "1.2.3".parse().expect("a version"),
        checksum: digest(),
        size_bytes: 98_304,
        created_at: AT,
        capabilities: vec!["clock".into(), "files".into(), "state".into(), "updates".into()],
        manifest: least_manifest(),
        description: description(),
    }
}

fn limits() -> LimitsInForce {
    LimitsInForce {
        memory_bytes: 67_108_864,
        wall_ms: 60_000,
        cpu_ms: 10_000,
        wait_ms: 604_800_000,
        output_bytes: 4_194_304,
        updates: 100_000,
        state_bytes: 1_048_576,
        open_handles: 256,
        inbox: 64,
        workspace_bytes: 1_073_741_824,
        workspace_entries: 200_000,
        workspace_depth: 256,
        workspace_file_bytes: 268_435_456,
        state_depth: 64,
        patch_operations: 10_000,
        calls_in_flight: 256,
        resources: 10_000,
        call_bytes: 4_194_304,
        open_asks: 16,
        ask_options: 64,
        ask_bytes: 65_536,
        answer_bytes: 65_536,
        table_elements: 20_000,
        steers_pending: 32,
        steers: 256,
        steer_bytes: 4_194_304,
        frame_bytes: 1_048_576,
        component_bytes: 67_108_864,
        log_bytes: 1_048_576,
    }
}

fn summary() -> InstanceSummary {
    InstanceSummary {
        instance_id: instance(),
        deployment_id: deployment_id(),
        status: InstanceStatus::Resting,
        created_at: AT,
    }
}

fn log_line() -> LogLine {
    LogLine {
        seq: 21,
        ts: AT,
        level: LogLevel::Warn,
        module: "counter".into(),
        message: "nearly full".into(),
        turn_id: Some(TURN.into()),
        fields: Some(json!({"left": 3})),
    }
}

pub(crate) fn history() -> HistoryEntry {
    HistoryEntry { seq: 2, cut: 4, role: Role::Assistant, text: "Hello.".into(), at: AT }
}

pub(crate) fn info() -> InstanceInfo {
    InstanceInfo {
        instance_id: instance(),
        deployment_id: deployment_id(),
        status: InstanceStatus::Parked,
        cut: 4,
        config: object(json!({"greeting": "good day"})),
        config_rev: 2,
        state_version: 3,
        last_seq: 14,
        inbox: 1,
        created_at: AT,
        ws_url: format!("ws://127.0.0.1:8090/agent/{}", instance()),
    }
}

fn trap() -> WireError {
    WireError::new(ErrorCode::GuestTrap, "the agent panicked")
}

pub(crate) fn samples() -> Vec<Sample> {
    macro_rules! rest {
        ($($name:literal => $value:expr,)*) => { vec![$(Sample::of("rest", $name, &$value),)*] };
    }
    let mut samples = rest! {
        "Description" => description(),
        "Deployment" => deployment(),
        "Deployed" => Deployed { created: true, deployment: deployment() },
        "DeploymentDetail" => DeploymentDetail { deployment: deployment(), limits: limits() },
        "DeploymentPage" => DeploymentPage { deployments: vec![deployment()] },
        "CreateInstance" => CreateInstance {
            deployment_id: deployment_id().into(),
            config: Some(object(json!({"greeting": "good day"}))),
        },
        "InstanceSummary" => summary(),
        "InstancePage" => InstancePage { instances: vec![summary()], next: Some(instance()) },
        "InstanceInfo" => info(),
        "PostMessage" => PostMessage { id: Some("m-1".into()), content: content() },
        "MessageReceipt" => MessageReceipt { message_id: "m-1".into(), duplicate: false },
        "MessageOutcome" => MessageOutcome {
            message_id: "m-1".into(),
            duplicate: false,
            cut: 4,
            text: Some("Hello.".into()),
            error: None,
        },
        "MessageOutcome-error" => MessageOutcome {
            message_id: "m-1".into(),
            duplicate: true,
            cut: 4,
            text: None,
            error: Some(trap()),
        },
        "HistoryPage" => HistoryPage { messages: vec![history()], next: Some(2) },
        "ConfigDocument" => ConfigDocument { revision: 2, config: object(json!({"greeting": "good day"})) },
        "PutConfig" => PutConfig { config: object(json!({"greeting": "good day"})), if_revision: Some(1), now: true },
        "StateDocument" => StateDocument { version: 3, cut: 4, state: json!({"count": 3}) },
        "LogLine" => log_line(),
        "LogPage" => LogPage { lines: vec![log_line()], dropped: 2 },
        "FileEntry" => file(),
        "FilePage" => FilePage { files: vec![file()], next: Some("docs/a.md".into()) },
        "FileIteration" => iteration(),
        "IterationPage" => IterationPage { iterations: vec![iteration(), deletion()], next: Some(4) },
        "RestoreFile" => RestoreFile { n: 41 },
        "ExternalCut" => ExternalCut { cut: 5 },
        "PostMount" => PostMount { dir: Some("/mnt/agent".to_owned()) },
        "MountInfo" => MountInfo { dir: "/mnt/agent".to_owned() },
        "UpgradeInstance" => UpgradeInstance {
            deployment_id: Some("counter:1.3.0".parse().expect("a reference")),
            on_trial: true,
            now: true,
            ..UpgradeInstance::default()
        },
        "UpgradeReceipt" => UpgradeReceipt {
            status: UpgradeStatus::Done,
            deployment_id: deployment_id(),
            previous_deployment_id: deployment_id(),
            cut: Some(6),
        },
        "Health" => Health { status: "ok".into(), version: "0.1.0".into() },
        "AdminStatus" => AdminStatus {
            version: "0.1.0".into(),
            capacity: 1000,
            active_agents: 2,
            instances: 40,
            deployments: 3,
            running_turns: 1,
            turns_ended: 512,
            clients: 2,
            uptime_ms: 60_000,
            memory_bytes: 50_331_648,
            open_descriptors: 64,
            descriptor_limit: 20_000,
            data: "/var/lib/podium".into(),
        },
    };
    samples.push(Sample::of("manifest", "least", &least_manifest()));
    samples.push(Sample::of("manifest", "full", &full_manifest()));
    samples.push(Sample::of("error", "ErrorBody", &ErrorBody { error: trap() }));
    samples.push(Sample::of("message", "HistoryEntry", &history()));
    samples.push(Sample::of(
        "message",
        "Message",
        &Message {
            id: "m-1".into(),
            text: "What is a cut?".into(),
            role: Role::User,
            attachments: content().attachments,
            origin: Origin { tenant_id: "local".into(), role: "owner".into(), channel: "ws".into() },
        },
    ));
    samples
}

fn file() -> FileEntry {
    FileEntry { path: "docs/a.md".into(), kind: FileKind::File, size_bytes: 120, modified_at: AT }
}

fn iteration() -> FileIteration {
    FileIteration {
        n: 41,
        index: 3,
        path: "docs/a.md".into(),
        op: FileOp::Modified,
        kind: FileKind::File,
        size: 120,
        hash: Some("9f".repeat(32)),
        timestamp_ms: AT,
        cut: Some(5),
        turn: Some(4),
    }
}

fn deletion() -> FileIteration {
    FileIteration { n: 44, index: 4, op: FileOp::Deleted, size: 0, hash: None, cut: None, turn: None, ..iteration() }
}

#[test]
fn every_body_has_a_sample() {
    let source = include_str!("../../src/rest.rs");
    let structs = source.lines().filter_map(|line| line.strip_prefix("pub struct ")?.split([' ', '<', '(']).next());
    let samples = samples();
    let sampled: BTreeSet<&str> = samples.iter().map(Sample::stem).collect();
    let missing: Vec<&str> = structs.filter(|name| !sampled.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} of rest.rs have no sample");
}

#[test]
fn a_manifest_refuses_what_it_does_not_know() {
    let read = |text: &str| Manifest::from_section(text.as_bytes());
    assert!(read(r#"{"type":"a","version":"1.0.0"}"#).is_ok());
    for text in [
        r#"{"type":"a","version":"1.0.0","retries":1}"#,
        r#"{"type":"a","version":"1.0.0","limits":{"memory":1}}"#,
        r#"{"type":"A","version":"1.0.0"}"#,
        r#"{"type":"a","version":"1.0.0","retry":11}"#,
    ] {
        assert!(read(text).is_err(), "{text} was taken");
    }
}
