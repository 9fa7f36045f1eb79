//! Sends spans to a collector: OTLP over HTTP, set by the `OTEL_*` variables of the OpenTelemetry project or by one option.
//!
//! Owns the queue's end and the way out. Must never slow what is traced: the queue is bounded, a span that finds no room is
//! dropped, a thread and a runtime of their own do the sending, and the end waits for no longer than [`FLUSH_MAX`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter};
use reqwest::Url;
use tokio::runtime::Runtime;

/// How long the end of the process may wait for the last spans to leave: a person waits for it.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How long one request may take unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise: the default of its specification.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a collector's answer that are read: it says how many spans it refused, and why.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// The service's name unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has another.
const SERVICE: &str = "podium";

/// Traces cannot be sent as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// No such address.
    #[error("`{0}` is no address of a collector: {1}")]
    Endpoint(String, &'static str),
    /// Another protocol than the one that is spoken.
    #[error("traces are sent as `http/protobuf`, not as `{0}`")]
    Protocol(String),
    /// The exporter does not start.
    #[error("the export of traces cannot be started: {0}")]
    Start(String),
}

/// Where spans go: none unless `option` or the environment says so. The option is the base that
/// `OTEL_EXPORTER_OTLP_ENDPOINT` would be, and goes before every variable.
///
/// # Errors
/// When what was asked for cannot be done.
pub fn endpoint(
    option: Option<&str>,
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<Url>, OtlpError> {
    // An empty variable is as if it were not set: so the specification says.
    let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
    let below = |base: &str| format!("{}/v1/traces", base.trim_end_matches('/'));
    let is = |name, word: &str| variable(name).is_some_and(|value| value.eq_ignore_ascii_case(word));
    let wanted = match option {
        Some(base) => below(base),
        None if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") => return Ok(None),
        None => {
            let own = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
            match own.or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| below(&base))) {
                Some(wanted) => wanted,
                None => return Ok(None),
            }
        }
    };
    let protocol = variable("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
    if let Some(protocol) = protocol.filter(|protocol| protocol != "http/protobuf") {
        return Err(OtlpError::Protocol(protocol));
    }
    let refused = |why| OtlpError::Endpoint(shown(&wanted), why);
    let url = Url::parse(&wanted).map_err(|_| refused("it is no URL such as http://127.0.0.1:4318"))?;
    match url.scheme() {
        "http" if url.has_host() => Ok(Some(url)),
        "https" => Err(refused("this host speaks plain HTTP only")),
        _ => Err(refused("its scheme is not http")),
    }
}

/// An address without what may be a password in it.
fn shown(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, behind)) => format!("…@{behind}"),
        None => address.to_owned(),
    }
}

/// Spans on their way to a collector.
#[derive(Debug)]
pub struct Exporting {
    provider: SdkTracerProvider,
    lost: Arc<AtomicU64>,
}

impl Exporting {
    /// Turns spans on for this process and sends them there.
    ///
    /// # Errors
    /// When the system refuses what it takes.
    pub fn start(endpoint: &Url) -> Result<Self, OtlpError> {
        let failed = |error: &dyn std::fmt::Display| OtlpError::Start(error.to_string());
        let variable = |name: &str| std::env::var(name).ok();
        let client = Client::new(timeout(variable)).map_err(|error| failed(&error))?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(endpoint.as_str())
            .with_protocol(Protocol::HttpBinary)
            .build()
            .map_err(|error| failed(&error))?;
        let collector = endpoint.origin().ascii_serialization();
        let lost = Arc::new(AtomicU64::new(0));
        let watched = Watched { exporter, collector, lost: Arc::clone(&lost), is_down: AtomicBool::new(false) };
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let named = variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
        if !named && variable("OTEL_SERVICE_NAME").is_none_or(|name| name.is_empty()) {
            resource = resource.with_service_name(SERVICE);
        }
        // The queue's length and the pace of the thread are `OTEL_BSP_*`, the sampler `OTEL_TRACES_SAMPLER`.
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(watched).build())
            .with_resource(resource.build())
            .build();
        crate::trace::install(provider.tracer(SERVICE));
        Ok(Self { provider, lost })
    }

    /// Sends what waits, for [`FLUSH_MAX`] at most, and ends. Blocks.
    pub fn finish(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(FLUSH_MAX) {
            tracing::warn!(%error, "the last spans were not sent");
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!(lost, "spans were lost because the collector did not take them");
        }
    }
}

/// The time of one request.
fn timeout(variable: impl Fn(&str) -> Option<String>) -> Duration {
    variable("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
        .or_else(|| variable("OTEL_EXPORTER_OTLP_TIMEOUT"))
        .and_then(|ms| ms.trim().parse().ok())
        .map_or(TIMEOUT, Duration::from_millis)
}

/// Counts what a collector did not take, and says once that it is down and once that it is back.
#[derive(Debug)]
struct Watched {
    exporter: opentelemetry_otlp::SpanExporter,
    collector: String,
    lost: Arc<AtomicU64>,
    is_down: AtomicBool,
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        match self.exporter.export(batch).await {
            Ok(()) => {
                if self.is_down.swap(false, Ordering::Relaxed) {
                    let lost = self.lost.load(Ordering::Relaxed);
                    tracing::info!(collector = self.collector, lost, "the collector takes spans again");
                }
            }
            Err(error) => {
                self.lost.fetch_add(spans, Ordering::Relaxed);
                if !self.is_down.swap(true, Ordering::Relaxed) {
                    let collector = &self.collector;
                    tracing::warn!(collector, %error, "spans are lost: the collector does not take them");
                }
            }
        }
        // It was told above; the processor would say it again with each batch.
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The HTTP client of the sending thread, on a runtime of its own: the host's may be busy, or gone.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Runtime,
}

impl Client {
    fn new(timeout: Duration) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let http = reqwest::Client::builder()
            .timeout(timeout)
            // Headers with a collector's key go nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // A connection would rest between two exports, when nothing drives the runtime.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("podium/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, runtime })
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let send = async {
            let mut answer = self.http.execute(request.try_into()?).await?;
            let mut response = Response::builder().status(answer.status());
            if let Some(headers) = response.headers_mut() {
                headers.clone_from(answer.headers());
            }
            let mut body = BytesMut::new();
            while let Some(piece) = answer.chunk().await? {
                if body.len() + piece.len() > ANSWER_BYTES_MAX {
                    return Err(HttpError::from("the collector's answer is too long"));
                }
                body.extend_from_slice(&piece);
            }
            Ok(response.body(body.freeze())?)
        };
        // Polled by the sending thread, which drives nothing else.
        self.runtime.block_on(send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(option: Option<&str>, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        endpoint(option, variable).map(|url| url.map(String::from)).map_err(|error| error.to_string())
    }

    const BASE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        for variables in [
            &[][..],
            &[("OTEL_SERVICE_NAME", "x")],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
            &[BASE, ("OTEL_SDK_DISABLED", "TRUE")],
            &[BASE, ("OTEL_TRACES_EXPORTER", "none")],
        ] {
            assert_eq!(wanted(None, variables), Ok(None), "{variables:?}");
        }
    }

    #[test]
    fn the_address_is_the_one_of_the_specification() {
        let is = |option, variables: &[_], url: &str| {
            assert_eq!(wanted(option, variables), Ok(Some(url.to_owned())), "{option:?} {variables:?}");
        };
        is(None, &[BASE], "http://collector:4318/v1/traces");
        is(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:1/base/")], "http://c:1/base/v1/traces");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:1/as/it/is");
        is(None, &[BASE, own], "http://traces:1/as/it/is");
        is(Some("http://127.0.0.1:4318"), &[BASE, own], "http://127.0.0.1:4318/v1/traces");
        is(None, &[BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], "http://collector:4318/v1/traces");
    }

    #[test]
    fn what_cannot_be_done_is_refused_and_no_password_is_said() {
        for (option, why) in [
            ("https://collector", "plain HTTP"),
            ("collector:4318", "scheme"),
            ("nowhere", "no URL"),
            ("https://me:secret@collector", "plain HTTP"),
        ] {
            let refused = wanted(Some(option), &[]).expect_err(option);
            assert!(refused.contains(why) && !refused.contains("secret"), "{refused}");
        }
        let grpc = wanted(None, &[BASE, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]).expect_err("gRPC");
        assert!(grpc.contains("`grpc`"), "{grpc}");
    }

    #[test]
    fn a_timeout_is_read_in_milliseconds() {
        assert_eq!(timeout(|_| None), TIMEOUT);
        assert_eq!(timeout(|name| (name == "OTEL_EXPORTER_OTLP_TIMEOUT").then(|| "250".to_owned())).as_millis(), 250);
        assert_eq!(timeout(|_| Some("soon".to_owned())), TIMEOUT);
    }
}
