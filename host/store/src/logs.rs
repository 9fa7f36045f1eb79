//! `agent.db`: the agent's log, bounded by bytes; the oldest lines go and are counted.
//!
//! Not part of any cut: a line is kept as soon as it is written, whatever becomes of its turn.

use podium_sqlite::{Database, Synchronous};
use podium_wire::rest::{LogLevel, LogLine, LogPage};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use crate::error::StoreError;
use crate::rows::{level_number, level_of};
use crate::schema::{SCHEMA_VERSION, Templates};
use crate::slot::Open;
use crate::snapshots::{can_be_made_again, remove_beside, set_aside};
use crate::updates::PAGE_BYTES_MAX;

/// Most bytes of lines that an instance keeps: eight turns that log all they may.
pub const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// When the log is full so much of it goes at once, so that not every line has to remove one.
const LOG_BYTES_DROPPED: u64 = LOG_BYTES_MAX / 8;

/// Counted for a line beside its texts.
const LINE_BYTES: u64 = 32;

/// The same measure in SQL.
const LINE_BYTES_SQL: &str = "SELECT seq, 32 + length(CAST(module AS BLOB)) + length(CAST(message AS BLOB))
    + coalesce(length(CAST(fields AS BLOB)), 0) + coalesce(length(turn_id), 0) FROM logs ORDER BY seq";

/// A line to add.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLogLine {
    /// When, in milliseconds since the Unix epoch.
    pub ts: u64,
    /// How much it matters.
    pub level: LogLevel,
    /// Where it was written.
    pub module: String,
    /// The line.
    pub message: String,
    /// The turn, if any.
    pub turn_id: Option<String>,
    /// More, an object.
    pub fields: Option<Value>,
}

/// Which stretch of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Lines after this one, the oldest first; none: the last lines.
    pub after: Option<u64>,
    /// Matching lines to leave out, from the end that the stretch begins at.
    pub offset: u64,
    /// At most so many.
    pub limit: usize,
    /// Lines that matter at least so much.
    pub level: Option<LogLevel>,
}

/// An open `agent.db`.
#[derive(Debug)]
pub(crate) struct AgentLog {
    pub(crate) database: Database,
    last_seq: u64,
    bytes: u64,
    dropped: u64,
}

impl AgentLog {
    fn open(path: &std::path::Path) -> Result<Self, StoreError> {
        let database = Database::open(path, Synchronous::Normal)?;
        let connection = database.connection();
        let number = |key: &str| -> Result<u64, StoreError> {
            let found = connection.query_row("SELECT v FROM meta WHERE k = ?1", [key], |row| row.get(0)).optional()?;
            Ok(found.unwrap_or(0))
        };
        let (bytes, dropped) = (number("bytes")?, number("dropped")?);
        let last_seq = number("last_seq")?;
        Ok(Self { database, last_seq, bytes, dropped })
    }

    fn append(&mut self, lines: &[NewLogLine]) -> Result<(), StoreError> {
        let mut next = (self.last_seq, self.bytes, self.dropped);
        self.database.transaction::<_, StoreError>(|connection| {
            for line in lines {
                next.0 += 1;
                next.1 += insert(connection, next.0, line)?;
                // Within the loop, so that one huge batch cannot pass the bound either.
                if next.1 > LOG_BYTES_MAX {
                    let (lines, bytes) = drop_oldest(connection)?;
                    next.1 = next.1.saturating_sub(bytes);
                    next.2 += lines;
                }
            }
            let mut write = connection.prepare_cached("INSERT OR REPLACE INTO meta(k, v) VALUES (?1, ?2)")?;
            write.execute(params!["last_seq", next.0])?;
            write.execute(params!["bytes", next.1])?;
            write.execute(params!["dropped", next.2])?;
            Ok(())
        })?;
        (self.last_seq, self.bytes, self.dropped) = next;
        Ok(())
    }

    fn page(&self, query: LogQuery) -> Result<LogPage, StoreError> {
        let sql = if query.after.is_some() {
            "SELECT seq, ts, level, module, message, turn_id, fields FROM logs
             WHERE seq > ?1 AND level >= ?2 ORDER BY seq LIMIT -1 OFFSET ?3"
        } else {
            "SELECT seq, ts, level, module, message, turn_id, fields FROM logs
             WHERE seq > ?1 AND level >= ?2 ORDER BY seq DESC LIMIT -1 OFFSET ?3"
        };
        let most = i64::MAX.unsigned_abs();
        let after = query.after.unwrap_or(0).min(most);
        let mut select = self.database.connection().prepare_cached(sql)?;
        let mut rows = select.query(params![after, query.level.map_or(0, level_number), query.offset.min(most)])?;
        let mut lines = Vec::new();
        let mut bytes = 0;
        while lines.len() < query.limit && bytes < PAGE_BYTES_MAX {
            let Some(row) = rows.next()? else { break };
            let (message, fields): (String, Option<String>) = (row.get(4)?, row.get(6)?);
            bytes += message.len() + fields.as_ref().map_or(0, String::len);
            lines.push(LogLine {
                seq: row.get(0)?,
                ts: row.get(1)?,
                level: level_of(row.get(2)?),
                module: row.get(3)?,
                message,
                turn_id: row.get(5)?,
                fields: fields.map(|text| serde_json::from_str(&text)).transpose()?,
            });
        }
        if query.after.is_none() {
            lines.reverse();
        }
        Ok(LogPage { lines, dropped: self.dropped })
    }
}

/// Adds a line; its bytes as counted.
fn insert(connection: &Connection, seq: u64, line: &NewLogLine) -> Result<u64, StoreError> {
    let fields = line.fields.as_ref().map(serde_json::to_string).transpose()?;
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let texts = line.module.len() + line.message.len() + length(&fields) + length(&line.turn_id);
    connection
        .prepare_cached(
            "INSERT INTO logs(seq, ts, level, module, message, turn_id, fields) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![seq, line.ts, level_number(line.level), line.module, line.message, line.turn_id, fields])?;
    Ok(LINE_BYTES + u64::try_from(texts).unwrap_or(u64::MAX))
}

/// Removes the oldest lines; how many, and their bytes.
fn drop_oldest(connection: &Connection) -> Result<(u64, u64), StoreError> {
    let mut select = connection.prepare_cached(LINE_BYTES_SQL)?;
    let mut rows = select.query([])?;
    let (mut lines, mut bytes, mut through) = (0, 0, 0_u64);
    while bytes < LOG_BYTES_DROPPED {
        let Some(row) = rows.next()? else { break };
        through = row.get(0)?;
        bytes += row.get::<_, u64>(1)?;
        lines += 1;
    }
    drop(rows);
    connection.prepare_cached("DELETE FROM logs WHERE seq <= ?1")?.execute([through])?;
    Ok((lines, bytes))
}

impl Open {
    fn agent_log(&mut self) -> Result<Option<&mut AgentLog>, StoreError> {
        if self.agent.is_none() {
            let path = self.paths.agent_db();
            match path.symlink_metadata() {
                Ok(_) => match AgentLog::open(&path) {
                    Ok(log) => self.agent = Some(log),
                    // Its making is not synced, so a power cut can leave an empty file. Nothing else hangs on a log.
                    Err(error) if can_be_made_again(&error) => {
                        tracing::warn!(instance = %self.id, %error, "agent.db is unreadable; a new log begins");
                        set_aside(&path)?;
                    }
                    Err(error) => return Err(error),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(StoreError::file(path, error)),
            }
        }
        Ok(self.agent.as_mut())
    }

    pub(crate) fn append_logs(&mut self, templates: &Templates, lines: &[NewLogLine]) -> Result<(), StoreError> {
        if lines.is_empty() {
            return Ok(());
        }
        if self.agent_log()?.is_none() {
            let (folder, path) = (self.paths.agent_folder(), self.paths.agent_db());
            podium_kit::data::create_private_dir(&folder).map_err(|error| StoreError::file(&folder, error))?;
            remove_beside(&path)?;
            templates.agent.write(&path, false)?;
            let log = AgentLog::open(&path)?;
            log.database.transaction::<_, StoreError>(|connection| {
                connection.execute("INSERT INTO meta(k, v) VALUES ('schema', ?1)", [SCHEMA_VERSION])?;
                Ok(())
            })?;
            self.agent = Some(log);
        }
        self.agent.as_mut().map_or(Ok(()), |log| log.append(lines))
    }

    pub(crate) fn logs(&mut self, query: LogQuery) -> Result<LogPage, StoreError> {
        match self.agent_log()? {
            Some(log) => log.page(query),
            None => Ok(LogPage { lines: Vec::new(), dropped: 0 }),
        }
    }
}
