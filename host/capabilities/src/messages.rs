//! `messages`: the conversation so far, read through a port.

use std::future::Future;

use podium_wire::message::HistoryEntry;
use podium_wire::{ErrorCode, WireError};
use serde::Serialize;

use crate::error::CallError;
use crate::turn::Turn;

/// Most messages of one page: a page travels into the guest's memory whole.
pub const HISTORY_MAX: u32 = 200;

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
    /// in flight, or the store's error. The call itself fails only when the turn is closed.
    pub fn history(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<impl Future<Output = Result<HistoryPage, WireError>> + Send + 'static, CallError> {
        self.check_open()?;
        let port = self.ports().history.clone();
        let page = async move {
            if !(1..=HISTORY_MAX).contains(&limit) {
                let message = format!("a page of the history has 1 to {HISTORY_MAX} messages, not {limit}");
                return Err(WireError::new(ErrorCode::BadRequest, message));
            }
            let entries = port.page(before, limit).await?;
            // Numbers are dense from 1, so only the page that holds 1 is the first.
            let before = entries.first().map(|first| first.seq).filter(|seq| *seq > 1);
            Ok(HistoryPage { entries, before })
        };
        let call = self.effect("messages.history", &HistoryRequest { before, limit }, page);
        Ok(async move { call?.await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestTurn;

    fn run<T>(future: impl Future<Output = T>) -> T {
        futures_util::FutureExt::now_or_never(future).expect("the test port answers at once")
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
