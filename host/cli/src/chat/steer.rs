//! Lines that are typed while an answer is under way: steers of its turn, or the next messages. Pure.
//!
//! A line goes into the turn once it runs. One that finds no turn any more is left for the prompt. Must never lose a line,
//! nor send one into another message's turn.

use std::collections::VecDeque;

use podium_wire::frames::ClientFrame;
use podium_wire::message::MessageContent;
use podium_wire::updates::UpdateBody;
use podium_wire::{ErrorCode, WireError};

/// A line on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Sent {
    id: String,
    text: String,
    acknowledged: bool,
}

/// What was typed into one answer.
#[derive(Debug, Default)]
pub(crate) struct Typed {
    /// Not sent yet.
    lines: VecDeque<String>,
    /// Sent, and not seen by the agent yet.
    sent: Vec<Sent>,
}

fn frame(sent: &Sent) -> ClientFrame {
    let content = MessageContent { text: sent.text.clone(), attachments: Vec::new() };
    ClientFrame::Steer { id: Some(sent.id.clone()), content }
}

impl Typed {
    /// A line was typed.
    pub(crate) fn add(&mut self, line: String) {
        if !line.trim().is_empty() {
            self.lines.push_back(line);
        }
    }

    /// The frame of the next line, into a turn that runs; `id` names it.
    pub(crate) fn next(&mut self, id: impl FnOnce() -> String) -> Option<ClientFrame> {
        let text = self.lines.pop_front()?;
        let sent = Sent { id: id(), text, acknowledged: false };
        let frame = frame(&sent);
        self.sent.push(sent);
        Some(frame)
    }

    /// What a new connection has to send again: the same ids, so that nothing is said twice.
    pub(crate) fn again(&self) -> Vec<ClientFrame> {
        self.sent.iter().filter(|sent| !sent.acknowledged).map(frame).collect()
    }

    /// The host has a line.
    pub(crate) fn acknowledged(&mut self, id: &str) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.id == id) {
            sent.acknowledged = true;
        }
    }

    /// The host has refused a frame: answers come in the order of frames, so it is the first line without one. False when
    /// there is none.
    pub(crate) fn refused(&mut self, error: &WireError) -> bool {
        let Some(place) = self.sent.iter().position(|sent| !sent.acknowledged) else { return false };
        let sent = self.sent.remove(place);
        if error.known_code() == Some(ErrorCode::NoActiveTurn) {
            // Too late: it is the next message.
            self.lines.push_back(sent.text);
        }
        true
    }

    /// Takes an update about a steer, anybody's; what to say of it.
    pub(crate) fn told(&mut self, body: &UpdateBody) -> Option<String> {
        match body {
            UpdateBody::SteerDelivered(steer) => Some(format!("steered: {}", steer.text)),
            UpdateBody::SteerFailed(steer) => Some(format!("the agent did not take it in: {}", steer.error.message)),
            UpdateBody::SteerUndelivered(steer) => {
                let place = self.sent.iter().position(|sent| sent.id == steer.id)?;
                let sent = self.sent.remove(place);
                Some(format!("the turn ended before the agent saw: {}", sent.text))
            }
            _ => None,
        }
    }

    /// The lines that are left for the prompt, once the answer is there.
    pub(crate) fn left(&mut self) -> VecDeque<String> {
        std::mem::take(&mut self.lines)
    }
}

#[cfg(test)]
mod tests {
    use podium_wire::updates::SteerUndelivered;

    use super::*;

    fn typed(lines: &[&str]) -> Typed {
        let mut typed = Typed::default();
        lines.iter().for_each(|line| typed.add((*line).to_owned()));
        typed
    }

    fn id(frame: &ClientFrame) -> &str {
        match frame {
            ClientFrame::Steer { id: Some(id), .. } => id,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_are_sent_in_order_and_again_until_they_are_acknowledged() {
        let mut typed = typed(&["a", "  ", "b"]);
        assert_eq!(typed.next(|| "1".to_owned()).as_ref().map(id), Some("1"));
        assert_eq!(typed.next(|| "2".to_owned()).as_ref().map(id), Some("2"));
        assert_eq!(typed.next(|| "3".to_owned()), None);
        assert_eq!(typed.again().iter().map(id).collect::<Vec<_>>(), ["1", "2"]);
        typed.acknowledged("1");
        assert_eq!(typed.again().iter().map(id).collect::<Vec<_>>(), ["2"]);
    }

    #[test]
    fn a_line_that_came_too_late_is_the_next_message_and_no_other_is() {
        let mut typed = typed(&["a", "b", "c"]);
        for name in ["1", "2", "3"] {
            typed.next(|| name.to_owned());
        }
        typed.acknowledged("1");
        assert!(typed.refused(&WireError::new(ErrorCode::TooManySteers, "")));
        assert!(typed.refused(&WireError::new(ErrorCode::NoActiveTurn, "")));
        assert!(!typed.refused(&WireError::new(ErrorCode::NoActiveTurn, "")), "an error of something else");
        assert_eq!(typed.left(), ["c"]);
    }

    #[test]
    fn an_undelivered_line_is_told_to_who_typed_it() {
        let mut typed = typed(&["shorter"]);
        typed.next(|| "1".to_owned());
        typed.acknowledged("1");
        let undelivered = |id: &str| UpdateBody::SteerUndelivered(SteerUndelivered { id: id.to_owned() });
        assert_eq!(typed.told(&undelivered("9")), None);
        assert!(typed.told(&undelivered("1")).is_some_and(|said| said.ends_with("shorter")));
    }
}
