//! What a trace tells of a message: `accept` until it is acknowledged, then `turn` with its effects and its `cut`.
//!
//! Owns the names and attributes; `docs/guide/operating.md` explains them. Must never say what a message or an agent said.

use axum::http::HeaderMap;
use podium_capabilities::turn::TurnSpec;
use podium_kit::trace::{Kind, Parent, Span};
use podium_store::Outcome;
use podium_wire::InstanceId;

use crate::owner::Incoming;

/// Effects of one attempt that get a span: an agent that calls without end would fill the queue of everybody's spans.
const EFFECTS_MAX: u64 = 1000;

/// A message has come in. `headers` are those of the request that brought it, where it had its own.
pub(crate) fn accept(headers: Option<&HeaderMap>) -> Span {
    let parent = headers.map(Parent::of_request).unwrap_or_default();
    Span::start("accept", Kind::Server, &parent)
}

/// Takes the span of what came in, and says what it is.
pub(crate) fn accepting(instance: InstanceId, incoming: &mut Incoming) -> Span {
    let mut span = std::mem::take(&mut incoming.span);
    span.record(|attributes| {
        attributes.text("podium.instance", instance.to_string());
        attributes.text("podium.message_id", incoming.id.clone());
        attributes.text("podium.channel", incoming.channel);
    });
    span
}

/// An attempt at a turn begins.
pub(crate) fn turn(parent: &Parent, spec: &TurnSpec) -> Span {
    let mut span = Span::start("turn", Kind::Internal, parent);
    span.record(|attributes| {
        attributes.text("podium.instance", spec.instance.to_string());
        attributes.text("podium.deployment", spec.deployment.to_string());
        attributes.text("podium.turn_id", spec.turn_id.clone());
        attributes.number("podium.attempt", u64::from(spec.attempt));
        if let Some(id) = &spec.message_id {
            attributes.text("podium.message_id", id.clone());
        }
    });
    span
}

/// A turn's effect leaves; `n` counts those of the attempt.
pub(crate) fn effect(turn: &Parent, kind: &'static str, n: u64) -> Span {
    if n > EFFECTS_MAX {
        return Span::default();
    }
    let mut span = Span::start(kind, Kind::Internal, turn);
    span.record(|attributes| attributes.number("podium.effect", n));
    span
}

/// Says which cut it was.
pub(crate) fn cut(span: &mut Span, cut: u64) {
    span.record(|attributes| attributes.number("podium.cut", cut));
}

/// Says how a turn ended that made a cut.
pub(crate) fn ended(span: &mut Span, outcome: &Outcome) {
    cut(span, outcome.cut);
    if let Some(error) = &outcome.error {
        span.fail(&error.code);
    }
}
