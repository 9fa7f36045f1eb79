//! `/chronicle`: the store behind a workspace, for those who look after it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use podium_kit::HttpError;
use podium_wire::chronicle::{ChronicleChecked, ChronicleCollected, ChronicleDamage, ChronicleStats};

use super::extract::Instance;
use crate::host::Parts;
use crate::owner::{Command, HistoryWork};

/// How large it is; all zeros while nobody ever used a file.
pub(super) async fn stats(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
) -> Result<Json<ChronicleStats>, HttpError> {
    let stats = parts.instances.history(&parts, id, podium_chronicle::Chronicle::stats).await?;
    Ok(Json(stats.map(shown).unwrap_or_default()))
}

fn shown(stats: podium_chronicle::Stats) -> ChronicleStats {
    ChronicleStats {
        versions: stats.versions,
        oldest_version: stats.oldest,
        segments: stats.segments,
        segment_bytes: stats.segment_bytes,
        live_bytes: stats.live_bytes,
        database_bytes: stats.database_bytes,
        trees: stats.trees,
        store_bytes: stats.store_bytes,
        store_bytes_max: stats.store_bytes_max,
        entries: stats.head.entries,
        workspace_bytes: stats.head.bytes,
    }
}

/// Reads and hashes all of it.
pub(super) async fn check(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
) -> Result<Json<ChronicleChecked>, HttpError> {
    let work = |reply| Command::Maintain(HistoryWork::new(|chronicle, _| chronicle.fsck(), reply));
    let checked = parts.instances.ask(&parts, id, work).await?;
    let Some(checked) = checked else { return Ok(Json(ChronicleChecked { sound: true, ..Default::default() })) };
    let damaged = checked.faults.into_iter().map(|fault| ChronicleDamage {
        version: fault.version,
        path: fault.path.to_string(),
        hash: fault.hash.to_string(),
        what: fault.what,
    });
    Ok(Json(ChronicleChecked {
        sound: checked.faults_count == 0 && checked.database.is_none(),
        versions: checked.versions,
        trees: checked.trees,
        contents: checked.contents,
        bytes: checked.bytes,
        damaged_count: checked.faults_count,
        damaged: damaged.collect(),
        database: checked.database,
    }))
}

/// Collects what nothing keeps.
pub(super) async fn collect(
    State(parts): State<Arc<Parts>>,
    Instance(id): Instance,
) -> Result<Json<ChronicleCollected>, HttpError> {
    let work =
        |reply| Command::Maintain(HistoryWork::new(|chronicle, way| chronicle.collect_due(&|| way.is_asked()), reply));
    let done = parts.instances.ask(&parts, id, work).await?.unwrap_or_default();
    Ok(Json(ChronicleCollected {
        versions: done.versions,
        contents: done.objects,
        trees: done.trees,
        segments: done.segments,
        bytes_before: done.bytes_before,
        bytes_after: done.bytes_after,
        complete: !done.made_way,
    }))
}
