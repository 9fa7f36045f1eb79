//! Rules about documents: links that must resolve, commands that must exist.

use std::path::{Path, PathBuf};

/// The targets of a Markdown text's links that point into the repository, without their anchors.
pub fn relative_links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let mut rest = line;
        while let Some(start) = rest.find("](") {
            rest = &rest[start + 2..];
            let Some(end) = rest.find(')') else { break };
            let target = &rest[..end];
            rest = &rest[end..];
            let target = target.split(['#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push(target.to_owned());
            }
        }
    }
    links
}

/// Where a link of a document leads.
pub fn resolve(document: &Path, link: &str) -> PathBuf {
    document.parent().unwrap_or(Path::new("")).join(link)
}

/// The `podium` commands of a document's console blocks: for each, the words up to the first that is no name.
pub fn podium_commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut console = false;
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            console = !console && ["console", "sh", "bash"].contains(&language.trim());
            continue;
        }
        if !console {
            continue;
        }
        // A line may pipe, chain or capture: each part that starts with `podium` is a command.
        for part in line.trim_start_matches("$ ").split(['|', ';', '(', ')', '&']) {
            let mut words = part.split_whitespace();
            let program = words.next().unwrap_or_default();
            if program == "podium" || program.ends_with("/podium") {
                let name = |word: &&str| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
                commands.push(words.take_while(name).map(str::to_owned).collect());
            }
        }
    }
    commands
}

/// The stories that a document's tables name as `module::function`, in backticks.
pub fn named_stories(text: &str) -> Vec<(String, String)> {
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    words.filter_map(|word| word.rsplit_once("::")).map(|(module, name)| (module.to_owned(), name.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_into_the_repository_are_found() {
        let text = "[a](b.md#c) [d](https://e) ![f](g/h.png)\n```\n[i](j.md)\n```\n[k](#l)";
        assert_eq!(relative_links(text), ["b.md", "g/h.png"]);
    }

    #[test]
    fn stories_are_named_in_tables_only() {
        let text = "`a::b`\n| what | `c` |\n| x, `POD-1` | `d::e` |\n";
        assert_eq!(named_stories(text), [("d".to_owned(), "e".to_owned())]);
    }

    #[test]
    fn commands_are_found_in_console_blocks_only() {
        let text = "podium no\n```console\n$ podium instance create hello\nID=$(./target/ci/podium token)\n```\n";
        assert_eq!(podium_commands(text), [vec!["instance", "create", "hello"], vec!["token"]]);
    }
}
