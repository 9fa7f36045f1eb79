//! Collections: what is needed stays, whatever else is true, and what is not needed goes, from the database too.

use super::Bench;
use super::store::{NEWEST, noise};

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
