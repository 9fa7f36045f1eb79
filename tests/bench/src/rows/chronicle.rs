//! Rows that need the versioned workspace: they are named, so that nobody takes them for forgotten.

use crate::report::{Bar, Figure, Line};

pub(super) fn run() -> Vec<Line> {
    let missing = || Figure::Missing("not built yet: needs Chronicle".to_owned());
    vec![
        Line::new("after kill -9, an agent with 10,000 files, ms", "", missing()).bar(Bar::AtMost(20.0)),
        Line::new("fork or rewind with 1 GB of workspace, ms", "", missing()).bar(Bar::AtMost(10.0)),
    ]
}
