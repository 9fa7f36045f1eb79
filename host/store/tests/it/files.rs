//! What lies on the disk: sizes, starts after a crash or a reboot, a full disk.

use std::path::Path;
use std::process::Command;

use podium_store::{CutRequest, StoreError};
use podium_wire::ErrorCode;
use podium_wire::message::Role;
use rusqlite::Connection;

use crate::common::*;

#[tokio::test]
async fn an_unused_agent_is_small_and_leaves_no_wal() {
    let folder = folder();
    let store = open(folder.path());
    created(&store, 1).await.mark_resting().await.expect("rests");
    let entries = std::fs::read_dir(messages_db(folder.path(), 1).parent().expect("a folder")).expect("a folder");
    let files: Vec<_> = entries.map(|entry| entry.expect("an entry")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let bytes = files[0].metadata().expect("is there").len();
    assert!(bytes <= 40_000, "{bytes}");
}

#[tokio::test]
async fn the_list_is_rebuilt_after_a_reboot_or_damage() {
    let folder = folder();
    let store = open(folder.path());
    for number in 1..=4 {
        created(&store, number).await;
    }
    for number in 1..=3 {
        store.instance(id(number)).mark_resting().await.expect("rests");
    }
    store.instance(id(3)).accept(row("m", "1", None)).await.expect("accepted");
    store.close().await;

    let rebooted = crate::common::folder();
    copy(folder.path(), rebooted.path());
    change_host(rebooted.path(), "UPDATE meta SET v = 'another boot'; DELETE FROM instances WHERE id LIKE '%2';");
    std::fs::remove_dir_all(rebooted.path().join("instances").join(id(1).to_string())).expect("removes");
    let store = open(rebooted.path());
    let listed: Vec<_> = store.list(None, 9).await.expect("lists").into_iter().map(|row| row.id).collect();
    assert_eq!(listed, [id(2), id(3), id(4)]);
    assert_eq!(store.unfinished().await.expect("lists"), [id(3)], "its row was accepted after its rest was noted");

    let damaged = crate::common::folder();
    copy(folder.path(), damaged.path());
    std::fs::write(damaged.path().join("host.db"), vec![0x5A; 9_000]).expect("writes");
    let store = open(damaged.path());
    assert_eq!(store.count().await.expect("counts"), 4);
    assert_eq!(store.unfinished().await.expect("lists"), [id(3)]);
    assert_eq!(store.list(None, 1).await.expect("lists")[0].component.to_string(), "hello:1.0.0@2b795103");
}

#[tokio::test]
async fn a_start_finishes_what_a_crash_cut_short() {
    let folder = folder();
    let store = open(folder.path());
    for number in 1..=2 {
        created(&store, number).await;
    }
    store.close().await;
    // A deletion that had only renamed, a creation that had only been listed.
    let instances = folder.path().join("instances");
    std::fs::rename(instances.join(id(1).to_string()), folder.path().join("deleted").join(id(1).to_string()))
        .expect("renames");
    let third = id(3);
    change_host(
        folder.path(),
        &format!("INSERT INTO instances VALUES ('{third}', 'hello:1.0.0@2b795103', 1, 0, 1, NULL);"),
    );
    let store = open(folder.path());
    let listed: Vec<_> = store.list(None, 9).await.expect("lists").into_iter().map(|row| row.id).collect();
    assert_eq!(listed, [id(2)]);
    assert_eq!(std::fs::read_dir(folder.path().join("deleted")).expect("a folder").count(), 0);
}

fn change_host(root: &Path, sql: &str) {
    Connection::open(root.join("host.db")).and_then(|host| host.execute_batch(sql)).expect("changes");
}

/// A small file system of its own; none where this may not mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(folder.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0.path()).status());
    }
}

#[tokio::test]
async fn a_read_only_folder_is_named_so() {
    let Some(disk) = SmallDisk::new() else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    let root = disk.0.path();
    let store = open(root);
    created(&store, 1).await;
    store.close().await;
    drop(store);
    let remounted = Command::new("mount").args(["-o", "remount,ro"]).arg(root).status().expect("runs");
    assert!(remounted.success());
    let error = podium_store::Store::open(root, &podium_kit::Clock::system()).expect_err("cannot be written");
    assert_eq!(error.code(), ErrorCode::StorageReadOnly, "{error}");
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let Some(disk) = SmallDisk::new() else {
        eprintln!("skipped: this user may not mount a tmpfs");
        return;
    };
    let root = disk.0.path();
    let store = open(root);
    let instance = created(&store, 1).await;
    let mut model = Model::new();
    let text = "x".repeat(50_000);
    let error = loop {
        let mut next = model.clone();
        let cut = CutRequest { messages: vec![(Role::User, text.clone())], ..next.cut(vec![set(1, 1_000)]) };
        match instance.cut(cut).await {
            Ok(_) => model = next,
            Err(error) => break error,
        }
        assert!(model.cut < 1_000, "the disk never got full");
    };
    assert_eq!(error.code(), ErrorCode::StorageFull, "{error}");
    assert!(model.cut > 5);
    let second = store.create(new_instance(id(2))).await.expect_err("no room");
    assert_eq!(second.code(), ErrorCode::StorageFull, "{second}");
    assert!(!root.join("instances").join(id(2).to_string()).exists());
    let grown = Command::new("mount").args(["-o", "remount,size=32m"]).arg(root).status().expect("runs");
    assert!(grown.success());
    model.check(&instance).await;
    instance.cut(model.cut(vec![set(2, 10)])).await.expect("there is room now");
    model.check(&instance).await;
    assert!(matches!(store.instance(id(2)).recover().await, Err(StoreError::NotFound(_))));
    store.close().await;
}

#[tokio::test]
async fn old_ids_are_forgotten_and_the_last_ten_thousand_never() {
    let folder = folder();
    let store = open(folder.path());
    created(&store, 1).await;
    store.close().await;
    let rows = podium_store::INBOX_IDS_MIN + 192;
    let sql = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO inbox SELECT i, 'local', 'm' || i, x'00', 'message', '1', 1, 0,
             CASE i WHEN 2 THEN 'parked' ELSE 'done' END, NULL, 1 FROM n;"
    );
    let database = Connection::open(messages_db(folder.path(), 1)).expect("opens");
    database.execute_batch(&sql).expect("inserts");
    let count = || -> u64 { database.query_row("SELECT count(*) FROM inbox", [], |row| row.get(0)).expect("counts") };
    // Every 64th cut looks for old ids.
    let cut_after = async |parent: u64, at: u64| {
        database.execute("UPDATE cuts SET cut = ?1", [parent]).expect("jumps");
        let store = open(folder.path());
        store.instance(id(1)).cut(CutRequest { at, ..request(parent, None, None) }).await.expect("cut");
        database.execute("DELETE FROM cuts WHERE cut = ?1", [parent]).expect("tidies");
        store.close().await;
    };
    let week = podium_store::INBOX_IDS_MS;
    cut_after(63, week).await;
    assert_eq!(count(), rows, "an id went before its week was over");
    cut_after(127, week + 2).await;
    assert_eq!(count(), rows - 127, "a bounded number goes at once, and nothing that is unfinished");
    cut_after(191, week + 2).await;
    assert_eq!(count(), podium_store::INBOX_IDS_MIN + 1);
    let instance = open(folder.path()).instance(id(1));
    assert_eq!(instance.find("m192").await.expect("finds").len(), 0);
    assert_eq!(instance.find("m193").await.expect("finds").len(), 1);
    assert_eq!(instance.accept(row("new", "1", None)).await.expect("accepted").inbox_seq, rows + 1);
}
