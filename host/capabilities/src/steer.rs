//! Words into a running turn: how many there may be, and what of them is shown and kept.
//!
//! Owns the bounds, and the updates of a steer that has reached the agent. A steer that has not is no part of the turn's
//! output: the cut tells of it. Must never let a steer end a turn.

use podium_wire::message::Message;
use podium_wire::rest::LogLevel;
use podium_wire::updates::{SteerDelivered, SteerFailed, UpdateBody};
use podium_wire::{ErrorCode, WireError};

use crate::limits::{STEER_BYTES_MAX, STEERS_MAX, STEERS_PENDING_MAX};
use crate::turn::Turn;

/// A steer that the agent was given: a message of the history once the turn is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// How many of the turn's texts were said before it.
    pub texts_before: usize,
    /// What was said.
    pub text: String,
}

/// The steers of one turn, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SteerCount {
    /// All that were accepted.
    pub accepted: usize,
    /// Of those, the ones that wait for the agent or that it is taking in.
    pub pending: usize,
    /// Bytes of all their bodies.
    pub bytes: usize,
}

impl SteerCount {
    /// Whether one more of so many bytes may be accepted.
    ///
    /// # Errors
    /// `POD-3026`, saying which bound it is.
    pub fn room_for(self, bytes: usize) -> Result<(), WireError> {
        let refuse = |message: String| Err(WireError::new(ErrorCode::TooManySteers, message));
        if self.pending >= STEERS_PENDING_MAX {
            return refuse(format!("{} steers wait for the agent already", self.pending));
        }
        if self.accepted >= STEERS_MAX {
            return refuse(format!("the turn was steered {} times already", self.accepted));
        }
        if self.bytes.saturating_add(bytes) > STEER_BYTES_MAX {
            return refuse(format!("the steers of a turn have at most {STEER_BYTES_MAX} bytes"));
        }
        Ok(())
    }
}

impl Turn {
    /// The agent is given a steer: everybody is shown it. The host's own update, which no limit keeps back; its size is
    /// bounded where steers are accepted.
    pub fn steer_delivered(&self, message: &Message) {
        let body = UpdateBody::SteerDelivered(SteerDelivered { id: message.id.clone(), text: message.text.clone() });
        self.show_own(&body, |work| {
            let texts_before = work.texts.len();
            work.heard.push(Heard { texts_before, text: message.text.clone() });
        });
    }

    /// The agent has answered a steer with an error; the turn goes on.
    pub fn steer_failed(&self, id: &str, error: WireError) {
        self.host_log(LogLevel::Warn, &format!("on-steer of {id} failed: {}: {}", error.code, error.message));
        self.show_own(&UpdateBody::SteerFailed(SteerFailed { id: id.to_owned(), error }), |_| {});
    }
}

#[cfg(test)]
mod tests {
    use podium_wire::message::{Origin, Role};
    use podium_wire::updates::{EventType, ItemText};
    use proptest::prelude::*;

    use super::*;
    use crate::testing::TestTurn;
    use crate::updates::Element;

    fn said(id: &str, text: &str) -> Message {
        let origin = Origin { tenant_id: "local".to_owned(), role: "owner".to_owned(), channel: "ws".to_owned() };
        Message { id: id.to_owned(), text: text.to_owned(), role: Role::User, attachments: Vec::new(), origin }
    }

    fn reply(text: &str) -> Element {
        Element::TextFinal(ItemText { item: text.to_owned(), text: text.to_owned() })
    }

    #[test]
    fn a_steer_is_shown_and_heard_in_its_place() {
        let turn = TestTurn::new();
        turn.emit(reply("one")).expect("shown");
        turn.steer_delivered(&said("s-1", "shorter"));
        turn.steer_failed("s-1", WireError::new(ErrorCode::GuestError, "no"));
        turn.emit(reply("two")).expect("shown");
        let output = turn.complete();
        let kinds: Vec<_> = output.updates.iter().map(|update| update.event_type).collect();
        use EventType::{SteerDelivered, SteerFailed, StreamEnd, StreamStart, TextComplete};
        assert_eq!(kinds, [StreamStart, TextComplete, SteerDelivered, SteerFailed, TextComplete, StreamEnd]);
        assert_eq!(output.heard, [Heard { texts_before: 1, text: "shorter".to_owned() }]);
        assert!(turn.lines()[0].message.contains("s-1"), "{:?}", turn.lines());
    }

    #[test]
    fn what_was_heard_stays_heard_when_the_turn_fails() {
        let turn = TestTurn::new();
        turn.emit(reply("one")).expect("shown");
        turn.steer_delivered(&said("s-1", "shorter"));
        let output = turn.fail(&WireError::new(ErrorCode::Interrupted, "enough"));
        assert_eq!(output.heard, [Heard { texts_before: 0, text: "shorter".to_owned() }]);
        assert_eq!(output.updates.len(), 1);
        turn.steer_delivered(&said("s-2", "late"));
        assert!(!turn.shown().iter().any(|body| matches!(body, UpdateBody::SteerDelivered(s) if s.id == "s-2")));
    }

    proptest! {
        /// Whatever is sent, what was accepted stays within every bound.
        #[test]
        fn accepted_steers_are_bounded(sizes in prop::collection::vec((0..STEER_BYTES_MAX, any::<bool>()), 0..600)) {
            let mut count = SteerCount::default();
            for (bytes, taken_in) in sizes {
                if count.room_for(bytes).is_ok() {
                    count.accepted += 1;
                    count.pending += 1;
                    count.bytes += bytes;
                }
                if taken_in {
                    count.pending = count.pending.saturating_sub(1);
                }
                prop_assert!(count.pending <= STEERS_PENDING_MAX);
                prop_assert!(count.accepted <= STEERS_MAX && count.bytes <= STEER_BYTES_MAX);
            }
        }
    }

    #[test]
    fn each_bound_is_reached_exactly() {
        let full = |count: SteerCount, bytes| count.room_for(bytes).map_err(|error| error.known_code());
        let none = SteerCount::default();
        assert_eq!(full(none, STEER_BYTES_MAX), Ok(()));
        assert_eq!(full(none, STEER_BYTES_MAX + 1), Err(Some(ErrorCode::TooManySteers)));
        let waiting = SteerCount { pending: STEERS_PENDING_MAX, ..none };
        assert_eq!(full(waiting, 0), Err(Some(ErrorCode::TooManySteers)));
        let many = SteerCount { accepted: STEERS_MAX, ..none };
        assert_eq!(full(many, 0), Err(Some(ErrorCode::TooManySteers)));
    }
}
