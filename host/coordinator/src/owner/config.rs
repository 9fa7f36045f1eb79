//! The configuration: each change is an inbox row whose cut carries the new revision.

use podium_runtime::ConfigChange;
use podium_store::{CutKind, NewRow, NewUpdate, RowKind};
use podium_wire::ErrorCode;
use podium_wire::rest::ConfigDocument;
use podium_wire::updates::{ConfigChanged, UpdateBody};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::oneshot;

use super::row::Row;
use super::{Owner, Reply};
use crate::error::Error;
use podium_store::Outcome;

/// Bytes of a configuration as JSON: it is held in memory for each active instance.
pub(super) const CONFIG_BYTES_MAX: usize = 256 * 1024;

/// The body of a row of kind `config_change`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ConfigRow {
    /// The new document.
    pub config: Map<String, Value>,
    /// Who set it.
    pub source: String,
    /// It goes before a turn that has begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub now: bool,
}

/// A change to queue.
#[derive(Debug)]
pub struct WantedConfig {
    /// The document, whole.
    pub config: Map<String, Value>,
    /// The revision it was made from.
    pub if_revision: Option<u64>,
    /// Whether a running turn makes way for it.
    pub now: bool,
    /// The authenticated principal.
    pub sender: String,
}

/// Checks a configuration's size.
pub(crate) fn check_size(config: &Map<String, Value>) -> Result<(), Error> {
    let bytes = serde_json::to_string(config).map_or(usize::MAX, |text| text.len());
    if bytes > CONFIG_BYTES_MAX {
        let message = format!("the configuration has {bytes} bytes; at most {CONFIG_BYTES_MAX} are taken");
        return Err(Error::coded(ErrorCode::InvalidConfig, message));
    }
    Ok(())
}

/// What changed between two documents: objects are entered, everything else is a value.
pub(super) fn changes(old: &Value, new: &Value) -> Vec<ConfigChange> {
    let mut found = Vec::new();
    compare(String::new(), Some(old), Some(new), &mut found);
    found
}

fn compare(pointer: String, old: Option<&Value>, new: Option<&Value>, found: &mut Vec<ConfigChange>) {
    match (old, new) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                compare(format!("{pointer}/{escaped}"), old.get(key), new.get(key), found);
            }
        }
        (old, new) if old != new => {
            found.push(ConfigChange { pointer, old: old.cloned(), new: new.cloned() });
        }
        _ => {}
    }
}

/// The update that tells of a new revision; it comes with the cut, so nobody has seen it live.
pub(super) fn changed(revision: u64, at: u64) -> NewUpdate {
    let (event_type, content) = UpdateBody::ConfigChanged(ConfigChanged { revision }).encode();
    NewUpdate { n: None, event_type, content, at }
}

impl Owner {
    /// Queues a change; the reply comes with its cut.
    pub(super) async fn set_config(&mut self, wanted: WantedConfig, reply: Reply<ConfigDocument>) {
        let config = wanted.config.clone();
        match self.queue_config(wanted).await {
            Ok(outcome) => {
                // Answered when the turn is over, however long that takes; the owner goes on.
                let revision_after = self.core.config_rev + 1;
                podium_kit::spawn::task("config reply", async move {
                    let result = match outcome.await {
                        Ok(Outcome { error: None, .. }) => Ok(ConfigDocument { revision: revision_after, config }),
                        Ok(Outcome { error: Some(error), .. }) => Err(Error::Agent(error)),
                        Err(_) => Err(Error::Stopping),
                    };
                    drop(reply.send(result));
                });
                self.start_next().await;
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    async fn queue_config(&mut self, wanted: WantedConfig) -> Result<oneshot::Receiver<Outcome>, Error> {
        let WantedConfig { config, if_revision, now: hurries, sender } = wanted;
        if self.stopping {
            return Err(Error::Stopping);
        }
        if self.core.stopped {
            return Err(Error::coded(ErrorCode::InstanceStopped, "the instance is stopped"));
        }
        check_size(&config)?;
        // It would wait behind what is parked for as long as nobody looks.
        if let Some(error) = self.parked_error() {
            return Err(error);
        }
        let waiting = self.queue.iter().any(|row| row.kind == RowKind::ConfigChange);
        if waiting || if_revision.is_some_and(|revision| revision != self.core.config_rev) {
            let message =
                format!("the configuration is at revision {}, or is just being changed", self.core.config_rev);
            return Err(Error::coded(ErrorCode::RevisionConflict, message));
        }
        self.mark_active().await?;
        let now = self.parts.clock.now_ms();
        let body = serde_json::to_string(&ConfigRow { config, source: sender.clone(), now: hurries })
            .map_err(|error| Error::coded(ErrorCode::InvalidConfig, error.to_string()))?;
        let id = self.parts.random.uuid_v7(now).to_string();
        let new = NewRow { sender, id, kind: RowKind::ConfigChange, hashed: body.clone(), body, at: now, start: None };
        let accepted = self.store.accept(new.clone()).await?;
        self.queue.push_back(Row::accepted(accepted.inbox_seq, new));
        if hurries {
            self.make_way();
        }
        let (told, outcome) = oneshot::channel();
        self.wait_for(accepted.inbox_seq, told);
        Ok(outcome)
    }

    /// Makes the change of an agent that has no `on-config-change`.
    pub(super) async fn set_config_without_hook(&mut self, row: &Row) -> Result<(), Error> {
        let change: ConfigRow = serde_json::from_str(&row.body).map_err(|error| {
            Error::coded(ErrorCode::InstanceDamaged, format!("a configuration cannot be read: {error}"))
        })?;
        let revision = self.core.config_rev + 1;
        let config = Value::Object(change.config);
        let mut request = self.empty_cut(CutKind::Config);
        request.inbox_seq = Some(row.seq);
        request.config = Some((revision, config.to_string()));
        request.updates = vec![changed(revision, request.at)];
        let cut = self.commit(request, Some(row)).await?;
        self.core.config = Arc::new(config);
        self.core.config_rev = revision;
        self.queue.pop_front();
        self.resolve(row.seq, &Outcome { cut, text: None, error: None });
        Ok(())
    }

    pub(super) fn config_document(&self) -> ConfigDocument {
        let config = self.core.config.as_object().cloned().unwrap_or_default();
        ConfigDocument { revision: self.core.config_rev, config }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_name_the_places() {
        let found = changes(&json!({"a": 1, "b": {"c/d": 2, "e": [1]}}), &json!({"b": {"c/d": 3, "e": [1]}, "f": {}}));
        let places: Vec<_> = found.iter().map(|change| change.pointer.as_str()).collect();
        assert_eq!(places, ["/a", "/b/c~1d", "/f"]);
        assert_eq!((found[0].old.clone(), found[0].new.clone()), (Some(json!(1)), None));
        assert_eq!(found[1].new, Some(json!(3)));
    }
}
