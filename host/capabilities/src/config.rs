//! `config`: the instance's configuration, which the agent reads.

use serde_json::Value;

use crate::error::CallError;
use crate::state::value_at;
use crate::turn::Turn;

impl Turn {
    /// The value at a JSON Pointer as JSON text, none when nothing is there.
    ///
    /// # Errors
    /// `POD-3014` for an invalid pointer.
    pub fn config_get(&self, pointer: &str) -> Result<Option<String>, CallError> {
        self.check_open()?;
        Ok(value_at(&self.spec().config, pointer)?.map(Value::to_string))
    }

    /// The revision, from 1.
    ///
    /// # Errors
    /// Only a closed turn's.
    pub fn config_revision(&self) -> Result<u64, CallError> {
        self.check_open()?;
        Ok(self.spec().config_rev)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::TestTurn;

    #[test]
    fn reads_the_document_and_its_revision() {
        let turn = TestTurn::with(|spec| {
            spec.config = std::sync::Arc::new(json!({"style": {"tone": "dry"}}));
            spec.config_rev = 3;
        });
        assert_eq!(turn.turn.config_get("/style/tone"), Ok(Some("\"dry\"".to_owned())));
        assert_eq!(turn.turn.config_get("/style/none"), Ok(None));
        assert_eq!(turn.turn.config_revision(), Ok(3));
        assert!(turn.turn.config_get("style").is_err());
    }
}
