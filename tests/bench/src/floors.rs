//! The floors below every durable turn: what the disk and a bare SQLite commit cost here and now.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;

use crate::rows::{CONNECTIONS, LOAD};
use crate::stats::{Times, per_second};

/// Commits and syncs that are timed one after another.
const SERIAL: usize = 500;

/// Bytes of a row: about what a turn writes.
const ROW_BYTES: usize = 1024;

/// What was found.
#[derive(Debug, Clone)]
pub struct Floors {
    /// Append of 4 KiB and fdatasync.
    pub fdatasync: Times,
    /// One row in WAL mode with synchronous=FULL.
    pub commit: Times,
}

/// Measures both in this folder, one after another.
pub fn serial(folder: &Path) -> Floors {
    Floors { fdatasync: fdatasync(folder), commit: serial_commits(folder) }
}

fn fdatasync(folder: &Path) -> Times {
    let path = folder.join("floor");
    let mut file = File::create(&path).expect("a file");
    let times = (0..SERIAL)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[7; 4096]).expect("it is written");
            file.sync_data().expect("it is synced");
            start.elapsed()
        })
        .collect();
    std::fs::remove_file(path).expect("it goes");
    Times::new(times)
}

fn database(folder: &Path, name: usize) -> Connection {
    let connection = Connection::open(folder.join(format!("floor-{name}.db"))).expect("a database");
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; \
             CREATE TABLE rows (seq INTEGER PRIMARY KEY, body BLOB NOT NULL)",
        )
        .expect("a schema");
    connection
}

fn commit(connection: &Connection) {
    let mut insert = connection.prepare_cached("INSERT INTO rows (body) VALUES (?1)").expect("a statement");
    insert.execute([[7_u8; ROW_BYTES].as_slice()]).expect("a row");
}

fn serial_commits(folder: &Path) -> Times {
    let connection = database(folder, 0);
    commit(&connection);
    Times::new(
        (0..SERIAL)
            .map(|_| {
                let start = Instant::now();
                commit(&connection);
                start.elapsed()
            })
            .collect(),
    )
}

/// Commits a second from as many databases and threads as a load has connections.
pub fn commits_per_second(folder: &Path) -> f64 {
    let start = Instant::now();
    let committed: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (1..=CONNECTIONS)
            .map(|name| {
                scope.spawn(move || {
                    let connection = database(folder, name);
                    let mut committed = 0_u64;
                    while start.elapsed() < LOAD {
                        commit(&connection);
                        committed += 1;
                    }
                    committed
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a thread ends")).sum()
    });
    per_second(committed, start.elapsed())
}
