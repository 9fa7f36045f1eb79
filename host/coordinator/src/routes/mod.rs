//! The HTTP routes: one file a resource, the table of paths here.
//!
//! Every route exists under `/api/v1` and, where the seed names one, in its short form. Handlers parse, ask the owner and
//! answer; they decide nothing.

mod admin;
mod asks;
mod body;
mod chronicle;
mod config;
mod control;
mod cuts;
mod deployments;
mod extract;
mod files;
mod form;
mod history;
mod instances;
mod logs;
mod messages;
mod metrics;
mod mount;
mod openapi;
mod portable;
mod state;
mod steer;
mod table;
mod upgrade;
mod ws;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use podium_kit::HttpError;
use podium_wire::ErrorCode;

use crate::auth;
use crate::host::Parts;
use table::Table;

/// Bytes of a JSON body: as much as a WebSocket frame.
pub(crate) const BODY_BYTES_MAX: usize = podium_wire::frames::FRAME_BYTES_MAX;

/// All routes of a host.
pub(crate) fn router(parts: &Arc<Parts>) -> Router {
    table()
        .into_router()
        .fallback(async || HttpError::new(ErrorCode::RouteNotFound, "there is no such route"))
        .method_not_allowed_fallback(async || {
            HttpError::new(ErrorCode::MethodNotAllowed, "this route does not take this method")
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(Arc::clone(parts), auth::check))
        .with_state(Arc::clone(parts))
}

/// The table of paths.
fn table() -> Table {
    let deploy = post(deployments::deploy).layer(DefaultBodyLimit::disable());
    let import = post(portable::import).layer(DefaultBodyLimit::disable());
    let api = Table::new()
        .route("/deployments", deploy.clone().get(deployments::list))
        .route("/deployments/{id}", get(deployments::show))
        .route("/instances", post(instances::create).get(instances::list))
        .route("/instances/import", import.clone())
        .route("/instances/{id}", get(instances::info).delete(instances::delete))
        .nest("/instances/{id}", instance_routes());
    Table::new()
        .route("/health", get(admin::health))
        .route("/admin/status", get(admin::status))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(openapi::show))
        .route("/deploy/agent", deploy)
        .route("/deployments", get(deployments::list))
        .route("/deployments/{id}", get(deployments::show))
        .route("/instances", post(instances::create).get(instances::list))
        .route("/instances/import", import)
        .route("/agent/{id}", get(ws::connect).delete(instances::delete))
        .nest("/agent/{id}", instance_routes())
        .nest("/api/v1", api)
}

/// What an instance answers, below its own path.
fn instance_routes() -> Table {
    let file = get(files::read).put(files::put).post(files::post).delete(files::remove);
    Table::new()
        .route("/info", get(instances::info))
        .route("/ws", get(ws::connect))
        .route("/state", get(state::read))
        .route("/config", get(config::read).put(config::set))
        .route("/messages", get(messages::history).post(messages::send))
        .route("/messages/{message}/retry", post(messages::retry))
        .route("/messages/{message}/discard", post(messages::discard))
        .route("/steer", post(steer::send))
        .route("/upgrade", post(upgrade::upgrade))
        .route("/cuts", get(cuts::list))
        .route("/fork", post(cuts::fork))
        .route("/export", get(portable::export))
        .route("/rewind", post(cuts::rewind))
        .route("/diff", get(cuts::differences))
        .route("/asks", get(asks::list))
        .route("/answer", post(asks::answer))
        .route("/approve", post(asks::approve))
        .route("/interrupt", post(control::interrupt))
        .route("/stop", post(control::stop))
        .route("/start", post(control::start))
        .route("/logs", get(logs::read))
        .route("/chronicle", get(chronicle::stats))
        .route("/chronicle/fsck", post(chronicle::check))
        .route("/chronicle/gc", post(chronicle::collect))
        .route("/mount", get(mount::show).post(mount::mount).delete(mount::unmount))
        .route("/files", get(files::list))
        .route("/files/{*path}", file.layer(DefaultBodyLimit::disable()))
        .form("/files/{*path}/history")
        .form("/files/{*path}/at/{n}")
        .form("/files/{*path}/restore")
}
