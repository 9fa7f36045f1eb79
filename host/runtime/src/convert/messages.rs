//! `messages`: pages of the history.

use podium_capabilities::messages::HistoryPage;

use crate::bindings::podium::agent::messages;

impl From<HistoryPage> for messages::Page {
    fn from(page: HistoryPage) -> Self {
        let entry = |entry: podium_wire::message::HistoryEntry| messages::Entry {
            seq: entry.seq,
            role: entry.role.into(),
            text: entry.text,
            at_ms: entry.at,
        };
        Self { entries: page.entries.into_iter().map(entry).collect(), before: page.before }
    }
}
