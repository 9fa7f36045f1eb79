//! The configuration's revisions. They are written by creation and cuts only.

use podium_wire::rest::ConfigDocument;
use rusqlite::OptionalExtension;

use crate::error::StoreError;
use crate::slot::Open;

impl Open {
    pub(crate) fn config(&mut self, revision: Option<u64>) -> Result<Option<ConfigDocument>, StoreError> {
        let revision = revision.unwrap_or(self.head.config_rev);
        let doc: Option<String> = self
            .messages
            .connection()
            .prepare_cached("SELECT doc FROM config WHERE rev = ?1")?
            .query_row([revision.min(i64::MAX.unsigned_abs())], |row| row.get(0))
            .optional()?;
        Ok(match doc {
            Some(doc) => Some(ConfigDocument { revision, config: serde_json::from_str(&doc)? }),
            None => None,
        })
    }
}
