//! The store behind a workspace: what people see of it, what damage does to it, and what it gives back by itself.

use std::path::PathBuf;
use std::time::Duration;

use podium_it::{Cli, Client, Data, Host, within};
use podium_wire::chronicle::{ChronicleChecked, ChronicleCollected, ChronicleStats};
use podium_wire::{ErrorCode, InstanceId};
use rusqlite::{Connection, OpenFlags};

fn metadata(data: &Data, id: InstanceId) -> PathBuf {
    data.path().join("instances").join(id.to_string()).join("chronicle/metadata")
}

/// Bytes that nothing makes smaller, so that they lie in the store as they are.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u8::try_from(state >> 56).expect("one byte")
    };
    (0..len).map(|_| next()).collect()
}

async fn json<T: serde::de::DeserializeOwned>(cli: &Cli, what: &str, id: InstanceId) -> T {
    let output = cli.run(&["chronicle", what, &id.to_string(), "--json"]).await;
    serde_json::from_value(output.json()).expect("the documented shape")
}

async fn scribe(client: &Client) -> InstanceId {
    client.deployed_instance("scribe").await
}

#[tokio::test]
async fn a_history_is_measured_checked_and_collected() {
    let host = Host::start().await;
    let (client, cli) = (host.client(), host.cli());
    let id = scribe(&client).await;
    // Nobody used a file yet, and looking makes none.
    assert_eq!(json::<ChronicleStats>(&cli, "stats", id).await, ChronicleStats::default());
    assert!(json::<ChronicleChecked>(&cli, "fsck", id).await.sound);
    assert!(!metadata(host.data(), id).exists());
    client.file_put(id, "docs/a", &noise(1, 5000)).await;
    client.reply(id, "write b of-a-turn").await;
    client.file_put(id, "docs/a", &noise(2, 5000)).await;
    let stats: ChronicleStats = json(&cli, "stats", id).await;
    assert_eq!((stats.versions, stats.segments, stats.entries), (3, 1, 3));
    assert_eq!(stats.workspace_bytes, 5009);
    assert!(stats.segment_bytes > 10_000 && stats.store_bytes >= stats.segment_bytes + stats.database_bytes);
    let checked: ChronicleChecked = json(&cli, "fsck", id).await;
    assert!(checked.sound);
    assert_eq!((checked.versions, checked.contents, checked.bytes), (3, 3, 10_009));
    let collected: ChronicleCollected = json(&cli, "gc", id).await;
    assert!(collected.complete);
    // All three are younger than a day.
    assert_eq!((collected.versions, collected.contents), (0, 0));
    for (what, said) in [("stats", "versions"), ("fsck", "sound"), ("gc", "0 versions")] {
        let output = cli.run(&["chronicle", what, &id.to_string()]).await;
        output.ok();
        assert!(format!("{}{}", output.stdout, output.stderr).contains(said), "{output:?}");
    }
}

#[tokio::test]
async fn nobody_works_on_a_history_while_a_turn_runs() {
    let host = Host::start().await;
    let (client, cli) = (host.client(), host.cli());
    let id = scribe(&client).await;
    client.reply(id, "write a one").await;
    client.post_message(id, "m", "spin").await;
    client.until(id, "the turn", |info| info.inbox == 1).await;
    for what in ["gc", "fsck"] {
        let refused = client.post(&format!("/api/v1/instances/{id}/chronicle/{what}")).await;
        refused.refused(ErrorCode::TurnActive);
    }
    // How large it is can be asked at any time.
    assert_eq!(json::<ChronicleStats>(&cli, "stats", id).await.versions, 1);
    client.post(&format!("/api/v1/instances/{id}/interrupt")).await;
    client.until(id, "the end", |info| info.inbox == 0).await;
    assert!(json::<ChronicleChecked>(&cli, "fsck", id).await.sound);
}

#[tokio::test]
async fn a_damaged_pack_is_found_told_with_its_paths_and_the_rest_is_readable() {
    let host = Host::start().await;
    let client = host.client();
    let id = scribe(&client).await;
    client.file_put(id, "good", &noise(1, 5000)).await;
    client.file_put(id, "docs/bad", &noise(2, 5000)).await;
    client.file_put(id, "copy-of-bad", &noise(2, 5000)).await;
    let data = host.kill();
    let pack = metadata(&data, id).join("cas/seg-000001.pack");
    let mut bytes = std::fs::read(&pack).expect("the segment");
    let bad = noise(2, 5000);
    let at = bytes.windows(bad.len()).position(|window| window == bad).expect("it is stored as it is");
    bytes[at + 1000] ^= 1;
    std::fs::write(&pack, bytes).expect("damages it");

    let host = Host::start_on(&data).await;
    let (client, cli) = (host.client(), host.cli());
    for arguments in [vec!["chronicle", "fsck"], vec!["chronicle", "fsck", "--json"]] {
        let output = cli.run(&[&arguments[..2], &[&id.to_string()], &arguments[2..]].concat()).await;
        assert_eq!(output.code, 1, "{output:?}");
        for told in ["docs/bad", "copy-of-bad"] {
            assert!(output.stdout.contains(told), "{output:?}");
        }
        assert!(!output.stdout.contains("good"), "{output:?}");
    }
    assert_eq!(client.file(id, "good").await.bytes, noise(1, 5000));
    // The workspace still has it, so the next cut stores it anew.
    client.file_put(id, "more", b"more").await;
    assert!(json::<ChronicleChecked>(&cli, "fsck", id).await.sound);
    assert_eq!(client.file(id, "docs/bad").await.bytes, noise(2, 5000));
}

#[tokio::test]
async fn a_file_among_the_segments_that_no_row_names_is_deleted() {
    let host = Host::start().await;
    let client = host.client();
    let id = scribe(&client).await;
    client.file_put(id, "a", b"one").await;
    let data = host.kill();
    let cas = metadata(&data, id).join("cas");
    for leaked in ["tmp_pack_Xy12", "seg-000077.pack"] {
        std::fs::write(cas.join(leaked), noise(3, 100_000)).expect("leaks");
    }
    let host = Host::start_on(&data).await;
    assert_eq!(host.client().file(id, "a").await.bytes, b"one");
    let left: Vec<_> = std::fs::read_dir(&cas).expect("the segments").map(|it| it.expect("one").file_name()).collect();
    assert_eq!(left, ["seg-000001.pack"]);
}

#[tokio::test]
async fn what_nothing_keeps_goes_when_the_instance_rests() {
    let host = Host::start().await;
    let client = host.client();
    let id = scribe(&client).await;
    client.reply(id, "write a one").await;
    for n in 0..30 {
        assert!(client.ask(id, &format!("write a of-failed-turn-{n}\nfail")).await.error.is_some());
    }
    for n in 0..200 {
        client.file_put(id, "a", format!("{n}").as_bytes()).await;
    }
    let file = metadata(host.data(), id).join("chronicle.db");
    let versions = || {
        let database = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opens");
        let count = "SELECT count(*), count(*) FILTER (WHERE status = 'recovered') FROM version";
        database.query_row(count, [], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?))).expect("counts")
    };
    assert_eq!(versions(), (231, 30));
    // Of what failed turns left, the newest twenty are kept.
    let collected = async || {
        tokio::time::sleep(Duration::from_millis(200)).await;
        (versions() == (221, 20)).then_some(())
    };
    within(Duration::from_secs(60), "the collection", collected).await;
    assert_eq!(client.file(id, "a").await.text(), "199");
    assert!(json::<ChronicleChecked>(&host.cli(), "fsck", id).await.sound);
}
