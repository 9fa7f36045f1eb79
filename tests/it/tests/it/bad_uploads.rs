//! Uploads that are no agent: each is refused with its own code and a sentence, and leaves nothing behind.

use podium_it::client::Answer;
use podium_it::{Client, Host, Slow, agents, component};
use podium_wire::ErrorCode;
use podium_wire::rest::DeploymentPage;
use reqwest::Method;
use reqwest::multipart::{Form, Part};

async fn upload(client: &Client, bytes: Vec<u8>) -> Answer {
    client.deploy(bytes, Some("bad"), Some("1.0.0")).await
}

/// Nothing was deployed, and the host takes a good one.
async fn nothing_stays(host: &Host) {
    let page: DeploymentPage = host.client().get("/api/v1/deployments").await.with(200);
    assert_eq!(page.deployments, []);
    let left: Vec<_> = files_below(&host.data().path().join("deployments"));
    assert!(left.is_empty(), "{left:?} stayed");
    let id = host.client().deployed_instance("hello").await;
    assert!(host.client().reply(id, "still here").await.contains("still here"));
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

#[tokio::test]
async fn not_webassembly_at_all() {
    let host = Host::start().await;
    for bytes in [b"#!/bin/sh\necho no\n".to_vec(), b"\0as".to_vec(), vec![0xff; 4096]] {
        upload(&host.client(), bytes).await.refused(ErrorCode::NotAComponent);
    }
    nothing_stays(&host).await;
}

#[tokio::test]
async fn a_core_module() {
    let host = Host::start().await;
    let module = component::from_text(r#"(module (func (export "run")))"#);
    upload(&host.client(), module).await.refused(ErrorCode::CoreModule);
    nothing_stays(&host).await;
}

#[tokio::test]
async fn truncated() {
    let host = Host::start().await;
    let whole = agents::component("hello");
    for length in [9, 100, whole.len() / 2, whole.len() - 1] {
        upload(&host.client(), whole[..length].to_vec()).await.refused(ErrorCode::InvalidComponent);
    }
    nothing_stays(&host).await;
}

#[tokio::test]
async fn garbled() {
    let host = Host::start().await;
    let mut bytes = agents::component("hello");
    let end = bytes.len() - 200;
    bytes[200..end].fill(0xa5);
    upload(&host.client(), bytes).await.refused(ErrorCode::InvalidComponent);
    nothing_stays(&host).await;
}

#[tokio::test]
async fn empty() {
    let host = Host::start().await;
    upload(&host.client(), Vec::new()).await.refused(ErrorCode::EmptyUpload);
    nothing_stays(&host).await;
}

#[tokio::test]
async fn two_hundred_megabytes() {
    let host = Host::start().await;
    let before = memory(&host).await;
    // It starts like a component, so that only its size is wrong.
    let mut bytes = agents::component("hello");
    bytes.resize(200 * 1024 * 1024, 0);
    let form = Form::new()
        .text("agent_type", "bad")
        .text("version", "1.0.0")
        .part("file", Part::bytes(bytes).file_name("agent.wasm"));
    let request = host.client().request(Method::POST, "/api/v1/deployments").multipart(form);
    match request.send().await {
        Ok(response) => {
            Answer::read(response).await.refused(ErrorCode::ComponentTooLarge);
        }
        // The host may close while the client still writes; then the client sees a broken pipe.
        Err(error) => assert!(error.is_request() || error.is_body(), "{error:?}"),
    }
    let after = memory(&host).await;
    assert!(after < before + 100 * 1024 * 1024, "the upload was held in memory: {before} then {after} bytes");
    nothing_stays(&host).await;
}

async fn memory(host: &Host) -> u64 {
    host.client().get("/admin/status").await.json()["memory_bytes"].as_u64().expect("a number")
}

/// More than a host reads of a body that it refuses, by far.
const ENDLESS_BYTES: usize = 1024 * 1024 * 1024;

#[tokio::test]
async fn a_form_that_never_gets_to_a_field() {
    let host = Host::start().await;
    let before = memory(&host).await;
    let filling = vec![b'a'; 1024 * 1024];
    for head in ["no boundary", "--x\r\nContent-Disposition: form-data; name=\"file\"\r\nX-Long: "] {
        let begin = || {
            let form = "multipart/form-data; boundary=x";
            let mut upload = Slow::body(&host.client(), "POST /api/v1/deployments", form);
            upload.send(head.as_bytes()).expect("the host takes it");
            upload
        };
        let mut upload = begin();
        for _ in 0..8 {
            upload.send(&filling).expect("the host takes it");
        }
        upload.send(b"").expect("the host takes it");
        let said = upload.answer();
        assert!(said.starts_with("HTTP/1.1 400 "), "{said}");
        assert!(said.contains(&ErrorCode::BadRequest.to_string()) && said.contains("in no field"), "{said}");
        // One that has no end is not read to it, and meanwhile others are served.
        let mut endless = begin();
        let filling = filling.clone();
        let send = move || (1..=ENDLESS_BYTES / filling.len()).find(|_| endless.send(&filling).is_err());
        let sending = tokio::task::spawn_blocking(send);
        assert_eq!(host.client().get("/health").await.status, 200);
        assert!(sending.await.expect("no panic").is_some(), "the host took {ENDLESS_BYTES} bytes");
    }
    let after = memory(&host).await;
    assert!(after < before + 100 * 1024 * 1024, "the form was held in memory: {before} then {after} bytes");
    nothing_stays(&host).await;
}

#[tokio::test]
async fn a_component_above_the_limit_is_refused_with_its_code() {
    let host = Host::start().await;
    let mut bytes = agents::component("hello");
    bytes.resize(64 * 1024 * 1024 + 1, 0);
    upload(&host.client(), bytes).await.refused(ErrorCode::ComponentTooLarge);
    nothing_stays(&host).await;
}

#[tokio::test]
async fn unknown_imports_are_named() {
    let host = Host::start().await;
    let bytes = component::from_text(
        r#"(component
            (import "acme:rockets/launch@1.0.0" (instance (export "go" (func))))
            (import "acme:rockets/abort@1.0.0" (instance (export "stop" (func)))))"#,
    );
    let error = upload(&host.client(), bytes).await.refused(ErrorCode::UnknownImport);
    for name in ["acme:rockets/launch@1.0.0", "acme:rockets/abort@1.0.0"] {
        assert!(error.message.contains(name), "{error:?}");
    }
    nothing_stays(&host).await;
}

#[tokio::test]
async fn a_wrong_world_is_named() {
    let host = Host::start().await;
    let nothing = component::from_text("(component)");
    let error = upload(&host.client(), nothing).await.refused(ErrorCode::WrongWorld);
    assert!(error.message.contains("lifecycle"), "{error:?}");
    let half = component::from_text(
        r#"(component
            (instance $empty)
            (export "podium:agent/lifecycle@0.1.0" (instance $empty)))"#,
    );
    let error = upload(&host.client(), half).await.refused(ErrorCode::WrongWorld);
    assert!(error.message.contains("on-message"), "{error:?}");
    nothing_stays(&host).await;
}

#[tokio::test]
async fn names_that_are_none() {
    let host = Host::start().await;
    let client = host.client();
    let bytes = agents::component("hello");
    for name in ["", "Hello", "9lives", "a_b", "../hello", "a/b", "ä", &"a".repeat(64)] {
        client.deploy(bytes.clone(), Some(name), None).await.refused(ErrorCode::InvalidAgentType);
    }
    for version in ["", "1", "1.0", "v1.0.0", "1.0.0+build", "1.0.0/..", "latest"] {
        client.deploy(bytes.clone(), None, Some(version)).await.refused(ErrorCode::InvalidVersion);
    }
    nothing_stays(&host).await;
}

#[tokio::test]
async fn a_component_without_a_manifest_needs_its_name_given() {
    let host = Host::start().await;
    let (bare, _) = component::without_section(&agents::component("hello"), podium_wire::manifest::SECTION);
    let answer = host.client().deploy(bare.clone(), None, None).await;
    assert!((400..500).contains(&answer.status), "{} {}", answer.status, answer.text());
    nothing_stays(&host).await;
    let answer = host.client().deploy(bare, Some("bare"), Some("1.0.0")).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn manifests_that_are_none() {
    let host = Host::start().await;
    let bytes = agents::component("hello");
    let broken = [
        component::with_manifest(&bytes, |manifest| manifest["type"] = "Not A Type".into()),
        component::with_manifest(&bytes, |manifest| manifest["colour"] = "red".into()),
        component::with_manifest(&bytes, |manifest| manifest["retry"] = 11.into()),
        component::with_manifest(&bytes, |manifest| manifest["limits"] = serde_json::json!({"memory_bytes": u64::MAX})),
        component::with_section(bytes.clone(), podium_wire::manifest::SECTION, b"{}"),
    ];
    for bytes in broken {
        host.client().deploy(bytes, None, None).await.refused(ErrorCode::InvalidManifest);
    }
    nothing_stays(&host).await;
}

#[tokio::test]
async fn a_form_without_a_file_or_with_a_stranger_in_it() {
    let host = Host::start().await;
    let client = host.client();
    let send =
        async |form: Form| client.send(client.request(Method::POST, "/api/v1/deployments").multipart(form)).await;
    send(Form::new().text("agent_type", "a")).await.refused(ErrorCode::BadRequest);
    send(Form::new().text("colour", "red")).await.refused(ErrorCode::BadRequest);
    let answer = client.post_json("/api/v1/deployments", &serde_json::json!({})).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    nothing_stays(&host).await;
}
