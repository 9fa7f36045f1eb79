//! The fold against a small host: attempts that die, connections that are lost anywhere, rings that are too short.

use podium_wire::InstanceId;
use podium_wire::asks::{Answer, AskOutcome, GivenAnswer, Question, QuestionRequested, QuestionResolved};
use podium_wire::frames::{ClientFrame, Hello, PROTOCOL, ServerFrame, Subscribe, Subscribed};
use podium_wire::message::MessageContent;
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{
    CutMade, Durability, EventType, ItemText, MessageAccepted, OpenItem, StatusChange, StatusEvent, StreamEnd,
    StreamStart, TurnKind, TurnRestarted, TurnSnapshot, Update, UpdateBody,
};
use podium_wire::{ErrorCode, WireError};
use proptest::prelude::*;

use super::answer::Show;
use super::fold::{Action, Fold, Outcome};

const ID: &str = "m1";
const TURN: &str = "t1";

fn text(item: &str, text: &str) -> ItemText {
    ItemText { item: item.to_owned(), text: text.to_owned() }
}

fn update(body: &UpdateBody, message: &str, turn: &str, attempt: u32, n: u64) -> Update {
    Update {
        turn_id: Some(turn.to_owned()),
        attempt: Some(attempt),
        n: Some(n),
        message_id: Some(message.to_owned()),
        ..Update::control(body, 0)
    }
}

/// A host with one instance, as far as a client can see it.
struct Host {
    rows: Vec<Update>,
    /// The running attempt's updates.
    ring: Vec<Update>,
    attempt: u32,
    running: bool,
    accepted: bool,
    /// Frames that a ring holds.
    reach: usize,
}

impl Host {
    fn new(rows_before: u64, reach: usize) -> Self {
        let body = UpdateBody::TextComplete(text("old", "somebody else's answer"));
        let rows =
            (1..=rows_before).map(|seq| Update { seq: Some(seq), ..update(&body, "m0", "t0", 1, seq) }).collect();
        Self { rows, ring: Vec::new(), attempt: 0, running: false, accepted: false, reach }
    }

    fn last_seq(&self) -> u64 {
        self.rows.len() as u64
    }

    fn hello(&self) -> ServerFrame {
        ServerFrame::Hello(Hello {
            protocol: PROTOCOL.to_owned(),
            instance: "0198c0de-0000-7000-8000-000000000001".parse::<InstanceId>().expect("an id"),
            last_seq: self.last_seq(),
            state_version: 0,
            cut: 1,
        })
    }

    fn answer(&mut self, frame: &ClientFrame) -> Vec<ServerFrame> {
        match frame {
            ClientFrame::ProcessMessage { id, .. } => {
                let duplicate = std::mem::replace(&mut self.accepted, true);
                let id = id.clone().expect("clients of ours name their messages");
                vec![control(&UpdateBody::MessageAccepted(MessageAccepted { id, inbox_seq: 1, duplicate }))]
            }
            ClientFrame::Subscribe(from) => self.resume(from),
            _ => Vec::new(),
        }
    }

    fn resume(&self, from: &Subscribe) -> Vec<ServerFrame> {
        let seen = |row: &Update| {
            from.turn_id.is_some() && row.turn_id == from.turn_id && row.attempt == from.attempt && row.n <= from.n
        };
        let later = self.rows.iter().filter(|row| row.seq > Some(from.after_seq) && !seen(row));
        let subscribed = Subscribed { after_seq: from.after_seq, through_seq: self.last_seq() };
        let mut frames = vec![ServerFrame::Subscribed(subscribed)];
        frames.extend(later.cloned().map(ServerFrame::Update));
        if !self.running {
            return frames;
        }
        let same = from.turn_id.as_deref() == Some(TURN);
        if same && from.attempt != Some(self.attempt) {
            frames.push(self.restarted());
        }
        let mut after = if same && from.attempt == Some(self.attempt) { from.n.unwrap_or(0) } else { 0 };
        let dropped = self.ring.len().saturating_sub(self.reach) as u64;
        if after < dropped {
            after = self.ring.len() as u64;
            frames.push(control(&UpdateBody::TurnSnapshot(self.snapshot())));
        }
        frames.extend(self.ring.iter().filter(|live| live.n > Some(after)).cloned().map(ServerFrame::Update));
        frames
    }

    fn restarted(&self) -> ServerFrame {
        control(&UpdateBody::TurnRestarted(TurnRestarted {
            turn_id: TURN.to_owned(),
            attempt: self.attempt,
            keep_through_seq: self.last_seq(),
        }))
    }

    fn snapshot(&self) -> TurnSnapshot {
        let mut items: Vec<OpenItem> = Vec::new();
        for live in &self.ring {
            match live.body().expect("ours") {
                UpdateBody::TextDelta(piece) => match items.iter_mut().find(|item| item.item == piece.item) {
                    Some(item) => item.text.push_str(&piece.text),
                    None => {
                        items.push(OpenItem { event_type: EventType::TextDelta, item: piece.item, text: piece.text });
                    }
                },
                UpdateBody::TextComplete(whole) => items.retain(|item| item.item != whole.item),
                _ => {}
            }
        }
        TurnSnapshot {
            turn_id: TURN.to_owned(),
            attempt: self.attempt,
            n: self.ring.len() as u64,
            items,
            asks: Vec::new(),
        }
    }

    /// A step of the turn, and what connected clients are sent of it.
    fn step(&mut self, step: &Step) -> Vec<ServerFrame> {
        match step {
            Step::Begin => {
                self.attempt += 1;
                self.running = true;
                self.ring.clear();
                let mut frames = if self.attempt > 1 { vec![self.restarted()] } else { Vec::new() };
                frames.extend(self.step(&Step::Emit(UpdateBody::StreamStart(StreamStart { kind: TurnKind::Message }))));
                frames
            }
            Step::Emit(body) => {
                let live = update(body, ID, TURN, self.attempt, self.ring.len() as u64 + 1);
                self.ring.push(live.clone());
                vec![ServerFrame::Update(live)]
            }
            Step::Die => {
                self.running = false;
                Vec::new()
            }
            Step::Cut => {
                self.running = false;
                let first = self.last_seq() + 1;
                for live in self.ring.drain(..) {
                    if live.event_type.entry().durability == Durability::Durable {
                        let seq = self.rows.len() as u64 + 1;
                        self.rows.push(Update { seq: Some(seq), ..live });
                    }
                }
                vec![control(&UpdateBody::Cut(CutMade {
                    cut: 2,
                    turn_id: Some(TURN.to_owned()),
                    attempt: Some(self.attempt),
                    through_n: u64::MAX,
                    first_seq: Some(first),
                    last_seq: Some(self.last_seq()),
                }))]
            }
        }
    }
}

fn control(body: &UpdateBody) -> ServerFrame {
    ServerFrame::Update(Update::control(body, 0))
}

#[derive(Debug, Clone)]
enum Step {
    Begin,
    Emit(UpdateBody),
    Die,
    Cut,
}

/// A client with the page that its reader sees.
struct Client {
    fold: Fold,
    connected: bool,
    page: String,
    started_over: usize,
    reconnects: usize,
    outcomes: Vec<Outcome>,
}

impl Client {
    fn new() -> Self {
        let content = MessageContent { text: "hello".into(), attachments: Vec::new() };
        Self {
            fold: Fold::new(ID.to_owned(), content),
            connected: false,
            page: String::new(),
            started_over: 0,
            reconnects: 0,
            outcomes: Vec::new(),
        }
    }

    fn connect(&mut self, host: &mut Host) {
        self.connected = true;
        self.take(host, host.hello());
    }

    fn take(&mut self, host: &mut Host, frame: ServerFrame) {
        let mut frames = std::collections::VecDeque::from([frame]);
        while let Some(frame) = frames.pop_front() {
            let mut again = false;
            for action in self.fold.feed(frame) {
                match action {
                    Action::Send(frame) => frames.extend(host.answer(&frame)),
                    Action::Show(Show::Text(text)) => self.page.push_str(&text),
                    Action::Show(Show::StartOver) => {
                        self.page.clear();
                        self.started_over += 1;
                    }
                    Action::Note(_) => {}
                    Action::Reconnect => again = true,
                    Action::Done(outcome) => self.outcomes.push(outcome),
                }
            }
            if again {
                self.reconnects += 1;
                assert!(self.reconnects < 100, "it never ends");
                frames = std::collections::VecDeque::from([host.hello()]);
            }
        }
    }
}

/// The texts of an answer, each in its pieces.
fn answers() -> impl Strategy<Value = Vec<Vec<String>>> {
    prop::collection::vec(prop::collection::vec("[a-zé\n ]{1,6}", 1..6), 1..4)
}

/// The steps of a whole answer; `together` has the items grow side by side.
fn steps(answer: &[Vec<String>], together: bool) -> (Vec<Step>, String) {
    let whole: Vec<String> = answer.iter().map(|pieces| pieces.concat()).collect();
    let mut emits = Vec::new();
    let delta = |item: usize, piece: &String| Step::Emit(UpdateBody::TextDelta(text(&format!("i{item}"), piece)));
    let complete = |item: usize| Step::Emit(UpdateBody::TextComplete(text(&format!("i{item}"), &whole[item])));
    if together {
        let longest = answer.iter().map(Vec::len).max().unwrap_or(0);
        for place in 0..longest {
            emits.extend(answer.iter().enumerate().filter_map(|(item, pieces)| Some(delta(item, pieces.get(place)?))));
        }
        emits.extend((0..answer.len()).map(complete));
    } else {
        for (item, pieces) in answer.iter().enumerate() {
            emits.extend(pieces.iter().map(|piece| delta(item, piece)));
            emits.push(complete(item));
        }
    }
    let text = whole.join("\n\n");
    emits.push(Step::Emit(UpdateBody::StreamEnd(StreamEnd { text: text.clone() })));
    (emits, text)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_text_is_shown_exactly_once(
        answer in answers(),
        together in any::<bool>(),
        deaths in prop::collection::vec(0usize..20, 0..3),
        away in prop::collection::vec(any::<bool>(), 1..100),
        before in 0u64..4,
        reach in prop_oneof![Just(0usize), 1usize..6, Just(1000)],
    ) {
        let (emits, whole) = steps(&answer, together);
        let mut timeline = Vec::new();
        for death in &deaths {
            timeline.push(Step::Begin);
            timeline.extend(emits.iter().take(*death).cloned());
            timeline.push(Step::Die);
        }
        timeline.push(Step::Begin);
        timeline.extend(emits);
        timeline.push(Step::Cut);

        let (mut host, mut client) = (Host::new(before, reach), Client::new());
        client.connect(&mut host);
        for (at, step) in timeline.iter().enumerate() {
            let frames = host.step(step);
            if away[at % away.len()] {
                // Lost, and what was on its way with it.
                client.connected = false;
                continue;
            }
            if client.connected {
                for frame in frames {
                    client.take(&mut host, frame);
                }
            } else {
                client.connect(&mut host);
            }
        }
        if client.outcomes.is_empty() {
            client.connect(&mut host);
        }
        prop_assert_eq!(client.outcomes.len(), 1);
        prop_assert_eq!(client.outcomes[0].result.as_deref(), Ok(whole.as_str()));
        // Where pieces were never sent to this client, the whole text replaces them, joined as the host joins it.
        prop_assert_eq!(&client.page, &whole);
        if deaths.is_empty() && reach == 1000 {
            prop_assert_eq!(client.started_over, 0, "nothing was lost, so nothing is said twice");
        }
    }

    #[test]
    fn frames_in_any_order_do_not_break_it(
        answer in answers(),
        order in prop::collection::vec(0usize..64, 0..80),
    ) {
        let mut host = Host::new(1, 3);
        let (emits, whole) = steps(&answer, true);
        let mut frames = vec![host.hello()];
        for step in std::iter::once(Step::Begin).chain(emits).chain([Step::Cut]) {
            frames.extend(host.step(&step));
        }
        frames.extend(host.resume(&Subscribe::default()));
        let mut fold = Fold::new(ID.to_owned(), MessageContent::default());
        let mut done = 0;
        for place in order {
            for action in fold.feed(frames[place % frames.len()].clone()) {
                if let Action::Done(outcome) = action {
                    done += 1;
                    prop_assert_eq!(outcome.result.as_deref(), Ok(whole.as_str()));
                }
            }
        }
        prop_assert!(done <= 1);
    }
}

fn connected() -> (Host, Client) {
    let (mut host, mut client) = (Host::new(0, 1000), Client::new());
    client.connect(&mut host);
    (host, client)
}

fn run(host: &mut Host, client: &mut Client, steps: &[Step]) {
    for step in steps {
        for frame in host.step(step) {
            client.take(host, frame);
        }
    }
}

#[test]
fn an_end_without_a_cut_is_no_answer() {
    let (mut host, mut client) = connected();
    let (emits, _) = steps(&[vec!["Hello".to_owned()]], false);
    run(&mut host, &mut client, &[Step::Begin]);
    run(&mut host, &mut client, &emits);
    assert_eq!(client.page, "Hello");
    assert!(client.outcomes.is_empty());
    run(&mut host, &mut client, &[Step::Die, Step::Begin]);
    assert_eq!((client.page.as_str(), client.started_over), ("", 1), "the attempt died before its cut");
    run(&mut host, &mut client, &emits);
    run(&mut host, &mut client, &[Step::Cut]);
    assert_eq!(client.page, "Hello");
    assert_eq!(client.outcomes[0].cut, Some(2));
}

#[test]
fn an_error_is_an_outcome_once_it_is_cut() {
    let (mut host, mut client) = connected();
    let trap = WireError::new(ErrorCode::GuestTrap, "unreachable");
    run(&mut host, &mut client, &[Step::Begin, Step::Emit(UpdateBody::Error(trap.clone()))]);
    assert!(client.outcomes.is_empty());
    run(&mut host, &mut client, &[Step::Cut]);
    assert_eq!(client.outcomes[0].result, Err(trap));
}

#[test]
fn a_refused_message_ends_at_once_and_a_later_error_frame_does_not() {
    let mut fold = Fold::new(ID.to_owned(), MessageContent::default());
    let host = Host::new(0, 10);
    fold.feed(host.hello());
    let refused = ServerFrame::Error(WireError::new(ErrorCode::InboxFull, "full"));
    assert!(matches!(fold.feed(refused.clone()).as_slice(), [Action::Done(outcome)] if outcome.result.is_err()));

    let (mut host, mut client) = connected();
    client.take(&mut host, refused);
    assert!(client.outcomes.is_empty(), "the message was accepted before");
}

#[test]
fn a_host_that_stops_is_come_back_to() {
    let mut fold = Fold::new(ID.to_owned(), MessageContent::default());
    fold.feed(Host::new(0, 10).hello());
    let stopping = ServerFrame::Error(WireError::new(ErrorCode::ShuttingDown, "stopping"));
    assert_eq!(fold.feed(stopping), [Action::Reconnect]);
}

#[test]
fn only_the_own_running_turn_is_interrupted_and_once() {
    let (mut host, mut client) = connected();
    assert!(client.fold.want_interrupt(), "the first wish");
    assert_eq!(client.fold.interrupt(), None, "it waits behind others");
    let other = update(&UpdateBody::TextDelta(text("x", "other")), "m0", "t0", 1, 5);
    client.take(&mut host, ServerFrame::Update(other));
    assert_eq!((client.fold.interrupt(), client.page.as_str()), (None, ""));
    run(&mut host, &mut client, &[Step::Begin]);
    assert_eq!(client.fold.interrupt(), Some(ClientFrame::Interrupt {}), "what was wanted before holds");
    assert_eq!((client.fold.want_interrupt(), client.fold.interrupt()), (false, None));
}

#[test]
fn nobody_interrupts_unasked() {
    let (mut host, mut client) = connected();
    run(&mut host, &mut client, &[Step::Begin]);
    assert_eq!(client.fold.interrupt(), None);
    assert!(client.fold.want_interrupt());
    assert_eq!(client.fold.interrupt(), Some(ClientFrame::Interrupt {}));
}

#[test]
fn a_message_that_was_answered_long_ago_shows_its_answer() {
    let (mut host, mut first) = connected();
    let (emits, whole) = steps(&[vec!["one".to_owned()], vec!["two".to_owned()]], false);
    run(&mut host, &mut first, &[Step::Begin]);
    run(&mut host, &mut first, &emits);
    run(&mut host, &mut first, &[Step::Cut]);
    let mut second = Client::new();
    second.connect(&mut host);
    assert_eq!(second.page, whole);
    assert!(second.outcomes[0].duplicate);
}

#[test]
fn parked_stopped_and_deleted_end_the_wait() {
    for (status, event, code) in [
        (InstanceStatus::Parked, StatusEvent::Parked, ErrorCode::Parked),
        (InstanceStatus::Stopped, StatusEvent::Stopped, ErrorCode::InstanceStopped),
        (InstanceStatus::Resting, StatusEvent::Terminated, ErrorCode::InstanceNotFound),
    ] {
        let (mut host, mut client) = connected();
        client.take(&mut host, control(&UpdateBody::InstanceStatus(StatusChange { status, event })));
        let error = client.outcomes[0].result.clone().expect_err("no answer");
        assert_eq!(error.known_code(), Some(code));
    }
}

#[test]
fn a_discarded_message_is_an_error_without_a_turn() {
    let (mut host, mut client) = connected();
    let error = WireError::new(ErrorCode::Discarded, "discarded");
    let mut row = Update::control(&UpdateBody::Error(error.clone()), 0);
    row.seq = Some(1);
    row.message_id = Some("m0".into());
    client.take(&mut host, ServerFrame::Update(row.clone()));
    assert!(client.outcomes.is_empty(), "another message's");
    row.message_id = Some(ID.into());
    client.take(&mut host, ServerFrame::Update(row));
    assert_eq!(client.outcomes[0].result, Err(error));
}

#[test]
fn a_question_of_the_own_turn_takes_a_line_until_it_is_resolved() {
    let (mut host, mut client) = connected();
    run(&mut host, &mut client, &[Step::Begin]);
    let question = |request_id: &str| {
        UpdateBody::QuestionRequested(QuestionRequested {
            request_id: request_id.to_owned(),
            again: false,
            question: Question {
                id: "q".to_owned(),
                header: String::new(),
                text: "Where to?".to_owned(),
                options: Vec::new(),
                is_other: false,
                is_secret: false,
            },
        })
    };
    let asked = |message: &str, turn: &str, n| ServerFrame::Update(update(&question("1:q"), message, turn, 1, n));
    client.fold.feed(asked("m0", "t0", 2));
    assert!(!client.fold.asks().want_line(), "somebody else's");
    let shown = client.fold.feed(asked(ID, TURN, 2));
    assert!(matches!(&shown[..], [Action::Note(note)] if note.contains("Where to?")), "{shown:?}");
    assert_eq!(client.fold.feed(asked(ID, TURN, 2)), [], "it is asked once");
    let answer = Answer::Text("there".to_owned());
    let given = ClientFrame::Answer(GivenAnswer { request_id: "1:q".to_owned(), answer });
    assert_eq!(client.fold.line("there"), Ok(given.clone()));
    assert!(!client.fold.asks().want_line());
    // Refused, or lost with the connection, it may be said again.
    client.fold.feed(ServerFrame::Error(WireError::new(ErrorCode::InvalidAnswer, "no")));
    assert_eq!(client.fold.line("there"), Ok(given));
    let resolved = UpdateBody::QuestionResolved(QuestionResolved {
        request_id: "1:q".to_owned(),
        outcome: AskOutcome::Answered,
        answer: None,
        by: None,
        channel: None,
    });
    let told = client.fold.feed(ServerFrame::Update(update(&resolved, ID, TURN, 1, 3)));
    assert_eq!(told, [Action::Note("answered".to_owned())]);
    assert!(client.fold.line("late").is_err());
}
