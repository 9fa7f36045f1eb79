//! Everything that an instance is, as clients see it: what a rewind brings back and a fork has.

use std::collections::BTreeMap;

use podium_wire::InstanceId;
use podium_wire::cuts::{CutInfo, CutPage};
use podium_wire::rest::{ConfigDocument, FileKind, HistoryPage};
use serde_json::Value;

use crate::Client;

/// An instance at one time. Numbers that only count are left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// The state.
    pub state: Value,
    /// What was said, and by whom.
    pub messages: Vec<(String, String)>,
    /// Every path with its content; folders and links by a word.
    pub files: BTreeMap<String, String>,
    /// The configuration.
    pub config: Value,
    /// The code.
    pub deployment: String,
}

impl Moment {
    /// The instance now.
    pub async fn of(client: &Client, id: InstanceId) -> Self {
        let config: ConfigDocument = client.get(&format!("/agent/{id}/config")).await.with(200);
        Self {
            state: client.state(id).await.state,
            messages: said(client, id).await,
            files: files(client, id).await,
            config: Value::Object(config.config),
            deployment: client.info(id).await.deployment_id.to_string(),
        }
    }
}

/// What was said, and by whom.
pub async fn said(client: &Client, id: InstanceId) -> Vec<(String, String)> {
    let page: HistoryPage = client.get(&format!("/agent/{id}/messages?limit=1000")).await.with(200);
    assert_eq!(page.next, None, "a story says less than that");
    page.messages.into_iter().map(|message| (format!("{:?}", message.role).to_lowercase(), message.text)).collect()
}

/// Every file with its content; folders and links by a word.
pub async fn files(client: &Client, id: InstanceId) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for entry in client.files(id).await.files {
        let content = match entry.kind {
            FileKind::File => client.file(id, &entry.path).await.text(),
            FileKind::Folder => "(folder)".to_owned(),
            FileKind::Symlink => "(link)".to_owned(),
            FileKind::Other => "(other)".to_owned(),
        };
        files.insert(entry.path, content);
    }
    files
}

/// All cuts, read in pages of three.
pub async fn cuts(client: &Client, id: InstanceId) -> Vec<CutInfo> {
    let (mut cuts, mut after) = (Vec::new(), 0);
    loop {
        let page: CutPage = client.get(&format!("/agent/{id}/cuts?limit=3&after={after}")).await.with(200);
        assert!(page.cuts.len() <= 3);
        cuts.extend(page.cuts);
        match page.next {
            Some(next) => after = next,
            None => return cuts,
        }
    }
}
