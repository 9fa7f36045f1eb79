//! What the librarian knows of each document: its passages, and the terms in them.
//!
//! Owns the shape that is kept in the workspace. Each document stands for itself, so that one
//! changes without the others. Pure: it is given texts. Must stay small: all of it is in a
//! guest's memory at once.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use crate::chunk::chunks;
use crate::words::Analyzer;

/// How much more a term of the heading counts than one of the text.
const HEADING_WEIGHT: u16 = 2;

/// All documents, sorted by path.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Index {
    /// The documents.
    pub(crate) documents: Vec<Document>,
}

/// One document.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// Its path relative to the workspace, with `/`.
    pub(crate) path: String,
    /// How its file looked when it was read.
    pub(crate) stamp: Stamp,
    /// Hash of its content.
    pub(crate) hash: u64,
    /// When it was read, in nanoseconds of the turn's clock since the Unix epoch.
    pub(crate) read_at: u64,
    /// Its distinct terms.
    terms: Terms,
    /// Its passages in order.
    pub(crate) passages: Vec<Passage>,
}

/// What can be seen of a file without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) size: u64,
    /// Modification time in nanoseconds since the Unix epoch; none where there is none.
    pub(crate) modified: Option<u64>,
}

/// One passage.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Passage {
    /// Its first line, from 1.
    pub(crate) first_line: u32,
    /// Its last line, included.
    pub(crate) last_line: u32,
    /// The headings above it.
    pub(crate) heading: String,
    /// Number of terms.
    pub(crate) length: u32,
    /// How often a term occurs: its number in the document, and the count; sorted.
    counts: Vec<(u16, u16)>,
}

/// Distinct terms in one string: a string for each would take three times the memory.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Terms {
    /// The terms one after the other, in the order of their numbers.
    text: String,
    /// Where each ends.
    ends: Vec<u32>,
    /// The numbers in the order of their terms.
    sorted: Vec<u16>,
}

impl Terms {
    /// A document's terms by number.
    fn new(numbers: &HashMap<String, u16>) -> Self {
        let mut by_number: Vec<(u16, &str)> = numbers.iter().map(|(term, number)| (*number, term.as_str())).collect();
        by_number.sort_unstable();
        let mut terms = Self::default();
        for (_, term) in &by_number {
            terms.text.push_str(term);
            terms.ends.push(u32::try_from(terms.text.len()).unwrap_or(u32::MAX));
        }
        by_number.sort_unstable_by_key(|(_, term)| *term);
        terms.sorted = by_number.into_iter().map(|(number, _)| number).collect();
        terms
    }

    /// The term of that number; empty for none, which no term is.
    fn get(&self, number: u16) -> &str {
        let number = usize::from(number);
        let start = number.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = start.zip(self.ends.get(number).copied()).map(|(start, end)| start as usize..end as usize);
        range.and_then(|range| self.text.get(range)).unwrap_or_default()
    }

    fn find(&self, term: &str) -> Option<u16> {
        let place = self.sorted.binary_search_by(|number| self.get(*number).cmp(term)).ok()?;
        self.sorted.get(place).copied()
    }
}

impl Index {
    /// Number of passages of all documents.
    pub(crate) fn passages(&self) -> usize {
        self.documents.iter().map(|document| document.passages.len()).sum()
    }
}

/// Numbers terms, and remembers which ones a word stands for: most words come again.
struct Numbering<'a> {
    analyzer: &'a Analyzer,
    numbers: HashMap<String, u16>,
    words: HashMap<String, Vec<u16>>,
}

impl Numbering<'_> {
    fn each(&mut self, text: &str, mut take: impl FnMut(u16)) {
        for word in text.unicode_words() {
            if let Some(known) = self.words.get(word) {
                known.iter().copied().for_each(&mut take);
                continue;
            }
            let mut found = Vec::new();
            self.analyzer.each_term(word, |term| {
                // More distinct terms than numbers: data rather than prose; the rest is not searched.
                let next = u16::try_from(self.numbers.len()).ok();
                let number = self.numbers.get(term).copied().or_else(|| {
                    self.numbers.insert(term.to_owned(), next?);
                    next
                });
                found.extend(number);
            });
            found.iter().copied().for_each(&mut take);
            self.words.insert(word.to_owned(), found);
        }
    }
}

impl Document {
    /// Reads a text into a document.
    pub(crate) fn read(analyzer: &Analyzer, path: &str, stamp: Stamp, hash: u64, read_at: u64, text: &str) -> Self {
        let mut numbering = Numbering { analyzer, numbers: HashMap::new(), words: HashMap::new() };
        let mut name = Vec::new();
        numbering.each(path, |number| name.push(number));
        let mut passages = Vec::new();
        for chunk in chunks(text) {
            let mut found = name.clone();
            numbering.each(chunk.text, |number| found.push(number));
            let length = found.len() - name.len();
            for _ in 0..HEADING_WEIGHT {
                numbering.each(&chunk.heading, |number| found.push(number));
            }
            passages.push(Passage {
                first_line: u32::try_from(chunk.first_line).unwrap_or(u32::MAX),
                last_line: u32::try_from(chunk.last_line).unwrap_or(u32::MAX),
                heading: chunk.heading,
                length: u32::try_from(length).unwrap_or(u32::MAX),
                counts: counts(found),
            });
        }
        Self { path: path.to_owned(), stamp, hash, read_at, terms: Terms::new(&numbering.numbers), passages }
    }

    /// The number of a term in the document.
    pub(crate) fn term(&self, term: &str) -> Option<u16> {
        self.terms.find(term)
    }
}

/// How often each number comes, sorted by number.
fn counts(mut numbers: Vec<u16>) -> Vec<(u16, u16)> {
    numbers.sort_unstable();
    let runs = numbers.chunk_by(|a, b| a == b);
    runs.map(|run| (run[0], u16::try_from(run.len()).unwrap_or(u16::MAX))).collect()
}

impl Passage {
    /// How often the term of that number occurs.
    pub(crate) fn count(&self, term: u16) -> u16 {
        let found = self.counts.binary_search_by_key(&term, |(number, _)| *number);
        found.map_or(0, |at| self.counts[at].1)
    }
}

#[cfg(test)]
pub(crate) fn document(path: &str, text: &str) -> Document {
    let stamp = Stamp { size: text.len() as u64, modified: Some(1) };
    Document::read(&Analyzer::new(), path, stamp, 0, 0, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_counted_per_passage() {
        let document = document("notes/turns.md", "# Cuts\nA turn ends in a cut.\n\n# Rest\nTurns, turns, turns.\n");
        let count = |passage: usize, term| document.passages[passage].count(document.term(term).unwrap());
        assert_eq!(document.passages.len(), 2);
        // The heading's line is part of the text as well.
        assert_eq!((count(0, "cut"), count(1, "cut")), (2 + HEADING_WEIGHT, 0));
        // Once in the text, three times, and in each passage once for the file's name.
        assert_eq!((count(0, "turn"), count(1, "turn")), (2, 4));
        assert_eq!(document.passages[1].length, 4);
        assert_eq!(document.term("nothing"), None);
    }

    #[test]
    fn each_term_is_found_by_its_name() {
        let document = document("a.md", "beta alpha gamma ärger alpha");
        for term in ["beta", "alpha", "gamma", "ärger", "a", "md"] {
            let number = document.term(term);
            assert_eq!(number.map(|number| document.terms.get(number)), (term != "a").then_some(term), "{term}");
        }
        assert_eq!(document.terms.get(u16::MAX), "");
    }

    #[test]
    fn more_terms_than_numbers_are_borne() {
        let text: String = (0..70_000).map(|n| format!("w{n}x\n")).collect();
        let document = document("a.md", &text);
        assert!(document.term("w1x").is_some() && document.term("w69999x").is_none());
    }
}
