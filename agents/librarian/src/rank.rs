//! Which passages answer a question best: BM25, and how much of the question they cover.
//!
//! Pure, and the same for the same index: equal scores are ordered by path and line.

use crate::index::Index;

/// BM25's saturation of repeated terms and its weight of length, as usual.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// The least share of a question that a passage must cover, rare terms counting more: a passage
/// that has only the question's common words says nothing to it.
const COVERED_MIN: f64 = 0.35;

/// The least share of the best passage's score that another one needs.
const SHARE_MIN: f64 = 0.4;

/// A passage that matches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Hit {
    /// Place of the document in the index.
    pub(crate) document: usize,
    /// Place of the passage in the document.
    pub(crate) passage: usize,
    /// How well it matches.
    pub(crate) score: f64,
}

/// A passage with at least one term, and how often it has each.
struct Candidate {
    document: usize,
    passage: usize,
    length: f64,
    counts: Vec<u16>,
}

/// The best passages for the terms, at most `limit`, best first.
pub(crate) fn search(index: &Index, terms: &[String], limit: usize) -> Vec<Hit> {
    let candidates = candidates(index, terms);
    let passages = as_f64(index.passages());
    let length: f64 = index.documents.iter().flat_map(|d| &d.passages).map(|p| f64::from(p.length)).sum();
    let mean_length = (length / passages.max(1.0)).max(1.0);
    let having = |term| as_f64(candidates.iter().filter(|candidate| candidate.counts[term] > 0).count());
    let having: Vec<f64> = (0..terms.len()).map(having).collect();
    let rarity = |having: f64| ((passages - having + 0.5) / (having + 0.5)).ln_1p();
    // A word that stands nowhere weighs no more than the rarest one that does: "who keeps" finds "the keeper".
    let rarest = having.iter().filter(|having| **having > 0.0).map(|having| rarity(*having)).fold(0.0, f64::max);
    let rarity: Vec<f64> = having.iter().map(|having| rarity(*having).min(rarest)).collect();
    let whole: f64 = rarity.iter().sum();
    let score = |candidate: &Candidate| {
        let norm = K1 * (1.0 - B + B * candidate.length / mean_length);
        let found = || candidate.counts.iter().zip(&rarity).filter(|(count, _)| **count > 0);
        let bm25: f64 = found().map(|(n, rarity)| rarity * f64::from(*n) * (K1 + 1.0) / (f64::from(*n) + norm)).sum();
        // The share of the question, rare terms first: one word of three, however often, is no answer.
        let covered: f64 = found().map(|(_, rarity)| rarity).sum();
        (covered >= whole * COVERED_MIN).then(|| bm25 * covered / whole)
    };
    let mut hits: Vec<Hit> = candidates
        .iter()
        .filter_map(|candidate| {
            let score = score(candidate)?;
            Some(Hit { document: candidate.document, passage: candidate.passage, score })
        })
        .collect();
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.document, a.passage).cmp(&(b.document, b.passage))));
    let least = hits.first().map_or(0.0, |best| best.score * SHARE_MIN);
    hits.retain(|hit| hit.score >= least);
    hits.truncate(limit);
    hits
}

fn candidates(index: &Index, terms: &[String]) -> Vec<Candidate> {
    let mut candidates = Vec::new();
    for (at, document) in index.documents.iter().enumerate() {
        let places: Vec<Option<u16>> = terms.iter().map(|term| document.term(term)).collect();
        if places.iter().all(Option::is_none) {
            continue;
        }
        for (passage_at, passage) in document.passages.iter().enumerate() {
            let counts: Vec<u16> = places.iter().map(|place| place.map_or(0, |place| passage.count(place))).collect();
            if counts.iter().any(|count| *count > 0) {
                let length = f64::from(passage.length);
                candidates.push(Candidate { document: at, passage: passage_at, length, counts });
            }
        }
    }
    candidates
}

/// Counts of passages are far below 2^32.
fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::document;
    use crate::words::Analyzer;

    fn index() -> Index {
        let documents = vec![
            document("a.md", "# Kitchen\nSalt, pepper and bread. Bread again.\n"),
            document("b.md", "# Recovery\nAfter a crash the host recovers each agent from its last cut.\n"),
            document("c.md", "# Cuts\nA turn ends in one cut.\n\n# Other\nThe host is a program. The host listens.\n"),
        ];
        Index { documents }
    }

    fn found(question: &str) -> Vec<String> {
        let index = index();
        let hits = search(&index, &Analyzer::new().query(question), 10);
        let name = |hit: &Hit| {
            let document = &index.documents[hit.document];
            format!("{}:{}", document.path, document.passages[hit.passage].first_line)
        };
        hits.iter().map(name).collect()
    }

    #[test]
    fn the_passage_that_covers_the_question_comes_first() {
        assert_eq!(found("How does the host recover after a crash?")[0], "b.md:1");
        assert_eq!(found("where does a turn end")[0], "c.md:1");
        assert_eq!(found("bread"), ["a.md:1"]);
    }

    #[test]
    fn nothing_matches_nothing() {
        assert!(found("quantum chromodynamics").is_empty());
        assert!(found("").is_empty());
        assert!(found("quantum chromodynamics of the host").is_empty(), "one common word of three is no match");
        assert!(search(&Index::default(), &["x".to_owned()], 3).is_empty());
    }

    #[test]
    fn the_number_of_passages_is_bounded() {
        assert_eq!(search(&index(), &Analyzer::new().query("host cut"), 1).len(), 1);
    }
}
