//! Collections: what is needed stays, whatever else is true, and what is not needed goes, from the database too.

use std::time::Duration;

use super::store::{NEWEST, noise};
use super::{Bench, SCAN, path};
use crate::{Limits, Retention};

/// Bytes of the database that hold something.
fn database_bytes(bench: &mut Bench) -> u64 {
    let connection = bench.get().database.connection();
    let ask = |what: &str| connection.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, u64>(0)).unwrap();
    (ask("page_count") - ask("freelist_count")) * ask("page_size")
}

fn rows_of(bench: &mut Bench, table: &str) -> u64 {
    let connection = bench.get().database.connection();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn what_was_restored_stays_until_it_is_a_version() {
    let mut bench = Bench::new();
    bench.write("d/a", noise(1, 50_000));
    bench.write("large", noise(2, 900_000));
    let old = bench.cut();
    bench.write("d/a", "now");
    bench.write("large", "now");
    bench.cut();
    bench.get().restore(old.version, None).unwrap();
    assert_eq!(bench.get().collect(&NEWEST, u64::MAX).unwrap().versions, 1);
    // Its files are vouched for, so nothing reads them again.
    assert_eq!(bench.cut().root, old.root);
    assert_eq!(bench.get().fsck().unwrap().faults, []);
    bench.assert_at_head();
}

#[test]
fn a_folder_that_is_gone_leaves_no_row() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.write("d/b", "1");
    bench.cut();
    let before = rows_of(&mut bench, "stat");
    for round in 0..3 {
        for n in 0..20 {
            bench.write(&format!("x{round}/y{n}/z"), "of a turn that fails");
        }
        bench.get().roll_back().unwrap();
    }
    assert_eq!(rows_of(&mut bench, "stat"), before);
    // One whose end nobody told of.
    bench.write("gone/f", "1");
    bench.cut();
    std::fs::remove_dir_all(bench.work().join("gone")).unwrap();
    bench.get().collect(&NEWEST, u64::MAX).unwrap();
    assert_eq!(rows_of(&mut bench, "stat"), before);
}

#[test]
fn a_collection_that_is_cut_short_leaves_no_folder_without_what_is_in_it() {
    let mut bench = Bench::new();
    for n in 0..100 {
        bench.write(&format!("d{}/e{n}/f", n % 10), format!("{n}"));
    }
    let old = bench.cut();
    for n in 0..10 {
        std::fs::rename(bench.work().join(format!("d{n}")), bench.folder.path().join(format!("d{n}"))).unwrap();
    }
    bench.cut_with(SCAN);
    let mut moments = 0;
    crate::failpoint::testing::set(move |name| {
        moments += u32::from(name == "gc.removing");
        if moments == 50 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    });
    let failed = bench.get().collect(&NEWEST, u64::MAX);
    crate::failpoint::testing::clear();
    assert!(failed.is_err());
    for n in 0..10 {
        std::fs::rename(bench.folder.path().join(format!("d{n}")), bench.work().join(format!("d{n}"))).unwrap();
    }
    assert_eq!(bench.cut_with(SCAN).root, old.root);
    assert_eq!(bench.get().fsck().unwrap().faults_count, 0);
}

#[test]
fn beneath_a_damaged_tree_nothing_is_collected() {
    let mut bench = Bench::new();
    bench.write("d/a", noise(1, 50_000));
    let old = bench.cut();
    bench.write("d/a", noise(2, 50_000));
    bench.cut();
    let connection = bench.get().database.connection();
    let sound: Vec<u8> =
        connection.query_row("SELECT data FROM tree WHERE hash = ?1", [old.root], |row| row.get(0)).unwrap();
    connection.execute("UPDATE tree SET data = x'01ff' WHERE hash = ?1", [old.root]).unwrap();
    bench.get().collect(&Retention::default(), u64::MAX).unwrap();
    assert_eq!(bench.get().fsck().unwrap().faults_count, 1);
    // As if the row had been brought back from a copy.
    let connection = bench.get().database.connection();
    connection.execute("UPDATE tree SET data = ?2 WHERE hash = ?1", rusqlite::params![old.root, sound]).unwrap();
    assert_eq!(bench.get().fsck().unwrap().faults, []);
    assert_eq!(bench.get().read(old.root, &path("d/a"), 0, 50_000).unwrap(), noise(1, 50_000));
    // Damage that no version needs is in nobody's way.
    let connection = bench.get().database.connection();
    connection.execute("UPDATE tree SET data = x'01ff' WHERE hash = ?1", [old.root]).unwrap();
    assert!(bench.get().collect(&NEWEST, u64::MAX).unwrap().trees > 0);
    assert_eq!(bench.get().fsck().unwrap().faults, []);
}

#[test]
fn what_is_damaged_is_stored_anew_when_the_workspace_still_has_it() {
    let mut bench = Bench::new();
    bench.write("d/e/a", noise(1, 50_000));
    bench.write("d/large", noise(2, 900_000));
    bench.write("b", noise(3, 5000));
    let version = bench.cut();
    let large = bench.get().entry(version.root, &path("d/large")).unwrap().unwrap();
    let connection = bench.get().database.connection();
    connection.execute("UPDATE tree SET data = x'01ff'", []).unwrap();
    connection.execute("UPDATE object SET len = len - 1 WHERE hash = ?1", [large.hash]).unwrap();
    for _ in 0..2 {
        // What a damaged tree names is found when that is whole again.
        bench.get().collect(&Retention::default(), u64::MAX).unwrap();
        bench.cut();
    }
    let checked = bench.get().fsck().unwrap();
    assert_eq!((checked.faults, checked.trees, checked.contents), (vec![], 3, 3));
    bench.assert_at_head();
    assert!(!bench.dirty.is_dirty());
}

#[test]
fn a_segment_with_lost_content_is_kept_and_the_content_stored_anew() {
    let mut bench = Bench::new();
    bench.write("a", noise(1, 50_000));
    bench.write("b", noise(2, 50_000));
    bench.write("once", noise(3, 400_000));
    bench.cut();
    bench.remove("once");
    let version = bench.cut();
    let lost = bench.get().entry(version.root, &path("a")).unwrap().unwrap().hash;
    let connection = bench.get().database.connection();
    connection.execute("UPDATE object SET off = off + 9000000 WHERE hash = ?1", [lost]).unwrap();
    bench.get().collect(&NEWEST, u64::MAX).unwrap();
    assert_eq!(bench.get().fsck().unwrap().faults_count, 1);
    bench.cut();
    assert_eq!(bench.get().fsck().unwrap().faults, []);
    assert!(bench.get().collect(&NEWEST, u64::MAX).unwrap().segments > 0);
    assert_eq!(bench.get().fsck().unwrap().faults, []);
}

#[test]
fn the_database_is_part_of_the_stores_bytes() {
    let mut bench = Bench::new();
    bench.limits = Limits { store_bytes: 700_000, ..Limits::default() };
    bench.open();
    for n in 0..300 {
        bench.write(&format!("d0/f{n}"), "");
    }
    bench.cut();
    for round in 0..12 {
        let (from, to) = (format!("d{round}"), format!("d{}", round + 1));
        std::fs::rename(bench.work().join(&from), bench.work().join(&to)).unwrap();
        bench.dirty.renamed_folder(&path(&from), &path(&to));
        bench.cut();
        let bytes = database_bytes(&mut bench) + bench.get().stats().unwrap().segment_bytes;
        assert!(bytes <= 700_000, "{bytes} after round {round}");
    }
    assert_eq!(bench.get().fsck().unwrap().faults, []);
    bench.assert_at_head();
}

#[test]
fn a_store_without_room_keeps_nobody_from_going_back() {
    let mut bench = Bench::new();
    bench.write("a", "1");
    bench.cut();
    for n in 0..300 {
        bench.write(&format!("d/e{n}/f"), "");
    }
    let store_bytes = database_bytes(&mut bench) + 20_000;
    bench.limits = Limits { store_bytes, ..Limits::default() };
    assert!(bench.open().too_large_to_keep);
    bench.assert_at_head();
    bench.write("a", "2");
    bench.cut();
    bench.assert_at_head();
}

#[test]
fn iterations_of_paths_that_are_gone_go_with_their_versions() {
    let mut bench = Bench::new();
    bench.write("stays", "1");
    bench.cut();
    let day = Retention { all_ms: 0, newest: 1, hourly_ms: 1000 * 3_600_000, daily_ms: 0, recovered: 0 };
    for round in 0..6 {
        // The hour's last version has the file; the next one's, which has it no more, does not end its hour.
        bench.write(&format!("f{round}"), "1");
        bench.cut();
        bench.clock.advance(Duration::from_secs(3600));
        bench.remove(&format!("f{round}"));
        bench.cut();
        bench.write("stays", format!("{round}"));
        bench.cut();
    }
    bench.get().collect(&day, u64::MAX).unwrap();
    // A path that is gone is told of as long as a version has it.
    let gone = bench.get().iterations(&path("f0"), 0, 10).unwrap();
    assert_eq!(gone.iter().map(|it| it.op.as_str()).collect::<String>(), "AD");
    bench.get().collect(&NEWEST, u64::MAX).unwrap();
    assert_eq!(bench.get().iterations(&path("f0"), 0, 10).unwrap(), []);
    assert_eq!(rows_of(&mut bench, "change"), 1);
}
