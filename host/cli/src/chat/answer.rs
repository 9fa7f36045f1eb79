//! The text of one answer as it grows: items in order, each shown exactly once. Pure.
//!
//! Items are shown one after the other in the order in which they began, an empty line between them; an item that
//! grows behind an open one waits for it. When what was shown turns out to be no beginning of the truth, the whole
//! answer is shown again from its start.

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Show {
    /// The next piece of the answer.
    Text(String),
    /// What was shown of this answer so far does not hold; the whole answer follows again.
    StartOver,
}

#[derive(Debug)]
struct Item {
    id: String,
    text: String,
    complete: bool,
    /// Part of the turn's text, as a block of code is not.
    prose: bool,
    /// Set once it is durable.
    seq: Option<u64>,
    /// Bytes of `text` that were shown.
    shown: usize,
}

/// Most bytes that are held of an answer: twice what a turn may put out by the hard cap of 64 MiB.
const HELD_BYTES_MAX: usize = 128 * 1024 * 1024;

/// What an item without text counts for the bound.
const ITEM_BYTES: usize = 128;

/// What stands between two texts of an answer.
const GAP: &str = "\n\n";

/// An answer as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    items: Vec<Item>,
    /// All items before this one are complete and shown.
    front: usize,
    /// Something was shown since the last start.
    begun: bool,
    held: usize,
}

impl Answer {
    /// True when more is held than any answer may have.
    pub(crate) fn is_too_large(&self) -> bool {
        self.held > HELD_BYTES_MAX
    }

    /// The next piece of an item.
    pub(crate) fn piece(&mut self, id: &str, text: &str, shows: &mut Vec<Show>) {
        let index = self.item(id);
        self.items[index].text.push_str(text);
        self.held += text.len();
        self.flush(shows);
    }

    /// The text of an item so far, in place of its pieces.
    pub(crate) fn so_far(&mut self, id: &str, text: &str, shows: &mut Vec<Show>) {
        let index = self.item(id);
        self.set_text(index, text, shows);
        self.flush(shows);
    }

    /// The whole text of an item.
    pub(crate) fn whole(&mut self, id: &str, text: &str, seq: Option<u64>, shows: &mut Vec<Show>) {
        self.complete(id, text, seq, true, shows);
    }

    /// A whole block that stands in the answer, and is no part of the turn's text.
    pub(crate) fn block(&mut self, id: &str, text: &str, seq: Option<u64>, shows: &mut Vec<Show>) {
        self.complete(id, text, seq, false, shows);
    }

    fn complete(&mut self, id: &str, text: &str, seq: Option<u64>, prose: bool, shows: &mut Vec<Show>) {
        let index = self.item(id);
        self.set_text(index, text, shows);
        let item = &mut self.items[index];
        item.complete = true;
        item.prose = prose;
        item.seq = seq.or(item.seq);
        self.flush(shows);
    }

    /// An item that was seen live has become durable.
    pub(crate) fn durable(&mut self, id: &str, seq: u64) {
        if let Some(item) = self.items.iter_mut().find(|item| item.id == id && item.complete && item.seq.is_none()) {
            item.seq = Some(seq);
        }
    }

    /// The attempt died: only what is durable up to `keep_through_seq` stays.
    pub(crate) fn restart(&mut self, keep_through_seq: u64, shows: &mut Vec<Show>) {
        let stays = |item: &Item| item.seq.is_some_and(|seq| seq <= keep_through_seq);
        if self.items.iter().all(stays) {
            return;
        }
        self.items.retain(stays);
        self.held = self.items.iter().map(|item| item.text.len() + ITEM_BYTES).sum();
        self.start_over(shows);
        self.flush(shows);
    }

    /// The turn ended with this text: nothing is open any more, and where pieces are missing the whole is shown.
    pub(crate) fn end(&mut self, whole: &str, shows: &mut Vec<Show>) {
        for item in &mut self.items {
            item.complete = true;
        }
        // The host joins the turn's texts, in the order of their ends, by an empty line.
        let texts = self.items.iter().filter(|item| item.prose);
        let known = texts.map(|item| item.text.len() + GAP.len()).sum::<usize>().saturating_sub(GAP.len());
        if known != whole.len() {
            self.items.retain(|item| !item.prose);
            let text = whole.to_owned();
            self.held += text.len();
            self.items.insert(0, Item { id: String::new(), text, complete: true, prose: true, seq: None, shown: 0 });
            self.start_over(shows);
        }
        self.flush(shows);
    }

    /// The open item of this name. A name may be used again once its item is complete.
    fn item(&mut self, id: &str) -> usize {
        if let Some(index) = self.items.iter().rposition(|item| item.id == id && !item.complete) {
            return index;
        }
        self.held += ITEM_BYTES + id.len();
        self.items.push(Item {
            id: id.to_owned(),
            text: String::new(),
            complete: false,
            prose: true,
            seq: None,
            shown: 0,
        });
        self.items.len() - 1
    }

    fn set_text(&mut self, index: usize, text: &str, shows: &mut Vec<Show>) {
        let item = &mut self.items[index];
        let holds = text.starts_with(&item.text[..item.shown]);
        self.held = self.held - item.text.len() + text.len();
        text.clone_into(&mut item.text);
        if !holds {
            self.start_over(shows);
        }
    }

    fn start_over(&mut self, shows: &mut Vec<Show>) {
        self.front = 0;
        for item in &mut self.items {
            item.shown = 0;
        }
        if std::mem::take(&mut self.begun) {
            shows.push(Show::StartOver);
        }
    }

    fn flush(&mut self, shows: &mut Vec<Show>) {
        while let Some(item) = self.items.get_mut(self.front) {
            if item.shown < item.text.len() {
                let gap = if item.shown == 0 && self.begun { GAP } else { "" };
                shows.push(Show::Text(format!("{gap}{}", &item.text[item.shown..])));
                item.shown = item.text.len();
                self.begun = true;
            }
            if !item.complete {
                return;
            }
            self.front += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader sees in the end.
    fn page(shows: &[Show]) -> String {
        let last = shows.iter().rposition(|show| *show == Show::StartOver).map_or(0, |at| at + 1);
        shows[last..].iter().map(|show| if let Show::Text(text) = show { text.as_str() } else { "" }).collect()
    }

    #[test]
    fn items_that_grow_together_are_shown_one_after_the_other() {
        let (mut answer, mut shows) = (Answer::default(), Vec::new());
        answer.piece("a", "Hel", &mut shows);
        answer.piece("b", "wor", &mut shows);
        answer.piece("a", "lo", &mut shows);
        assert_eq!(page(&shows), "Hello");
        answer.whole("a", "Hello", None, &mut shows);
        answer.piece("b", "ld", &mut shows);
        answer.whole("b", "world", None, &mut shows);
        answer.end("Hello\n\nworld", &mut shows);
        assert_eq!(page(&shows), "Hello\n\nworld");
        assert!(!shows.contains(&Show::StartOver));
    }

    #[test]
    fn a_text_that_does_not_fit_what_was_shown_starts_over() {
        let (mut answer, mut shows) = (Answer::default(), Vec::new());
        answer.whole("a", "one", None, &mut shows);
        answer.piece("b", "lost the beg", &mut shows);
        answer.whole("b", "the beginning", None, &mut shows);
        assert_eq!(shows.iter().filter(|show| **show == Show::StartOver).count(), 1);
        assert_eq!(page(&shows), "one\n\nthe beginning");
    }

    #[test]
    fn a_restart_keeps_what_is_durable() {
        let (mut answer, mut shows) = (Answer::default(), Vec::new());
        answer.whole("a", "kept", None, &mut shows);
        answer.durable("a", 4);
        answer.piece("b", "dropped", &mut shows);
        answer.restart(4, &mut shows);
        assert_eq!(page(&shows), "kept");
        answer.piece("b", "new", &mut shows);
        assert_eq!(page(&shows), "kept\n\nnew");
        shows.clear();
        answer.whole("b", "new", Some(5), &mut shows);
        answer.restart(9, &mut shows);
        assert_eq!(shows, [], "nothing is dropped, so nothing is said again");
    }

    #[test]
    fn an_answer_of_which_nothing_was_seen_is_shown_at_its_end() {
        let (mut answer, mut shows) = (Answer::default(), Vec::new());
        answer.end("whole", &mut shows);
        assert_eq!(shows, [Show::Text("whole".into())]);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (mut answer, mut shows) = (Answer::default(), Vec::new());
        let piece = "x".repeat(16 * 1024 * 1024);
        for _ in 0..9 {
            answer.piece("a", &piece, &mut shows);
            shows.clear();
        }
        assert!(answer.is_too_large());
        answer.restart(0, &mut shows);
        assert!(!answer.is_too_large());
    }
}
