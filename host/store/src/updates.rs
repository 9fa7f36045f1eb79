//! Durable updates read again: the first half of every resume (TURN.md §4).

use podium_wire::updates::{EventType, Update};
use rusqlite::params;
use serde_json::value::RawValue;

use crate::error::StoreError;
use crate::slot::Open;

/// A page ends when it holds this many bytes of content, whatever was asked for: a reader's memory is bounded, and one
/// update is at most its frame.
pub const PAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

impl Open {
    pub(crate) fn updates_after(&mut self, after_seq: u64, limit: usize) -> Result<Vec<Update>, StoreError> {
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let mut select = self.messages.connection().prepare_cached(
            "SELECT u.seq, u.attempt, u.n, u.event_type, u.body, u.at, t.turn_id, t.message_id
             FROM updates u LEFT JOIN turns t ON t.turn = u.turn WHERE u.seq > ?1 ORDER BY u.seq",
        )?;
        // More than any number there is would not fit a column.
        let mut rows = select.query(params![after_seq.min(i64::MAX.unsigned_abs())])?;
        let mut page = Vec::new();
        let (mut bytes, mut count) = (0_usize, 0_u64);
        while count < limit && bytes < PAGE_BYTES_MAX {
            let Some(row) = rows.next()? else { break };
            let name: String = row.get(3)?;
            let event_type =
                EventType::from_name(&name).ok_or_else(|| self.damaged(format!("unknown update `{name}`")))?;
            let body: String = row.get(4)?;
            bytes += body.len();
            count += 1;
            page.push(Update {
                event_type,
                seq: Some(row.get(0)?),
                turn_id: row.get(6)?,
                attempt: row.get(1)?,
                n: row.get(2)?,
                message_id: row.get(7)?,
                ts: row.get(5)?,
                content: RawValue::from_string(body)?,
            });
        }
        Ok(page)
    }
}
