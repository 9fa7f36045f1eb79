//! `messages`: the conversation so far, read through a port.
//!
//! Owns how much of it comes at once, and what of it may lie in the host unread. Must never let a guest hold the history
//! in the host's memory.

use std::sync::Arc;

use podium_wire::message::HistoryEntry;
use podium_wire::{ErrorCode, WireError};
use serde::Serialize;

use crate::effect::{EffectKind, Unread, UnreadBytes, Waiting};
use crate::error::CallError;
use crate::journal::Recorded;
use crate::limits::UNREAD_BYTES_MAX;
use crate::turn::Turn;

/// Most messages of one page: a page travels into the guest's memory whole.
pub const HISTORY_MAX: u32 = 200;
/// A page ends before a message that would make its texts more bytes than this, and holds at least one: a guest that reads page
/// by page needs so much memory, and several fit into [`UNREAD_BYTES_MAX`].
pub const HISTORY_BYTES_MAX: usize = 1024 * 1024;

/// A stretch of the history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The messages.
    pub entries: Vec<HistoryEntry>,
    /// What to pass as `before` for the page before this one; none when this is the first.
    pub before: Option<u64>,
}

#[derive(Serialize)]
struct HistoryRequest {
    before: Option<u64>,
    limit: u32,
}

impl Turn {
    /// The last `limit` messages older than `before`. The request leaves when the future is first polled;
    /// dropping the future cancels it.
    ///
    /// # Errors
    /// The future answers `POD-1001` for a limit outside 1 to [`HISTORY_MAX`], `POD-4019` for too many calls
    /// in flight or too many bytes unread, or the store's error. The call itself fails only when the turn is closed.
    pub fn history(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Waiting<Unread<Result<HistoryPage, WireError>>>, CallError> {
        let made = self.call(EffectKind::read("messages.history"), &HistoryRequest { before, limit })?;
        let port = self.ports().history.clone();
        let unread_bytes = Arc::clone(&self.effects().unread_bytes);
        let one_page = Arc::clone(&self.effects().page);
        let page = async move {
            if !(1..=HISTORY_MAX).contains(&limit) {
                let message = format!("a page of the history has 1 to {HISTORY_MAX} messages, not {limit}");
                return Err(WireError::new(ErrorCode::BadRequest, message));
            }
            // Only calls of this turn wait here for each other. So one page at most lies in memory uncounted.
            let counting = one_page.lock().await;
            let entries = port.page(before, limit).await?;
            let bytes = entries.iter().map(|entry| size_of::<HistoryEntry>() + entry.text.len()).sum();
            let Some(bytes) = UnreadBytes::hold(&unread_bytes, bytes) else {
                let message =
                    format!("more than {UNREAD_BYTES_MAX} bytes of answers lie unread; read or drop some first");
                return Err(WireError::new(ErrorCode::TooManyCalls, message));
            };
            drop(counting);
            // Numbers are dense from 1, so only the page that holds 1 is the first.
            let before = entries.first().map(|first| first.seq).filter(|seq| *seq > 1);
            Ok((HistoryPage { entries, before }, bytes))
        };
        let call = self.effect(&made, page);
        let page = async move {
            match call {
                Ok(call) => call.await.map(|answer| match answer {
                    Ok((page, bytes)) => (Ok(page), Some(bytes)),
                    Err(error) => (Err(error), None),
                }),
                Err(error) => Unread::refused(Err(error)),
            }
        };
        // What is committed does not change while the turn runs, so a page is read again; that it was refused may not be.
        let recorded = |page: &Unread<Result<HistoryPage, WireError>>| match page.as_ref() {
            Ok(_) => Recorded::Again,
            Err(error) => Recorded::Failed(error.clone()),
        };
        Ok(made.waits_for(page, recorded, |error| Unread::refused(Err(error))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestTurn;

    fn run<T>(call: Waiting<Unread<T>>) -> T {
        unread(call).read()
    }

    fn unread<T>(call: Waiting<Unread<T>>) -> Unread<T> {
        futures_util::FutureExt::now_or_never(call.answer).expect("the test port answers at once")
    }

    #[test]
    fn pages_that_nobody_reads_are_bounded_in_bytes() {
        let turn = TestTurn::new();
        // With what an entry takes beside its text four of them are a little too much.
        turn.say_text(&"x".repeat(UNREAD_BYTES_MAX / 4));
        let mut held: Vec<_> = (0..4).map(|_| unread(turn.turn.history(None, 1).expect("open"))).collect();
        assert!(turn.turn.holds_unread());
        let refused = held.pop().map(Unread::read).expect("four").expect_err("is too much");
        assert_eq!(refused.known_code(), Some(ErrorCode::TooManyCalls));
        assert!(held.pop().map(Unread::read).expect("three").is_ok());
        assert!(run(turn.turn.history(None, 1).expect("open")).is_ok());
        drop(held);
        assert!(!turn.turn.holds_unread());
        // One that is larger comes alone.
        turn.say_text(&"x".repeat(UNREAD_BYTES_MAX * 2));
        let large = unread(turn.turn.history(None, 1).expect("open"));
        assert!(run(turn.turn.history(None, 1).expect("open")).is_err());
        assert_eq!(large.read().expect("answers").entries.len(), 1);
    }

    #[test]
    fn one_page_at_a_time_is_read() {
        let turn = TestTurn::new();
        turn.say(1);
        let counting = futures_util::FutureExt::now_or_never(turn.turn.effects().page.lock()).expect("is free");
        let mut second = turn.turn.history(None, 1).expect("open");
        assert!(futures_util::FutureExt::now_or_never(second.answer.as_mut()).is_none());
        drop(counting);
        assert!(run(second).is_ok());
    }

    #[test]
    fn the_guide_says_how_much_of_the_history_comes_at_once() {
        let guide = include_str!("../../../docs/guide/limits.md");
        assert_eq!((HISTORY_BYTES_MAX, UNREAD_BYTES_MAX), (1 << 20, 4 << 20));
        assert!(guide.contains(&format!("A page of the history has at most {HISTORY_MAX} messages and 1 MiB of text")));
        assert!(guide.contains("4 MiB of answers unread"));
    }

    #[test]
    fn pages_backwards_to_the_first_message() {
        let turn = TestTurn::new();
        turn.say(5);
        let page = run(turn.turn.history(None, 2).expect("open")).expect("answers");
        assert_eq!(page.entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(page.before, Some(4));
        let page = run(turn.turn.history(page.before, 200).expect("open")).expect("answers");
        assert_eq!(page.entries.len(), 3);
        assert_eq!(page.before, None);
    }

    #[test]
    fn a_limit_outside_its_range_is_refused() {
        let turn = TestTurn::new();
        for limit in [0, HISTORY_MAX + 1] {
            let refused = run(turn.turn.history(None, limit).expect("open")).expect_err("refused");
            assert_eq!(refused.known_code(), Some(ErrorCode::BadRequest));
        }
    }
}
