//! Traces: a message's way as spans, in a collector that reads OTLP; and a collector that is not there.

use std::net::{SocketAddr, TcpListener};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use podium_it::collector::text;
use podium_it::{Client, Collector, Data, Host, eventually, message_id};
use podium_wire::rest::MessageOutcome;
use podium_wire::updates::EventType;
use podium_wire::{ErrorCode, InstanceId};
use reqwest::Method;
use serde_json::json;

/// Spans leave soon.
const SOON: (&str, &str) = ("OTEL_BSP_SCHEDULE_DELAY", "50");

async fn traced(collector: &Collector) -> Host {
    Host::start_with(&["--otlp-endpoint", collector.url()], &[SOON]).await
}

/// Sends a message with a `traceparent` and waits for its turn.
async fn ask(client: &Client, id: InstanceId, text: &str, traceparent: &str) -> MessageOutcome {
    let path = format!("/api/v1/instances/{id}/messages?wait=30s");
    let body = json!({ "id": message_id(), "content": { "text": text } });
    client.send(client.request(Method::POST, &path).header("traceparent", traceparent).json(&body)).await.with(200)
}

#[track_caller]
fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "`{name}` in {spans:?}");
    found[0]
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
}

#[tokio::test]
async fn a_message_is_one_trace_that_continues_its_senders() {
    let collector = Collector::start().await;
    let host = traced(&collector).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let mut socket = client.socket(id).await;
    let outcome = ask(&client, id, "history 5", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").await;
    assert_eq!(outcome.error, None);
    let turn_id = socket.until(EventType::StreamStart).await.pop().and_then(|update| update.turn_id).expect("a turn");
    let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    let spans = collector.spans(&trace_id, &["accept", "turn", "messages.history", "cut"]).await;
    assert_eq!(spans.len(), 4, "{spans:?}");
    let [accept, turn, history, cut] =
        ["accept", "turn", "messages.history", "cut"].map(|name| one(&spans, name).clone());
    assert_eq!(accept.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!(accept.kind, SpanKind::Server as i32);
    assert_eq!(turn.parent_span_id, accept.span_id);
    assert_eq!(history.parent_span_id, turn.span_id);
    assert_eq!(cut.parent_span_id, turn.span_id);
    for span in &spans {
        assert!(!failed(span) && span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
    }
    let within = |inner: &Span| {
        turn.start_time_unix_nano <= inner.start_time_unix_nano && inner.end_time_unix_nano <= turn.end_time_unix_nano
    };
    assert!(within(&history) && within(&cut));
    assert!(history.end_time_unix_nano <= cut.start_time_unix_nano);
    for span in [&accept, &turn] {
        assert_eq!(text(&span.attributes, "podium.instance"), id.to_string());
        assert_eq!(text(&span.attributes, "podium.message_id"), outcome.message_id);
    }
    assert_eq!(text(&accept.attributes, "podium.channel"), "http");
    assert_eq!(text(&turn.attributes, "podium.turn_id"), turn_id);
    assert_eq!(text(&turn.attributes, "podium.attempt"), "1");
    assert!(text(&turn.attributes, "podium.deployment").starts_with("probe:"));
    assert_eq!(text(&history.attributes, "podium.effect"), "1");
    for span in [&turn, &cut] {
        assert_eq!(text(&span.attributes, "podium.cut"), outcome.cut.to_string());
    }
    let resource = collector.received().resource;
    assert_eq!(text(&resource, "service.name"), "podium");
    assert_eq!(text(&resource, "service.version"), env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_failed_turn_says_its_code_and_nobody_says_what_was_said() {
    let collector = Collector::start().await;
    let host = Host::start_with(
        &[],
        &[
            SOON,
            ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
            ("OTEL_EXPORTER_OTLP_HEADERS", "x-api-key=a-key"),
            ("OTEL_SERVICE_NAME", "agents"),
            ("PODIUM_LOG", "trace"),
        ],
    )
    .await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let known = "00-00000000000000000000000000000abc-00000000000000ab-01";
    let outcome = ask(&client, id, "fail hush-hush", known).await;
    assert!(outcome.error.is_some_and(|error| error.message.contains("hush-hush")));
    let spans = collector.spans(&0xabc_u128.to_be_bytes(), &["accept", "turn", "cut"]).await;
    let turn = one(&spans, "turn");
    assert!(failed(turn), "{turn:?}");
    assert_eq!(text(&turn.attributes, "error.type"), ErrorCode::GuestError.to_string());
    assert_eq!(text(&turn.attributes, "podium.cut"), outcome.cut.to_string());
    assert!(!failed(one(&spans, "accept")) && !failed(one(&spans, "cut")), "what failed is the turn");
    // A message over a WebSocket begins a trace; an effect of its turn is there too.
    let mut socket = client.socket(id).await;
    socket.turn("sleep 1").await;
    let timer = collector.spans(&[], &["timer"]).await.into_iter().find(|span| span.name == "timer").expect("a timer");
    let spans = collector.spans(&timer.trace_id, &["accept", "turn", "timer", "cut"]).await;
    let accept = one(&spans, "accept");
    assert!(accept.parent_span_id.is_empty());
    assert_eq!(text(&accept.attributes, "podium.channel"), "ws");
    assert_eq!(one(&spans, "timer").parent_span_id, one(&spans, "turn").span_id);
    // A refused message has no turn.
    assert_eq!(client.post(&format!("/api/v1/instances/{id}/stop")).await.status, 200);
    let path = format!("/api/v1/instances/{id}/messages");
    let refused = client.request(Method::POST, &path).header("traceparent", known.replace("abc", "def"));
    client.send(refused.json(&json!({ "content": { "text": "hush-hush" } }))).await.refused(ErrorCode::InstanceStopped);
    let spans = collector.spans(&0xdef_u128.to_be_bytes(), &["accept"]).await;
    assert!(failed(one(&spans, "accept")) && spans.len() == 1, "{spans:?}");
    let received = collector.received();
    assert_eq!(received.headers["x-api-key"], "a-key");
    assert_eq!(received.headers["content-type"], "application/x-protobuf");
    assert_eq!(text(&received.resource, "service.name"), "agents");
    let sent = String::from_utf8_lossy(&received.bytes).into_owned();
    assert!(sent.contains(&id.to_string()) && !sent.contains("hush-hush") && !sent.contains(&host.token()));
    let log = host.log();
    assert!(!log.contains("a-key") && !log.contains("hush-hush") && !log.contains(&host.token()), "{log}");
}

#[tokio::test]
async fn a_trace_that_its_sender_does_not_record_is_not_recorded_here() {
    let collector = Collector::start().await;
    let host = traced(&collector).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    ask(&client, id, "echo a", "00-00000000000000000000000000000abc-00000000000000ab-00").await;
    // What is no `traceparent` is as if there were none.
    ask(&client, id, "echo b", "nonsense").await;
    eventually("two turns", async || {
        // The instance's first turn, and the one that has a trace of its own.
        let spans = collector.received().spans;
        (spans.iter().filter(|span| span.name == "turn").count() == 2).then_some(())
    })
    .await;
    let (status, _, _) = host.stop_with_log().await;
    assert!(status.success());
    let spans = collector.received().spans;
    assert!(spans.iter().all(|span| span.trace_id != 0xabc_u128.to_be_bytes()), "{spans:?}");
    assert_eq!(spans.iter().filter(|span| span.name == "accept").count(), 1);
}

#[tokio::test]
async fn nothing_is_sent_unless_it_is_asked_for() {
    let collector = Collector::start().await;
    let off = ("OTEL_TRACES_EXPORTER", "none");
    let host = Host::start_with(&[], &[SOON, ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), off]).await;
    let id = host.client().deployed_instance("probe").await;
    host.client().reply(id, "echo a").await;
    // Whatever waited would leave at the end.
    assert!(host.stop().await.0.success());
    assert_eq!(collector.received().spans, []);
    for (arguments, variables, why) in [
        (&["--otlp-endpoint", "https://127.0.0.1:4318"][..], &[][..], "plain HTTP"),
        (&["--otlp-endpoint", "nowhere"], &[], "no URL"),
        (&["--otlp-endpoint", collector.url()], &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "`grpc`"),
    ] {
        let refused = Host::try_start_with(&Data::new(), arguments, variables).await;
        let refused = refused.err().unwrap_or_else(|| panic!("{arguments:?} is taken"));
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(refused.stderr.contains(&ErrorCode::Usage.to_string()) && refused.stderr.contains(why), "{refused:?}");
    }
}

/// An address where nobody listens.
fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free address")
}

#[tokio::test]
async fn turns_go_on_without_a_collector_and_it_is_said_once() {
    let address = free();
    let quick = ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000");
    let host = Host::start_with(&["--otlp-endpoint", &format!("http://{address}")], &[SOON, quick]).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    let down = "the collector does not take them";
    for _ in 0..5 {
        client.reply(id, "echo a").await;
    }
    eventually("the word that it is down", async || host.log().contains(down).then_some(())).await;
    // More batches are lost, and nothing more is said.
    for n in 0..5 {
        client.reply(id, &format!("sleep {}", 20 * n)).await;
    }
    let collector = Collector::start_at(address).await;
    eventually("the word that it is back", async || {
        client.reply(id, "echo b").await;
        host.log().contains("the collector takes spans again").then_some(())
    })
    .await;
    collector.spans(&[], &["accept", "turn", "cut"]).await;
    let (status, _, log) = host.stop_with_log().await;
    assert!(status.success(), "{log}");
    assert_eq!(log.matches(down).count(), 1, "{log}");
    assert_eq!(log.matches("spans were lost").count(), 1, "{log}");
    assert!(!log.contains("Export.Failed"), "{log}");
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_nothing() {
    // It takes connections, as the system does for it, and never reads.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free address");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let patient = ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000");
    let small = [("OTEL_BSP_MAX_QUEUE_SIZE", "4"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")];
    let host = Host::start_with(&["--otlp-endpoint", &url], &[SOON, patient, small[0], small[1]]).await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    for n in 0..20 {
        assert_eq!(client.reply(id, &format!("echo {n}")).await, n.to_string());
    }
    // The end waits for 2 seconds, not for the ten minutes of its request.
    let (status, _, log) = host.stop_with_log().await;
    assert!(status.success(), "{log}");
    assert_eq!(log.matches("SpanDroppingStarted").count(), 1, "{log}");
    assert_eq!(log.matches("dropped_span_count=").count(), 1, "{log}");
    assert!(log.contains("the last spans were not sent"), "{log}");
}
