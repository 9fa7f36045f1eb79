//! Going to the content of an earlier cut, as the next cut's.

use super::{Bench, TURN};
use crate::failpoint::testing;
use crate::{ChronicleError, Retention, empty_root};

/// Three cuts: what they are, and their trees.
fn three() -> (Bench, Vec<super::Files>, Vec<crate::ContentHash>) {
    let mut bench = Bench::new();
    let (mut files, mut roots) = (Vec::new(), Vec::new());
    for round in 0..3_u8 {
        bench.write("a", [round]);
        bench.write(&format!("d{round}/e"), [round; 3000]);
        roots.push(bench.cut().root);
        files.push(bench.files());
    }
    (bench, files, roots)
}

#[test]
fn back_and_forth_only_what_differs_is_written() {
    let (mut bench, files, roots) = three();
    for to in [0, 2, 1, 1, 0] {
        let cut = bench.named.cut + 1;
        let went = bench.get().go_back(roots[to], cut).expect("goes");
        assert_eq!((went.prepared.root, bench.files()), (roots[to], files[to].clone()));
        assert!(went.brought.written + went.brought.removed <= 6, "{:?}", went.brought);
        bench.name(&went.prepared);
        let cut = bench.named.cut;
        bench.get().commit(went.prepared.version, cut).expect("is named");
        bench.assert_at_head();
    }
    let cut = bench.named.cut + 1;
    let went = bench.get().go_back(empty_root(), cut).expect("to before the first file");
    assert!(bench.files().is_empty());
    bench.name(&went.prepared);
    bench.open();
    bench.assert_at_head();
}

#[test]
fn a_cut_that_is_not_made_leaves_the_last_one() {
    let (mut bench, files, roots) = three();
    bench.get().go_back(roots[0], 4).expect("goes");
    bench.get().roll_back().expect("comes back");
    assert_eq!(bench.files(), files[2]);
    bench.assert_at_head();
    for step in ["restore.started", "restore.placing", "restore.placed", "rewind.restored", "snapshot.packed"] {
        testing::set(move |name| if name == step { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) });
        let went = bench.get().go_back(roots[0], 4);
        testing::clear();
        if went.is_err() {
            bench.open();
        } else {
            // Nothing is new in it, so nothing was packed.
            bench.get().roll_back().expect("comes back");
        }
        assert_eq!(bench.files(), files[2], "{step}");
        bench.assert_at_head();
    }
}

#[test]
fn what_is_damaged_or_was_not_kept_is_not_gone_to() {
    let (mut bench, files, roots) = three();
    let pack = std::fs::read_dir(bench.metadata().join("cas")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&pack).unwrap();
    // The one byte of the first cut's `a`, behind its header.
    let mut at = 0;
    loop {
        let begin = at + usize::try_from(crate::pack::HEADER_BYTES).unwrap();
        let len = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        if bytes[begin..begin + len] == [0] {
            bytes[begin] = 9;
            break;
        }
        at = begin + len;
    }
    std::fs::write(&pack, bytes).unwrap();
    let refused = bench.get().go_back(roots[0], 4).expect_err("its content is damaged");
    assert!(matches!(refused, ChronicleError::Damaged { path: Some(_), .. }), "{refused}");
    assert_eq!(bench.files(), files[2], "and nothing has changed");
    bench.assert_at_head();

    let (mut bench, _, roots) = three();
    let newest = Retention { all_ms: 0, newest: 1, hourly_ms: 0, daily_ms: 0, recovered: 0 };
    assert!(bench.get().keeps(roots[0]).unwrap());
    bench.get().collect(&newest, u64::MAX).unwrap();
    assert!(!bench.get().keeps(roots[0]).unwrap());
    assert!(bench.get().keeps(roots[2]).unwrap() && bench.get().keeps(empty_root()).unwrap());
    bench.write("more", "of it");
    bench.cut_with(TURN);
}
