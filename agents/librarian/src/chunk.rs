//! A document into passages: pieces that can be cited by their lines.
//!
//! Owns where a passage begins and ends: at headings and empty lines, never within a code block
//! unless the block alone is too long. Pure.

/// A passage is closed at the first paragraph's end past this many words: enough to answer,
/// short enough to read.
const WORDS_WANTED: usize = 90;

/// A paragraph is cut at a line's end past this many words.
const WORDS_MAX: usize = 220;

/// Longest heading kept, characters.
const HEADING_CHARS_MAX: usize = 300;

/// A piece of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// Its first line, from 1.
    pub(crate) first_line: usize,
    /// Its last line, included.
    pub(crate) last_line: usize,
    /// The headings above it, outermost first, joined by ` › `.
    pub(crate) heading: String,
    /// Its lines.
    pub(crate) text: &'a str,
}

/// What a line is, given the lines around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Blank,
    Heading(usize),
    Code,
    Text,
}

/// Cuts a document into passages. Lines that belong to none are empty ones and front matter.
pub(crate) fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let lines: Vec<&str> = text.lines().collect();
    let body = front_matter(&lines);
    // A fence in the front matter is none.
    let mut kinds = [vec![Line::Blank; body], kinds(&lines[body..])].concat();
    // An underlined heading: the line under it belongs to it.
    for at in 1..lines.len() {
        if kinds[at] == Line::Text && kinds[at - 1] == Line::Text && (at < 2 || kinds[at - 2] != Line::Text) {
            match underline(lines[at]) {
                Some('=') => kinds[at - 1] = Line::Heading(1),
                Some('-') => kinds[at - 1] = Line::Heading(2),
                _ => {}
            }
        }
    }
    let mut cutter = Cutter { text, lines: &lines, headings: Vec::new(), open: None, words: 0, chunks: Vec::new() };
    for (at, kind) in kinds.iter().enumerate().skip(body) {
        cutter.take(at, *kind, at > body && kinds[at - 1] == Line::Blank);
    }
    cutter.close(lines.len());
    cutter.chunks
}

struct Cutter<'a, 'l> {
    text: &'a str,
    lines: &'l [&'a str],
    headings: Vec<(usize, &'a str)>,
    /// First line of the open passage.
    open: Option<usize>,
    words: usize,
    chunks: Vec<Chunk<'a>>,
}

impl<'a> Cutter<'a, '_> {
    fn take(&mut self, at: usize, kind: Line, is_after_blank: bool) {
        let is_full = (is_after_blank && self.words > WORDS_WANTED && kind != Line::Code) || self.words > WORDS_MAX;
        if is_full {
            self.close(at);
        }
        match kind {
            Line::Blank => return,
            Line::Heading(level) => {
                // A heading under a heading stays with the passage that it opens.
                if self.words > 0 {
                    self.close(at);
                }
                self.headings.retain(|(above, _)| *above < level);
                self.headings.push((level, self.lines[at].trim_matches(|c: char| c == '#' || c.is_whitespace())));
                self.open.get_or_insert(at);
                return;
            }
            // Nothing begins with nothing, in code neither.
            Line::Code if self.open.is_none() && self.lines[at].trim().is_empty() => return,
            Line::Code | Line::Text => {}
        }
        self.open.get_or_insert(at);
        self.words += self.lines[at].split_whitespace().count().max(1);
    }

    /// Ends the open passage before line `end`.
    fn close(&mut self, end: usize) {
        let Some(first) = self.open.take() else { return };
        self.words = 0;
        let last = (first..end).rev().find(|at| !self.lines[*at].trim().is_empty()).unwrap_or(first);
        let heading: Vec<&str> = self.headings.iter().map(|(_, text)| *text).filter(|text| !text.is_empty()).collect();
        self.chunks.push(Chunk {
            first_line: first + 1,
            last_line: last + 1,
            heading: heading.join(" › ").chars().take(HEADING_CHARS_MAX).collect(),
            text: self.between(first, last),
        });
    }

    /// The text from the start of one line to the end of another.
    fn between(&self, first: usize, last: usize) -> &'a str {
        let offset = |line: &str| line.as_ptr().addr() - self.text.as_ptr().addr();
        let (first, last) = (self.lines[first], self.lines[last]);
        &self.text[offset(first)..offset(last) + last.len()]
    }
}

fn kinds(lines: &[&str]) -> Vec<Line> {
    let mut fence: Option<(char, usize)> = None;
    let classify = |line: &&str| {
        let trimmed = line.trim();
        let mark = trimmed.chars().next().filter(|mark| matches!(mark, '`' | '~'));
        let length = mark.map_or(0, |mark| trimmed.chars().take_while(|c| *c == mark).count());
        if let Some((open, open_length)) = fence {
            let closes = mark == Some(open) && length >= open_length && trimmed.chars().all(|c| c == open);
            if closes {
                fence = None;
            }
            return Line::Code;
        }
        if let (Some(mark), 3..) = (mark, length) {
            fence = Some((mark, length));
            return Line::Code;
        }
        let level = trimmed.chars().take_while(|c| *c == '#').count();
        match level {
            _ if trimmed.is_empty() => Line::Blank,
            1..=6 if trimmed[level..].starts_with(char::is_whitespace) => Line::Heading(level),
            _ => Line::Text,
        }
    };
    lines.iter().map(classify).collect()
}

/// The sign that a line consists of, when it underlines a heading.
fn underline(line: &str) -> Option<char> {
    let line = line.trim_end();
    ['=', '-'].into_iter().find(|sign| line.len() >= 3 && line.chars().all(|c| c == *sign))
}

/// The line at which the body begins: past a block between two `---` at the very start.
fn front_matter(lines: &[&str]) -> usize {
    match lines {
        [first, rest @ ..] if first.trim_end() == "---" => {
            rest.iter().position(|line| line.trim_end() == "---").map_or(0, |end| end + 2)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `first-last heading` of each passage.
    fn outline(text: &str) -> Vec<String> {
        chunks(text).iter().map(|c| format!("{}-{} {}", c.first_line, c.last_line, c.heading)).collect()
    }

    #[test]
    fn headings_open_passages_and_nest() {
        let text = "# A\nintro\n\n## B\n\none\n\n### C\ntwo\n## D\nthree\n";
        assert_eq!(outline(text), ["1-2 A", "4-6 A › B", "8-9 A › B › C", "10-11 A › D"]);
    }

    #[test]
    fn a_heading_without_text_stays_with_the_next() {
        assert_eq!(outline("# A\n## B\ntext\n"), ["1-3 A › B"]);
        assert_eq!(outline("Title\n=====\n\ntext\n\nPart\n----\nmore\n"), ["1-4 Title", "6-8 Title › Part"]);
    }

    #[test]
    fn short_paragraphs_are_joined_and_long_ones_cut() {
        let paragraph = format!("{}\n", "word ".repeat(40));
        let text = format!("{paragraph}\n{paragraph}\n{paragraph}\n{paragraph}");
        assert_eq!(outline(&text), ["1-5 ", "7-7 "]);
        let long = format!("{}\n", "word ".repeat(60)).repeat(8);
        assert_eq!(outline(&long), ["1-4 ", "5-8 "]);
    }

    #[test]
    fn code_is_no_heading_and_stays_whole() {
        let code = format!("```sh\n# not a heading\n\n{}```\n", "make it\n".repeat(60));
        let passages = outline(&format!("# A\n{code}\nafter\n"));
        assert_eq!(passages, ["1-65 A", "67-67 A"]);
    }

    #[test]
    fn front_matter_and_emptiness_are_left_out() {
        assert_eq!(outline("---\ntitle: x\n---\n# A\ntext"), ["4-5 A"]);
        assert_eq!(outline("---\n```\n---\n# A\n\n"), ["4-4 A"]);
        assert!(outline("").is_empty() && outline("\n \n").is_empty());
        assert_eq!(chunks("a\r\nb\r\n")[0].text, "a\r\nb");
    }

    proptest! {
        #[test]
        fn every_line_with_text_is_in_one_passage(text in "(# [ab]{0,3}\n|[ab ]{0,9}\n|```\n|\n|---\n|===\n|é+\r\n){0,60}") {
            let lines: Vec<&str> = text.lines().collect();
            let mut at = front_matter(&lines);
            for chunk in chunks(&text) {
                prop_assert!(lines[at..chunk.first_line - 1].iter().all(|line| line.trim().is_empty()));
                prop_assert!(chunk.first_line <= chunk.last_line && chunk.last_line <= lines.len());
                let expected = &lines[chunk.first_line - 1..chunk.last_line];
                prop_assert_eq!(&chunk.text.lines().collect::<Vec<_>>(), expected);
                at = chunk.last_line;
            }
            prop_assert!(lines[at..].iter().all(|line| line.trim().is_empty()));
        }
    }
}
