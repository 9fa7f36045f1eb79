//! `.chronicleignore`: what its owner does not want in versions, in gitignore's syntax.
//!
//! The file at the workspace's top counts, and no other; it is itself always kept. What it names is left out of versions and stays
//! in `work/` as it is: nothing that goes back to a version takes it away. Must never take longer than it may, whatever the patterns are.

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use podium_kit::Clock;

use crate::beneath;
use crate::chronicle::Chronicle;
use crate::dirty::Generation;
use crate::error::{ChronicleError, Limited};
use crate::hash::ContentHash;
use crate::limits::{IGNORE_BYTES_MAX, IGNORE_LINE_BYTES_MAX, IGNORE_LINES_MAX};
use crate::node::Kind;
use crate::path::WorkPath;
use crate::trees::Trees;

/// Its name at the top of the workspace.
const NAME: &[u8] = b".chronicleignore";

/// Patterns in force.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    /// The text that they come from; empty when none hold.
    text: Vec<u8>,
    matcher: Option<Gitignore>,
    /// Why the file's patterns do not hold.
    refused: Option<String>,
}

impl Patterns {
    /// Those of a file's content. A line that is no pattern counts for nothing, as with git; too many hold not at all.
    fn of(text: Vec<u8>) -> Self {
        if text.len() > IGNORE_BYTES_MAX {
            return Self::refused(format!("it has more than {IGNORE_BYTES_MAX} bytes"));
        }
        let mut builder = GitignoreBuilder::new("");
        // As to git.
        builder.allow_unclosed_class(false);
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if index >= IGNORE_LINES_MAX {
                return Self::refused(format!("it has more than {IGNORE_LINES_MAX} lines"));
            }
            if line.len() > IGNORE_LINE_BYTES_MAX {
                return Self::refused(format!("line {} has more than {IGNORE_LINE_BYTES_MAX} bytes", index + 1));
            }
            if let Ok(line) = std::str::from_utf8(line) {
                // What is no pattern is no error to git either.
                drop(builder.add_line(None, line.trim_end_matches('\r')));
            }
        }
        match builder.build() {
            Ok(matcher) if matcher.is_empty() => Self::default(),
            Ok(matcher) => Self { text, matcher: Some(matcher), refused: None },
            Err(error) => Self::refused(error.to_string()),
        }
    }

    fn refused(why: String) -> Self {
        Self { refused: Some(why), ..Self::default() }
    }

    /// Why the file's patterns do not hold.
    pub(crate) fn refusal(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Whether they leave out the same.
    pub(crate) fn are_as(&self, other: &Self) -> bool {
        self.text == other.text
    }

    /// Whether they leave out this path, of which nothing above is left out.
    fn name(&self, path: &WorkPath, is_folder: bool) -> bool {
        let Some(matcher) = &self.matcher else { return false };
        path.as_bytes() != NAME && matcher.matched(Path::new(OsStr::from_bytes(path.as_bytes())), is_folder).is_ignore()
    }

    /// Whether they leave out this path or a folder above it.
    pub(crate) fn leave_out(&self, path: &WorkPath, is_folder: bool) -> bool {
        self.matcher.is_some()
            && (path.folders_above().any(|above| self.name(&above, true)) || self.name(path, is_folder))
    }
}

/// Patterns at work: one look's, with the time that they may take.
pub(crate) struct Ignoring<'a> {
    patterns: Arc<Patterns>,
    clock: &'a Clock,
    may_take: Duration,
    taken: Cell<Duration>,
    /// What is left out may be as much as it is: it is only looked at on the way back.
    pub(crate) is_lenient: bool,
}

impl<'a> Ignoring<'a> {
    pub(crate) fn new(patterns: Arc<Patterns>, clock: &'a Clock, may_take_ms: u64, is_lenient: bool) -> Self {
        Self { patterns, clock, may_take: Duration::from_millis(may_take_ms), taken: Cell::default(), is_lenient }
    }

    /// Whether this path is left out, of which nothing above is.
    pub(crate) fn names(&self, path: &WorkPath, is_folder: bool) -> Result<bool, ChronicleError> {
        if self.patterns.matcher.is_none() {
            return Ok(false);
        }
        let began = self.clock.monotonic();
        let is_named = self.patterns.name(path, is_folder);
        self.taken.set(self.taken.get() + self.clock.monotonic().saturating_sub(began));
        if self.taken.get() > self.may_take {
            let limit = u64::try_from(self.may_take.as_millis()).unwrap_or(u64::MAX);
            return Err(ChronicleError::OverLimit { what: Limited::IgnoreTime, limit });
        }
        Ok(is_named)
    }
}

/// Patterns that were looked up, and the content that they come from.
pub(crate) type Known = RefCell<Option<(ContentHash, Arc<Patterns>)>>;

impl Chronicle {
    /// The patterns of a version.
    pub(crate) fn patterns_of(&self, trees: &Trees<'_>, root: ContentHash) -> Result<Arc<Patterns>, ChronicleError> {
        let path = WorkPath::root().join(NAME)?;
        // Without them too much would be taken for what nobody wants: where they are damaged, what lies there now is the best that is known.
        let found = match trees.find(root, &path) {
            Err(ChronicleError::Damaged { .. }) => return self.patterns_in_work(),
            found => found?,
        };
        let Some(entry) = found.filter(|entry| entry.kind == Kind::File) else { return Ok(Arc::default()) };
        if let Some(known) = self.known_patterns(entry.hash) {
            return Ok(known);
        }
        let patterns = if entry.size > u64::try_from(IGNORE_BYTES_MAX).unwrap_or(u64::MAX) {
            Arc::new(Patterns::refused(format!("it has more than {IGNORE_BYTES_MAX} bytes")))
        } else {
            match self.read_content(entry.hash, 0, IGNORE_BYTES_MAX) {
                Ok(text) => Arc::new(Patterns::of(text)),
                Err(ChronicleError::Damaged { .. }) => return self.patterns_in_work(),
                Err(error) => return Err(error),
            }
        };
        self.patterns.replace(Some((entry.hash, Arc::clone(&patterns))));
        Ok(patterns)
    }

    /// The patterns that hold for the version to be made: those of `work/` where they may have changed, else those of the last one.
    pub(crate) fn patterns_now(
        &self,
        trees: &Trees<'_>,
        generation: &Generation,
    ) -> Result<Arc<Patterns>, ChronicleError> {
        let may_have_changed = generation.scan || generation.paths.contains_key(&WorkPath::root().join(NAME)?);
        if may_have_changed { self.patterns_in_work() } else { self.patterns_of(trees, self.tip.root) }
    }

    fn patterns_in_work(&self) -> Result<Arc<Patterns>, ChronicleError> {
        let path = WorkPath::root().join(NAME)?;
        let failed = |error| ChronicleError::work(&path, error);
        let file = match beneath::file_in(self.work.root(), NAME) {
            Ok(file) => file,
            // A link, something without content, or nobody's to read: it is as if there were none.
            Err(_) => return Ok(Arc::default()),
        };
        if beneath::meta_of(file.as_fd()).map_err(|error| failed(error.into()))?.kind != Ok(Kind::File) {
            return Ok(Arc::default());
        }
        let mut text = Vec::new();
        // One more than there may be, to know that there is more.
        let most = u64::try_from(IGNORE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::from(file).take(most).read_to_end(&mut text).map_err(failed)?;
        let hash = ContentHash::of(&text);
        if let Some(known) = self.known_patterns(hash) {
            return Ok(known);
        }
        let patterns = Arc::new(Patterns::of(text));
        // Of a longer text this is not its name.
        if patterns.refusal().is_none() {
            self.patterns.replace(Some((hash, Arc::clone(&patterns))));
        }
        Ok(patterns)
    }

    fn known_patterns(&self, hash: ContentHash) -> Option<Arc<Patterns>> {
        let known = self.patterns.borrow();
        known.as_ref().filter(|(of, _)| *of == hash).map(|(_, patterns)| Arc::clone(patterns))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves_out(text: &str, path: &str, is_folder: bool) -> bool {
        Patterns::of(text.into()).leave_out(&path.parse().unwrap(), is_folder)
    }

    #[test]
    fn patterns_are_those_of_git() {
        for (text, path, is_folder, expected) in [
            ("*.log", "a.log", false, true),
            ("*.log", "d/e/a.log", false, true),
            ("/a", "a", false, true),
            ("/a", "d/a", false, false),
            ("a/", "a", false, false),
            ("a/", "a", true, true),
            ("a/", "a/b/c", false, true),
            ("*.log\n!keep.log", "keep.log", false, false),
            // Nothing in a folder that is left out comes back.
            ("d/\n!d/keep", "d/keep", false, true),
            ("d/**/x", "d/1/2/x", false, true),
            ("# a\n\\#b\n  \n", "#b", false, true),
            ("a\r\n", "a", false, true),
            ("[", "[", false, false),
            ("*", ".chronicleignore", false, false),
            ("*", "d/.chronicleignore", false, true),
            ("", "a", false, false),
        ] {
            assert_eq!(leaves_out(text, path, is_folder), expected, "{text:?} {path}");
        }
        let bytes = Patterns::of(b"\xff*\n*.o".to_vec());
        assert!(bytes.leave_out(&WorkPath::new(b"\xfe.o").unwrap(), false));
    }

    #[test]
    fn too_many_patterns_are_none_and_that_is_said() {
        for text in [
            "a\n".repeat(IGNORE_LINES_MAX + 1),
            "a".repeat(IGNORE_LINE_BYTES_MAX + 1),
            "\n".repeat(IGNORE_BYTES_MAX + 1),
        ] {
            let patterns = Patterns::of(text.into_bytes());
            assert!(patterns.refusal().is_some() && !patterns.leave_out(&"a".parse().unwrap(), false));
            assert!(patterns.are_as(&Patterns::default()));
        }
    }

    proptest! {
        /// Whatever the bytes are: they come to something, and the file itself is kept.
        #[test]
        fn any_bytes_are_taken(text in prop::collection::vec(any::<u8>(), 0..400), path in "[a-c*./\\[]{1,12}") {
            let patterns = Patterns::of(text);
            let own: WorkPath = ".chronicleignore".parse().unwrap();
            prop_assert!(!patterns.leave_out(&own, false));
            if let Ok(path) = WorkPath::new(path.as_bytes()) {
                patterns.leave_out(&path, false);
            }
        }
    }
}
