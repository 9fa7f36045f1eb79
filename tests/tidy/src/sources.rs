//! Rules about Rust files: how they open, how long they may be, which module files nobody declares.

use std::path::Path;

/// A file may have fewer lines than this: longer ones do two things.
pub const LINES_MAX: usize = 800;

/// What is wrong with one source, in words; nothing when it is well.
pub fn faults(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    // An inner attribute such as `#![cfg(...)]` must come first where there is one.
    let opening = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    if !opening.is_some_and(|line| line.starts_with("//!")) {
        faults.push("does not open with `//!`".to_owned());
    }
    let lines = text.lines().count();
    if lines >= LINES_MAX {
        faults.push(format!("has {lines} lines; split it below {LINES_MAX}"));
    }
    faults
}

/// The modules that a source declares as files: `mod name;`.
pub fn declared_modules(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
            let name = line.strip_prefix("mod ")?.strip_suffix(';')?;
            Some(name.to_owned())
        })
        .collect()
}

/// Files in a module's folder that its `main.rs` or `lib.rs` does not declare, so that nothing runs them.
pub fn forgotten(folder: &Path, parent: &Path) -> Vec<String> {
    let declared = declared_modules(&std::fs::read_to_string(parent).unwrap_or_default());
    let mut forgotten: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path != parent && (path.is_dir() || path.extension().is_some_and(|found| found == "rs")))
        .filter_map(|path| path.file_stem().map(|name| name.to_string_lossy().into_owned()))
        .filter(|name| !declared.contains(name))
        .collect();
    forgotten.sort();
    forgotten
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_opens_with_its_purpose_and_is_short() {
        assert!(faults("//! Owns x.\n").is_empty());
        assert!(faults("#![cfg(test)]\n//! Owns x.\n").is_empty());
        assert_eq!(faults("use x;\n").len(), 1);
        assert_eq!(faults("").len(), 1);
        let long = format!("//! Owns x.\n{}", "\n".repeat(LINES_MAX));
        assert_eq!(faults(&long).len(), 1);
    }

    #[test]
    fn modules_are_read() {
        assert_eq!(declared_modules("mod a;\npub mod b;\nmod inline {\n}\n// mod c;\n"), ["a", "b"]);
    }
}
