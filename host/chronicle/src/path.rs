//! Paths of a workspace: bytes, relative to its root, with no component that leads elsewhere.
//!
//! What a name means is never decided by its encoding: newlines, broken UTF-8 and case twins are ordinary names. Must never be
//! joined with a path of the host; [`crate::beneath`] resolves them under a handle.

use std::collections::BTreeSet;
use std::fmt;

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};

use crate::VIEW_NAME;
use crate::limits::{DEPTH_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX};

/// A path beneath a workspace's root, at most [`PATH_BYTES_MAX`] bytes and [`DEPTH_MAX`] components; the root itself is empty.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WorkPath(Box<[u8]>);

/// Why bytes are no path of a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A component is empty, `.`, `..`, or has a NUL or a slash within.
    #[error("a path of a workspace has only plain names")]
    Name,
    /// A component has more than [`NAME_BYTES_MAX`] bytes.
    #[error("a name has at most {NAME_BYTES_MAX} bytes")]
    NameTooLong,
    /// It has more than [`PATH_BYTES_MAX`] bytes.
    #[error("a path has at most {PATH_BYTES_MAX} bytes")]
    TooLong,
    /// It has more than [`DEPTH_MAX`] components.
    #[error("a path has at most {DEPTH_MAX} components")]
    TooDeep,
}

/// Whether bytes can be one component.
pub(crate) fn check_name(name: &[u8]) -> Result<(), PathError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(PathError::NameTooLong);
    }
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|byte| *byte == 0 || *byte == b'/') {
        return Err(PathError::Name);
    }
    Ok(())
}

impl WorkPath {
    /// The workspace itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// From bytes with `/` between names; nothing is normalised.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        let mut depth = 0;
        for name in bytes.split(|byte| *byte == b'/') {
            check_name(name)?;
            depth += 1;
        }
        if depth > DEPTH_MAX {
            return Err(PathError::TooDeep);
        }
        Ok(Self(bytes.into()))
    }

    /// The path of `name` in this folder.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        check_name(name)?;
        if self.depth() >= DEPTH_MAX {
            return Err(PathError::TooDeep);
        }
        let bytes = self.joined(name);
        if bytes.len() > PATH_BYTES_MAX { Err(PathError::TooLong) } else { Ok(Self(bytes.into())) }
    }

    fn joined(&self, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        bytes
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the workspace itself.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Its names, from the outermost.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// How many names it has.
    pub fn depth(&self) -> usize {
        if self.is_root() { 0 } else { self.0.iter().filter(|byte| **byte == b'/').count() + 1 }
    }

    /// About the bytes of memory that it takes in a set.
    pub(crate) fn cost(&self) -> usize {
        self.0.len() + 64
    }

    /// The folder that it is in, and its name there; none for the root.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Some((Self(self.0[..slash].into()), &self.0[slash + 1..])),
            None => Some((Self::root(), &self.0)),
        }
    }

    /// The folders above it but the root, from the outermost.
    pub(crate) fn folders_above(&self) -> impl Iterator<Item = Self> + '_ {
        let slashes = self.0.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        slashes.map(|(at, _)| Self(self.0[..at].into()))
    }

    /// True when this is `folder` or lies in it.
    pub fn is_within(&self, folder: &Self) -> bool {
        folder.is_root() || (self.0.starts_with(&folder.0) && matches!(self.0.get(folder.0.len()), None | Some(b'/')))
    }

    /// True for [`VIEW_NAME`] at the root and what is in it: there the history is shown, and nothing can be made.
    pub fn is_reserved(&self) -> bool {
        self.names().next() == Some(VIEW_NAME.as_bytes())
    }

    /// True when one of these is this path or lies in it.
    pub(crate) fn holds_any(&self, paths: &BTreeSet<Self>) -> bool {
        if self.is_root() {
            return !paths.is_empty();
        }
        let before = self.before_all_within();
        paths.contains(self) || paths.range(before..).next().is_some_and(|path| path.is_within(self))
    }

    /// What stands before all that lie in this, in the order of paths, and is no path itself: none ends so.
    pub(crate) fn before_all_within(&self) -> Self {
        if self.is_root() { Self::root() } else { Self([&self.0, &b"/"[..]].concat().into()) }
    }

    /// The same place below `to` that this has below `from`; none when it is not within, or would be too long.
    pub(crate) fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        if !self.is_within(from) {
            return None;
        }
        let rest = self.0.get(from.0.len()..).unwrap_or_default();
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let bytes = if rest.is_empty() { to.0.to_vec() } else { to.joined(rest) };
        Self::new(&bytes).ok()
    }
}

impl fmt::Display for WorkPath {
    /// For people: bytes that are no text, and characters that would forge a line, are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for WorkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl std::str::FromStr for WorkPath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        Self::new(text.as_bytes())
    }
}

impl ToSql for WorkPath {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.as_bytes()))
    }
}

impl FromSql for WorkPath {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::new(value.as_blob()?).map_err(FromSqlError::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> WorkPath {
        text.parse().unwrap()
    }

    #[test]
    fn only_plain_names_are_paths() {
        for bad in ["/", "/a", "a/", "a//b", ".", "..", "a/..", "a/./b", "a\0b"] {
            assert_eq!(WorkPath::new(bad.as_bytes()), Err(PathError::Name), "{bad:?}");
        }
        for good in [&b"a"[..], b"a/b", b"a\nb", b"\xff\xfe", b"...", b" "] {
            assert_eq!(WorkPath::new(good).unwrap().as_bytes(), good);
        }
        assert_eq!(WorkPath::new(&[b'a'; 256]), Err(PathError::NameTooLong));
        assert_eq!(WorkPath::new("a/".repeat(256).as_bytes()), Err(PathError::Name));
        assert_eq!(WorkPath::new(format!("{}a", "a/".repeat(256)).as_bytes()), Err(PathError::TooDeep));
    }

    #[test]
    fn paths_are_split_and_moved() {
        assert_eq!(path("a/b").split(), Some((path("a"), &b"b"[..])));
        assert_eq!(path("a").split(), Some((WorkPath::root(), &b"a"[..])));
        assert_eq!(WorkPath::root().split(), None);
        assert!(path("a/b").is_within(&path("a")) && path("a").is_within(&path("a")));
        assert!(!path("ab").is_within(&path("a")));
        assert_eq!(path("a/b/c").moved(&path("a"), &path("x/y")), Some(path("x/y/b/c")));
        assert_eq!(path("a").moved(&path("a"), &path("x")), Some(path("x")));
        assert_eq!(path("b").moved(&path("a"), &path("x")), None);
        assert_eq!(path("a/b/c").folders_above().collect::<Vec<_>>(), [path("a"), path("a/b")]);
        assert_eq!(path("a").folders_above().count(), 0);
    }

    #[test]
    fn a_folder_holds_what_lies_in_it() {
        let paths: BTreeSet<WorkPath> = ["a", "d!", "d/e/f", "d0", "x"].iter().map(|text| path(text)).collect();
        for (folder, holds) in [("d", true), ("d/e", true), ("d/e/f", true), ("d/f", false), ("x", true), ("y", false)]
        {
            assert_eq!(path(folder).holds_any(&paths), holds, "{folder}");
        }
        assert!(WorkPath::root().holds_any(&paths) && !WorkPath::root().holds_any(&BTreeSet::new()));
    }

    #[test]
    fn a_shown_path_is_one_line() {
        assert_eq!(WorkPath::new(b"a\nb\xff").unwrap().to_string(), "a\\nb\\xff");
    }
}
