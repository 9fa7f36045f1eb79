//! From the best passages to an answer, piece by piece.
//!
//! Owns its words and how it is cut into pieces for streaming. Pure: it is given the passages'
//! lines.

use unicode_segmentation::UnicodeSegmentation;

/// A passage with what an answer says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    /// The document's path.
    pub(crate) path: String,
    /// First and last line.
    pub(crate) lines: (u32, u32),
    /// The headings above it; possibly empty.
    pub(crate) heading: String,
    /// Its lines.
    pub(crate) text: String,
}

impl Source {
    /// `docs/architecture.md:12-20`, or `:12` for one line.
    pub(crate) fn citation(&self) -> String {
        match self.lines {
            (first, last) if first == last => format!("{}:{first}", self.path),
            (first, last) => format!("{}:{first}-{last}", self.path),
        }
    }
}

/// The pieces of an answer in order: each passage sentence by sentence with its citation, then
/// one line on the sources.
pub(crate) fn pieces(sources: &[Source]) -> Vec<String> {
    let mut pieces = Vec::new();
    for source in sources {
        if !source.heading.is_empty() {
            pieces.push(format!("**{}**\n\n", source.heading));
        }
        pieces.extend(sentences(without_heading(source)));
        pieces.push(format!("\n[{}]\n\n", source.citation()));
    }
    if !sources.is_empty() {
        pieces.push(summary(sources));
    }
    pieces
}

/// The passage without the heading lines it begins with: they stand above it already.
fn without_heading(source: &Source) -> &str {
    let mut text = source.text.as_str();
    loop {
        let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
        let title = line.trim_matches(|c: char| c == '#' || c.is_whitespace());
        let is_heading = line.starts_with('#') && source.heading.contains(title);
        // A passage of headings only is shown as it is.
        if rest.trim().is_empty() || !(is_heading || line.trim().is_empty()) {
            return text;
        }
        text = rest;
    }
}

/// A text cut after sentences and after lines of code; put together it is the text and a line end.
fn sentences(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut in_code = false;
    let mut prose = String::new();
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        if in_code || is_fence {
            pieces.extend(prose.split_sentence_bounds().map(str::to_owned));
            prose.clear();
            pieces.push(format!("{line}\n"));
            in_code ^= is_fence;
        } else {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    pieces.extend(prose.split_sentence_bounds().map(str::to_owned));
    pieces
}

/// `Sources: a.md (2 passages), b.md.`
fn summary(sources: &[Source]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for source in sources {
        match counts.iter_mut().find(|(path, _)| *path == source.path) {
            Some((_, count)) => *count += 1,
            None => counts.push((&source.path, 1)),
        }
    }
    let named = |(path, count): &(&str, usize)| match count {
        1 => (*path).to_owned(),
        more => format!("{path} ({more} passages)"),
    };
    format!("Sources: {}.", counts.iter().map(named).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, lines: (u32, u32), heading: &str, text: &str) -> Source {
        Source { path: path.into(), lines, heading: heading.into(), text: text.into() }
    }

    #[test]
    fn an_answer_cites_file_and_lines() {
        let sources = [
            source("docs/a.md", (12, 14), "Turns", "## Turns\n\nA turn ends in a cut. It is true then.\nAnd after."),
            source("docs/a.md", (20, 20), "", "More."),
            source("b.txt", (1, 2), "", "x\ny"),
        ];
        let text = pieces(&sources).concat();
        let expected = "**Turns**\n\nA turn ends in a cut. It is true then.\nAnd after.\n\n[docs/a.md:12-14]\n\n\
                        More.\n\n[docs/a.md:20]\n\nx\ny\n\n[b.txt:1-2]\n\n\
                        Sources: docs/a.md (2 passages), b.txt.";
        assert_eq!(text, expected);
    }

    #[test]
    fn it_is_cut_at_sentences_and_lines_of_code() {
        let source = source("a.md", (1, 5), "", "One. Two!\n```\nlet a = 1. + 2.;\n```\nThree?");
        let found = pieces(std::slice::from_ref(&source));
        assert_eq!(found[..6], ["One. ", "Two!\n", "```\n", "let a = 1. + 2.;\n", "```\n", "Three?\n"]);
    }

    #[test]
    fn a_passage_of_headings_only_is_shown() {
        assert_eq!(pieces(&[source("a.md", (1, 1), "A", "# A")])[1], "# A\n");
        assert!(pieces(&[]).is_empty());
    }
}
