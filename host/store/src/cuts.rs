//! Cuts read again: the list of them, and an instance as one of them had it.
//!
//! Reads only, but for the redo of `state.db`. Must never answer what a cut did not have.

use podium_wire::DeploymentId;
use podium_wire::message::HistoryEntry;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::{Map, Value};

use crate::cut::WorkspaceAt;
use crate::error::StoreError;
use crate::history::MessageRows;
use crate::lineage::{self, Jump, Lineage, Stretch};
use crate::rows::CutKind;
use crate::schema::Templates;
use crate::slot::Open;
use crate::updates::PAGE_BYTES_MAX;

/// Begins the key of a jump in `meta`; what follows is the cut with leading zeros, so that keys are in the order of cuts.
const JUMP: &str = "jump:";

/// One cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CutRow {
    /// Its number.
    pub cut: u64,
    /// The cut that it follows.
    pub parent: u64,
    /// What made it.
    pub kind: CutKind,
    /// True when it lies on the way to the last one.
    pub on_path: bool,
    /// The turn that it ended.
    pub turn: Option<u64>,
    /// The id of that turn.
    pub turn_id: Option<String>,
    /// The message that the turn answered.
    pub message_id: Option<String>,
    /// Patches in the instance's life.
    pub state_version: u64,
    /// The last message of the history that was given up to it.
    pub last_message_seq: u64,
    /// The workspace.
    pub workspace: Option<WorkspaceAt>,
    /// The code.
    pub component: DeploymentId,
    /// The configuration's revision.
    pub config_rev: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// An instance as one of its cuts had it.
#[derive(Debug, Clone, PartialEq)]
pub struct AtCut {
    /// The cut.
    pub cut: CutRow,
    /// The state.
    pub state: Value,
    /// The configuration.
    pub config: Map<String, Value>,
}

/// Messages that only one of two cuts has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageDifference {
    /// By `seq`; true for those that only the second cut has.
    pub messages: Vec<(bool, HistoryEntry)>,
    /// Whether there are more.
    pub more: bool,
}

const SELECT: &str =
    "SELECT c.cut, c.parent, c.kind, c.turn, t.turn_id, t.message_id, c.state_version, c.last_message_seq,
    c.workspace_version, c.workspace_root, c.component, c.config_rev, c.at
    FROM cuts c LEFT JOIN turns t ON t.turn = c.turn";

fn read(row: &Row<'_>) -> rusqlite::Result<CutRow> {
    let workspace = match (row.get(8)?, row.get(9)?) {
        (Some(version), Some(root)) => Some(WorkspaceAt { version, root }),
        _ => None,
    };
    let component: String = row.get(10)?;
    let component = component.parse().map_err(|error: podium_wire::InvalidId| {
        rusqlite::Error::FromSqlConversionFailure(10, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(CutRow {
        cut: row.get(0)?,
        parent: row.get(1)?,
        kind: row.get(2)?,
        on_path: false,
        turn: row.get(3)?,
        turn_id: row.get(4)?,
        message_id: row.get(5)?,
        state_version: row.get(6)?,
        last_message_seq: row.get(7)?,
        workspace,
        component,
        config_rev: row.get(11)?,
        at: row.get(12)?,
    })
}

impl Open {
    /// Cuts after `after`, oldest first, and whether there are more.
    pub(crate) fn cuts(&mut self, after: u64, limit: usize) -> Result<(Vec<CutRow>, bool), StoreError> {
        let path = self.lineage()?.cuts(self.head.cut);
        let limit_and_one = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1).min(i64::MAX.unsigned_abs());
        let mut select =
            self.messages.connection().prepare_cached(&format!("{SELECT} WHERE c.cut > ?1 ORDER BY c.cut LIMIT ?2"))?;
        let rows = select.query_map(params![after.min(i64::MAX.unsigned_abs()), limit_and_one], read)?;
        let mut cuts = Vec::new();
        for row in rows {
            let cut = row?;
            cuts.push(CutRow { on_path: lineage::has(&path, cut.cut), ..cut });
        }
        let more = cuts.len() > limit;
        cuts.truncate(limit);
        Ok((cuts, more))
    }

    /// One cut; none when it was never made.
    pub(crate) fn find_cut(&mut self, cut: u64) -> Result<Option<CutRow>, StoreError> {
        let path = self.lineage()?.cuts(self.head.cut);
        let mut select = self.messages.connection().prepare_cached(&format!("{SELECT} WHERE c.cut = ?1"))?;
        let found = select.query_row([cut.min(i64::MAX.unsigned_abs())], read).optional()?;
        Ok(found.map(|cut| CutRow { on_path: lineage::has(&path, cut.cut), ..cut }))
    }

    /// The instance as a cut had it; none when it was never made.
    pub(crate) fn at_cut(&mut self, templates: &Templates, cut: u64) -> Result<Option<AtCut>, StoreError> {
        let Some(cut) = self.find_cut(cut)? else { return Ok(None) };
        let state = self.state_of(templates, cut.cut, cut.state_version)?;
        let config = self.config(Some(cut.config_rev))?.ok_or_else(|| self.damaged("a configuration is missing"))?;
        Ok(Some(AtCut { cut, state, config: config.config }))
    }

    /// The jumps of the instance's life.
    pub(crate) fn lineage(&self) -> Result<Lineage, StoreError> {
        let mut select =
            self.messages.connection().prepare_cached("SELECT k, v FROM meta WHERE k >= ?1 AND k < ?2 ORDER BY k")?;
        // The character behind the colon.
        let rows = select.query_map([JUMP, "jump;"], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        let mut jumps = Vec::new();
        for row in rows {
            let (key, value) = row?;
            jumps.push(read_jump(&key, &value).ok_or_else(|| self.damaged("a rewind's row is malformed"))?);
        }
        Ok(Lineage::new(jumps))
    }

    /// The messages of a cut's chain, oldest stretch first.
    pub(crate) fn visible(&mut self, cut: Option<u64>) -> Result<Vec<Stretch>, StoreError> {
        let lineage = self.lineage()?;
        let (cut, last) = match cut {
            None => (self.head.cut, self.head.last_message_seq),
            Some(cut) => match self.find_cut(cut)? {
                Some(found) => (found.cut, found.last_message_seq),
                None => return Ok(Vec::new()),
            },
        };
        Ok(lineage.messages(cut, last))
    }

    /// Messages that only one of two cuts has, after `after`.
    pub(crate) fn message_difference(
        &mut self,
        from: u64,
        to: u64,
        after: u64,
        limit: usize,
    ) -> Result<MessageDifference, StoreError> {
        let (old, new) = (self.visible(Some(from))?, self.visible(Some(to))?);
        let sided = |stretches: Vec<Stretch>, is_new: bool| stretches.into_iter().map(move |stretch| (is_new, stretch));
        let mut stretches: Vec<(bool, Stretch)> =
            sided(lineage::without(&old, &new), false).chain(sided(lineage::without(&new, &old), true)).collect();
        stretches.sort_by_key(|(_, stretch)| stretch.after);
        let mut rows = MessageRows::new(limit, PAGE_BYTES_MAX);
        let mut messages = Vec::new();
        for (is_new, stretch) in stretches {
            let found = rows.ascending(self.messages.connection(), stretch, after)?;
            messages.extend(found.into_iter().map(|entry| (is_new, entry)));
            if rows.more {
                break;
            }
        }
        Ok(MessageDifference { messages, more: rows.more })
    }
}

fn read_jump(key: &str, value: &str) -> Option<Jump> {
    let cut = key.strip_prefix(JUMP)?.parse().ok().filter(|cut| *cut > 0)?;
    let mut numbers = value.split(' ').map(|number| number.parse::<u64>().ok());
    let jump =
        Jump { cut, parent: numbers.next()??, messages_before: numbers.next()??, messages_at_parent: numbers.next()?? };
    numbers.next().is_none().then_some(jump)
}

/// Writes that a cut follows another one than the last, with that cut.
pub(crate) fn write_jump(
    connection: &Connection,
    cut: u64,
    parent: u64,
    messages_before: u64,
) -> Result<(), StoreError> {
    let at_parent: u64 = connection
        .prepare_cached("SELECT last_message_seq FROM cuts WHERE cut = ?1")?
        .query_row([parent], |row| row.get(0))?;
    connection
        .prepare_cached("INSERT INTO meta(k, v) VALUES (?1, ?2)")?
        .execute(params![format!("{JUMP}{cut:020}"), format!("{parent} {messages_before} {at_parent}")])?;
    Ok(())
}
