//! Messages into the inbox: accept, retry, discard (TURN.md §2, §6).

use podium_store::{CutKind, Found, NewRow, Outcome, RowKind};
use podium_wire::frames::ServerFrame;
use podium_wire::message::{Message, Origin, Role};
use podium_wire::rest::MessageReceipt;
use podium_wire::updates::{MessageAccepted, Update, UpdateBody};
use podium_wire::{ErrorCode, WireError};
use tokio::sync::oneshot;

use super::row::Row;
use super::{Ack, Incoming, Owner, Receipt};
use crate::error::Error;
use crate::hub::Hub;
use crate::metrics::Commit;

/// The sender of rows that the host itself writes.
pub(crate) const HOST_SENDER: &str = "podium";

impl Owner {
    /// Accepts a message: durable first, then acknowledged, then run.
    pub(super) async fn accept(&mut self, mut incoming: Incoming, ack: Ack) {
        let mut span = crate::spans::accepting(self.id, &mut incoming);
        match self.accept_row(incoming).await {
            Ok((accepted, outcome)) => {
                if !accepted.duplicate
                    && let Some(row) = self.queue.back_mut()
                {
                    row.trace = span.parent();
                }
                match ack {
                    Ack::Reply(reply) => {
                        let receipt = MessageReceipt { message_id: accepted.id, duplicate: accepted.duplicate };
                        drop(reply.send(Ok(Receipt { receipt, outcome })));
                    }
                    Ack::Client(client) => {
                        let body = UpdateBody::MessageAccepted(accepted);
                        Hub::reply(&client, &ServerFrame::Update(Update::control(&body, self.parts.clock.now_ms())));
                    }
                }
            }
            Err(error) => {
                span.fail(&error.code().to_string());
                match ack {
                    Ack::Reply(reply) => drop(reply.send(Err(error))),
                    Ack::Client(client) => Hub::reply_error(&client, error.into()),
                }
            }
        }
        drop(span);
        self.start_next().await;
    }

    async fn accept_row(&mut self, incoming: Incoming) -> Result<(MessageAccepted, oneshot::Receiver<Outcome>), Error> {
        self.takes_messages()?;
        let sender = incoming.sender.clone();
        self.insert(sender, &said(incoming)).await
    }

    fn takes_messages(&self) -> Result<(), Error> {
        if self.stopping {
            return Err(Error::Stopping);
        }
        if self.core.stopped {
            return Err(Error::coded(ErrorCode::InstanceStopped, "the instance is stopped"));
        }
        Ok(())
    }

    /// Writes a message's row and queues it, or finds the one that was written before.
    async fn insert(
        &mut self,
        sender: String,
        message: &Message,
    ) -> Result<(MessageAccepted, oneshot::Receiver<Outcome>), Error> {
        self.load_agent().await?;
        let new = NewRow {
            sender,
            id: message.id.clone(),
            kind: RowKind::Message,
            hashed: hashed_part(message),
            body: to_json(message),
            at: self.parts.clock.now_ms(),
            start: None,
        };
        if self.queue.len() >= self.inbox_max() {
            return match self.store.find(&message.id).await?.into_iter().find(|row| row.sender == new.sender) {
                Some(_) => self.insert_row(new).await,
                None => {
                    let waiting = self.queue.len();
                    Err(Error::coded(
                        ErrorCode::InboxFull,
                        format!("{waiting} messages wait for this instance already"),
                    ))
                }
            };
        }
        self.insert_row(new).await
    }

    async fn insert_row(&mut self, mut new: NewRow) -> Result<(MessageAccepted, oneshot::Receiver<Outcome>), Error> {
        self.mark_active().await?;
        let idle = self.running.is_none() && self.queue.is_empty();
        // The turn's base is the cut of what was written through a mount. Where that cannot be made, the turn begins later.
        if idle && self.close_mount().await.is_ok() {
            // The turn begins in the same transaction that accepts its message.
            new.start = Some(self.first_attempt(new.kind));
        }
        let began = self.parts.clock.monotonic();
        let accepted = self.store.accept(new.clone()).await?;
        self.parts.metrics.committed(Commit::Accept, self.parts.clock.monotonic().saturating_sub(began));
        let (sender, outcome) = oneshot::channel();
        match accepted.outcome {
            Some(known) => drop(sender.send(known)),
            None => self.wait_for(accepted.inbox_seq, sender),
        }
        let told = MessageAccepted { id: new.id.clone(), inbox_seq: accepted.inbox_seq, duplicate: accepted.duplicate };
        if !accepted.duplicate {
            if let Some(start) = &new.start {
                // Its number is used from here on, whatever keeps the turn from beginning.
                self.core.last_turn = start.turn;
            }
            self.queue.push_back(Row::accepted(accepted.inbox_seq, new));
        }
        Ok((told, outcome))
    }

    pub(super) fn inbox_max(&self) -> usize {
        let limit = self.agent.as_ref().map_or(u64::MAX, |agent| agent.limits.inbox);
        usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// Runs a parked message again, or adds a failed one anew.
    pub(super) async fn retry(&mut self, id: &str) -> Result<MessageReceipt, Error> {
        if let Some(at) = self.parked_at(id) {
            self.unpark(at).await?;
            self.start_next().await;
            return Ok(MessageReceipt { message_id: id.to_owned(), duplicate: false });
        }
        self.takes_messages()?;
        let row = self.newest(id).await?;
        let outcome = self.store.outcome(row.inbox_seq).await?;
        if row.kind != RowKind::Message || outcome.is_none_or(|outcome| outcome.error.is_none()) {
            return Err(Error::coded(ErrorCode::AlreadyAnswered, format!("message {id} has not failed")));
        }
        let mut message: Message = serde_json::from_str(&row.body).map_err(|error| {
            Error::coded(ErrorCode::InstanceDamaged, format!("message {id} cannot be read: {error}"))
        })?;
        message.id = self.retry_id(id).await?;
        let (accepted, _) = self.insert(HOST_SENDER.to_owned(), &message).await?;
        self.start_next().await;
        Ok(MessageReceipt { message_id: accepted.id, duplicate: accepted.duplicate })
    }

    /// The id of the next retry: `retry:{k}:{message id}`.
    async fn retry_id(&mut self, id: &str) -> Result<String, Error> {
        let original =
            id.strip_prefix("retry:").and_then(|rest| rest.split_once(':')).map_or(id, |(_, original)| original);
        for k in 1..=RETRIES_MAX {
            let candidate = format!("retry:{k}:{original}");
            if self.store.find(&candidate).await?.is_empty() {
                return Ok(candidate);
            }
        }
        Err(Error::coded(ErrorCode::AlreadyAnswered, format!("message {original} was retried {RETRIES_MAX} times")))
    }

    /// Gives a parked message up: an error cut consumes it.
    pub(super) async fn discard(&mut self, id: &str) -> Result<u64, Error> {
        let Some(at) = self.parked_at(id) else {
            self.newest(id).await?;
            return Err(Error::coded(ErrorCode::NotParked, format!("message {id} is not parked")));
        };
        if self.running.is_some() {
            return Err(Error::coded(ErrorCode::TurnActive, "an upgrade runs"));
        }
        let row = self.queue[at].clone();
        let error = WireError::new(ErrorCode::Discarded, format!("message {id} was discarded"));
        let cut = self.cut_without_turn(CutKind::Error, Some(&row), Some(&error)).await?;
        self.queue.remove(at);
        self.resolve(row.seq, &Outcome { cut, text: None, error: Some(error) });
        self.start_next().await;
        Ok(cut)
    }

    /// The last row of that message id.
    async fn newest(&mut self, id: &str) -> Result<Found, Error> {
        let rows = self.store.find(id).await?;
        rows.into_iter()
            .max_by_key(|row| row.inbox_seq)
            .ok_or_else(|| Error::coded(ErrorCode::MessageNotFound, format!("there is no message {id}")))
    }

    /// The place of the parked row of that id.
    fn parked_at(&self, id: &str) -> Option<usize> {
        self.queue.iter().position(|row| row.parked && row.id == id)
    }

    async fn unpark(&mut self, at: usize) -> Result<(), Error> {
        let row = &mut self.queue[at];
        self.store.unpark(row.seq).await?;
        row.unpark();
        Ok(())
    }

    /// Has a row's outcome told to one more. Who has gone is forgotten first: one message can be repeated without end.
    pub(super) fn wait_for(&mut self, inbox_seq: u64, waiter: oneshot::Sender<Outcome>) {
        let waiters = self.waiters.entry(inbox_seq).or_default();
        waiters.retain(|waiter| !waiter.is_closed());
        waiters.push(waiter);
    }

    /// Tells everyone who waits for a row how it ended.
    pub(super) fn resolve(&mut self, inbox_seq: u64, outcome: &Outcome) {
        for waiter in self.waiters.remove(&inbox_seq).unwrap_or_default() {
            drop(waiter.send(outcome.clone()));
        }
    }
}

/// Retries of one message: a person's patience, and the bound of a search.
const RETRIES_MAX: u32 = 1000;

/// What came in as the agent gets it.
pub(super) fn said(incoming: Incoming) -> Message {
    Message {
        id: incoming.id,
        text: incoming.content.text,
        role: Role::User,
        attachments: incoming.content.attachments,
        origin: Origin {
            tenant_id: crate::auth::LOCAL_TENANT.to_owned(),
            role: crate::auth::LOCAL_ROLE.to_owned(),
            channel: incoming.channel.to_owned(),
        },
    }
}

/// What must be the same for a message to be the same one: the way it came does not count.
pub(super) fn hashed_part(message: &Message) -> String {
    to_json(&(&message.text, &message.attachments))
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> String {
    // Structs with string keys, which serde_json always writes.
    serde_json::to_string(value).unwrap_or_default()
}
