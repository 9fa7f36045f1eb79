//! The conversation read again, forwards for clients and backwards for agents.

use podium_wire::message::{HistoryEntry, Role};
use rusqlite::params;

use crate::error::StoreError;
use crate::rows::Word;
use crate::slot::Open;
use crate::updates::PAGE_BYTES_MAX;

/// Which stretch of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryQuery {
    /// The first `limit` messages after `after` (0: from the start).
    After {
        /// A message's `seq`.
        after: u64,
        /// At most so many.
        limit: usize,
    },
    /// The last `limit` messages before `before`, or of all.
    Before {
        /// A message's `seq`.
        before: Option<u64>,
        /// At most so many.
        limit: usize,
    },
}

impl Open {
    pub(crate) fn history(&mut self, query: HistoryQuery) -> Result<Vec<HistoryEntry>, StoreError> {
        let (sql, edge, limit) = match query {
            HistoryQuery::After { after, limit } => {
                ("SELECT seq, cut, role, body, at FROM messages WHERE seq > ?1 ORDER BY seq", after, limit)
            }
            HistoryQuery::Before { before, limit } => (
                "SELECT seq, cut, role, body, at FROM messages WHERE seq < ?1 ORDER BY seq DESC",
                before.unwrap_or(u64::MAX),
                limit,
            ),
        };
        let mut select = self.messages.connection().prepare_cached(sql)?;
        let mut rows = select.query(params![edge.min(i64::MAX.unsigned_abs())])?;
        let mut page = Vec::new();
        let mut bytes = 0;
        while page.len() < limit && bytes < PAGE_BYTES_MAX {
            let Some(row) = rows.next()? else { break };
            let text: String = row.get(3)?;
            bytes += text.len();
            let role = row.get::<_, Word<Role>>(2)?.0;
            page.push(HistoryEntry { seq: row.get(0)?, cut: row.get(1)?, role, text, at: row.get(4)? });
        }
        if matches!(query, HistoryQuery::Before { .. }) {
            page.reverse();
        }
        Ok(page)
    }
}
