//! Tests of the writer pool and of open databases, on real files.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use podium_sqlite::{Database, Failure, PoolError, Slot, SqliteError, Synchronous, Template, WriterPool};
use rusqlite::params;

#[derive(Default)]
struct Counting {
    jobs: Vec<u32>,
    /// Given by a job; its last clone dies with the slot.
    alive: Option<Arc<AtomicUsize>>,
    tidied: Option<Arc<AtomicUsize>>,
}

impl Slot for Counting {
    fn tidy(&mut self, idle: bool) -> bool {
        if let Some(tidied) = &self.tidied {
            tidied.fetch_add(usize::from(idle), Ordering::SeqCst);
        }
        !idle
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(alive) = &self.alive {
            alive.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_a_key_run_in_order_on_one_slot() {
    let pool: WriterPool<Counting> = WriterPool::new("test", 4, 100);
    let mut answers = Vec::new();
    for number in 0..200 {
        for key in 0..8 {
            let pool = pool.clone();
            answers.push(pool.run(key, move |slot: &mut Counting| {
                slot.jobs.push(number);
                slot.jobs.len()
            }));
        }
    }
    for answer in answers {
        answer.await.expect("runs");
    }
    for key in 0..8 {
        let jobs = pool.run(key, |slot: &mut Counting| slot.jobs.clone()).await.expect("runs");
        assert!(jobs.iter().copied().eq(0..200));
    }
}

#[tokio::test]
async fn open_slots_are_bounded_and_the_oldest_goes() {
    let alive = Arc::new(AtomicUsize::new(0));
    let (threads, open_max) = (2, 10);
    let pool: WriterPool<Counting> = WriterPool::new("test", threads, open_max);
    for key in 0..200 {
        let alive = Arc::clone(&alive);
        pool.run(key, move |slot: &mut Counting| {
            alive.fetch_add(1, Ordering::SeqCst);
            slot.alive = Some(alive);
        })
        .await
        .expect("runs");
    }
    // The last eviction may still be on its way: it happens after the answer.
    for key in [199, 198] {
        let known = pool.run(key, |slot: &mut Counting| slot.alive.is_some()).await.expect("runs");
        assert!(known, "a slot that was just used went");
    }
    assert!(pool.open_slots() <= open_max + threads + 1, "{}", pool.open_slots());
    assert!(!pool.run(0, |slot: &mut Counting| slot.alive.is_some()).await.expect("runs"));
    pool.close().await;
    assert_eq!((alive.load(Ordering::SeqCst), pool.open_slots()), (0, 0));
    assert!(matches!(pool.run(1, |_: &mut Counting| ()).await, Err(PoolError::Closed)));
}

#[tokio::test]
async fn a_panic_closes_its_slot_and_nothing_else() {
    let pool: WriterPool<Counting> = WriterPool::new("test", 1, 10);
    pool.run(1, |slot: &mut Counting| slot.jobs.push(1)).await.expect("runs");
    pool.run(2, |slot: &mut Counting| slot.jobs.push(2)).await.expect("runs");
    let panicked = pool.run(1, |_: &mut Counting| panic!("on purpose")).await;
    assert!(matches!(panicked, Err(PoolError::Panicked)));
    assert!(pool.run(1, |slot: &mut Counting| slot.jobs.is_empty()).await.expect("runs"));
    assert_eq!(pool.run(2, |slot: &mut Counting| slot.jobs.len()).await.expect("runs"), 1);
    pool.forget(2).await.expect("forgets");
    assert_eq!(pool.run(2, |slot: &mut Counting| slot.jobs.len()).await.expect("runs"), 0);
}

#[tokio::test]
async fn tidying_comes_after_the_answer_and_in_idle_moments() {
    let tidied = Arc::new(AtomicUsize::new(0));
    let pool: WriterPool<Counting> = WriterPool::new("test", 1, 10);
    let shared = Arc::clone(&tidied);
    pool.run(1, move |slot: &mut Counting| slot.tidied = Some(shared)).await.expect("runs");
    for _ in 0..200 {
        if tidied.load(Ordering::SeqCst) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never tidied");
}

#[tokio::test]
async fn a_job_runs_though_its_caller_went() {
    let pool: WriterPool<Counting> = WriterPool::new("test", 1, 10);
    let held = Arc::new(std::sync::Barrier::new(2));
    let block = Arc::clone(&held);
    let first = pool.run(1, move |_: &mut Counting| {
        block.wait();
    });
    let mut first = Box::pin(first);
    let mut second = Box::pin(pool.run(1, |slot: &mut Counting| slot.jobs.push(7)));
    for future in [&mut first as &mut (dyn Future<Output = _> + Unpin + Send), &mut second] {
        assert!(tokio::time::timeout(Duration::from_millis(20), future).await.is_err(), "it waits");
    }
    drop(second);
    held.wait();
    first.await.expect("runs");
    assert_eq!(pool.run(1, |slot: &mut Counting| slot.jobs.clone()).await.expect("runs"), [7]);
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
