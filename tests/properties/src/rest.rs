//! Bodies of the HTTP routes, names and ids in paths, and JSON Pointers in queries.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use podium_capabilities::state::value_at;
use podium_wire::asks::{AskList, GivenAnswer, GivenDecision, OpenAsk};
use podium_wire::error::ErrorBody;
use podium_wire::ids::{MESSAGE_ID_BYTES_MAX, check_message_id};
use podium_wire::message::{HistoryEntry, Message, MessageContent};
use podium_wire::rest::{
    AdminStatus, ConfigDocument, CreateInstance, Deployed, Deployment, DeploymentDetail, DeploymentPage, Description,
    ExternalCut, FileEntry, FilePage, Health, HistoryPage, InstanceInfo, InstancePage, InstanceSummary, LogLine,
    LogPage, MessageOutcome, MessageReceipt, PostMessage, PutConfig, StateDocument, UpgradeInstance, UpgradeReceipt,
};
use podium_wire::{AgentType, AgentVersion, DeploymentId, DeploymentRef, Digest, InstanceId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Longest text of an id or reference: type, version and digest with their signs.
const ID_BYTES_MAX: usize = 63 + 1 + 64 + 1 + 8;

/// What is read can be written, and read again as the same.
fn body<T: DeserializeOwned + Serialize + PartialEq + Debug>(bytes: &[u8]) {
    let Ok(read) = serde_json::from_slice::<T>(bytes) else { return };
    let written = serde_json::to_vec(&read).expect("a body can be written");
    let again: T = serde_json::from_slice(&written).expect("what was written can be read");
    assert_eq!(again, read);
    // Also by way of a document, as the routes of configuration and state do.
    let value: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(serde_json::from_value::<T>(value).expect("a document can be read"), read);
}

/// A text that is taken is shown as it was written, and is short.
fn id<T: FromStr<Err: Display> + Display>(text: &str) {
    match text.parse::<T>() {
        Ok(id) => {
            assert_eq!(id.to_string(), text);
            assert!(text.len() <= ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
            // It names a folder.
            assert!(!text.starts_with('.') && !text.contains(['/', '\\', '\0']), "{text:?}");
        }
        // At most 80 characters of it come back.
        Err(error) => assert!(error.to_string().len() < 80 * 4 + 200),
    }
}

fn ids(text: &str) {
    id::<AgentType>(text);
    id::<AgentVersion>(text);
    id::<DeploymentId>(text);
    id::<DeploymentRef>(text);
    id::<InstanceId>(text);
    id::<Digest>(text);
    if check_message_id(text).is_ok() {
        assert!(text.len() <= MESSAGE_ID_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let (Ok(full), Ok(reference)) = (text.parse::<DeploymentId>(), text.parse::<DeploymentRef>()) {
        assert_eq!(DeploymentRef::from(full), reference);
    }
}

/// A pointer finds what the crate `jsonptr` finds, and is refused where it is none. The document comes before it.
fn pointer(document: &str, pointer: &str) {
    let Ok(document) = serde_json::from_str::<Value>(document) else { return };
    let found = value_at(&document, pointer);
    let Ok(parsed) = jsonptr::Pointer::parse(pointer) else {
        assert!(found.is_err(), "`{pointer}` was taken");
        return;
    };
    let expected = parsed.resolve(&document).ok();
    assert_eq!(found.expect("a pointer is taken"), expected, "at `{pointer}`");
}

/// The bodies, each by a letter from `A` on; new ones go to the end, so that the corpus keeps its meaning.
const BODIES: [fn(&[u8]); 33] = [
    body::<CreateInstance>,
    body::<PostMessage>,
    body::<PutConfig>,
    body::<MessageContent>,
    body::<Message>,
    body::<HistoryEntry>,
    body::<HistoryPage>,
    body::<Deployed>,
    body::<Deployment>,
    body::<DeploymentDetail>,
    body::<DeploymentPage>,
    body::<Description>,
    body::<InstanceInfo>,
    body::<InstancePage>,
    body::<InstanceSummary>,
    body::<MessageReceipt>,
    body::<MessageOutcome>,
    body::<ConfigDocument>,
    body::<StateDocument>,
    body::<LogLine>,
    body::<LogPage>,
    body::<FileEntry>,
    body::<FilePage>,
    body::<ExternalCut>,
    body::<Health>,
    body::<AdminStatus>,
    body::<ErrorBody>,
    body::<UpgradeInstance>,
    body::<UpgradeReceipt>,
    body::<AskList>,
    body::<OpenAsk>,
    body::<GivenAnswer>,
    body::<GivenDecision>,
];

/// A letter and JSON are a body; two lines, the first an object or array, a document and a pointer; the rest a name or an id.
pub fn rest(bytes: &[u8]) {
    if let [letter, json @ ..] = bytes
        && json.starts_with(b"{")
        && let Some(body) = letter.checked_sub(b'A').and_then(|index| BODIES.get(usize::from(index)))
    {
        return body(json);
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.split_once('\n') {
        Some((document, place)) if text.starts_with(['{', '[']) => pointer(document, place),
        _ => ids(text),
    }
}
