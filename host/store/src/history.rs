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
        /// At most so many bytes of text; one message that has more comes alone.
        bytes: usize,
    },
}

/// Messages of one look into the history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryStretch {
    /// At most as many as were asked for, and no more bytes of text than that or [`PAGE_BYTES_MAX`], unless one alone has more.
    pub entries: Vec<HistoryEntry>,
    /// Whether there are more in the direction of the query.
    pub more: bool,
}

impl Open {
    pub(crate) fn history(&mut self, query: HistoryQuery) -> Result<HistoryStretch, StoreError> {
        let (sql, edge, limit, bytes_max) = match query {
            HistoryQuery::After { after, limit } => {
                let sql = "SELECT seq, cut, role, body, at FROM messages WHERE seq > ?1 ORDER BY seq";
                (sql, after, limit, PAGE_BYTES_MAX)
            }
            HistoryQuery::Before { before, limit, bytes } => {
                let sql = "SELECT seq, cut, role, body, at FROM messages WHERE seq < ?1 ORDER BY seq DESC";
                (sql, before.unwrap_or(u64::MAX), limit, bytes.min(PAGE_BYTES_MAX))
            }
        };
        let mut select = self.messages.connection().prepare_cached(sql)?;
        let mut rows = select.query(params![edge.min(i64::MAX.unsigned_abs())])?;
        let (mut page, mut bytes, mut more) = (Vec::new(), 0_usize, false);
        while let Some(row) = rows.next()? {
            let text = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
            bytes = bytes.saturating_add(text.len());
            if page.len() >= limit || (bytes > bytes_max && !page.is_empty()) {
                more = true;
                break;
            }
            let (text, role) = (text.to_owned(), row.get::<_, Word<Role>>(2)?.0);
            page.push(HistoryEntry { seq: row.get(0)?, cut: row.get(1)?, role, text, at: row.get(4)? });
        }
        if matches!(query, HistoryQuery::Before { .. }) {
            page.reverse();
        }
        Ok(HistoryStretch { entries: page, more })
    }
}
