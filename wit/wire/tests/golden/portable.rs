//! A sample of what an exported instance's file says of itself, and of the answer to its import.

use std::collections::BTreeSet;

use podium_wire::cuts::CutKind;
use podium_wire::message::Role;
use podium_wire::portable::{
    ExportHead, ExportedComponent, ExportedCut, ExportedMessage, ExportedWorkspace, FORMAT, Imported, ImportedFrom,
};
use serde_json::json;

use crate::Sample;
use crate::rest::{deployment_id, info};
use crate::updates::AT;
use crate::ws::instance;

fn cut() -> ExportedCut {
    ExportedCut { cut: 5, parent: 4, kind: CutKind::Turn, state_version: 3, config_rev: 2, at: AT }
}

fn component() -> ExportedComponent {
    ExportedComponent { digest: "ab".repeat(32).parse().expect("a digest"), size_bytes: 120_000, included: true }
}

fn workspace() -> ExportedWorkspace {
    ExportedWorkspace { root: "cd".repeat(32), entries: 12, bytes: 4096 }
}

pub(crate) fn imported_from() -> ImportedFrom {
    ImportedFrom { instance_id: instance(), cut: 5, file: "ef".repeat(32) }
}

fn head() -> ExportHead {
    ExportHead {
        format: FORMAT,
        instance_id: instance(),
        cut: cut(),
        deployment_id: deployment_id(),
        component: component(),
        config: json!({"greeting": "Ahoy"}).as_object().cloned().expect("an object"),
        messages: 8,
        workspace: Some(workspace()),
        left_out: vec!["dump.bin".into()],
        left_out_count: 1,
    }
}

pub(crate) fn samples() -> Vec<Sample> {
    macro_rules! portable {
        ($($name:literal => $value:expr,)*) => { vec![$(Sample::of("portable", $name, &$value),)*] };
    }
    portable! {
        "ExportHead" => head(),
        "ExportedCut" => cut(),
        "ExportedComponent" => component(),
        "ExportedWorkspace" => workspace(),
        "ExportedMessage" => ExportedMessage { role: Role::User, text: "Hello".into(), at: AT },
        "ImportedFrom" => imported_from(),
        "Imported" => Imported {
            instance: info(),
            imported_from: imported_from(),
            deployed: true,
            left_out: vec!["dump.bin".into()],
        },
    }
}

#[test]
fn every_shape_has_a_sample() {
    let source = include_str!("../../src/portable.rs");
    let structs = source.lines().filter_map(|line| line.strip_prefix("pub struct ")?.split([' ', '<', '(']).next());
    let samples = samples();
    let sampled: BTreeSet<&str> = samples.iter().map(Sample::stem).collect();
    let missing: Vec<&str> = structs.filter(|name| !sampled.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} of portable.rs have no sample");
}
