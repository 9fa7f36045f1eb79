//! Cuts read again: their state, their messages, and which of them lie on the way.

use std::collections::BTreeMap;

use podium_store::{CutKind, CutRequest, HistoryQuery, InstanceStore};
use podium_wire::message::Role;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::common::*;

#[derive(Debug, Clone)]
enum Step {
    /// A turn with so many messages.
    Turn { messages: usize, patch: bool },
    /// To one of the cuts that there are.
    Rewind(u16),
    /// The host ends without a word.
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..3_usize, any::<bool>()).prop_map(|(messages, patch)| Step::Turn { messages, patch }),
        3 => any::<u16>().prop_map(Step::Rewind),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

/// What an instance was at a cut.
#[derive(Debug, Clone, PartialEq)]
struct Was {
    state: Value,
    texts: Vec<String>,
}

async fn texts_at(instance: &InstanceStore, cut: Option<u64>) -> Vec<String> {
    let (mut texts, mut after) = (Vec::new(), 0);
    loop {
        let query = HistoryQuery::After { after, limit: 3 };
        let page = match cut {
            Some(cut) => instance.history_at(cut, query).await,
            None => instance.history(query).await,
        }
        .expect("reads");
        after = page.entries.last().map_or(after, |entry| entry.seq);
        texts.extend(page.entries.into_iter().map(|entry| entry.text));
        if !page.more {
            return texts;
        }
    }
}

async fn texts_backwards(instance: &InstanceStore) -> Vec<String> {
    let (mut texts, mut before) = (Vec::new(), None);
    loop {
        let query = HistoryQuery::Before { before, limit: 2, bytes: usize::MAX };
        let page = instance.history(query).await.expect("reads");
        before = page.entries.first().map(|entry| entry.seq).or(before);
        texts.extend(page.entries.into_iter().rev().map(|entry| entry.text));
        if !page.more {
            texts.reverse();
            return texts;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// However often it goes back and forth: each cut keeps its state and its messages, forwards and backwards.
    #[test]
    fn each_cut_keeps_what_it_was(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(live(&steps));
    }
}

async fn live(steps: &[Step]) {
    let folder = folder();
    let mut store = open(folder.path());
    let mut instance = created(&store, 1).await;
    let mut model = Model::new();
    let mut lives: BTreeMap<u64, Was> = BTreeMap::from([(1, Was { state: json!({}), texts: Vec::new() })]);
    let mut said = 0;
    for (n, step) in steps.iter().enumerate() {
        let now = lives[&model.cut].clone();
        match step {
            Step::Turn { messages, patch } => {
                let mut texts = now.texts;
                let new: Vec<(Role, String)> = (0..*messages).map(|m| (Role::User, format!("m{}", said + m))).collect();
                said += messages;
                texts.extend(new.iter().map(|(_, text)| text.clone()));
                let patches = if *patch {
                    vec![json!([{"op": "add", "path": format!("/p{n}"), "value": n}])]
                } else {
                    Vec::new()
                };
                let request = CutRequest { messages: new, ..model.cut(patches) };
                instance.cut(request).await.expect("is made");
                lives.insert(model.cut, Was { state: model.state.clone(), texts });
            }
            Step::Rewind(to) => {
                let to = 1 + u64::from(*to) % model.cut;
                let was = lives[&to].clone();
                let patch = podium_store::difference(&model.state, &was.state);
                let patches = if patch == json!([]) { Vec::new() } else { vec![patch] };
                let request = CutRequest { kind: CutKind::Rewind, parent: to, ..model.cut(patches) };
                instance.cut(request).await.expect("is made");
                assert_eq!(model.state, was.state);
                lives.insert(model.cut, was);
            }
            Step::Reopen => {
                store.close().await;
                store = open(folder.path());
                instance = store.instance(id(1));
                model.check(&instance).await;
            }
        }
        assert_eq!(texts_at(&instance, None).await, lives[&model.cut].texts);
        assert_eq!(texts_backwards(&instance).await, lives[&model.cut].texts);
    }
    for (cut, was) in &lives {
        let at = instance.at_cut(*cut).await.expect("reads").expect("was made");
        assert_eq!((at.state, at.cut.cut), (was.state.clone(), *cut));
        assert_eq!(texts_at(&instance, Some(*cut)).await, was.texts, "at cut {cut}");
        let found = instance.message_difference(*cut, model.cut, 0, usize::MAX).await.expect("reads");
        let only = |is_new: bool| -> Vec<String> {
            found.messages.iter().filter(|(new, _)| *new == is_new).map(|(_, entry)| entry.text.clone()).collect()
        };
        let head = &lives[&model.cut].texts;
        let without = |these: &[String], others: &[String]| -> Vec<String> {
            these.iter().filter(|text| !others.contains(text)).cloned().collect()
        };
        assert_eq!((only(true), only(false)), (without(head, &was.texts), without(&was.texts, head)));
    }
    assert_eq!(instance.at_cut(model.cut + 1).await.expect("reads"), None);
    // The list: who follows whom, and which of them lie on the way.
    let (listed, more) = instance.cuts(0, usize::MAX).await.expect("reads");
    assert!(!more);
    let parents: BTreeMap<u64, u64> = listed.iter().map(|cut| (cut.cut, cut.parent)).collect();
    let mut way = Vec::new();
    let mut at = model.cut;
    while at > 0 {
        way.push(at);
        at = parents[&at];
    }
    way.reverse();
    assert_eq!(listed.iter().filter(|cut| cut.on_path).map(|cut| cut.cut).collect::<Vec<_>>(), way);
    assert_eq!(listed.iter().map(|cut| cut.cut).collect::<Vec<_>>(), (1..=model.cut).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_rewind_that_does_not_reach_the_disk_never_was() {
    let folder = folder();
    let store = open(folder.path());
    let instance = created(&store, 1).await;
    let mut model = Model::new();
    let say = |text: &str| vec![(Role::User, text.to_owned())];
    for text in ["one", "two"] {
        instance.cut(CutRequest { messages: say(text), ..model.cut(vec![set(1, text.len())]) }).await.expect("is made");
    }
    // As a kill between the state's delta and the commit would leave it: the copy has the delta, and not the cut.
    let before = folder.path().join("messages-before");
    copy(messages_db(folder.path(), 1).parent().expect("a folder"), &before);
    let kept = model.clone();
    let patch = json!([{"op": "remove", "path": "/m1"}]);
    instance.cut(CutRequest { kind: CutKind::Rewind, parent: 1, ..model.cut(vec![patch]) }).await.expect("is made");
    store.close().await;
    let messages = messages_db(folder.path(), 1).parent().expect("a folder").to_owned();
    std::fs::remove_dir_all(&messages).expect("goes");
    copy(&before, &messages);
    let store = open(folder.path());
    let instance = store.instance(id(1));
    kept.check(&instance).await;
    assert_eq!(texts_at(&instance, None).await, ["one", "two"]);
}
