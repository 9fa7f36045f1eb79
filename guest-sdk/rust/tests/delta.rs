//! Recording, checked against an independent implementation of RFC 6902.
#![expect(clippy::unwrap_used, clippy::needless_pass_by_value, reason = "tests: short calls, and a panic is a failure")]

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use podium_sdk::delta::Patch;
use podium_sdk::{DeltaState, Json, json};

#[derive(Debug, Clone, Default, PartialEq, DeltaState)]
struct Item {
    title: String,
    done: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, DeltaState)]
enum Mood {
    #[default]
    Calm,
    Busy {
        since: u32,
    },
}

#[derive(Debug, Clone, Default, PartialEq, DeltaState)]
struct Id(u32);

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Foreign {
    x: i8,
    y: i8,
}

#[derive(Debug, Clone, Default, PartialEq, DeltaState)]
struct Everything {
    count: u64,
    offset: i16,
    ratio: f64,
    name: String,
    item: Item,
    maybe: Option<Item>,
    items: Vec<Item>,
    tags: Vec<String>,
    recent: VecDeque<u8>,
    labels: BTreeMap<String, i32>,
    by_id: HashMap<u32, Item>,
    seen: BTreeSet<char>,
    known: HashSet<u8>,
    mood: Mood,
    id: Id,
    pair: (u8, String),
    grid: [u8; 3],
    boxed: Box<i32>,
    any: Json,
    #[delta(rename = "point~of/view", replace)]
    foreign: Foreign,
    #[delta(skip)]
    cache: u8,
}

/// Records `state` over `before`, checks that the patch does what was promised, answers it.
fn recorded<T: DeltaState>(state: &T, before: &Json) -> Json {
    let (mut known, mut patch) = (before.clone(), Patch::new());
    state.record(&mut known, &mut patch).unwrap();
    let operations = serde_json::to_value(patch.operations()).unwrap();
    let mut applied = before.clone();
    let patch: json_patch::Patch = serde_json::from_value(operations.clone()).unwrap();
    json_patch::patch(&mut applied, &patch).unwrap();
    assert_eq!(applied, known, "{operations}");
    assert!(state.same(&known), "{operations}");
    operations
}

fn check<T: DeltaState>(before: Json, change: impl FnOnce(&mut T), operations: Json) {
    let mut state = T::load(&before).unwrap();
    change(&mut state);
    assert_eq!(recorded(&state, &before), operations);
}

#[derive(Default, DeltaState)]
struct Small {
    count: u64,
    items: Vec<String>,
    maybe: Option<String>,
    map: BTreeMap<String, Item>,
}

fn small() -> Json {
    json!({ "count": 1, "items": ["a", "b", "c", "d"], "maybe": null, "map": {}, "foreign": [1] })
}

#[test]
fn an_increment_is_a_replacement() {
    check(small(), |s: &mut Small| s.count += 1, json!([{ "op": "replace", "path": "/count", "value": 2 }]));
}

#[test]
fn nothing_changed_is_nothing() {
    check(small(), |_: &mut Small| (), json!([]));
}

#[test]
fn a_push_is_an_addition_at_the_end() {
    let added = |value| json!({ "op": "add", "path": "/items/-", "value": value });
    check(small(), |s: &mut Small| s.items.push("e".into()), json!([added("e")]));
    let before = json!({ "count": 0, "items": [], "maybe": null, "map": {} });
    let push = |s: &mut Small| s.items.extend(["x", "y"].map(String::from));
    check(before, push, json!([added("x"), added("y")]));
}

#[test]
fn list_edits_are_minimal() {
    let remove = |index| json!({ "op": "remove", "path": format!("/items/{index}") });
    check(small(), |s: &mut Small| drop(s.items.pop()), json!([remove(3)]));
    check(small(), |s: &mut Small| s.items.truncate(2), json!([remove(3), remove(2)]));
    check(small(), |s: &mut Small| drop(s.items.remove(1)), json!([remove(1)]));
    let insert = json!([{ "op": "add", "path": "/items/2", "value": "x" }]);
    check(small(), |s: &mut Small| s.items.insert(2, "x".into()), insert);
    let rotate = json!([remove(0), { "op": "add", "path": "/items/-", "value": "e" }]);
    let queue = |s: &mut Small| {
        s.items.remove(0);
        s.items.push("e".into());
    };
    check(small(), queue, rotate);
    let change = json!([{ "op": "replace", "path": "/items/1", "value": "B" }]);
    check(small(), |s: &mut Small| s.items[1] = "B".into(), change);
}

#[test]
fn a_list_that_is_mostly_new_is_replaced() {
    let before =
        json!({ "count": 0, "items": (0..400).map(|n| n.to_string()).collect::<Vec<_>>(), "maybe": null, "map": {} });
    check(before, |s: &mut Small| s.items.clear(), json!([{ "op": "replace", "path": "/items", "value": [] }]));
}

#[test]
fn a_fresh_document_gets_every_field() {
    let operations = recorded(&Small::load(&json!({})).unwrap(), &json!({}));
    assert_eq!(
        operations,
        json!([
            { "op": "add", "path": "/count", "value": 0 },
            { "op": "add", "path": "/items", "value": [] },
            { "op": "add", "path": "/maybe", "value": null },
            { "op": "add", "path": "/map", "value": {} },
        ])
    );
}

#[test]
fn keys_are_escaped_and_places_are_deep() {
    let before =
        json!({ "count": 0, "items": [], "maybe": null, "map": { "a/b": { "title": "t", "done": false, "new": 7 } } });
    let operations = json!([
        { "op": "replace", "path": "/map/a~1b/done", "value": true },
        { "op": "add", "path": "/map/c~0d", "value": { "title": "", "done": false } },
    ]);
    let change = |s: &mut Small| {
        s.map.get_mut("a/b").unwrap().done = true;
        s.map.insert("c~d".into(), Item::default());
    };
    check(before, change, operations);
}

#[test]
fn options_and_maps_come_and_go() {
    let before = json!({ "count": 0, "items": [], "maybe": "x", "map": { "a": { "title": "", "done": true } } });
    let operations = json!([
        { "op": "replace", "path": "/maybe", "value": null },
        { "op": "remove", "path": "/map/a" },
    ]);
    let change = |s: &mut Small| {
        s.maybe = None;
        s.map.clear();
    };
    check(before, change, operations);
}

#[test]
fn a_misfit_names_its_place_and_not_its_content() {
    let load = |document: Json| Everything::load(&document).unwrap_err().to_string();
    let text = load(json!({ "items": [{ "title": "ok" }, { "title": 3 }] }));
    assert_eq!(text, "the state at /items/1/title does not fit its type: expected a string, found another number");
    assert!(load(json!({ "by_id": { "x": {} } })).contains("/by_id/x"), "a key that is no number");
    assert!(load(json!({ "count": -1 })).contains("/count"));
    assert!(load(json!([])).contains("the root"));
}

#[test]
fn numbers_that_json_lacks_become_null() {
    #[derive(Default, DeltaState)]
    struct Ratio {
        value: f64,
    }
    let operations = recorded(&Ratio { value: f64::NAN }, &json!({ "value": 1.5 }));
    assert_eq!(operations, json!([{ "op": "replace", "path": "/value", "value": null }]));
    assert!(Ratio::load(&json!({ "value": null })).unwrap().value.is_nan());
}

fn item() -> impl Strategy<Value = Item> {
    ("[ab/~]{0,2}", any::<bool>()).prop_map(|(title, done)| Item { title, done })
}

fn json_value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![Just(Json::Null), any::<bool>().prop_map(Json::from), (0..4).prop_map(Json::from)];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Json::Array),
            btree_map("[ab/~]{0,2}", inner, 0..4).prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

fn everything() -> impl Strategy<Value = Everything> {
    let scalars = (any::<u64>(), any::<i16>(), -1e9..1e9, "[a-c]{0,2}", item(), proptest::option::of(item()));
    let lists = (vec(item(), 0..6), vec("[a-c]", 0..9), vec(0..4_u8, 0..9), vec(any::<char>(), 0..4));
    let maps = (btree_map("[a/~]{0,2}", 0..3, 0..4), btree_map(0..4_u32, item(), 0..4), vec(0..9_u8, 0..4));
    let others = (any::<Option<u32>>(), 0..3_u32, (0..3_u8, "[ab]"), any::<[u8; 3]>(), json_value(), -2..2_i8);
    (scalars, lists, maps, others).prop_map(|(scalars, lists, maps, others)| Everything {
        count: scalars.0,
        offset: scalars.1,
        ratio: scalars.2,
        name: scalars.3,
        item: scalars.4,
        maybe: scalars.5,
        items: lists.0,
        tags: lists.1,
        recent: lists.2.into(),
        seen: lists.3.into_iter().collect(),
        labels: maps.0,
        by_id: maps.1.into_iter().collect(),
        known: maps.2.into_iter().collect(),
        mood: others.0.map_or(Mood::Calm, |since| Mood::Busy { since }),
        id: Id(others.1),
        pair: others.2,
        grid: others.3,
        any: others.4,
        boxed: Box::new(i32::from(others.5)),
        foreign: Foreign { x: others.5, y: 0 },
        cache: 0,
    })
}

proptest! {
    #[test]
    fn any_change_is_recorded(before in everything(), after in everything()) {
        let mut known = before.save().unwrap();
        known["unknown"] = json!({ "kept": true });
        recorded(&after, &known);
        let (mut brought, mut patch) = (known.clone(), Patch::new());
        after.record(&mut brought, &mut patch).unwrap();
        prop_assert_eq!(&brought["unknown"], &known["unknown"]);
        prop_assert_eq!(Everything::load(&brought).unwrap(), after.clone());
        prop_assert_eq!(recorded(&after, &brought), json!([]));
    }

    #[test]
    fn any_json_is_recorded(before in json_value(), after in json_value()) {
        recorded(&after, &before);
    }

    #[test]
    fn lists_change_by_few_steps(
        list in vec(0..50_u32, 0..80),
        edits in vec((any::<prop::sample::Index>(), any::<Option<u32>>()), 0..6),
    ) {
        let mut edited = list.clone();
        for (index, inserted) in &edits {
            match inserted {
                Some(value) => edited.insert(index.index(edited.len() + 1), *value),
                None if edited.is_empty() => (),
                None => drop(edited.remove(index.index(edited.len()))),
            }
        }
        let operations = recorded(&edited, &json!(list));
        prop_assert!(operations.as_array().unwrap().len() <= edits.len(), "{} for {:?}", operations, edits);
    }
}
