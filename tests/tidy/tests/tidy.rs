//! Applies the house rules to this repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use podium_tidy::{documents, files, ranks, root, shown, sources};
use podium_wire::ErrorCode;

/// Fails with every fault at once, so that one run shows all of them.
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Folder of each package of a workspace, and the folders that it uses by path.
fn packages(workspace: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(workspace)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let room = |path: &str| shown(Path::new(path));
    let mut rooms = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        let uses = package["dependencies"].as_array().expect("dependencies");
        let uses = uses.iter().filter_map(|dependency| dependency["path"].as_str()).map(room).collect();
        rooms.insert(shown(manifest.parent().expect("a folder")), uses);
    }
    rooms
}

#[test]
fn arrows_go_down() {
    let mut faults = Vec::new();
    let mut seen = 0;
    for workspace in [root(), root().join("agents")] {
        for (room, uses) in packages(&workspace) {
            seen += 1;
            if !ranks::known(&room) {
                faults.push(format!("{room} has no rank; give it one in tests/tidy/src/ranks.rs"));
            }
            faults
                .extend(uses.iter().filter_map(|used| ranks::check(&room, used).err()).map(|arrow| arrow.to_string()));
        }
    }
    assert!(seen > 10, "only {seen} packages were found");
    none(&faults);
}

#[test]
fn sources_are_short_and_say_what_they_own() {
    let sources = files(&root(), "rs");
    assert!(sources.len() > 30, "only {} sources were found", sources.len());
    let faults: Vec<String> = sources
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("a source is readable text");
            sources::faults(&text).into_iter().map(|fault| format!("{} {fault}", shown(path)))
        })
        .collect();
    none(&faults);
}

#[test]
fn no_story_is_forgotten() {
    let stories = root().join("tests/it/tests/it");
    let faults: Vec<String> = sources::forgotten(&stories, &stories.join("main.rs"))
        .into_iter()
        .map(|name| format!("tests/it/tests/it/{name} is not declared in main.rs: it never runs"))
        .collect();
    none(&faults);
}

#[test]
fn every_error_code_has_a_page_that_agrees_with_it() {
    let mut faults = Vec::new();
    let mut pages: BTreeSet<String> = files(&root().join("docs/errors"), "md").iter().map(|path| shown(path)).collect();
    for code in ErrorCode::ALL {
        let name = format!("docs/errors/{code}.md");
        let Ok(text) = std::fs::read_to_string(root().join(&name)) else {
            faults.push(format!("{name} is missing"));
            continue;
        };
        pages.remove(&name);
        let title = format!("# {code} {}", code.name());
        let facts =
            format!("HTTP {}, {}.", code.status(), if code.retryable() { "retryable" } else { "not retryable" });
        for wanted in [title.as_str(), facts.as_str(), "## What happened", "## What to do"] {
            if !text.lines().any(|line| line == wanted) {
                faults.push(format!("{name} has no line `{wanted}`"));
            }
        }
    }
    faults.extend(pages.into_iter().map(|page| format!("{page} is the page of no code")));
    none(&faults);
}

#[test]
fn links_lead_somewhere() {
    let mut documents = files(&root().join("docs"), "md");
    documents
        .extend(["README.md", "CHANGELOG.md"].map(|name| root().join(name)).into_iter().filter(|path| path.exists()));
    let mut faults = Vec::new();
    for document in &documents {
        let text = std::fs::read_to_string(document).expect("a document is readable text");
        for link in documents::relative_links(&text) {
            if !documents::resolve(document, &link).exists() {
                faults.push(format!("{} links to {link}, which is not there", shown(document)));
            }
        }
    }
    none(&faults);
}

#[test]
fn what_a_guest_cannot_do_is_tested() {
    let page = std::fs::read_to_string(root().join("docs/security.md")).expect("docs/security.md is there");
    let named: BTreeSet<(String, String)> = documents::named_stories(&page).into_iter().collect();
    let rows = page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| what a guest")).count();
    assert!(
        rows > 20 && named.len() == rows,
        "{rows} rows name {} stories: each row needs one of its own",
        named.len()
    );
    let stories = root().join("tests/it/tests/it");
    let is_there = |module: &str, name: &str| {
        let text =
            std::fs::read_to_string(stories.join(module.replace("::", "/")).with_extension("rs")).unwrap_or_default();
        text.contains(&format!("#[tokio::test]\nasync fn {name}()"))
    };
    let mut faults: Vec<String> = Vec::new();
    for (module, name) in &named {
        if !is_there(module, name) {
            faults.push(format!("docs/security.md names {module}::{name}, which is no story"));
        }
    }
    // And the other way: a story of a hostile guest is in the table.
    let text = std::fs::read_to_string(stories.join("hostile.rs")).expect("stories of hostile guests");
    for line in text.lines() {
        let Some(name) = line.strip_prefix("async fn ").and_then(|rest| rest.strip_suffix("() {")) else { continue };
        if name != "the_limits_in_force_are_shown" && !named.contains(&("hostile".to_owned(), name.to_owned())) {
            faults.push(format!("docs/security.md has no row for hostile::{name}"));
        }
    }
    none(&faults);
}

/// The commands of the binary and their subcommands, as its `--help` must show them too (tests/it compares).
const COMMANDS: &[(&str, &[&str])] = &[
    ("up", &[]),
    ("token", &[]),
    ("new", &[]),
    ("build", &[]),
    ("dev", &[]),
    ("deploy", &[]),
    ("deployment", &["list", "show"]),
    (
        "instance",
        &[
            "create",
            "list",
            "info",
            "state",
            "interrupt",
            "stop",
            "start",
            "upgrade",
            "cuts",
            "rewind",
            "fork",
            "diff",
            "bisect",
            "export",
            "import",
            "delete",
            "steer",
            "asks",
            "answer",
            "retry",
            "discard",
        ],
    ),
    ("chat", &[]),
    ("files", &["ls", "cat", "get", "put", "history", "restore", "rm"]),
    ("chronicle", &["stats", "fsck", "gc"]),
    ("mount", &[]),
    ("logs", &[]),
    ("config", &["get", "set"]),
    ("status", &[]),
    ("top", &[]),
    ("doctor", &[]),
    ("completions", &[]),
    ("man", &[]),
    ("help", &[]),
];

#[test]
fn guides_name_commands_that_exist() {
    let mut documents = files(&root().join("docs"), "md");
    documents.push(root().join("README.md"));
    let mut faults = Vec::new();
    for document in documents {
        let Ok(text) = std::fs::read_to_string(&document) else { continue };
        for words in documents::podium_commands(&text) {
            let Some(command) = words.first() else { continue };
            match COMMANDS.iter().find(|(name, _)| name == command) {
                None => faults.push(format!("{}: there is no `podium {command}`", shown(&document))),
                Some((_, subcommands)) if !subcommands.is_empty() => {
                    if !words.get(1).is_some_and(|word| subcommands.contains(&word.as_str())) {
                        faults.push(format!("{}: `podium {}` is no command", shown(&document), words.join(" ")));
                    }
                }
                Some(_) => {}
            }
        }
    }
    none(&faults);
}
