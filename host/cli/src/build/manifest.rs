//! `agent.toml` into the manifest.
//!
//! Owns the words of its errors: they name the file, line and key. The shape itself is
//! podium-wire's. Must never fill in a type or version by itself.

use std::io::Read;
use std::path::{Path, PathBuf};

use podium_wire::manifest::{InvalidManifest, Lane, MANIFEST_BYTES_MAX, Manifest};

/// The file beside the source.
pub(super) const FILE: &str = "agent.toml";

/// What is wrong with an `agent.toml`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    /// There is none.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML of the manifest's shape.
    #[error("{} is not a manifest", .path.display())]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, column, key and what is wrong with it.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A value is out of bounds.
    #[error("{} is not a manifest", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: InvalidManifest,
    },
    /// A TOML date, `inf` or `nan`, which JSON does not have.
    #[error("{}: `config` holds {what} at `{key}`; write it as a string", .path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What it is.
        what: &'static str,
    },
    /// Another lane than `wasm`.
    #[error("{}: `lane` is `process`; only agents of lane `wasm` are built", .path.display())]
    Lane {
        /// The file.
        path: PathBuf,
    },
}

/// Reads and checks the `agent.toml` of a folder.
pub(super) fn read(folder: &Path) -> Result<Manifest, ManifestError> {
    let path = folder.join(FILE);
    let unreadable = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => ManifestError::Missing(path.clone()),
        _ => ManifestError::Unreadable { path: path.clone(), source },
    };
    let mut text = String::new();
    // One byte past the bound shows that there is more.
    let bound = MANIFEST_BYTES_MAX as u64 + 1;
    std::fs::File::open(&path).and_then(|file| file.take(bound).read_to_string(&mut text)).map_err(unreadable)?;
    if text.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::Invalid { path, source: InvalidManifest::TooLarge(text.len()) });
    }
    parse(&text, &path)
}

pub(super) fn parse(text: &str, path: &Path) -> Result<Manifest, ManifestError> {
    let path = path.to_owned();
    let not_toml = |source| ManifestError::Toml { path: path.clone(), source: Box::new(source) };
    let manifest: Manifest = toml::from_str(text).map_err(not_toml)?;
    if manifest.lane != Lane::Wasm {
        return Err(ManifestError::Lane { path });
    }
    let table: toml::Table = toml::from_str(text).map_err(not_toml)?;
    if let Some((key, what)) = table.get("config").and_then(|config| not_json(config, "config")) {
        return Err(ManifestError::NotJson { path, key, what });
    }
    // As the host reads it from the component: it takes less nesting than TOML, and the JSON may be longer.
    let section = serde_json::to_vec(&manifest).map_err(InvalidManifest::Json);
    section
        .and_then(|section| Manifest::from_section(&section))
        .map_err(|source| ManifestError::Invalid { path, source })
}

/// The first value that JSON does not have, by its dotted key.
fn not_json(value: &toml::Value, key: &str) -> Option<(String, &'static str)> {
    match value {
        toml::Value::Datetime(_) => Some((key.to_owned(), "a date")),
        toml::Value::Float(number) if !number.is_finite() => Some((key.to_owned(), "`inf` or `nan`")),
        toml::Value::Array(list) => {
            list.iter().enumerate().find_map(|(index, value)| not_json(value, &format!("{key}[{index}]")))
        }
        toml::Value::Table(table) => table.iter().find_map(|(name, value)| not_json(value, &format!("{key}.{name}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let error = parse(text, Path::new("agent.toml")).unwrap_err();
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn a_whole_manifest_is_read() {
        let text = r#"
            type = "notes"
            version = "1.2.0"
            retry = 5
            grants = ["podium:agent/state"]
            [limits]
            memory_bytes = 134217728
            [config]
            model = "small"
            depth = 3
        "#;
        let manifest = parse(text, Path::new("agent.toml")).unwrap();
        assert_eq!((manifest.agent_type.as_str(), manifest.retry), ("notes", 5));
        assert_eq!(manifest.limits.memory_bytes, Some(134_217_728));
        assert_eq!(serde_json::to_value(manifest.config).unwrap(), serde_json::json!({ "model": "small", "depth": 3 }));
    }

    #[test]
    fn errors_name_line_and_key() {
        let text = refused("type = \"Notes\"\nversion = \"1.0.0\"\n");
        assert!(text.starts_with("agent.toml is") && text.contains("line 1") && text.contains("Notes"), "{text}");
        let text = refused("type = \"notes\"\nversion = \"1.0\"\n");
        assert!(text.contains("line 2") && text.contains("version"), "{text}");
        let text = refused("type = \"notes\"\nversion = \"1.0.0\"\n[limits]\nmemory = 3\n");
        assert!(text.contains("line 4") && text.contains("memory"), "{text}");
        let text = refused("type = \"notes\"\n");
        assert!(text.contains("version"), "{text}");
        assert!(refused("type = ").contains("line 1"));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let head = "type = \"notes\"\nversion = \"1.0.0\"\n";
        assert!(refused(&format!("{head}retry = 11\n")).contains("`retry` is 11"));
        assert!(refused(&format!("{head}lane = \"process\"\n")).contains("lane"));
        assert!(refused(&format!("{head}[config]\nat = [2026-01-01]\n")).contains("`config.at[0]`"));
        assert!(refused(&format!("{head}[config]\nat = {{ x = -inf }}\n")).contains("`inf` or `nan` at `config.at.x`"));
    }

    #[test]
    fn what_the_host_would_not_read_is_not_built() {
        // Both limits of nesting are libraries': TOML's holds for one key, JSON's for the whole.
        let dotted = vec!["a"; 70].join(".");
        let deep = format!("type = \"notes\"\nversion = \"1.0.0\"\n[config.{dotted}]\n{dotted} = 1\n");
        assert!(refused(&deep).contains("recursion limit"), "{}", refused(&deep));
        // Each quote is two bytes as JSON.
        let head = "type = \"notes\"\nversion = \"1.0.0\"\n";
        let long = format!("{head}[config]\na = '{}'\n", "\"".repeat(MANIFEST_BYTES_MAX * 3 / 4));
        assert!(refused(&long).contains("bytes"), "{}", refused(&long));
    }

    #[test]
    fn a_missing_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap_err().to_string().ends_with("agent.toml is missing"));
    }
}
