//! What the running turn asks people, and what they answer.
//!
//! The turn itself owns what is open and which answer fits; the owner only finds the turn, one command at a time, so that
//! the first answer is the first. It remembers what was resolved last, for those who come too late.

use std::collections::VecDeque;

use podium_capabilities::ask::{Given, GivenBy, RESOLVED_ASKS_KEPT, no_such, resolved};
use podium_capabilities::turn::Turn;
use podium_wire::ErrorCode;
use podium_wire::asks::{AskList, AskOutcome};

use super::{Owner, Reply};
use crate::error::Error;

/// An answer on its way to a turn.
#[derive(Debug)]
pub struct Giving {
    /// What it answers.
    pub request_id: String,
    /// The answer or decision.
    pub given: Given,
    /// Whose it is.
    pub by: GivenBy,
    /// Where it is said whether it was the first.
    pub reply: Reply<()>,
}

/// Requests of turns that have ended, the last [`RESOLVED_ASKS_KEPT`].
#[derive(Debug, Default)]
pub(super) struct ResolvedAsks(VecDeque<(String, AskOutcome)>);

impl ResolvedAsks {
    /// Takes over what a turn has resolved. What runs again is open again, and resolved by its last attempt.
    pub(super) fn keep(&mut self, turn: &Turn) {
        for (request_id, outcome) in turn.resolved_asks() {
            self.0.retain(|(known, _)| *known != request_id);
            if self.0.len() == RESOLVED_ASKS_KEPT {
                self.0.pop_front();
            }
            self.0.push_back((request_id, outcome));
        }
    }

    fn outcome(&self, request_id: &str) -> Option<AskOutcome> {
        self.0.iter().find(|(known, _)| known == request_id).map(|(_, outcome)| *outcome)
    }
}

impl Owner {
    /// What waits for an answer.
    pub(super) fn asks(&self) -> AskList {
        let asks = self.running.as_ref().map(|running| running.attempt.turn.open_asks());
        AskList { asks: asks.unwrap_or_default() }
    }

    /// An attempt ends without a cut: what it asks is told to be gone, while there still is an attempt that it belongs to, unless
    /// the turn comes back by its journal.
    pub(super) fn abandon(&mut self, turn: &Turn, comes_back: bool) {
        turn.set_aside(comes_back);
        self.resolved_asks.keep(turn);
        self.shown.hub.abandon();
    }

    /// Gives an answer to the running turn: first that fits, then durable, then acknowledged. A turn that waits without a guest is
    /// resumed by it.
    pub(super) async fn give(&mut self, giving: Giving) {
        let Giving { request_id, given, by, reply } = giving;
        let result = match &self.running {
            Some(running) => {
                let (turn, wake) = (running.attempt.turn.clone(), running.wake.clone());
                let given = match turn.give(&request_id, given, by) {
                    Ok(()) => turn.write_journal().await.inspect_err(|_| turn.ungive(&request_id)),
                    Err(error) => Err(error),
                };
                if let (Ok(()), Some(wake)) = (&given, wake) {
                    wake.notify_one();
                }
                given
            }
            None => Err(no_such(&request_id)),
        };
        let result = result.map_err(|error| {
            // A turn that has ended knows more than one that never asked.
            let earlier = self.resolved_asks.outcome(&request_id);
            match earlier.filter(|_| error.known_code() == Some(ErrorCode::AskNotFound)) {
                Some(outcome) => Error::Agent(resolved(&request_id, outcome)),
                None => Error::Agent(error),
            }
        });
        drop(reply.send(result));
    }
}
