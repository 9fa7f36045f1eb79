//! The edges of the API: who may call, and what is no request. Each is refused with its code and the next call works.

use podium_it::{Client, Host, Socket};
use podium_wire::ErrorCode;
use podium_wire::frames::FRAME_BYTES_MAX;
use reqwest::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

/// The status with which a WebSocket handshake was refused.
fn refused(result: Result<Socket, Error>) -> u16 {
    match result {
        Err(Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the connection was taken"),
    }
}

#[tokio::test]
async fn health_needs_no_token_and_everything_else_does() {
    let host = Host::start().await;
    let id = host.client().deployed_instance("hello").await;
    let stranger = host.client().with_token(None);
    let health = stranger.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (200, &json!("ok")));
    let token = host.token();
    let wrong = [None, Some(""), Some("wrong"), Some(&token[1..]), Some("ä")];
    for token in wrong {
        let stranger = host.client().with_token(token);
        for path in [
            "/admin/status".to_owned(),
            "/api/v1/instances".to_owned(),
            "/api/v1/deployments".to_owned(),
            format!("/api/v1/instances/{id}/state"),
            format!("/agent/{id}/logs"),
        ] {
            let answer = stranger.get(&path).await;
            answer.refused(ErrorCode::Unauthorized);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        let body = json!({"content": {"text": "let me in"}});
        stranger.post_json(&format!("/api/v1/instances/{id}/messages"), &body).await.refused(ErrorCode::Unauthorized);
    }
    for token in [None, Some("wrong")] {
        assert_eq!(refused(Socket::try_open(&host.client().with_token(token), id).await), 401);
    }
    assert_eq!(host.client().history(id).await.messages.len(), 0);
}

#[tokio::test]
async fn the_token_is_private_and_stays_the_same() {
    use std::os::unix::fs::PermissionsExt;
    let host = Host::start().await;
    let token = host.token();
    assert!(token.len() >= 32, "{}", token.len());
    let mode = |name: &str| {
        let path = host.data().path().join(name);
        std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    };
    assert_eq!(mode("token"), 0o600);
    assert_eq!(mode(""), 0o700);
    let host = host.crash().await;
    assert_eq!(host.token(), token);
    assert!(!host.log().contains(&token), "the token is in the log");
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("hello").await;
    let with = async |name: &'static str, value: &str| {
        client.send(client.request(Method::GET, "/api/v1/instances").header(name, value)).await
    };
    for value in ["evil.example", "evil.example:8090", "127.0.0.1.evil.example", "192.168.1.1:8090"] {
        with("host", value).await.refused(ErrorCode::HostNotAllowed);
        assert_eq!(refused(Socket::connect(&client, id, &[("host", value)]).await), 403);
    }
    for value in ["http://evil.example", "https://localhost.evil.example", "null"] {
        with("origin", value).await.refused(ErrorCode::OriginNotAllowed);
        assert_eq!(refused(Socket::connect(&client, id, &[("origin", value)]).await), 403);
    }
    // Health is open to everyone but not to other sites.
    let health = client.send(client.request(Method::GET, "/health").header("host", "evil.example")).await;
    health.refused(ErrorCode::HostNotAllowed);
    let port = host.url().rsplit(':').next().expect("a port");
    for value in
        ["localhost".to_owned(), format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")]
    {
        assert_eq!(with("host", &value).await.status, 200, "{value}");
    }
    assert_eq!(with("origin", host.url()).await.status, 200);
    assert!(Socket::connect(&client, id, &[("origin", host.url())]).await.is_ok());
}

#[tokio::test]
async fn only_loopback_is_listened_on() {
    let data = podium_it::Data::new();
    let cli = podium_it::Cli::new(&data);
    for address in ["0.0.0.0:0", "[::]:0"] {
        let output = cli.run(&["up", "--listen", address]).await;
        output.failed(5, ErrorCode::ListenRefused);
    }
}

#[tokio::test]
async fn invalid_json_over_http() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let path = format!("/api/v1/instances/{id}/messages");
    let post = async |path: &str, body: &'static str| {
        let request = client.request(Method::POST, path).header("content-type", "application/json").body(body);
        client.send(request).await
    };
    for body in [
        "",
        "{",
        "null",
        "[]",
        "{\"content\":{}}",
        "{\"content\":{\"text\":7}}",
        "{\"content\":{\"text\":\"a\"},\"x\":1}",
        "\u{0}",
    ] {
        post(&path, body).await.refused(ErrorCode::InvalidJson);
    }
    post("/api/v1/instances", "{\"deployment_id\"").await.refused(ErrorCode::InvalidJson);
    // A document nested without end must not take the stack.
    let deep = "[".repeat(200_000);
    let request = client.request(Method::POST, &path).body(deep);
    client.send(request).await.refused(ErrorCode::InvalidJson);
    assert_eq!(client.reply(id, "add").await, "1");
}

#[tokio::test]
async fn routes_and_methods_that_are_none() {
    let host = Host::start().await;
    let client = host.client();
    for path in ["/nowhere", "/api/v2/instances", "/api/v1/instances/x/y/z"] {
        client.get(path).await.refused(ErrorCode::RouteNotFound);
    }
    let answer = client.send(client.request(Method::PATCH, "/api/v1/instances")).await;
    answer.refused(ErrorCode::MethodNotAllowed);
    client.get("/api/v1/instances?limit=many").await.refused(ErrorCode::BadRequest);
}

#[tokio::test]
async fn a_body_that_is_too_large() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let body = json!({"content": {"text": "x".repeat(2 * FRAME_BYTES_MAX)}});
    client.post_json(&format!("/api/v1/instances/{id}/messages"), &body).await.refused(ErrorCode::BodyTooLarge);
    assert_eq!(client.reply(id, "add").await, "1");
}

/// Sends a text frame that is none and answers the error's code; the connection must stay.
async fn bad_frame(client: &Client, socket: &mut Socket, id: podium_wire::InstanceId, text: &str) -> ErrorCode {
    socket.send_raw(Message::text(text)).await;
    let code = socket.error().await.known_code().expect("a code of the host");
    let before = client.info(id).await.cut;
    let turn = socket.turn("add").await;
    assert_eq!(turn.cut.cut, before + 1, "after {text}");
    code
}

#[tokio::test]
async fn frames_that_are_no_frames_leave_the_connection_open() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let mut socket = client.socket(id).await;
    for text in ["", "{", "nonsense", "[]", "7"] {
        assert_eq!(bad_frame(&client, &mut socket, id, text).await, ErrorCode::InvalidJson, "{text}");
    }
    for text in [r#"{"type":"dance"}"#, r#"{"type":"hello"}"#] {
        assert_eq!(bad_frame(&client, &mut socket, id, text).await, ErrorCode::UnknownFrameType, "{text}");
    }
    for text in [r#"{"type":"process_message"}"#, r#"{"type":"subscribe","after_seq":-1}"#, r#"{"a":1}"#] {
        let code = bad_frame(&client, &mut socket, id, text).await;
        assert!(
            [ErrorCode::InvalidJson, ErrorCode::UnknownFrameType, ErrorCode::BadRequest].contains(&code),
            "{text}: {code}"
        );
    }
    let bad_id = r#"{"type":"process_message","id":"a b","content":{"text":"add"}}"#;
    assert_eq!(bad_frame(&client, &mut socket, id, bad_id).await, ErrorCode::InvalidMessageId);
}

/// The error that a connection says before it closes with this code.
async fn closed(socket: &mut Socket, number: u16) -> Option<ErrorCode> {
    let mut said = None;
    loop {
        match socket.try_next().await {
            Ok(podium_wire::frames::ServerFrame::Error(error)) => said = error.known_code(),
            Ok(_) => {}
            Err(podium_it::socket::End::Closed(code)) => {
                assert_eq!(code, number);
                return said;
            }
            Err(podium_it::socket::End::Broken(why)) => panic!("closed without a code: {why}"),
        }
    }
}

#[tokio::test]
async fn a_binary_frame_closes_the_connection() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let mut socket = client.socket(id).await;
    socket.send_raw(Message::Binary(Bytes::from_static(b"\x00\x01"))).await;
    assert_eq!(closed(&mut socket, 1003).await, Some(ErrorCode::BinaryFrame));
    assert_eq!(client.socket(id).await.turn("add").await.text.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_frame_over_one_mebibyte_closes_the_connection_and_loses_nothing() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    let mut socket = client.socket(id).await;
    let message = socket.say("add").await;
    socket.accepted().await;
    socket.send_raw(Message::text("x".repeat(FRAME_BYTES_MAX + 1))).await;
    assert_eq!(closed(&mut socket, 1009).await, Some(ErrorCode::FrameTooBig));
    assert_eq!(client.ask_as(id, &message, "add").await.text.as_deref(), Some("1"));
    // A frame of just under the limit is taken.
    let mut socket = client.socket(id).await;
    let text = "y".repeat(FRAME_BYTES_MAX - 200);
    let turn = socket.turn(&text).await;
    assert_eq!(turn.error.expect("the counter does not know it").known_code(), Some(ErrorCode::GuestError));
}

#[tokio::test]
async fn short_and_long_paths_are_the_same_routes() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("counter").await;
    client.reply(id, "add").await;
    for path in ["info", "state", "config", "messages", "files", "logs"] {
        let short = client.get(&format!("/agent/{id}/{path}")).await;
        let long = client.get(&format!("/api/v1/instances/{id}/{path}")).await;
        assert_eq!((short.status, short.json()), (200, long.json()), "{path}");
    }
    assert_eq!(client.get("/instances").await.json(), client.get("/api/v1/instances").await.json());
    assert_eq!(client.get("/deployments").await.json(), client.get("/api/v1/deployments").await.json());
}

#[tokio::test]
async fn the_status_tells_what_the_host_does() {
    let host = Host::start().await;
    let client = host.client();
    let id = client.deployed_instance("probe").await;
    client.reply(id, "echo x").await;
    let socket = client.socket(id).await;
    let status = client.get("/admin/status").await.json();
    assert_eq!((&status["instances"], &status["deployments"], &status["clients"]), (&json!(1), &json!(1), &json!(1)));
    assert!(status["active_agents"].as_u64() >= Some(1) && status["turns_ended"].as_u64() >= Some(1), "{status}");
    assert_eq!(status["data"], json!(host.data().path().canonicalize().expect("a path")));
    socket.close().await;
    podium_it::eventually("the client is gone", async || {
        (client.get("/admin/status").await.json()["clients"] == json!(0)).then_some(())
    })
    .await;
}
