//! An agent asks: who answers, who is first, what everybody is told, and what becomes of a question that nobody answers.

use std::time::Duration;

use podium_it::{Client, Host, Neighbour, Socket, agents, eventually, message_id};
use podium_wire::asks::{
    Answer, Ask, AskList, AskOutcome, Decision, GivenAnswer, GivenDecision, OpenAsk, QuestionResolved,
};
use podium_wire::frames::{ClientFrame, ServerFrame, Subscribe};
use podium_wire::rest::InstanceStatus;
use podium_wire::updates::{EventType, UpdateBody};
use podium_wire::{ErrorCode, InstanceId};
use serde_json::json;

/// A word that is nowhere else.
const SECRET: &str = "correct-horse-battery-staple-7531";

async fn probe(host: &Host) -> (Client, InstanceId) {
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    (client, id)
}

async fn open(client: &Client, id: InstanceId) -> Vec<OpenAsk> {
    client.get(&format!("/agent/{id}/asks")).await.with::<AskList>(200).asks
}

/// The one thing that is asked, once it is.
async fn asked(client: &Client, id: InstanceId) -> OpenAsk {
    eventually("a question", async || open(client, id).await.into_iter().next()).await
}

/// Begins a turn that asks, and waits until it does.
async fn ask(client: &Client, id: InstanceId, message: &str, text: &str) -> OpenAsk {
    client.post_message(id, message, text).await;
    asked(client, id).await
}

fn option(request_id: &str, label: &str) -> GivenAnswer {
    GivenAnswer { request_id: request_id.to_owned(), answer: Answer::Option(label.to_owned()) }
}

fn text(request_id: &str, text: &str) -> GivenAnswer {
    GivenAnswer { request_id: request_id.to_owned(), answer: Answer::Text(text.to_owned()) }
}

async fn answer(client: &Client, id: InstanceId, given: &GivenAnswer) -> podium_it::Answer {
    client.post_json(&format!("/api/v1/instances/{id}/answer"), given).await
}

/// The resolution that a connection is told.
async fn resolution(socket: &mut Socket) -> QuestionResolved {
    match socket.until(EventType::QuestionResolved).await.last().map(|update| update.body()) {
        Some(Ok(UpdateBody::QuestionResolved(resolved))) => resolved,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_question_is_answered_over_the_websocket() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let mut socket = client.socket(id).await;
    let message = socket.say("ask env").await;
    let updates = socket.until(EventType::QuestionRequested).await;
    let Some(Ok(UpdateBody::QuestionRequested(question))) = updates.last().map(|update| update.body()) else {
        panic!("{updates:?}")
    };
    assert_eq!((question.again, question.question.text.as_str()), (false, "Where to?"));
    assert_eq!((question.question.header.as_str(), question.question.id.as_str()), ("Deploy", "env"));
    let labels: Vec<_> = question.question.options.iter().map(|option| option.label.as_str()).collect();
    assert_eq!(labels, ["staging", "production"]);
    client.until(id, "the turn waits", |info| info.status == InstanceStatus::Waiting).await;
    socket.send(&ClientFrame::Answer(option(&question.request_id, "production"))).await.expect("sent");
    let turn = socket.rest_of_turn(message).await;
    assert_eq!(turn.text.as_deref(), Some("option production"));
    // The record of the conversation has both, with who it was.
    let mut later = client.socket(id).await;
    later.subscribe(Subscribe::default()).await;
    let resolved = resolution(&mut later).await;
    assert_eq!((resolved.outcome, resolved.answer), (AskOutcome::Answered, Some(Answer::Option("production".into()))));
    assert_eq!((resolved.by.as_deref(), resolved.channel.as_deref()), (Some("local"), Some("ws")));
    assert_eq!(resolved.request_id, question.request_id);
    assert!(open(&client, id).await.is_empty());
}

#[tokio::test]
async fn a_question_is_answered_over_http_when_its_asker_has_gone() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let mut socket = client.socket(id).await;
    let message = socket.say("ask env").await;
    socket.until(EventType::QuestionRequested).await;
    socket.close().await;
    let ask = asked(&client, id).await;
    assert_eq!(ask.message_id.as_ref(), Some(&message));
    // Who connects in the middle is told what is open.
    let mut other = client.socket(id).await;
    other.subscribe(Subscribe { after_seq: other.hello.last_seq, ..Subscribe::default() }).await;
    match other.until(EventType::TurnSnapshot).await.last().map(|update| update.body()) {
        Some(Ok(UpdateBody::TurnSnapshot(snapshot))) => assert_eq!(snapshot.asks, std::slice::from_ref(&ask)),
        other => panic!("{other:?}"),
    }
    assert_eq!(answer(&client, id, &text(&ask.request_id, "the moon")).await.status, 204);
    assert_eq!(resolution(&mut other).await.channel.as_deref(), Some("http"));
    let outcome = client.ask_as(id, &message, "ask env").await;
    assert_eq!(outcome.text.as_deref(), Some("text the moon"));
}

#[tokio::test]
async fn a_snapshot_has_what_is_open() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    // More than a connection can be told again one by one, and then the question.
    let ask = ask(&client, id, "many", "flood-then-ask 3700").await;
    let mut socket = client.socket(id).await;
    socket.subscribe(Subscribe { after_seq: socket.hello.last_seq, ..Subscribe::default() }).await;
    let updates = socket.until(EventType::TurnSnapshot).await;
    let Some(Ok(UpdateBody::TurnSnapshot(snapshot))) = updates.last().map(|update| update.body()) else {
        panic!("{updates:?}")
    };
    assert_eq!(snapshot.asks, [ask]);
}

#[tokio::test]
async fn a_permission_takes_each_decision() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let decisions = [
        (Decision::Accept, "Decision::Accept true"),
        (Decision::AcceptForSession, "Decision::AcceptForSession true"),
        (Decision::Decline, "Decision::Decline false"),
        (Decision::Cancel, "Decision::Cancel false"),
    ];
    for (decision, said) in decisions {
        let message = message_id();
        let ask = ask(&client, id, &message, "permit rm -rf build").await;
        let Ask::Permission(permission) = &ask.ask else { panic!("{ask:?}") };
        assert_eq!((permission.title.as_str(), &permission.details), ("rm -rf build", &json!({"cwd": "/workspace"})));
        let mut socket = client.socket(id).await;
        let given = GivenDecision { request_id: ask.request_id.clone(), decision };
        assert_eq!(client.post_json(&format!("/agent/{id}/approve"), &given).await.status, 204);
        let updates = socket.until(EventType::ApprovalResolved).await;
        match updates.last().map(|update| update.body()) {
            Some(Ok(UpdateBody::ApprovalResolved(resolved))) => assert_eq!(resolved.decision, Some(decision)),
            other => panic!("{other:?}"),
        }
        let reply = client.ask_as(id, &message, "permit rm -rf build").await.text.expect("it ends well");
        assert_eq!(reply, said);
    }
}

#[tokio::test]
async fn of_two_who_answer_at_once_the_first_wins_and_both_are_told() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    for round in 0..20 {
        let message = message_id();
        let (mut one, mut two) = (client.socket(id).await, client.socket(id).await);
        let ask = ask(&client, id, &message, "ask env").await;
        let over_http = text(&ask.request_id, "http");
        let (first, second, third) = (
            ClientFrame::Answer(text(&ask.request_id, "one")),
            ClientFrame::Answer(text(&ask.request_id, "two")),
            answer(&client, id, &over_http),
        );
        let (a, b, c) = tokio::join!(one.send(&first), two.send(&second), third);
        a.and(b).expect("sent");
        let outcome = client.ask_as(id, &message, "ask env").await;
        let reply = outcome.text.expect("it ends well");
        let winner = reply.strip_prefix("text ").expect("a text").to_owned();
        // Whoever was not the first is refused by name, be the turn over or not; everybody is told who was.
        match winner.as_str() {
            "http" => assert_eq!(c.status, 204),
            _ => drop(c.refused(ErrorCode::AskResolved)),
        }
        for (name, socket) in [("one", &mut one), ("two", &mut two)] {
            let (mut told, mut refused) = (None, (name == winner).then_some(ErrorCode::AskResolved));
            while told.is_none() || refused.is_none() {
                match socket.next().await {
                    ServerFrame::Error(error) => refused = error.known_code(),
                    ServerFrame::Update(update) => {
                        if let Ok(UpdateBody::QuestionResolved(resolved)) = update.body() {
                            told = resolved.answer;
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(told, Some(Answer::Text(winner.clone())), "round {round}");
            assert_eq!(refused, Some(ErrorCode::AskResolved), "round {round}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_refused_and_the_question_stays() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let ask = ask(&client, id, "one", "choose env").await;
    let request = ask.request_id.as_str();
    answer(&client, id, &option(request, "moon")).await.refused(ErrorCode::InvalidAnswer);
    answer(&client, id, &text(request, "staging")).await.refused(ErrorCode::InvalidAnswer);
    answer(&client, id, &text(request, &"x".repeat(70_000))).await.refused(ErrorCode::InvalidAnswer);
    answer(&client, id, &option("99:env", "staging")).await.refused(ErrorCode::AskNotFound);
    let decision = GivenDecision { request_id: request.to_owned(), decision: Decision::Accept };
    client.post_json(&format!("/agent/{id}/approve"), &decision).await.refused(ErrorCode::InvalidAnswer);
    let shapeless = json!({"request_id": request, "answer": {"number": 1}});
    client.post_json(&format!("/agent/{id}/answer"), &shapeless).await.refused(ErrorCode::InvalidJson);
    let mut socket = client.socket(id).await;
    socket.send(&ClientFrame::Answer(option(request, "moon"))).await.expect("sent");
    assert_eq!(socket.error().await.known_code(), Some(ErrorCode::InvalidAnswer));
    assert_eq!(open(&client, id).await, std::slice::from_ref(&ask));
    assert_eq!(answer(&client, id, &option(request, "staging")).await.status, 204);
    assert_eq!(client.ask_as(id, "one", "choose env").await.text.as_deref(), Some("option staging"));
    answer(&client, id, &option(request, "staging")).await.refused(ErrorCode::AskResolved);
}

#[tokio::test]
async fn what_an_agent_may_ask_is_bounded() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let neighbour = Neighbour::of(&client).await;
    for (command, code) in [("asks 17", ErrorCode::TooManyCalls), ("longask 65537", ErrorCode::InvalidAsk)] {
        assert_eq!(neighbour.meanwhile(client.reply(id, command)).await, code.to_string(), "{command}");
    }
    assert!(open(&client, id).await.is_empty());
    // As many as may be are all there, and end with their turn.
    client.post_message(id, "sixteen", "asks 16").await;
    let all = eventually("16 questions", async || Some(open(&client, id).await).filter(|all| all.len() == 16)).await;
    neighbour.is_served().await;
    let mut socket = client.socket(id).await;
    assert_eq!(answer(&client, id, &option(&all[15].request_id, "staging")).await.status, 204);
    assert_eq!(client.ask_as(id, "sixteen", "asks 16").await.text.as_deref(), Some("staging"));
    let mut outcomes = Vec::new();
    for _ in 0..16 {
        outcomes.push(resolution(&mut socket).await.outcome);
    }
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == AskOutcome::Answered).count(), 1);
    answer(&client, id, &option(&all[0].request_id, "staging")).await.refused(ErrorCode::AskResolved);
}

#[tokio::test]
async fn a_question_that_the_agent_takes_back_is_told() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let mut socket = client.socket(id).await;
    let turn = socket.turn("takeback env").await;
    assert_eq!(turn.text.as_deref(), Some("never mind false"));
    let resolved = turn.updates.iter().filter_map(|update| match update.body() {
        Ok(UpdateBody::QuestionResolved(resolved)) => Some((resolved.request_id, resolved.outcome)),
        _ => None,
    });
    let resolved: Vec<_> = resolved.collect();
    assert_eq!(resolved.len(), 2, "{resolved:?}");
    assert!(resolved.iter().all(|(_, outcome)| *outcome == AskOutcome::Cancelled), "{resolved:?}");
    assert_eq!(resolved[1].0, format!("{}#2", resolved[0].0), "two of one name are two");
}

#[tokio::test]
async fn waiting_for_an_answer_is_no_wall_time_and_has_a_limit_of_its_own() {
    let host = Host::start().await;
    let client = host.client();
    let limits = json!({"wall_ms": 300, "wait_ms": 1500});
    let answered = client.deploy(agents::with_limits("probe", &limits), None, None).await;
    assert_eq!(answered.status, 201, "{}", answered.text());
    let id = client.instance("probe").await;
    let ask = ask(&client, id, "slow", "ask env").await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(answer(&client, id, &option(&ask.request_id, "staging")).await.status, 204);
    assert_eq!(client.ask_as(id, "slow", "ask env").await.text.as_deref(), Some("option staging"));
    let mut socket = client.socket(id).await;
    client.failure(id, "ask env", ErrorCode::WaitLimit).await;
    assert_eq!(resolution(&mut socket).await.outcome, AskOutcome::TurnEnded);
}

#[tokio::test]
async fn an_open_question_ends_with_interrupt_stop_and_delete() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let mut socket = client.socket(id).await;
    // Interrupted, it is cancelled.
    let first = ask(&client, id, "first", "ask env").await;
    assert_eq!(client.post(&format!("/agent/{id}/interrupt")).await.status, 202);
    assert_eq!(resolution(&mut socket).await.outcome, AskOutcome::Cancelled);
    let outcome = client.ask_as(id, "first", "ask env").await;
    assert_eq!(outcome.error.and_then(|error| error.known_code()), Some(ErrorCode::Interrupted));
    answer(&client, id, &option(&first.request_id, "staging")).await.refused(ErrorCode::AskResolved);
    // Stopped, its turn is set aside, and waits for the same answer after the start.
    let second = ask(&client, id, "second", "ask env").await;
    assert_eq!(client.post(&format!("/agent/{id}/stop")).await.status, 200);
    assert_eq!(client.post(&format!("/agent/{id}/start")).await.status, 200);
    let again = asked(&client, id).await;
    assert_eq!(again, second);
    assert_eq!(answer(&client, id, &option(&again.request_id, "staging")).await.status, 204);
    assert_eq!(client.ask_as(id, "second", "ask env").await.text.as_deref(), Some("option staging"));
    // Deleted, everybody is told before the connection closes.
    let mut socket = client.socket(id).await;
    ask(&client, id, "third", "ask env").await;
    assert_eq!(client.delete(&format!("/agent/{id}")).await.status, 204);
    assert_eq!(resolution(&mut socket).await.outcome, AskOutcome::TurnEnded);
}

#[tokio::test]
async fn after_a_crash_it_is_the_same_request() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let before = ask(&client, id, "m", "ask env").await;
    assert!(!before.again);
    let host = host.crash().await;
    let client = host.client();
    let mut socket = client.socket(id).await;
    let after = asked(&client, id).await;
    assert_eq!(after, before);
    socket.send(&ClientFrame::Answer(option(&after.request_id, "staging"))).await.expect("sent");
    assert_eq!(client.ask_as(id, "m", "ask env").await.text.as_deref(), Some("option staging"));
    // A permission as well.
    let before = ask(&client, id, "p", "permit rm -r build").await;
    assert!(!before.again && matches!(&before.ask, Ask::Permission(_)));
    let host = host.crash().await;
    let client = host.client();
    let after = asked(&client, id).await;
    assert_eq!(after, before);
    let given = GivenDecision { request_id: after.request_id, decision: Decision::Accept };
    assert_eq!(client.post_json(&format!("/api/v1/instances/{id}/approve"), &given).await.status, 204);
    assert_eq!(client.ask_as(id, "p", "permit rm -r build").await.text.as_deref(), Some("Decision::Accept true"));
    // An answer that was taken right before the crash is the answer.
    let third = ask(&client, id, "n", "ask env").await;
    assert_eq!(answer(&client, id, &option(&third.request_id, "staging")).await.status, 204);
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(client.ask_as(id, "n", "ask env").await.text.as_deref(), Some("option staging"));
    // A secret one is written nowhere, so it is asked for again where its turn needs it again.
    let fourth = ask(&client, id, "s", "secret key").await;
    let host = host.crash().await;
    let client = host.client();
    assert_eq!(asked(&client, id).await, fourth);
    assert_eq!(answer(&client, id, &text(&fourth.request_id, "hunter2")).await.status, 204);
    assert_eq!(client.ask_as(id, "s", "secret key").await.text.as_deref(), Some("7 bytes"));
}

#[tokio::test]
async fn a_secret_reaches_the_agent_and_nothing_else() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let mut socket = client.socket(id).await;
    let ask = ask(&client, id, "m", "secret key").await;
    assert!(matches!(&ask.ask, Ask::Question(question) if question.is_secret));
    // A wrong one is not repeated either.
    let wrong = answer(&client, id, &option(&ask.request_id, SECRET)).await;
    assert!(!wrong.text().contains(SECRET));
    assert_eq!(answer(&client, id, &text(&ask.request_id, SECRET)).await.status, 204);
    let resolved = resolution(&mut socket).await;
    assert_eq!((resolved.outcome, resolved.answer), (AskOutcome::Answered, None));
    let reply = client.ask_as(id, "m", "secret key").await.text.expect("it ends well");
    assert_eq!(reply, format!("{} bytes", SECRET.len()));
    let late = answer(&client, id, &text(&ask.request_id, SECRET)).await;
    assert!(!late.text().contains(SECRET));
    let log = host.log();
    let data = host.kill();
    assert!(!log.contains(SECRET));
    let mut files = 0;
    let mut folders = vec![data.path()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if entry.file_type().expect("a type").is_dir() {
                folders.push(path);
            } else {
                files += 1;
                let bytes = std::fs::read(&path).expect("a file");
                let found = bytes.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                assert!(!found, "the secret is in {}", path.display());
            }
        }
    }
    assert!(files > 5, "{files} files were looked at");
}

#[tokio::test]
async fn a_deploy_shows_that_an_agent_may_ask() {
    let host = Host::start().await;
    let client = host.client();
    assert!(client.deployed("probe").await.deployment.capabilities.contains(&"ask".to_owned()));
    assert!(!client.deployed("hello").await.deployment.capabilities.contains(&"ask".to_owned()));
}

#[tokio::test]
async fn a_script_sees_and_answers() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let cli = host.cli();
    let name = id.to_string();
    let nothing = cli.run(&["instance", "asks", &name]).await;
    assert!(nothing.ok().is_empty() && nothing.stderr.contains("nothing is asked"), "{nothing:?}");
    let first = ask(&client, id, "a", "ask env").await;
    let shown = cli.run(&["instance", "asks", &name]).await;
    for wanted in [first.request_id.as_str(), "Where to?", "1 staging", "2 production", "a text"] {
        assert!(shown.ok().contains(wanted), "no `{wanted}` in {shown:?}");
    }
    let listed = cli.run(&["instance", "asks", &name, "--json"]).await.json();
    assert_eq!(listed["asks"][0]["request_id"], json!(first.request_id));
    let given = cli.run(&["instance", "answer", &name, &first.request_id, "2", "--json"]).await.json();
    assert_eq!(given, json!({"request_id": first.request_id, "outcome": "answered"}));
    assert_eq!(client.ask_as(id, "a", "ask env").await.text.as_deref(), Some("option production"));
    cli.run(&["instance", "answer", &name, &first.request_id, "2"]).await.failed(5, ErrorCode::AskResolved);
    cli.run(&["instance", "answer", &name, "99:x", "2"]).await.failed(3, ErrorCode::AskNotFound);
    // A text that looks like an option, and a line of stdin.
    let second = ask(&client, id, "b", "ask env").await;
    cli.run(&["instance", "answer", &name, &second.request_id, "--text", "1"]).await.ok();
    assert_eq!(client.ask_as(id, "b", "ask env").await.text.as_deref(), Some("text 1"));
    let third = ask(&client, id, "c", "secret key").await;
    cli.run_with(&["instance", "answer", &name, &third.request_id, "-"], b"hunter2\n").await.ok();
    assert_eq!(client.ask_as(id, "c", "secret key").await.text.as_deref(), Some("7 bytes"));
    // A permission, with a word that is none first.
    let fourth = ask(&client, id, "d", "permit make").await;
    cli.run(&["instance", "answer", &name, &fourth.request_id, "perhaps"]).await.failed(2, ErrorCode::Usage);
    cli.run(&["instance", "answer", &name, &fourth.request_id, "accept-for-session"]).await.ok();
    let said = client.ask_as(id, "d", "permit make").await.text;
    assert_eq!(said.as_deref(), Some("Decision::AcceptForSession true"));
}

#[tokio::test]
async fn a_chat_without_a_terminal_takes_its_answers_from_its_lines() {
    let host = Host::start().await;
    let (client, id) = probe(&host).await;
    let name = id.to_string();
    let lines = b"ask env\n3000\nchoose env\nmoon\n1\npermit make\nno\necho done\n";
    let said = host.cli().run_with(&["chat", &name], lines).await;
    let wanted = ["text 3000", "option staging", "Decision::Decline false", "done"];
    let shown: Vec<&str> = said.ok().lines().collect();
    assert_eq!(shown, wanted, "{said:?}");
    assert!(said.stderr.contains("? Deploy: Where to?") && said.stderr.contains("a number from 1 to 2"), "{said:?}");
    // One message of a script leaves the script's stdin alone and says how to answer.
    let cli = host.cli();
    let call = ["chat", name.as_str(), "ask env"];
    let chat = cli.run_with(&call, b"not an answer\n");
    let answers = async {
        let ask = asked(&client, id).await;
        cli.run(&["instance", "answer", &name, &ask.request_id, "staging"]).await.ok();
        ask.request_id
    };
    let (said, request) = tokio::join!(chat, answers);
    assert_eq!(said.ok(), "option staging\n");
    assert!(said.stderr.contains(&format!("podium instance answer {name} {request}")), "{said:?}");
}

#[tokio::test]
async fn a_chat_on_a_terminal_shows_and_takes_and_hides() {
    let host = Host::start().await;
    let (_, id) = probe(&host).await;
    let line = format!("\"$PODIUM\" chat {id}; echo code $?; stty -a");
    let typed = [
        ("> ", "ask env\r"),
        ("or a text of your own", "2\r"),
        ("> ", "secret key\r"),
        ("not kept", "hunter2\r"),
        ("> ", "permit make\r"),
        ("4 cancel", "1\r"),
        ("> ", "\u{4}"),
    ];
    let shown = host.cli().typed(&line, &typed).await;
    for wanted in
        ["1 staging - Nobody notices.", "option production", "7 bytes", "permission: run: make", "true", "code 0"]
    {
        assert!(shown.contains(wanted), "no `{wanted}` in {shown:?}");
    }
    assert!(!shown.contains("hunter2"), "{shown:?}");
    let settings = &shown[shown.find("code 0").expect("it ended")..];
    assert!(settings.contains(" icanon") && settings.contains(" echo "), "{settings:?}");
}
