//! A turn with a workspace, for the tests of its calls.

use std::path::PathBuf;
use std::time::Duration;

use podium_chronicle::{Limits, Named, Place, Totals, VersionKind};
use podium_kit::Clock;
use podium_wire::ErrorCode;

use super::{Quota, Workspace, Workspaces};
use crate::error::CallError;
use crate::testing::TestTurn;

/// The turn, and the hand of a guest that has files of its own.
pub(super) struct Bench {
    pub(super) folder: tempfile::TempDir,
    pub(super) turn: TestTurn,
    pub(super) quota: Quota,
    workspace: Workspace,
    clock: Clock,
    limits: Limits,
}

fn turn(workspace: &Workspace) -> TestTurn {
    let own = workspace.clone();
    TestTurn::with(move |spec| spec.workspace = own)
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Limits)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::manual(1_000);
        let place = Place::new(folder.path().join("chronicle"));
        let workspace = Workspaces::new(clock.clone(), 100).closed(place, Named::default());
        let mut limits = Limits::default();
        change(&mut limits);
        workspace.set_limits(limits);
        let quota = Quota::new(workspace.clone(), Totals::default(), &limits);
        Self { folder, turn: turn(&workspace), quota, workspace, clock, limits }
    }

    /// The turn is run again from its cut, a while later; or the next one begins.
    pub(super) fn again(&mut self) {
        self.workspace.roll_back().expect("goes back");
        self.clock.advance(Duration::from_secs(60));
        self.turn = turn(&self.workspace);
        let usage = self.workspace.read(podium_chronicle::Chronicle::usage).expect("counts").unwrap_or_default();
        self.quota = Quota::new(self.workspace.clone(), usage, &self.limits);
    }

    pub(super) fn cut(&self, cut: u64) {
        let prepared = self.workspace.prepare(VersionKind::Turn, cut, Some(cut)).expect("prepares").expect("changed");
        self.workspace.committed(cut, prepared.version);
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("chronicle/work").join(name)
    }

    pub(super) fn write(&self, name: &str, content: &str) {
        self.workspace.open().expect("opens");
        std::fs::write(self.path(name), content).expect("writes");
        self.workspace.dirty().touched(&name.parse().expect("a path"));
    }

    pub(super) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    /// What the next version would say of the workspace.
    pub(super) fn changed(&self) -> Vec<(String, char)> {
        let changes = self.turn.workspace_diff(None, None).expect("compares").changes;
        let letter = |kind| format!("{kind:?}").chars().next().unwrap_or_default();
        changes.into_iter().map(|it| (it.path, letter(it.kind))).collect()
    }
}

/// The code of a refusal.
pub(super) fn code<T: std::fmt::Debug>(refused: Result<T, CallError>) -> Option<ErrorCode> {
    match refused.expect_err("is refused") {
        CallError::Refused(error) => error.known_code(),
        other => panic!("{other}"),
    }
}
