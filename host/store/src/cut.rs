//! The cut: the one operation that makes a turn true (TURN.md §3, steps 4 and 5).
//!
//! The delta goes into `state.db` first, then one FULL transaction of `messages.db` decides. Must never write two cuts
//! for one row, or give a number twice.

use std::sync::Arc;

use podium_wire::message::Role;
use podium_wire::updates::EventType;
use podium_wire::{DeploymentId, WireError};
use rusqlite::{Connection, params};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::cuts;
use crate::error::StoreError;
use crate::inbox;
use crate::journal;
use crate::rows::{CutKind, Word};
use crate::schema::Templates;
use crate::slot::{Head, Open};
use crate::steer;
use crate::turn::{changed_one, write_stopped};

/// Everything that becomes true at once.
#[derive(Debug, Clone)]
pub struct CutRequest {
    /// What made it.
    pub kind: CutKind,
    /// The cut that it follows; 0 only for the first.
    pub parent: u64,
    /// The turn that it ends, if one does.
    pub turn: Option<u64>,
    /// The attempt at it that succeeded, or failed for good.
    pub attempt: u32,
    /// The row that it consumes.
    pub inbox_seq: Option<u64>,
    /// The patches that were applied in it, each one an array of RFC 6902 operations.
    pub patches: Vec<Value>,
    /// The state with them applied.
    pub state_after: Arc<Value>,
    /// Patches in the instance's life, these included.
    pub state_version: u64,
    /// New messages of the history.
    pub messages: Vec<(Role, String)>,
    /// Its durable updates, in order.
    pub updates: Vec<NewUpdate>,
    /// A new configuration: its revision and its JSON text.
    pub config: Option<(u64, String)>,
    /// New code.
    pub component: Option<DeploymentId>,
    /// What is remembered of an upgrade on trial.
    pub trial: TrialNote,
    /// The workspace with it, where that is another one than before.
    pub workspace: Option<WorkspaceAt>,
    /// The error with which the turn ended.
    pub error: Option<WireError>,
    /// A change of "takes no messages".
    pub stopped: Option<bool>,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// A workspace as a cut names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceAt {
    /// The number of its version.
    pub version: u64,
    /// The name of its content, which the store does not read.
    pub root: Vec<u8>,
}

/// What a cut does to the note of an upgrade on trial: a text that the store keeps and does not read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TrialNote {
    /// It stays as it is.
    #[default]
    Keep,
    /// This one is in force.
    Set(String),
    /// There is none any more.
    Clear,
}

/// A durable update that gets its `seq` now.
#[derive(Debug, Clone)]
pub struct NewUpdate {
    /// Its place within the attempt; none outside a turn.
    pub n: Option<u64>,
    /// Its kind.
    pub event_type: EventType,
    /// Its content.
    pub content: Box<RawValue>,
    /// When it was emitted, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// The numbers that a cut gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutMade {
    /// The cut.
    pub cut: u64,
    /// The first `seq` of its updates, when it has some; those that its turn's journal made durable are among them.
    pub first_seq: Option<u64>,
    /// The last update's.
    pub last_seq: Option<u64>,
    /// The last message of the history now.
    pub last_message_seq: u64,
}

impl Open {
    pub(crate) fn cut(&mut self, templates: &Templates, request: &CutRequest) -> Result<CutMade, StoreError> {
        self.check(request)?;
        let next = self.next_head(request);
        let patch = if request.patches.is_empty() { None } else { Some(serde_json::to_string(&request.patches)?) };
        let mut snapshot = false;
        if let Some(patch) = &patch {
            snapshot = self.write_delta(templates, next.cut, patch, &request.state_after)?;
        } else {
            // Rows of a cut that failed here before would be taken for this one's.
            self.state_db()?;
        }
        // Those that became durable with the turn's journal are the cut's too.
        let (first_seq, last_seq) = if next.last_seq == self.head.cut_seq {
            (None, None)
        } else {
            (Some(self.head.cut_seq + 1), Some(next.last_seq))
        };
        let made = CutMade { cut: next.cut, first_seq, last_seq, last_message_seq: next.last_message_seq };
        let (head, needless) = (&self.head, self.ops_needless);
        let steered = request.turn.filter(|_| self.steers_wait);
        let journaled = request.turn.filter(|_| self.journal_waits);
        let (steers_left, journal_left) = self.messages.transaction(|connection| {
            write_cut(connection, request, &next, &made)?;
            if request.parent != head.cut {
                cuts::write_jump(connection, made.cut, request.parent, head.last_message_seq)?;
            }
            write_rows(connection, request, head, made.cut)?;
            if let Some(patch) = &patch {
                connection
                    .prepare_cached("INSERT INTO ops(cut, patch) VALUES (?1, ?2)")?
                    .execute(params![made.cut, patch])?;
            }
            if let Some(needless) = needless {
                connection.prepare_cached("DELETE FROM ops WHERE cut <= ?1")?.execute([needless])?;
            }
            let left = match steered {
                Some(turn) => steer::consume(connection, turn, made.cut)?,
                None => true,
            };
            let journal_left = match journaled {
                Some(turn) => journal::forget(connection, turn)?,
                None => true,
            };
            inbox::prune(connection, made.cut, head.last_inbox_seq, request.at)?;
            Ok::<_, StoreError>((left, journal_left))
        })?;
        self.head = next;
        self.ops_needless = None;
        if !journal_left {
            self.journal_waits = false;
        }
        if !steers_left {
            self.steers_wait = false;
        }
        if snapshot {
            self.snapshot_unsynced = Some(made.cut);
        }
        Ok(made)
    }

    /// The caller's numbers must continue ours.
    fn check(&self, request: &CutRequest) -> Result<(), StoreError> {
        if request.parent > self.head.cut || (request.parent == 0 && self.head.cut > 0) {
            return Err(StoreError::Refused("the parent is no cut"));
        }
        let patches = u64::try_from(request.patches.len()).unwrap_or(u64::MAX);
        if request.state_version != self.head.state_version.saturating_add(patches) {
            return Err(StoreError::Refused("the state's version does not count its patches"));
        }
        match &request.config {
            Some((revision, _)) if *revision <= self.head.config_rev => {
                Err(StoreError::Refused("the configuration's revision does not rise"))
            }
            _ => Ok(()),
        }
    }

    fn next_head(&self, request: &CutRequest) -> Head {
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        Head {
            cut: self.head.cut + 1,
            state_version: request.state_version,
            last_message_seq: self.head.last_message_seq + count(request.messages.len()),
            last_seq: self.head.last_seq + count(request.updates.len()),
            cut_seq: self.head.last_seq + count(request.updates.len()),
            workspace: request.workspace.clone().or_else(|| self.head.workspace.clone()),
            component: request.component.as_ref().map_or_else(|| self.head.component.clone(), ToString::to_string),
            config_rev: request.config.as_ref().map_or(self.head.config_rev, |(revision, _)| *revision),
            ..self.head
        }
    }
}

fn write_cut(connection: &Connection, request: &CutRequest, next: &Head, made: &CutMade) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO cuts(cut, parent, turn, kind, state_version, last_message_seq, first_seq, last_seq,
                 workspace_version, workspace_root, component, config_rev, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            made.cut,
            request.parent,
            request.turn,
            request.kind,
            next.state_version,
            next.last_message_seq,
            made.first_seq,
            made.last_seq,
            next.workspace.as_ref().map(|workspace| workspace.version),
            next.workspace.as_ref().map(|workspace| &workspace.root),
            next.component,
            next.config_rev,
            request.at
        ])?;
    if let Some((revision, doc)) = &request.config {
        connection
            .prepare_cached("INSERT INTO config(rev, doc, at) VALUES (?1, ?2, ?3)")?
            .execute(params![revision, doc, request.at])?;
    }
    match &request.trial {
        TrialNote::Keep => {}
        TrialNote::Set(note) => {
            connection.prepare_cached("INSERT OR REPLACE INTO meta(k, v) VALUES ('trial', ?1)")?.execute([note])?;
        }
        TrialNote::Clear => {
            connection.prepare_cached("DELETE FROM meta WHERE k = 'trial'")?.execute([])?;
        }
    }
    if let Some(stopped) = request.stopped {
        write_stopped(connection, stopped)?;
    }
    Ok(())
}

fn write_rows(connection: &Connection, request: &CutRequest, head: &Head, cut: u64) -> Result<(), StoreError> {
    let mut insert =
        connection.prepare_cached("INSERT INTO messages(seq, cut, role, body, at) VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (seq, (role, text)) in (head.last_message_seq + 1..).zip(&request.messages) {
        insert.execute(params![seq, cut, Word(*role), text, request.at])?;
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO updates(seq, turn, attempt, n, event_type, body, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let attempt = request.turn.map(|_| request.attempt);
    for (seq, update) in (head.last_seq + 1..).zip(&request.updates) {
        insert.execute(params![
            seq,
            request.turn,
            attempt,
            update.n,
            update.event_type.name(),
            update.content.get(),
            update.at
        ])?;
    }
    if let Some(inbox_seq) = request.inbox_seq {
        changed_one(
            connection
                .prepare_cached("UPDATE inbox SET status = 'done', cut = ?2 WHERE seq = ?1 AND status <> 'done'")?
                .execute(params![inbox_seq, cut])?,
        )?;
    }
    if let Some(turn) = request.turn {
        let error = request.error.as_ref().map(serde_json::to_string).transpose()?;
        let status = if error.is_some() { "error" } else { "done" };
        connection
            .prepare_cached("UPDATE turns SET status = ?2, attempt = ?3, error = ?4, ended = ?5 WHERE turn = ?1")?
            .execute(params![turn, status, request.attempt, error, request.at])?;
    }
    Ok(())
}
