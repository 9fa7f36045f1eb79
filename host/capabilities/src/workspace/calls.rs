//! `workspace`: what a guest may ask of the history of its own files, and the way back.
//!
//! These calls wait for nobody, as file calls do not, and what they change is the turn's: rolled back with it. Must never answer more
//! than a page, nor tell of versions that are not the turn's to see.

use podium_chronicle::{ChronicleError, Kind, Sight, WorkPath};
use podium_wire::rest::IterationPage;
use podium_wire::updates::FileChange;
use podium_wire::{ErrorCode, WireError};

use super::{Quota, told};
use crate::error::CallError;
use crate::limits::{WORKSPACE_CALL_BYTES_MAX, WORKSPACE_CHANGES_MAX, WORKSPACE_ITERATIONS_MAX, WORKSPACE_STEPS_MAX};
use crate::turn::Turn;

/// Files that differ between two moments.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// At most [`WORKSPACE_CHANGES_MAX`], by path.
    pub changes: Vec<FileChange>,
    /// How many further ones there are.
    pub more: u64,
}

impl Turn {
    /// Makes a version of what the workspace holds now, for the turn's cut; gives its moment, 0 while there never was a file.
    ///
    /// # Errors
    /// `POD-4025` after [`WORKSPACE_STEPS_MAX`] versions of this attempt, or for more than a workspace may hold.
    pub fn workspace_commit(&self) -> Result<u64, CallError> {
        self.check_open()?;
        self.step()
    }

    fn step(&self) -> Result<u64, CallError> {
        self.count_step()?;
        let spec = self.spec();
        spec.workspace.step(spec.turn).map_err(refused)
    }

    /// One more version before the cut, if there may be one.
    fn count_step(&self) -> Result<(), CallError> {
        if self.next_step() < WORKSPACE_STEPS_MAX {
            return Ok(());
        }
        let message = format!("a turn makes at most {WORKSPACE_STEPS_MAX} versions before its end");
        Err(CallError::refused(ErrorCode::WorkspaceLimit, message))
    }

    /// The iterations of a path with an index above `after`, oldest first.
    ///
    /// # Errors
    /// `POD-1001` for a limit outside 1 to [`WORKSPACE_ITERATIONS_MAX`], `POD-3011` for what is no path.
    pub fn workspace_history(&self, path: &str, after: u64, limit: u32) -> Result<IterationPage, CallError> {
        self.check_open()?;
        let path = work_path(path)?;
        let limit = bounded("iterations", limit, WORKSPACE_ITERATIONS_MAX)?;
        let page = self.spec().workspace.read(|chronicle| chronicle.told(&path, after, limit, Sight::Turn));
        let mut page = page.map_err(refused)?.unwrap_or(IterationPage { iterations: Vec::new(), next: None });
        for iteration in &mut page.iterations {
            // Its own versions are of the host's time, which is another one when the turn is run again.
            iteration.timestamp_ms = iteration.timestamp_ms.min(self.spec().now_ms);
        }
        Ok(page)
    }

    /// At most `len` bytes of a file as it was at a moment.
    ///
    /// # Errors
    /// `POD-1001` for a length outside 1 to [`WORKSPACE_CALL_BYTES_MAX`], `POD-3012` when it was not there, `POD-3015` for what has no content,
    /// `POD-3031` for a moment that is not known, `POD-5011` for damaged content.
    pub fn workspace_read_at(&self, path: &str, moment: u64, offset: u64, len: u32) -> Result<Vec<u8>, CallError> {
        self.check_open()?;
        let of = work_path(path)?;
        let len = bounded("bytes", len, WORKSPACE_CALL_BYTES_MAX)?;
        let read = self.spec().workspace.read(|chronicle| match chronicle.at_iteration(&of, moment, Sight::Turn)? {
            None => Err(ChronicleError::NotThere { path: of.clone(), what: "file" }),
            Some(file) if file.kind != Kind::File => Ok(None),
            Some(file) => chronicle.read_content(file.hash, offset, len).map(Some).map_err(|error| error.at(&of)),
        });
        match read.map_err(refused)? {
            Some(Some(bytes)) => Ok(bytes),
            Some(None) => Err(CallError::refused(ErrorCode::NotAFile, format!("`{of}` was not a file then"))),
            None => Err(refused(ChronicleError::NoIteration(moment))),
        }
    }

    /// The files that differ between two moments: none as `earlier` is the last cut, none as `later` is now.
    ///
    /// # Errors
    /// `POD-3031` for a moment that is not known; as [`Turn::workspace_commit`], which `later` as now does first.
    pub fn workspace_diff(&self, earlier: Option<u64>, later: Option<u64>) -> Result<Changes, CallError> {
        self.check_open()?;
        if later.is_none() {
            self.step()?;
        }
        let differences = self.spec().workspace.read(|chronicle| {
            let at = |moment: Option<u64>, none| match moment {
                Some(moment) => chronicle.root_at(moment, Sight::Turn),
                None => Ok(none),
            };
            chronicle.diff(at(earlier, chronicle.head().1)?, at(later, chronicle.tip().1)?)
        });
        let differences = match (differences.map_err(refused)?, earlier.or(later)) {
            (Some(differences), _) => differences,
            // Nobody ever used a file.
            (None, Some(moment)) => return Err(refused(ChronicleError::NoIteration(moment))),
            (None, None) => Vec::new(),
        };
        let mut changes = told::changes(&differences, WORKSPACE_CHANGES_MAX);
        let more = changes.last_mut().and_then(|last| last.more.take()).unwrap_or(0);
        Ok(Changes { changes, more })
    }

    /// Brings a path, with what is beneath it, to what it was at a moment.
    ///
    /// # Errors
    /// As [`Turn::workspace_read_at`] and [`Turn::workspace_commit`]. What is damaged beneath a folder is named, and stays as it is; the rest is
    /// brought back. `POD-4025`, too, when the workspace holds more than it may then: it stays so, and what has no room is not written.
    pub fn workspace_restore(&self, quota: &Quota, path: &str, moment: u64) -> Result<(), CallError> {
        self.check_open()?;
        let path = work_path(path)?;
        self.count_step()?;
        let restored = self.spec().workspace.restore(&path, moment, Sight::Turn);
        // Not by the calls that the count knows of.
        let counted = quota.recount();
        restored.and_then(|brought| brought.all_readable()).map_err(refused)?;
        counted.map_err(|_| quota.refusal().into())
    }
}

/// A failure as the guest is told of it.
#[expect(clippy::needless_pass_by_value, reason = "an error is mapped by it")]
pub(super) fn refused(error: ChronicleError) -> CallError {
    let code = error.code();
    if code.number() / 1000 == 5 && !matches!(error, ChronicleError::Unreadable { .. }) {
        // The guest is told of it and may go on, so nobody else says it; of what cannot be brought back each file was said.
        tracing::error!(%code, %error, "a guest's call on its workspace failed");
    }
    CallError::Refused(WireError::new(code, error.to_string()))
}

/// A path that an entry can have.
pub(super) fn work_path(path: &str) -> Result<WorkPath, CallError> {
    match path.parse::<WorkPath>() {
        Ok(path) if !path.is_root() && !path.is_reserved() => Ok(path),
        _ => {
            let shown: String = path.chars().take(80).collect();
            let message = format!("`{}` is no path in the workspace", shown.escape_debug());
            Err(CallError::refused(ErrorCode::InvalidPath, message))
        }
    }
}

/// How much is asked for, if that is neither nothing nor too much.
pub(super) fn bounded(what: &str, asked: u32, most: u32) -> Result<usize, CallError> {
    if (1..=most).contains(&asked) {
        return Ok(usize::try_from(asked).unwrap_or(usize::MAX));
    }
    Err(CallError::refused(ErrorCode::BadRequest, format!("1 to {most} {what} are read at once, not {asked}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::bench::{Bench, code};

    #[test]
    fn a_turn_sees_its_own_steps_and_goes_back() {
        let bench = Bench::new();
        let turn = &bench.turn;
        assert_eq!(turn.workspace_commit().expect("nothing"), 0);
        assert!(!bench.folder.path().join("chronicle").exists());
        bench.write("a", "one");
        let first = turn.workspace_commit().expect("commits");
        assert_eq!(turn.workspace_commit().expect("nothing new"), first);
        bench.write("a", "two");
        bench.write("b", "2");
        let changed = turn.workspace_diff(Some(first), None).expect("compares");
        assert_eq!(
            (changed.changes.iter().map(|it| it.path.as_str()).collect::<Vec<_>>(), changed.more),
            (vec!["a", "b"], 0)
        );
        let since = turn.workspace_diff(None, None).expect("compares");
        assert_eq!(since.changes.len(), 2, "the last cut had nothing");
        let page = turn.workspace_history("a", 0, 1).expect("reads");
        assert_eq!((page.iterations.len(), page.next), (1, Some(1)));
        assert_eq!(turn.workspace_read_at("a", first, 1, 100).expect("reads"), b"ne");
        turn.workspace_restore(&bench.quota, "a", first).expect("restores");
        assert_eq!(bench.read("a").as_deref(), Some("one"));
        assert_eq!(bench.read("b").as_deref(), Some("2"));
        turn.workspace_restore(&bench.quota, "b", first).expect("restores");
        assert_eq!(bench.read("b"), None);
        // The turn fails, and all of it is gone.
        turn.spec().workspace.roll_back().expect("goes back");
        assert_eq!(bench.read("a"), None);
        assert_eq!(code(turn.workspace_read_at("a", first, 0, 1)), Some(ErrorCode::IterationNotFound));
    }

    #[test]
    fn a_turn_that_is_run_again_has_the_same_moments_and_times() {
        let mut bench = Bench::new();
        bench.write("kept", "1");
        bench.cut(1);
        let work = |bench: &Bench| {
            let turn = &bench.turn;
            bench.write("a", "one");
            let first = turn.workspace_commit().expect("commits");
            bench.write("b", "two");
            let second = turn.workspace_commit().expect("commits");
            turn.workspace_restore(&bench.quota, "a", first - 1).expect("restores");
            let third = turn.workspace_commit().expect("commits");
            let told = ["kept", "a", "b"].map(|path| turn.workspace_history(path, 0, 10).expect("reads").iterations);
            let told = told.map(|it| it.into_iter().map(|it| (it.n, it.index, it.timestamp_ms)).collect::<Vec<_>>());
            ([first, second, third], told)
        };
        let once = work(&bench);
        assert_eq!(once.0, [2, 3, 4]);
        for _ in 0..3 {
            bench.again();
            assert_eq!(work(&bench), once);
        }
        bench.cut(2);
        // Those of another turn go on behind.
        bench.again();
        bench.write("c", "three");
        assert_eq!(bench.turn.workspace_commit().expect("commits"), 5);
    }

    #[test]
    fn versions_of_a_turn_are_counted() {
        let bench = Bench::new();
        for _ in 0..WORKSPACE_STEPS_MAX {
            bench.turn.workspace_commit().expect("commits");
        }
        assert_eq!(code(bench.turn.workspace_commit()), Some(ErrorCode::WorkspaceLimit));
        assert_eq!(code(bench.turn.workspace_diff(None, None)), Some(ErrorCode::WorkspaceLimit));
        assert_eq!(code(bench.turn.workspace_restore(&bench.quota, "a", 1)), Some(ErrorCode::WorkspaceLimit));
    }

    #[test]
    fn what_a_restore_brings_counts() {
        let bench = Bench::with(|limits| limits.workspace_bytes = 1_000);
        let turn = &bench.turn;
        turn.workspace_write(&bench.quota, "a", None, &[1; 600]).expect("fits");
        let before = turn.workspace_commit().expect("commits");
        turn.workspace_remove(&bench.quota, "a").expect("removes");
        turn.workspace_write(&bench.quota, "b", None, &[2; 700]).expect("fits");
        assert_eq!(code(turn.workspace_restore(&bench.quota, "a", before)), Some(ErrorCode::WorkspaceLimit));
        assert_eq!(code(turn.workspace_write(&bench.quota, "c", None, &[3])), Some(ErrorCode::WorkspaceLimit));
        turn.workspace_remove(&bench.quota, "b").expect("removes");
        turn.workspace_write(&bench.quota, "c", None, &[3; 400]).expect("fits again, to the byte");
        assert_eq!(code(turn.workspace_write(&bench.quota, "c", Some(400), &[3])), Some(ErrorCode::WorkspaceLimit));
    }

    #[test]
    fn what_is_asked_is_checked() {
        let bench = Bench::new();
        let turn = &bench.turn;
        bench.write("a", "one");
        let moment = turn.workspace_commit().expect("commits");
        for path in ["", "/a", "../a", "a/../b", ".chronicle/at"] {
            assert_eq!(code(turn.workspace_history(path, 0, 1)), Some(ErrorCode::InvalidPath), "{path}");
            assert_eq!(
                code(turn.workspace_restore(&bench.quota, path, moment)),
                Some(ErrorCode::InvalidPath),
                "{path}"
            );
        }
        for limit in [0, WORKSPACE_ITERATIONS_MAX + 1] {
            assert_eq!(code(turn.workspace_history("a", 0, limit)), Some(ErrorCode::BadRequest));
        }
        for len in [0, WORKSPACE_CALL_BYTES_MAX + 1] {
            assert_eq!(code(turn.workspace_read_at("a", moment, 0, len)), Some(ErrorCode::BadRequest));
        }
        assert_eq!(turn.workspace_read_at("a", moment, u64::MAX, 1).expect("is at its end"), b"");
        assert_eq!(code(turn.workspace_read_at("b", moment, 0, 1)), Some(ErrorCode::FileNotFound));
        assert_eq!(code(turn.workspace_restore(&bench.quota, "b", moment)), Some(ErrorCode::FileNotFound));
        assert_eq!(code(turn.workspace_diff(Some(99), None)), Some(ErrorCode::IterationNotFound));
        assert_eq!(code(turn.workspace_restore(&bench.quota, "a", u64::MAX)), Some(ErrorCode::IterationNotFound));
        turn.complete();
        assert_eq!(turn.workspace_commit(), Err(CallError::Closed));
        assert_eq!(turn.workspace_restore(&bench.quota, "a", moment), Err(CallError::Closed));
    }
}
