//! What differs between two documents, as a JSON Patch. Pure.

use json_patch::diff;
use serde_json::{Value, json};

use crate::state::{fold, json_bytes};

/// A patch of so many bytes is told whatever the document has: people read what changed, not what there is.
const PATCH_BYTES: usize = 1024;

/// A JSON Patch (RFC 6902) that makes `to` of `from`; empty when they are the same. A long one that would be longer than the document
/// is the document.
pub fn difference(from: &Value, to: &Value) -> Value {
    if from == to {
        return json!([]);
    }
    let whole = || json!([{ "op": "replace", "path": "", "value": to }]);
    let Ok(patch) = serde_json::to_value(diff(from, to)) else { return whole() };
    if json_bytes(&patch) > json_bytes(to).max(PATCH_BYTES) {
        return whole();
    }
    // What is told is what was tried.
    let mut tried = from.clone();
    match fold(&mut tried, std::slice::from_ref(&patch)) {
        Ok(()) if tried == *to => patch,
        _ => whole(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn document() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..3_i64).prop_map(Value::from)];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c/~]{0,2}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-c]{1,2}", value, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
    }

    proptest! {
        /// The patch makes the one of the other, and is never longer than the document by more than what says so.
        #[test]
        fn it_makes_the_one_of_the_other(from in document(), to in document()) {
            let patch = difference(&from, &to);
            let mut made = from.clone();
            fold(&mut made, std::slice::from_ref(&patch)).expect("it applies");
            prop_assert_eq!(&made, &to);
            prop_assert_eq!(patch == json!([]), from == to);
            prop_assert!(json_bytes(&patch) <= json_bytes(&to).max(PATCH_BYTES) + 64);
        }
    }
}
