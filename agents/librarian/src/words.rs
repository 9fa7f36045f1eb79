//! Text into the terms that are indexed and searched.
//!
//! Owns what counts as a word: the same for documents and questions. Pure.

use rust_stemmers::{Algorithm, Stemmer};
use unicode_segmentation::UnicodeSegmentation;

/// Longest term, bytes: longer ones are encoded data, which nobody asks for.
const TERM_BYTES_MAX: usize = 48;

/// English words that stand in every passage or only make a question polite, sorted.
const STOP_WORDS: &[&str] = &[
    "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been",
    "before", "being", "but", "by", "can", "could", "did", "do", "does", "doing", "each", "explain", "for", "from",
    "had", "has", "have", "having", "he", "her", "here", "hers", "him", "his", "how", "i", "if", "in", "into", "is",
    "it", "its", "just", "let", "like", "many", "may", "me", "might", "more", "most", "much", "must", "my", "no",
    "nor", "not", "of", "on", "one", "only", "or", "other", "our", "out", "over", "own", "please", "same", "shall",
    "she", "should", "so", "some", "such", "tell", "than", "that", "the", "their", "them", "then", "there", "these",
    "they", "this", "those", "to", "too", "under", "up", "us", "very", "was", "we", "were", "what", "when", "where",
    "which", "while", "who", "why", "will", "with", "would", "yes", "you", "your", "yours",
];

/// Turns text into terms.
pub(crate) struct Analyzer {
    stemmer: Stemmer,
}

impl Analyzer {
    pub(crate) fn new() -> Self {
        Self { stemmer: Stemmer::create(Algorithm::English) }
    }

    /// Calls `take` with each term of a text. A name of several parts (`on_message`, `state.db`,
    /// `DeltaState`) is a term itself, and each part is one.
    pub(crate) fn each_term(&self, text: &str, mut take: impl FnMut(&str)) {
        for word in text.unicode_words() {
            let parts = parts(word);
            if parts.len() > 1 && word.len() <= TERM_BYTES_MAX {
                take(&word.to_lowercase());
            }
            for part in parts.into_iter().filter(|part| part.len() <= TERM_BYTES_MAX) {
                let lower = part.to_lowercase();
                if STOP_WORDS.binary_search(&lower.as_str()).is_err() {
                    take(&self.stemmer.stem(&lower));
                }
            }
        }
    }

    /// The distinct terms of a question, in its order.
    pub(crate) fn query(&self, question: &str) -> Vec<String> {
        let mut terms: Vec<String> = Vec::new();
        self.each_term(question, |term| {
            if !terms.iter().any(|known| known == term) {
                terms.push(term.to_owned());
            }
        });
        terms
    }
}

/// The parts of a name: between signs, and before a capital that follows a small letter.
fn parts(word: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    for run in word.split(|character: char| !character.is_alphanumeric()).filter(|run| !run.is_empty()) {
        let (mut start, mut was_small) = (0, false);
        for (at, character) in run.char_indices() {
            if was_small && character.is_uppercase() {
                parts.push(&run[start..at]);
                start = at;
            }
            was_small = character.is_lowercase();
        }
        parts.push(&run[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(Analyzer::new().query(text), expected, "{text:?}");
    }

    #[test]
    fn stop_words_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
    }

    #[test]
    fn words_are_folded_and_stemmed() {
        check("The INDEXES of indexing", &["index"]);
        check("What happens when a host is killed?", &["happen", "host", "kill"]);
        check("Über Straßen, naïve!", &["über", "straßen", "naïv"]);
    }

    #[test]
    fn names_are_found_whole_and_in_parts() {
        check("on_message", &["on_message", "messag"]);
        check("DeltaState", &["deltastate", "delta", "state"]);
        check("state.db-wal", &["state.db", "state", "db", "wal"]);
        check("podium-wire", &["podium", "wire"]);
    }

    #[test]
    fn nothing_and_noise_are_nothing() {
        check("", &[]);
        check("?!… — the of", &[]);
        check(&"x".repeat(500), &[]);
    }
}
