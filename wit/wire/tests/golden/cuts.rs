//! A sample of every body that speaks of cuts.

use std::collections::BTreeSet;

use podium_wire::cuts::{
    CutDiff, CutInfo, CutKind, CutPage, CutRef, CutWorkspace, DeploymentDiff, DiffOmitted, DiffSide, FileDiff,
    FileDiffOp, FileDiffs, ForkInstance, Forked, MessageDiff, MessageDiffs, RewindInstance, RewindReceipt, StateDiff,
};
use podium_wire::rest::FileKind;
use serde_json::json;

use crate::Sample;
use crate::rest::{deployment_id, history, info};
use crate::updates::{AT, TURN};
use crate::ws::instance;

fn workspace() -> CutWorkspace {
    CutWorkspace { version: 3, root: "ab".repeat(32) }
}

fn forked_from() -> CutRef {
    CutRef { instance_id: instance(), cut: 4 }
}

fn cut() -> CutInfo {
    CutInfo {
        cut: 5,
        parent: 4,
        kind: CutKind::Turn,
        on_path: true,
        turn: Some(7),
        turn_id: Some(TURN.into()),
        message_id: Some("m-1".into()),
        state_version: 3,
        deployment_id: deployment_id(),
        config_rev: 2,
        workspace: Some(workspace()),
        forked_from: Some(forked_from()),
        imported_from: Some(crate::portable::imported_from()),
        at: AT,
    }
}

fn message() -> MessageDiff {
    MessageDiff { side: DiffSide::Removed, message: history() }
}

fn messages() -> MessageDiffs {
    MessageDiffs { changes: vec![message()], next: Some(2) }
}

fn file() -> FileDiff {
    FileDiff {
        path: "notes/b.md".into(),
        kind: FileKind::File,
        op: FileDiffOp::Renamed,
        previous_path: Some("notes/a.md".into()),
        old_mode: Some(0o644),
        new_mode: Some(0o755),
        old_size: Some(2),
        new_size: Some(2),
        diff: Some("--- a/notes/a.md\n+++ b/notes/b.md\n@@ -1 +1 @@\n-a\n+b\n".into()),
        omitted: Some(DiffOmitted::TooLarge),
    }
}

fn files() -> FileDiffs {
    FileDiffs { changes: vec![file()], next: Some(1), same: false }
}

fn state() -> StateDiff {
    let patch = json!([{"op": "replace", "path": "/count", "value": 3}]);
    StateDiff { from_version: 2, to_version: 3, patch }
}

fn deployment() -> DeploymentDiff {
    DeploymentDiff { from: deployment_id(), to: deployment_id() }
}

pub(crate) fn samples() -> Vec<Sample> {
    macro_rules! cuts {
        ($($name:literal => $value:expr,)*) => { vec![$(Sample::of("cuts", $name, &$value),)*] };
    }
    cuts! {
        "CutRef" => forked_from(),
        "CutWorkspace" => workspace(),
        "CutInfo" => cut(),
        "CutPage" => CutPage { cuts: vec![cut()], next: Some(5) },
        "RewindInstance" => RewindInstance { to: 4, keep_component: true },
        "RewindReceipt" => RewindReceipt {
            cut: 10,
            to: 4,
            from: 9,
            deployment_id: deployment_id(),
            state_version: 8,
            config_rev: 3,
            left: vec!["cache".into()],
        },
        "ForkInstance" => ForkInstance { at: Some(4) },
        "Forked" => Forked { instance: info(), forked_from: forked_from(), left_out: vec!["dump.bin".into()] },
        "CutDiff" => CutDiff {
            from: 4,
            to: 9,
            state: state(),
            messages: messages(),
            files: files(),
            deployment_id: Some(deployment()),
            config: json!([]),
        },
        "StateDiff" => state(),
        "DeploymentDiff" => deployment(),
        "MessageDiff" => message(),
        "MessageDiffs" => messages(),
        "FileDiff" => file(),
        "FileDiffs" => files(),
    }
}

#[test]
fn every_body_has_a_sample() {
    let source = include_str!("../../src/cuts.rs");
    let structs = source.lines().filter_map(|line| line.strip_prefix("pub struct ")?.split([' ', '<', '(']).next());
    let samples = samples();
    let sampled: BTreeSet<&str> = samples.iter().map(Sample::stem).collect();
    let missing: Vec<&str> = structs.filter(|name| !sampled.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} of cuts.rs have no sample");
}
