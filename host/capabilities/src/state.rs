//! `state`: the agent's JSON document, read by pointer and changed by patches.
//!
//! What is applied is seen by the rest of the turn and becomes true with its cut, or not at all. The document
//! is shared until the first patch, then copied once.

use std::sync::Arc;

use podium_store::state::{PatchError, StateLimits};
use podium_wire::updates::{StateDelta, UpdateBody};
use podium_wire::{ErrorCode, WireError};
use serde_json::Value;

use crate::error::CallError;
use crate::limits::{PATCH_OPERATIONS_MAX, STATE_DEPTH_MAX};
use crate::turn::Turn;

/// The value at a JSON Pointer, none when nothing is there.
///
/// # Errors
/// `POD-3014` for an invalid pointer.
pub fn value_at<'a>(document: &'a Value, pointer: &str) -> Result<Option<&'a Value>, CallError> {
    if let Err(error) = jsonptr::Pointer::parse(pointer) {
        return Err(CallError::refused(ErrorCode::InvalidPointer, format!("not a JSON Pointer: {error}")));
    }
    Ok(document.pointer(pointer))
}

impl Turn {
    /// The value at a JSON Pointer as JSON text, none when nothing is there.
    ///
    /// # Errors
    /// `POD-3014` for an invalid pointer.
    pub fn state_get(&self, pointer: &str) -> Result<Option<String>, CallError> {
        // Rendered outside the lock: a large document takes its time.
        let state = self.with_work(|work| Ok(Arc::clone(work.state.root())))?;
        Ok(value_at(&state, pointer)?.map(Value::to_string))
    }

    /// Applies a JSON Patch, given as JSON text, whole or not at all, and answers the new version.
    ///
    /// # Errors
    /// `POD-1007` when it is not JSON, `POD-4010` naming the operation that does not apply, `POD-4011` when
    /// the document would be too large or too deep. The output limits end the guest.
    pub fn state_apply(&self, patch: &str) -> Result<u64, CallError> {
        let patch: Value = serde_json::from_str(patch)
            .map_err(|error| CallError::refused(ErrorCode::InvalidJson, format!("the patch is not JSON: {error}")))?;
        let limits = StateLimits {
            bytes_max: usize::try_from(self.limits().state_bytes).unwrap_or(usize::MAX),
            depth_max: STATE_DEPTH_MAX,
            operations_max: PATCH_OPERATIONS_MAX,
        };
        let mut sent = Vec::with_capacity(1);
        let version = self.with_work(|work| {
            work.state.apply(&patch, &limits).map_err(|error| refusal(&error))?;
            let version = work.state_version + 1;
            let delta = UpdateBody::StateDelta(StateDelta { version, patch });
            work.emit(self, &delta, &mut sent)?;
            let UpdateBody::StateDelta(StateDelta { patch, .. }) = delta else { return Err(CallError::Closed) };
            work.state_version = version;
            work.patches.push(patch);
            Ok(version)
        })?;
        self.send(sent);
        Ok(version)
    }

    /// How many patches have been applied in the instance's life, this turn's included.
    ///
    /// # Errors
    /// Only a closed turn's.
    pub fn state_version(&self) -> Result<u64, CallError> {
        self.with_work(|work| Ok(work.state_version))
    }
}

fn refusal(error: &PatchError) -> WireError {
    let code = if error.is_limit() { ErrorCode::StateLimit } else { ErrorCode::PatchRejected };
    WireError::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use podium_wire::updates::UpdateBody;
    use serde_json::json;

    use super::*;
    use crate::limits::LimitReached;
    use crate::testing::TestTurn;

    fn code(error: CallError) -> ErrorCode {
        let CallError::Refused(error) = error else { panic!("ends the guest: {error}") };
        error.known_code().expect("has a code")
    }

    #[test]
    fn a_patch_is_seen_at_once_counted_and_shown() {
        let turn = TestTurn::with(|spec| {
            spec.state = Arc::new(json!({"count": 1}));
            spec.state_version = 4;
        });
        let patch = json!([{"op": "replace", "path": "/count", "value": 2}]);
        assert_eq!(turn.state_apply(&patch.to_string()), Ok(5));
        assert_eq!(turn.state_get("/count"), Ok(Some("2".to_owned())));
        assert_eq!(turn.state_version(), Ok(5));
        let shown = turn.shown();
        assert_eq!(shown[1], UpdateBody::StateDelta(StateDelta { version: 5, patch: patch.clone() }));
        let output = turn.complete();
        assert_eq!((output.patches, output.state_version), (vec![patch], 5));
        assert_eq!(*output.state, json!({"count": 2}));
        assert_eq!(*turn.spec().state, json!({"count": 1}), "the cut's own state is untouched");
    }

    #[test]
    fn what_does_not_apply_changes_and_shows_nothing() {
        let turn = TestTurn::with(|spec| spec.limits.state_bytes = 40);
        let check = |patch: &str, expected| {
            assert_eq!(code(turn.state_apply(patch).expect_err("refused")), expected, "{patch}");
        };
        check("[", ErrorCode::InvalidJson);
        check("{}", ErrorCode::PatchRejected);
        let half = r#"[{"op":"add","path":"/a","value":1},{"op":"remove","path":"/b"}]"#;
        check(half, ErrorCode::PatchRejected);
        let large = json!([{"op": "add", "path": "/a", "value": "x".repeat(40)}]).to_string();
        check(&large, ErrorCode::StateLimit);
        assert_eq!(turn.state_get(""), Ok(Some("{}".to_owned())));
        assert_eq!(turn.state_version(), Ok(0));
        assert_eq!(turn.shown().len(), 1);
    }

    #[test]
    fn the_document_may_be_64_deep() {
        let turn = TestTurn::new();
        let nested = |depth: usize| {
            let value = (1..depth).fold(json!(1), |value, _| json!({ "a": value }));
            turn.state_apply(&json!([{"op": "add", "path": "/a", "value": value}]).to_string())
        };
        assert_eq!(nested(STATE_DEPTH_MAX), Ok(1));
        assert_eq!(code(nested(STATE_DEPTH_MAX + 1).expect_err("refused")), ErrorCode::StateLimit);
    }

    #[test]
    fn patches_are_output() {
        let turn = TestTurn::with(|spec| spec.limits.output_bytes = 100);
        let patch = json!([{"op": "add", "path": "/a", "value": "x".repeat(100)}]).to_string();
        assert_eq!(turn.state_apply(&patch), Err(CallError::Limit(LimitReached::Output(100))));
    }

    #[test]
    fn pointers_are_checked() {
        let turn = TestTurn::with(|spec| spec.state = Arc::new(json!({"a/b": [1, {"~": null}]})));
        assert_eq!(turn.state_get("/a~1b/1/~0"), Ok(Some("null".to_owned())));
        assert_eq!(turn.state_get("/a~1b/2"), Ok(None));
        assert_eq!(code(turn.state_get("a").expect_err("refused")), ErrorCode::InvalidPointer);
        assert_eq!(code(turn.state_get("/~2").expect_err("refused")), ErrorCode::InvalidPointer);
    }
}
