//! The agent's log: what it wrote, what it printed, what the host says of it; bounded and followed.

use futures_util::StreamExt;
use podium_it::{Client, Host, PATIENCE};
use podium_wire::InstanceId;
use podium_wire::rest::{LogLevel, LogLine, LogPage};
use reqwest::Method;

async fn line(client: &Client, id: InstanceId, text: &str) -> LogLine {
    podium_it::eventually(&format!("a line with `{text}`"), async || {
        client.logs(id).await.lines.into_iter().find(|line| line.message.contains(text))
    })
    .await
}

#[tokio::test]
async fn an_agent_logs_and_prints() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "log something happened").await;
    client.reply(id, "print to stdout").await;
    let logged = line(&client, id, "something happened").await;
    assert_eq!(logged.level, LogLevel::Info);
    assert!(logged.turn_id.is_some());
    let printed = line(&client, id, "to stdout").await;
    assert_eq!(printed.module, "stdout");
    assert_eq!(printed.message, "to stdout");
    client.ask(id, "boom loudly").await;
    let panicked = line(&client, id, "boom: loudly").await;
    assert!(panicked.level >= LogLevel::Error, "{panicked:?}");
    // It is kept through a crash once it can be read.
    let host = host.crash().await;
    line(&host.client(), id, "something happened").await;
}

#[tokio::test]
async fn lines_are_filtered_and_paged() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    for n in 0..5 {
        client.reply(id, &format!("log number {n}")).await;
    }
    client.ask(id, "boom").await;
    line(&client, id, "number 4").await;
    let path = format!("/api/v1/instances/{id}/logs");
    let page = async |query: &str| client.get(&format!("{path}?{query}")).await.with::<LogPage>(200).lines;
    let errors = page("level=error").await;
    assert!(!errors.is_empty() && errors.iter().all(|line| line.level == LogLevel::Error), "{errors:?}");
    let all = page("limit=1000").await;
    assert!(all.windows(2).all(|pair| pair[0].seq < pair[1].seq), "oldest first");
    let last = page("limit=2").await;
    assert_eq!(last, all[all.len() - 2..]);
    let after = page(&format!("after={}", all[0].seq)).await;
    assert_eq!(after, all[1..]);
    let wrong = client.get(&format!("{path}?level=loud")).await;
    assert_eq!(wrong.status, 400);
}

#[tokio::test]
async fn a_log_is_followed() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "log before").await;
    line(&client, id, "before").await;
    let request = client.request(Method::GET, &format!("/api/v1/instances/{id}/logs?follow=1"));
    let response = request.send().await.expect("an answer");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut stream = response.bytes_stream();
    let mut text = String::new();
    let mut asked = false;
    while !text.contains("after") {
        let piece = tokio::time::timeout(PATIENCE, stream.next()).await.expect("a piece in time");
        text.push_str(&String::from_utf8_lossy(&piece.expect("the log goes on").expect("a piece")));
        if text.contains("before") && !asked {
            asked = true;
            client.reply(id, "log after").await;
        }
    }
    let lines: Vec<LogLine> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .filter_map(|data| serde_json::from_str(data.trim()).ok())
        .collect();
    assert!(lines.windows(2).all(|pair| pair[0].seq < pair[1].seq), "{lines:?}");
}

#[tokio::test]
async fn a_flood_of_lines_is_dropped_and_counted_and_stalls_nothing() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    // Three megabytes in three turns would pass the bound of a turn if each were kept.
    let wide = "w".repeat(900_000);
    for _ in 0..3 {
        let outcome = client.ask(id, &format!("print {wide}")).await;
        assert_eq!(outcome.error, None);
    }
    let page: LogPage = client.get(&format!("/api/v1/instances/{id}/logs?limit=1000")).await.with(200);
    let kept: usize = page.lines.iter().map(|line| line.message.len()).sum();
    assert!(kept < 3_000_000, "{kept} bytes are kept");
    assert_eq!(client.reply(id, "echo next").await, "next");
}
