//! Samples of what is told of a workspace's store.

use podium_wire::chronicle::{ChronicleChecked, ChronicleCollected, ChronicleDamage, ChronicleStats};

use crate::Sample;

pub(crate) fn samples() -> Vec<Sample> {
    let stats = ChronicleStats {
        versions: 214,
        oldest_version: 17,
        segments: 3,
        segment_bytes: 140_000_000,
        live_bytes: 121_000_000,
        database_bytes: 6_291_456,
        trees: 9_120,
        store_bytes: 146_291_456,
        store_bytes_max: 2_147_483_648,
        entries: 11_640,
        workspace_bytes: 73_000_000,
    };
    let damage = ChronicleDamage {
        version: 212,
        path: "docs/notes.md".into(),
        hash: "2b".repeat(32),
        what: "its bytes have another hash".into(),
    };
    let checked = ChronicleChecked {
        sound: false,
        versions: 214,
        trees: 9_120,
        contents: 31_877,
        bytes: 402_000_000,
        damaged_count: 1,
        damaged: vec![damage],
        database: Some("row 3 missing from index skipped_now".into()),
    };
    let collected = ChronicleCollected {
        versions: 12,
        contents: 90,
        trees: 300,
        segments: 1,
        bytes_before: 146_291_456,
        bytes_after: 101_000_000,
        complete: true,
    };
    vec![
        Sample::of("rest", "ChronicleStats", &stats),
        Sample::of("rest", "ChronicleChecked", &checked),
        Sample::of("rest", "ChronicleCollected", &collected),
    ]
}
