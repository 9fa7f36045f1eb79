//! Cuts as clients see them.
//!
//! Reads what is committed; an instance is not opened for it.

use std::sync::Arc;

use podium_chronicle::ContentHash;
use podium_store::CutRow;
use podium_wire::InstanceId;
use podium_wire::cuts::{CutInfo, CutKind, CutPage, CutWorkspace};

use crate::error::Error;
use crate::host::Parts;

/// A page of an instance's cuts.
pub(crate) async fn page(parts: &Arc<Parts>, id: InstanceId, after: u64, limit: usize) -> Result<CutPage, Error> {
    let store = parts.store.instance(id);
    let (cuts, more) = store.cuts(after, limit).await?;
    let next = if more { cuts.last().map(|cut| cut.cut) } else { None };
    let mut cuts: Vec<CutInfo> = cuts.into_iter().map(told).collect();
    if let Some(fork) = cuts.iter_mut().find(|cut| cut.kind == CutKind::Fork) {
        // What cannot be read is not known.
        let note = store.forked_from().await?.unwrap_or_default();
        fork.imported_from = serde_json::from_str(&note).ok();
        if fork.imported_from.is_none() {
            fork.forked_from = serde_json::from_str(&note).ok();
        }
    }
    Ok(CutPage { cuts, next })
}

fn told(cut: CutRow) -> CutInfo {
    let root = |root: &[u8]| ContentHash::from_slice(root).map_or_else(String::new, |root| root.to_string());
    CutInfo {
        cut: cut.cut,
        parent: cut.parent,
        kind: kind(cut.kind),
        on_path: cut.on_path,
        turn: cut.turn,
        turn_id: cut.turn_id,
        message_id: cut.message_id,
        state_version: cut.state_version,
        deployment_id: cut.component,
        config_rev: cut.config_rev,
        workspace: cut.workspace.map(|at| CutWorkspace { version: at.version, root: root(&at.root) }),
        forked_from: None,
        imported_from: None,
        at: cut.at,
    }
}

pub(crate) fn kind(kind: podium_store::CutKind) -> CutKind {
    use podium_store::CutKind as Stored;
    match kind {
        Stored::Init => CutKind::Init,
        Stored::Turn => CutKind::Turn,
        Stored::Error => CutKind::Error,
        Stored::Config => CutKind::Config,
        Stored::External => CutKind::External,
        Stored::Upgrade => CutKind::Upgrade,
        Stored::Rewind => CutKind::Rewind,
        Stored::Fork => CutKind::Fork,
    }
}
