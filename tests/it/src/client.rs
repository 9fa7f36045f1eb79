//! The HTTP API as a client sees it: requests with a token, answers with their status.

use podium_wire::error::{ErrorBody, WireError};
use podium_wire::rest::{
    ConfigDocument, Deployed, ExternalCut, FilePage, HistoryPage, InstanceInfo, InstanceStatus, LogPage,
    MessageOutcome, MessageReceipt, StateDocument,
};
use podium_wire::{ErrorCode, InstanceId};
use reqwest::Method;
use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::wait::within;
use crate::{PATIENCE, Socket};

/// A client of one host.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Reads a response to its end.
    pub async fn read(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.map(|bytes| bytes.to_vec()).unwrap_or_default();
        Self { status, headers, bytes }
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn with<T: DeserializeOwned>(&self, status: u16) -> T {
        assert_eq!(self.status, status, "{}", self.text());
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The error of an answer that must be this one: its code, the code's status and retryability.
    #[track_caller]
    pub fn refused(&self, code: ErrorCode) -> WireError {
        let body: ErrorBody = serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("no error body ({error}): {} {}", self.status, self.text()));
        assert_eq!(body.error.code, code.to_string(), "{}", self.text());
        assert_eq!(self.status, code.status(), "{}", self.text());
        assert_eq!(body.error.retryable, code.retryable(), "{}", self.text());
        assert!(!body.error.message.is_empty(), "{}", self.text());
        body.error
    }
}

impl Client {
    /// A client with this token, or with none.
    pub fn new(url: &str, token: Option<String>) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE * 2).build().expect("an HTTP client");
        Self { http, url: url.to_owned(), token }
    }

    /// The same client with another token, or with none.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// Where the host listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A request, not sent yet.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request that must get an answer of some kind.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::read(request.send().await.unwrap_or_else(|error| panic!("no answer: {error:?}"))).await
    }

    /// `GET`
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// `POST` without a body.
    pub async fn post(&self, path: &str) -> Answer {
        self.send(self.request(Method::POST, path)).await
    }

    /// `POST` with a JSON body.
    pub async fn post_json(&self, path: &str, body: &impl Serialize) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `PUT` with a JSON body.
    pub async fn put_json(&self, path: &str, body: &impl Serialize) -> Answer {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// `DELETE`
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Deploys these bytes, under this name where one is given.
    pub async fn deploy(&self, bytes: Vec<u8>, agent_type: Option<&str>, version: Option<&str>) -> Answer {
        let mut form = Form::new();
        if let Some(agent_type) = agent_type {
            form = form.text("agent_type", agent_type.to_owned());
        }
        if let Some(version) = version {
            form = form.text("version", version.to_owned());
        }
        let form = form.part("file", Part::bytes(bytes).file_name("agent.wasm"));
        self.send(self.request(Method::POST, "/api/v1/deployments").multipart(form)).await
    }

    /// Deploys an agent of this repository and answers what the host said.
    pub async fn deployed(&self, agent: &str) -> Deployed {
        let answer = self.deploy(crate::agents::component(agent), None, None).await;
        assert!([200, 201].contains(&answer.status), "{} {}", answer.status, answer.text());
        serde_json::from_slice(&answer.bytes).expect("a deployment")
    }

    /// Asks for a new instance.
    pub async fn create(&self, body: &Value) -> Answer {
        self.post_json("/api/v1/instances", body).await
    }

    /// A new instance of this agent type.
    pub async fn instance(&self, agent: &str) -> InstanceId {
        self.instance_with(agent, json!({})).await
    }

    /// A new instance with this configuration.
    pub async fn instance_with(&self, agent: &str, config: Value) -> InstanceId {
        let answer = self.create(&json!({"deployment_id": agent, "config": config})).await;
        let body: Value = answer.with(201);
        serde_json::from_value(body["instance_id"].clone()).expect("an instance id")
    }

    /// Deploys an agent and makes an instance of it.
    pub async fn deployed_instance(&self, agent: &str) -> InstanceId {
        let deployed = self.deployed(agent).await;
        self.instance(&deployed.deployment.deployment_id.to_string()).await
    }

    /// Everything about an instance.
    pub async fn info(&self, id: InstanceId) -> InstanceInfo {
        self.get(&format!("/api/v1/instances/{id}/info")).await.with(200)
    }

    /// The committed state.
    pub async fn state(&self, id: InstanceId) -> StateDocument {
        self.get(&format!("/api/v1/instances/{id}/state")).await.with(200)
    }

    /// The configuration in force.
    pub async fn config(&self, id: InstanceId) -> ConfigDocument {
        self.get(&format!("/api/v1/instances/{id}/config")).await.with(200)
    }

    /// The whole history, up to a thousand messages.
    pub async fn history(&self, id: InstanceId) -> HistoryPage {
        self.get(&format!("/api/v1/instances/{id}/messages?limit=1000")).await.with(200)
    }

    /// The log.
    pub async fn logs(&self, id: InstanceId) -> LogPage {
        self.get(&format!("/api/v1/instances/{id}/logs?limit=1000")).await.with(200)
    }

    /// What the agent's log says of turns that failed: the host's own lines, each a code and a sentence.
    pub async fn failures_in_log(&self, id: InstanceId) -> Vec<String> {
        let page: LogPage = self.get(&format!("/api/v1/instances/{id}/logs?limit=1000&level=error")).await.with(200);
        let own = page.lines.into_iter().filter(|line| line.module == "podium" && line.message.starts_with("POD-"));
        own.map(|line| line.message).collect()
    }

    /// The last failed turn is in the agent's log, once, with what the client was told.
    pub async fn failure_is_logged(&self, id: InstanceId, before: &[String], error: &WireError) {
        let expected = format!("{}: {}", error.code, error.message);
        let more = async || Some(self.failures_in_log(id).await).filter(|lines| lines.len() > before.len());
        let lines = within(PATIENCE, "the failure in the log", more).await;
        assert_eq!(lines[before.len()..], [expected]);
    }

    /// Sends a message without waiting for its turn.
    pub async fn post_message(&self, id: InstanceId, message_id: &str, text: &str) -> MessageReceipt {
        let body = json!({"id": message_id, "content": {"text": text}});
        self.post_json(&format!("/api/v1/instances/{id}/messages"), &body).await.with(202)
    }

    /// Sends a message and waits until its turn has ended.
    pub async fn ask(&self, id: InstanceId, text: &str) -> MessageOutcome {
        self.ask_as(id, &crate::message_id(), text).await
    }

    /// The same with a message id.
    pub async fn ask_as(&self, id: InstanceId, message_id: &str, text: &str) -> MessageOutcome {
        let body = json!({"id": message_id, "content": {"text": text}});
        self.post_json(&format!("/api/v1/instances/{id}/messages?wait=60s"), &body).await.with(200)
    }

    /// The reply to a message whose turn must end well.
    pub async fn reply(&self, id: InstanceId, text: &str) -> String {
        let outcome = self.ask(id, text).await;
        assert_eq!(outcome.error, None, "`{text}` failed");
        outcome.text.expect("a turn that ended well has a text")
    }

    /// The error of a message whose turn must fail with this code.
    pub async fn failure(&self, id: InstanceId, text: &str, code: ErrorCode) -> WireError {
        let outcome = self.ask(id, text).await;
        let error = outcome.error.unwrap_or_else(|| panic!("`{text}` ended well: {:?}", outcome.text));
        assert_eq!(error.code, code.to_string(), "{error:?}");
        error
    }

    /// Writes a file.
    pub async fn put_file(&self, id: InstanceId, path: &str, bytes: &[u8]) -> Answer {
        let request = self.request(Method::PUT, &format!("/api/v1/instances/{id}/files/{path}")).body(bytes.to_vec());
        self.send(request).await
    }

    /// Writes a file between turns, and answers the cut that it made.
    pub async fn file_put(&self, id: InstanceId, path: &str, bytes: &[u8]) -> ExternalCut {
        self.put_file(id, path, bytes).await.with(200)
    }

    /// Reads a file.
    pub async fn file(&self, id: InstanceId, path: &str) -> Answer {
        self.get(&format!("/api/v1/instances/{id}/files/{path}")).await
    }

    /// The workspace's entries.
    pub async fn files(&self, id: InstanceId) -> FilePage {
        self.get(&format!("/api/v1/instances/{id}/files")).await.with(200)
    }

    /// Waits until an instance's info is as it should be.
    pub async fn until(&self, id: InstanceId, what: &str, wanted: impl Fn(&InstanceInfo) -> bool) -> InstanceInfo {
        within(PATIENCE, what, async || Some(self.info(id).await).filter(|info| wanted(info))).await
    }

    /// Waits until an instance's turn waits.
    pub async fn until_waiting(&self, id: InstanceId) {
        self.until(id, "the turn waits", |info| info.status == InstanceStatus::Waiting).await;
    }

    /// A WebSocket to an instance.
    pub async fn socket(&self, id: InstanceId) -> Socket {
        Socket::open(self, id).await
    }
}
