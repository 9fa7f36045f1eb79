//! Spans of what a host does, for a collector of traces: off unless [`otlp`](crate::otlp) was started.
//!
//! Owns the process's one tracer. While it is off a span is nothing: no clock is read, nothing is allocated, no attribute is
//! made. Must never wait, and never carry what a message says.

use std::sync::OnceLock;

use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span as _, SpanContext, SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// Turns spans on, once.
pub(crate) fn install(tracer: SdkTracer) {
    drop(TRACER.set(tracer));
}

/// The span that another one belongs below; the default is none, which begins a trace.
#[derive(Debug, Clone, Default)]
pub struct Parent(Option<Box<SpanContext>>);

impl Parent {
    /// What a caller's `traceparent` and `tracestate` name (W3C Trace Context). What is no such header is none.
    pub fn of_request(headers: &HeaderMap) -> Self {
        if TRACER.get().is_none() {
            return Self::default();
        }
        let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let span = context.span().span_context().clone();
        Self(span.is_valid().then(|| Box::new(span)))
    }
}

/// What a span is to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It serves a request from outside.
    Server,
    /// A part of something.
    Internal,
}

/// Something that takes time. It ends when it is dropped; the default is off.
#[derive(Debug, Default)]
pub struct Span(Option<Box<opentelemetry_sdk::trace::Span>>);

impl Span {
    /// Begins one. Off when traces are off.
    pub fn start(name: &'static str, kind: Kind, parent: &Parent) -> Self {
        let Some(tracer) = TRACER.get() else { return Self::default() };
        let kind = match kind {
            Kind::Server => SpanKind::Server,
            Kind::Internal => SpanKind::Internal,
        };
        // Never the thread's current context: who belongs to whom is said in the code.
        let context = match &parent.0 {
            Some(parent) => Context::new().with_remote_span_context((**parent).clone()),
            None => Context::new(),
        };
        let span = tracer.span_builder(name).with_kind(kind).start_with_context(tracer, &context);
        Self(Some(Box::new(span)))
    }

    /// Begins a part of this one.
    pub fn child(&self, name: &'static str) -> Self {
        match &self.0 {
            Some(_) => Self::start(name, Kind::Internal, &self.parent()),
            None => Self::default(),
        }
    }

    /// What others belong below.
    pub fn parent(&self) -> Parent {
        Parent(self.0.as_ref().map(|span| Box::new(span.span_context().clone())))
    }

    /// Adds attributes; `add` is not called when nobody would see them.
    pub fn record(&mut self, add: impl FnOnce(&mut Attributes<'_>)) {
        if let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) {
            add(&mut Attributes(span));
        }
    }

    /// Says that it failed, with the code of the error. Its sentence stays out: it may quote what a message said.
    pub fn fail(&mut self, code: &str) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new("error.type", code.to_owned()));
            span.set_status(Status::error(code.to_owned()));
        }
    }
}

/// Where a span's attributes are put.
#[derive(Debug)]
pub struct Attributes<'a>(&'a mut opentelemetry_sdk::trace::Span);

impl Attributes<'_> {
    /// Adds a text.
    pub fn text(&mut self, key: &'static str, value: impl Into<String>) {
        self.0.set_attribute(KeyValue::new(key, value.into()));
    }

    /// Adds a number.
    pub fn number(&mut self, key: &'static str, value: u64) {
        self.0.set_attribute(KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The one tracer of this test's process is never installed; what spans say is a story of tests/it.
    #[test]
    fn a_span_that_is_off_asks_for_nothing() {
        let mut headers = HeaderMap::new();
        let known = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        headers.insert("traceparent", known.parse().expect("a header"));
        let parent = Parent::of_request(&headers);
        assert!(parent.0.is_none());
        let mut span = Span::start("accept", Kind::Server, &parent);
        span.record(|_| panic!("an attribute is made for nobody"));
        span.fail("POD-4001");
        assert!(span.0.is_none() && span.child("cut").0.is_none() && span.parent().0.is_none());
        assert_eq!(size_of::<Span>(), size_of::<usize>());
    }
}
