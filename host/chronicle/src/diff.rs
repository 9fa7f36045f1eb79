//! What differs between two versions: paths with what happened, renames among them, and texts line by line.

use std::collections::HashMap;
use std::time::Duration;

use crate::chronicle::Chronicle;
use crate::error::ChronicleError;
use crate::hash::ContentHash;
use crate::limits::{DIFFERENCES_MAX, TEXT_DIFF_BYTES_MAX, TEXT_DIFF_MS};
use crate::node::Kind;
use crate::path::WorkPath;
use crate::tree::Entry;
use crate::trees::{Difference, Trees};
use crate::version::Op;

/// A path that differs between two versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChange {
    /// Where it is now, or was before it was deleted.
    pub path: WorkPath,
    /// What happened; of a rename, whether its attributes changed too.
    pub op: Op,
    /// Where the same content was before, when it was only moved.
    pub renamed_from: Option<WorkPath>,
    /// The entry before.
    pub old: Option<Entry>,
    /// The entry now.
    pub new: Option<Entry>,
}

/// How two contents differ, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextDiff {
    /// A unified difference.
    Text(String),
    /// One of them is no text.
    Binary,
    /// One of them is larger than [`TEXT_DIFF_BYTES_MAX`].
    TooLarge,
}

impl Chronicle {
    /// What differs between two trees, by path. A file or link that has exactly the content of one that is gone is a rename.
    pub fn diff(&self, old: ContentHash, new: ContentHash) -> Result<Vec<FileChange>, ChronicleError> {
        let differences = Trees::new(&self.database).diff(&WorkPath::root(), old, new, DIFFERENCES_MAX)?;
        Ok(with_renames(&differences))
    }

    /// The lines in which a change differs.
    pub fn text_diff(&self, change: &FileChange) -> Result<TextDiff, ChronicleError> {
        let old_path = change.renamed_from.as_ref().unwrap_or(&change.path);
        let old = self.text_of(change.old.as_ref(), old_path)?;
        let new = self.text_of(change.new.as_ref(), &change.path)?;
        let (old, new) = match (old, new) {
            (Ok(old), Ok(new)) => (old, new),
            (Err(TextDiff::TooLarge), _) | (_, Err(TextDiff::TooLarge)) => return Ok(TextDiff::TooLarge),
            _ => return Ok(TextDiff::Binary),
        };
        let name = |path: &WorkPath, side: &str, there: bool| {
            if there { format!("{side}/{path}") } else { "/dev/null".to_owned() }
        };
        let diff = similar::TextDiff::configure().timeout(Duration::from_millis(TEXT_DIFF_MS)).diff_lines(&old, &new);
        let text = diff
            .unified_diff()
            .header(&name(old_path, "a", change.old.is_some()), &name(&change.path, "b", change.new.is_some()))
            .to_string();
        Ok(TextDiff::Text(text))
    }

    fn text_of(&self, entry: Option<&Entry>, path: &WorkPath) -> Result<Result<String, TextDiff>, ChronicleError> {
        let Some(entry) = entry.filter(|entry| entry.kind != Kind::Folder) else { return Ok(Ok(String::new())) };
        let limit = u64::try_from(TEXT_DIFF_BYTES_MAX).unwrap_or(u64::MAX);
        if entry.size > limit {
            return Ok(Err(TextDiff::TooLarge));
        }
        let bytes = self.read_content(entry.hash, 0, TEXT_DIFF_BYTES_MAX).map_err(|error| error.at(path))?;
        if bytes.contains(&0) {
            return Ok(Err(TextDiff::Binary));
        }
        Ok(String::from_utf8(bytes).map_err(|_| TextDiff::Binary))
    }
}

fn with_renames(differences: &[Difference]) -> Vec<FileChange> {
    // Empty files are all alike; a match says nothing.
    let moved = |entry: &Entry| entry.kind != Kind::Folder && entry.size > 0;
    let mut gone: HashMap<(Kind, ContentHash), Vec<usize>> = HashMap::new();
    for (index, difference) in differences.iter().enumerate().rev() {
        if let (Some(old), None) = (&difference.old, &difference.new)
            && moved(old)
        {
            gone.entry((old.kind, old.hash)).or_default().push(index);
        }
    }
    let mut taken = vec![false; differences.len()];
    let mut sources: HashMap<usize, usize> = HashMap::new();
    for (index, difference) in differences.iter().enumerate() {
        if let (None, Some(new)) = (&difference.old, &difference.new)
            && moved(new)
            && let Some(source) = gone.get_mut(&(new.kind, new.hash)).and_then(Vec::pop)
        {
            taken[source] = true;
            sources.insert(index, source);
        }
    }
    let mut changes = Vec::with_capacity(differences.len());
    for (index, difference) in differences.iter().enumerate() {
        if taken[index] {
            continue;
        }
        let source = sources.get(&index).map(|source| &differences[*source]);
        let old = source.map_or(&difference.old, |source| &source.old).clone();
        changes.push(FileChange {
            path: difference.path.clone(),
            op: Op::between(old.as_ref(), difference.new.as_ref()),
            renamed_from: source.map(|source| source.path.clone()),
            old,
            new: difference.new.clone(),
        });
    }
    changes
}
