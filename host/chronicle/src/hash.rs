//! Names of content: BLAKE3 of a file's bytes, and of a tree's node under a context of its own.
//!
//! A tree's node and a file with the same bytes have different names, so that no guest can write a file that is taken for one.

use std::fmt;

use rusqlite::ToSql;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef};

/// The name of a file's content, a link's target or a folder's tree: 32 bytes, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

/// Separates names of trees from names of files.
const TREE_CONTEXT: &str = "podium-chronicle tree v1";

impl ContentHash {
    /// Of a file's or a link's bytes; the one that `b3sum` shows.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Of a tree's node.
    pub(crate) fn of_tree(node: &[u8]) -> Self {
        Self(blake3::derive_key(TREE_CONTEXT, node))
    }

    /// From its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// From bytes of unknown length, such as a column of another database.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// From its 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let hash = blake3::Hash::from_hex(text).ok()?;
        Some(Self(*hash.as_bytes()))
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<blake3::Hash> for ContentHash {
    fn from(hash: blake3::Hash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl ToSql for ContentHash {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(&self.0[..]))
    }
}

impl FromSql for ContentHash {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        Self::from_slice(bytes).ok_or(FromSqlError::InvalidBlobSize { expected_size: 32, blob_size: bytes.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_and_a_file_of_the_same_bytes_differ() {
        assert_ne!(ContentHash::of(b"x"), ContentHash::of_tree(b"x"));
        assert_eq!(ContentHash::of(b"").to_string().len(), 64);
        assert_eq!(ContentHash::from_slice(b"short"), None);
        let hash = ContentHash::of(b"x");
        assert_eq!((ContentHash::from_hex(&hash.to_string()), ContentHash::from_hex("x")), (Some(hash), None));
    }
}
