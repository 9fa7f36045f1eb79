//! Recovery: what an owner starts from, read from the last cut (TURN.md §3).
//!
//! Makes `state.db` agree with `messages.db`, of which it changes one thing: a hook that nothing runs again is closed.

use std::sync::Arc;

use podium_wire::DeploymentId;
use rusqlite::OptionalExtension;
use serde_json::{Map, Value};

use crate::cut::WorkspaceAt;
use crate::error::StoreError;
use crate::rows::{CutKind, RowKind, RowStatus, Word};
use crate::schema::Templates;
use crate::slot::Open;
use crate::steer;

/// An instance as its last cut left it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovered {
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_at: u64,
    /// True when it takes no messages.
    pub stopped: bool,
    /// The last cut; 0 while the first is still to come, which only a creator sees.
    pub cut: u64,
    /// What made it.
    pub cut_kind: CutKind,
    /// The code it runs.
    pub component: DeploymentId,
    /// The workspace of the last cut; none while no cut had one.
    pub workspace: Option<WorkspaceAt>,
    /// The configuration's revision.
    pub config_rev: u64,
    /// The configuration.
    pub config: Map<String, Value>,
    /// The state.
    pub state: Arc<Value>,
    /// Patches in its life.
    pub state_version: u64,
    /// The last durable update.
    pub last_seq: u64,
    /// The last message of the history.
    pub last_message_seq: u64,
    /// The last turn's number, also of one without a cut.
    pub last_turn: u64,
    /// The last place of the inbox.
    pub last_inbox_seq: u64,
    /// The note of an upgrade on trial.
    pub trial: Option<String>,
    /// Rows that no cut has consumed, in order.
    pub unfinished: Vec<InboxRow>,
}

/// A row of the inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxRow {
    /// Its place.
    pub seq: u64,
    /// Whose it is.
    pub sender: String,
    /// Unique within the sender.
    pub id: String,
    /// What it asks for.
    pub kind: RowKind,
    /// Its content as JSON text.
    pub body: String,
    /// When it was accepted.
    pub at: u64,
    /// Attempts that count.
    pub attempts: u32,
    /// How far it is.
    pub status: RowStatus,
    /// The turn that was begun for it.
    pub turn: Option<OpenTurn>,
}

/// A turn without a cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTurn {
    /// Its number.
    pub turn: u64,
    /// Its id.
    pub turn_id: String,
    /// The last attempt at it, counted or not.
    pub attempt: u32,
    /// The cut that it starts from.
    pub base_cut: u64,
    /// Seed of that attempt.
    pub seed: [u8; 32],
    /// When that attempt began.
    pub started: u64,
}

impl Open {
    pub(crate) fn recover(&mut self, templates: &Templates) -> Result<Recovered, StoreError> {
        if self.head.cut == 0 {
            return Err(StoreError::NeverCreated(self.id));
        }
        let state = self.recover_state(templates)?;
        // One turn at a time: only the last can have died. Looking for others would take longer with each turn of its life.
        self.close_hook(self.head.last_turn)?;
        self.recovered(Arc::new(state))
    }

    /// Reads what a [`Recovered`] says beside the state.
    pub(crate) fn recovered(&mut self, state: Arc<Value>) -> Result<Recovered, StoreError> {
        let created_at =
            self.meta_number("created_at")?.ok_or_else(|| self.damaged("its time of creation is missing"))?;
        let stopped = self.meta_number("stopped")?.unwrap_or(0) != 0;
        let component = self.head.component.parse().map_err(|error| self.damaged(format!("component: {error}")))?;
        let config = self.config(None)?.ok_or_else(|| self.damaged("its configuration is missing"))?;
        let cut_kind = self
            .messages
            .connection()
            .prepare_cached("SELECT kind FROM cuts WHERE cut = ?1")?
            .query_row([self.head.cut], |row| row.get(0))
            .optional()?
            .unwrap_or(CutKind::Init);
        Ok(Recovered {
            created_at,
            stopped,
            cut: self.head.cut,
            cut_kind,
            component,
            workspace: self.head.workspace.clone(),
            config_rev: config.revision,
            config: config.config,
            state,
            state_version: self.head.state_version,
            last_seq: self.head.last_seq,
            last_message_seq: self.head.last_message_seq,
            last_turn: self.head.last_turn,
            last_inbox_seq: self.head.last_inbox_seq,
            trial: self.trial()?,
            unfinished: self.unfinished()?,
        })
    }

    fn trial(&self) -> Result<Option<String>, StoreError> {
        let mut select = self.messages.connection().prepare_cached("SELECT v FROM meta WHERE k = 'trial'")?;
        Ok(select.query_row([], |row| row.get(0)).optional()?)
    }

    fn unfinished(&self) -> Result<Vec<InboxRow>, StoreError> {
        let mut select = self.messages.connection().prepare_cached(
            "SELECT i.seq, i.sender, i.id, i.kind, i.body, i.at, i.attempts, i.status,
                 t.turn, t.turn_id, t.attempt, t.base_cut, t.seed, t.started
             FROM inbox i LEFT JOIN turns t ON t.turn = i.turn WHERE i.status <> 'done' AND i.kind <> ?1 ORDER BY i.seq",
        )?;
        let rows = select.query_map([steer::KIND], |row| {
            let turn = match row.get::<_, Option<u64>>(8)? {
                Some(turn) => Some(OpenTurn {
                    turn,
                    turn_id: row.get(9)?,
                    attempt: row.get(10)?,
                    base_cut: row.get(11)?,
                    seed: row.get(12)?,
                    started: row.get(13)?,
                }),
                None => None,
            };
            Ok(InboxRow {
                seq: row.get(0)?,
                sender: row.get(1)?,
                id: row.get(2)?,
                kind: row.get::<_, Word<RowKind>>(3)?.0,
                body: row.get(4)?,
                at: row.get(5)?,
                attempts: row.get(6)?,
                status: row.get(7)?,
                turn,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
