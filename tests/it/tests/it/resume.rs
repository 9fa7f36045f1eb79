//! Clients that come and go: no gap, no duplicate, wherever they left (TURN §4).

use std::collections::BTreeMap;

use podium_it::{Client, Host, Socket, agents, message_id};
use podium_wire::InstanceId;
use podium_wire::frames::{ServerFrame, Subscribe};
use podium_wire::updates::{EventType, Update, UpdateBody};
use serde_json::json;

/// Where a client stands: what it sends as `subscribe` when it comes back. Every update must be the next one.
struct Place {
    after_seq: u64,
    turn: Option<(String, u32, u64)>,
}

impl Place {
    /// A client that is connected for the first time.
    fn from_hello(socket: &Socket) -> Self {
        Self { after_seq: socket.hello.last_seq, turn: None }
    }

    /// Takes an update; fails when it is a duplicate or leaves a gap.
    fn take(&mut self, update: &Update) {
        if let Some(seq) = update.seq {
            assert!(seq > self.after_seq, "{seq} came after {}", self.after_seq);
            self.after_seq = seq;
            return;
        }
        if let Ok(UpdateBody::TurnSnapshot(snapshot)) = update.body() {
            self.turn = Some((snapshot.turn_id, snapshot.attempt, snapshot.n));
            return;
        }
        if let Ok(UpdateBody::Cut(cut)) = update.body() {
            let seen = |(turn, _, n): &(String, u32, u64)| Some(turn) == cut.turn_id.as_ref() && *n == cut.through_n;
            let complete = cut.turn_id.is_none() || self.turn.as_ref().is_some_and(seen);
            assert!(complete, "{cut:?} ends a turn of which something is missing");
            self.after_seq = self.after_seq.max(cut.last_seq.unwrap_or(0));
            return;
        }
        let (Some(turn), Some(attempt), Some(n)) = (&update.turn_id, update.attempt, update.n) else { return };
        let expected = match &self.turn {
            Some((known, tried, seen)) if known == turn && *tried == attempt => seen + 1,
            _ => 1,
        };
        assert_eq!(n, expected, "a gap or a duplicate");
        self.turn = Some((turn.clone(), attempt, n));
    }

    /// Connects again and goes on from here.
    async fn resume(&mut self, client: &Client, id: InstanceId) -> Socket {
        let mut socket = client.socket(id).await;
        let turn = self.turn.clone();
        let subscribe = Subscribe {
            after_seq: self.after_seq,
            turn_id: turn.as_ref().map(|turn| turn.0.clone()),
            attempt: turn.as_ref().map(|turn| turn.1),
            n: turn.as_ref().map(|turn| turn.2),
        };
        socket.subscribe(subscribe).await;
        socket
    }

    /// The next update.
    async fn next(&mut self, socket: &mut Socket) -> Update {
        let update = socket.update().await;
        self.take(&update);
        update
    }
}

#[tokio::test]
async fn a_client_gone_mid_turn_finds_the_turn_going_on() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    let message = socket.say("sleep 800").await;
    let mut place = Place::from_hello(&socket);
    for update in socket.until(EventType::StreamStart).await {
        place.take(&update);
    }
    drop(socket);
    let mut socket = place.resume(&client, id).await;
    let mut text = None;
    loop {
        let update = place.next(&mut socket).await;
        match update.body() {
            Ok(UpdateBody::StreamEnd(end)) => text = Some(end.text),
            Ok(UpdateBody::Cut(_)) => break,
            _ => {}
        }
    }
    assert_eq!(text.as_deref(), Some("slept 800"));
    assert_eq!(client.ask_as(id, &message, "sleep 800").await.text.as_deref(), Some("slept 800"));
}

#[tokio::test]
async fn a_turn_without_any_client_ends_all_the_same() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    let last = socket.hello.last_seq;
    let message = socket.say("sleep 200").await;
    socket.accepted().await;
    drop(socket);
    client.until(id, "the turn ends", |info| info.cut == 2).await;
    let mut socket = client.socket(id).await;
    socket.subscribe(Subscribe { after_seq: last, ..Subscribe::default() }).await;
    let updates = socket.until(EventType::StreamEnd).await;
    assert!(updates.iter().all(|update| update.message_id.as_ref() == Some(&message)), "{updates:?}");
    assert!(updates.iter().all(|update| update.seq.is_some()));
}

/// What a client that saw a text, in pieces or whole, has of it.
#[derive(Default)]
struct Seen {
    pieces: String,
    whole: Option<String>,
}

#[tokio::test]
async fn a_client_that_drops_in_the_middle_of_a_text_gets_the_rest_once() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let expected: String = (1..=3000).map(|n| format!("piece {n}\n")).collect();
    // Each round leaves after another number of updates, so that cuts fall before, in and after the leaving.
    for leave_after in [1, 2, 7, 50, 400, 1500, 2999, 3001, 3003] {
        let mut socket = client.socket(id).await;
        let mut place = Place::from_hello(&socket);
        let mut seen = Seen::default();
        let message = socket.say("stream 3000").await;
        socket.accepted().await;
        let mut ended = false;
        for _ in 0..leave_after {
            let update = place.next(&mut socket).await;
            ended |= take(&mut seen, &update, &message);
            if ended {
                break;
            }
        }
        drop(socket);
        if !ended {
            let mut socket = place.resume(&client, id).await;
            while !ended {
                let update = place.next(&mut socket).await;
                ended = take(&mut seen, &update, &message);
            }
        }
        assert_eq!(seen.whole.as_deref(), Some(expected.as_str()), "left after {leave_after}");
        assert!(expected.starts_with(&seen.pieces), "left after {leave_after}: pieces came twice or not at all");
    }
}

/// Takes an update; true when the turn is over for this client: its `stream_end` was seen, live or durable.
fn take(seen: &mut Seen, update: &Update, message: &str) -> bool {
    if update.message_id.as_deref() != Some(message) {
        return false;
    }
    match update.body() {
        Ok(UpdateBody::TextDelta(delta)) => seen.pieces.push_str(&delta.text),
        Ok(UpdateBody::TurnSnapshot(snapshot)) => {
            seen.pieces = snapshot.items.into_iter().map(|item| item.text).collect();
        }
        Ok(UpdateBody::TextComplete(text)) => {
            assert!(seen.whole.replace(text.text).is_none(), "the text was completed twice");
        }
        Ok(UpdateBody::StreamEnd(_)) => return true,
        _ => {}
    }
    false
}

#[tokio::test]
async fn a_subscription_from_a_future_is_reset() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    client.reply(id, "add").await;
    let mut socket = client.socket(id).await;
    let last = socket.hello.last_seq;
    socket.subscribe(Subscribe { after_seq: last + 1000, ..Subscribe::default() }).await;
    match socket.update().await.body() {
        Ok(UpdateBody::Reset(reset)) => assert_eq!(reset.to_seq, last),
        other => panic!("{other:?}"),
    }
    // The connection goes on, live.
    assert_eq!(socket.turn("add").await.text.as_deref(), Some("2"));
}

#[tokio::test]
async fn many_clients_that_come_and_go_see_every_durable_update_once() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    const TURNS: u64 = 60;
    let writer = {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..TURNS {
                client.reply(id, "add").await;
            }
        })
    };
    let mut readers = Vec::new();
    for reader in 0..4_u64 {
        let client = client.clone();
        readers.push(tokio::spawn(async move {
            let mut seen: BTreeMap<u64, String> = BTreeMap::new();
            let mut after = 0;
            let mut round = reader;
            loop {
                let mut socket = client.socket(id).await;
                socket.subscribe(Subscribe { after_seq: after, ..Subscribe::default() }).await;
                // Leaves after a number of updates that differs from round to round.
                round = round.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let mut live = Vec::new();
                for _ in 0..(round >> 60) + 1 {
                    let update = socket.update().await;
                    let key = |update: &Update| (update.turn_id.clone(), update.attempt, update.n);
                    let content = update.content.get().to_owned();
                    match update.seq {
                        Some(seq) => {
                            assert!(seen.insert(seq, content).is_none(), "{seq} came twice");
                            after = seq;
                        }
                        None if update.event_type.is_durable() => live.push((key(&update), content)),
                        None => {}
                    }
                    if let Ok(UpdateBody::Cut(cut)) = update.body() {
                        // The live updates of that turn have their numbers now, when all of them were seen.
                        let (Some(first), Some(last)) = (cut.first_seq, cut.last_seq) else { continue };
                        if live.len() as u64 == last - first + 1 {
                            for (seq, (_, content)) in (first..=last).zip(live.drain(..)) {
                                assert!(seen.insert(seq, content).is_none(), "{seq} came twice");
                                after = seq;
                            }
                        }
                        live.clear();
                    }
                    let ended = client.info(id).await;
                    if ended.cut == TURNS + 1 && after == ended.last_seq {
                        return seen;
                    }
                }
            }
        }));
    }
    writer.await.expect("the writer ends");
    let last = client.info(id).await.last_seq;
    let mut all = Vec::new();
    for reader in readers {
        let seen = tokio::time::timeout(podium_it::PATIENCE, reader).await.expect("in time").expect("a reader ends");
        assert!(seen.keys().copied().eq(1..=last), "a reader has {} of {last}", seen.len());
        all.push(seen);
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "two readers differ");
}

#[tokio::test]
async fn a_reader_that_does_not_read_does_not_hold_up_the_agent() {
    let host = Host::start().await;
    let client = host.client();
    let wide = json!({"output_bytes": 33_554_432, "updates": 1_000_000});
    assert_eq!(client.deploy(agents::with_limits("probe", &wide), None, None).await.status, 201);
    let id = client.instance("probe").await;
    // It connects and never reads another frame.
    let mut lazy = client.socket(id).await;
    for _ in 0..4 {
        let outcome = client.ask_as(id, &message_id(), "stream 100000").await;
        assert_eq!(outcome.error, None);
    }
    let info = client.info(id).await;
    // It is told that it missed something, or let go; what it reads then is no lie.
    let mut last = 0;
    loop {
        match lazy.try_next().await {
            Ok(ServerFrame::Update(update)) => match update.body() {
                Ok(UpdateBody::Lagged(lagged)) => {
                    assert!(lagged.to_seq <= info.last_seq);
                    break;
                }
                Ok(UpdateBody::Cut(cut)) => {
                    last = cut.last_seq.unwrap_or(last);
                    if last == info.last_seq {
                        break;
                    }
                }
                _ => {}
            },
            Ok(_) => {}
            Err(_) => break,
        }
    }
    let mut socket = client.socket(id).await;
    socket.subscribe(Subscribe { after_seq: last, ..Subscribe::default() }).await;
    if last < info.last_seq {
        assert_eq!(socket.update().await.seq, Some(last + 1));
    }
}
