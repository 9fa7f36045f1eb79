//! `/metrics`: the host's figures for a collector.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use podium_kit::HttpError;
use podium_wire::ErrorCode;

use crate::error::Error;
use crate::host::Parts;
use crate::metrics::Readings;

/// What the text is: OpenMetrics, which Prometheus reads like its own older format.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Reads what is not counted and answers all of it.
pub(super) async fn show(State(parts): State<Arc<Parts>>) -> Result<impl IntoResponse, HttpError> {
    let instances = parts.store.count().await.map_err(Error::from)?;
    let process = podium_kit::spawn::blocking(podium_kit::process::usage).await.map_err(|_| Error::Stopping)?;
    let readings = Readings {
        active_instances: parts.instances.active() as u64,
        instances,
        open_databases: parts.store.open_databases() as u64,
        guests: parts.runtime.guests() as u64,
        warm_guests: parts.runtime.warm_guests() as u64,
        process,
        uptime: parts.clock.monotonic().saturating_sub(parts.started),
    };
    let text = parts
        .metrics
        .text(&readings)
        .map_err(|_| HttpError::new(ErrorCode::Internal, "the figures cannot be written"))?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], text))
}
