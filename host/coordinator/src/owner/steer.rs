//! Steers: words into the running turn (TURN.md §6).
//!
//! Owns what the owner knows of a turn's steers: durable first, then acknowledged, then handed to the guest, and at the cut
//! told as undelivered where the guest was never given them. Must never hand over what is not durable.

use std::sync::Arc;

use podium_capabilities::steer::{Heard, SteerCount};
use podium_runtime::Steers;
use podium_store::{NewSteer, NewUpdate, RowKind, SteerRow};
use podium_wire::frames::ServerFrame;
use podium_wire::message::{Message, Role};
use podium_wire::rest::{Hook, MessageReceipt};
use podium_wire::updates::{MessageAccepted, SteerUndelivered, Update, UpdateBody};
use podium_wire::{ErrorCode, WireError};

use super::messages::{hashed_part, said, to_json};
use super::{Incoming, Owner, Reply};
use crate::agents::LoadedAgent;
use crate::error::Error;
use crate::hub::{Client, Hub};

/// Where the acknowledgement of a steer goes.
#[derive(Debug)]
pub enum SteerAck {
    /// To the connection that sent it, ahead of what the agent makes of it.
    Client(Arc<Client>),
    /// To a waiting request.
    Reply(Reply<MessageReceipt>),
}

impl SteerAck {
    /// Answers with a failure.
    pub(super) fn refuse(self, error: Error) {
        match self {
            Self::Client(client) => Hub::reply_error(&client, error.into()),
            Self::Reply(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// The steers of the turn that runs.
pub(super) struct TurnSteers {
    /// The way to the guest; none where the agent cannot be steered.
    guest: Option<Steers>,
    /// Ids of those that came before this attempt and have no way to the guest any more.
    lost: Vec<String>,
    /// Ids of those whose delivery is durable, whatever becomes of this attempt.
    told: Vec<String>,
    accepted: usize,
    bytes: usize,
}

impl TurnSteers {
    /// Steers for a row's turn; `earlier` came in an attempt that died, and are given again.
    pub(super) fn begin(agent: &LoadedAgent, kind: RowKind, earlier: Vec<SteerRow>) -> Self {
        let can = kind == RowKind::Message && agent.has(Hook::OnSteer);
        let mut steers =
            Self { guest: can.then(Steers::default), lost: Vec::new(), told: Vec::new(), accepted: 0, bytes: 0 };
        for SteerRow { id, body, is_told } in earlier {
            steers.bytes += body.len();
            if is_told {
                steers.told.push(id.clone());
            }
            match (&steers.guest, serde_json::from_str::<Message>(&body)) {
                (Some(_), Ok(message)) => steers.hand_over(message),
                _ => steers.lost.push(id),
            }
        }
        steers
    }

    /// What the guest takes them from.
    pub(super) fn guest(&self) -> Option<Steers> {
        self.guest.clone()
    }

    fn hand_over(&mut self, message: Message) {
        if let Some(guest) = &self.guest {
            self.accepted += 1;
            guest.push(message);
        }
    }

    fn pending(&self) -> usize {
        self.guest.as_ref().map_or(0, Steers::pending)
    }

    /// What clients are told with the cut of those that the guest was never given.
    pub(super) fn undelivered(&self, at: u64) -> Vec<NewUpdate> {
        let waiting = self.guest.as_ref().map(Steers::undelivered).unwrap_or_default();
        let untold = self.lost.iter().cloned().chain(waiting).filter(|id| !self.told.contains(id));
        untold.map(|id| undelivered(id, at)).collect()
    }
}

/// Tells of a steer that the agent was never given.
pub(super) fn undelivered(id: String, at: u64) -> NewUpdate {
    let (event_type, content) = UpdateBody::SteerUndelivered(SteerUndelivered { id }).encode();
    NewUpdate { n: None, event_type, content, at }
}

/// Puts what was heard into the conversation, each steer behind the texts that were said before it. `opening` messages came
/// before the agent's first text.
pub(super) fn converse(said: Vec<(Role, String)>, opening: usize, heard: Vec<Heard>) -> Vec<(Role, String)> {
    let mut said = said.into_iter();
    let mut all: Vec<_> = said.by_ref().take(opening).collect();
    let mut texts = 0;
    for Heard { texts_before, text } in heard {
        all.extend(said.by_ref().take(texts_before.saturating_sub(texts)));
        texts = texts.max(texts_before);
        all.push((Role::User, text));
    }
    all.extend(said);
    all
}

impl Owner {
    /// Accepts a steer: durable first, then acknowledged, then on its way to the guest.
    pub(super) async fn steer(&mut self, mut incoming: Incoming, ack: SteerAck) {
        let mut span = crate::spans::accepting(self.id, &mut incoming);
        match self.accept_steer(incoming).await {
            Ok((accepted, new)) => {
                match ack {
                    SteerAck::Client(client) => {
                        let body = UpdateBody::MessageAccepted(accepted);
                        Hub::reply(&client, &ServerFrame::Update(Update::control(&body, self.parts.clock.now_ms())));
                    }
                    SteerAck::Reply(reply) => {
                        let MessageAccepted { id, duplicate, .. } = accepted;
                        drop(reply.send(Ok(MessageReceipt { message_id: id, duplicate })));
                    }
                }
                if let (Some((message, bytes)), Some(running)) = (new, &mut self.running) {
                    running.attempt.steers.bytes += bytes;
                    running.attempt.steers.hand_over(message);
                    if let Some(wake) = &running.wake {
                        wake.notify_one();
                    }
                }
            }
            Err(error) => {
                span.fail(&error.code().to_string());
                ack.refuse(error);
            }
        }
    }

    async fn accept_steer(&mut self, incoming: Incoming) -> Result<(MessageAccepted, Option<(Message, usize)>), Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        let sender = incoming.sender.clone();
        let message = said(incoming);
        let (body, at) = (to_json(&message), self.parts.clock.now_ms());
        let bytes = body.len();
        let room = self.room_for_steer(bytes);
        let turn = room.as_ref().ok().copied();
        let id = message.id.clone();
        let steer = NewSteer { sender, id: id.clone(), body, hashed: hashed_part(&message), at, turn };
        // Asked for even where there is no room: what was accepted once is acknowledged again.
        match self.store.accept_steer(steer).await? {
            Some(accepted) => {
                let told = MessageAccepted { id, inbox_seq: accepted.inbox_seq, duplicate: accepted.duplicate };
                Ok((told, (!accepted.duplicate).then_some((message, bytes))))
            }
            None => Err(room.err().unwrap_or(Error::Stopping)),
        }
    }

    /// The turn that a new steer goes into.
    fn room_for_steer(&self, bytes: usize) -> Result<u64, Error> {
        let answers = |kind| kind == RowKind::Message;
        let Some(running) = self.running.as_ref().filter(|running| answers(running.attempt.row.kind)) else {
            return Err(Error::coded(ErrorCode::NoActiveTurn, "no message is being answered"));
        };
        let steers = &running.attempt.steers;
        if steers.guest.is_none() {
            let message = format!("{} has no `on-steer`", self.core.component);
            return Err(Error::coded(ErrorCode::NotSteerable, message));
        }
        let pending = steers.pending();
        // The row that runs waits no more.
        let waiting = self.queue.len().saturating_sub(1) + pending;
        if waiting >= self.inbox_max() {
            let message = format!("{waiting} messages and steers wait for this instance already");
            return Err(Error::coded(ErrorCode::InboxFull, message));
        }
        let count = SteerCount { accepted: steers.accepted, pending, bytes: steers.bytes };
        count.room_for(bytes).map_err(|WireError { message, .. }| Error::coded(ErrorCode::TooManySteers, message))?;
        Ok(running.attempt.number)
    }

    /// What is told of the steers of a turn that no guest will finish.
    pub(super) async fn steers_given_up(&mut self, turn: u64, at: u64) -> Result<Vec<NewUpdate>, Error> {
        let rows = self.store.steers(turn).await?;
        Ok(rows.into_iter().filter(|row| !row.is_told).map(|row| undelivered(row.id, at)).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(text: &str) -> (Role, String) {
        (Role::User, text.to_owned())
    }

    #[test]
    fn a_steer_stands_behind_what_was_said_before_it() {
        let said = vec![user("go"), (Role::Assistant, "a".to_owned()), (Role::Assistant, "b".to_owned())];
        let heard = |texts_before, text: &str| Heard { texts_before, text: text.to_owned() };
        let all = converse(said.clone(), 1, vec![heard(0, "x"), heard(1, "y"), heard(2, "z")]);
        let texts: Vec<_> = all.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["go", "x", "a", "y", "b", "z"]);
        assert_eq!(converse(said.clone(), 1, Vec::new()), said);
    }

    proptest! {
        /// Nothing is lost, doubled or put before what it followed.
        #[test]
        fn everything_said_stays_in_its_order(texts in 0_usize..8, mut places in prop::collection::vec(0_usize..8, 0..8)) {
            places.iter_mut().for_each(|place| *place = (*place).min(texts));
            places.sort_unstable();
            let mut said = vec![user("go")];
            said.extend((0..texts).map(|n| (Role::Assistant, n.to_string())));
            let heard = places.iter().enumerate().map(|(n, place)| Heard { texts_before: *place, text: n.to_string() });
            let all = converse(said, 1, heard.collect());
            let agent = |entry: &&(Role, String)| entry.0 == Role::Assistant;
            prop_assert_eq!(all.len(), 1 + texts + places.len());
            prop_assert_eq!(&all[0], &user("go"));
            let mut steers = 0;
            for (at, (role, text)) in all.iter().enumerate().skip(1) {
                if *role == Role::User {
                    prop_assert_eq!(text, &steers.to_string());
                    prop_assert_eq!(all[..at].iter().filter(agent).count(), places[steers]);
                    steers += 1;
                }
            }
            let order: Vec<_> = all.iter().filter(agent).map(|(_, text)| text.clone()).collect();
            prop_assert_eq!(order, (0..texts).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }
}
