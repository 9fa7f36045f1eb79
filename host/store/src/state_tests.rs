//! Tests of the state fold: against `json-patch` as the oracle, and of every bound.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const LIMITS: StateLimits = StateLimits { bytes_max: 1024 * 1024, depth_max: 64, operations_max: 10_000 };

fn refused(doc: &Value, patch: &Value, limits: &StateLimits) -> PatchError {
    let mut changed = doc.clone();
    let error = apply_patch(&mut changed, patch, limits).expect_err("refused");
    assert_eq!(&changed, doc, "a refused batch changed the document");
    error
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-c\"\\\\é\n]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[ab~/\"]{1,2}", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn documents() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[ab]", values(), 0..3).prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn pointers() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof!["[ab]", Just("~0".to_owned()), "[0-3]", Just("-".to_owned())], 0..4)
        .prop_map(|tokens| tokens.iter().map(|token| format!("/{token}")).collect())
}

fn operations() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (pointers(), values()).prop_map(|(path, value)| json!({"op": "add", "path": path, "value": value})),
        1 => pointers().prop_map(|path| json!({"op": "remove", "path": path})),
        2 => (pointers(), values()).prop_map(|(path, value)| json!({"op": "replace", "path": path, "value": value})),
        2 => (pointers(), pointers()).prop_map(|(from, path)| json!({"op": "move", "from": from, "path": path})),
        2 => (pointers(), pointers()).prop_map(|(from, path)| json!({"op": "copy", "from": from, "path": path})),
        1 => (pointers(), values()).prop_map(|(path, value)| json!({"op": "test", "path": path, "value": value})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn one_operation_does_what_json_patch_does(doc in documents(), operation in operations()) {
        let mut ours = doc.clone();
        let done = apply_patch(&mut ours, &json!([operation]), &LIMITS);
        let mut oracle = doc.clone();
        let parsed: Vec<PatchOperation> = serde_json::from_value(json!([operation])).expect("valid");
        let expected = json_patch::patch_unsafe(&mut oracle, &parsed);
        match done {
            Ok(()) => {
                prop_assert_eq!(&ours, &oracle);
                prop_assert!(ours.is_object());
                // Moving the root onto itself is refused there and nothing here.
                prop_assert!(expected.is_ok() || ours == doc);
            }
            Err(error) => {
                prop_assert_eq!(&ours, &doc);
                prop_assert!(expected.is_err() || error.reason == PatchReason::RootNotObject);
            }
        }
    }

    #[test]
    fn a_batch_is_all_or_nothing_and_its_size_is_known(
        doc in documents(),
        batch in prop::collection::vec(operations(), 0..8),
    ) {
        // What one by one would do, as long as each applies.
        let mut step_by_step = doc.clone();
        let all = batch.iter().all(|operation| apply_patch(&mut step_by_step, &json!([operation]), &LIMITS).is_ok());
        let mut document = Document::new(Arc::new(doc.clone()));
        let done = document.apply(&Value::from(batch.clone()), &LIMITS);
        prop_assert_eq!(done.is_ok(), all);
        prop_assert_eq!(&**document.root(), if all { &step_by_step } else { &doc });
        prop_assert_eq!(document.bytes, Some(json_bytes(&**document.root())));
        if all {
            let mut folded = doc;
            fold(&mut folded, &[Value::from(batch)]).expect("was accepted");
            prop_assert_eq!(&folded, &step_by_step);
        }
    }

    #[test]
    fn a_document_is_read_back_to_the_last_bit(doc in documents()) {
        let text = serde_json::to_string(&doc).expect("writes");
        prop_assert_eq!(text.len(), json_bytes(&doc));
        prop_assert_eq!(serde_json::from_str::<Value>(&text).expect("reads"), doc);
    }
}

#[test]
fn errors_name_the_operation() {
    let error = refused(
        &json!({"a": 1}),
        &json!([{"op": "add", "path": "/b", "value": 2}, {"op": "remove", "path": "/c"}]),
        &LIMITS,
    );
    assert_eq!(error.to_string(), "operation 1 (remove `/c`): there is no such path");
    assert!(!error.is_limit());
    let error = refused(&json!({}), &json!([{"op": "grow", "path": "/a"}]), &LIMITS);
    assert!(error.to_string().starts_with("operation 0 (grow `/a`): unknown variant"), "{error}");
    assert_eq!(refused(&json!({}), &json!({"op": "add"}), &LIMITS).reason, PatchReason::NotAnArray);
}

#[test]
fn copies_are_measured_as_they_are_made() {
    let limits = StateLimits { bytes_max: 1000, ..LIMITS };
    // 11 doublings of 10 bytes would be 20 kB.
    let patch: Vec<Value> = (0..11).map(|k| json!({"op": "copy", "from": "/a", "path": format!("/a/{k}")})).collect();
    let error = refused(&json!({"a": {"x": "0123456789"}}), &Value::from(patch), &limits);
    assert_eq!(error.reason, PatchReason::TooLarge(1000));
    assert!(error.index.is_some_and(|index| index < 8), "{error}");
}

#[test]
fn size_is_exact_at_the_limit() {
    // `{"a":"…"}` is 8 bytes around the text.
    let limits = StateLimits { bytes_max: 100, ..LIMITS };
    let patch = |length: usize| json!([{"op": "add", "path": "/a", "value": "x".repeat(length)}]);
    assert!(apply_patch(&mut json!({}), &patch(92), &limits).is_ok());
    assert_eq!(refused(&json!({}), &patch(93), &limits).reason, PatchReason::TooLarge(100));
}

#[test]
fn depth_is_exact_at_the_limit() {
    let limits = StateLimits { depth_max: 3, ..LIMITS };
    let put = |value: Value| json!([{"op": "add", "path": "/a", "value": value}]);
    assert!(apply_patch(&mut json!({}), &put(json!([[1]])), &limits).is_ok());
    assert_eq!(refused(&json!({}), &put(json!([[[1]]])), &limits).reason, PatchReason::TooDeep(3));
    let down = json!([{"op": "move", "from": "/b", "path": "/a/b"}]);
    assert!(apply_patch(&mut json!({"a": {}, "b": [1]}), &down, &limits).is_ok());
    assert_eq!(refused(&json!({"a": {}, "b": [[1]]}), &down, &limits).reason, PatchReason::TooDeep(3));
    // Members that no operation has are stored with the patch, so they count.
    let junk = json!([{"op": "remove", "path": "/a", "junk": [[[[1]]]]}]);
    assert_eq!(refused(&json!({"a": 1}), &junk, &limits).reason, PatchReason::TooDeep(3));
}

#[test]
fn operations_are_counted() {
    let limits = StateLimits { operations_max: 2, ..LIMITS };
    let operation = json!({"op": "add", "path": "/a", "value": 1});
    assert!(apply_patch(&mut json!({}), &json!([operation, operation]), &limits).is_ok());
    let error = refused(&json!({}), &json!([operation, operation, operation]), &limits);
    assert_eq!(error.reason, PatchReason::TooManyOperations(2));
}

#[test]
fn work_is_bounded() {
    let copies: Vec<Value> = (0..1_000).map(|_| json!({"op": "copy", "from": "/c", "path": "/a"})).collect();
    let doc = json!({"a": 1, "c": "x".repeat(400_000)});
    assert_eq!(refused(&doc, &Value::from(copies), &LIMITS).reason, PatchReason::TooMuchWork);
    let shifts: Vec<Value> = (0..10_000).map(|_| json!({"op": "add", "path": "/a/0", "value": 0})).collect();
    let doc = json!({"a": vec![0; 400_000]});
    assert_eq!(refused(&doc, &Value::from(shifts), &LIMITS).reason, PatchReason::TooMuchWork);
}

#[test]
fn the_root_stays_an_object() {
    for patch in [
        json!([{"op": "replace", "path": "", "value": 1}]),
        json!([{"op": "add", "path": "", "value": []}]),
        json!([{"op": "remove", "path": ""}]),
        json!([{"op": "move", "from": "/a", "path": ""}]),
        json!([{"op": "copy", "from": "/a", "path": ""}]),
    ] {
        assert_eq!(refused(&json!({"a": [1]}), &patch, &LIMITS).reason, PatchReason::RootNotObject);
    }
    let mut doc = json!({"a": {"b": 1}});
    apply_patch(&mut doc, &json!([{"op": "move", "from": "/a", "path": ""}]), &LIMITS).expect("an object");
    assert_eq!(doc, json!({"b": 1}));
}
