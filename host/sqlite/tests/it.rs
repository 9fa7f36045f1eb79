//! Tests of the slots and of open databases, on real files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use podium_kit::BlockingThreads;
use podium_sqlite::{Database, Failure, Slot, SlotError, Slots, SqliteError, Synchronous, Template, Upkeep};
use rusqlite::params;

#[derive(Default)]
struct Counting {
    jobs: Vec<u32>,
    /// Given by a job; its last clone dies with the slot.
    alive: Option<Arc<AtomicUsize>>,
    tidied: Option<Arc<AtomicUsize>>,
    overdue: bool,
}

impl Slot for Counting {
    fn upkeep(&self) -> Upkeep {
        match &self.tidied {
            _ if self.overdue => Upkeep::Overdue,
            Some(tidied) if tidied.load(Ordering::SeqCst) == 0 => Upkeep::Due,
            _ => Upkeep::Done,
        }
    }

    fn tidy(&mut self) {
        if let Some(tidied) = &self.tidied {
            tidied.fetch_add(1, Ordering::SeqCst);
        }
        self.overdue = false;
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(alive) = &self.alive {
            alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Callers on connections' threads and on threads that may block: one job of a key at a time, each caller's in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_key_never_meet() {
    let slots: Slots<Counting> = Slots::new("test", 100);
    let threads = BlockingThreads::start("test").expect("threads");
    let inside: Vec<_> = (0..4).map(|_| Arc::new(AtomicUsize::new(0))).collect();
    let mut callers = Vec::new();
    for caller in 0..8_u32 {
        for (key, inside) in (0..).zip(&inside) {
            let (slots, inside) = (slots.clone(), Arc::clone(inside));
            let all = async move {
                for number in 0..50 {
                    let inside = Arc::clone(&inside);
                    let job = move |slot: &mut Counting| {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        slot.jobs.push(caller * 1000 + number);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    };
                    slots.run(key, job).await.expect("runs");
                }
            };
            callers.push(if caller % 2 == 0 {
                threads.spawn("caller", all)
            } else {
                podium_kit::spawn::task("caller", all)
            });
        }
    }
    for caller in callers {
        caller.await.expect("ends");
    }
    for key in 0..4 {
        let jobs = slots.run(key, |slot: &mut Counting| slot.jobs.clone()).await.expect("runs");
        assert_eq!(jobs.len(), 400);
        for caller in 0..8 {
            let own = jobs.iter().filter(|job| **job / 1000 == caller).map(|job| job % 1000);
            assert!(own.eq(0..50));
        }
    }
}

#[tokio::test]
async fn open_slots_are_bounded_and_the_oldest_goes() {
    let alive = Arc::new(AtomicUsize::new(0));
    let open_max = 10;
    let slots: Slots<Counting> = Slots::new("test", open_max);
    for key in 0..200 {
        let alive = Arc::clone(&alive);
        slots
            .run(key, move |slot: &mut Counting| {
                alive.fetch_add(1, Ordering::SeqCst);
                slot.alive = Some(alive);
            })
            .await
            .expect("runs");
    }
    assert_eq!((alive.load(Ordering::SeqCst), slots.open_slots()), (open_max, open_max));
    for key in 190..200 {
        let known = slots.run(key, |slot: &mut Counting| slot.alive.is_some()).await.expect("runs");
        assert!(known, "a slot that was just used went");
    }
    assert!(!slots.run(0, |slot: &mut Counting| slot.alive.is_some()).await.expect("runs"));
    slots.close().await;
    assert_eq!((alive.load(Ordering::SeqCst), slots.open_slots()), (0, 0));
    assert!(matches!(slots.run(1, |_: &mut Counting| ()).await, Err(SlotError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_in_use_is_never_closed_for_another() {
    let slots: Slots<Counting> = Slots::new("test", 1);
    let held = Arc::new(std::sync::Barrier::new(2));
    let inside = Arc::clone(&held);
    let own = slots.clone();
    let long = podium_kit::spawn::task("long", async move {
        own.run(1, move |slot: &mut Counting| {
            slot.jobs.push(1);
            inside.wait();
            inside.wait();
        })
        .await
    });
    held.wait();
    for key in 2..20 {
        slots.run(key, |slot: &mut Counting| slot.jobs.push(2)).await.expect("runs");
    }
    held.wait();
    long.await.expect("ends").expect("runs");
    // The next job of another key closes it, as the oldest.
    assert_eq!(slots.run(1, |slot: &mut Counting| slot.jobs.clone()).await.expect("runs"), [1]);
}

#[tokio::test]
async fn a_panic_closes_its_slot_and_nothing_else() {
    let slots: Slots<Counting> = Slots::new("test", 10);
    slots.run(1, |slot: &mut Counting| slot.jobs.push(1)).await.expect("runs");
    slots.run(2, |slot: &mut Counting| slot.jobs.push(2)).await.expect("runs");
    let panicked = slots.run(1, |_: &mut Counting| panic!("on purpose")).await;
    assert!(matches!(panicked, Err(SlotError::Panicked)));
    assert!(slots.run(1, |slot: &mut Counting| slot.jobs.is_empty()).await.expect("runs"));
    assert_eq!(slots.run(2, |slot: &mut Counting| slot.jobs.len()).await.expect("runs"), 1);
    slots.forget(2).await.expect("forgets");
    assert_eq!(slots.open_slots(), 1);
    assert_eq!(slots.run(2, |slot: &mut Counting| slot.jobs.len()).await.expect("runs"), 0);
}

#[tokio::test]
async fn what_was_put_off_is_done_without_a_caller() {
    let tidied = Arc::new(AtomicUsize::new(0));
    let slots: Slots<Counting> = Slots::new("test", 10);
    let shared = Arc::clone(&tidied);
    slots.run(1, move |slot: &mut Counting| slot.tidied = Some(shared)).await.expect("runs");
    for _ in 0..200 {
        if tidied.load(Ordering::SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never tidied");
}

#[tokio::test]
async fn what_is_overdue_is_done_before_the_next_job() {
    let tidied = Arc::new(AtomicUsize::new(0));
    let slots: Slots<Counting> = Slots::new("test", 10);
    let shared = Arc::clone(&tidied);
    let seen = slots.run(1, move |slot: &mut Counting| (slot.overdue, slot.tidied) = (true, Some(shared)));
    seen.await.expect("runs");
    // Whoever comes first, a tidying thread or the job: the job finds it done.
    let (count, overdue) =
        slots.run(1, move |slot: &mut Counting| (tidied.load(Ordering::SeqCst), slot.overdue)).await.expect("runs");
    assert_eq!((count, overdue), (1, false));
}

#[tokio::test]
async fn a_job_that_began_ends_though_its_caller_went() {
    let slots: Slots<Counting> = Slots::new("test", 10);
    let held = Arc::new(std::sync::Barrier::new(2));
    let block = Arc::clone(&held);
    let mut first = Box::pin(slots.run(1, move |slot: &mut Counting| {
        block.wait();
        slot.jobs.push(7);
    }));
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut first).await.is_err(), "it waits");
    drop(first);
    held.wait();
    assert_eq!(slots.run(1, |slot: &mut Counting| slot.jobs.clone()).await.expect("runs"), [7]);
}

#[tokio::test]
async fn many_readers_of_a_busy_key_hold_one_blocking_thread() {
    let slots: Slots<Counting> = Slots::new("test", 10);
    let held = Arc::new(std::sync::Barrier::new(2));
    let block = Arc::clone(&held);
    let long = slots.run(1, move |_: &mut Counting| {
        block.wait();
    });
    let long = podium_kit::spawn::task("long", long);
    // More than a runtime has blocking threads.
    let readers: Vec<_> = (0..600)
        .map(|_| podium_kit::spawn::task("reader", slots.run(1, |slot: &mut Counting| slot.jobs.len())))
        .collect();
    tokio::task::yield_now().await;
    // Another key is served meanwhile.
    assert_eq!(slots.run(2, |slot: &mut Counting| slot.jobs.len()).await.expect("runs"), 0);
    held.wait();
    long.await.expect("ends").expect("runs");
    for reader in readers {
        reader.await.expect("ends").expect("runs");
    }
}

fn template() -> Template {
    Template::build("CREATE TABLE t(k INTEGER PRIMARY KEY, v BLOB);").expect("builds")
}

fn insert(database: &Database, bytes: usize) -> Result<(), SqliteError> {
    database.transaction(|connection| {
        connection.prepare_cached("INSERT INTO t(v) VALUES (?1)")?.execute(params![vec![7_u8; bytes]])?;
        Ok(())
    })
}

#[test]
fn a_file_of_a_template_is_in_wal_mode_and_rests_as_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    // What a process left that was killed in the middle of it.
    std::fs::write(folder.path().join("a.db.new"), "half").expect("writes");
    template().write(&path, true).expect("writes");
    assert!(template().write(&path, true).is_err(), "a file was overwritten");
    let database = Database::open(&path, Synchronous::Full).expect("opens");
    insert(&database, 10_000).expect("inserts");
    assert!(database.wal_bytes() >= 10_000);
    assert!(database.checkpoint().expect("checkpoints"));
    assert_eq!(database.wal_bytes(), 0);
    insert(&database, 10).expect("inserts");
    drop(database);
    assert!(folder.path().join("a.db-wal").exists(), "a drop writes nothing back");
    Database::open(&path, Synchronous::Full).and_then(Database::rest).expect("rests");
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    let database = Database::open(&path, Synchronous::Full).expect("opens");
    let rows: u64 = database.connection().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("counts");
    assert_eq!(rows, 2);
}

#[test]
fn a_failed_transaction_leaves_nothing_and_its_durability_is_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    template().write(&path, false).expect("writes");
    let database = Database::open(&path, Synchronous::Full).expect("opens");
    let level =
        || -> u64 { database.connection().query_row("PRAGMA synchronous", [], |row| row.get(0)).expect("asks") };
    let failed = database.transaction_at(Synchronous::Normal, |connection| -> Result<(), SqliteError> {
        assert_eq!(level(), 1);
        connection.execute("INSERT INTO t(v) VALUES (1)", [])?;
        connection.execute("INSERT INTO nothing VALUES (1)", [])?;
        Ok(())
    });
    assert_eq!(failed.expect_err("fails").failure(), Failure::Other);
    assert_eq!(level(), 2);
    let rows: u64 = database.connection().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("counts");
    assert_eq!(rows, 0);
    insert(&database, 10).expect("goes on");
}

#[test]
fn failures_are_told_apart() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = Database::open(&folder.path().join("no.db"), Synchronous::Full).expect_err("is missing");
    assert_eq!(missing.failure(), Failure::Missing);
    let garbage = folder.path().join("garbage.db");
    std::fs::write(&garbage, vec![0xA5; 8192]).expect("writes");
    assert_eq!(Database::open(&garbage, Synchronous::Full).expect_err("is garbage").failure(), Failure::Damaged);
    let path = folder.path().join("a.db");
    template().write(&path, false).expect("writes");
    let database = Database::open(&path, Synchronous::Full).expect("opens");
    database.connection().execute_batch("PRAGMA max_page_count=6").expect("limits");
    assert_eq!(insert(&database, 100_000).expect_err("is full").failure(), Failure::Full);
    database.connection().execute_batch("PRAGMA query_only=1").expect("sets");
    assert_eq!(insert(&database, 10).expect_err("is read-only").failure(), Failure::ReadOnly);
}

#[test]
fn a_filled_file_has_its_rows_and_the_template_has_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let template = Template::build("CREATE TABLE t(n INTEGER PRIMARY KEY, text TEXT)").expect("builds");
    // Long rows: the file grows by pages that only the transaction knows.
    let long = "x".repeat(100_000);
    for number in 0..3_i64 {
        let image = template.filled::<SqliteError>(|connection| {
            connection.execute("INSERT INTO t(n, text) VALUES (?1, ?2)", rusqlite::params![number, long])?;
            Ok(())
        });
        let path = folder.path().join(format!("{number}.db"));
        podium_sqlite::create_file(&path, &image.expect("fills"), true).expect("is written");
        let database = Database::open(&path, Synchronous::Full).expect("opens");
        let rows = |database: &Database| -> (i64, i64, i64) {
            let sum = "SELECT count(*), max(n), sum(length(text)) FROM t";
            database.connection().query_row(sum, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("reads")
        };
        assert_eq!(rows(&database), (1, number, 100_000));
        database
            .transaction::<_, SqliteError>(|connection| {
                connection.execute("INSERT INTO t(n, text) VALUES (100, 'more')", [])?;
                Ok(())
            })
            .expect("is written");
        drop(database);
        let again = Database::open(&path, Synchronous::Full).expect("opens");
        assert_eq!(rows(&again), (2, 100, 100_004));
        let whole: String =
            again.connection().query_row("PRAGMA integrity_check", [], |row| row.get(0)).expect("is checked");
        assert_eq!(whole, "ok");
    }
    let failed =
        template.filled::<SqliteError>(|connection| Ok(connection.execute_batch("INSERT INTO nowhere VALUES (1)")?));
    assert!(failed.is_err());
    let path = folder.path().join("empty.db");
    template.write(&path, false).expect("is written");
    let empty = Database::open(&path, Synchronous::Full).expect("opens");
    assert!(empty.connection().query_row("SELECT 1 FROM t", [], |_| Ok(())).is_err(), "rows of another stayed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_job_uses_is_closed_and_what_one_uses_is_not() {
    let alive = Arc::new(AtomicUsize::new(0));
    let slots: Slots<Counting> = Slots::new("test", 100);
    let open = |key: u128| {
        let alive = Arc::clone(&alive);
        slots.run(key, move |slot: &mut Counting| {
            if slot.alive.is_none() {
                alive.fetch_add(1, Ordering::SeqCst);
                slot.alive = Some(alive);
            }
        })
    };
    for key in 0..10 {
        open(key).await.expect("runs");
    }
    assert_eq!(slots.close_idle(), 0, "all were used since the beginning");
    for key in 0..4 {
        open(key).await.expect("runs");
    }
    assert_eq!((slots.close_idle(), slots.open_slots(), alive.load(Ordering::SeqCst)), (6, 4, 4));
    let held = Arc::new(std::sync::Barrier::new(2));
    let (own, inside) = (slots.clone(), Arc::clone(&held));
    let long = podium_kit::spawn::task("long", async move {
        own.run(0, move |_: &mut Counting| {
            inside.wait();
            inside.wait();
        })
        .await
    });
    held.wait();
    slots.close_idle();
    assert_eq!(slots.close_idle(), 0, "one that is at work was closed");
    assert_eq!((slots.open_slots(), alive.load(Ordering::SeqCst)), (1, 1));
    held.wait();
    long.await.expect("ends").expect("runs");
    open(5).await.expect("a closed one opens again");
    assert_eq!(alive.load(Ordering::SeqCst), 2);
}
