//! How many accepts and cuts a second the store does by itself. Run with `cargo test --release -p podium-store -- --ignored`.

use std::time::Duration;

use podium_kit::{Clock, spawn};
use podium_store::{CutRequest, InstanceStore};
use podium_wire::message::Role;
use serde_json::json;

use crate::common::*;

const RUN: Duration = Duration::from_secs(3);

async fn turns(instance: InstanceStore, clock: Clock) -> u64 {
    let mut model = Model::new();
    let end = clock.monotonic() + RUN;
    let mut done = 0;
    while clock.monotonic() < end {
        done += 1;
        let accepted =
            instance.accept(row(&format!("m{done}"), "{\"text\":\"add\"}", Some(start(done, model.cut)))).await;
        let inbox_seq = accepted.expect("accepted").inbox_seq;
        let cut = model.cut(vec![json!([{"op": "add", "path": "/count", "value": done}])]);
        let cut = CutRequest {
            turn: Some(done),
            inbox_seq: Some(inbox_seq),
            messages: vec![(Role::User, "add".into()), (Role::Assistant, done.to_string())],
            updates: vec![stream_end(1, "a"), stream_end(2, "b"), stream_end(3, "c")],
            ..cut
        };
        instance.cut(cut).await.expect("cut");
    }
    done
}

async fn measure(root: &std::path::Path, name: &str) {
    let store = podium_store::Store::open(root, &Clock::system()).expect("opens");
    let clock = Clock::system();
    let started = clock.monotonic();
    for number in 0..100 {
        created(&store, number).await;
    }
    println!("{name}: create {:?} each", (clock.monotonic() - started) / 100);
    let mut first = 0;
    for count in [1_u32, 32] {
        let started = clock.monotonic();
        let tasks: Vec<_> = (first..first + count)
            .map(|number| spawn::task("bench", turns(store.instance(id(number)), clock.clone())))
            .collect();
        let mut done = 0;
        for task in tasks {
            done += task.await.expect("ends");
        }
        let seconds = (clock.monotonic() - started).as_secs_f64();
        println!("{name}: {count} instances: {:.0} accept+cut a second", done as f64 / seconds);
        first += count;
    }
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn accept_and_cut_a_second() {
    measure(folder().path(), "memory").await;
    measure(tempfile::tempdir().expect("a folder").path(), "disk").await;
}
