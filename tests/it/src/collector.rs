//! A collector of traces: takes exports as OTLP over HTTP and keeps what they say.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::eventually;

/// What came in.
#[derive(Debug, Default, Clone)]
pub struct Received {
    /// Every span so far.
    pub spans: Vec<Span>,
    /// What the last export said of its sender.
    pub resource: Vec<KeyValue>,
    /// The headers of the last export.
    pub headers: HeaderMap,
    /// All bodies, as they came.
    pub bytes: Vec<u8>,
}

/// A running collector; dropped, it is gone.
pub struct Collector {
    url: String,
    received: Arc<Mutex<Received>>,
    serving: JoinHandle<()>,
}

impl Collector {
    /// Starts one on a free port.
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts one at this address.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("an address for the collector");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let received = Arc::<Mutex<Received>>::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&received));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("the collector serves") });
        Self { url, received, serving }
    }

    /// What an exporter is told.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything so far.
    pub fn received(&self) -> Received {
        lock(&self.received).clone()
    }

    /// The spans of a trace, or of all with an empty id, once these are among them.
    pub async fn spans(&self, trace_id: &[u8], names: &[&str]) -> Vec<Span> {
        eventually(&format!("the spans {names:?}"), async || {
            let of_trace = |span: &Span| trace_id.is_empty() || span.trace_id == trace_id;
            let spans: Vec<Span> = self.received().spans.into_iter().filter(of_trace).collect();
            names.iter().all(|name| spans.iter().any(|span| span.name == *name)).then_some(spans)
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn lock(received: &Mutex<Received>) -> MutexGuard<'_, Received> {
    received.lock().expect("the collector did not panic")
}

async fn take(State(received): State<Arc<Mutex<Received>>>, headers: HeaderMap, body: Bytes) -> Vec<u8> {
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("an export as OTLP says");
    let mut received = lock(&received);
    received.bytes.extend_from_slice(&body);
    received.headers = headers;
    for spans in request.resource_spans {
        received.resource = spans.resource.map(|resource| resource.attributes).unwrap_or_default();
        received.spans.extend(spans.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    ExportTraceServiceResponse::default().encode_to_vec()
}

/// An attribute as text; empty when it is not there.
pub fn text(attributes: &[KeyValue], key: &str) -> String {
    match value(attributes, key) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        None => String::new(),
        other => panic!("{key} is {other:?}"),
    }
}

fn value(attributes: &[KeyValue], key: &str) -> Option<Value> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    let AnyValue { value } = found.value.clone()?;
    value
}
