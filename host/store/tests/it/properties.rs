//! The promises of TURN.md §9 over random lives of an instance.

use std::collections::BTreeMap;

use podium_store::{AcceptError, CutRequest, HistoryQuery};
use podium_wire::message::Role;
use proptest::prelude::*;

use crate::common::*;

#[derive(Debug, Clone)]
enum Event {
    Accept { id: u8, body: u8 },
    Cut { patches: usize, updates: usize, messages: usize, consume: bool },
    Reopen,
    Rest,
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0_u8..8, 0_u8..2).prop_map(|(id, body)| Event::Accept { id, body }),
        4 => (0_usize..3, 0_usize..4, 0_usize..3, any::<bool>())
            .prop_map(|(patches, updates, messages, consume)| Event::Cut { patches, updates, messages, consume }),
        1 => Just(Event::Reopen),
        1 => Just(Event::Rest),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_random_life(life in prop::collection::vec(events(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(live(&life));
    }
}

async fn live(life: &[Event]) {
    let folder = folder();
    let mut store = open(folder.path());
    let mut instance = created(&store, 1).await;
    let mut model = Model::new();
    let mut inbox: BTreeMap<u8, (u64, u8, Option<u64>)> = BTreeMap::new();
    let (mut texts, mut history, mut turn): (Vec<String>, u64, u64) = (Vec::new(), 0, 0);
    for event in life {
        match event {
            Event::Accept { id, body } => {
                let next = inbox.len() as u64 + 1;
                let accepted = instance.accept(row(&format!("m{id}"), &body.to_string(), None)).await;
                match (inbox.get(id), accepted) {
                    (None, Ok(accepted)) => {
                        assert_eq!((accepted.inbox_seq, accepted.duplicate), (next, false));
                        inbox.insert(*id, (next, *body, None));
                    }
                    (Some((seq, known, cut)), Ok(accepted)) if known == body => {
                        assert_eq!((accepted.inbox_seq, accepted.duplicate), (*seq, true));
                        assert_eq!(accepted.outcome.map(|outcome| outcome.cut), *cut);
                    }
                    (Some((seq, known, _)), Err(AcceptError::Conflict(at))) => {
                        assert_ne!(known, body);
                        assert_eq!(at, *seq);
                    }
                    (known, answer) => panic!("{known:?} was answered {answer:?}"),
                }
            }
            Event::Cut { patches, updates, messages, consume } => {
                let consumed = inbox.values_mut().filter(|row| row.2.is_none()).min_by_key(|row| row.0);
                let consumed = consumed.filter(|_| *consume);
                let mut request = model.cut((0..*patches).map(|k| set(k as u32, texts.len())).collect());
                if let Some(row) = consumed {
                    turn += 1;
                    instance.begin(row.0, start(turn, request.parent), 1, false).await.expect("begins");
                    request = CutRequest { turn: Some(turn), inbox_seq: Some(row.0), ..request };
                    row.2 = Some(model.cut);
                }
                let first = texts.len() as u64 + 1;
                for n in 1..=*updates {
                    let text = format!("{}/{n}", request.parent);
                    request.updates.push(stream_end(n as u64, &text));
                    texts.push(text);
                }
                request.messages = (0..*messages).map(|k| (Role::User, format!("{k}"))).collect();
                history += *messages as u64;
                let made = instance.cut(request).await.expect("cut");
                let numbers = if *updates == 0 { (None, None) } else { (Some(first), Some(texts.len() as u64)) };
                assert_eq!((made.cut, (made.first_seq, made.last_seq)), (model.cut, numbers));
                assert_eq!(made.last_message_seq, history);
            }
            Event::Reopen => {
                store.close().await;
                store = open(folder.path());
                instance = store.instance(id(1));
            }
            Event::Rest => instance.mark_resting().await.expect("rests"),
        }
    }
    model.check(&instance).await;
    let recovered = instance.recover().await.expect("recovers");
    let waiting: Vec<u64> = recovered.unfinished.iter().map(|row| row.seq).collect();
    let mut expected: Vec<u64> = inbox.values().filter(|row| row.2.is_none()).map(|row| row.0).collect();
    expected.sort_unstable();
    assert_eq!(waiting, expected);
    let all = instance.history(HistoryQuery::After { after: 0, limit: usize::MAX }).await.expect("reads");
    assert!(all.entries.iter().map(|entry| entry.seq).eq(1..=history) && !all.more);
    // Resume from any point is the rest of the whole, with no number left out.
    for after in 0..=texts.len() + 1 {
        let read = instance.updates_after(after as u64, usize::MAX).await.expect("reads");
        assert!(read.iter().filter_map(|update| update.seq).eq(after as u64 + 1..=texts.len() as u64));
        for (update, text) in read.iter().zip(texts.iter().skip(after)) {
            assert!(update.content.get().contains(text.as_str()));
        }
    }
}
