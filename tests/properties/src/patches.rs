//! Patches of the state: all or nothing, within the limits, with the size always known, and the same as `json-patch`.

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use podium_store::state::{Document, PatchError, PatchReason, StateLimits, fold, json_bytes};
use serde_json::{Map, Value, json};

/// Limits that a short patch reaches.
const BYTES_MAX: usize = 600;
const DEPTH_MAX: usize = 8;
const OPERATIONS_MAX: usize = 16;

/// For checks that are to meet no limit.
const WIDE: StateLimits = StateLimits { bytes_max: usize::MAX, depth_max: usize::MAX, operations_max: usize::MAX };

/// Most nesting of a made value.
const NESTING_MAX: usize = 10;

/// Two lines of JSON are a document and a patch; other bytes choose both.
pub fn patches(bytes: &[u8]) {
    if bytes.first() == Some(&b'{') {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let Some((document, patch)) = text.split_once('\n') else { return };
        if let (Ok(document), Ok(patch)) = (serde_json::from_str(document), serde_json::from_str(patch)) {
            check(document, &patch);
        }
    } else if let Ok((document, patch)) = made(&mut Unstructured::new(bytes)) {
        check(document, &patch);
    }
}

fn limits() -> StateLimits {
    StateLimits { bytes_max: BYTES_MAX, depth_max: DEPTH_MAX, operations_max: OPERATIONS_MAX }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn check(before: Value, patch: &Value) {
    if !before.is_object() || json_bytes(&before) > BYTES_MAX || depth(&before) > DEPTH_MAX {
        return;
    }
    let mut document = Document::new(Arc::new(before.clone()));
    let done = document.apply(patch, &limits());
    match &done {
        Ok(()) => {
            let after = document.root();
            assert!(after.is_object(), "{after}");
            assert!(json_bytes(&**after) <= BYTES_MAX, "{} bytes", json_bytes(&**after));
            assert!(depth(after) <= DEPTH_MAX, "depth {}", depth(after));
            // What is stored and folded again is the same state.
            let stored: Value = serde_json::from_str(&patch.to_string()).expect("a patch is stored as JSON");
            let mut folded = before.clone();
            fold(&mut folded, &[stored]).expect("an accepted patch folds");
            assert_eq!(folded, **after);
        }
        Err(error) => {
            assert_eq!(**document.root(), before, "a refused batch changed the document");
            assert!(!error.to_string().is_empty());
        }
    }
    size_is_known(&mut document);
    as_json_patch(&before, patch, &document, &done);
}

/// The size that the document keeps is its size: one byte less is refused, and only one.
fn size_is_known(document: &mut Document) {
    let bytes = json_bytes(&**document.root());
    let same = json!([{"op": "test", "path": "", "value": **document.root()}]);
    let within = |bytes_max| StateLimits { bytes_max, ..WIDE };
    assert_eq!(document.apply(&same, &within(bytes)), Ok(()));
    let refused = document.apply(&same, &within(bytes - 1)).expect_err("the size is known");
    assert_eq!(refused.reason, PatchReason::TooLarge(bytes - 1));
}

/// The crate `json-patch` comes to the same end, but where our rules differ.
fn as_json_patch(before: &Value, patch: &Value, ours: &Document, done: &Result<(), PatchError>) {
    if patch.as_array().is_none_or(|operations| operations.len() > OPERATIONS_MAX) {
        assert!(done.is_err());
        return;
    }
    let mut oracle = before.clone();
    let parsed = serde_json::from_value::<json_patch::Patch>(patch.clone());
    // Without its undo, which loses the value of a failed move and can panic.
    let theirs = parsed.map(|patch| json_patch::patch_unsafe(&mut oracle, &patch));
    match (done, theirs) {
        (Ok(()), Ok(Ok(()))) => assert_eq!(**ours.root(), oracle),
        // Moving a value onto itself is nothing here, and may be an error there.
        (Ok(()), _) => assert!(moves_in_place(patch), "json-patch refuses {patch} on {before}"),
        (Err(error), Ok(Ok(()))) => {
            let stricter = error.is_limit() || error.reason == PatchReason::RootNotObject;
            assert!(stricter, "json-patch takes {patch} on {before}: {error}");
        }
        // Both refuse.
        (Err(_), _) => {}
    }
}

fn moves_in_place(patch: &Value) -> bool {
    patch.as_array().is_some_and(|operations| {
        operations.iter().any(|operation| operation["op"] == "move" && operation["from"] == operation["path"])
    })
}

type Made<T> = arbitrary::Result<T>;

fn made(bytes: &mut Unstructured<'_>) -> Made<(Value, Value)> {
    let document = object(bytes, 3)?;
    let mut operations = Vec::new();
    for _ in 0..bytes.int_in_range(0..=OPERATIONS_MAX + 1)? {
        operations.push(operation(bytes)?);
    }
    Ok((document, Value::from(operations)))
}

fn operation(bytes: &mut Unstructured<'_>) -> Made<Value> {
    let (path, from) = (place(bytes)?, place(bytes)?);
    Ok(match bytes.int_in_range(0..=6)? {
        0 | 1 => json!({"op": "add", "path": path, "value": value(bytes, NESTING_MAX)?}),
        2 => json!({"op": "remove", "path": path}),
        3 => json!({"op": "replace", "path": path, "value": value(bytes, NESTING_MAX)?}),
        4 => json!({"op": "move", "from": from, "path": path}),
        5 => json!({"op": "copy", "from": from, "path": path}),
        _ => json!({"op": "test", "path": path, "value": value(bytes, 2)?}),
    })
}

/// A pointer of few and repeated words, so that many lead somewhere.
fn place(bytes: &mut Unstructured<'_>) -> Made<String> {
    let mut place = String::new();
    for _ in 0..bytes.int_in_range(0..=4)? {
        place.push('/');
        place.push_str(bytes.choose(&["a", "b", "0", "1", "-", "", "~0", "~1", "01", "é", "~"])?);
    }
    Ok(place)
}

fn value(bytes: &mut Unstructured<'_>, nesting: usize) -> Made<Value> {
    Ok(match bytes.int_in_range(0..=if nesting == 0 { 5 } else { 8 })? {
        0 => Value::Null,
        1 => bool::arbitrary(bytes)?.into(),
        2 => i64::arbitrary(bytes)?.into(),
        // What is no number in JSON becomes null.
        3 => f64::arbitrary(bytes)?.into(),
        4 => u64::arbitrary(bytes)?.into(),
        5 => <&str>::arbitrary(bytes)?.chars().take(20).collect::<String>().into(),
        6 => {
            let mut items = Vec::new();
            for _ in 0..bytes.int_in_range(0..=3)? {
                items.push(value(bytes, nesting - 1)?);
            }
            items.into()
        }
        _ => object(bytes, nesting - 1)?,
    })
}

fn object(bytes: &mut Unstructured<'_>, nesting: usize) -> Made<Value> {
    let mut members = Map::new();
    for _ in 0..bytes.int_in_range(0..=3)? {
        let name = *bytes.choose(&["a", "b", "0", "", "~", "/", "é", "\"\n"])?;
        members.insert(name.to_owned(), value(bytes, nesting)?);
    }
    Ok(Value::Object(members))
}
