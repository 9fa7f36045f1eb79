//! The conversation read again, forwards for clients and backwards for agents.
//!
//! What is read is that of one cut's chain of parents: what a rewind has left behind is no part of it.

use podium_wire::message::{HistoryEntry, Role};
use rusqlite::{Connection, params};

use crate::error::StoreError;
use crate::lineage::Stretch;
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
    /// A stretch of the history as a cut has it, or the last one.
    pub(crate) fn history(&mut self, cut: Option<u64>, query: HistoryQuery) -> Result<HistoryStretch, StoreError> {
        let stretches = self.visible(cut)?;
        let connection = self.messages.connection();
        let mut entries = Vec::new();
        let mut rows = match query {
            HistoryQuery::After { limit, .. } => MessageRows::new(limit, PAGE_BYTES_MAX),
            HistoryQuery::Before { limit, bytes, .. } => MessageRows::new(limit, bytes.min(PAGE_BYTES_MAX)),
        };
        match query {
            HistoryQuery::After { after, .. } => {
                for stretch in stretches.into_iter().filter(|stretch| stretch.through > after) {
                    entries.extend(rows.ascending(connection, stretch, after)?);
                    if rows.more {
                        break;
                    }
                }
            }
            HistoryQuery::Before { before, .. } => {
                let before = before.unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs());
                for stretch in stretches.into_iter().rev().filter(|stretch| stretch.after + 1 < before) {
                    entries.extend(rows.descending(connection, stretch, before)?);
                    if rows.more {
                        break;
                    }
                }
                entries.reverse();
            }
        }
        Ok(HistoryStretch { entries, more: rows.more })
    }
}

/// Messages read stretch by stretch, until there are enough of them.
#[derive(Debug)]
pub(crate) struct MessageRows {
    left: usize,
    bytes: usize,
    bytes_max: usize,
    is_first: bool,
    /// True once one was met that is too much.
    pub(crate) more: bool,
}

impl MessageRows {
    pub(crate) fn new(limit: usize, bytes_max: usize) -> Self {
        Self { left: limit, bytes: 0, bytes_max, is_first: true, more: false }
    }

    /// Those of a stretch after `after`, oldest first.
    pub(crate) fn ascending(
        &mut self,
        connection: &Connection,
        stretch: Stretch,
        after: u64,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let sql = "SELECT seq, cut, role, body, at FROM messages WHERE seq > ?1 AND seq <= ?2 ORDER BY seq";
        self.read(connection, sql, [stretch.after.max(after).min(i64::MAX.unsigned_abs()), stretch.through])
    }

    /// Those of a stretch before `before`, newest first.
    fn descending(
        &mut self,
        connection: &Connection,
        stretch: Stretch,
        before: u64,
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let sql = "SELECT seq, cut, role, body, at FROM messages WHERE seq > ?1 AND seq <= ?2 ORDER BY seq DESC";
        self.read(connection, sql, [stretch.after, stretch.through.min(before.saturating_sub(1))])
    }

    fn read(
        &mut self,
        connection: &Connection,
        sql: &str,
        [after, through]: [u64; 2],
    ) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut select = connection.prepare_cached(sql)?;
        let mut rows = select.query(params![after, through])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let text = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
            self.bytes = self.bytes.saturating_add(text.len());
            if self.left == 0 || (self.bytes > self.bytes_max && !self.is_first) {
                self.more = true;
                break;
            }
            self.left -= 1;
            self.is_first = false;
            let (text, role) = (text.to_owned(), row.get::<_, Word<Role>>(2)?.0);
            found.push(HistoryEntry { seq: row.get(0)?, cut: row.get(1)?, role, text, at: row.get(4)? });
        }
        Ok(found)
    }
}
