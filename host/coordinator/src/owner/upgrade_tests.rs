//! The order of rows, and what migrates.

use podium_store::{NewRow, OpenTurn};
use proptest::prelude::*;

use super::*;

fn row(seq: u64, kind: RowKind, begun: bool, parked: bool) -> Row {
    let new = NewRow {
        sender: String::new(),
        id: seq.to_string(),
        kind,
        body: String::new(),
        hashed: String::new(),
        at: 0,
        start: None,
    };
    let turn = OpenTurn { turn: seq, turn_id: String::new(), attempt: 1, base_cut: 1, seed: [0; 32], started: 0 };
    let mut row = Row::accepted(seq, new);
    row.turn = begun.then_some(turn);
    row.parked = parked;
    row
}

prop_compose! {
    /// A queue as it may be: only the first message may have begun or be parked, upgrades stand anywhere.
    fn queue()(first in 0_u8..3, kinds in prop::collection::vec(prop::bool::ANY, 0..8)) -> Vec<Row> {
        let mut rows = vec![row(1, RowKind::Message, first > 0, first == 2)];
        let kind = |upgrade: &bool| if *upgrade { RowKind::Upgrade } else { RowKind::Message };
        rows.extend(kinds.iter().zip(2..).map(|(upgrade, seq)| row(seq, kind(upgrade), false, false)));
        rows
    }
}

proptest! {
    #[test]
    fn a_crash_changes_nothing_of_the_order(rows in queue(), stopped: bool) {
        // The queue as it grows row by row, put in order at any time, and as a start reads it.
        let mut grown = Vec::new();
        for row in rows.clone() {
            grown.push(row);
            grown = ordered(grown, stopped);
        }
        let seqs = |rows: &[Row]| rows.iter().map(|row| row.seq).collect::<Vec<_>>();
        let read = ordered(rows, stopped);
        prop_assert_eq!(seqs(&grown), seqs(&read));
    }

    #[test]
    fn upgrades_overtake_all_but_a_turn_that_has_begun(rows in queue(), stopped: bool) {
        let begun = rows[0].turn.is_some() && !rows[0].parked && !stopped;
        let read = ordered(rows.clone(), stopped);
        let rest = &read[usize::from(begun)..];
        prop_assert_eq!(begun && read[0].seq != 1, false);
        let upgrades = rest.iter().take_while(|row| row.kind == RowKind::Upgrade).count();
        prop_assert!(rest[upgrades..].iter().all(|row| row.kind != RowKind::Upgrade));
        // Each kind in its own order.
        for part in [&rest[..upgrades], &rest[upgrades..]] {
            prop_assert!(part.windows(2).all(|pair| pair[0].seq < pair[1].seq));
        }
        prop_assert_eq!(read.len(), rows.len());
    }
}

#[test]
fn only_another_schema_version_is_migrated_and_only_by_those_who_can() {
    let described = |hooks: Vec<Hook>, version| Description {
        hooks,
        state_schema_version: version,
        config_schema: None,
        config_default: None,
    };
    let able = || vec![Hook::OnMessage, Hook::Migrate];
    assert_eq!(migrates(1, &described(able(), 2)), Some(1));
    assert_eq!(migrates(3, &described(able(), 2)), Some(3), "down as well as up");
    assert_eq!(migrates(2, &described(able(), 2)), None);
    assert_eq!(migrates(1, &described(vec![Hook::OnMessage], 2)), None);
}

#[test]
fn what_a_person_or_the_host_did_is_not_the_code_s_fault() {
    let fault = |code: ErrorCode| is_the_codes_fault(&WireError::new(code, ""));
    for code in [ErrorCode::GuestTrap, ErrorCode::GuestError, ErrorCode::CpuLimit, ErrorCode::GuestStuck] {
        assert!(fault(code), "{code}");
    }
    for code in [ErrorCode::Interrupted, ErrorCode::Internal, ErrorCode::StorageFull] {
        assert!(!fault(code), "{code}");
    }
}

#[test]
fn what_is_wanted_at_once_goes_before_a_turn_that_has_begun() {
    let hurrying = |seq, kind, begun| {
        let mut row = row(seq, kind, begun, false);
        row.hurries = true;
        row
    };
    let order = |rows: Vec<Row>| ordered(rows, false).iter().map(|row| row.seq).collect::<Vec<_>>();
    let message = |seq, begun| row(seq, RowKind::Message, begun, false);
    let plain = || row(3, RowKind::Upgrade, false, false);
    assert_eq!(order(vec![message(1, true), message(2, false), plain()]), [1, 3, 2]);
    // Upgrades stay in their order, whichever of them is in a hurry.
    let upgrade = hurrying(4, RowKind::Upgrade, false);
    assert_eq!(order(vec![message(1, true), message(2, false), plain(), upgrade]), [3, 4, 1, 2]);
    let config = |begun| hurrying(4, RowKind::ConfigChange, begun);
    assert_eq!(order(vec![message(1, true), message(2, false), config(false)]), [4, 1, 2]);
    assert_eq!(order(vec![message(1, true), message(2, false), plain(), config(false)]), [3, 4, 1, 2]);
    // A turn that took its place goes on first.
    assert_eq!(order(vec![message(1, true), plain(), config(true)]), [4, 3, 1]);
    // Nothing but an upgrade goes before what waits for a person.
    let parked = row(1, RowKind::Message, true, true);
    assert_eq!(order(vec![parked, message(2, false), plain(), config(false)]), [3, 1, 2, 4]);
    // Without a hurry a change waits in its place.
    let change = row(4, RowKind::ConfigChange, false, false);
    assert_eq!(order(vec![message(1, true), message(2, false), change]), [1, 2, 4]);
}
