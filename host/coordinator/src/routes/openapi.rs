//! `/openapi.json`: every route in words, as OpenAPI 3.1.
//!
//! Owns the description; the shapes of bodies come from `podium-wire`. A route that is not described here, or the reverse, fails
//! a test, and so does a method (`tests/it`, `seeing`). Must never be read by anything that serves.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use axum::http::header;
use axum::response::IntoResponse;
use podium_wire::asks::{AskList, GivenAnswer, GivenDecision};
use podium_wire::chronicle::{ChronicleChecked, ChronicleCollected, ChronicleStats};
use podium_wire::cuts::{CutDiff, CutPage, ForkInstance, Forked, RewindInstance, RewindReceipt};
use podium_wire::error::ErrorBody;
use podium_wire::frames::{ClientFrame, PROTOCOL, ServerFrame};
use podium_wire::portable::{Imported, MEDIA_TYPE};
use podium_wire::rest::{
    AdminStatus, ConfigDocument, CreateInstance, Deployed, DeploymentDetail, DeploymentPage, ExternalCut, FilePage,
    Health, HistoryPage, InstanceInfo, InstancePage, IterationPage, LogPage, MessageOutcome, MessageReceipt, MountInfo,
    PostMessage, PostMount, PutConfig, RestoreFile, StateDocument, UpgradeInstance, UpgradeReceipt,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::metrics;

/// The document, made once: it is the same for as long as the process runs.
static DOCUMENT: OnceLock<String> = OnceLock::new();

/// Answers the document.
pub(super) async fn show() -> impl IntoResponse {
    let document = DOCUMENT.get_or_init(|| document().to_string());
    ([(header::CONTENT_TYPE, "application/json")], document.as_str())
}

/// What a body is.
#[derive(Clone, Copy)]
enum Body {
    /// None.
    Empty,
    /// JSON of this shape.
    Json(fn(&mut SchemaGenerator) -> Schema),
    /// A text or bytes of this media type.
    Raw(&'static str),
    /// The multipart form of a deploy.
    DeployForm,
}

fn json<T: JsonSchema>() -> Body {
    Body::Json(SchemaGenerator::subschema_for::<T>)
}

/// One method of one path.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    about: &'static str,
    /// Name, JSON type, what it says.
    query: Vec<(&'static str, &'static str, &'static str)>,
    takes: Body,
    gives: Vec<(u16, &'static str, Vec<Body>)>,
    needs_token: bool,
    /// A WebSocket whose text frames are `ClientFrame` and `ServerFrame`.
    speaks_frames: bool,
}

impl Operation {
    fn new(method: &'static str, path: &'static str, id: &'static str, about: &'static str) -> Self {
        let (query, gives) = (Vec::new(), Vec::new());
        Self { method, path, id, about, query, takes: Body::Empty, gives, needs_token: true, speaks_frames: false }
    }

    fn query(mut self, name: &'static str, kind: &'static str, about: &'static str) -> Self {
        self.query.push((name, kind, about));
        self
    }

    fn takes(mut self, body: Body) -> Self {
        self.takes = body;
        self
    }

    fn gives(self, status: u16, about: &'static str, body: Body) -> Self {
        self.gives_one_of(status, about, vec![body])
    }

    fn gives_one_of(mut self, status: u16, about: &'static str, bodies: Vec<Body>) -> Self {
        self.gives.push((status, about, bodies));
        self
    }

    fn without_token(mut self) -> Self {
        self.needs_token = false;
        self
    }

    fn speaks_frames(mut self) -> Self {
        self.speaks_frames = true;
        self
    }
}

const AFTER: &str = "Begin behind this one: the `next` of the page before.";
const LIMIT: &str = "At most so many, 1 to 1000.";
const STATUS: &str = "Only those in a turn: `running`, `waiting`, or both with a comma between.";

/// The host itself.
fn of_host() -> Vec<Operation> {
    vec![
        Operation::new("get", "/health", "health", "Whether the host serves.")
            .gives(200, "It answers.", json::<Health>())
            .without_token(),
        Operation::new("get", "/admin/status", "status", "What the host is doing and what it uses.").gives(
            200,
            "Its figures now.",
            json::<AdminStatus>(),
        ),
        Operation::new("get", "/metrics", "metrics", "Figures for a collector such as Prometheus.").gives(
            200,
            "OpenMetrics text.",
            Body::Raw(metrics::MEDIA_TYPE),
        ),
        Operation::new("get", "/openapi.json", "openapi", "This document.").gives(
            200,
            "An OpenAPI 3.1 document.",
            Body::Raw("application/json"),
        ),
        deploy("/deploy/agent", "deployAgent"),
    ]
}

fn deploy(path: &'static str, id: &'static str) -> Operation {
    Operation::new("post", path, id, "Deploys a component.")
        .takes(Body::DeployForm)
        .gives(201, "It is new.", json::<Deployed>())
        .gives(200, "The same bytes were deployed before.", json::<Deployed>())
}

/// Deployments and the list of instances: at the root and below `/api/v1`.
fn of_lists() -> Vec<Operation> {
    vec![
        Operation::new("get", "/deployments", "listDeployments", "Lists deployments by type and version.").gives(
            200,
            "All of them.",
            json::<DeploymentPage>(),
        ),
        Operation::new("get", "/deployments/{id}", "showDeployment", "Shows a deployment, by any reference to it.")
            .gives(200, "The deployment and its limits.", json::<DeploymentDetail>()),
        Operation::new("post", "/instances", "createInstance", "Makes an instance.")
            .takes(json::<CreateInstance>())
            .gives(201, "It can be talked to.", json::<InstanceInfo>()),
        Operation::new("post", "/instances/import", "importInstance", "Makes a new instance of an export.")
            .takes(Body::Raw("application/octet-stream"))
            .gives(201, "It can be talked to.", json::<Imported>()),
        Operation::new("get", "/instances", "listInstances", "Lists instances, oldest first.")
            .query("after", "string", AFTER)
            .query("limit", "integer", LIMIT)
            .query("status", "string", STATUS)
            .gives(200, "A page of them.", json::<InstancePage>()),
    ]
}

/// What stands at an instance's own path; the two prefixes differ in what `GET` does there.
fn delete_instance() -> Operation {
    Operation::new("delete", "", "deleteInstance", "Removes an instance with all its data.").gives(
        204,
        "It is gone.",
        Body::Empty,
    )
}

fn info(path: &'static str, id: &'static str) -> Operation {
    Operation::new("get", path, id, "Everything about an instance that fits on a page.").gives(
        200,
        "The instance.",
        json::<InstanceInfo>(),
    )
}

fn connect(path: &'static str, id: &'static str) -> Operation {
    Operation::new("get", path, id, "Opens the WebSocket of updates and commands.")
        .gives(101, "The connection goes on as a WebSocket.", Body::Empty)
        .speaks_frames()
}

/// Below an instance: under `/api/v1/instances/{id}` and `/agent/{id}`.
fn of_instance() -> Vec<Operation> {
    vec![
        info("/info", "info"),
        connect("/ws", "connect"),
        Operation::new("get", "/state", "readState", "The committed state, whole or at a JSON Pointer.")
            .query("pointer", "string", "A JSON Pointer (RFC 6901); the whole document when empty.")
            .gives(200, "The value there, null where nothing is.", json::<StateDocument>()),
        Operation::new("get", "/config", "readConfig", "The configuration in force.").gives(
            200,
            "It and its revision.",
            json::<ConfigDocument>(),
        ),
        Operation::new("put", "/config", "setConfig", "Sets the configuration, whole.")
            .takes(json::<PutConfig>())
            .gives(200, "The agent has taken it.", json::<ConfigDocument>()),
        Operation::new(
            "post",
            "/upgrade",
            "upgradeInstance",
            "Runs other code of the same agent type from the next turn on.",
        )
        .query("wait", "string", "Wait so long until it is in force, such as 30s; at most 300s.")
        .takes(json::<UpgradeInstance>())
        .gives(202, "It is durable, and takes effect when the running turn is over.", json::<UpgradeReceipt>())
        .gives(200, "It is in force, or was already.", json::<UpgradeReceipt>()),
        Operation::new("get", "/messages", "history", "The conversation, oldest first.")
            .query("after", "integer", AFTER)
            .query("limit", "integer", LIMIT)
            .gives(200, "A page of it.", json::<HistoryPage>()),
        Operation::new("post", "/messages", "sendMessage", "Sends a message. Sent again under its id it runs once.")
            .query("wait", "string", "Wait so long for the answer, such as 30s, 1500ms or 2m; at most 300s.")
            .takes(json::<PostMessage>())
            .gives(202, "It is accepted and will not be lost.", json::<MessageReceipt>())
            .gives(200, "Its turn ended within `wait`.", json::<MessageOutcome>()),
        Operation::new("post", "/messages/{message}/retry", "retryMessage", "Runs a parked or failed message again.")
            .gives(202, "It will run.", json::<MessageReceipt>()),
        Operation::new("post", "/messages/{message}/discard", "discardMessage", "Gives a parked message up.").gives(
            200,
            "An error cut has consumed it.",
            json::<ExternalCut>(),
        ),
        Operation::new(
            "post",
            "/steer",
            "steer",
            "Says a word into the running turn. Sent again under its id it is said once.",
        )
        .takes(json::<PostMessage>())
        .gives(202, "It is accepted; the agent is given it when it next waits.", json::<MessageReceipt>()),
        Operation::new("get", "/cuts", "cuts", "Every state that the instance was ever in, oldest first.")
            .query("after", "integer", AFTER)
            .query("limit", "integer", LIMIT)
            .gives(200, "A page of them.", json::<CutPage>()),
        Operation::new(
            "post",
            "/rewind",
            "rewind",
            "Goes to another cut: state, messages, files, configuration and code.",
        )
        .takes(json::<RewindInstance>())
        .gives(200, "It is there, by a cut of its own.", json::<RewindReceipt>()),
        Operation::new("post", "/fork", "fork", "Makes a new instance that begins as a copy of a cut.")
            .takes(json::<ForkInstance>())
            .gives(201, "It can be talked to.", json::<Forked>()),
        Operation::new("get", "/export", "export", "A cut as one file, from which any host makes an instance.")
            .query("at", "integer", "The cut; the last one when absent.")
            .query("component", "boolean", "Whether the component is in it; true when absent.")
            .gives(200, "The file. It is whole when its last frame is there.", Body::Raw(MEDIA_TYPE)),
        Operation::new("get", "/diff", "diff", "What differs between two cuts.")
            .query("from", "integer", "The one cut.")
            .query("to", "integer", "The other.")
            .query("messages_after", "integer", "Begin behind this message: `messages.next` of the page before.")
            .query("files_after", "integer", "Begin behind so many files: `files.next` of the page before.")
            .query("limit", "integer", LIMIT)
            .gives(200, "A page of it.", json::<CutDiff>()),
        Operation::new("get", "/asks", "asks", "What the running turn asks people, oldest first.").gives(
            200,
            "Everything that waits for an answer.",
            json::<AskList>(),
        ),
        Operation::new("post", "/answer", "answer", "Answers a question. The first answer counts.")
            .takes(json::<GivenAnswer>())
            .gives(204, "The agent gets it.", Body::Empty),
        Operation::new("post", "/approve", "approve", "Decides on a permission. The first decision counts.")
            .takes(json::<GivenDecision>())
            .gives(204, "The agent gets it.", Body::Empty),
        Operation::new("post", "/interrupt", "interrupt", "Ends the running turn; its error cut follows.").gives(
            202,
            "The turn is told to end.",
            Body::Empty,
        ),
        Operation::new("post", "/stop", "stop", "Takes no more messages; the data is kept.").gives(
            200,
            "It is stopped.",
            json::<InstanceInfo>(),
        ),
        Operation::new("post", "/start", "start", "Takes messages again.").gives(
            200,
            "It is started.",
            json::<InstanceInfo>(),
        ),
        Operation::new("get", "/logs", "logs", "The agent's log, oldest line first.")
            .query("limit", "integer", LIMIT)
            .query("offset", "integer", "Leave out so many of the newest lines.")
            .query("after", "integer", "Only lines with a greater `seq`.")
            .query("level", "string", "The least level: trace, debug, info, warn or error.")
            .query("follow", "string", "`1` or `true`: go on with lines as they come, as server-sent events.")
            .gives_one_of(200, "Lines.", vec![json::<LogPage>(), Body::Raw("text/event-stream")]),
        Operation::new("get", "/mount", "mounted", "Where the workspace is mounted on the host's machine.").gives(
            200,
            "It is mounted.",
            json::<MountInfo>(),
        ),
        Operation::new(
            "post",
            "/mount",
            "mount",
            "Shows the workspace as a file system of the host's machine; read-only while a turn runs.",
        )
        .takes(json::<PostMount>())
        .gives(200, "It is mounted.", json::<MountInfo>()),
        Operation::new("delete", "/mount", "unmount", "Unmounts it; what was written is cut first.").gives(
            204,
            "It is not mounted any more.",
            Body::Empty,
        ),
        Operation::new("get", "/files", "listFiles", "Everything in the workspace, by path.")
            .query("after", "string", AFTER)
            .query("limit", "integer", "At most so many.")
            .gives(200, "A page of it.", json::<FilePage>()),
        Operation::new("get", "/chronicle", "chronicleStats", "How large the workspace's history is.").gives(
            200,
            "Its numbers; zeros while nobody ever used a file.",
            json::<ChronicleStats>(),
        ),
        Operation::new("post", "/chronicle/fsck", "checkChronicle", "Reads and checks all that is stored.").gives(
            200,
            "What was found.",
            json::<ChronicleChecked>(),
        ),
        Operation::new("post", "/chronicle/gc", "collectChronicle", "Gives back what no kept version needs.").gives(
            200,
            "What is gone.",
            json::<ChronicleCollected>(),
        ),
        Operation::new("get", "/files/{path}", "readFile", "A file's content.").gives(
            200,
            "The bytes.",
            Body::Raw("application/octet-stream"),
        ),
        write_file("put", "writeFile"),
        write_file("post", "postFile"),
        Operation::new("delete", "/files/{path}", "removeFile", "Removes a file.").gives(
            200,
            "The cut that it made.",
            json::<ExternalCut>(),
        ),
        Operation::new(
            "get",
            "/files/{path}/history",
            "fileHistory",
            "What happened to a path, oldest first, whether or not it is still there. Something that lies at this very path \
             is read instead.",
        )
        .query("after", "integer", "Begin behind this `index`: the `next` of the page before.")
        .query("limit", "integer", LIMIT)
        .gives(200, "A page of its iterations.", json::<IterationPage>()),
        Operation::new(
            "get",
            "/files/{path}/at/{n}",
            "readFileAt",
            "A file as it was in the cut that an iteration came with. Something that lies at this very path is read instead.",
        )
        .gives(200, "The bytes.", Body::Raw("application/octet-stream")),
        Operation::new(
            "post",
            "/files/{path}/restore",
            "restoreFile",
            "Brings a path, with what is beneath it, to what it was in the cut that an iteration came with. A file that \
             lies at this very path is written instead, which `PUT` always does.",
        )
        .takes(json::<RestoreFile>())
        .gives(200, "The cut that it made.", json::<ExternalCut>()),
    ]
}

fn write_file(method: &'static str, id: &'static str) -> Operation {
    Operation::new(method, "/files/{path}", id, "Writes a file, whole.")
        .takes(Body::Raw("application/octet-stream"))
        .gives(200, "The cut that it made.", json::<ExternalCut>())
}

/// Gathers operations under their paths.
struct Writer {
    /// Shapes that a client writes: a field that has a default may be missing.
    takes: SchemaGenerator,
    /// Shapes that a client reads.
    gives: SchemaGenerator,
    paths: BTreeMap<String, Map<String, Value>>,
}

impl Writer {
    fn new() -> Self {
        let settings =
            || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
        Self {
            takes: settings().for_deserialize().into_generator(),
            gives: settings().for_serialize().into_generator(),
            paths: BTreeMap::new(),
        }
    }

    /// Adds operations below a prefix; the suffix keeps their ids apart from those below another one.
    fn add(&mut self, prefix: &str, suffix: &str, operations: Vec<Operation>) {
        for operation in operations {
            let path = format!("{prefix}{}", operation.path);
            let method = operation.method.to_owned();
            let written = self.write(&path, suffix, operation);
            self.paths.entry(path).or_default().insert(method, written);
        }
    }

    fn write(&mut self, path: &str, suffix: &str, operation: Operation) -> Value {
        let in_path = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
        let mut parameters: Vec<Value> = in_path
            .map(|name| {
                let schema = json!({ "type": "string" });
                json!({ "name": name, "in": "path", "required": true, "description": about_path(path, name), "schema": schema })
            })
            .collect();
        parameters.extend(operation.query.into_iter().map(|(name, kind, about)| {
            json!({ "name": name, "in": "query", "description": about, "schema": { "type": kind } })
        }));
        // Whatever fails has one shape, so every operation names it once.
        let mut responses = Map::new();
        responses.insert("default".to_owned(), json!({ "$ref": "#/components/responses/Error" }));
        for (status, about, bodies) in operation.gives {
            let mut response = json!({ "description": about });
            let content: Map<String, Value> =
                bodies.into_iter().filter_map(|body| content(body, &mut self.gives)).collect();
            if !content.is_empty() {
                response["content"] = content.into();
            }
            responses.insert(status.to_string(), response);
        }
        let mut written = json!({
            "operationId": format!("{}{suffix}", operation.id),
            "summary": operation.about,
            "tags": [tag(path)],
            "responses": responses,
        });
        if !parameters.is_empty() {
            written["parameters"] = parameters.into();
        }
        if let Some((media_type, schema)) = content(operation.takes, &mut self.takes) {
            written["requestBody"] = json!({ "required": true, "content": { media_type: schema } });
        }
        if !operation.needs_token {
            written["security"] = json!([]);
        }
        if operation.speaks_frames {
            // OpenAPI has no word for frames, so an extension field says it, with schemas as everywhere.
            let client = self.takes.subschema_for::<ClientFrame>();
            let server = self.gives.subschema_for::<ServerFrame>();
            written["x-websocket"] = json!({ "protocol": PROTOCOL, "client": client, "server": server });
        }
        written
    }
}

/// A body's media type and what stands below it.
fn content(body: Body, generator: &mut SchemaGenerator) -> Option<(String, Value)> {
    let (media_type, content) = match body {
        Body::Empty => return None,
        Body::Json(schema) => ("application/json", json!({ "schema": schema(generator) })),
        Body::Raw("application/json") => ("application/json", json!({ "schema": { "type": "object" } })),
        Body::Raw(media_type @ ("application/octet-stream" | MEDIA_TYPE)) => (media_type, json!({})),
        Body::Raw(media_type) => (media_type, json!({ "schema": { "type": "string" } })),
        Body::DeployForm => {
            let file =
                json!({ "type": "string", "contentMediaType": "application/wasm", "description": "The component." });
            let agent_type = json!({ "type": "string", "description": "The agent type, unless the manifest says it." });
            let version = json!({ "type": "string", "description": "The version, unless the manifest says it." });
            let properties = json!({ "file": file, "agent_type": agent_type, "version": version });
            let schema = json!({ "type": "object", "required": ["file"], "properties": properties });
            ("multipart/form-data", json!({ "schema": schema }))
        }
    };
    Some((media_type.to_owned(), content))
}

/// What a parameter of a path names.
fn about_path(path: &str, name: &str) -> &'static str {
    match name {
        "message" => "The message's id.",
        "n" => "The iteration's number.",
        "path" => "A path in the workspace; its slashes stay as they are.",
        _ if path.contains("deployments") => "TYPE[:VERSION[@HEX]].",
        _ => "The instance's id.",
    }
}

/// Where a reader of the document finds an operation.
fn tag(path: &str) -> &'static str {
    match path.trim_start_matches("/api/v1").split('/').nth(1) {
        Some("deployments" | "deploy") => "deployments",
        Some("instances" | "agent") => "instances",
        _ => "host",
    }
}

/// The whole document.
fn document() -> Value {
    let mut writer = Writer::new();
    writer.add("", "", of_host());
    writer.add("/api/v1", "", vec![deploy("/deployments", "deploy")]);
    writer.add("/api/v1", "", of_lists());
    writer.add("/api/v1/instances/{id}", "", vec![info("", "showInstance"), delete_instance()]);
    writer.add("/api/v1/instances/{id}", "", of_instance());
    // The short forms of the same.
    writer.add("", "Short", of_lists());
    writer.add("/agent/{id}", "Short", vec![connect("", "open"), delete_instance()]);
    writer.add("/agent/{id}", "Short", of_instance());
    let error = writer.gives.subschema_for::<ErrorBody>();
    let mut schemas = writer.takes.take_definitions(true);
    schemas.extend(writer.gives.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Podium",
            "summary": "A serverless host for AI agents.",
            "description": "Times are milliseconds since the Unix epoch. Every path below `/api/v1/instances/{id}` is there \
                            below `/agent/{id}` too. `x-websocket` names the shapes of a WebSocket's text frames, one \
                            JSON object each.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "tags": [
            { "name": "host", "description": "The host itself." },
            { "name": "deployments", "description": "Components that can be run." },
            { "name": "instances", "description": "Agents with their data." },
        ],
        "paths": writer.paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "What `podium token` prints." },
            },
            "responses": {
                "Error": {
                    "description": "It was not done. `code` is one of docs/errors.",
                    "content": { "application/json": { "schema": error } },
                },
            },
            "schemas": schemas,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_route_is_described_and_the_reverse() {
        // A path that takes the rest of the URL is written with a star by the router only.
        let routes: BTreeSet<String> =
            super::super::table().paths().iter().map(|path| path.replace("{*", "{")).collect();
        let described: BTreeSet<String> = document()["paths"].as_object().expect("paths").keys().cloned().collect();
        assert_eq!(routes.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "not described");
        assert_eq!(described.difference(&routes).collect::<Vec<_>>(), Vec::<&String>::new(), "no such route");
    }

    #[test]
    fn a_shape_is_the_same_whoever_writes_it() {
        let mut writer = Writer::new();
        for operations in [of_host(), of_lists(), of_instance()] {
            writer.add("", "", operations);
        }
        let (takes, gives) = (writer.takes.take_definitions(true), writer.gives.take_definitions(true));
        assert!(takes.len() > 3 && gives.len() > 20, "{} and {}", takes.len(), gives.len());
        // One name stands for one shape in the document.
        for (name, schema) in &takes {
            assert!(gives.get(name).is_none_or(|other| other == schema), "{name} is read and written differently");
        }
    }
}
